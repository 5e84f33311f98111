//! A container's root as the container sees it, with what is mounted in it, for those who copy files.
//!
//! Of a container that runs it is the root of its first process, memory and later mounts included. Of one that
//! does not, its mounts are made again in a mount namespace of one thread, which nobody else ever sees and which
//! goes with the thread.
//! Invariant: only the container's own task may have such a root made to be written to, so that no start comes in
//! between; one to be read has the container's changes as its topmost layer and disturbs nothing.
//! Absent on purpose: memory of containers that do not run: there is nothing in it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use dhow_monitor::{RootMount, mount_root};
use dhow_store::{LiveRoot, Mounts, View as SnapshotView};
use dhow_sys::{MountAttr, Namespaces, mount_setattr};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::document::{Places, snapshot_key};
use super::table::View;
use crate::engine::Shared;
use crate::error::Error;
use crate::plan::{MountKind, MountPoint};

/// `MOUNT_ATTR_RDONLY`.
const READ_ONLY: u64 = 1;

/// What is to be done with the root of a container that does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Only looked at.
    Read,
    /// Changed, too; by the container's task alone.
    Write,
}

/// Where a container's root is to be found.
pub(crate) enum Origin {
    /// Its first process's.
    Running(OwnedFd),
    /// To be mounted.
    Stopped(Vec<Piece>, OwnedFd),
}

/// A mount that is attached nowhere yet.
pub(crate) struct Piece {
    tree: OwnedFd,
    destination: String,
    is_directory: bool,
    writable: bool,
}

impl Origin {
    /// Looks for a container's root; nothing is attached anywhere yet.
    pub(crate) fn find(shared: &Shared, view: &View, access: Access) -> Result<Self, Error> {
        if let Some(run) = view.standing.state.run() {
            return Ok(Self::Running(process_root(run.pid)?));
        }
        let places = Places::of(&shared.data_root, &shared.exec_root, &view.id);
        let mounts = shared.snapshots.mounts(&snapshot_key(&view.id), &SnapshotView::WRITE)?;
        let mounts = if access == Access::Read { to_read(mounts) } else { mounts };
        let root = mount(&shared.stand_in.below(mounts))?;
        let mut pieces = Vec::new();
        let mut points: Vec<&MountPoint> = view.document.points.iter().collect();
        points.sort_by_key(|point| point.destination.len());
        for point in points {
            pieces.extend(piece(point)?);
        }
        for name in ["hostname", "hosts", "resolv.conf"] {
            let path = places.data.join(name);
            if path.is_file() && view.document.request.host.network.is_private() {
                let destination = format!("/etc/{name}");
                let tree = clone(&path, false)?;
                pieces.push(Piece { tree, destination, is_directory: false, writable: true });
            }
        }
        Ok(Self::Stopped(pieces, root))
    }

    /// The root itself. Where it has to be mounted, the calling thread leaves everybody else's mounts for ever.
    pub(crate) fn enter(
        self,
        place: &Path,
        access: Access,
        frozen: bool,
    ) -> Result<LiveRoot, Error> {
        let (pieces, root) = match self {
            Self::Running(root) => return Ok(LiveRoot::new(root)),
            Self::Stopped(pieces, root) => (pieces, root),
        };
        let failed = |errno: Errno| Error::io("mount a root at", place, errno.into());
        dhow_sys::unshare(Namespaces::MOUNT).map_err(failed)?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).map_err(failed)?;
        attach(&root, CWD.as_fd(), place).map_err(failed)?;
        for piece in pieces {
            let target = match target(&root, &piece, access) {
                Ok(target) => target,
                // Looking at a container that never ran changes nothing: what is not there is not shown.
                Err(Errno::NOENT) if access == Access::Read => continue,
                Err(errno) => return Err(failed(errno)),
            };
            if !piece.writable {
                let attr = MountAttr { set: READ_ONLY, ..MountAttr::default() };
                mount_setattr(piece.tree.as_fd(), c"", true, &attr).map_err(failed)?;
            }
            let flags =
                MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(&piece.tree, c"", &target, c"", flags).map_err(failed)?;
        }
        if frozen {
            let attr = MountAttr { set: READ_ONLY, ..MountAttr::default() };
            mount_setattr(root.as_fd(), c"", false, &attr).map_err(failed)?;
        }
        Ok(LiveRoot::new(root))
    }
}

