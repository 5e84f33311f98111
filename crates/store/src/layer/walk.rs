//! Reaching something below a directory by its path.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::trail::DIRECTORY;

/// What one call takes, and a bit less.
const PATH_BYTES_MAX: usize = 4000;
/// The kernel answers "again" when something above was renamed meanwhile.
const RACES_MAX: usize = 64;

/// Opens the directory `path` below `root`, through directories alone; the empty path is the root.
pub(crate) fn open_below(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut at: Option<OwnedFd> = None;
    let mut rest = path;
    while rest.len() > PATH_BYTES_MAX {
        // A name is shorter than that, so there is a slash.
        let cut = rest[..PATH_BYTES_MAX].iter().rposition(|byte| *byte == b'/');
        let cut = cut.ok_or(Errno::NAMETOOLONG)?;
        let dir = at.as_ref().map_or(root, AsFd::as_fd);
        at = Some(open_short(dir, &rest[..cut])?);
        rest = &rest[cut + 1..];
    }
    open_short(at.as_ref().map_or(root, AsFd::as_fd), rest)
}

fn open_short(dir: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut races = 0;
    loop {
        match rustix::fs::openat2(dir, path, DIRECTORY, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if races < RACES_MAX => races += 1,
            other => return other,
        }
    }
}

/// Opens a directory of our own by its path on the host.
pub(crate) fn open_dir_path(path: &std::path::Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}
