//! An archive, unpacked into a root that others may be using.
//!
//! Invariant: what stands at an entry's place is replaced, never followed; directories on the way are followed
//! within the root. Owner comes before mode and capabilities, which a change of owner takes away; times last.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use dhow_archive::compress::{Decoder, Limits};
use dhow_archive::tar::{Entry, Kind, Metadata, Options, Piece, Reader};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timestamps};
use rustix::io::Errno;

use super::path::{Wanted, names};
use super::{FilesError, LiveRoot};
use crate::layer::{ApplyFault, Form, Target, remove_tree, set_xattrs, timestamps, write_at};

/// How an archive is unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnpackOptions {
    /// Nothing takes a directory's place, and no directory takes another's.
    pub keep_kinds: bool,
    /// Whose everything becomes; else whose the archive says.
    pub owner: Option<(u32, u32)>,
}

impl LiveRoot {
    /// Unpacks an archive, compressed or not, into the directory at a path.
    pub fn unpack(
        &self,
        path: &str,
        source: impl Read,
        options: UnpackOptions,
    ) -> Result<(), FilesError> {
        let wanted = Wanted::parse(path);
        drop(self.open_dir(&wanted.bytes()).map_err(wanted.fault())?);
        let decoder = Decoder::new(source, Limits::NONE).map_err(FilesError::Compression)?;
        let mut unpacker = Unpacker {
            root: self,
            place: wanted.bytes(),
            options,
            reader: Reader::new(decoder, Options::GENERAL),
            parent: None,
            directories: Vec::new(),
        };
        while let Some(entry) = unpacker.reader.next_entry().map_err(FilesError::Tar)? {
            unpacker.entry(&entry)?;
        }
        unpacker.finish_directories()
    }
}

struct Unpacker<'a, R: Read> {
    root: &'a LiveRoot,
    /// Where it is unpacked, below the root.
    place: Vec<u8>,
    options: UnpackOptions,
    reader: Reader<Decoder<R>>,
    /// The directory of the last entry: the next one is mostly in the same.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// What directories' times are to be once nothing is put into them any more.
    directories: Vec<(Vec<u8>, Timestamps)>,
}

