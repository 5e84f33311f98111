//! Where the suite runs: a thread with a mount namespace of its own, and a disk in memory.
//!
//! Nothing of it is seen by the machine, and all of it is gone when the thread is.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dhow_sys::{MountAttr, Namespaces, mount_setattr};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use super::super::{Btrfs, Mounts, Overlay2, PrepareOptions, Snapshotter, Vfs, View};
use super::tell::tell;
use crate::db::SnapshotNumber;
use crate::layer::{
    Applied, ApplyOptions, ChangeKind, DiffError, DiffOptions, DiffSink, LayerWriter,
};
use crate::testing::{Scratch, is_root};

/// A driver under test, and where its snapshots are mounted.
pub(super) struct Rig {
    pub(super) driver: Box<dyn Snapshotter>,
    /// The disk in memory.
    pub(super) disk: PathBuf,
    next: std::cell::Cell<i64>,
}

/// Runs `work` with a disk of so many bytes in a namespace of its own.
pub(super) fn alone(test: &str, size: &str, work: impl FnOnce(&Path) + Send) {
    if !is_root(test) {
        return;
    }
    let scratch = Scratch::new();
    let disk = scratch.path();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            dhow_sys::unshare(Namespaces::MOUNT).expect("a mount namespace");
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).expect("a private tree");
            let options = CString::new(format!("size={size}")).expect("text");
            let flags = MountFlags::empty();
            rustix::mount::mount("dhow-test", disk, "tmpfs", flags, &*options).expect("a disk");
            work(disk);
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Rig {
    pub(super) fn new(driver: Box<dyn Snapshotter>, disk: &Path) -> Self {
        std::fs::create_dir_all(disk.join("mnt")).expect("a place to mount");
        Self { driver, disk: disk.to_owned(), next: 1.into() }
    }

    pub(super) fn overlay2(disk: &Path) -> Self {
        let driver = Overlay2::open(&disk.join("overlay2"), false).expect("a driver");
        Self::new(Box::new(driver), disk)
    }

    pub(super) fn overlay2_of_a_user(disk: &Path) -> Self {
        let driver = Overlay2::open(&disk.join("overlay2"), true).expect("a driver");
        Self::new(Box::new(driver), disk)
    }

    pub(super) fn vfs(disk: &Path) -> Self {
        let driver = Vfs::open(&disk.join("vfs"), false).expect("a driver");
        Self::new(Box::new(driver), disk)
    }

    pub(super) fn vfs_of_a_user(disk: &Path) -> Self {
        let driver = Vfs::open(&disk.join("vfs"), true).expect("a driver");
        Self::new(Box::new(driver), disk)
    }

    /// `None` where there is no btrfs to be had.
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    pub(super) fn btrfs(test: &str, disk: &Path) -> Option<Self> {
        match make_btrfs(disk) {
            Ok(path) => {
                let driver = Btrfs::open(&path.join("btrfs"), false).expect("a driver");
                Some(Self::new(Box::new(driver), &path))
            }
            Err(reason) => {
                eprintln!("SKIPPED {test}: {reason}");
                None
            }
        }
    }

    /// A number that no snapshot had.
    pub(super) fn number(&self) -> SnapshotNumber {
        let next = self.next.get();
        self.next.set(next + 1);
        SnapshotNumber::parse(&next.to_string()).expect("a number")
    }

    /// An active snapshot.
    pub(super) fn prepare(&self, parents: &[SnapshotNumber]) -> SnapshotNumber {
        let number = self.number();
        self.driver.prepare(number, parents, &PrepareOptions::UNLIMITED).expect("prepared");
        number
    }

    /// A committed snapshot of one layer on top of `parents`; `late` tells them at the commit only, if
    /// the driver can do that.
    pub(super) fn layer(
        &self,
        layer: &[u8],
        parents: &[SnapshotNumber],
        late: bool,
    ) -> SnapshotNumber {
        let late = late && self.driver.rebases();
        let number = self.prepare(if late { &[] } else { parents });
        self.apply(number, layer);
        self.driver.commit(number, parents).expect("committed");
        number
    }

    pub(super) fn apply(&self, number: SnapshotNumber, mut layer: &[u8]) -> Applied {
        self.driver.apply(number, &mut layer, &ApplyOptions::EXACT).expect("unpacked")
    }

    /// Shows a snapshot to `work`.
    pub(super) fn mounted<T>(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        view: &View,
        work: impl FnOnce(&Path) -> T,
    ) -> T {
        let mounts = self.driver.mounts(number, parents, view).expect("a description");
        let place = self.disk.join("mnt");
        mount(&mounts, &place);
        let result = work(&place);
        rustix::mount::unmount(&place, UnmountFlags::empty()).expect("unmounted");
        self.driver.release(number).expect("released");
        result
    }

    /// What a committed snapshot shows.
    pub(super) fn shown(&self, number: SnapshotNumber, parents: &[SnapshotNumber]) -> String {
        self.mounted(number, parents, &View::READ, tell)
    }

    /// An active snapshot that `work` has changed.
    pub(super) fn changed(
        &self,
        parents: &[SnapshotNumber],
        work: impl FnOnce(&Path),
    ) -> SnapshotNumber {
        let number = self.prepare(parents);
        self.mounted(number, parents, &View::WRITE, work);
        number
    }

    /// A snapshot's changes as a layer.
    pub(super) fn diff(&self, number: SnapshotNumber, parents: &[SnapshotNumber]) -> Vec<u8> {
        let mut writer = LayerWriter::new(Vec::new());
        self.driver.diff(number, parents, &DiffOptions::LAYER, &mut writer).expect("a diff");
        writer.finish().expect("a layer")
    }

    /// All of a snapshot as one layer.
    pub(super) fn export(&self, number: SnapshotNumber, parents: &[SnapshotNumber]) -> Vec<u8> {
        let mut writer = LayerWriter::new(Vec::new());
        self.driver.export(number, parents, &DiffOptions::LAYER, &mut writer).expect("a tar");
        writer.finish().expect("a tar")
    }

    /// A snapshot's changes as `docker diff` prints them.
    pub(super) fn names(&self, number: SnapshotNumber, parents: &[SnapshotNumber]) -> Vec<String> {
        let mut names = Names(Vec::new());
        self.driver.diff(number, parents, &DiffOptions::NAMES, &mut names).expect("a diff");
        names.0
    }
}

