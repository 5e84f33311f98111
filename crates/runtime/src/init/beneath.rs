//! Paths below a root file system that nobody trusts.
//!
//! Every look-up goes through `openat2(RESOLVE_IN_ROOT)`: a symlink, absolute or with any number of
//! `..`, ends inside the root, and magic links are not followed. Nothing here allocates.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use dhow_sys::Errno;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::report::{At, Fault, InStep};

/// As many links as the kernel itself follows in one look-up.
const LINKS_MAX: usize = 40;
/// A concurrent rename below the root makes openat2 answer "again"; this often it may.
const RACES_MAX: usize = 64;
const PATH_BYTES_MAX: usize = 4096;
const DIR_MODE: Mode = Mode::from_raw_mode(0o755);
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// A descriptor of the child's that exec will close: closing it is a call of its own, and a container has
/// dozens of them. Above a number that no usual limit of open files comes near, it is closed at once.
#[derive(Debug)]
pub(crate) struct Place(Option<OwnedFd>);

/// Descriptors from this number on are not left open.
const LEFT_OPEN_MAX: i32 = 256;

impl Place {
    /// Takes the descriptor out, for who wants it closed.
    pub(crate) fn into_fd(mut self) -> Option<OwnedFd> {
        self.0.take()
    }
}

impl From<OwnedFd> for Place {
    fn from(fd: OwnedFd) -> Self {
        Self(Some(fd))
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // Only `into_fd` and `drop` empty it, and neither leaves anybody to ask.
        self.0.as_ref().map_or(rustix::fs::CWD, AsFd::as_fd)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(fd) = self.0.take()
            && fd.as_raw_fd() < LEFT_OPEN_MAX
        {
            let _ = fd.into_raw_fd();
        }
    }
}

/// What a mount's target must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// Opens `path`, which is relative to `root`; `.` is the root itself.
pub(crate) fn open(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<Place, Errno> {
    let path = if path.is_empty() { c"." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut races = 0;
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if races < RACES_MAX => races += 1,
            other => return other.map(Place::from),
        }
    }
}

/// Opens `path` as a place (`O_PATH`), making it and its missing parents first.
///
/// A symlink on the way that leads to nothing is followed inside the root and what it names is made, as
/// runc does: images link `/var/run` to a `/run` that they do not have.
pub(crate) fn open_or_make(root: BorrowedFd<'_>, path: &CStr, kind: Kind) -> Result<Place, Fault> {
    match open(root, path, OFlags::PATH) {
        Err(Errno::NOENT) => make(root, path, kind),
        other => other.at(At::Target),
    }
}

/// The second half of [`open_or_make`], for a `path` that was not there.
pub(crate) fn make(root: BorrowedFd<'_>, path: &CStr, kind: Kind) -> Result<Place, Fault> {
    // Most often only the last name is missing.
    let bytes = path.to_bytes();
    let cut = bytes.iter().rposition(|byte| *byte == b'/');
    let (parent, name) = cut.map_or((&b""[..], bytes), |at| (&bytes[..at], &bytes[at + 1..]));
    let (parent, name) = (Segment::of(parent)?, Segment::of(name)?);
    match open(root, parent.as_c_str(), OFlags::PATH)
        .and_then(|dir| make_one(dir.as_fd(), name.as_c_str(), kind))
    {
        Err(Errno::NOENT | Errno::EXIST) => Walk::new(path)?.make(root, kind),
        other => other.at(At::MakeTarget),
    }
}

/// A path being made: a buffer that following a link rewrites.
struct Walk {
    bytes: [u8; PATH_BYTES_MAX],
    length: usize,
    links: usize,
}

impl Walk {
    fn new(path: &CStr) -> Result<Self, Fault> {
        let path = path.to_bytes();
        let mut walk = Self { bytes: [0; PATH_BYTES_MAX], length: path.len(), links: 0 };
        let room = walk.bytes.get_mut(..path.len()).ok_or(Errno::NAMETOOLONG).at(At::MakeTarget)?;
        room.copy_from_slice(path);
        Ok(walk)
    }

