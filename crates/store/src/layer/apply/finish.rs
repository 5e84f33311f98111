//! What new files get besides their names: owner, mode, attributes, times; and small ones their bytes as well, by
//! a thread beside the one that makes names.
//!
//! Making a name and filling the file cost the kernel about the same, and neither needs the other: so the two
//! go on side by side. Invariant: whatever the unpacking does next to a file's name (another link, a removal)
//! means the same before and after its file is finished; what fails is told with the entry that it was for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use dhow_archive::tar::{Metadata, Xattrs};
use rustix::io::Errno;

use super::make::write;
use super::{ApplyFault, ApplyOptions, Target, Unmakeable};
use crate::layer::error::ApplyError;
use crate::layer::form::Form;
use crate::layer::metadata;

/// Larger files are filled where they are made.
pub(super) const SMALL_BYTES_MAX: u64 = 128 << 10;
/// Files that go to the other thread at once: a hand-over wakes it.
const BATCH_FILES_MAX: usize = 32;
const BATCH_BYTES_MAX: usize = SMALL_BYTES_MAX as usize;
/// Batches that wait there; with their size this bounds the memory.
const BATCHES_MAX: usize = 16;

/// How files are finished.
pub(super) struct Finish<'a> {
    pub(super) options: &'a ApplyOptions<'a>,
    pub(super) form: Form,
    fresh: Fresh,
}

/// What a new file of this process has.
struct Fresh {
    user: u32,
    group: u32,
    umask: u16,
}

/// A small file that has its name.
pub(super) struct Small {
    pub(super) index: u64,
    pub(super) path: Vec<u8>,
    pub(super) file: OwnedFd,
    pub(super) bytes: Vec<u8>,
    pub(super) said: Metadata,
    pub(super) inherits: bool,
}

impl<'a> Finish<'a> {
    pub(super) fn new(form: Form, options: &'a ApplyOptions<'a>) -> Self {
        let fresh = Fresh {
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
            umask: umask(),
        };
        Self { options, form, fresh }
    }

    /// Owner before mode and capabilities, which a change of owner takes away; times last. Gives how many
    /// attributes had to be left out.
    pub(super) fn file(
        &self,
        target: Target<'_>,
        mode: Option<u16>,
        said: &Metadata,
        inherits: bool,
    ) -> Result<u64, ApplyFault> {
        let (user, group) = self.owner(said)?;
        if inherits || user != self.fresh.user || group != self.fresh.group {
            target.set_owner(user, group).map_err(ApplyFault::kernel("change owner"))?;
        }
        if let Some(mode) = mode
            && (inherits || mode & (0o7000 | self.fresh.umask) != 0)
        {
            target.set_mode(mode).map_err(ApplyFault::kernel("change mode"))?;
        }
        let skipped = self.set_xattrs(target, &said.xattrs)?;
        let times = target.set_times(&metadata::timestamps(said));
        times.map_err(ApplyFault::kernel("change times"))?;
        Ok(skipped)
    }

    pub(super) fn owner(&self, said: &Metadata) -> Result<(u32, u32), ApplyFault> {
        self.options.owners.disk_ids(said.uid, said.gid).map_err(|id| ApplyFault::Owner { id })
    }

    /// Sets attributes; how many had to be left out.
    pub(super) fn set_xattrs(
        &self,
        target: Target<'_>,
        xattrs: &Xattrs,
    ) -> Result<u64, ApplyFault> {
        let mut skipped = 0;
        metadata::set_xattrs(target, xattrs, self.form, |name, errno| {
            match (errno, self.options.xattrs) {
                (Errno::PERM | Errno::OPNOTSUPP, Unmakeable::Skip) => {
                    skipped += 1;
                    Ok(())
                }
                _ => Err(ApplyFault::Xattr { name: name.to_vec(), errno }),
            }
        })?;
        Ok(skipped)
    }

    /// Finishes what comes until nobody sends any more; gives how many attributes were left out.
    pub(super) fn run(&self, batches: Receiver<Vec<Small>>) -> Result<u64, ApplyError> {
        let mut skipped = 0;
        for small in batches.iter().flatten() {
            skipped += self.small(small.file.as_fd(), &small).map_err(|fault| {
                ApplyError::Entry { index: small.index, path: small.path.clone(), fault }
            })?;
        }
        Ok(skipped)
    }

    fn small(&self, file: BorrowedFd<'_>, small: &Small) -> Result<u64, ApplyFault> {
        write(file, 0, &small.bytes).map_err(ApplyFault::kernel("write a file"))?;
        self.file(Target::Open(file), Some(small.said.mode), &small.said, small.inherits)
    }
}

/// The way to the thread that finishes small files.
pub(super) struct Others {
    sender: SyncSender<Vec<Small>>,
    batch: Vec<Small>,
    bytes: usize,
}

/// Nobody finishes files any more: one of them could not be.
pub(super) struct Stopped;

impl Others {
    pub(super) fn new() -> (Self, Receiver<Vec<Small>>) {
        let (sender, receiver) = sync_channel(BATCHES_MAX);
        (Self { sender, batch: Vec::new(), bytes: 0 }, receiver)
    }

    pub(super) fn push(&mut self, small: Small) -> Result<(), Stopped> {
        self.bytes += small.bytes.len();
        self.batch.push(small);
        match self.batch.len() >= BATCH_FILES_MAX || self.bytes >= BATCH_BYTES_MAX {
            true => self.flush(),
            false => Ok(()),
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), Stopped> {
        self.bytes = 0;
        self.sender.send(std::mem::take(&mut self.batch)).map_err(|_| Stopped)
    }
}

/// The process's mask of modes, which can only be read where it cannot be changed by accident.
fn umask() -> u16 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    // Unknown: then every mode is set.
    value.and_then(|value| u16::from_str_radix(value.trim(), 8).ok()).unwrap_or(0o777)
}
