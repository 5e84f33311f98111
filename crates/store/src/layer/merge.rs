//! Puts a layer that was unpacked apart into a whole tree: what drivers without a stacking kernel do.
//!
//! Everything moves by renames within one file system; where the tree has nothing yet and the layer removes
//! nothing, a directory moves with all that is in it. What is left of the layer is the caller's to remove.
//! Absent on purpose: coming back after a crash. A tree that was cut off in the middle is thrown away.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, Timestamps};
use rustix::io::Errno;

use super::error::ApplyFault;
use super::form::{Form, Mark};
use super::list::Listing;
use super::metadata::{self, Target};
use super::pending::Pending;
use super::remove::remove_tree;
use super::trail::{Trail, open_dir};
use super::tree::TreeError;
use super::view::{is_whiteout, split};
use super::walk::open_below;

/// Merges `layer`, unpacked in `form`, into `tree`.
pub(crate) fn merge(
    layer: OwnedFd,
    tree: OwnedFd,
    form: Form,
    pending: &Pending,
) -> Result<(), TreeError> {
    let root = tree.try_clone().map_err(|_| TreeError {
        path: Vec::new(),
        fault: ApplyFault::Kernel { doing: "duplicate a descriptor", errno: Errno::MFILE },
    })?;
    let mut links = Vec::new();
    for (path, target) in &pending.links {
        let at = |fault| TreeError { path: path.clone(), fault };
        // To be asked before anything moves.
        if !has(layer.as_fd(), path).map_err(at)? {
            links.push((path, target));
        }
    }
    let whole = !pending.marks && !pending.implied;
    let mut merger = Merger::new(layer, tree, form, whole).map_err(TreeError::at(b"", b""))?;
    while merger.step()? {}
    for (path, target) in links {
        link(root.as_fd(), path, target)
            .map_err(|fault| TreeError { path: path.clone(), fault })?;
    }
    Ok(())
}

struct Merger {
    form: Form,
    /// Nothing in the layer has a mark: directories may move with all that is in them.
    whole: bool,
    from: Trail<Listing>,
    /// With the times that a directory is to have at last.
    to: Trail<Timestamps>,
}

impl Merger {
    fn new(layer: OwnedFd, tree: OwnedFd, form: Form, whole: bool) -> Result<Self, ApplyFault> {
        let listing =
            Listing::read(layer.as_fd()).map_err(ApplyFault::kernel("list a directory"))?;
        let times = Self::meet(layer.as_fd(), tree.as_fd(), form, false)?;
        let (from, to) = (Trail::new(layer, listing), Trail::new(tree, times));
        Ok(Self { form, whole, from, to })
    }

    fn step(&mut self) -> Result<bool, TreeError> {
        match self.from.value().pop() {
            Some((name, kind)) => {
                self.child(&name, kind).map_err(TreeError::at(self.from.path(), &name))?;
            }
            None => {
                self.leave().map_err(TreeError::at(self.from.path(), b""))?;
                return Ok(self.from.depth() > 0 && self.up().is_ok());
            }
        }
        Ok(true)
    }

    fn leave(&mut self) -> Result<(), ApplyFault> {
        let target = Target::Open(self.to.here());
        target.set_times(self.to.peek()).map_err(ApplyFault::kernel("change times"))
    }

    fn up(&mut self) -> Result<(), Errno> {
        self.from.up()?;
        self.to.up()?;
        Ok(())
    }

    fn child(&mut self, name: &[u8], kind: FileType) -> Result<(), ApplyFault> {
        let look = || ApplyFault::kernel("look at a file");
        let remove = || ApplyFault::kernel("remove a lower file");
        let (from, to) = (self.from.here(), self.to.here());
        if kind == FileType::CharacterDevice {
            let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(look())?;
            if is_whiteout(&stat) {
                return remove_tree(to, name).map_err(remove());
            }
        }
        let below = match rustix::fs::statat(to, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(look()(errno)),
        };
        match (kind, below) {
            (FileType::Directory, Some(FileType::Directory)) => self.down(name, false),
            (FileType::Directory, below) => {
                if below.is_some() {
                    remove_tree(to, name).map_err(remove())?;
                }
                if self.whole { self.take(name) } else { self.down(name, true) }
            }
            (_, below) => {
                if below == Some(FileType::Directory) {
                    remove_tree(to, name).map_err(remove())?;
                }
                self.take(name)
            }
        }
    }

