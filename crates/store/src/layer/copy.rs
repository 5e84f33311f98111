//! Copies a view into an empty directory: a whole tree, without marks.
//!
//! Files are hard links where the original never changes again, else reflinks where the file system has
//! them, else copies that keep their holes. Names that shared a file share one again.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, Timestamps};
use rustix::io::Errno;

use super::error::ApplyFault;
use super::form::Form;
use super::metadata::{self, Target};
use super::trail::{FileId, Trail, open_dir};
use super::tree::{TreeError, join};
use super::view::{Child, Dir, View, Walk, split};
use super::walk::open_below;

/// How files are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// By hard links: nobody changes the original.
    Link,
    /// By files of their own.
    Copy,
}

const NEW_FILE: OFlags = OFlags::RDWR
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Copies all of `view`, with its root's owner, mode and times, into `to`.
pub(crate) fn copy_tree(view: &View, to: OwnedFd, how: How) -> Result<(), TreeError> {
    let at_root = |errno| TreeError::at(b"", b"")(ApplyFault::kernel("open a tree")(errno));
    let Some(root) = view.root().map_err(at_root)? else { return Ok(()) };
    let again = to.try_clone().map_err(|_| at_root(Errno::MFILE))?;
    let mut copier = Copier {
        view,
        how,
        root: again,
        todo: Vec::new(),
        walk: Walk::new(view, root.clone()),
        trail: Trail::new(to, None),
        seen: HashMap::new(),
    };
    copier.begin(&root).map_err(TreeError::at(b"", b""))?;
    while let Some(children) = copier.todo.last_mut() {
        match children.pop() {
            Some(child) => {
                copier.child(&child).map_err(TreeError::at(copier.trail.path(), &child.name))?;
            }
            None => copier.end().map_err(TreeError::at(copier.trail.path(), b""))?,
        }
    }
    Ok(())
}

struct Copier<'v> {
    view: &'v View,
    how: How,
    root: OwnedFd,
    /// What is still to come in each directory on the way, the next one last.
    todo: Vec<Vec<Child>>,
    walk: Walk<'v>,
    trail: Trail<Option<Timestamps>>,
    /// Where files with several names have got their first one.
    seen: HashMap<FileId, Vec<u8>>,
}

impl Copier<'_> {
    /// A directory that is there: it is to look like `dir`.
    fn begin(&mut self, dir: &Dir) -> Result<(), ApplyFault> {
        let from = Target::Open(dir.top());
        let stat =
            rustix::fs::fstat(dir.top()).map_err(ApplyFault::kernel("look at a directory"))?;
        let to = Target::Open(self.trail.here());
        metadata::copy(from, &stat, self.view.form(), to, Form::Plain)?;
        *self.trail.value() = Some(metadata::times_of(&stat));
        let mut children = self.view.list(dir).map_err(ApplyFault::kernel("list a directory"))?;
        children.reverse();
        self.todo.push(children);
        Ok(())
    }

    fn end(&mut self) -> Result<(), ApplyFault> {
        self.todo.pop();
        if let Some(times) = self.trail.peek() {
            Target::Open(self.trail.here())
                .set_times(times)
                .map_err(ApplyFault::kernel("change times"))?;
        }
        if self.trail.depth() > 0 {
            self.trail.up().map_err(ApplyFault::kernel("go back to a directory"))?;
            self.walk.up().map_err(ApplyFault::kernel("go back to a directory"))?;
        }
        Ok(())
    }

    fn child(&mut self, child: &Child) -> Result<(), ApplyFault> {
        if child.kind == FileType::Directory {
            return self.directory(child);
        }
        let dir = self.walk.here().clone();
        let stat = dir.stat(child).map_err(ApplyFault::kernel("look at a file"))?;
        let shared = stat.st_nlink > 1 && self.how == How::Copy;
        let id = (stat.st_dev, stat.st_ino);
        if shared && let Some(first) = self.seen.get(&id) {
            return self.link_again(first, &child.name);
        }
        if self.how == How::Copy || !self.link(&dir, child, &stat)? {
            copy_file(self.view, &dir, child, &stat, self.trail.here(), Form::Plain)?;
        }
        if shared {
            self.seen.insert(id, join(self.trail.path(), &child.name));
        }
        Ok(())
    }

    fn directory(&mut self, child: &Child) -> Result<(), ApplyFault> {
        let doing = "make a directory";
        let dir = self
            .view
            .enter(self.walk.here(), &child.name)
            .and_then(|dir| dir.ok_or(Errno::STALE))
            .map_err(ApplyFault::kernel("open a directory"))?;
        rustix::fs::mkdirat(self.trail.here(), child.name.as_slice(), Mode::RWXU)
            .map_err(ApplyFault::kernel(doing))?;
        let fd = open_dir(self.trail.here(), &child.name).map_err(ApplyFault::kernel(doing))?;
        self.trail.down(&child.name, fd, None).map_err(ApplyFault::kernel(doing))?;
        self.walk.down(&child.name, dir.clone());
        self.begin(&dir)
    }

    /// A hard link to the original; false where that cannot be.
    fn link(&self, dir: &Dir, child: &Child, stat: &Stat) -> Result<bool, ApplyFault> {
        let (_, from) = dir.holder(child);
        if self.has_marks(from, child, stat)? {
            return Ok(false);
        }
        let name = child.name.as_slice();
        match rustix::fs::linkat(from, name, self.trail.here(), name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::MLINK | Errno::XDEV | Errno::PERM) => Ok(false),
            Err(errno) => Err(ApplyFault::kernel("make a hard link")(errno)),
        }
    }

    /// Whether a file's data is elsewhere, so that the file alone is not a whole one.
    fn has_marks(
        &self,
        from: BorrowedFd<'_>,
        child: &Child,
        stat: &Stat,
    ) -> Result<bool, ApplyFault> {
        let Some(metacopy) = self.view.form().word("metacopy") else { return Ok(false) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(false);
        }
        let value = Target::Named(from, &child.name).xattr(metacopy.to_bytes());
        Ok(value.map_err(ApplyFault::kernel("read extended attributes"))?.is_some())
    }

    /// One more name of a file that was copied before.
    fn link_again(&self, first: &[u8], name: &[u8]) -> Result<(), ApplyFault> {
        let (parent, first) = split(first);
        let dir = open_below(self.root.as_fd(), parent)
            .map_err(ApplyFault::kernel("open a directory"))?;
        rustix::fs::linkat(&dir, first, self.trail.here(), name, AtFlags::empty())
            .map_err(ApplyFault::kernel("make a hard link"))
    }
}

