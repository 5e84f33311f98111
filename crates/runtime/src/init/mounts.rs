//! The child's hands for everything below the root: mounts, nodes, links, masks.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use dhow_sys::{Errno, MOUNT_ATTR_IDMAP, MountAttr, fd_path, mount_setattr};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
    fsopen, move_mount, open_tree,
};

use super::attributes::{READ_ONLY, change};
use super::beneath::{self, Kind, Place};
use super::copy_up;
use super::report::{At, Fault, InStep};
use super::step::{Link, MountStep, Node, Source, Target, Tree};

/// A detached copy of the mount (or the tree of mounts) at `path` below `dir`.
fn clone_tree(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<Place, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    open_tree(dir, path, flags).map(Place::from)
}

/// Puts a detached mount where `target` is.
fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Fault> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags).at(At::Attach)
}

/// Mounts the root file system onto itself, so that it is a mount of its own, and opens it.
pub(super) fn take_root(path: &CStr) -> Result<Place, Fault> {
    let tree = clone_tree(CWD, path, true).at(At::Source)?;
    let place =
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .at(At::Target)?;
    attach(tree.as_fd(), place.as_fd())?;
    Ok(tree)
}

/// Attaches a mount that nobody has seen yet as the root file system.
pub(super) fn attach_root(mount: BorrowedFd<'_>, path: &CStr) -> Result<Place, Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::open(path, flags, Mode::empty()).at(At::Target)?;
    attach(mount, place.as_fd())?;
    Ok(Place::from(rustix::io::fcntl_dupfd_cloexec(mount, 3)?))
}

/// Makes the mount that the root's own mount hangs on private; which one that is, only the path says.
pub(super) fn detach_root_parent(root: BorrowedFd<'_>) -> Result<(), Fault> {
    // `..` of a mount's root is the directory that holds the mount point, in the parent mount.
    rustix::process::fchdir(root)?;
    let parent =
        rustix::fs::open(c"..", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(At::Target)?;
    let mut place = parent;
    loop {
        match set_propagation(place.as_fd(), libc_private(), false) {
            // Not the root of its mount: go up.
            Err(Errno::INVAL) => {
                let up = rustix::fs::openat(
                    &place,
                    c"..",
                    OFlags::PATH | OFlags::CLOEXEC,
                    Mode::empty(),
                )
                .at(At::Target)?;
                if same_directory(place.as_fd(), up.as_fd())? {
                    return Err(Errno::INVAL).at(At::Propagation);
                }
                place = up;
            }
            other => return other.at(At::Propagation),
        }
    }
}

fn same_directory(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool, Errno> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok(one.st_dev == other.st_dev && one.st_ino == other.st_ino)
}

fn libc_private() -> u64 {
    u64::from(MountPropagationFlags::PRIVATE.bits())
}

fn set_propagation(mount: BorrowedFd<'_>, propagation: u64, recursive: bool) -> Result<(), Errno> {
    let attr = MountAttr { propagation, ..MountAttr::default() };
    mount_setattr(mount, c"", recursive, &attr)
}

/// Carries out one mount. `fetch` has the parent open a source that this process may not.
pub(super) fn mount(
    root: BorrowedFd<'_>,
    step: &MountStep,
    fetch: impl FnOnce() -> Result<OwnedFd, Errno>,
) -> Result<(), Fault> {
    match &step.source {
        Source::Tree(tree) if step.is_plain() && !tree.by_parent && tree.map.is_none() => {
            let target = open_target(root, step, || kind_of(CWD, &tree.path))?;
            let flags =
                if tree.recursive { MountFlags::BIND | MountFlags::REC } else { MountFlags::BIND };
            let place = fd_path(target.as_fd());
            match rustix::mount::mount(&*tree.path, place.as_c_str(), c"", flags, None::<&CStr>) {
                // The target is open already.
                Err(Errno::NOENT) => Err(Errno::NOENT).at(At::Source),
                other => Ok(other?),
            }
        }
        Source::Tree(tree) => {
            let opened = match open_tree_of(tree) {
                Err(Fault { errno: Errno::ACCESS | Errno::PERM, .. }) if tree.by_parent => {
                    Place::from(fetch().at(At::Source)?)
                }
                other => other?,
            };
            attach_tree(root, step, opened.as_fd())
        }
        Source::FileSystem { .. } => mount_file_system(root, step),
    }
}

fn mount_file_system(root: BorrowedFd<'_>, step: &MountStep) -> Result<(), Fault> {
    let Source::FileSystem { kind, source, flags, data, fallback } = &step.source else {
        return Ok(());
    };
    let (target, made) = match look_up(root, step)? {
        Some(place) => (place, false),
        None => (beneath::make(root, &step.target, Kind::Directory)?, true),
    };
    let mut room = [0u8; DATA_BYTES_MAX];
    let mut data = data.as_deref();
    if !made && kind.as_c_str() == c"tmpfs" {
        data = Some(with_mode_of(target.as_fd(), data.unwrap_or_default(), &mut room)?);
    }
    if step.copy_up {
        return copy_up::mount(root, step, target.as_fd(), *flags, data);
    }
    let place = fd_path(target.as_fd());
    let mounted =
        rustix::mount::mount(source.as_c_str(), place.as_c_str(), kind.as_c_str(), *flags, data);
    match (mounted, fallback) {
        (Err(Errno::PERM), Some(path)) => {
            let tree = clone_tree(CWD, path, true).at(At::Source)?;
            return attach_tree(root, step, tree.as_fd());
        }
        (other, _) => other?,
    }
    if step.is_plain() {
        return Ok(());
    }
    let mounted = beneath::open(root, &step.target, OFlags::PATH).at(At::Target)?;
    change(mounted.as_fd(), step)?;
    propagate(mounted.as_fd(), step)
}

/// The longest option text that the kernel takes is a page.
const DATA_BYTES_MAX: usize = 4096;

/// A tmpfs takes the mode of the directory that it covers, unless `data`, which comes later, has its own.
fn with_mode_of<'a>(
    target: BorrowedFd<'_>,
    data: &'a CStr,
    room: &'a mut [u8; DATA_BYTES_MAX],
) -> Result<&'a CStr, Fault> {
    let bytes = data.to_bytes_with_nul();
    if bytes.starts_with(b"mode=") || bytes.windows(6).any(|part| part == b",mode=") {
        return Ok(data);
    }
    let mode = rustix::fs::fstat(target).at(At::Target)?.st_mode & 0o7777;
    let digit = |at: u32| b'0' + ((mode >> (3 * at)) & 7) as u8;
    let word = [b"mode=".as_slice(), &[digit(3), digit(2), digit(1), digit(0)]];
    let comma: &[u8] = if data.is_empty() { b"" } else { b"," };
    let mut length = 0;
    for part in [word[0], word[1], comma, bytes] {
        let place = room.get_mut(length..length + part.len()).ok_or(Errno::NAMETOOLONG)?;
        place.copy_from_slice(part);
        length += part.len();
    }
    CStr::from_bytes_with_nul(&room[..length]).map_err(|_| Fault::from(Errno::INVAL))
}