impl<R: Read> Unpacker<'_, R> {
    fn entry(&mut self, entry: &Entry) -> Result<(), FilesError> {
        let path = clean(&entry.path)?;
        let Some(name) = path.last() else {
            // The directory itself: it is somebody else's.
            return Ok(());
        };
        self.enter(&path[..path.len() - 1])?;
        let full = self.full(&path);
        let Some((_, parent)) = self.parent.take() else { return Ok(()) };
        let made = self.put(entry, &full, parent.as_fd(), name);
        self.parent = Some((self.full(&path[..path.len() - 1]), parent));
        made
    }

    /// Below the root.
    fn full(&self, path: &[Vec<u8>]) -> Vec<u8> {
        let below = path.join(&b'/');
        match (self.place.as_slice(), below.as_slice()) {
            (b"", below) => below.to_vec(),
            (place, b"") => place.to_vec(),
            (place, below) => [place, b"/", below].concat(),
        }
    }

    /// Goes to the directory of an entry; makes those that the archive does not have.
    fn enter(&mut self, path: &[Vec<u8>]) -> Result<(), FilesError> {
        let full = self.full(path);
        if self.parent.as_ref().is_some_and(|(known, _)| *known == full) {
            return Ok(());
        }
        let dir = match self.root.open_dir(&full) {
            Err(Errno::NOENT) => self.make_way(path)?,
            other => other.map_err(kernel("open", &full))?,
        };
        self.parent = Some((full, dir));
        Ok(())
    }

    fn make_way(&self, path: &[Vec<u8>]) -> Result<OwnedFd, FilesError> {
        let mut dir = self.root.open_dir(&self.place).map_err(kernel("open", &self.place))?;
        for depth in 1..=path.len() {
            let full = self.full(&path[..depth]);
            dir = match self.root.open_dir(&full) {
                Err(Errno::NOENT) => {
                    let name = path[depth - 1].as_slice();
                    let mode = Mode::from_raw_mode(0o755);
                    match rustix::fs::mkdirat(&dir, name, mode) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(kernel("make directory", &full)(errno)),
                    }
                    let made = crate::layer::open_dir(dir.as_fd(), name);
                    let made = made.map_err(kernel("open", &full))?;
                    let (user, group) = self.options.owner.unwrap_or((0, 0));
                    let owned = Target::Open(made.as_fd()).set_owner(user, group);
                    owned.map_err(kernel("change owner of", &full))?;
                    made
                }
                other => other.map_err(kernel("open", &full))?,
            };
        }
        Ok(dir)
    }

    fn put(
        &mut self,
        entry: &Entry,
        full: &[u8],
        parent: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<(), FilesError> {
        let is_directory = matches!(entry.kind, Kind::Directory);
        let there = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(kernel("look up", full)(errno)),
        };
        match (there, is_directory) {
            (None, _) | (Some(true), true) => {}
            (Some(true), false) if self.options.keep_kinds => {
                return Err(FilesError::OverDirectory { path: full.to_vec() });
            }
            (Some(false), true) if self.options.keep_kinds => {
                return Err(FilesError::OverOther { path: full.to_vec() });
            }
            (Some(_), _) => remove_tree(parent, name).map_err(kernel("remove", full))?,
        }
        let said = &entry.metadata;
        match &entry.kind {
            Kind::Directory => self.directory(full, parent, name, said),
            Kind::File(content) => self.file(full, parent, name, content.size, said),
            Kind::Symlink { target } => {
                rustix::fs::symlinkat(target.as_slice(), parent, name)
                    .map_err(kernel("make symbolic link", full))?;
                self.finish(full, Target::Named(parent, name), None, said)
            }
            Kind::HardLink { target } => self.link(full, parent, name, target),
            Kind::CharDevice(device) => {
                let number = rustix::fs::makedev(device.major, device.minor);
                self.node(full, parent, name, FileType::CharacterDevice, number, said)
            }
            Kind::BlockDevice(device) => {
                let number = rustix::fs::makedev(device.major, device.minor);
                self.node(full, parent, name, FileType::BlockDevice, number, said)
            }
            Kind::Fifo => self.node(full, parent, name, FileType::Fifo, 0, said),
        }
    }

    fn directory(
        &mut self,
        full: &[u8],
        parent: BorrowedFd<'_>,
        name: &[u8],
        said: &Metadata,
    ) -> Result<(), FilesError> {
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(kernel("make directory", full)(errno)),
        }
        let dir = crate::layer::open_dir(parent, name).map_err(kernel("open", full))?;
        self.directories.push((full.to_vec(), timestamps(said)));
        self.finish(full, Target::Open(dir.as_fd()), Some(said.mode), said)
    }

    fn file(
        &mut self,
        full: &[u8],
        parent: BorrowedFd<'_>,
        name: &[u8],
        size: u64,
        said: &Metadata,
    ) -> Result<(), FilesError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(parent, name, flags | OFlags::CLOEXEC, Mode::RUSR)
            .map_err(kernel("make file", full))?;
        let mut end = 0;
        let mut body = self.reader.body();
        while let Some(piece) = body.piece().map_err(FilesError::Tar)? {
            if let Piece::Data { offset, bytes } = piece {
                write_at(file.as_fd(), offset, bytes).map_err(kernel("write", full))?;
                end = offset + bytes.len() as u64;
            }
        }
        if end < size {
            rustix::fs::ftruncate(&file, size).map_err(kernel("write", full))?;
        }
        self.finish(full, Target::Open(file.as_fd()), Some(said.mode), said)
    }

    fn link(
        &self,
        full: &[u8],
        parent: BorrowedFd<'_>,
        name: &[u8],
        target: &[u8],
    ) -> Result<(), FilesError> {
        let target = clean(target)?;
        let (Some(last), way) = (target.last(), &target[..target.len().saturating_sub(1)]) else {
            return Err(FilesError::Outside { path: full.to_vec() });
        };
        let way = self.full(way);
        let dir = self.root.open_dir(&way).map_err(kernel("open", &way))?;
        rustix::fs::linkat(&dir, last.as_slice(), parent, name, AtFlags::empty())
            .map_err(kernel("link", full))
    }

    fn node(
        &self,
        full: &[u8],
        parent: BorrowedFd<'_>,
        name: &[u8],
        kind: FileType,
        device: u64,
        said: &Metadata,
    ) -> Result<(), FilesError> {
        rustix::fs::mknodat(parent, name, kind, Mode::RUSR, device)
            .map_err(kernel("make node", full))?;
        self.finish(full, Target::Named(parent, name), Some(said.mode), said)
    }

    fn finish(
        &self,
        full: &[u8],
        target: Target<'_>,
        mode: Option<u16>,
        said: &Metadata,
    ) -> Result<(), FilesError> {
        let (user, group) = self.options.owner.unwrap_or((said.uid, said.gid));
        target.set_owner(user, group).map_err(kernel("change owner of", full))?;
        if let Some(mode) = mode {
            set_mode(target, mode).map_err(kernel("change mode of", full))?;
        }
        // What this file system cannot have, it does without, as in Docker.
        let lost = |name: &[u8], errno: Errno| match errno {
            Errno::PERM | Errno::OPNOTSUPP => Ok(()),
            errno => Err(ApplyFault::Xattr { name: name.to_vec(), errno }),
        };
        set_xattrs(target, &said.xattrs, Form::Plain, lost).map_err(|fault| match fault {
            ApplyFault::Xattr { errno, .. } => kernel("set attributes of", full)(errno),
            _ => kernel("set attributes of", full)(Errno::INVAL),
        })?;
        target.set_times(&timestamps(said)).map_err(kernel("change times of", full))
    }

    /// The last thing: times of directories, the deepest first.
    fn finish_directories(&self) -> Result<(), FilesError> {
        for (full, times) in self.directories.iter().rev() {
            // One that is not there any more, or no directory, has no time to set.
            let Ok(dir) = self.root.open_dir(full) else { continue };
            let set = Target::Open(dir.as_fd()).set_times(times);
            set.map_err(kernel("change times of", full))?;
        }
        Ok(())
    }
}

/// A mode is not set by name: a link could have taken the name.
fn set_mode(target: Target<'_>, mode: u16) -> Result<(), Errno> {
    match target {
        Target::Open(_) => target.set_mode(mode),
        Target::Named(dir, name) => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let node = rustix::fs::openat(dir, name, flags, Mode::empty())?;
            let path = format!("/proc/self/fd/{}", node.as_raw_fd());
            rustix::fs::chmod(path, Mode::from_raw_mode(mode.into()))
        }
    }
}

/// An entry's names; the place itself has none.
fn clean(path: &[u8]) -> Result<Vec<Vec<u8>>, FilesError> {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for name in names(path) {
        match name {
            b".." if kept.pop().is_none() => {
                return Err(FilesError::Outside { path: path.to_vec() });
            }
            b".." => {}
            name => kept.push(name.to_vec()),
        }
    }
    Ok(kept)
}

fn kernel(doing: &'static str, path: &[u8]) -> impl Fn(Errno) -> FilesError {
    let path = path.to_vec();
    move |errno| FilesError::Kernel { doing, path: path.clone(), errno }
}
