//! Images between registries and a data root, driven directly: `cargo run --release --example images -- pull NAME`.
//!
//! For measurements while no engine serves these. Absent on purpose: what users expect of such commands
//! (progress, `config.json`, names of other commands).

mod mount;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use dhow_distribution::{Client, Config, Credentials, Insecure, Keyring, SystemResolver};
use dhow_engine::{
    ImageEngine, ImageEngineOptions, Progress, PullRequest, PushRequest, Step, Watcher,
};
use dhow_spec::image::{History, ImageConfig};
use dhow_spec::{Platform, Reference};
use dhow_store::{
    Clock, CollectOptions, DiffOptions, Import, LayerWriter, LeaseId, LoadLimits, Overlay2,
    SaveItem, Selected, Snapshots, Snapshotter, Steps, Store, StoreOptions, Vfs, View,
};

const USAGE: &str = "\
Usage: images [--root DIR] [--driver overlay2|vfs|btrfs] [--user NAME:PASSWORD] [--insecure NAME]
              [--platform P] [--verbose] COMMAND

  pull NAME        list         history NAME
  push NAME        rm NAME      tag NAME NEW
  save NAME        load         collect
  import NAME      show NAME    mount NAME DIR
  export NAME
  check            usage

  save and export write to standard output; load and import read standard input. show prints the image's digests,
  its layers' diff-ids and the names of what they unpack to. mount shows the unpacked image at a folder.
";

/// Whoever starts this trusts what it reads.
const LIMITS: LoadLimits =
    LoadLimits { bytes_max: u64::MAX, compression: dhow_archive::compress::Limits::NONE };

type Failure = Box<dyn std::error::Error>;

/// What comes before the command.
struct Options {
    root: PathBuf,
    driver: String,
    user: Option<(String, String)>,
    insecure: Vec<String>,
    platform: Option<Platform>,
    verbose: bool,
}

/// Runs one command.
fn main() -> ExitCode {
    match run(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("images: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(words: impl Iterator<Item = std::ffi::OsString>) -> Result<(), Failure> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_args(words);
    let mut options = Options {
        root: PathBuf::from("/var/lib/dhow"),
        driver: "overlay2".to_owned(),
        user: None,
        insecure: Vec::new(),
        platform: None,
        verbose: false,
    };
    let mut command = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("root") => options.root = parser.value()?.into(),
            Long("driver") => options.driver = parser.value()?.string()?,
            Long("insecure") => options.insecure.push(parser.value()?.string()?),
            Long("verbose") => options.verbose = true,
            Long("platform") => {
                let text = parser.value()?.string()?;
                options.platform = Some(Platform::parse(&text, &Platform::of_build())?);
            }
            Long("user") => {
                let text = parser.value()?.string()?;
                let (name, password) = text.split_once(':').ok_or("--user: NAME:PASSWORD")?;
                options.user = Some((name.to_owned(), password.to_owned()));
            }
            Value(word) => command.push(word.string()?),
            other => return Err(format!("{}\n\n{USAGE}", other.unexpected()).into()),
        }
    }
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    Session::open(&options)?.carry_out(&words, &options)
}

/// A data root that is ours for as long as the command runs.
struct Session {
    store: Arc<Store>,
    snapshots: Arc<Snapshots>,
}

impl Session {
    fn open(options: &Options) -> Result<Self, Failure> {
        let store = Store::open(StoreOptions {
            root: options.root.clone(),
            clock: Clock::system(),
            steps: Steps::unwatched(),
        })?;
        let place = store.driver_dir(&options.driver)?;
        let driver: Box<dyn Snapshotter> = match options.driver.as_str() {
            "overlay2" => Box::new(Overlay2::open(&place, false)?),
            "vfs" => Box::new(Vfs::open(&place, false)?),
            "btrfs" => Box::new(dhow_store::Btrfs::open(&place, false)?),
            other => return Err(format!("no storage driver is called {other}").into()),
        };
        let snapshots = Snapshots::new(store.db(), driver);
        store.recover_snapshots(snapshots.driver())?;
        Ok(Self { store: Arc::new(store), snapshots: Arc::new(snapshots) })
    }

