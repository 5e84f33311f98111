//! Attributes of a mount: changing them, as far as the kernel lets a user namespace.
//!
//! Invariant: nobody gets a mount with fewer restrictions than he asked for, or with other ones than he
//! asked for without being told.

use std::os::fd::BorrowedFd;

use dhow_sys::{Errno, MountAttr, mount_setattr};
use rustix::fs::StatVfsMountFlags as Now;

use super::report::{At, Fault, InStep};
use super::step::MountStep;
use crate::words::attr;

/// `MOUNT_ATTR_RDONLY`.
pub(crate) const READ_ONLY: u64 = attr::RDONLY;

/// What the kernel keeps set on a mount that came from another user namespace, access times apart.
const LOCKABLE: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NODIRATIME;
/// All that says when access times are written; a mount from another user namespace keeps it as a whole.
const TIMES: u64 = attr::ATIME | attr::NODIRATIME;

/// Gives a mount the attributes of its step.
pub(super) fn change(mount: BorrowedFd<'_>, step: &MountStep) -> Result<(), Fault> {
    if !step.attr.is_empty() {
        match mount_setattr(mount, c"", false, &step.attr) {
            Err(Errno::PERM) if !step.asked.is_empty() => change_unlocked(mount, step),
            other => other,
        }
        .at(At::Attributes)?;
    }
    if !step.recursive_attr.is_empty() {
        mount_setattr(mount, c"", true, &step.recursive_attr).at(At::Attributes)?;
    }
    Ok(())
}

/// The same where the kernel has locked what the mount had on the host: that stays, unless somebody asked
/// for its opposite.
fn change_unlocked(mount: BorrowedFd<'_>, step: &MountStep) -> Result<(), Errno> {
    let now = attributes(rustix::fs::fstatvfs(mount)?.f_flag);
    let rest = unlocked(now, &step.asked).ok_or(Errno::PERM)?;
    let clear = step.attr.clear & attr::NOSYMFOLLOW;
    mount_setattr(mount, c"", false, &MountAttr { clear, ..rest })
}

/// What is left of `asked` for a mount with `now` locked; nothing if that contradicts it.
fn unlocked(now: u64, asked: &MountAttr) -> Option<MountAttr> {
    let times_asked = asked.clear & attr::ATIME != 0;
    let other_times = times_asked && asked.set & TIMES != now & TIMES;
    let possible = now & asked.clear & LOCKABLE == 0 && !other_times;
    possible.then(|| MountAttr { set: asked.set & !TIMES, ..MountAttr::default() })
}

/// A mount's state in the words that change it.
fn attributes(now: Now) -> u64 {
    /// `ST_NOSYMFOLLOW`, which rustix lacks.
    const NOSYMFOLLOW: Now = Now::from_bits_retain(0x2000);
    let flags = [
        (Now::RDONLY, attr::RDONLY),
        (Now::NOSUID, attr::NOSUID),
        (Now::NODEV, attr::NODEV),
        (Now::NOEXEC, attr::NOEXEC),
        (Now::NODIRATIME, attr::NODIRATIME),
        (NOSYMFOLLOW, attr::NOSYMFOLLOW),
    ];
    let set = |(flag, same): (Now, u64)| if now.contains(flag) { same } else { 0 };
    let times = match (now.contains(Now::NOATIME), now.contains(Now::RELATIME)) {
        (true, _) => attr::NOATIME,
        (false, true) => attr::RELATIME,
        (false, false) => attr::STRICTATIME,
    };
    flags.into_iter().map(set).fold(times, |all, one| all | one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(set: u64, clear: u64) -> MountAttr {
        MountAttr { set, clear, ..MountAttr::default() }
    }

    #[test]
    fn what_is_locked_stays_unless_its_opposite_was_asked_for() {
        let now = attr::RDONLY | attr::NODEV | attr::NOATIME;
        let set = |asked: &MountAttr| unlocked(now, asked).map(|rest| rest.set);
        assert_eq!(set(&ask(attr::NOSUID, 0)), Some(attr::NOSUID));
        assert_eq!(set(&ask(attr::RDONLY, attr::NOEXEC)), Some(attr::RDONLY));
        assert_eq!(set(&ask(0, attr::RDONLY)), None);
        assert_eq!(set(&ask(attr::RDONLY, attr::NODEV)), None);
        assert_eq!(set(&ask(0, attr::NOSYMFOLLOW)), Some(0), "nothing locks that");
    }

    #[test]
    fn access_times_are_the_same_or_refused() {
        let now = attr::NOATIME | attr::NODIRATIME;
        let set = |value| unlocked(now, &ask(value, attr::ATIME)).map(|rest| rest.set);
        assert_eq!(set(attr::NOATIME | attr::NODIRATIME), Some(0));
        assert_eq!(set(attr::NOATIME), None);
        assert_eq!(set(attr::STRICTATIME | attr::NODIRATIME), None);
    }

    #[test]
    fn a_mount_says_what_it_is() {
        assert_eq!(attributes(Now::empty()), attr::STRICTATIME);
        assert_eq!(attributes(Now::RELATIME | Now::NODIRATIME), attr::NODIRATIME);
        assert_eq!(attributes(Now::NOATIME | Now::RDONLY), attr::NOATIME | attr::RDONLY);
    }
}
