//! Removing a tree, however deep and full.
//!
//! Never through a symbolic link and never into another file system: what is mounted there stays, and the
//! removal fails.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::list::Listing;
use super::trail::{Trail, open_dir};

/// Removes `name` in `dir`, whatever it is; that there is nothing is no error.
pub(crate) fn remove_tree(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => {
            empty(dir, name)?;
            rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
        }
        Err(errno) => Err(errno),
    }
}

/// Removes all that is in the directory `name`.
fn empty(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let root = open_dir(dir, name)?;
    let device = rustix::fs::fstat(&root)?.st_dev;
    let listing = Listing::read(root.as_fd())?;
    let mut trail = Trail::new(root, listing);
    let mut way: Vec<Vec<u8>> = Vec::new();
    loop {
        match trail.value().pop() {
            Some((child, kind)) => {
                let here = trail.here();
                let is_dir = match kind {
                    FileType::Directory => true,
                    _ => match rustix::fs::unlinkat(here, child.as_slice(), AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT) => false,
                        Err(Errno::ISDIR) => true,
                        Err(errno) => return Err(errno),
                    },
                };
                if is_dir {
                    let fd = open_dir(here, &child)?;
                    if rustix::fs::fstat(&fd)?.st_dev != device {
                        return Err(Errno::XDEV);
                    }
                    let listing = Listing::read(fd.as_fd())?;
                    trail.down(&child, fd, listing)?;
                    way.push(child);
                }
            }
            None => {
                let Some(child) = way.pop() else { return Ok(()) };
                trail.up()?;
                rustix::fs::unlinkat(trail.here(), child.as_slice(), AtFlags::REMOVEDIR)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::Mode;

    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn deep_and_wide_trees_go() {
        let scratch = Scratch::new();
        let root = scratch.open();
        rustix::fs::mkdirat(&root, "t", Mode::RWXU).expect("a directory");
        let mut trail = Trail::new(open_dir(root.as_fd(), b"t").expect("it"), ());
        for depth in 0..3000 {
            rustix::fs::symlinkat("/etc", trail.here(), "link").expect("a link");
            rustix::fs::mkdirat(trail.here(), "d", Mode::RWXU).expect("a directory");
            let fd =
                open_dir(trail.here(), b"d").unwrap_or_else(|errno| panic!("{depth}: {errno}"));
            trail.down(b"d", fd, ()).expect("down");
        }
        remove_tree(root.as_fd(), b"t").expect("removed");
        assert_eq!(open_dir(root.as_fd(), b"t").err(), Some(Errno::NOENT));
        remove_tree(root.as_fd(), b"t").expect("nothing to remove");
        assert!(std::fs::exists("/etc/passwd").expect("looked"));
    }
}
