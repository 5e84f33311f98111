//! Images between registries and a data root, driven directly: `cargo run --release --example images -- pull NAME`.
//!
//! For measurements while no engine serves these. Absent on purpose: what users expect of such commands
//! (progress, `config.json`, names of other commands).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use dhow_distribution::{Client, Config, Credentials, Insecure, Keyring, SystemResolver};
use dhow_engine::{
    ImageEngine, ImageEngineOptions, Progress, PullRequest, PushRequest, Step, Watcher,
};
use dhow_spec::{Platform, Reference};
use dhow_store::{
    Clock, CollectOptions, LeaseId, LoadLimits, Overlay2, SaveItem, Snapshots, Snapshotter, Steps,
    Store, StoreOptions, Vfs,
};

const USAGE: &str = "\
Usage: images [--root DIR] [--driver overlay2|vfs|btrfs] [--user NAME:PASSWORD] [--insecure NAME]
              [--platform P] [--verbose] COMMAND

  pull NAME        list         history NAME
  push NAME        rm NAME      tag NAME NEW
  save NAME        load         collect
  check            usage

  save writes to standard output, load reads standard input.
";

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
                let request = PushRequest { reference };
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
                let image = self.store.images().find(name)?;
                let platform = options.platform.clone().unwrap_or_else(Platform::of_build);
                for step in self.store.images().select(&image, &platform)?.history() {
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
                let id = LeaseId::parse("load").ok_or("a lease's name")?;
                self.store.lease(&id, None)?;
                let compression = dhow_archive::compress::Limits::NONE;
                let limits = LoadLimits { bytes_max: u64::MAX, compression };
                let loaded = self.store.load(&id, std::io::stdin().lock(), limits);
                self.store.end_lease(&id)?;
                for loaded in loaded? {
                    let name = loaded.name.map(|name| name.familiar()).unwrap_or_default();
                    println!("{} {name}", loaded.target.digest);
                }
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