    /// Moves a name over, whatever it is.
    fn take(&self, name: &[u8]) -> Result<(), ApplyFault> {
        rustix::fs::renameat(self.from.here(), name, self.to.here(), name)
            .map_err(ApplyFault::kernel("move a file of the layer"))
    }

    fn down(&mut self, name: &[u8], is_new: bool) -> Result<(), ApplyFault> {
        let open = || ApplyFault::kernel("open a directory");
        if is_new {
            rustix::fs::mkdirat(self.to.here(), name, Mode::RWXU)
                .map_err(ApplyFault::kernel("make a directory"))?;
        }
        let from = open_dir(self.from.here(), name).map_err(open())?;
        let to = open_dir(self.to.here(), name).map_err(open())?;
        let times = Self::meet(from.as_fd(), to.as_fd(), self.form, is_new)?;
        let listing =
            Listing::read(from.as_fd()).map_err(ApplyFault::kernel("list a directory"))?;
        self.from.down(name, from, listing).map_err(open())?;
        self.to.down(name, to, times).map_err(open())
    }

    /// A directory of the layer meets the one in the tree; the times that it is to have.
    fn meet(
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        form: Form,
        is_new: bool,
    ) -> Result<Timestamps, ApplyFault> {
        let read = || ApplyFault::kernel("read a mark");
        let has = |mark: Mark| {
            let value = Target::Open(from).xattr(form.mark(mark).to_bytes());
            value.map(|value| value.is_some()).map_err(read())
        };
        if has(Mark::Opaque)? {
            empty(to).map_err(ApplyFault::kernel("empty a lower directory"))?;
        }
        let (source, target) = (Target::Open(from), Target::Open(to));
        if has(Mark::Implied)? && !is_new {
            let stat = rustix::fs::fstat(to).map_err(read())?;
            return Ok(metadata::times_of(&stat));
        }
        let stat = rustix::fs::fstat(from).map_err(read())?;
        for name in target.xattrs(Form::Plain).map_err(read())?.keys() {
            target.remove_xattr(name).map_err(ApplyFault::kernel("remove an attribute"))?;
        }
        metadata::copy(source, &stat, form, target, Form::Plain)?;
        Ok(metadata::times_of(&stat))
    }
}

/// Removes all that is in a directory.
fn empty(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    for (name, _) in Listing::read(dir)?.into_sorted() {
        remove_tree(dir, &name)?;
    }
    Ok(())
}

/// Whether the layer itself has something there: then a later entry has taken the link's place.
fn has(layer: BorrowedFd<'_>, path: &[u8]) -> Result<bool, ApplyFault> {
    let (parent, name) = split(path);
    let look = || ApplyFault::kernel("look at a link's place");
    let dir = open_below(layer, parent).map_err(look())?;
    match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(look()(errno)),
    }
}

/// A hard link to what was in the tree before, in place of what was there.
fn link(tree: BorrowedFd<'_>, path: &[u8], target: &[u8]) -> Result<(), ApplyFault> {
    let missing = || ApplyFault::LinkMissing { target: target.to_vec() };
    let (parent, name) = split(path);
    let dir = open_below(tree, parent).map_err(ApplyFault::kernel("open a link's directory"))?;
    let stat = rustix::fs::fstat(&dir).map_err(ApplyFault::kernel("look at a directory"))?;
    remove_tree(dir.as_fd(), name).map_err(ApplyFault::kernel("remove a lower file"))?;
    let (parent, file) = split(target);
    let from = open_below(tree, parent).map_err(|_| missing())?;
    match rustix::fs::linkat(&from, file, &dir, name, AtFlags::empty()) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Err(missing()),
        Err(Errno::PERM) => return Err(ApplyFault::LinkTarget { target: target.to_vec() }),
        Err(errno) => return Err(ApplyFault::kernel("make a hard link")(errno)),
    }
    Target::Open(dir.as_fd())
        .set_times(&metadata::times_of(&stat))
        .map_err(ApplyFault::kernel("change times"))
}
