//! Gives a layer that was unpacked apart what it needs from the layers below, once they are known.
//!
//! Directories that the layer did not speak of get owner, mode, attributes and times of the lower ones, as
//! if it had been unpacked on top of them; hard links to lower files bring a copy of the file up, as overlay
//! itself would. Doing it twice changes nothing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::copy::copy_file;
use super::error::ApplyFault;
use super::form::{Form, Mark};
use super::list::Listing;
use super::metadata::{self, Target};
use super::pending::Pending;
use super::trail::{Trail, open_dir};
use super::tree::TreeError;
use super::view::{Dir, View, Walk, split};
use super::walk::open_below;

/// Settles what is pending in `own`, a layer in `form`, on top of `lowers`, the topmost first.
pub(crate) fn settle(
    own: BorrowedFd<'_>,
    lowers: Vec<OwnedFd>,
    form: Form,
    pending: &Pending,
) -> Result<(), TreeError> {
    let lowers = View::new(lowers, form);
    for (path, target) in &pending.links {
        link(own, &lowers, form, path, target)
            .map_err(|fault| TreeError { path: path.clone(), fault })?;
    }
    // Links may have made directories.
    let all = pending.implied || !pending.links.is_empty();
    Implied { form, lowers: &lowers }.settle(own, all)
}

fn link(
    own: BorrowedFd<'_>,
    lowers: &View,
    form: Form,
    path: &[u8],
    target: &[u8],
) -> Result<(), ApplyFault> {
    let look = ApplyFault::kernel;
    let (parent, name) = split(path);
    let dir = open_below(own, parent).map_err(look("open a link's directory"))?;
    if rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        // A later entry has taken the place, or this was done before.
        return Ok(());
    }
    let (target_parent, target_name) = split(target);
    let target_dir = bring_up(own, lowers, form, target, target_parent, target_name)?;
    keep_times(dir.as_fd(), || {
        rustix::fs::linkat(&target_dir, target_name, &dir, name, AtFlags::empty())
            .map_err(look("make a hard link"))
    })
}

/// Sees to it that this layer has a link's target itself; its directory.
fn bring_up(
    own: BorrowedFd<'_>,
    lowers: &View,
    form: Form,
    target: &[u8],
    parent: &[u8],
    name: &[u8],
) -> Result<OwnedFd, ApplyFault> {
    let missing = || ApplyFault::LinkMissing { target: target.to_vec() };
    let look = || ApplyFault::kernel("look at a link's target");
    let layer = own.try_clone_to_owned().map_err(|_| look()(Errno::MFILE))?;
    // Whiteouts and opaque directories of this layer count, too.
    let own_view = View::new(vec![layer], form);
    let mut below = lowers.root().map_err(look())?;
    let mut here = own_view.root().map_err(look())?;
    for part in parent.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        let next = match &here {
            Some(dir) => match own_view.find(dir, part).map_err(look())? {
                Some(child) if child.kind != FileType::Directory => return Err(missing()),
                Some(_) => own_view.enter(dir, part).map_err(look())?,
                None if is_hidden(dir.top(), part).map_err(look())? => return Err(missing()),
                None => None,
            },
            None => None,
        };
        let hides = match &next {
            Some(dir) => is_opaque(dir.top(), form).map_err(look())?,
            None => false,
        };
        below = match below {
            Some(dir) if !hides => lowers.enter(&dir, part).map_err(look())?,
            _ => None,
        };
        here = next;
    }
    if let Some(dir) = &here {
        match own_view.find(dir, name).map_err(look())? {
            Some(child) if child.kind == FileType::Directory => {
                return Err(ApplyFault::LinkTarget { target: target.to_vec() });
            }
            Some(_) => return open_below(own, parent).map_err(look()),
            None if is_hidden(dir.top(), name).map_err(look())? => return Err(missing()),
            None => {}
        }
    }
    let dir = below.ok_or_else(missing)?;
    let child = lowers.find(&dir, name).map_err(look())?.ok_or_else(missing)?;
    if child.kind == FileType::Directory {
        return Err(ApplyFault::LinkTarget { target: target.to_vec() });
    }
    let stat = dir.stat(&child).map_err(look())?;
    let own_dir = make_way(own, form, parent)?;
    keep_times(own_dir.as_fd(), || copy_file(lowers, &dir, &child, &stat, own_dir.as_fd(), form))?;
    Ok(own_dir)
}

