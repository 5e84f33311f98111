//! What stands at a path, as an archive.
//!
//! Invariant: of a tree, what the archive has under one name was one file at the moment it was read.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use dhow_archive::layer::{Change, LinkTarget, Node};
use dhow_archive::tar::{Device, Entry, Kind, Metadata, Writer};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::path::{Trailing, Wanted};
use super::{FilesError, LiveRoot};
use crate::layer::{
    Body, ChangeKind, DiffError, DiffOptions, DiffSink, Form, Owners, Target, TreeError, View,
    diff, read_metadata,
};

impl LiveRoot {
    /// Writes what stands at a path as an archive: under its last name, a directory with all that is in it.
    pub fn pack<W: Write>(&self, path: &str, sink: W) -> Result<W, FilesError> {
        let wanted = Wanted::parse(path);
        let follow = wanted.trailing != Trailing::Nothing;
        let fd = self.open(&wanted.bytes(), OFlags::PATH, follow).map_err(wanted.fault())?;
        let stat = rustix::fs::fstat(&fd).map_err(wanted.fault())?;
        let mut writer = Writer::new(sink);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = rustix::fs::openat(&fd, c".", flags, Mode::empty());
            let (old, new) = (nothing(), of_directory(dir.map_err(wanted.fault())?));
            let mut sink = Rebased { top: wanted.top(), writer: &mut writer };
            diff(&old, &new, None, &DiffOptions::NAMES, &mut sink).map_err(FilesError::Read)?;
        } else if follow {
            return Err(wanted.fault()(Errno::NOTDIR));
        } else {
            self.pack_one(&wanted, fd, &mut writer)?;
        }
        writer.finish().map_err(FilesError::Write)
    }

    /// Anything but a directory.
    fn pack_one<W: Write>(
        &self,
        wanted: &Wanted,
        fd: OwnedFd,
        writer: &mut Writer<W>,
    ) -> Result<(), FilesError> {
        let at = wanted.fault();
        let stat = rustix::fs::fstat(&fd).map_err(&at)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let device = Device {
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
        };
        let kind = match kind {
            FileType::RegularFile => return file(wanted, &fd, writer),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&fd, c"", Vec::new()).map_err(&at)?;
                Kind::Symlink { target: target.into_bytes() }
            }
            FileType::CharacterDevice => Kind::CharDevice(device),
            FileType::BlockDevice => Kind::BlockDevice(device),
            FileType::Fifo => Kind::Fifo,
            // Archives have no sockets: Docker's is an empty one, too.
            _ => return Ok(()),
        };
        let parent = self.open_dir(&wanted.parent()).map_err(&at)?;
        let name = wanted.base();
        let metadata = metadata(wanted, &stat, Target::Named(parent.as_fd(), &name))?;
        let path = wanted.base();
        writer.begin(&Entry { path, kind, metadata }).map_err(FilesError::Write)
    }
}

fn file<W: Write>(wanted: &Wanted, fd: &OwnedFd, writer: &mut Writer<W>) -> Result<(), FilesError> {
    // The very file that was looked at: a path descriptor opened again by its number.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(wanted.fault())?;
    let stat = rustix::fs::fstat(&file).map_err(wanted.fault())?;
    let metadata = metadata(wanted, &stat, Target::Open(file.as_fd()))?;
    let tree = |error| FilesError::Read(DiffError::Tree(error));
    let mut body = Body::new(file, &stat, wanted.bytes()).map_err(tree)?;
    let entry = Entry { path: wanted.base(), kind: Kind::File(body.content()), metadata };
    let written = writer.append(&entry, &mut body).map_err(FilesError::Write);
    body.failure().map_or(written, |error| Err(tree(error)))
}

fn metadata(wanted: &Wanted, stat: &Stat, target: Target<'_>) -> Result<Metadata, FilesError> {
    read_metadata(stat, target, Form::Plain, &Owners::SAME).map_err(|fault| {
        FilesError::Read(DiffError::Tree(TreeError { path: wanted.bytes(), fault }))
    })
}

fn nothing() -> View {
    View::new(Vec::new(), Form::Plain)
}

fn of_directory(dir: OwnedFd) -> View {
    View::new(vec![dir], Form::Plain)
}

/// A tree's files under another name for its root.
struct Rebased<'a, W> {
    top: Vec<u8>,
    writer: &'a mut Writer<W>,
}

impl<W> Rebased<'_, W> {
    fn name(&self, below: &[u8]) -> Vec<u8> {
        match (self.top.as_slice(), below) {
            (top, b"") => top.to_vec(),
            (b"/", below) => [b"/", below].concat(),
            (top, below) => [top, b"/", below].concat(),
        }
    }
}

impl<W: Write> DiffSink for Rebased<'_, W> {
    fn change(
        &mut self,
        _: ChangeKind,
        change: Change,
        body: Option<&mut dyn Read>,
    ) -> Result<(), DiffError> {
        let (path, kind, metadata) = match change {
            Change::Put { path, node, metadata } => (path, kind_of(node), metadata),
            Change::Link { path, target: LinkTarget::Path(target), metadata } => {
                (path, Kind::HardLink { target: self.name(target.as_bytes()) }, metadata)
            }
            // Nothing is removed from nothing, and nothing was kept aside.
            Change::Link { .. } | Change::Whiteout { .. } | Change::Opaque { .. } => return Ok(()),
        };
        let entry = Entry { path: self.name(path.as_bytes()), kind, metadata };
        match body {
            Some(body) => self.writer.append(&entry, body).map_err(DiffError::Tar),
            None => self.writer.begin(&entry).map_err(DiffError::Tar),
        }
    }
}

fn kind_of(node: Node) -> Kind {
    match node {
        Node::File(content) => Kind::File(content),
        Node::Directory => Kind::Directory,
        Node::Symlink { target } => Kind::Symlink { target },
        Node::CharDevice(device) => Kind::CharDevice(device),
        Node::BlockDevice(device) => Kind::BlockDevice(device),
        Node::Fifo => Kind::Fifo,
    }
}
