//! Files of a root file system that is mounted and that others may be changing: what copying in and out needs.
//!
//! Invariant: a path is followed as a process in the root would follow it, by the kernel, and never out of the
//! root (`openat2` with `RESOLVE_IN_ROOT`); what was opened once is used by its descriptor. Whoever swaps
//! directories for links meanwhile gets an error or another place of the same root.
//! Absent on purpose: mounting it, and who may write.

mod error;
mod pack;
mod path;
mod unpack;

use std::os::fd::{AsFd, OwnedFd};

use dhow_archive::tar::Time;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;

pub use error::FilesError;
use path::{Trailing, Wanted};
pub use unpack::UnpackOptions;

/// As many links as the kernel follows.
const LINKS_MAX: usize = 40;
/// The kernel answers "again" when something above was renamed meanwhile.
const RACES_MAX: usize = 64;

/// A root file system that is mounted.
#[derive(Debug)]
pub struct LiveRoot {
    root: OwnedFd,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// The path's last name.
    pub name: Vec<u8>,
    /// Bytes.
    pub size_bytes: u64,
    /// Kind and permissions, in the kernel's number.
    pub mode: u32,
    /// When its content changed.
    pub modified: Time,
    /// Of a link: the path that it leads to in the end, without links.
    pub link_target: Option<Vec<u8>>,
}

impl LiveRoot {
    /// The root that a directory's descriptor stands for.
    pub fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    /// What stands at a path; a link itself, unless the path ends in a slash.
    pub fn stat(&self, path: &str) -> Result<PathStat, FilesError> {
        let wanted = Wanted::parse(path);
        let follow = wanted.trailing != Trailing::Nothing;
        let fd = self.open(&wanted.bytes(), OFlags::PATH, follow).map_err(wanted.fault())?;
        let stat = rustix::fs::fstat(&fd).map_err(wanted.fault())?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if follow && kind != FileType::Directory {
            return Err(wanted.fault()(Errno::NOTDIR));
        }
        let link_target = match kind {
            FileType::Symlink => Some(self.resolve(&wanted.bytes()).map_err(wanted.fault())?),
            _ => None,
        };
        Ok(PathStat {
            name: wanted.base(),
            size_bytes: stat.st_size.cast_unsigned(),
            mode: stat.st_mode,
            modified: Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
            link_target,
        })
    }

    /// Whether nothing can be written below a path.
    pub fn is_read_only(&self, path: &str) -> Result<bool, FilesError> {
        let wanted = Wanted::parse(path);
        let fd = self.open(&wanted.bytes(), OFlags::PATH, true).map_err(wanted.fault())?;
        let flags = rustix::fs::fstatvfs(&fd).map_err(wanted.fault())?.f_flag;
        Ok(flags.contains(StatVfsMountFlags::RDONLY))
    }

    /// Opens a path as a process in the root would.
    pub fn open(&self, path: &[u8], flags: OFlags, follow: bool) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        // A path alone is never waited for, and takes no other flag.
        let more = match flags.contains(OFlags::PATH) {
            true => OFlags::CLOEXEC,
            false => OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        };
        let flags = flags | more;
        let flags = if follow { flags } else { flags | OFlags::NOFOLLOW };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut races = 0;
        loop {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if races < RACES_MAX => races += 1,
                other => return other,
            }
        }
    }

    fn open_dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY, true)
    }

    /// The path without links, absolute; what is not there stays as it is.
    fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut todo: Vec<Vec<u8>> = path::names(path).rev().map(<[u8]>::to_vec).collect();
        let mut done: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                let slash = done.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                done.truncate(slash);
                continue;
            }
            let next = [&done[..], b"/", &name].concat();
            let target = match self.open(&next, OFlags::PATH, false) {
                Ok(fd) => read_link(fd)?,
                Err(Errno::NOENT | Errno::NOTDIR) => None,
                Err(errno) => return Err(errno),
            };
            let Some(target) = target else {
                done = next;
                continue;
            };
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::LOOP);
            }
            if target.starts_with(b"/") {
                done.clear();
            }
            todo.extend(path::names(&target).rev().map(<[u8]>::to_vec));
        }
        Ok(if done.is_empty() { b"/".to_vec() } else { done })
    }
}

/// What a link says; `None` for what is no link.
fn read_link(fd: OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
    let stat = rustix::fs::statat(&fd, c"", AtFlags::EMPTY_PATH)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Ok(None);
    }
    Ok(Some(rustix::fs::readlinkat(fd.as_fd(), c"", Vec::new())?.into_bytes()))
}

#[cfg(test)]
mod tests;
