//! Images by way of a registry that others wrote: the one that Debian packages.

#[path = "../../distribution/tests/registry/program.rs"]
mod registry;

use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use dhow_archive::compress::{Encoding, LayerWriter};
use dhow_archive::tar::{Content as FileContent, Entry, Kind, Metadata, Time, Writer};
use dhow_distribution::{Client, Config, Event, SystemResolver};
use dhow_engine::{
    ImageEngine, ImageEngineOptions, Progress, PullRequest, PushRequest, Step, Watcher,
};
use dhow_spec::image::{
    Compression, Descriptor, Family, ImageConfig, LayerType, Manifest, MediaType, RootFs,
};
use dhow_spec::{Algorithm, Digest, Platform, Reference};
use dhow_store::{
    Clock, CollectOptions, DiskUsage, ImageName, LeaseId, Mounts, Snapshots, Steps, Store,
    StoreOptions, Vfs, View, chain_ids,
};
use registry::Registry;

/// A data root of its own, gone with the value.
struct Root {
    path: PathBuf,
    store: Arc<Store>,
    snapshots: Arc<Snapshots>,
    engine: ImageEngine,
}

impl Root {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let path =
            std::env::temp_dir().join(format!("dhow-engine-{}-{number}", std::process::id()));
        let options =
            StoreOptions { root: path.clone(), clock: Clock::system(), steps: Steps::unwatched() };
        let store = Arc::new(Store::open(options).expect("a store"));
        // The driver that works on any file system, as any user.
        let driver =
            Vfs::open(&store.driver_dir("vfs").expect("a folder"), false).expect("a driver");
        let snapshots = Arc::new(Snapshots::new(store.db(), Box::new(driver)));
        let client = Client::new(Config::new("dhow/test", Vec::new()), Arc::new(SystemResolver));
        let engine = ImageEngine::new(
            store.clone(),
            snapshots.clone(),
            client.expect("a client"),
            ImageEngineOptions::standard(2),
        );
        Self { path, store, snapshots, engine }
    }

    /// Makes an image of these layers, and calls it so.
    fn make(&self, name: &Reference, layers: &[Layer]) -> Descriptor {
        let config = ImageConfig {
            rootfs: RootFs::new(layers.iter().map(|layer| layer.diff_id).collect()),
            ..ImageConfig::new(&Platform::of_build())
        };
        self.make_with(name, layers, &config)
    }

    fn make_with(&self, name: &Reference, layers: &[Layer], config: &ImageConfig) -> Descriptor {
        let lease = LeaseId::parse("making").expect("a word");
        self.store.lease(&lease, None).expect("a lease");
        let put = |media_type: MediaType, bytes: &[u8]| {
            let stored = self.store.content().put(&lease, bytes, "a test").expect("a blob");
            Descriptor::new(media_type, stored.digest, stored.size)
        };
        let kind = LayerType {
            family: Family::Oci,
            compression: Compression::Gzip,
            distributable: true,
            encrypted: false,
        };
        let blobs = layers.iter().map(|layer| put(MediaType::Layer(kind), &layer.blob)).collect();
        let config = put(MediaType::Config(Family::Oci), config.to_json().as_bytes());
        let manifest = Manifest::new(config, blobs).to_json();
        let target = put(MediaType::Manifest(Family::Oci), manifest.as_bytes());
        let name = ImageName::Reference(name.clone());
        self.store.images().put(&name, &target).expect("an image");
        self.store.end_lease(&lease).expect("a lease");
        target
    }

    fn pull(&self, name: &Reference, seen: &Arc<Seen>) -> Result<bool, String> {
        let request = PullRequest { reference: name.clone(), platform: None };
        let pulled = runtime().block_on(self.engine.pull(&request, seen.clone()));
        pulled.map(|pulled| pulled.unchanged).map_err(|error| error.to_string())
    }

    fn push(&self, name: &Reference) -> Descriptor {
        let request = PushRequest { reference: name.clone() };
        runtime().block_on(self.engine.push(&request, Arc::new(()))).expect("a push")
    }

    /// Where the files of a stack of layers are.
    fn files(&self, layers: &[Layer]) -> PathBuf {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
        let top = *chain_ids(&diff_ids).last().expect("a layer");
        match self.snapshots.mounts_of_committed(&top, &View::READ).expect("a snapshot") {
            Mounts::Bind { source, .. } => source,
            other => panic!("{other:?}"),
        }
    }

    /// What is left when nothing is wanted any more.
    fn emptied(&self) -> DiskUsage {
        for image in self.store.images().list().expect("a list") {
            self.store.images().remove(&image).expect("removed");
        }
        for lease in self.store.leases().expect("a list") {
            self.store.end_lease(&lease.id).expect("ended");
        }
        let all = CollectOptions { ingest_age_ms_max: 0 };
        self.store.collect(all, &[self.snapshots.driver()]).expect("collected");
        self.store.usage().expect("usage")
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn reference(registry: &Registry, path: &str) -> Reference {
    Reference::parse(&registry.name(path)).expect("a reference")
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime")
}

/// Counts what travelled and what was unpacked.
#[derive(Default)]
struct Seen {
    downloads: Mutex<Vec<Digest>>,
    unpacked: AtomicUsize,
}

impl Seen {
    fn counts(&self) -> (usize, usize) {
        let downloads = self.downloads.lock().expect("no panic").len();
        (downloads, self.unpacked.load(Ordering::SeqCst))
    }
}

impl Watcher for Seen {
    fn progress(&self, progress: &Progress<'_>) {
        match progress {
            Progress::Transfer(Event::Started { digest, .. }) => {
                self.downloads.lock().expect("no panic").push(*digest);
            }
            Progress::Layer { step: Step::Done, .. } => {
                self.unpacked.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
    }
}

/// A layer as registries have it.
#[derive(Clone)]
struct Layer {
    blob: Vec<u8>,
    diff_id: Digest,
}

/// A layer with these files; a name that ends in a slash is a directory's.
fn layer(files: &[(&str, &str)]) -> Layer {
    let encoding = Encoding::customary(Compression::Gzip, NonZeroUsize::MIN);
    let writer = LayerWriter::new(Vec::new(), encoding, Algorithm::Sha256).expect("a writer");
    let mut tar = Writer::new(writer);
    for (path, text) in files {
        let kind = match path.ends_with('/') {
            true => Kind::Directory,
            false => Kind::File(FileContent { size: text.len() as u64, map: None }),
        };
        let metadata = Metadata {
            mode: 0o750,
            modified: Time { seconds: 1_700_000_000, nanoseconds: 5 },
            ..Metadata::default()
        };
        let path = path.trim_end_matches('/').as_bytes().to_vec();
        tar.append(&Entry { path, kind, metadata }, text.as_bytes()).expect("an entry");
    }
    let (blob, packed) = tar.finish().expect("an end").finish().expect("an end");
    Layer { blob, diff_id: packed.tar.digest }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file")
}

#[test]
fn an_image_comes_back_as_it_went() {
    let Some(registry) = Registry::start("an_image_comes_back_as_it_went", None) else { return };
    let name = reference(&registry, "lib/one:1");
    let layers = [
        layer(&[("etc/", ""), ("etc/motd", "first"), ("etc/gone", "x")]),
        layer(&[("etc/motd", "second"), ("etc/.wh.gone", "")]),
    ];
    let (here, there) = (Root::new(), Root::new());
    let target = here.make(&name, &layers);
    assert_eq!(here.push(&name), target);

    let seen = Arc::<Seen>::default();
    assert_eq!(there.pull(&name, &seen), Ok(false));
    assert_eq!(seen.counts(), (3, 2), "a configuration and two layers");
    let image = there.store.images().by_name(&name).expect("read").expect("there");
    assert_eq!(image.target, target);
    let files = there.files(&layers);
    assert_eq!(read(&files.join("etc/motd")), "second");
    assert!(!files.join("etc/gone").exists());
    let metadata = std::fs::metadata(files.join("etc/motd")).expect("there");
    let (mode, nanoseconds) = (metadata.mode() & 0o7777, metadata.mtime_nsec());
    assert_eq!((mode, metadata.mtime(), nanoseconds), (0o750, 1_700_000_000, 5));

    let again = Arc::<Seen>::default();
    assert_eq!(there.pull(&name, &again), Ok(true));
    assert_eq!(again.counts(), (0, 0));
    assert_eq!(there.emptied(), DiskUsage::default());
}

#[test]
fn what_is_shared_is_neither_fetched_nor_unpacked_again() {
    let test = "what_is_shared_is_neither_fetched_nor_unpacked_again";
    let Some(registry) = Registry::start(test, None) else { return };
    let (first, second) = (reference(&registry, "a:1"), reference(&registry, "b:1"));
    let mut layers: Vec<Layer> =
        (0..9).map(|number| layer(&[(&format!("file-{number}"), "shared")])).collect();
    let (here, there) = (Root::new(), Root::new());
    here.make(&first, &layers);
    layers.push(layer(&[("last", "new")]));
    here.make(&second, &layers);
    here.push(&first);
    here.push(&second);
    there.pull(&first, &Arc::default()).expect("a pull");
    let before = there.store.usage().expect("usage");
    let seen = Arc::<Seen>::default();
    there.pull(&second, &seen).expect("a pull");
    assert_eq!(seen.counts(), (2, 1), "a configuration and one layer");
    let after = there.store.usage().expect("usage");
    assert_eq!(after.snapshots, before.snapshots + 1);
}

#[test]
fn a_layer_that_is_not_what_it_should_be_leaves_nothing() {
    let test = "a_layer_that_is_not_what_it_should_be_leaves_nothing";
    let Some(registry) = Registry::start(test, None) else { return };
    let name = reference(&registry, "liar:1");
    let layers = [layer(&[("good", "1")]), layer(&[("bad", "2")])];
    let (here, there) = (Root::new(), Root::new());
    let wrong = layer(&[("other", "3")]).diff_id;
    let config = ImageConfig {
        rootfs: RootFs::new(vec![layers[0].diff_id, wrong]),
        ..ImageConfig::new(&Platform::of_build())
    };
    here.make_with(&name, &layers, &config);
    here.push(&name);
    let error = there.pull(&name, &Arc::default()).expect_err("a lie");
    let expected =
        format!("it unpacks to {}, but the image's configuration says {wrong}", layers[1].diff_id);
    assert!(error.starts_with(&format!("image {name}: layer sha256:")), "{error}");
    assert!(error.ends_with(&expected), "{error}");
    assert!(there.store.images().by_name(&name).expect("read").is_none());
    assert_eq!(there.emptied(), DiskUsage::default());
}

#[test]
fn many_pulls_of_one_image_share_its_downloads() {
    let test = "many_pulls_of_one_image_share_its_downloads";
    let Some(registry) = Registry::start(test, None) else { return };
    let name = reference(&registry, "busy:1");
    let text = "x".repeat(3 << 20);
    let layers = [layer(&[("large", &text)]), layer(&[("small", "2")])];
    let (here, there) = (Root::new(), Root::new());
    here.make(&name, &layers);
    here.push(&name);
    let seen = Arc::<Seen>::default();
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (engine, seen) = (there.engine.clone(), seen.clone());
            let request = PullRequest { reference: name.clone(), platform: None };
            tasks.spawn(async move { engine.pull(&request, seen).await.map(drop) });
        }
        for result in tasks.join_all().await {
            result.expect("a pull");
        }
    });
    let mut downloads = seen.downloads.lock().expect("no panic").clone();
    let all = downloads.len();
    downloads.sort_by_key(ToString::to_string);
    downloads.dedup();
    assert_eq!(all, downloads.len(), "nothing travels twice");
    assert_eq!(read(&there.files(&layers).join("small")), "2");
    assert_eq!(there.emptied(), DiskUsage::default());
}

