//! Directories of their own, stores in them, and images made by hand.

#![allow(dead_code, reason = "each suite takes what it needs")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dhow_archive::tar::{Content, Entry, Kind, Metadata, Writer};
use dhow_spec::image::{
    Compression, Descriptor, Family, ImageConfig, Index, Manifest, MediaType, RootFs,
};
use dhow_spec::{Digest, Platform, Reference};
use dhow_store::{
    ApplyOptions, Begun, Clock, CollectOptions, Collected, Expected, ImageName, Labels, LeaseId,
    PrepareOptions, SnapshotKey, SnapshotNumber, SnapshotUsage, Snapshotter as _, Steps, Store,
    StoreError, StoreOptions, Vfs, chain_ids,
};

/// A directory that is removed with everything in it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// Where syncing costs nothing, for tests that kill processes and cut no power.
    pub(crate) fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::below(memory) } else { Self::new() }
    }

    fn below(parent: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dhow-store-suite-{}-{number}", std::process::id());
        let path = parent.join(name);
        std::fs::create_dir(&path).expect("a directory that nobody else has");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A clock that stands until it is moved.
#[derive(Clone, Default)]
pub(crate) struct Hands(Arc<AtomicI64>);

impl Hands {
    pub(crate) fn clock(&self) -> Clock {
        let hands = self.0.clone();
        Clock::new(move || hands.load(Ordering::Relaxed))
    }

    pub(crate) fn advance_ms(&self, by: i64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }
}

pub(crate) fn open(root: &Path) -> Store {
    try_open(root, Clock::system(), Steps::unwatched()).expect("a store")
}

pub(crate) fn try_open(root: &Path, clock: Clock, steps: Steps) -> Result<Store, StoreError> {
    Store::open(StoreOptions { root: root.to_owned(), clock, steps })
}

pub(crate) fn lease(store: &Store, id: &str) -> LeaseId {
    let id = LeaseId::parse(id).expect("a lease's id");
    store.lease(&id, None).expect("a lease");
    id
}

pub(crate) fn collect(store: &Store) -> Collected {
    store.collect(CollectOptions { ingest_age_ms_max: i64::MIN }, &[]).expect("a collection")
}

pub(crate) fn reference(text: &str) -> Reference {
    Reference::parse(text).expect("a reference")
}

pub(crate) fn name(text: &str) -> ImageName {
    ImageName::Reference(reference(text))
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    let mut hasher = dhow_archive::hash::Hasher::new(dhow_spec::Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish().digest
}

/// Bytes that a descriptor points to.
#[derive(Clone)]
pub(crate) struct Piece {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
}

impl Piece {
    pub(crate) fn new(media_type: MediaType, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let descriptor = Descriptor::new(media_type, digest_of(&bytes), bytes.len() as u64);
        Self { descriptor, bytes }
    }

    pub(crate) fn digest(&self) -> Digest {
        self.descriptor.digest
    }
}

/// One platform's image: manifest, configuration, layers.
#[derive(Clone)]
pub(crate) struct Single {
    pub(crate) manifest: Piece,
    pub(crate) config: Piece,
    pub(crate) layers: Vec<Piece>,
    pub(crate) diff_ids: Vec<Digest>,
}

pub(crate) fn layer(text: &str) -> Piece {
    Piece::new(MediaType::layer(Family::Oci, Compression::None), text)
}

pub(crate) fn single(architecture: &str, layers: &[&str]) -> Single {
    let layers: Vec<_> = layers.iter().map(|text| layer(text)).collect();
    let diff_ids: Vec<_> = layers.iter().map(Piece::digest).collect();
    let platform = Platform::new("linux", architecture, "");
    let mut config = ImageConfig::new(&platform);
    config.rootfs = RootFs::new(diff_ids.clone());
    let config = Piece::new(MediaType::Config(Family::Oci), config.to_json());
    let pointers = layers.iter().map(|layer| layer.descriptor.clone()).collect();
    let manifest = Manifest::new(config.descriptor.clone(), pointers).to_json();
    let mut manifest = Piece::new(MediaType::Manifest(Family::Oci), manifest);
    manifest.descriptor.platform = Some(platform);
    Single { manifest, config, layers, diff_ids }
}

impl Single {
    pub(crate) fn pieces(&self) -> Vec<&Piece> {
        [&self.manifest, &self.config].into_iter().chain(&self.layers).collect()
    }
}

pub(crate) fn index(of: &[&Single]) -> Piece {
    let entries = of.iter().map(|single| single.manifest.descriptor.clone()).collect();
    Piece::new(MediaType::Index(Family::Oci), Index::new(entries).to_json())
}

/// Writes a piece as a pull would.
pub(crate) fn put(store: &Store, lease: &LeaseId, piece: &Piece) -> Result<(), StoreError> {
    let expected = Expected::blob(piece.digest(), piece.descriptor.size);
    match store.content().begin(lease, expected, "a test", Duration::ZERO)? {
        Begun::Exists(_) => Ok(()),
        Begun::Ingest(mut ingest) => {
            let offset = usize::try_from(ingest.offset()).expect("an offset");
            for part in piece.bytes[offset..].chunks(100) {
                ingest.write(part)?;
            }
            ingest.commit()?;
            Ok(())
        }
    }
}

pub(crate) fn put_single(store: &Store, lease: &LeaseId, single: &Single) {
    for piece in single.pieces() {
        put(store, lease, piece).expect("a blob");
    }
}

/// An image of one platform under a name, without a lease afterwards.
pub(crate) fn add(store: &Store, text: &str, single: &Single) {
    let id = lease(store, "add");
    put_single(store, &id, single);
    store.images().put(&name(text), &single.manifest.descriptor).expect("an image");
    store.end_lease(&id).expect("the end");
}

/// A driver, and the records of what it has.
pub(crate) struct Unpacked(pub(crate) Vfs);

impl Unpacked {
    pub(crate) fn of(store: &Store) -> Self {
        let path = store.root().join("snapshots/vfs");
        std::fs::create_dir_all(&path).expect("a directory");
        Self(Vfs::open(&path, false).expect("the driver"))
    }

    /// Unpacks an image's layers, all of them as empty archives.
    pub(crate) fn unpack(&self, store: &Store, lease: &LeaseId, single: &Single) {
        let records = store.db().snapshots("vfs");
        let mut parents: Vec<SnapshotNumber> = Vec::new();
        let mut parent = None;
        for name in chain_ids(&single.diff_ids) {
            let record = records.committed(&name).unwrap_or_else(|_| {
                let key = SnapshotKey::parse(&format!("unpack {name}")).expect("a key");
                if let Ok(left) = records.remove_active(&key) {
                    self.0.remove(left.number).expect("its directory");
                }
                let made = records.create(&key, None, &Labels::new(), Some(lease.as_str()));
                let number = made.expect("an active one").number;
                self.prepare(number);
                self.0.commit(number, &parents).expect("a whole one");
                let usage = SnapshotUsage { size_bytes: 1, inodes: 1 };
                records.commit(&key, &name, parent.as_ref(), usage).expect("a committed one")
            });
            parents.insert(0, record.number);
            parent = Some(name);
        }
    }

    pub(crate) fn prepare(&self, number: SnapshotNumber) {
        self.0.prepare(number, &[], &PrepareOptions::UNLIMITED).expect("a directory");
        let mut empty = &[0; 1024][..];
        self.0.apply(number, &mut empty, &ApplyOptions::EXACT).expect("a layer");
    }
}

/// A tar by hand.
#[derive(Default)]
pub(crate) struct Tar(Vec<(String, Kind, Vec<u8>)>);

impl Tar {
    pub(crate) fn file(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        let kind = Kind::File(Content::plain(bytes.len() as u64));
        self.0.push((path.to_owned(), kind, bytes));
        self
    }

    pub(crate) fn symlink(mut self, path: &str, target: &str) -> Self {
        let target = target.as_bytes().to_vec();
        self.0.push((path.to_owned(), Kind::Symlink { target }, Vec::new()));
        self
    }

    pub(crate) fn other(mut self, path: &str, kind: Kind) -> Self {
        self.0.push((path.to_owned(), kind, Vec::new()));
        self
    }

    pub(crate) fn pieces(self, single: &Single) -> Self {
        single.pieces().into_iter().fold(self, |tar, piece| {
            tar.file(&format!("blobs/sha256/{}", piece.digest().hex()), &piece.bytes)
        })
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (path, kind, bytes) in &self.0 {
            let metadata = Metadata { mode: 0o644, ..Metadata::default() };
            let entry = Entry { path: path.clone().into(), kind: kind.clone(), metadata };
            writer.append(&entry, &bytes[..]).expect("an entry");
        }
        writer.finish().expect("an archive")
    }
}

/// An image of twice the same layer, as Docker wrote it before it knew of layouts.
pub(crate) fn docker_archive(one: &Single, tags: &str) -> Tar {
    let manifest = format!(
        r#"[{{"Config":"{c}.json","RepoTags":[{tags}],"Layers":["x/layer.tar","y/layer.tar"]}}]"#,
        c = one.config.digest().hex()
    );
    Tar::default()
        .file("x/VERSION", "1.0")
        .file("x/json", "{}")
        .file("x/layer.tar", &one.layers[0].bytes)
        .file("y/VERSION", "1.0")
        .symlink("y/layer.tar", "../x/layer.tar")
        .file(&format!("{}.json", one.config.digest().hex()), &one.config.bytes)
        .file("manifest.json", manifest)
        .file("repositories", "{}")
}

/// Names of all files below the root's content directories.
pub(crate) fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for below in ["blobs/sha256", "blobs/sha512", "ingest", "snapshots/vfs"] {
        let Ok(entries) = std::fs::read_dir(root.join(below)) else { continue };
        for entry in entries {
            let name = entry.expect("an entry").file_name();
            found.push(format!("{below}/{}", name.to_string_lossy()));
        }
    }
    found.sort();
    found
}

/// Steps that note their names.
pub(crate) fn noted() -> (Steps, Arc<Mutex<Vec<&'static str>>>) {
    let names = Arc::new(Mutex::new(Vec::new()));
    let steps = Steps::watched({
        let names = names.clone();
        move |name| {
            names.lock().expect("no panic").push(name);
            Ok(())
        }
    });
    (steps, names)
}
