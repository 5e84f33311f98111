//! What drivers have in common for which every snapshot is a whole tree.
//!
//! ```text
//! fs        the tree
//! layer     a layer, between unpacking and commit
//! ```
//!
//! Both in one directory that the driver says, on one file system and in one subvolume. Beside them, in the
//! snapshot's directory:
//!
//! ```text
//! active    there as long as it may be written
//! bare      there if it was prepared on nothing
//! stamp     made when the tree was a copy of the parent's
//! pending   between unpacking and commit
//! ```

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, Stat, Timespec};
use rustix::io::Errno;

use super::directory::subdirectory;
use super::error::SnapshotError;
use super::mounts::{self, Mounts};
use crate::db::SnapshotNumber;
use crate::layer::{
    self, Applied, ApplyOptions, DiffOptions, DiffSink, Form, Pending, View, open_dir, remove_tree,
};

pub(super) const TREE: &str = "fs";
pub(super) const ACTIVE: &str = "active";
pub(super) const BARE: &str = "bare";
const STAMP: &str = "stamp";
const LAYER: &str = "layer";
/// Half of the shortest tick; no clock needs more of them for its next one.
const TICK: Duration = Duration::from_millis(1);
const TICKS_MAX: usize = 100;

/// One snapshot of such a driver.
pub(super) struct Whole<'a> {
    pub(super) number: SnapshotNumber,
    /// Where it lies, for messages.
    pub(super) path: &'a Path,
    /// The snapshot's directory.
    pub(super) dir: OwnedFd,
    /// The directory that has the tree in it.
    pub(super) volume: OwnedFd,
    pub(super) form: Form,
}

impl Whole<'_> {
    /// Makes an empty tree, open to all whatever the process's mask is.
    pub(super) fn make_tree(&self) -> Result<(), SnapshotError> {
        subdirectory(&self.volume, TREE, 0o755)
            .and_then(|tree| rustix::fs::fchmod(tree, Mode::from_raw_mode(0o755)))
            .map_err(SnapshotError::io("make the tree of", self.path))
    }

    /// The tree, which lies at `source`, as somebody wants to see it.
    pub(super) fn mounts(
        &self,
        source: PathBuf,
        view: &mounts::View,
    ) -> Result<Mounts, SnapshotError> {
        if !view.readonly && !self.has(ACTIVE)? {
            return Err(SnapshotError::Committed { number: self.number });
        }
        Ok(Mounts::Bind { source, readonly: view.readonly, idmap: view.idmap.clone() })
    }

    /// Whether a mark is there.
    pub(super) fn has(&self, name: &str) -> Result<bool, SnapshotError> {
        match rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(SnapshotError::io("look into", self.path)(errno)),
        }
    }

    /// Makes a mark.
    pub(super) fn mark(&self, name: &str) -> Result<(), SnapshotError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR)
            .map(drop)
            .map_err(SnapshotError::io("make a mark in", self.path))
    }

    /// Takes a mark away.
    pub(super) fn unmark(&self, name: &str) -> Result<(), SnapshotError> {
        match rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(SnapshotError::io("remove a mark in", self.path)(errno)),
        }
    }

    pub(super) fn tree(&self) -> Result<OwnedFd, SnapshotError> {
        open_dir(self.volume.as_fd(), TREE.as_bytes())
            .map_err(SnapshotError::io("open the tree of", self.path))
    }

    /// Unpacks a layer beside the tree.
    pub(super) fn apply(
        &self,
        source: &mut dyn Read,
        options: &ApplyOptions<'_>,
    ) -> Result<Applied, SnapshotError> {
        if !self.has(ACTIVE)? {
            return Err(SnapshotError::Committed { number: self.number });
        }
        let layer = subdirectory(&self.volume, LAYER, 0o755)
            .map_err(SnapshotError::io("make a directory in", self.path))?;
        let work = self.volume.as_fd();
        let (applied, pending) = layer::apply(source, layer, work, self.form, options)?;
        pending.write(self.dir.as_fd()).map_err(SnapshotError::io("write to", self.path))?;
        Ok(applied)
    }

    /// What is to be merged, if a layer was unpacked.
    pub(super) fn pending(&self) -> Result<Option<Pending>, SnapshotError> {
        Pending::read(self.dir.as_fd()).map_err(SnapshotError::io("read in", self.path))
    }

    /// Merges the layer into the tree.
    pub(super) fn merge(&self, pending: &Pending) -> Result<(), SnapshotError> {
        let layer = open_dir(self.volume.as_fd(), LAYER.as_bytes())
            .map_err(SnapshotError::io("open the layer of", self.path))?;
        layer::merge(layer, self.tree()?, self.form, pending)
            .map_err(SnapshotError::tree(self.number))?;
        remove_tree(self.volume.as_fd(), LAYER.as_bytes())
            .map_err(SnapshotError::io("remove the layer of", self.path))
    }

    /// Nothing changes any more, and all of it is on disk.
    pub(super) fn seal(&self) -> Result<(), SnapshotError> {
        Pending::remove(self.dir.as_fd())
            .map_err(SnapshotError::io("remove a file in", self.path))?;
        self.unmark(BARE)?;
        self.unmark(ACTIVE)?;
        rustix::fs::syncfs(&self.dir).map_err(SnapshotError::io("sync", self.path))
    }

    /// Tells what is otherwise than in `parent`'s tree.
    pub(super) fn diff(
        &self,
        parent: Option<OwnedFd>,
        options: &DiffOptions<'_>,
        sink: &mut dyn DiffSink,
    ) -> Result<(), SnapshotError> {
        let old = View::new(parent.into_iter().collect(), Form::Plain);
        let new = View::new(vec![self.tree()?], Form::Plain);
        layer::diff(&old, &new, self.stamp()?, options, sink)
            .map_err(|error| SnapshotError::Diff { number: self.number, error: Box::new(error) })
    }

    /// Notes that the tree is a copy of the parent's now, at a moment after all that is in it: what the
    /// kernel says of an inode's last change is only as exact as its tick.
    pub(super) fn mark_stamp(&self) -> Result<(), SnapshotError> {
        let io = || SnapshotError::io("make a stamp in", self.path);
        let changed = |stat: &Stat| (stat.st_ctime, stat.st_ctime_nsec);
        let tree = changed(&rustix::fs::fstat(self.tree()?).map_err(io())?);
        for _ in 0..TICKS_MAX {
            self.mark(STAMP)?;
            let stat = rustix::fs::statat(&self.dir, STAMP, AtFlags::SYMLINK_NOFOLLOW);
            if changed(&stat.map_err(io())?) > tree {
                return Ok(());
            }
            self.unmark(STAMP)?;
            std::thread::sleep(TICK);
        }
        // A clock that stands still: everything is compared.
        Ok(())
    }

    /// Forgets the stamp.
    pub(super) fn unmark_stamp(&self) -> Result<(), SnapshotError> {
        self.unmark(STAMP)
    }

    /// When the tree was a copy of the parent's.
    fn stamp(&self) -> Result<Option<Timespec>, SnapshotError> {
        match rustix::fs::statat(&self.dir, STAMP, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let time = Timespec { tv_sec: stat.st_ctime, tv_nsec: stat.st_ctime_nsec as i64 };
                Ok(Some(time))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(SnapshotError::io("look into", self.path)(errno)),
        }
    }
}