/// The mount's target, if it is there.
fn look_up(root: BorrowedFd<'_>, step: &MountStep) -> Result<Option<Place>, Fault> {
    let flags = match step.onto {
        Target::OwnDirectory => OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW,
        Target::Directory | Target::LikeSource => OFlags::PATH,
    };
    match beneath::open(root, &step.target, flags) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR) if step.onto == Target::OwnDirectory => {
            Err(Errno::NOTDIR).at(At::Symlink)
        }
        Err(errno) => Err(errno).at(At::Target),
    }
}

/// The mount's target, made like its source if it is missing.
fn open_target(
    root: BorrowedFd<'_>,
    step: &MountStep,
    kind: impl FnOnce() -> Result<Kind, Errno>,
) -> Result<Place, Fault> {
    match look_up(root, step)? {
        Some(place) => Ok(place),
        None => {
            let kind = match step.onto {
                Target::LikeSource => kind().at(At::Source)?,
                Target::Directory | Target::OwnDirectory => Kind::Directory,
            };
            beneath::make(root, &step.target, kind)
        }
    }
}

fn kind_of(dir: BorrowedFd<'_>, path: &CStr) -> Result<Kind, Errno> {
    let stat = rustix::fs::statat(dir, path, AtFlags::EMPTY_PATH)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(Kind::Directory),
        _ => Ok(Kind::File),
    }
}

/// A detached copy of a tree, with its ids mapped.
pub(crate) fn open_tree_of(tree: &Tree) -> Result<Place, Fault> {
    let copy = clone_tree(CWD, &tree.path, tree.recursive).at(At::Source)?;
    if let Some(map) = &tree.map {
        let attr = MountAttr {
            set: MOUNT_ATTR_IDMAP,
            user_namespace: map.user_namespace.as_raw_fd(),
            ..MountAttr::default()
        };
        mount_setattr(copy.as_fd(), c"", map.recursive, &attr).at(At::IdMap)?;
    }
    Ok(copy)
}

