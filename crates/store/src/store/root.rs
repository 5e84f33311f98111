//! The data root: a directory with one owner and a known layout.
//!
//! `<root>/lock` is locked by the process that has the store and holds its number;
//! `<root>/layout` holds the version of what lies beside it: this file's 1 is `dhow.db`, `reserve`,
//! `blobs/<algorithm>/<hex>`, `ingest/` and `snapshots/<driver>/<number>`.
//!
//! Invariant: nothing is written below a root that somebody else owns, or that a newer program
//! laid out.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{StoreError, take_lock};

/// The newest layout that we know.
const LAYOUT: u32 = 1;
const SNAPSHOTS: &str = "snapshots";

/// The data root, owned until dropped.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    directory: OwnedFd,
    /// The kernel lets go of the lock with the descriptor, however the process ends.
    _lock: File,
}

impl Root {
    /// Takes the root at `path`, made if it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let directory = open_directory(path)?;
        let lock = lock(directory.as_fd(), path)?;
        let root = Self { path: path.to_owned(), directory, _lock: lock };
        root.check_layout()?;
        Ok(root)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a storage driver has its snapshots; the folder above is made.
    pub(super) fn driver_dir(&self, driver: &str) -> Result<PathBuf, StoreError> {
        let failed = |error: Errno| io_error("make", &self.path, SNAPSHOTS, error.into());
        match rustix::fs::mkdirat(&self.directory, SNAPSHOTS, Mode::RWXU) {
            Ok(()) => rustix::fs::fsync(&self.directory).map_err(failed)?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        Ok(self.path.join(SNAPSHOTS).join(driver))
    }

    fn check_layout(&self) -> Result<(), StoreError> {
        let failed = |doing, error| io_error(doing, &self.path, "layout", error);
        let mut text = String::new();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(&self.directory, "layout", flags, Mode::empty()) {
            Ok(file) => {
                let read = File::from(file).take(64).read_to_string(&mut text);
                read.map_err(|error| failed("read", error))?;
            }
            Err(Errno::NOENT) => {
                return self.write_layout().map_err(|error| failed("write", error));
            }
            Err(error) => return Err(failed("open", error.into())),
        }
        match text.trim().parse::<u32>() {
            Ok(found) if (1..=LAYOUT).contains(&found) => Ok(()),
            _ => Err(StoreError::NewerLayout {
                root: self.path.clone(),
                found: text.trim().to_owned(),
                known: LAYOUT,
            }),
        }
    }

    /// Whole or not there: a later program must not take an empty file for some layout.
    fn write_layout(&self) -> io::Result<()> {
        let mut file = create(self.directory.as_fd(), "layout.part")?;
        file.write_all(format!("{LAYOUT}\n").as_bytes())?;
        file.sync_all()?;
        rustix::fs::renameat(&self.directory, "layout.part", &self.directory, "layout")?;
        Ok(rustix::fs::fsync(&self.directory)?)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, StoreError> {
    if let Err(error) = std::fs::create_dir_all(path) {
        return Err(io_error("make", path, "", error));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| io_error("open", path, "", error.into()))
}

fn lock(directory: BorrowedFd<'_>, path: &Path) -> Result<File, StoreError> {
    let failed = |doing, error| io_error(doing, path, "lock", error);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(directory, "lock", flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| failed("open", error.into()))?;
    match take_lock(File::from(file)).map_err(|error| failed("take", error))? {
        Ok(file) => Ok(file),
        Err(pid) => Err(StoreError::InUse { root: path.to_owned(), pid }),
    }
}

fn create(directory: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

fn io_error(doing: &'static str, root: &Path, name: &str, source: io::Error) -> StoreError {
    if source.kind() == io::ErrorKind::ReadOnlyFilesystem {
        return StoreError::ReadOnly { root: root.to_owned() };
    }
    let path = if name.is_empty() { root.to_owned() } else { root.join(name) };
    StoreError::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn one_owner() {
        let scratch = Scratch::new();
        let path = scratch.path().join("made/below");
        let owner = Root::open(&path).expect("a root");
        let error = Root::open(&path).expect_err("owned").to_string();
        let pid = std::process::id();
        assert!(error.contains(&format!("is in use by process {pid}: end that one")), "{error}");
        drop(owner);
        Root::open(&path).expect("free again");
    }

    #[test]
    fn a_newer_layout_is_left_alone() {
        let scratch = Scratch::new();
        for found in ["2\n", "", "x", "0"] {
            std::fs::write(scratch.path().join("layout"), found).expect("a file");
            let error = Root::open(scratch.path()).expect_err("newer");
            assert!(matches!(error, StoreError::NewerLayout { .. }), "{error}");
        }
    }
}
