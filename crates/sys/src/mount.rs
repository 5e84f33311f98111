//! Mount attributes of a whole tree in one call.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::io::Errno;

use crate::process::check;

/// `MOUNT_ATTR_IDMAP`: map the mount's owners through [`MountAttr::user_namespace`].
pub const MOUNT_ATTR_IDMAP: u64 = libc::MOUNT_ATTR_IDMAP;

/// What [`mount_setattr`] changes; the bits are `MOUNT_ATTR_*` and, for propagation, `MS_*`.
#[derive(Clone, Copy, Default, Debug)]
pub struct MountAttr {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_PRIVATE`, `MS_SLAVE`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
    /// The user namespace whose mapping [`MOUNT_ATTR_IDMAP`] takes; otherwise 0.
    pub user_namespace: RawFd,
}

/// Changes the mount at `path` below `dir`, with `recursive` also every mount under it, all or none
/// (Linux 5.12). May run between clone and exec.
pub fn mount_setattr(
    dir: BorrowedFd<'_>,
    path: &CStr,
    recursive: bool,
    attr: &MountAttr,
) -> Result<(), Errno> {
    let mut flags = libc::AT_SYMLINK_NOFOLLOW;
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    let raw = libc::mount_attr {
        attr_set: attr.set,
        attr_clr: attr.clear,
        propagation: attr.propagation,
        userns_fd: attr.user_namespace as u64,
    };
    // SAFETY: `path` is NUL-terminated, `raw` lives through the call and its size is the one given.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const raw,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

impl MountAttr {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0 && self.propagation == 0
    }
}
