//! The eight kinds of namespace as one set of flags, for clone, unshare and setns alike.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::process::check;

/// A set of namespace kinds; the bits are the kernel's `CLONE_NEW*`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Namespaces(u64);

impl Namespaces {
    /// `CLONE_NEWCGROUP`
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP as u64);
    /// `CLONE_NEWIPC`
    pub const IPC: Self = Self(libc::CLONE_NEWIPC as u64);
    /// `CLONE_NEWNS`
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS as u64);
    /// `CLONE_NEWNET`
    pub const NETWORK: Self = Self(libc::CLONE_NEWNET as u64);
    /// `CLONE_NEWPID`
    pub const PID: Self = Self(libc::CLONE_NEWPID as u64);
    /// `CLONE_NEWTIME`: not for clone, whose low byte it shares with the exit signal.
    pub const TIME: Self = Self(libc::CLONE_NEWTIME as u64);
    /// `CLONE_NEWUSER`
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u64);
    /// `CLONE_NEWUTS`
    pub const UTS: Self = Self(libc::CLONE_NEWUTS as u64);

    /// No namespace.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// The kernel's bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether all of `other` is in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set but for `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Moves the caller into new namespaces; a new PID or time namespace is for its children. May run
/// between clone and exec.
pub fn unshare(namespaces: Namespaces) -> Result<(), Errno> {
    // SAFETY: without CLONE_FILES and CLONE_VM, which `Namespaces` cannot hold, no memory or descriptor
    // that another part of the program relies on changes.
    check(unsafe { libc::syscall(libc::SYS_unshare, namespaces.bits()) }).map(drop)
}

/// Joins the namespaces that `fd` stands for: one, if it is a namespace's file; all of `kinds`, if it is
/// a pidfd (Linux 5.8). May run between clone and exec.
pub fn set_namespace(fd: BorrowedFd<'_>, kinds: Namespaces) -> Result<(), Errno> {
    // SAFETY: setns changes the calling thread's namespaces and no memory.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), kinds.bits() as libc::c_int) })
        .map(drop)
}