fn is_hidden(dir: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn is_opaque(dir: BorrowedFd<'_>, form: Form) -> Result<bool, Errno> {
    let value = Target::Open(dir).xattr(form.mark(Mark::Opaque).to_bytes())?;
    Ok(value.is_some())
}

/// Makes the directories of `path` that this layer does not have, as such that it did not speak of.
fn make_way(own: BorrowedFd<'_>, form: Form, path: &[u8]) -> Result<OwnedFd, ApplyFault> {
    let doing = ApplyFault::kernel;
    let mut dir = own
        .try_clone_to_owned()
        .map_err(|_| ApplyFault::Kernel { doing: "duplicate a descriptor", errno: Errno::MFILE })?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        let next = match open_dir(dir.as_fd(), name) {
            Err(Errno::NOENT) => {
                let made = keep_times(dir.as_fd(), || {
                    rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755))
                        .and_then(|()| open_dir(dir.as_fd(), name))
                        .map_err(doing("make a directory"))
                })?;
                let mark = form.mark(Mark::Implied).to_bytes();
                Target::Open(made.as_fd())
                    .set_xattr(mark, b"y")
                    .map_err(|errno| ApplyFault::Xattr { name: mark.to_vec(), errno })?;
                made
            }
            other => other.map_err(doing("open a directory"))?,
        };
        dir = next;
    }
    Ok(dir)
}

/// Does something in a directory, whose times stay what they are.
fn keep_times<T>(
    dir: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, ApplyFault>,
) -> Result<T, ApplyFault> {
    let stat = rustix::fs::fstat(dir).map_err(ApplyFault::kernel("look at a directory"))?;
    let done = work()?;
    let times = metadata::times_of(&stat);
    Target::Open(dir).set_times(&times).map_err(ApplyFault::kernel("change times"))?;
    Ok(done)
}

/// Directories that the layer did not speak of.
struct Implied<'a> {
    form: Form,
    lowers: &'a View,
}

impl Implied<'_> {
    /// Settles the root and, with `all`, every directory below it.
    fn settle(&self, own: BorrowedFd<'_>, all: bool) -> Result<(), TreeError> {
        let look = |errno| TreeError::at(b"", b"")(ApplyFault::kernel("open a layer")(errno));
        let root = open_dir(own, b".").map_err(look)?;
        let below = self.lowers.root().map_err(look)?;
        self.one(root.as_fd(), below.as_ref()).map_err(TreeError::at(b"", b""))?;
        if !all {
            return Ok(());
        }
        let listing = Listing::read(root.as_fd()).map_err(look)?;
        let mut trail = Trail::new(root, listing);
        // The lower directories, as far as there are any on the way.
        let mut walk = below.map(|root| Walk::new(self.lowers, root));
        loop {
            match trail.value().pop() {
                Some((name, FileType::Directory)) => {
                    self.down(&mut trail, &mut walk, &name)
                        .map_err(TreeError::at(trail.path(), &name))?;
                }
                Some(_) => {}
                None if trail.depth() == 0 => return Ok(()),
                None => {
                    let back = || ApplyFault::kernel("go back to a directory");
                    if let Some(walk) = &mut walk
                        && walk.depth() == trail.depth()
                    {
                        walk.up().map_err(back()).map_err(TreeError::at(trail.path(), b""))?;
                    }
                    trail.up().map_err(back()).map_err(TreeError::at(b"", b""))?;
                }
            }
        }
    }

    fn down(
        &self,
        trail: &mut Trail<Listing>,
        walk: &mut Option<Walk<'_>>,
        name: &[u8],
    ) -> Result<(), ApplyFault> {
        let open = || ApplyFault::kernel("open a directory");
        let fd = open_dir(trail.here(), name).map_err(open())?;
        let mut below = None;
        if let Some(walk) = walk
            && walk.depth() == trail.depth()
            && !is_opaque(fd.as_fd(), self.form).map_err(open())?
        {
            below = self.lowers.enter(walk.here(), name).map_err(open())?;
        }
        self.one(fd.as_fd(), below.as_ref())?;
        let listing = Listing::read(fd.as_fd()).map_err(ApplyFault::kernel("list a directory"))?;
        trail.down(name, fd, listing).map_err(open())?;
        if let (Some(walk), Some(below)) = (walk, below) {
            walk.down(name, below);
        }
        Ok(())
    }

    fn one(&self, dir: BorrowedFd<'_>, below: Option<&Dir>) -> Result<(), ApplyFault> {
        let mark = self.form.mark(Mark::Implied).to_bytes();
        let target = Target::Open(dir);
        let read = || ApplyFault::kernel("read a mark");
        if target.xattr(mark).map_err(read())?.is_none() {
            return Ok(());
        }
        if let Some(below) = below {
            let stat = rustix::fs::fstat(below.top()).map_err(read())?;
            metadata::copy(Target::Open(below.top()), &stat, self.form, target, self.form)?;
        }
        target.remove_xattr(mark).map_err(ApplyFault::kernel("remove a mark"))
    }
}
