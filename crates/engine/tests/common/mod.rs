//! Data roots with images in them, and Debian's registry to move them by.

#![allow(dead_code, reason = "each suite takes what it needs")]

#[path = "../../../distribution/tests/registry/program.rs"]
pub(crate) mod registry;

use std::num::NonZeroUsize;
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

/// A data root, gone with the value unless it is kept.
pub(crate) struct Root {
    kept: bool,
    pub(crate) path: PathBuf,
    pub(crate) store: Arc<Store>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) engine: ImageEngine,
}

impl Root {
    pub(crate) fn new() -> Self {
        Self::open(scratch(), Steps::unwatched())
    }

    /// One that keeps no blob of what is unpacked and can be had again.
    pub(crate) fn discarding() -> Self {
        let options =
            ImageEngineOptions { discard_unpacked_layers: true, ..ImageEngineOptions::standard(2) };
        Self::open_with(scratch(), Steps::unwatched(), options)
    }

    /// The one at `path`, whoever had it before.
    pub(crate) fn open(path: PathBuf, steps: Steps) -> Self {
        Self::open_with(path, steps, ImageEngineOptions::standard(2))
    }

    fn open_with(path: PathBuf, steps: Steps, transfers: ImageEngineOptions) -> Self {
        let options = StoreOptions { root: path.clone(), clock: Clock::system(), steps };
        let store = Arc::new(Store::open(options).expect("a store"));
        // The driver that works on any file system, as any user.
        let driver =
            Vfs::open(&store.driver_dir("vfs").expect("a folder"), false).expect("a driver");
        let snapshots = Arc::new(Snapshots::new(store.db(), Box::new(driver)));
        let engine = engine(&store, &snapshots, transfers);
        Self { kept: false, path, store, snapshots, engine }
    }

    /// The one at `path`, which somebody else will open again, after whoever had it before was killed.
    pub(crate) fn reopen(path: &Path, steps: Steps) -> Self {
        let mut root = Self::open(path.to_owned(), steps);
        root.kept = true;
        root.recover();
        root
    }

    pub(crate) fn recover(&self) {
        let recovered = self.store.recover_snapshots(self.snapshots.driver()).expect("a recovery");
        assert_eq!(recovered.missing, [], "a snapshot has lost its directory");
    }

    /// Makes an image of these layers, and calls it so.
    pub(crate) fn make(&self, name: &Reference, layers: &[Layer]) -> Descriptor {
        let config = ImageConfig {
            rootfs: RootFs::new(layers.iter().map(|layer| layer.diff_id).collect()),
            ..ImageConfig::new(&Platform::of_build())
        };
        self.make_with(name, layers, &config)
    }

    pub(crate) fn make_with(
        &self,
        name: &Reference,
        layers: &[Layer],
        config: &ImageConfig,
    ) -> Descriptor {
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

    pub(crate) fn pull(&self, name: &Reference, seen: &Arc<Seen>) -> Result<bool, String> {
        let request = PullRequest { reference: name.clone(), platform: None };
        let pulled = runtime().block_on(self.engine.pull(&request, seen.clone()));
        pulled.map(|pulled| pulled.unchanged).map_err(|error| error.to_string())
    }

    pub(crate) fn push(&self, name: &Reference) -> Descriptor {
        let request = PushRequest { reference: name.clone(), platform: None };
        runtime().block_on(self.engine.push(&request, Arc::new(()))).expect("a push")
    }

    /// Where the files of a stack of layers are.
    pub(crate) fn files(&self, layers: &[Layer]) -> PathBuf {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
        let top = *chain_ids(&diff_ids).last().expect("a layer");
        match self.snapshots.mounts_of_committed(&top, &View::READ).expect("a snapshot") {
            Mounts::Bind { source, .. } => source,
            other => panic!("{other:?}"),
        }
    }

    /// What is left when nothing is wanted any more.
    pub(crate) fn emptied(&self) -> DiskUsage {
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
        if !self.kept {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// An engine without mirrors or credentials.
pub(crate) fn engine(
    store: &Arc<Store>,
    snapshots: &Arc<Snapshots>,
    options: ImageEngineOptions,
) -> ImageEngine {
    let client = Client::new(Config::new("dhow/test", Vec::new()), Arc::new(SystemResolver));
    let client = client.expect("a client");
    ImageEngine::new(store.clone(), snapshots.clone(), client, options)
}

/// A place for a data root that nobody has.
pub(crate) fn scratch() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::SeqCst);
    std::env::temp_dir().join(format!("dhow-engine-{}-{number}", std::process::id()))
}

pub(crate) fn reference(registry: &Registry, path: &str) -> Reference {
    Reference::parse(&registry.name(path)).expect("a reference")
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime")
}

/// Counts what travelled and what was unpacked.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) downloads: Mutex<Vec<Digest>>,
    pub(crate) unpacked: AtomicUsize,
}

impl Seen {
    pub(crate) fn counts(&self) -> (usize, usize) {
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
pub(crate) struct Layer {
    pub(crate) blob: Vec<u8>,
    pub(crate) diff_id: Digest,
}

/// A layer with these files; a name that ends in a slash is a directory's.
pub(crate) fn layer(files: &[(&str, &str)]) -> Layer {
    let (blob, diff_id) = packed(files, Compression::Gzip);
    Layer { blob, diff_id }
}

/// The same as a plain archive, with its digest.
pub(crate) fn plain_tar(files: &[(&str, &str)]) -> (Vec<u8>, Digest) {
    packed(files, Compression::None)
}

fn packed(files: &[(&str, &str)], compression: Compression) -> (Vec<u8>, Digest) {
    let encoding = Encoding::customary(compression, NonZeroUsize::MIN);
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
    (blob, packed.tar.digest)
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file")
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    let mut hasher = dhow_archive::hash::Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish().digest
}
