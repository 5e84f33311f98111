//! Makes files, links, devices and pipes, with all that belongs to them.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use dhow_archive::layer::{Incoming, LayerPath, Node, Settlement, settle};
use dhow_archive::tar::{Content, Device, Metadata, Piece};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::finish::{SMALL_BYTES_MAX, Small};
use super::{Applier, ApplyFault, Stop, Target, Unmakeable};
use crate::layer::remove::remove_tree;

const NEW_FILE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl<R: Read> Applier<'_, R> {
    /// Anything but directories and files, where we are.
    pub(super) fn put(
        &mut self,
        name: &[u8],
        node: &Node,
        said: &Metadata,
    ) -> Result<(), ApplyFault> {
        match node {
            Node::Symlink { target } => {
                self.make(name, |dir| rustix::fs::symlinkat(target.as_slice(), dir, name))
                    .map_err(ApplyFault::kernel("make a symbolic link"))?;
                self.finish_named(name, None, said)
            }
            Node::CharDevice(device) => self.device(name, FileType::CharacterDevice, *device, said),
            Node::BlockDevice(device) => self.device(name, FileType::BlockDevice, *device, said),
            Node::Fifo => {
                let mode = Mode::from_raw_mode((said.mode & 0o777).into());
                self.make(name, |dir| rustix::fs::mknodat(dir, name, FileType::Fifo, mode, 0))
                    .map_err(ApplyFault::kernel("make a named pipe"))?;
                self.finish_named(name, Some(said.mode), said)
            }
            Node::Directory | Node::File(_) => unreachable!("both are made elsewhere"),
        }
    }

    /// Makes something where we are, in place of what this layer has put there before.
    pub(super) fn make<T>(
        &mut self,
        name: &[u8],
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.touch();
        match make(self.trail.here()) {
            Err(Errno::EXIST) => {}
            other => return other,
        }
        let present = self.present(name).map_err(|_| Errno::EXIST)?;
        if settle(present, Incoming::Other) != Settlement::Replace {
            return Err(Errno::EXIST);
        }
        self.links.forget();
        remove_tree(self.trail.here(), name)?;
        make(self.trail.here())
    }

    /// A file where we are, at `path` of the layer.
    pub(super) fn file(
        &mut self,
        path: &LayerPath,
        name: &[u8],
        content: &Content,
        said: Metadata,
    ) -> Result<(), Stop> {
        self.expect_bytes(content)?;
        let mode = Mode::from_raw_mode((said.mode & 0o777).into());
        let file = self
            .make(name, |dir| rustix::fs::openat(dir, name, NEW_FILE, mode))
            .map_err(ApplyFault::kernel("make a file"))?;
        let inherits = self.trail.peek().inherits;
        if content.size > SMALL_BYTES_MAX || content.map.is_some() {
            return self.fill(file, content, &said, inherits);
        }
        let mut bytes = Vec::with_capacity(content.size as usize);
        let mut body = self.reader.body();
        while let Some(piece) = body.piece()? {
            if let Piece::Data { bytes: more, .. } = piece {
                bytes.extend_from_slice(more);
            }
        }
        self.bytes += bytes.len() as u64;
        let (index, path) = (self.index, path.as_bytes().to_vec());
        Ok(self.others.push(Small { index, path, file, bytes, said, inherits })?)
    }

    /// Refuses what would be too much before the first byte of it is on disk.
    fn expect_bytes(&self, content: &Content) -> Result<(), ApplyFault> {
        let max = self.finish.options.bytes_max;
        match self.bytes.checked_add(content.data_size()) {
            Some(bytes) if bytes <= max => Ok(()),
            _ => Err(ApplyFault::Bytes { max }),
        }
    }

    fn fill(
        &mut self,
        file: OwnedFd,
        content: &Content,
        said: &Metadata,
        inherits: bool,
    ) -> Result<(), Stop> {
        let mut end = 0;
        let mut body = self.reader.body();
        while let Some(piece) = body.piece()? {
            if let Piece::Data { offset, bytes } = piece {
                write(file.as_fd(), offset, bytes).map_err(ApplyFault::kernel("write a file"))?;
                self.bytes += bytes.len() as u64;
                end = offset + bytes.len() as u64;
            }
            if self.finish.options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                return Err(Stop::Cancelled);
            }
        }
        if end < content.size {
            rustix::fs::ftruncate(&file, content.size)
                .map_err(ApplyFault::kernel("give a file its size"))?;
        }
        self.skipped +=
            self.finish.file(Target::Open(file.as_fd()), Some(said.mode), said, inherits)?;
        Ok(())
    }

    fn finish_named(
        &mut self,
        name: &[u8],
        mode: Option<u16>,
        said: &Metadata,
    ) -> Result<(), ApplyFault> {
        let inherits = self.trail.peek().inherits;
        let target = Target::Named(self.trail.here(), name);
        self.skipped += self.finish.file(target, mode, said, inherits)?;
        Ok(())
    }

    fn device(
        &mut self,
        name: &[u8],
        kind: FileType,
        device: Device,
        said: &Metadata,
    ) -> Result<(), ApplyFault> {
        let number = rustix::fs::makedev(device.major, device.minor);
        let mode = Mode::from_raw_mode((said.mode & 0o777).into());
        let made = match self.finish.options.devices_allowed {
            true => self.make(name, |dir| rustix::fs::mknodat(dir, name, kind, mode, number)),
            false => Err(Errno::PERM),
        };
        match (made, self.finish.options.devices) {
            (Ok(()), _) => self.finish_named(name, Some(said.mode), said),
            (Err(Errno::PERM), Unmakeable::Skip) => {
                self.skipped += 1;
                Ok(())
            }
            (Err(Errno::PERM), Unmakeable::Refuse) => Err(ApplyFault::Device),
            (Err(errno), _) => Err(ApplyFault::kernel("make a device")(errno)),
        }
    }

    /// A file that hard links of this layer point to, and that is not part of the tree itself.
    pub(super) fn aside(
        &mut self,
        name: &[u8],
        content: &Content,
        said: &Metadata,
    ) -> Result<(), Stop> {
        self.expect_bytes(content)?;
        let dir = self.links.aside(self.work)?;
        // The later one wins here, too.
        rustix::fs::unlinkat(dir, name, AtFlags::empty())
            .or_else(absent)
            .map_err(ApplyFault::kernel("remove a file that was kept aside"))?;
        let file = rustix::fs::openat(dir, name, NEW_FILE, Mode::RUSR | Mode::WUSR)
            .map_err(ApplyFault::kernel("keep a file aside"))?;
        self.fill(file, content, said, true)
    }
}

pub(super) fn absent(errno: Errno) -> Result<(), Errno> {
    if errno == Errno::NOENT { Ok(()) } else { Err(errno) }
}

pub(crate) fn write(file: BorrowedFd<'_>, mut offset: u64, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                offset += count as u64;
                bytes = &bytes[count..];
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
