//! Hard links: to files of this layer, to files kept aside, and to files of the layers below.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use dhow_archive::layer::{LayerPath, LinkTarget};
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::make::absent;
use super::{Applier, ApplyFault};
use crate::layer::remove::remove_tree;
use crate::layer::trail::open_dir;
use crate::layer::walk::open_below;

/// Where files lie that only hard links name.
const ASIDE: &str = "aside";
/// What links to layers below may take of memory; real layers have a handful.
const PENDING_BYTES_MAX: usize = 8 << 20;

/// What is remembered between hard links.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// The directory that the last link pointed into: links come in groups.
    last: Option<(Vec<u8>, OwnedFd)>,
    aside: Option<OwnedFd>,
    pending_bytes: usize,
}

impl Links {
    /// Something was removed, perhaps the directory that we remember.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// The directory for files that are kept aside.
    pub(super) fn aside(&mut self, work: BorrowedFd<'_>) -> Result<BorrowedFd<'_>, ApplyFault> {
        if self.aside.is_none() {
            let made = rustix::fs::mkdirat(work, ASIDE, Mode::RWXU)
                .and_then(|()| open_dir(work, ASIDE.as_bytes()));
            self.aside = Some(made.map_err(ApplyFault::kernel("make a directory aside"))?);
        }
        match &self.aside {
            Some(dir) => Ok(dir.as_fd()),
            None => unreachable!("it was just made"),
        }
    }

    /// The directory `path` below `root`; `None` if there is none.
    fn parent(
        &mut self,
        root: BorrowedFd<'_>,
        path: &[u8],
    ) -> Result<Option<BorrowedFd<'_>>, ApplyFault> {
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            self.last = match open_below(root, path) {
                Ok(fd) => Some((path.to_vec(), fd)),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(ApplyFault::Through),
                Err(errno) => return Err(ApplyFault::kernel("open a link's target")(errno)),
            };
        }
        Ok(self.last.as_ref().map(|(_, fd)| fd.as_fd()))
    }
}

impl<R: Read> Applier<'_, R> {
    /// Gives a file another name, where we are.
    pub(super) fn link(
        &mut self,
        name: &[u8],
        path: &LayerPath,
        target: LinkTarget,
    ) -> Result<(), ApplyFault> {
        match target {
            LinkTarget::Aside(file) => {
                let missing = || ApplyFault::LinkMissing { target: file.clone() };
                let dir = self.links.aside.as_ref().ok_or_else(missing)?;
                let dir = dir.try_clone().map_err(|_| ApplyFault::Kernel {
                    doing: "duplicate a descriptor",
                    errno: Errno::MFILE,
                })?;
                match self.link_from(dir.as_fd(), &file, name) {
                    Err(Errno::NOENT) => Err(missing()),
                    other => other.map_err(ApplyFault::kernel("make a hard link")),
                }
            }
            LinkTarget::Path(target) => self.link_to(name, path, &target),
        }
    }

    fn link_to(
        &mut self,
        name: &[u8],
        path: &LayerPath,
        target: &LayerPath,
    ) -> Result<(), ApplyFault> {
        let stored = || ApplyFault::LinkTarget { target: target.as_bytes().to_vec() };
        let Some((parent, file)) = target.split() else { return Err(stored()) };
        // A copy of the descriptor, because making the link may change what is remembered.
        let dir = match self.links.parent(self.root.as_fd(), parent.as_bytes())? {
            Some(dir) => dir.try_clone_to_owned().map_err(|_| ApplyFault::Kernel {
                doing: "duplicate a descriptor",
                errno: Errno::MFILE,
            })?,
            None => return self.defer(path, target),
        };
        match rustix::fs::statat(&dir, file, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => return Err(stored()),
                FileType::CharacterDevice if stat.st_rdev == 0 => return Err(stored()),
                _ => {}
            },
            Err(Errno::NOENT) => return self.defer(path, target),
            Err(errno) => return Err(ApplyFault::kernel("look at a link's target")(errno)),
        }
        self.link_from(dir.as_fd(), file, name).map_err(ApplyFault::kernel("make a hard link"))
    }

    fn link_from(&mut self, dir: BorrowedFd<'_>, file: &[u8], name: &[u8]) -> Result<(), Errno> {
        self.make(name, |here| rustix::fs::linkat(dir, file, here, name, AtFlags::empty()))
    }

    /// The target may be in a layer below; that is found out at the commit. What this layer has put in
    /// the link's place before goes now.
    fn defer(&mut self, path: &LayerPath, target: &LayerPath) -> Result<(), ApplyFault> {
        let (path, target) = (path.as_bytes().to_vec(), target.as_bytes().to_vec());
        self.links.pending_bytes += path.len() + target.len() + 64;
        if self.links.pending_bytes > PENDING_BYTES_MAX {
            return Err(ApplyFault::LinkMissing { target });
        }
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        remove_tree(self.trail.here(), name)
            .map_err(ApplyFault::kernel("remove what was there"))?;
        self.links.forget();
        self.touch();
        self.pending.links.push((path, target));
        Ok(())
    }

    /// Removes the names of files that were kept aside; links have given them others.
    pub(super) fn drop_aside(&mut self) -> Result<(), ApplyFault> {
        if self.links.aside.take().is_none() {
            return Ok(());
        }
        remove_tree(self.work, ASIDE.as_bytes())
            .or_else(absent)
            .map_err(ApplyFault::kernel("remove the directory aside"))
    }
}
