//! `tmpcopyup`: a tmpfs that begins with a copy of the directory it covers.
//!
//! Regular files, directories, symlinks and nodes with their modes and owners; no extended attributes, as
//! in runc. Runs in the child and does not allocate: directories are read through a buffer on the stack.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use dhow_sys::Errno;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, Uid};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use super::attributes::{READ_ONLY, change};
use super::mounts::propagate;
use super::report::{At, Fault, InStep};
use super::step::MountStep;

/// Directories deeper than this are refused: the copy recurses on the child's stack.
const DEPTH_MAX: usize = 64;
const OPTION_BYTES_MAX: usize = 256;

/// Mounts a tmpfs on `target` that holds what `target` holds.
pub(super) fn mount(
    _root: BorrowedFd<'_>,
    step: &MountStep,
    target: BorrowedFd<'_>,
    flags: MountFlags,
    data: Option<&CStr>,
) -> Result<(), Fault> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in data.map(CStr::to_bytes).unwrap_or_default().split(|byte| *byte == b',') {
        configure(context.as_fd(), option)?;
    }
    fsconfig_create(&context)?;
    let mounted = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes(flags))?;
    let from = rustix::fs::openat(target, c".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at(At::CopyUp)?;
    let stat = rustix::fs::fstat(&from).at(At::CopyUp)?;
    copy_directory(from.as_fd(), mounted.as_fd(), DEPTH_MAX).at(At::CopyUp)?;
    own(mounted.as_fd(), c".", &stat).at(At::CopyUp)?;
    if flags.contains(MountFlags::RDONLY) {
        let read_only = dhow_sys::MountAttr { set: READ_ONLY, ..Default::default() };
        dhow_sys::mount_setattr(mounted.as_fd(), c"", false, &read_only).at(At::Attributes)?;
    }
    change(mounted.as_fd(), step)?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&mounted, c"", target, c"", empty).at(At::Attach)?;
    propagate(mounted.as_fd(), step)
}

fn configure(context: BorrowedFd<'_>, option: &[u8]) -> Result<(), Fault> {
    if option.is_empty() {
        return Ok(());
    }
    let split = option.iter().position(|byte| *byte == b'=').unwrap_or(option.len());
    let mut key = [0u8; OPTION_BYTES_MAX];
    let mut value = [0u8; OPTION_BYTES_MAX];
    let name = &option[..split];
    let word = option.get(split + 1..).unwrap_or_default();
    if name.len() >= OPTION_BYTES_MAX || word.len() >= OPTION_BYTES_MAX {
        return Err(Fault::from(Errno::NAMETOOLONG));
    }
    key[..name.len()].copy_from_slice(name);
    value[..word.len()].copy_from_slice(word);
    let text = |bytes: &'_ [u8; OPTION_BYTES_MAX]| -> usize {
        bytes.iter().position(|byte| *byte == 0).unwrap_or(0)
    };
    let key = CStr::from_bytes_with_nul(&key[..=text(&key)]).unwrap_or(c"");
    let value = CStr::from_bytes_with_nul(&value[..=text(&value)]).unwrap_or(c"");
    Ok(fsconfig_set_string(context, key, value)?)
}

/// The attributes of a mount as `fsmount` wants them; read-only comes after the copy.
fn attributes(flags: MountFlags) -> MountAttrFlags {
    let mut attr = MountAttrFlags::empty();
    for (flag, same) in [
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (MountFlags::STRICTATIME, MountAttrFlags::MOUNT_ATTR_STRICTATIME),
        (MountFlags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    ] {
        attr.set(same, flags.contains(flag));
    }
    attr
}

fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
    if depth == 0 {
        return Err(Errno::NAMETOOLONG);
    }
    let mut buffer = [const { MaybeUninit::uninit() }; 4096];
    let mut entries = RawDir::new(from, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from, to, name, depth)?;
        }
    }
    Ok(())
}

fn copy_entry(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    depth: usize,
) -> Result<(), Errno> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let read = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, mode)?;
            let from = rustix::fs::openat(from, name, read | OFlags::DIRECTORY, Mode::empty())?;
            let into = rustix::fs::openat(to, name, read | OFlags::DIRECTORY, Mode::empty())?;
            copy_directory(from.as_fd(), into.as_fd(), depth - 1)?;
        }
        FileType::RegularFile => {
            let from = rustix::fs::openat(from, name, read, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | read;
            let into = rustix::fs::openat(to, name, flags, mode)?;
            while rustix::fs::sendfile(&into, &from, None, 1 << 20)? > 0 {}
        }
        FileType::Symlink => {
            let mut target = [0u8; 4096];
            let length = rustix::fs::readlinkat_raw(from, name, &mut target[..4095])?;
            let target = CStr::from_bytes_with_nul(&target[..=length]).map_err(|_| Errno::INVAL)?;
            rustix::fs::symlinkat(target, to, name)?;
        }
        kind => rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)?,
    }
    own(to, name, &stat)
}

/// Owner before mode: changing the owner clears set-id bits.
fn own(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Ok(());
    }
    rustix::fs::chmodat(dir, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())
}