    fn make(&mut self, root: BorrowedFd<'_>, kind: Kind) -> Result<Place, Fault> {
        'again: loop {
            let mut parent: Option<Place> = None;
            let mut start = 0;
            while let Some((from, end)) = self.component(start) {
                let last = self.component(end).is_none();
                let opened = open(root, Segment::of(&self.bytes[..end])?.as_c_str(), OFlags::PATH);
                let place = match opened {
                    Ok(place) => place,
                    Err(Errno::NOENT) => {
                        let name = Segment::of(&self.bytes[from..end])?;
                        let dir = parent.as_ref().map_or(root, AsFd::as_fd);
                        let kind = if last { kind } else { Kind::Directory };
                        match make_one(dir, name.as_c_str(), kind) {
                            Ok(place) => place,
                            Err(Errno::EXIST) => {
                                self.follow(dir, name.as_c_str(), from, end)?;
                                continue 'again;
                            }
                            Err(errno) => return Err(errno).at(At::MakeTarget),
                        }
                    }
                    Err(errno) => return Err(errno).at(At::Target),
                };
                parent = Some(place);
                start = end;
            }
            return match parent {
                Some(place) => Ok(place),
                None => open(root, c".", OFlags::PATH).at(At::Target),
            };
        }
    }

    /// The next name at or after `start`: where it begins and ends.
    fn component(&self, start: usize) -> Option<(usize, usize)> {
        let path = &self.bytes[..self.length];
        let from = start + path[start..].iter().position(|byte| *byte != b'/')?;
        let end =
            path[from..].iter().position(|byte| *byte == b'/').map_or(path.len(), |at| from + at);
        Some((from, end))
    }

    /// Replaces the link at `from..end`, which leads to nothing yet, by what it says.
    fn follow(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        from: usize,
        end: usize,
    ) -> Result<(), Fault> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP).at(At::MakeTarget);
        }
        let mut target = [0u8; PATH_BYTES_MAX];
        let length = rustix::fs::readlinkat_raw(dir, name, &mut target[..]).at(At::MakeTarget)?;
        let target = &target[..length];
        // An absolute link starts at the root again, a relative one where it stands.
        let prefix = if target.first() == Some(&b'/') { 0 } else { from };
        let rest = self.length - end;
        let length = prefix + target.len() + rest;
        if length >= PATH_BYTES_MAX {
            return Err(Errno::NAMETOOLONG).at(At::MakeTarget);
        }
        self.bytes.copy_within(end..self.length, prefix + target.len());
        self.bytes[prefix..prefix + target.len()].copy_from_slice(target);
        self.length = length;
        Ok(())
    }
}

/// Makes one name in a directory that is already known to lie inside the root.
fn make_one(dir: BorrowedFd<'_>, name: &CStr, kind: Kind) -> Result<Place, Errno> {
    match kind {
        Kind::Directory => rustix::fs::mkdirat(dir, name, DIR_MODE)?,
        Kind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            drop(rustix::fs::openat(dir, name, flags, FILE_MODE)?);
        }
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).map(Place::from)
}

/// A NUL-terminated copy of a part of a path.
struct Segment([u8; PATH_BYTES_MAX]);

impl Segment {
    fn of(bytes: &[u8]) -> Result<Self, Fault> {
        let mut copy = [0; PATH_BYTES_MAX];
        if bytes.len() >= PATH_BYTES_MAX {
            return Err(Errno::NAMETOOLONG).at(At::MakeTarget);
        }
        copy[..bytes.len()].copy_from_slice(bytes);
        Ok(Self(copy))
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    struct Root {
        outside: PathBuf,
        root: PathBuf,
    }

    impl Root {
        fn new(name: &str) -> Self {
            let outside =
                std::env::temp_dir().join(format!("dhow-beneath-{name}-{}", std::process::id()));
            let root = outside.join("root");
            std::fs::create_dir_all(&root).unwrap();
            Self { outside, root }
        }

        fn fd(&self) -> OwnedFd {
            rustix::fs::open(&self.root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
        }

        fn make(&self, path: &CStr, kind: Kind) -> Result<Place, Fault> {
            open_or_make(self.fd().as_fd(), path, kind)
        }

        /// Everything that is outside the root: it must stay empty.
        fn strays(&self) -> Vec<PathBuf> {
            let entries = std::fs::read_dir(&self.outside).unwrap();
            entries.map(|entry| entry.unwrap().path()).filter(|path| *path != self.root).collect()
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.outside);
        }
    }

    fn is_dir(path: &Path) -> bool {
        std::fs::symlink_metadata(path).unwrap().is_dir()
    }

    #[test]
    fn missing_parents_are_made() {
        let root = Root::new("parents");
        root.make(c"a/b/c", Kind::Directory).unwrap();
        root.make(c"a/b/d/file", Kind::File).unwrap();
        assert!(is_dir(&root.root.join("a/b/c")));
        assert!(root.root.join("a/b/d/file").is_file());
        root.make(c"a/b/c", Kind::Directory).unwrap();
    }

    #[test]
    fn links_out_of_the_root_end_inside_it() {
        let root = Root::new("links");
        symlink("/escape", root.root.join("absolute")).unwrap();
        symlink("../../../escape", root.root.join("relative")).unwrap();
        symlink("../../..", root.root.join("up")).unwrap();
        root.make(c"absolute/x", Kind::Directory).unwrap();
        root.make(c"relative/y", Kind::File).unwrap();
        root.make(c"up/z", Kind::Directory).unwrap();
        assert!(is_dir(&root.root.join("escape/x")));
        assert!(root.root.join("escape/y").is_file());
        assert!(is_dir(&root.root.join("z")));
        assert_eq!(root.strays(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_chain_of_links_to_nothing_is_made_and_a_loop_is_refused() {
        let root = Root::new("chain");
        symlink("two", root.root.join("one")).unwrap();
        symlink("/run/three", root.root.join("two")).unwrap();
        root.make(c"one/x", Kind::Directory).unwrap();
        assert!(is_dir(&root.root.join("run/three/x")));
        symlink("loop", root.root.join("loop")).unwrap();
        let fault = root.make(c"loop/x", Kind::Directory).unwrap_err();
        assert_eq!(fault.errno, Errno::LOOP);
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let root = Root::new("file");
        std::fs::write(root.root.join("file"), "").unwrap();
        let fault = root.make(c"file/x", Kind::Directory).unwrap_err();
        assert_eq!(fault, Fault { at: At::Target, errno: Errno::NOTDIR });
    }
}