struct Names(Vec<String>);

impl DiffSink for Names {
    fn change(
        &mut self,
        kind: ChangeKind,
        change: dhow_archive::layer::Change,
        _: Option<&mut dyn std::io::Read>,
    ) -> Result<(), DiffError> {
        let letter = match kind {
            ChangeKind::Added => 'A',
            ChangeKind::Modified => 'C',
            ChangeKind::Deleted => 'D',
        };
        self.0.push(format!("{letter} /{}", change.path().as_bytes().escape_ascii()));
        Ok(())
    }
}

/// Mounts what a driver describes.
pub(super) fn mount(mounts: &Mounts, place: &Path) {
    let tree = match mounts {
        Mounts::Bind { source, readonly, idmap } => {
            assert_eq!(*idmap, None, "the suite asks for no other owners");
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let tree = rustix::mount::open_tree(CWD, source, flags).expect("a bind mount");
            if *readonly {
                let set = MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into();
                let attr = MountAttr { set, ..MountAttr::default() };
                mount_setattr(tree.as_fd(), c"", false, &attr).expect("a read-only mount");
            }
            tree
        }
        Mounts::Overlay { lowers, upper, user_xattrs, idmap } => {
            assert_eq!(*idmap, None, "the suite asks for no other owners");
            let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).expect("a path");
            let fs =
                rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).expect("overlay");
            let set = |key: &str, path: &Path| {
                rustix::mount::fsconfig_set_string(fs.as_fd(), key, text(path))
                    .unwrap_or_else(|errno| panic!("{key}={}: {errno}", path.display()));
            };
            for lower in lowers {
                set("lowerdir+", lower);
            }
            if let Some(upper) = upper {
                set("upperdir", &upper.upper);
                set("workdir", &upper.work);
            }
            if *user_xattrs {
                rustix::mount::fsconfig_set_flag(fs.as_fd(), "userxattr").expect("userxattr");
            }
            rustix::mount::fsconfig_create(fs.as_fd()).expect("an overlay");
            let flags = FsMountFlags::FSMOUNT_CLOEXEC;
            rustix::mount::fsmount(fs.as_fd(), flags, MountAttrFlags::empty()).expect("a mount")
        }
    };
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&tree, "", CWD, place, flags).expect("a mount in its place");
}

/// Makes a btrfs in a file on the disk and mounts it; or says why not.
fn make_btrfs(disk: &Path) -> Result<PathBuf, &'static str> {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known.lines().any(|line| line.ends_with("\tbtrfs")) {
        return Err("the kernel has no btrfs");
    }
    let (image, place) = (disk.join("btrfs.image"), disk.join("btrfs.mnt"));
    let file = std::fs::File::create(&image).expect("an image");
    file.set_len(1 << 30).expect("a size");
    std::fs::create_dir(&place).expect("a place");
    let image = image.to_str().expect("text");
    if !run("mkfs.btrfs", &["-q", "-K", image]) {
        return Err("mkfs.btrfs is not installed");
    }
    if !run("mount", &["-o", "loop", image, place.to_str().expect("text")]) {
        return Err("no loop device");
    }
    Ok(place)
}

#[expect(clippy::disallowed_methods, reason = "a test's hands")]
pub(super) fn run(program: &str, args: &[&str]) -> bool {
    let stdout = std::process::Stdio::null();
    let status = std::process::Command::new(program).args(args).stdout(stdout).status();
    status.is_ok_and(|status| status.success())
}
