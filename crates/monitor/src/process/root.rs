//! A container's root as a detached mount: made from its description, attached by nobody but the container.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use dhow_spec::runtime::IdMapping;
use dhow_sys::{MOUNT_ATTR_IDMAP, MountAttr, mount_setattr};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, open_tree,
};

use crate::protocol::{Owners, RootMount, Upper};

/// `MOUNT_ATTR_RDONLY`.
const READ_ONLY: u64 = 1;

/// Why a root could not be mounted.
#[derive(Debug)]
pub enum RootError {
    /// A call failed.
    Call {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// No user namespace for the owners of files could be made.
    Owners(dhow_runtime::Error),
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { doing, path, errno } => {
                write!(f, "{doing} {}: {}", path.display(), std::io::Error::from(*errno))
            }
            Self::Owners(error) => error.fmt(f),
        }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(Errno) -> RootError {
    let path = path.to_owned();
    move |errno| RootError::Call { doing, path, errno }
}

/// Makes a container's root as a mount that is attached nowhere; `None` where the directory of the bundle is the root.
pub fn mount_root(root: &RootMount) -> Result<Option<OwnedFd>, RootError> {
    match root {
        RootMount::Directory => Ok(None),
        RootMount::Bind { source, readonly, owners } => {
            let tree = clone_tree(source)?;
            if let Some(owners) = owners {
                map(&tree, &user_namespace(owners)?, source)?;
            }
            if *readonly {
                let attr = MountAttr { set: READ_ONLY, ..MountAttr::default() };
                mount_setattr(tree.as_fd(), c"", false, &attr)
                    .map_err(failed("make read-only", source))?;
            }
            Ok(Some(tree))
        }
        RootMount::Overlay { lowers, upper, user_xattrs, owners } => {
            overlay(lowers, upper.as_ref(), *user_xattrs, owners.as_ref()).map(Some)
        }
    }
}

fn clone_tree(path: &Path) -> Result<OwnedFd, RootError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags).map_err(failed("open root file system", path))
}

fn user_namespace(owners: &Owners) -> Result<OwnedFd, RootError> {
    let mappings = |ranges: &[(u32, u32, u32)]| -> Vec<IdMapping> {
        let mapping = |range: &(u32, u32, u32)| IdMapping {
            container_id: range.0,
            host_id: range.1,
            size: range.2,
        };
        ranges.iter().map(mapping).collect()
    };
    dhow_runtime::user_namespace(&mappings(&owners.uids), &mappings(&owners.gids))
        .map_err(RootError::Owners)
}

fn map(tree: &OwnedFd, namespace: &OwnedFd, path: &Path) -> Result<(), RootError> {
    let attr = MountAttr {
        set: MOUNT_ATTR_IDMAP,
        user_namespace: namespace.as_raw_fd(),
        ..MountAttr::default()
    };
    mount_setattr(tree.as_fd(), c"", false, &attr).map_err(failed("map the owners of", path))
}

/// An overlay; its layers are given one by one, so that neither their number nor a character in a path is
/// limited by one option string (Linux 6.5), and as descriptors where their owners are mapped (6.13).
fn overlay(
    lowers: &[PathBuf],
    upper: Option<&Upper>,
    user_xattrs: bool,
    owners: Option<&Owners>,
) -> Result<OwnedFd, RootError> {
    let named = upper.map_or_else(|| lowers.first().cloned(), |upper| Some(upper.upper.clone()));
    let named = named.unwrap_or_default();
    let doing = "mount overlay of";
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed(doing, &named))?;
    let context = context.as_fd();
    let namespace = owners.map(user_namespace).transpose()?;
    let set = |key: &str, path: &Path| match &namespace {
        None => fsconfig_set_string(context, key, path).map_err(failed(doing, path)),
        Some(namespace) => {
            let tree = clone_tree(path)?;
            map(&tree, namespace, path)?;
            fsconfig_set_fd(context, key, tree.as_fd()).map_err(failed(doing, path))
        }
    };
    for lower in lowers {
        set("lowerdir+", lower)?;
    }
    match upper {
        Some(Upper { upper, work }) => {
            set("upperdir", upper)?;
            set("workdir", work)?;
        }
        None => fsconfig_set_flag(context, c"ro").map_err(failed(doing, &named))?,
    }
    if user_xattrs {
        fsconfig_set_flag(context, c"userxattr").map_err(failed(doing, &named))?;
    }
    fsconfig_create(context).map_err(failed(doing, &named))?;
    let flags = match upper {
        Some(_) => MountAttrFlags::empty(),
        None => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, flags).map_err(failed(doing, &named))
}