fn attach_tree(root: BorrowedFd<'_>, step: &MountStep, tree: BorrowedFd<'_>) -> Result<(), Fault> {
    // Attributes first: nobody ever sees a read-only bind mount writable.
    change(tree, step)?;
    let target = open_target(root, step, || kind_of(tree, c""))?;
    attach(tree, target.as_fd())?;
    propagate(tree, step)
}

pub(super) fn propagate(mount: BorrowedFd<'_>, step: &MountStep) -> Result<(), Fault> {
    for (propagation, recursive) in &step.propagation {
        set_propagation(mount, *propagation, *recursive).at(At::Propagation)?;
    }
    Ok(())
}

/// Changes attributes of the mount at `target`.
pub(super) fn remount(
    root: BorrowedFd<'_>,
    target: &CStr,
    attr: &MountAttr,
    recursive: bool,
) -> Result<(), Fault> {
    let mounted = beneath::open(root, target, OFlags::PATH).at(At::Target)?;
    mount_setattr(mounted.as_fd(), c"", recursive, attr).at(At::Attributes)
}

/// Makes the nodes of one directory.
pub(super) fn devices(root: BorrowedFd<'_>, dir: &CStr, nodes: &[Node]) -> Result<(), Fault> {
    let dir = beneath::open_or_make(root, dir, Kind::Directory)?;
    nodes.iter().try_for_each(|node| device(dir.as_fd(), node))
}

fn device(dir: BorrowedFd<'_>, node: &Node) -> Result<(), Fault> {
    if let Some(source) = &node.bind {
        return bind_device(dir, node, source);
    }
    let mode = Mode::from_raw_mode(node.mode);
    match rustix::fs::mknodat(dir, &*node.name, node.kind, mode, node.device) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let there =
                rustix::fs::statat(dir, &*node.name, AtFlags::SYMLINK_NOFOLLOW).at(At::Make)?;
            let same = FileType::from_raw_mode(there.st_mode) == node.kind
                && (node.kind == FileType::Fifo || there.st_rdev == node.device);
            if !same {
                return Err(Errno::EXIST).at(At::Occupied);
            }
            rustix::fs::chmodat(dir, &*node.name, mode, AtFlags::empty()).at(At::Owner)?;
        }
        Err(errno) => return Err(errno).at(At::Make),
    }
    match node.owner {
        Some((uid, gid)) => {
            rustix::fs::chownat(dir, &*node.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .at(At::Owner)
        }
        None => Ok(()),
    }
}

fn bind_device(dir: BorrowedFd<'_>, node: &Node, source: &CStr) -> Result<(), Fault> {
    let tree = clone_tree(CWD, source, false).at(At::Source)?;
    let place = beneath::open_or_make(dir, &node.name, Kind::File)?;
    attach(tree.as_fd(), place.as_fd())
}

/// Makes directories in `dir`; one that is there already stays.
pub(super) fn make_directories(
    root: BorrowedFd<'_>,
    dir: &CStr,
    names: &[std::ffi::CString],
) -> Result<(), Fault> {
    let dir = beneath::open(root, dir, OFlags::PATH).at(At::Target)?;
    for name in names {
        match rustix::fs::mkdirat(&dir, &**name, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => {}
            other => other.at(At::Make)?,
        }
    }
    Ok(())
}

/// Makes symlinks; one that is there already stays.
pub(super) fn links(root: BorrowedFd<'_>, links: &[Link]) -> Result<(), Fault> {
    let mut last: Option<(&CStr, Place)> = None;
    for link in links {
        if last.as_ref().is_none_or(|(name, _)| *name != &*link.dir) {
            let dir = beneath::open_or_make(root, &link.dir, Kind::Directory)?;
            last = Some((&link.dir, dir));
        }
        let Some((_, dir)) = &last else { continue };
        match rustix::fs::symlinkat(&*link.target, dir, &*link.name) {
            Err(Errno::EXIST) if link.replace => {
                rustix::fs::unlinkat(dir, &*link.name, AtFlags::empty()).at(At::Make)?;
                rustix::fs::symlinkat(&*link.target, dir, &*link.name).at(At::Make)?;
            }
            Err(Errno::EXIST) => {}
            other => other.at(At::Make)?,
        }
    }
    Ok(())
}

