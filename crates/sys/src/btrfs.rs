//! Subvolumes of btrfs: made, snapshot, limited, removed.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::process::check;

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolumeArgs {
    fd: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
struct VolumeArgs2 {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

/// `struct btrfs_ioctl_qgroup_limit_args`.
#[repr(C)]
#[derive(Default)]
struct LimitArgs {
    qgroup: u64,
    flags: u64,
    referenced_max: u64,
    exclusive_max: u64,
    referenced_reserved: u64,
    exclusive_reserved: u64,
}

const _: () = assert!(size_of::<VolumeArgs>() == 4096 && size_of::<VolumeArgs2>() == 4096);
const _: () = assert!(size_of::<LimitArgs>() == 48);

const CREATE: libc::c_ulong = 0x5000_940e;
const DESTROY: libc::c_ulong = 0x5000_940f;
const SNAPSHOT: libc::c_ulong = 0x5000_9417;
const SET_FLAGS: libc::c_ulong = 0x4008_941a;
const LIMIT: libc::c_ulong = 0x8030_942b;
const READONLY: u64 = 1 << 1;
const LIMIT_EXCLUSIVE: u64 = 1 << 1;

/// Makes an empty subvolume called `name` in `dir`.
pub fn btrfs_create(dir: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    volume(dir, CREATE, name)
}

/// Removes the subvolume called `name` in `dir`, with all that is in it.
pub fn btrfs_destroy(dir: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    volume(dir, DESTROY, name)
}

fn volume(dir: BorrowedFd<'_>, call: libc::c_ulong, name: &str) -> Result<(), Errno> {
    let args = VolumeArgs { fd: 0, name: text(name)? };
    // SAFETY: both calls read a `struct btrfs_ioctl_vol_args`, which `args` is, nul at its end.
    check(unsafe { libc::syscall(libc::SYS_ioctl, dir.as_raw_fd(), call, &raw const args) })
        .map(drop)
}

/// Makes a writable snapshot of `subvolume`, called `name` in `dir`.
pub fn btrfs_snapshot(
    subvolume: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    name: &str,
) -> Result<(), Errno> {
    let fd = i64::from(subvolume.as_raw_fd());
    let args = VolumeArgs2 { fd, transid: 0, flags: 0, unused: [0; 4], name: text(name)? };
    // SAFETY: the call reads a `struct btrfs_ioctl_vol_args_v2`, which `args` is, nul at its end; the
    // descriptor in it is borrowed through the call.
    check(unsafe { libc::syscall(libc::SYS_ioctl, dir.as_raw_fd(), SNAPSHOT, &raw const args) })
        .map(drop)
}

/// Makes a subvolume one that can only be read, or writable again.
pub fn btrfs_set_readonly(subvolume: BorrowedFd<'_>, readonly: bool) -> Result<(), Errno> {
    let flags: u64 = if readonly { READONLY } else { 0 };
    // SAFETY: the call reads a `u64`, which lives through it.
    check(unsafe {
        libc::syscall(libc::SYS_ioctl, subvolume.as_raw_fd(), SET_FLAGS, &raw const flags)
    })
    .map(drop)
}

/// Limits what a subvolume may have for itself alone. Fails with `NOTCONN` where the file system has no
/// quotas switched on.
pub fn btrfs_limit(subvolume: BorrowedFd<'_>, exclusive_bytes_max: u64) -> Result<(), Errno> {
    // Group 0 is the subvolume's own.
    let args = LimitArgs {
        flags: LIMIT_EXCLUSIVE,
        exclusive_max: exclusive_bytes_max,
        ..LimitArgs::default()
    };
    // SAFETY: the call reads a `struct btrfs_ioctl_qgroup_limit_args`, which `args` is.
    check(unsafe { libc::syscall(libc::SYS_ioctl, subvolume.as_raw_fd(), LIMIT, &raw const args) })
        .map(drop)
}

/// A name in a field of fixed size, with a nul behind it.
fn text<const N: usize>(name: &str) -> Result<[u8; N], Errno> {
    let mut field = [0; N];
    let is_name = !name.is_empty() && !name.contains(['/', '\0']) && name.len() <= 255;
    if !is_name {
        return Err(Errno::INVAL);
    }
    field[..name.len()].copy_from_slice(name.as_bytes());
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn names_fit_or_are_refused() {
        let field: [u8; 300] = text("ab").unwrap();
        assert_eq!(field[..3], *b"ab\0");
        for name in ["", "a/b", "a\0b", &"x".repeat(256)] {
            assert_eq!(text::<300>(name), Err(Errno::INVAL), "{name:?}");
        }
    }

    #[test]
    fn other_file_systems_have_no_subvolumes() {
        let proc = std::fs::File::open("/proc").unwrap();
        assert!(btrfs_create(proc.as_fd(), "x").is_err());
        assert!(btrfs_set_readonly(proc.as_fd(), true).is_err());
        assert!(btrfs_limit(proc.as_fd(), 1).is_err());
    }
}
