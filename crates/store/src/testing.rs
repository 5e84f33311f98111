//! What the tests below share: directories of their own, gone afterwards.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use dhow_archive::tar::{Content, Device, Entry, Kind, Metadata, Time, Writer};

/// A directory that is removed with everything in it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dhow-store-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a directory that nobody else has");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn open(&self) -> std::os::fd::OwnedFd {
        crate::layer::open_dir_path(&self.0).expect("the scratch directory")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A layer in the making, entry by entry.
pub(crate) struct LayerTar(Writer<Vec<u8>>);

/// The time of entries that do not say another one.
pub(crate) const SOME_TIME: Time = Time { seconds: 1_700_000_000, nanoseconds: 123_456_789 };

impl LayerTar {
    pub(crate) fn new() -> Self {
        Self(Writer::new(Vec::new()))
    }

    /// Any entry, with what `change` makes of its metadata.
    pub(crate) fn entry(
        mut self,
        path: impl AsRef<[u8]>,
        kind: Kind,
        data: &[u8],
        change: impl FnOnce(&mut Metadata),
    ) -> Self {
        let mut metadata = Metadata { mode: 0o644, modified: SOME_TIME, ..Metadata::default() };
        if matches!(kind, Kind::Directory) {
            metadata.mode = 0o755;
        }
        change(&mut metadata);
        let entry = Entry { path: path.as_ref().to_vec(), kind, metadata };
        self.0.append(&entry, data).expect("an entry");
        self
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.entry(path, Kind::Directory, b"", |_| {})
    }

    pub(crate) fn file(self, path: &str, data: &str) -> Self {
        let content = Content::plain(data.len() as u64);
        self.entry(path, Kind::File(content), data.as_bytes(), |_| {})
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, Kind::Symlink { target: target.into() }, b"", |_| {})
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, Kind::HardLink { target: target.into() }, b"", |_| {})
    }

    pub(crate) fn device(self, path: &str, major: u32, minor: u32) -> Self {
        self.entry(path, Kind::CharDevice(Device { major, minor }), b"", |_| {})
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0.finish().expect("an archive")
    }
}

/// Whether the test may do what only root may; says so if not.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED {test}: needs root");
    }
    is_root
}