/// The root of a process, by a descriptor of that very process.
fn process_root(pid: u32) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty())
        .map_err(|errno| Error::io("open", path, errno.into()))
}

/// Changes as one more layer that is only read.
fn to_read(mounts: Mounts) -> Mounts {
    match mounts {
        Mounts::Overlay { mut lowers, upper: Some(upper), user_xattrs, idmap } => {
            lowers.insert(0, upper.upper);
            if lowers.len() == 1 {
                // An overlay needs two layers to read.
                return Mounts::Bind { source: lowers.remove(0), readonly: true, idmap };
            }
            Mounts::Overlay { lowers, upper: None, user_xattrs, idmap }
        }
        Mounts::Bind { source, idmap, .. } => Mounts::Bind { source, readonly: true, idmap },
        mounts => mounts,
    }
}

fn mount(root: &RootMount) -> Result<OwnedFd, Error> {
    let message = |error: dhow_monitor::RootError| Error::Root { message: error.to_string() };
    let nothing = || Error::Root { message: "the root is not of this engine".to_owned() };
    mount_root(root).map_err(message)?.ok_or_else(nothing)
}

fn clone(path: &Path, recursive: bool) -> Result<OwnedFd, Error> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags).map_err(|errno| Error::io("open", path, errno.into()))
}

/// What a mount point shows; nothing where its source has gone.
fn piece(point: &MountPoint) -> Result<Option<Piece>, Error> {
    if !matches!(point.kind, MountKind::Bind | MountKind::Volume) {
        return Ok(None);
    }
    let source = Path::new(&point.source);
    let Ok(found) = std::fs::metadata(source) else { return Ok(None) };
    let tree = clone(source, !point.non_recursive)?;
    let tree = match point.subpath.as_str() {
        "" => tree,
        below => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let failed = |errno: Errno| Error::io("open", source.join(below), errno.into());
            let inner = LiveRoot::new(tree).open(below.as_bytes(), flags, true).map_err(failed)?;
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH;
            open_tree(&inner, c"", flags).map_err(failed)?
        }
    };
    Ok(Some(Piece {
        is_directory: found.is_dir() || !point.subpath.is_empty(),
        destination: point.destination.clone(),
        writable: point.writable,
        tree,
    }))
}

fn attach(tree: &OwnedFd, at: std::os::fd::BorrowedFd<'_>, place: &Path) -> Result<(), Errno> {
    move_mount(tree, c"", at, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Where a mount goes; made, as a start would make it, if the root is to be changed anyway.
fn target(root: &OwnedFd, piece: &Piece, access: Access) -> Result<OwnedFd, Errno> {
    let open = || {
        let path = piece.destination.as_str();
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
    };
    match open() {
        Err(Errno::NOENT) if access == Access::Write => {}
        other => return other,
    }
    // Nobody runs in this root, so that names do not change under us.
    let live = LiveRoot::new(rustix::io::fcntl_dupfd_cloexec(root, 0)?);
    let names: Vec<&str> = piece.destination.split('/').filter(|name| !name.is_empty()).collect();
    let mode = Mode::from_raw_mode(0o755);
    for depth in 1..=names.len() {
        let (parent, name) = (names[..depth - 1].join("/"), names[depth - 1]);
        let parent = live.open(parent.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY, true)?;
        let made = if depth == names.len() && !piece.is_directory {
            rustix::fs::mknodat(&parent, name, FileType::RegularFile, mode, 0)
        } else {
            rustix::fs::mkdirat(&parent, name, mode)
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    open()
}