/// Copies one file, link, device or pipe with all that belongs to it.
pub(crate) fn copy_file(
    view: &View,
    dir: &Dir,
    child: &Child,
    stat: &Stat,
    to: BorrowedFd<'_>,
    form: Form,
) -> Result<(), ApplyFault> {
    let (_, from) = dir.holder(child);
    let name = child.name.as_slice();
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::RegularFile {
        let data = view.open_data(dir, child).map_err(ApplyFault::kernel("open a file"))?;
        let file = rustix::fs::openat(to, name, NEW_FILE, Mode::RUSR | Mode::WUSR)
            .map_err(ApplyFault::kernel("make a file"))?;
        copy_data(data.as_fd(), file.as_fd(), stat.st_size as u64)?;
        let target = Target::Open(file.as_fd());
        return metadata::copy(Target::Named(from, name), stat, view.form(), target, form);
    }
    let made = if kind == FileType::Symlink {
        rustix::fs::readlinkat(from, name, Vec::new())
            .and_then(|target| rustix::fs::symlinkat(target, to, name))
    } else {
        rustix::fs::mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)
    };
    made.map_err(ApplyFault::kernel("copy a link or a device"))?;
    metadata::copy(Target::Named(from, name), stat, view.form(), Target::Named(to, name), form)
}

/// Copies a file's data: shared with the original if it can be, with holes where that one has some.
fn copy_data(from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> Result<(), ApplyFault> {
    if size == 0 || rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    rustix::fs::ftruncate(to, size).map_err(ApplyFault::kernel("give a file its size"))?;
    let mut offset = 0;
    while offset < size {
        let data = match rustix::fs::seek(from, SeekFrom::Data(offset)) {
            Ok(data) => data,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(_) => offset,
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(data)).unwrap_or(size).min(size);
        copy_range(from, to, data, end)?;
        offset = end;
    }
    Ok(())
}

fn copy_range(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    mut offset: u64,
    end: u64,
) -> Result<(), ApplyFault> {
    let doing = "copy a file";
    let mut buffer = Vec::new();
    while offset < end {
        let left = usize::try_from(end - offset).unwrap_or(usize::MAX).min(1 << 30);
        if buffer.is_empty() {
            let (mut source, mut target) = (offset, offset);
            match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), left)
            {
                Ok(0) => return Err(ApplyFault::Kernel { doing, errno: Errno::STALE }),
                Ok(count) => {
                    offset += count as u64;
                    continue;
                }
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    buffer = vec![0; 128 << 10];
                }
                Err(errno) => return Err(ApplyFault::Kernel { doing, errno }),
            }
        }
        let part = left.min(buffer.len());
        let count = rustix::io::pread(from, &mut buffer[..part], offset)
            .map_err(ApplyFault::kernel(doing))?;
        if count == 0 {
            return Err(ApplyFault::Kernel { doing, errno: Errno::STALE });
        }
        super::apply::write(to, offset, &buffer[..count]).map_err(ApplyFault::kernel(doing))?;
        offset += count as u64;
    }
    Ok(())
}
