//! Namespaces held by mounts below the run directory.
//!
//! Each is a file `<id>` that the namespace is bind-mounted on: the kernel keeps it until somebody
//! unmounts it, runtimes of any make can be told of it by path, and a later engine finds all of them by
//! reading one directory. An open descriptor would be gone with its process, and a path through `/proc`
//! with the pid in it.
//! Invariant: taking away what is half there, or not there, is no error.
//! Absent on purpose: links; those die with their namespace, in the kernel's own time.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstatfs};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::error::NetworkError;
use crate::sandbox::SandboxId;

/// `NSFS_MAGIC`: what a mounted namespace says it is.
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// The directory of all pins.
#[derive(Debug)]
pub(crate) struct Pins {
    dir: PathBuf,
}

impl Pins {
    /// Those in `dir`, which need not exist.
    pub(crate) fn of(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where this one's is, or would be.
    pub(crate) fn path(&self, id: &SandboxId) -> PathBuf {
        self.dir.join(id.as_str())
    }

    /// Makes the mount point of a sandbox; what an unlucky engine left there goes.
    pub(crate) fn prepare(&self, id: &SandboxId) -> Result<(), NetworkError> {
        let path = self.path(id);
        let make = || OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path);
        let made = match make().map_err(|error| error.kind()) {
            Ok(_) => return Ok(()),
            Err(io::ErrorKind::NotFound) => {
                let mut dir = fs::DirBuilder::new();
                dir.recursive(true).mode(0o711);
                dir.create(&self.dir).map_err(NetworkError::io("create", &self.dir))?;
                make()
            }
            Err(_) => {
                self.remove(id)?;
                make()
            }
        };
        made.map(drop).map_err(NetworkError::io("create", path))
    }

    /// Mounts a namespace on the point that was prepared.
    pub(crate) fn hold(
        &self,
        id: &SandboxId,
        namespace: BorrowedFd<'_>,
    ) -> Result<(), NetworkError> {
        let path = self.path(id);
        let source = dhow_sys::fd_path(namespace);
        rustix::mount::mount_bind(source.as_c_str(), &path)
            .map_err(NetworkError::io("mount a network namespace on", path))
    }

    /// The namespace, if there is one.
    pub(crate) fn open(&self, id: &SandboxId) -> Result<Option<OwnedFd>, NetworkError> {
        let path = self.path(id);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(fd) => Ok(is_namespace(fd.as_fd()).then_some(fd)),
            Err(Errno::NOENT | Errno::LOOP) => Ok(None),
            Err(errno) => Err(NetworkError::io("open", path)(errno)),
        }
    }

    /// Lets go of a namespace. Its links go when nobody else holds it, which nobody waits for.
    pub(crate) fn remove(&self, id: &SandboxId) -> Result<(), NetworkError> {
        let path = self.path(id);
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        loop {
            match rustix::mount::unmount(&path, flags) {
                Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
                Err(errno) => return Err(NetworkError::io("unmount", path)(errno)),
            }
            match rustix::fs::unlink(&path) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                // Mounted more than once, by an engine that was killed between.
                Err(Errno::BUSY) => {}
                Err(errno) => return Err(NetworkError::io("remove", path)(errno)),
            }
        }
    }

    /// All that are there, whole or not; strange names are not ours.
    pub(crate) fn list(&self) -> Result<Vec<SandboxId>, NetworkError> {
        let names = names(&self.dir).map_err(NetworkError::io("read", &self.dir))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

/// The names in a directory; none, if it is not there.
pub(crate) fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn is_namespace(fd: BorrowedFd<'_>) -> bool {
    fstatfs(fd).is_ok_and(|stat| stat.f_type as u64 == NSFS_MAGIC)
}
