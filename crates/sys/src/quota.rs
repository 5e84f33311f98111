//! Limits on what a directory tree may hold: project quotas of ext4 and xfs.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::process::check;

/// `struct fsxattr` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
struct FsXattr {
    xflags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    pad: [u8; 8],
}

/// `struct if_dqblk` of `linux/quota.h`.
#[repr(C)]
#[derive(Default)]
struct QuotaBlock {
    hard_kib: u64,
    soft_kib: u64,
    space: u64,
    inodes_hard: u64,
    inodes_soft: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

const GET: libc::c_ulong = 0x801c_581f;
const SET: libc::c_ulong = 0x401c_5820;
const PROJECT_INHERIT: u32 = 0x200;
const SET_QUOTA: u32 = 0x80_0008;
const PROJECT_QUOTA: u32 = 2;
const BLOCK_LIMITS: u32 = 1;

/// Makes a directory, and all that will be made in it, part of a project.
pub fn set_project(dir: BorrowedFd<'_>, project: u32) -> Result<(), Errno> {
    let mut attributes = FsXattr::default();
    // SAFETY: the call fills a `struct fsxattr`, which `attributes` is, and lives through it.
    check(unsafe { libc::syscall(libc::SYS_ioctl, dir.as_raw_fd(), GET, &raw mut attributes) })?;
    attributes.xflags |= PROJECT_INHERIT;
    attributes.projid = project;
    // SAFETY: the call reads a `struct fsxattr`, which `attributes` is, and lives through it.
    check(unsafe { libc::syscall(libc::SYS_ioctl, dir.as_raw_fd(), SET, &raw const attributes) })
        .map(drop)
}

/// Limits what a project may hold on the file system of `fd` (Linux 5.14); zero is no limit.
pub fn limit_project(fd: BorrowedFd<'_>, project: u32, bytes_max: u64) -> Result<(), Errno> {
    let block = QuotaBlock {
        hard_kib: bytes_max.div_ceil(1024),
        valid: BLOCK_LIMITS,
        ..QuotaBlock::default()
    };
    let command = (SET_QUOTA << 8) | PROJECT_QUOTA;
    // SAFETY: the command reads a `struct if_dqblk`, which `block` is, and lives through the call.
    check(unsafe {
        libc::syscall(libc::SYS_quotactl_fd, fd.as_raw_fd(), command, project, &raw const block)
    })
    .map(drop)
}
