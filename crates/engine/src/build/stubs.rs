//! What is made only so that something can be mounted: empty files and directories that are no work of a command.
//!
//! Invariant: a name is removed only if it was not there before the command, has nothing in it, and something was
//! mounted on it or below. The command may have put links on the way: none is followed.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use dhow_builder::{Files, FilesError};
use dhow_store::Mounts;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Names that are made for mounts, those above before those in them.
#[derive(Debug, Clone, Default)]
pub(super) struct Stubs(BTreeSet<Vec<u8>>);

impl Stubs {
    /// What of the places where something is mounted is not there yet, with the directories above.
    pub(super) fn of<'a>(
        files: &dyn Files,
        places: impl Iterator<Item = &'a str>,
    ) -> Result<Self, FilesError> {
        let mut found = BTreeSet::new();
        for place in places {
            let mut path: Vec<u8> = Vec::new();
            for name in place.split('/').filter(|name| !name.is_empty()) {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name.as_bytes());
                if found.contains(&path) || files.look(&path)?.is_none() {
                    found.insert(path.clone());
                }
            }
        }
        Ok(Self(found))
    }

    /// Takes away what of them is still empty, in a snapshot that nobody uses any more.
    pub(super) fn remove(&self, mounts: &Mounts) -> Result<(), Errno> {
        let root = match mounts {
            Mounts::Bind { source, .. } => source,
            Mounts::Overlay { upper: Some(upper), .. } => &upper.upper,
            Mounts::Overlay { .. } => return Ok(()),
        };
        let root = open(root)?;
        for path in self.0.iter().rev() {
            match remove(&root, path) {
                // Gone, not empty, or something else by now: the command's own.
                Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::LOOP | Errno::NOTDIR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn remove(root: &OwnedFd, path: &[u8]) -> Result<(), Errno> {
    let at = path.iter().rposition(|byte| *byte == b'/');
    let (above, name) = match at {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b"."[..], path),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let directory = rustix::fs::openat2(root.as_fd(), above, flags, Mode::empty(), resolve)?;
    let found = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR),
        FileType::RegularFile if found.st_size == 0 => {
            rustix::fs::unlinkat(&directory, name, AtFlags::empty())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_is_empty_goes_and_links_lead_nowhere() {
        let root = std::env::temp_dir().join(format!("dhow-stubs-{}", std::process::id()));
        let path = |name: &str| root.join(name);
        for directory in ["up/cache/in", "up/etc", "outside/empty"] {
            fs::create_dir_all(path(directory)).expect("a directory");
        }
        fs::write(path("up/etc/hosts"), "").expect("a file");
        fs::write(path("up/etc/kept"), "").expect("a file");
        fs::write(path("up/full"), "x").expect("a file");
        symlink(path("outside"), path("up/link")).expect("a link");
        let names = ["cache", "cache/in", "etc", "etc/hosts", "full", "link", "link/empty", "none"];
        let stubs = Stubs(names.iter().map(|name| name.as_bytes().to_vec()).collect());
        let source = path("up");
        let mounts = Mounts::Bind { source, readonly: false, idmap: None };
        stubs.remove(&mounts).expect("removed");
        let there = |name: &str| path(name).symlink_metadata().is_ok();
        let left =
            ["up/cache", "up/etc/hosts", "up/etc/kept", "up/full", "up/link", "outside/empty"];
        assert_eq!(left.map(there), [false, false, true, true, true, true]);
        fs::remove_dir_all(&root).expect("removed");
    }
}
