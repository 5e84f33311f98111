//! Whether a name means the same in both trees.

use std::os::fd::AsFd;

use rustix::fs::{FileType, Stat, Timespec};

use super::{Child, DiffError, Differ, Dir, Target};
use crate::layer::form::Form;
use crate::layer::metadata;

const PART_BYTES: usize = 64 << 10;

impl Differ<'_> {
    /// Whether a directory is otherwise by itself, whatever is in it.
    pub(super) fn directory_differs(
        &self,
        name: &[u8],
        new: &Dir,
        stat: &Stat,
        old: &Dir,
    ) -> Result<bool, DiffError> {
        let before = self.ok(name, rustix::fs::fstat(old.top()))?;
        if (stat.st_dev, stat.st_ino) == (before.st_dev, before.st_ino) {
            return Ok(false);
        }
        if !alike(stat, &before) {
            return Ok(true);
        }
        let attributes = |target: Target<'_>, form: Form| self.ok(name, target.xattrs(form));
        let new = attributes(Target::Open(new.top()), self.new.form())?;
        Ok(new != attributes(Target::Open(old.top()), self.old.form())?)
    }

    /// Whether something that is no directory is the same in both trees, with all that belongs to it.
    pub(super) fn is_same(
        &self,
        dir: &Dir,
        child: &Child,
        stat: &Stat,
        old: &Child,
    ) -> Result<bool, DiffError> {
        let name = &child.name;
        let Some(walk) = &self.old_walk else { return Ok(false) };
        let old_dir = walk.here();
        let before = self.ok(name, old_dir.stat(old))?;
        if (stat.st_dev, stat.st_ino) == (before.st_dev, before.st_ino) {
            return Ok(true);
        }
        if !alike(stat, &before) || stat.st_size != before.st_size || stat.st_rdev != before.st_rdev
        {
            return Ok(false);
        }
        if self.is_untouched(stat) {
            return Ok(true);
        }
        if stat.st_nlink > 1 && !self.shares_alike(stat, &before) {
            return Ok(false);
        }
        let (target, before) =
            (Target::Named(dir.holder(child).1, name), Target::Named(old_dir.holder(old).1, name));
        let xattrs = self.ok(name, target.xattrs(self.new.form()))?;
        if xattrs != self.ok(name, before.xattrs(self.old.form()))? {
            return Ok(false);
        }
        match child.kind {
            FileType::RegularFile => self.same_data(dir, child, old_dir, old),
            FileType::Symlink => {
                let link = |dir: &Dir, child: &Child| {
                    let name = child.name.as_slice();
                    let target = rustix::fs::readlinkat(dir.holder(child).1, name, Vec::new());
                    self.ok(name, target)
                };
                Ok(link(dir, child)? == link(old_dir, old)?)
            }
            _ => Ok(true),
        }
    }

    /// A file with several names changes with all of them, so that they stay one file. A copy of which it
    /// is not known what has happened since is the same if it is one file where the old one was.
    fn shares_alike(&self, stat: &Stat, before: &Stat) -> bool {
        if self.new.form() != Form::Plain || self.unchanged_before.is_some() {
            return false;
        }
        let old = (before.st_dev, before.st_ino);
        let mut twins = self.twins.borrow_mut();
        let twin = *twins.entry((stat.st_dev, stat.st_ino)).or_insert(old);
        twin == old && stat.st_nlink == before.st_nlink
    }

    /// The kernel sets the time of an inode's change itself; only a clock that goes back can deceive.
    fn is_untouched(&self, stat: &Stat) -> bool {
        let Some(before) = self.unchanged_before else { return false };
        let changed = Timespec { tv_sec: stat.st_ctime, tv_nsec: stat.st_ctime_nsec as i64 };
        (changed.tv_sec, changed.tv_nsec) < (before.tv_sec, before.tv_nsec)
    }

    fn same_data(
        &self,
        dir: &Dir,
        child: &Child,
        old_dir: &Dir,
        old: &Child,
    ) -> Result<bool, DiffError> {
        let name = &child.name;
        let new = self.ok(name, self.new.open_data(dir, child))?;
        let old = self.ok(name, self.old.open_data(old_dir, old))?;
        let (mut new_part, mut old_part) = (vec![0; PART_BYTES], vec![0; PART_BYTES]);
        let mut offset = 0;
        loop {
            let new_count = self.ok(name, fill(new.as_fd(), &mut new_part, offset))?;
            let old_count = self.ok(name, fill(old.as_fd(), &mut old_part, offset))?;
            if new_part[..new_count] != old_part[..old_count] {
                return Ok(false);
            }
            if new_count < PART_BYTES {
                return Ok(true);
            }
            offset += new_count as u64;
        }
    }
}

/// What `stat` says alike of directories and files: kind, mode, owner, time.
fn alike(one: &Stat, other: &Stat) -> bool {
    let times = |stat: &Stat| metadata::times_of(stat).last_modification;
    let (time, other_time) = (times(one), times(other));
    one.st_mode == other.st_mode
        && one.st_uid == other.st_uid
        && one.st_gid == other.st_gid
        && (time.tv_sec, time.tv_nsec) == (other_time.tv_sec, other_time.tv_nsec)
}

/// Reads as much as there is and fits.
fn fill(
    file: std::os::fd::BorrowedFd<'_>,
    buffer: &mut [u8],
    offset: u64,
) -> Result<usize, rustix::io::Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(file, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(filled)
}
