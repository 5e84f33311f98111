//! The driver `btrfs`: every snapshot a subvolume, and a snapshot of its parent's.
//!
//! ```text
//! <number>/volume    the subvolume, with what `whole` describes in it
//! ```
//!
//! Nothing is copied and everything is shared, but the parent must be known from the beginning: a subvolume
//! cannot be put on top of another one later, so this driver does not rebase.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use dhow_archive::layer::{Change, Node};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::contract::{PrepareOptions, Snapshotter};
use super::directory::Directory;
use super::error::SnapshotError;
use super::mounts::{Mounts, View};
use super::whole::{ACTIVE, BARE, TREE, Whole};
use crate::db::{SnapshotNumber, SnapshotUsage};
use crate::layer::{
    Applied, ApplyOptions, ChangeKind, DiffError, DiffOptions, DiffSink, Form, Listing, Trail,
    open_dir,
};

const VOLUME: &str = "volume";
/// What `statfs` calls the file system.
const MAGIC: u64 = 0x9123_683e;
/// The number of a subvolume's root.
const ROOT_INODE: u64 = 256;

/// The driver.
#[derive(Debug)]
pub struct Btrfs {
    directory: Directory,
    form: Form,
}

impl Btrfs {
    /// The driver on its directory, `snapshots/btrfs`, which is made if it is not there.
    pub fn open(path: &Path, user_xattrs: bool) -> Result<Self, SnapshotError> {
        let directory = Directory::open(path)?;
        let stat =
            rustix::fs::fstatfs(directory.fd()).map_err(SnapshotError::io("look at", path))?;
        if stat.f_type as u64 != MAGIC {
            let needs = "a btrfs file system";
            return Err(SnapshotError::Unusable { driver: "btrfs", path: path.to_owned(), needs });
        }
        let form = if user_xattrs { Form::ApartUser } else { Form::Apart };
        Ok(Self { directory, form })
    }

    fn with<T>(
        &self,
        number: SnapshotNumber,
        work: impl FnOnce(&Whole<'_>) -> Result<T, SnapshotError>,
    ) -> Result<T, SnapshotError> {
        let path = self.directory.path_of(number);
        let dir = self.directory.snapshot(number)?;
        let volume = open_dir(dir.as_fd(), VOLUME.as_bytes())
            .map_err(SnapshotError::io("open the subvolume of", &path))?;
        work(&Whole { number, path: &path, dir, volume, form: self.form })
    }

    fn tree(&self, number: SnapshotNumber) -> Result<OwnedFd, SnapshotError> {
        self.with(number, |whole| whole.tree())
    }

    fn make(
        &self,
        number: SnapshotNumber,
        dir: &OwnedFd,
        parents: &[SnapshotNumber],
        options: &PrepareOptions,
    ) -> Result<(), SnapshotError> {
        let path = self.directory.path_of(number);
        let made = match parents.first() {
            None => dhow_sys::btrfs_create(dir.as_fd(), VOLUME),
            Some(parent) => self.with(*parent, |parent| {
                Ok(dhow_sys::btrfs_snapshot(parent.volume.as_fd(), dir.as_fd(), VOLUME))
            })?,
        };
        made.map_err(SnapshotError::io("make a subvolume in", &path))?;
        self.with(number, |whole| {
            if parents.is_empty() {
                whole.make_tree()?;
                whole.mark(BARE)?;
            }
            if let Some(size) = options.size_bytes_max {
                limit(whole, size)?;
            }
            whole.mark_stamp()?;
            whole.mark(ACTIVE)
        })
    }

    /// Removes subvolumes that were made inside a snapshot: anybody may make some.
    fn remove_nested(volume: OwnedFd) -> Result<(), Errno> {
        let listing = Listing::read(volume.as_fd())?;
        let mut trail = Trail::new(volume, listing);
        let mut way: Vec<(Vec<u8>, bool)> = Vec::new();
        loop {
            match trail.value().pop() {
                Some((name, FileType::Directory)) => {
                    let fd = open_dir(trail.here(), &name)?;
                    let is_volume = rustix::fs::fstat(&fd)?.st_ino == ROOT_INODE;
                    let listing = Listing::read(fd.as_fd())?;
                    trail.down(&name, fd, listing)?;
                    way.push((name, is_volume));
                }
                Some(_) => {}
                None => {
                    let Some((name, is_volume)) = way.pop() else { return Ok(()) };
                    trail.up()?;
                    if is_volume {
                        destroy(trail.here(), &name)?;
                    }
                }
            }
        }
    }

    fn destroy_volume(&self, number: SnapshotNumber) -> Result<(), SnapshotError> {
        let path = self.directory.path_of(number);
        let doing = "remove the subvolume of";
        let dir = match self.directory.snapshot(number) {
            Err(SnapshotError::NotFound { .. }) => return Ok(()),
            other => other?,
        };
        match dhow_sys::btrfs_destroy(dir.as_fd(), VOLUME) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::ROFS) => {}
            Err(errno) => return Err(SnapshotError::io(doing, &path)(errno)),
        }
        open_dir(dir.as_fd(), VOLUME.as_bytes())
            .and_then(|volume| {
                dhow_sys::btrfs_set_readonly(volume.as_fd(), false)?;
                Self::remove_nested(volume)
            })
            .and_then(|()| dhow_sys::btrfs_destroy(dir.as_fd(), VOLUME))
            .map_err(SnapshotError::io(doing, &path))
    }
}