    #[expect(clippy::print_stdout, reason = "a command's output")]
    fn carry_out(&self, words: &[&str], options: &Options) -> Result<(), Failure> {
        match words {
            ["pull", name] => {
                let reference = Reference::parse(name)?;
                let platform = options.platform.clone();
                let (engine, watcher) = self.engine(&reference, options)?;
                let request = PullRequest { reference, platform };
                let pulled = runtime()?.block_on(engine.pull(&request, watcher))?;
                let said = if pulled.unchanged { "up to date" } else { "pulled" };
                println!("{} {said}", pulled.target.digest);
            }
            ["push", name] => {
                let reference = Reference::parse(name)?;
                let (engine, watcher) = self.engine(&reference, options)?;
                let request = PushRequest { reference, platform: None };
                let pushed = runtime()?.block_on(engine.push(&request, watcher))?;
                println!("{}", pushed.digest);
            }
            ["tag", name, new] => {
                let image = self.store.images().find(name)?;
                self.store.images().tag(&image, &Reference::parse(new)?)?;
            }
            ["rm", name] => {
                let image = self.store.images().find(name)?;
                self.store.images().remove(&image)?;
            }
            ["list"] => {
                for image in self.store.images().list()? {
                    let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
                    println!("{} {}", image.target.digest, names.join(" "));
                }
            }
            ["history", name] => {
                for step in self.select(name, options)?.history() {
                    let layer = step.layer.map(|(layer, _)| layer.digest.to_string());
                    println!("{} {}", layer.as_deref().unwrap_or("-"), step.created_by);
                }
            }
            ["save", name] => {
                let image = self.store.images().find(name)?;
                let item = SaveItem { names: image.names.clone(), image };
                let sink = std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
                self.store.save(&[item], options.platform.as_ref(), sink)?.flush()?;
            }
            ["load"] => {
                let source = std::io::stdin().lock();
                for loaded in
                    self.leased("load", |id| Ok(self.store.load(id, source, LIMITS)?))?
                {
                    let name = loaded.name.map(|name| name.familiar()).unwrap_or_default();
                    println!("{} {name}", loaded.target.digest);
                }
            }
            ["import", name] => println!("{}", self.import(name)?),
            ["show", name] => {
                let image = self.store.images().find(name)?;
                let selected = self.select(name, options)?;
                println!("id {}", image.target.digest);
                println!("manifest {}", selected.descriptor.digest);
                println!("config {}", selected.manifest.config.digest);
                for (diff_id, chain) in selected.config.rootfs.diff_ids.iter().zip(&selected.chain)
                {
                    println!("layer {diff_id} {chain}");
                }
            }
            ["export", name] => {
                let selected = self.select(name, options)?;
                let top = selected.chain.last().ok_or("an image without layers")?;
                let sink = std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
                let mut tar = LayerWriter::new(sink);
                self.snapshots.export_of_committed(top, &DiffOptions::LAYER, &mut tar)?;
                tar.finish()?.flush()?;
            }
            ["mount", name, place] => {
                let selected = self.select(name, options)?;
                let top = selected.chain.last().ok_or("an image without layers")?;
                let mounts = self.snapshots.mounts_of_committed(top, &View::READ)?;
                mount::mount(&mounts, Path::new(place))?;
            }
            ["collect"] => {
                let all = CollectOptions { ingest_age_ms_max: 0 };
                println!("{:?}", self.store.collect(all, &self.drivers())?);
            }
            ["check"] => {
                let report = self.store.check(true, &self.drivers())?;
                println!("{report:?}");
                if !report.findings.is_empty() {
                    return Err("something was found".into());
                }
            }
            ["usage"] => println!("{:?}", self.store.usage()?),
            _ => return Err(format!("unknown command\n\n{USAGE}").into()),
        }
        Ok(())
    }

    /// An image of one layer, the tar on standard input; gives its id.
    fn import(&self, name: &str) -> Result<dhow_spec::Digest, Failure> {
        let import = Import {
            name: Some(Reference::parse(name)?),
            config: ImageConfig::new(&Platform::of_build()),
            step: History { comment: Some("imported".to_owned()), ..History::default() },
        };
        let source = std::io::stdin().lock();
        let imported =
            self.leased("import", |id| Ok(self.store.import(id, source, import, LIMITS)?))?;
        Ok(imported.target.digest)
    }

    /// The image of that name for the wanted platform.
    fn select(&self, name: &str, options: &Options) -> Result<Selected, Failure> {
        let image = self.store.images().find(name)?;
        let platform = options.platform.clone().unwrap_or_else(Platform::of_build);
        Ok(self.store.images().select(&image, &platform)?)
    }

    /// Works under a lease that ends afterwards.
    fn leased<T>(
        &self,
        name: &str,
        work: impl FnOnce(&LeaseId) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let id = LeaseId::parse(name).ok_or("a lease's name")?;
        self.store.lease(&id, None)?;
        let result = work(&id);
        self.store.end_lease(&id)?;
        result
    }

    fn drivers(&self) -> [&dyn Snapshotter; 1] {
        [self.snapshots.driver()]
    }

    fn engine(
        &self,
        reference: &Reference,
        options: &Options,
    ) -> Result<(ImageEngine, Arc<dyn Watcher>), Failure> {
        let roots = std::fs::read(Path::new("/etc/ssl/certs/ca-certificates.crt"));
        let agent = concat!("dhow/", env!("CARGO_PKG_VERSION"));
        let mut config = Config::new(agent, roots.unwrap_or_default());
        config.insecure = Insecure::parse(options.insecure.iter().map(String::as_str))?;
        let mut client = Client::new(config, Arc::new(SystemResolver))?;
        if let Some((name, password)) = &options.user {
            let credentials =
                Credentials::Password { username: name.clone(), password: password.clone() };
            let registry = reference.repository().domain();
            client = client.with_credentials(Keyring::of(registry, credentials));
        }
        let processors = std::thread::available_parallelism().map_or(1, Into::into);
        let options_of_engine = ImageEngineOptions::standard(processors);
        let engine =
            ImageEngine::new(self.store.clone(), self.snapshots.clone(), client, options_of_engine);
        let watcher: Arc<dyn Watcher> =
            if options.verbose { Arc::new(Teller) } else { Arc::new(()) };
        Ok((engine, watcher))
    }
}

fn say(line: std::fmt::Arguments<'_>) {
    // If nobody takes it there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Tells everything on standard error.
struct Teller;

impl Watcher for Teller {
    fn progress(&self, progress: &Progress<'_>) {
        match progress {
            Progress::Layer { step: Step::Unpacking { .. }, .. } => {}
            other => say(format_args!("{other:?}")),
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
