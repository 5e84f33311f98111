//! A driver's own directory, and the numbered ones in it.
//!
//! Invariant: everything in it but the names that a driver reserves is a snapshot. Nobody but the owner of
//! the store may look into it: what is in layers may have any mode.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;

use super::error::SnapshotError;
use crate::db::SnapshotNumber;
use crate::layer::{Listing, open_dir, open_dir_path, remove_tree};

/// A driver's directory.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    fd: OwnedFd,
}

impl Directory {
    /// Opens it, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, SnapshotError> {
        match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(SnapshotError::io("make", path)(errno)),
        }
        let fd = open_dir_path(path).map_err(SnapshotError::io("open", path))?;
        Ok(Self { path: path.to_owned(), fd })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Where a snapshot lies.
    pub(super) fn path_of(&self, number: SnapshotNumber) -> PathBuf {
        self.path.join(number.to_string())
    }

    /// Makes a snapshot's directory.
    pub(super) fn create(&self, number: SnapshotNumber) -> Result<OwnedFd, SnapshotError> {
        match rustix::fs::mkdirat(&self.fd, number.to_string(), Mode::RWXU) {
            Ok(()) => self.snapshot(number),
            Err(Errno::EXIST) => Err(SnapshotError::Exists { number }),
            Err(errno) => Err(SnapshotError::io("make", &self.path_of(number))(errno)),
        }
    }

    /// Opens a snapshot's directory.
    pub(super) fn snapshot(&self, number: SnapshotNumber) -> Result<OwnedFd, SnapshotError> {
        match open_dir(self.fd.as_fd(), number.to_string().as_bytes()) {
            Err(Errno::NOENT) => Err(SnapshotError::NotFound { number }),
            other => other.map_err(SnapshotError::io("open", &self.path_of(number))),
        }
    }

    /// Removes a snapshot's directory with all that is in it.
    pub(super) fn remove(&self, number: SnapshotNumber) -> Result<(), SnapshotError> {
        remove_tree(self.fd.as_fd(), number.to_string().as_bytes())
            .map_err(SnapshotError::io("remove", &self.path_of(number)))
    }

    /// The snapshots that there is anything of.
    pub(super) fn walk(&self) -> Result<Vec<SnapshotNumber>, SnapshotError> {
        let listing =
            Listing::read(self.fd.as_fd()).map_err(SnapshotError::io("list", &self.path))?;
        let number = |(name, kind): (Vec<u8>, FileType)| {
            let name = std::str::from_utf8(&name).ok()?;
            (kind == FileType::Directory).then(|| SnapshotNumber::parse(name)).flatten()
        };
        let mut numbers: Vec<_> = listing.into_sorted().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// Makes a directory in a snapshot's own, and opens it; that it is there is no error.
pub(super) fn subdirectory(dir: &OwnedFd, name: &str, mode: u32) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => open_dir(dir.as_fd(), name.as_bytes()),
        Err(errno) => Err(errno),
    }
}