/// A subvolume's name is any file's, which the call takes only as text.
fn destroy(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let text = std::str::from_utf8(name);
    if let Ok(text) = text {
        return dhow_sys::btrfs_destroy(dir, text);
    }
    const PLAIN: &str = ".dhow-removing";
    rustix::fs::renameat(dir, name, dir, PLAIN)?;
    dhow_sys::btrfs_destroy(dir, PLAIN)
}

/// Counts what is told of.
struct Counter(SnapshotUsage);

impl DiffSink for Counter {
    fn change(
        &mut self,
        _: ChangeKind,
        change: Change,
        _: Option<&mut dyn Read>,
    ) -> Result<(), DiffError> {
        if let Change::Put { node, .. } = change {
            self.0.inodes += 1;
            if let Node::File(content) = node {
                self.0.size_bytes += content.data_size();
            }
        }
        Ok(())
    }
}

fn limit(whole: &Whole<'_>, size: u64) -> Result<(), SnapshotError> {
    match dhow_sys::btrfs_limit(whole.volume.as_fd(), size) {
        Ok(()) => Ok(()),
        Err(Errno::NOTCONN | Errno::INVAL | Errno::NOTTY | Errno::PERM | Errno::NOENT) => {
            let needs = "quotas switched on (`btrfs quota enable`), and root";
            Err(SnapshotError::NoSizeLimit { driver: "btrfs", needs })
        }
        Err(errno) => Err(SnapshotError::io("limit the size of", whole.path)(errno)),
    }
}

impl Snapshotter for Btrfs {
    fn name(&self) -> &'static str {
        "btrfs"
    }

    fn rebases(&self) -> bool {
        false
    }

    fn prepare(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        options: &PrepareOptions,
    ) -> Result<(), SnapshotError> {
        let dir = self.directory.create(number)?;
        self.make(number, &dir, parents, options).inspect_err(|_| {
            // What the first error says matters; whatever is left here is found by `walk`.
            let _ = self.remove(number);
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
            if whole.has(BARE)? != parents.is_empty() {
                return Err(SnapshotError::ParentsDiffer { number });
            }
            if let Some(pending) = whole.pending()? {
                whole.merge(&pending)?;
            }
            dhow_sys::btrfs_set_readonly(whole.volume.as_fd(), true)
                .map_err(SnapshotError::io("make read-only", whole.path))?;
            whole.seal()
        })
    }

    fn mounts(
        &self,
        number: SnapshotNumber,
        _: &[SnapshotNumber],
        view: &View,
    ) -> Result<Mounts, SnapshotError> {
        self.with(number, |whole| whole.mounts(whole.path.join(VOLUME).join(TREE), view))
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

    /// Everything in a snapshot looks as if it were its own: what changed is what it takes.
    fn usage(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
    ) -> Result<SnapshotUsage, SnapshotError> {
        let mut counter = Counter(SnapshotUsage::default());
        self.diff(number, parents, &DiffOptions::NAMES, &mut counter)?;
        Ok(counter.0)
    }

    /// Nothing is ever made ready beforehand.
    fn release(&self, _: SnapshotNumber) -> Result<(), SnapshotError> {
        Ok(())
    }

    fn remove(&self, number: SnapshotNumber) -> Result<(), SnapshotError> {
        self.destroy_volume(number)?;
        self.directory.remove(number)
    }

    fn walk(&self) -> Result<Vec<SnapshotNumber>, SnapshotError> {
        self.directory.walk()
    }
}