#[test]
fn what_is_here_is_made_ready_without_a_registry() {
    let root = Root::new();
    let name = Reference::parse("127.0.0.1:1/nobody/there").expect("a reference");
    let layers = [layer(&[("first", "1")]), layer(&[("second", "2")])];
    root.make(&name, &layers);
    let image = root.store.images().find(&name.to_string()).expect("an image");
    let platform = Platform::of_build();
    for _ in 0..2 {
        let ready = runtime().block_on(root.engine.ready(&image, &platform, Arc::new(())));
        let ready = ready.expect("unpacked");
        assert_eq!(ready.selected.chain.len(), 2);
        runtime().block_on(root.engine.done_with(&ready.lease)).expect("ended");
    }
    let files = root.files(&layers);
    assert_eq!((read(&files.join("first")), read(&files.join("second"))), ("1".into(), "2".into()));
    assert_eq!(root.emptied(), DiskUsage::default());
}

#[test]
fn hello_is_made_of_a_program() {
    let root = Root::new();
    let program = root.path.join("program");
    std::fs::write(&program, "of four thousand words").expect("a file");
    let made = runtime().block_on(root.engine.make_hello(&program)).expect("made");
    let again = runtime().block_on(root.engine.make_hello(&program)).expect("made");
    assert_eq!(made.target, again.target);
    assert_eq!(made.names, [Reference::parse("hello").expect("a name")]);
    let platform = Platform::of_build();
    let ready = runtime().block_on(root.engine.ready(&made, &platform, Arc::new(())));
    let top = *ready.expect("unpacked").selected.chain.last().expect("a layer");
    match root.snapshots.mounts_of_committed(&top, &View::READ).expect("a snapshot") {
        Mounts::Bind { source, .. } => {
            assert_eq!(read(&source.join("dhow")), "of four thousand words");
        }
        other => panic!("{other:?}"),
    }
    let missing = runtime().block_on(root.engine.make_hello(&root.path.join("nothing")));
    let error = missing.expect_err("no program").to_string();
    assert!(error.contains("nothing"), "{error}");
    assert_eq!(root.emptied(), DiskUsage::default());
}