/// Covers paths: files by the host's `/dev/null` (the container's own could be anything), directories by
/// an empty read-only file system.
pub(super) fn mask(
    root: BorrowedFd<'_>,
    paths: &[std::ffi::CString],
    label: Option<&CStr>,
) -> Result<(), Fault> {
    let null = rustix::fs::open(c"/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .at(At::Source)?;
    let null = fd_path(null.as_fd());
    let mut empty: Option<Place> = None;
    for path in paths {
        let target = match beneath::open(root, path, OFlags::PATH) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(errno) => return Err(errno).at(At::Target),
        };
        match (bind(null.as_c_str(), target.as_fd()), &empty) {
            // A file cannot cover a directory.
            (Err(Errno::NOTDIR), Some(empty)) => {
                bind(fd_path(empty.as_fd()).as_c_str(), target.as_fd())?;
            }
            (Err(Errno::NOTDIR), None) => empty = Some(mount_empty(target.as_fd(), label)?),
            (other, _) => other?,
        }
    }
    Ok(())
}

/// Covers a directory by an empty file system, and returns that: by its path somebody else's could be found.
fn mount_empty(target: BorrowedFd<'_>, label: Option<&CStr>) -> Result<Place, Fault> {
    let context = Place::from(fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?);
    fsconfig_set_flag(context.as_fd(), c"ro")?;
    if let Some(label) = label {
        fsconfig_set_string(context.as_fd(), c"context", label)?;
    }
    fsconfig_create(context.as_fd())?;
    let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY;
    let mounted = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, read_only)?;
    let mounted = Place::from(mounted);
    attach(mounted.as_fd(), target)?;
    Ok(mounted)
}

fn bind(source: &CStr, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let place = fd_path(target);
    rustix::mount::mount(source, place.as_c_str(), c"", MountFlags::BIND, None::<&CStr>)
}

/// Makes paths read-only by mounting each onto itself.
pub(super) fn read_only(root: BorrowedFd<'_>, paths: &[std::ffi::CString]) -> Result<(), Fault> {
    let attr = MountAttr { set: READ_ONLY, ..MountAttr::default() };
    for path in paths {
        let target = match beneath::open(root, path, OFlags::PATH) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(errno) => return Err(errno).at(At::Target),
        };
        let tree = clone_tree(target.as_fd(), c"", true).at(At::Source)?;
        mount_setattr(tree.as_fd(), c"", false, &attr).at(At::Attributes)?;
        attach(tree.as_fd(), target.as_fd())?;
    }
    Ok(())
}

/// Changes the root to `root` by pivot_root and lets go of the old one.
pub(super) fn pivot(root: BorrowedFd<'_>, shared: bool) -> Result<(), Fault> {
    // Where the old tree is shared with the host, unmounting it would unmount the host's too.
    let old = if shared {
        Some(rustix::fs::open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
    } else {
        None
    };
    rustix::process::fchdir(root)?;
    // Both are `.`: the old root ends on top of the new one, so that no directory is needed for it.
    rustix::process::pivot_root(c".", c".")?;
    if let Some(old) = &old {
        rustix::process::fchdir(old)?;
        rustix::mount::mount_change(
            c".",
            MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
        )
        .at(At::Propagation)?;
    }
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")?;
    Ok(())
}

/// Moves the root onto `/` and changes to it. The file systems of `unmount`, through which the host
/// could be reached, are taken off or covered first.
pub(super) fn move_root(root: BorrowedFd<'_>, unmount: &[std::ffi::CString]) -> Result<(), Fault> {
    for path in unmount {
        let _ = rustix::mount::mount_change(
            &**path,
            MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
        );
        match rustix::mount::unmount(&**path, UnmountFlags::DETACH) {
            // A locked mount of a user namespace cannot be taken off, but covered.
            Err(Errno::INVAL | Errno::PERM) => {
                rustix::mount::mount(
                    c"tmpfs",
                    &**path,
                    c"tmpfs",
                    MountFlags::empty(),
                    None::<&CStr>,
                )?;
            }
            other => other?,
        }
    }
    rustix::process::fchdir(root)?;
    rustix::mount::mount_move(c".", c"/")?;
    change_root()
}

/// Makes the current directory the root.
fn change_root() -> Result<(), Fault> {
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")?;
    Ok(())
}

/// Only chroot.
pub(super) fn chroot_to(root: BorrowedFd<'_>) -> Result<(), Fault> {
    rustix::process::fchdir(root)?;
    change_root()
}
