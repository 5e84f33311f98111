//! What is to become of a directory when the unpacking leaves it.

use std::os::fd::{AsFd, BorrowedFd};

use dhow_archive::tar::Metadata;
use rustix::fs::Timestamps;

use super::{Applier, ApplyFault, Target};
use crate::layer::metadata::{self, DEFAULT_ACL};

/// A directory on the way to where we are.
#[derive(Debug)]
pub(super) struct Level {
    /// What its times are to be, once nothing is put in it any more.
    times: Timestamps,
    /// Whether they are something else now.
    pub(super) touched: bool,
    /// Whether what is made in it has another group or mode than elsewhere.
    pub(super) inherits: bool,
    /// Permissions that its entries would inherit, and that it gets when they are all there.
    default_acl: Option<Vec<u8>>,
}

impl Level {
    /// A directory that was just made.
    pub(super) fn new() -> Self {
        let times = metadata::timestamps(&Metadata::default());
        Self { times, touched: true, inherits: false, default_acl: None }
    }

    /// A directory that is there; with `acls`, it may have permissions that must not be inherited.
    pub(super) fn of(dir: BorrowedFd<'_>, acls: bool) -> Result<Self, ApplyFault> {
        let stat = rustix::fs::fstat(dir).map_err(ApplyFault::kernel("look at a directory"))?;
        let mut default_acl = None;
        if acls {
            let target = Target::Open(dir);
            let doing = "read default permissions";
            default_acl = target.xattr(DEFAULT_ACL).map_err(ApplyFault::kernel(doing))?;
            if default_acl.is_some() {
                target.remove_xattr(DEFAULT_ACL).map_err(ApplyFault::kernel(doing))?;
            }
        }
        let times = metadata::times_of(&stat);
        let inherits = stat.st_mode & 0o2000 != 0;
        Ok(Self { times, touched: false, inherits, default_acl })
    }

    /// Gives the directory what it is to have at last.
    pub(super) fn settle(&self, dir: BorrowedFd<'_>) -> Result<(), ApplyFault> {
        let target = Target::Open(dir);
        if let Some(acl) = &self.default_acl {
            target
                .set_xattr(DEFAULT_ACL, acl)
                .map_err(|errno| ApplyFault::Xattr { name: DEFAULT_ACL.to_vec(), errno })?;
        }
        if self.touched {
            target.set_times(&self.times).map_err(ApplyFault::kernel("change times"))?;
        }
        Ok(())
    }
}

impl<R: std::io::Read> Applier<'_, R> {
    /// Gives the directory that we are in an owner, a mode and attributes; its times come later.
    pub(super) fn say(&mut self, said: &Metadata) -> Result<(), ApplyFault> {
        let fd = self.trail.here();
        let target = Target::Open(fd.as_fd());
        let (user, group) = self.finish.owner(said)?;
        target.set_owner(user, group).map_err(ApplyFault::kernel("change owner"))?;
        target.set_mode(said.mode).map_err(ApplyFault::kernel("change mode"))?;
        let mut xattrs = said.xattrs.clone();
        let default_acl = xattrs.remove(DEFAULT_ACL);
        let skipped = self.finish.set_xattrs(target, &xattrs)?;
        self.skipped += skipped;
        self.acls |= default_acl.is_some();
        let level = self.trail.value();
        level.times = metadata::timestamps(said);
        level.touched = true;
        level.inherits = said.mode & 0o2000 != 0;
        level.default_acl = default_acl;
        Ok(())
    }
}
