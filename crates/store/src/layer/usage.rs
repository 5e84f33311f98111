//! What a tree takes on disk.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Stat};

use super::error::ApplyFault;
use super::list::Listing;
use super::trail::{FileId, Trail, open_dir};
use super::tree::TreeError;
use crate::db::SnapshotUsage;

/// Counts files and blocks of a tree, its root among them; files with several names once.
pub(crate) fn usage(root: OwnedFd) -> Result<SnapshotUsage, TreeError> {
    let fault = |path: &[u8], name: &[u8], errno| {
        TreeError::at(path, name)(ApplyFault::kernel("look at a file")(errno))
    };
    let mut counter = Counter { usage: SnapshotUsage::default(), seen: HashSet::new() };
    counter.count(&rustix::fs::fstat(&root).map_err(|errno| fault(b"", b"", errno))?);
    let listing = Listing::read(root.as_fd()).map_err(|errno| fault(b"", b"", errno))?;
    let mut trail = Trail::new(root, listing);
    loop {
        match trail.value().pop() {
            None if trail.depth() == 0 => return Ok(counter.usage),
            None => drop(trail.up().map_err(|errno| fault(b"", b"", errno))?),
            Some((name, kind)) => {
                let here = trail.here();
                let stat = rustix::fs::statat(here, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
                counter.count(&stat.map_err(|errno| fault(trail.path(), &name, errno))?);
                if kind == FileType::Directory {
                    let down = open_dir(here, &name)
                        .and_then(|fd| Listing::read(fd.as_fd()).map(|listing| (fd, listing)));
                    let (fd, listing) = down.map_err(|errno| fault(trail.path(), &name, errno))?;
                    trail.down(&name, fd, listing).map_err(|errno| fault(&name, b"", errno))?;
                }
            }
        }
    }
}

struct Counter {
    usage: SnapshotUsage,
    seen: HashSet<FileId>,
}

impl Counter {
    fn count(&mut self, stat: &Stat) {
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_dir || stat.st_nlink < 2 || self.seen.insert((stat.st_dev, stat.st_ino)) {
            self.usage.inodes += 1;
            self.usage.size_bytes += stat.st_blocks as u64 * 512;
        }
    }
}
