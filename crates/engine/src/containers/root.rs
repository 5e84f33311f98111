//! A container's root as the engine looks into it: for users and groups by name, and for what a new volume
//! begins with.
//!
//! Invariant: what is mounted here is attached nowhere, cannot be written through, and goes with the value.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use dhow_store::{Mounts, Snapshots, View};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::document::snapshot_key;
use crate::error::Error;

/// The root of a container that does not run, to be read.
pub(super) fn open(snapshots: &Snapshots, id: &str) -> Result<OwnedFd, Error> {
    let mounts = snapshots.mounts(&snapshot_key(id), &View::READ)?;
    let failed = |errno: Errno| Error::io("look into the root of", id, errno.into());
    match mounts {
        Mounts::Bind { source, .. } => directory(&source).map_err(failed),
        Mounts::Overlay { lowers, user_xattrs, .. } => match lowers.as_slice() {
            // What an overlay of one layer shows is that layer.
            [only] => directory(only).map_err(failed),
            lowers => overlay(lowers, user_xattrs).map_err(failed),
        },
    }
}

/// The root of a container that runs, as its first process sees it.
pub(super) fn of_process(pid: u32) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{pid}/root");
    directory(Path::new(&path)).map_err(|errno| Error::io("open", path, errno.into()))
}

fn directory(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}

fn overlay(lowers: &[std::path::PathBuf], user_xattrs: bool) -> Result<OwnedFd, Errno> {
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context = context.as_fd();
    for lower in lowers {
        fsconfig_set_string(context, "lowerdir+", lower)?;
    }
    if user_xattrs {
        fsconfig_set_flag(context, "userxattr")?;
    }
    fsconfig_create(context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
