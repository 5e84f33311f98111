//! Mounts what a snapshot's driver describes, in the mount namespace that this program was started in.
//!
//! Absent on purpose: id-mapped mounts; nobody asks for them here.

use std::io;
use std::path::Path;

use dhow_store::Mounts;
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

/// Shows at `place` what `mounts` describes.
pub(crate) fn mount(mounts: &Mounts, place: &Path) -> io::Result<()> {
    let tree = match mounts {
        Mounts::Bind { source, .. } => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            open_tree(CWD, source, flags)?
        }
        Mounts::Overlay { lowers, upper, user_xattrs, .. } => {
            let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            for lower in lowers {
                fsconfig_set_string(&fs, "lowerdir+", lower)?;
            }
            if let Some(upper) = upper {
                fsconfig_set_string(&fs, "upperdir", &upper.upper)?;
                fsconfig_set_string(&fs, "workdir", &upper.work)?;
            }
            if *user_xattrs {
                fsconfig_set_flag(&fs, "userxattr")?;
            }
            fsconfig_create(&fs)?;
            fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?
        }
    };
    Ok(move_mount(&tree, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}
