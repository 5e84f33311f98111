//! The driver `vfs`: every snapshot a copy of its parent's tree.
//!
//! It needs nothing of the kernel, and shows what the others must show. Where the file system can share
//! blocks (btrfs, xfs) a copy costs inodes only; elsewhere it costs the image once more for each layer.
//! A layer is unpacked beside the tree and merged at the commit, so that layers unpack side by side here,
//! too. See [`whole`](super::whole) for what lies where.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::contract::{PrepareOptions, Snapshotter};
use super::directory::Directory;
use super::error::SnapshotError;
use super::mounts::{Mounts, View};
use super::quota;
use super::whole::{ACTIVE, BARE, TREE, Whole};
use crate::db::{SnapshotNumber, SnapshotUsage};
use crate::layer::{
    self, Applied, ApplyOptions, DiffOptions, DiffSink, Form, How, open_dir, remove_tree,
};

/// The driver.
#[derive(Debug)]
pub struct Vfs {
    directory: Directory,
    form: Form,
}

impl Vfs {
    /// The driver on its directory, `snapshots/vfs`, which is made if it is not there. With `user_xattrs`
    /// marks are attributes that need no rights: for stores of users.
    pub fn open(path: &Path, user_xattrs: bool) -> Result<Self, SnapshotError> {
        let form = if user_xattrs { Form::ApartUser } else { Form::Apart };
        Ok(Self { directory: Directory::open(path)?, form })
    }

    /// Runs `work` on a snapshot that is there.
    fn with<T>(
        &self,
        number: SnapshotNumber,
        work: impl FnOnce(&Whole<'_>) -> Result<T, SnapshotError>,
    ) -> Result<T, SnapshotError> {
        let path = self.directory.path_of(number);
        let dir = self.directory.snapshot(number)?;
        let volume = open_dir(dir.as_fd(), b".").map_err(SnapshotError::io("open", &path))?;
        work(&Whole { number, path: &path, dir, volume, form: self.form })
    }

    fn tree(&self, number: SnapshotNumber) -> Result<OwnedFd, SnapshotError> {
        self.with(number, |whole| whole.tree())
    }

    /// Makes the tree a copy of the parent's.
    fn copy(&self, whole: &Whole<'_>, parent: SnapshotNumber) -> Result<(), SnapshotError> {
        let view = layer::View::new(vec![self.tree(parent)?], Form::Plain);
        layer::copy_tree(&view, whole.tree()?, How::Copy).map_err(SnapshotError::tree(whole.number))
    }

    fn make(
        &self,
        whole: &Whole<'_>,
        parents: &[SnapshotNumber],
        options: &PrepareOptions,
    ) -> Result<(), SnapshotError> {
        if let Some(size) = options.size_bytes_max {
            quota::limit(whole.dir.as_fd(), whole.path, whole.number, size, "vfs")?;
        }
        whole.make_tree()?;
        match parents.first() {
            Some(parent) => self.copy(whole, *parent)?,
            None => whole.mark(BARE)?,
        }
        whole.mark_stamp()?;
        whole.mark(ACTIVE)
    }

    /// A layer that was unpacked on nothing gets its parent now.
    fn rebase(&self, whole: &Whole<'_>, parents: &[SnapshotNumber]) -> Result<(), SnapshotError> {
        let is_bare = whole.has(BARE)?;
        match parents.first() {
            None if !is_bare => Err(SnapshotError::ParentsDiffer { number: whole.number }),
            Some(parent) if is_bare => {
                let has_layer = whole.pending()?.is_some();
                if !has_layer {
                    return Err(SnapshotError::ParentsDiffer { number: whole.number });
                }
                // The layer was there before the tree: times of inodes tell nothing.
                whole.unmark_stamp()?;
                self.copy(whole, *parent)
            }
            _ => Ok(()),
        }
    }
}

impl Snapshotter for Vfs {
    fn name(&self) -> &'static str {
        "vfs"
    }

    fn rebases(&self) -> bool {
        true
    }

    fn prepare(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        options: &PrepareOptions,
    ) -> Result<(), SnapshotError> {
        self.directory.create(number)?;
        self.with(number, |whole| self.make(whole, parents, options)).inspect_err(|_| {
            // What the first error says matters; whatever is left here is found by `walk`.
            let _ = self.directory.remove(number);
        })
    }

    fn apply(
        &self,
        number: SnapshotNumber,
        source: &mut dyn Read,
        options: &ApplyOptions<'_>,
    ) -> Result<Applied, SnapshotError> {
        self.with(number, |whole| whole.apply(source, options))
    }

    fn commit(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
    ) -> Result<(), SnapshotError> {
        self.with(number, |whole| {
            if !whole.has(ACTIVE)? {
                return Ok(());
            }
            self.rebase(whole, parents)?;
            if let Some(pending) = whole.pending()? {
                whole.merge(&pending)?;
            }
            whole.seal()
        })
    }

    fn mounts(
        &self,
        number: SnapshotNumber,
        _: &[SnapshotNumber],
        view: &View,
    ) -> Result<Mounts, SnapshotError> {
        self.with(number, |whole| whole.mounts(whole.path.join(TREE), view))
    }

    fn diff(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        options: &DiffOptions<'_>,
        sink: &mut dyn DiffSink,
    ) -> Result<(), SnapshotError> {
        let parent = parents.first().map(|parent| self.tree(*parent)).transpose()?;
        self.with(number, |whole| whole.diff(parent, options, sink))
    }

    fn export(
        &self,
        number: SnapshotNumber,
        _: &[SnapshotNumber],
        options: &DiffOptions<'_>,
        sink: &mut dyn DiffSink,
    ) -> Result<(), SnapshotError> {
        self.with(number, |whole| whole.diff(None, options, sink))
    }

    fn usage(
        &self,
        number: SnapshotNumber,
        _: &[SnapshotNumber],
    ) -> Result<SnapshotUsage, SnapshotError> {
        layer::usage(self.tree(number)?).map_err(SnapshotError::tree(number))
    }

    /// Nothing is ever made ready beforehand.
    fn release(&self, _: SnapshotNumber) -> Result<(), SnapshotError> {
        Ok(())
    }

    fn remove(&self, number: SnapshotNumber) -> Result<(), SnapshotError> {
        quota::forget(self.directory.fd().as_fd(), number);
        remove_tree(self.directory.fd().as_fd(), number.to_string().as_bytes())
            .map_err(SnapshotError::io("remove", &self.directory.path_of(number)))
    }

    fn walk(&self) -> Result<Vec<SnapshotNumber>, SnapshotError> {
        self.directory.walk()
    }
}
