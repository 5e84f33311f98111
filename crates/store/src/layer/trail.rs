//! A way down a tree, one directory descriptor below the other.
//!
//! Invariant: every directory was opened by its name in the one before, never through a symbolic link;
//! however deep the way, only so many descriptors are open. Those above are opened again by `..` when
//! the way leads back, and must be the directories that they were.
//! Absent on purpose: any decision on what to do where a name is no directory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// This many directories of a way are open at once.
const OPEN_MAX: usize = 48;

pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);

/// Which file it is, on this machine and now.
pub(crate) type FileId = (u64, u64);

/// Opens a directory by its name in another one.
pub(crate) fn open_dir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, DIRECTORY, Mode::empty())
}

pub(crate) fn file_id(fd: BorrowedFd<'_>) -> Result<FileId, Errno> {
    rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino))
}

/// The way from a root to where we are, with something kept for each directory on it.
#[derive(Debug)]
pub(crate) struct Trail<T> {
    levels: Vec<Level<T>>,
    /// The names on the way, joined by slashes.
    path: Vec<u8>,
}

#[derive(Debug)]
struct Level<T> {
    place: Place,
    /// Length of the path up to here.
    end: usize,
    value: T,
}

#[derive(Debug)]
enum Place {
    Open(OwnedFd),
    Closed(FileId),
}

impl<T> Trail<T> {
    /// A way that begins at `root`.
    pub(crate) fn new(root: OwnedFd, value: T) -> Self {
        let level = Level { place: Place::Open(root), end: 0, value };
        Self { levels: vec![level], path: Vec::new() }
    }

    /// How many directories below the root we are.
    pub(crate) fn depth(&self) -> usize {
        self.levels.len() - 1
    }

    /// Where we are, relative to the root.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The directory that we are in.
    pub(crate) fn here(&self) -> BorrowedFd<'_> {
        match &self.levels[self.levels.len() - 1].place {
            Place::Open(fd) => fd.as_fd(),
            // `up` opens a level before it becomes the last one.
            Place::Closed(_) => unreachable!("the last directory of a way is open"),
        }
    }

    /// What is kept for it.
    pub(crate) fn value(&mut self) -> &mut T {
        let last = self.levels.len() - 1;
        &mut self.levels[last].value
    }

    /// The same, to look at.
    pub(crate) fn peek(&self) -> &T {
        &self.levels[self.levels.len() - 1].value
    }

    /// Goes on into `fd`, which is called `name` here.
    pub(crate) fn down(&mut self, name: &[u8], fd: OwnedFd, value: T) -> Result<(), Errno> {
        if let Some(far) = self.levels.len().checked_sub(OPEN_MAX) {
            let level = &mut self.levels[far];
            if let Place::Open(fd) = &level.place {
                level.place = Place::Closed(file_id(fd.as_fd())?);
            }
        }
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        self.levels.push(Level { place: Place::Open(fd), end: self.path.len(), value });
        Ok(())
    }

    /// Goes back by one directory, which must not be the root.
    pub(crate) fn up(&mut self) -> Result<T, Errno> {
        let Some(left) = self.levels.pop() else { unreachable!("a way has a root") };
        let above = self.levels.last_mut().expect("nobody leaves the root");
        if let (Place::Closed(expected), Place::Open(fd)) = (&above.place, &left.place) {
            let parent = open_dir(fd.as_fd(), b"..")?;
            if file_id(parent.as_fd())? != *expected {
                // Somebody else has moved a directory of this tree.
                return Err(Errno::STALE);
            }
            above.place = Place::Open(parent);
        }
        self.path.truncate(above.end);
        Ok(left.value)
    }

    /// How many directories of the way lead to `path`, too, and what of `path` is left behind them.
    pub(crate) fn common<'a>(&self, path: &'a [u8]) -> (usize, &'a [u8]) {
        let mut depth = 0;
        let mut end = 0;
        for level in &self.levels[1..] {
            let is_there = path.get(..level.end) == Some(&self.path[..level.end])
                && matches!(path.get(level.end), None | Some(b'/'));
            if !is_there {
                break;
            }
            depth += 1;
            end = level.end;
        }
        let rest = &path[end..];
        (depth, rest.strip_prefix(b"/").unwrap_or(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn deeper_than_descriptors_are_open() {
        let scratch = Scratch::new();
        let mut trail = Trail::new(scratch.open(), 0);
        for depth in 1..=OPEN_MAX * 3 {
            rustix::fs::mkdirat(trail.here(), "d", Mode::RWXU).expect("a directory");
            let fd = open_dir(trail.here(), b"d").expect("it");
            trail.down(b"d", fd, depth).expect("down");
        }
        let open = trail.levels.iter().filter(|level| matches!(level.place, Place::Open(_)));
        assert_eq!(open.count(), OPEN_MAX);
        for depth in (1..=OPEN_MAX * 3).rev() {
            assert_eq!(trail.path().len(), depth * 2 - 1);
            assert_eq!(trail.up(), Ok(depth));
        }
        assert_eq!(trail.depth(), 0);
        assert_eq!(file_id(trail.here()), file_id(scratch.open().as_fd()));
    }

    #[test]
    fn what_ways_have_in_common() {
        let scratch = Scratch::new();
        let mut trail = Trail::new(scratch.open(), ());
        for name in [&b"ab"[..], b"c"] {
            rustix::fs::mkdirat(trail.here(), name, Mode::RWXU).expect("a directory");
            let fd = open_dir(trail.here(), name).expect("it");
            trail.down(name, fd, ()).expect("down");
        }
        let check = |path: &str, depth, rest: &str| {
            assert_eq!(trail.common(path.as_bytes()), (depth, rest.as_bytes()), "{path}");
        };
        check("ab/c", 2, "");
        check("ab/c/d/e", 2, "d/e");
        check("ab/cd", 1, "cd");
        check("abc", 0, "abc");
        check("a", 0, "a");
        check("", 0, "");
    }
}
