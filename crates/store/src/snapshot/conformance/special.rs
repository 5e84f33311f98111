//! What only one driver has, and what happens on disks that are too small.

use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags};

use super::rig::{Rig, alone, run};
use crate::layer::{ApplyOptions, Unmakeable};
use crate::snapshot::{Mounts, Overlay2, PrepareOptions, SnapshotError, View};
use crate::testing::LayerTar;

/// A container engine that lets overlay rename directories and copy metadata alone has left such a `diff`.
#[test]
fn overlays_with_redirect_and_metacopy() {
    alone("overlays_with_redirect_and_metacopy", "64m", |disk| {
        let rig = Rig::overlay2(disk);
        let layer = LayerTar::new().dir("./").dir("old").dir("old/sub").file("old/sub/f", "deep");
        let layer = layer.file("old/kept", "kept").file("mode", "data").file("name", "named");
        let base = rig.layer(&layer.done(), &[], false);
        let active = rig.prepare(&[base]);
        let mounts = rig.driver.mounts(active, &[base], &View::WRITE).expect("a description");
        let place = rig.disk.join("mnt");
        mount_with(&mounts, &place, &["redirect_dir", "metacopy"]);
        std::fs::rename(place.join("old"), place.join("new")).expect("renamed by overlay");
        std::fs::rename(place.join("new/sub"), place.join("new/below")).expect("renamed again");
        std::fs::write(place.join("new/added"), "added").expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(place.join("mode"), mode).expect("a mode");
        std::fs::rename(place.join("name"), place.join("other name")).expect("renamed");
        let seen = super::tell::tell(&place);
        rustix::mount::unmount(&place, UnmountFlags::empty()).expect("unmounted");

        let names = rig.names(active, &[base]);
        let expected = [
            "C /",
            "D /name",
            "D /old",
            "C /mode",
            "A /new",
            "A /new/added",
            "A /new/below",
            "A /new/below/f",
            "A /new/kept",
            "A /other name",
        ];
        assert_eq!(names, expected);
        let again = rig.layer(&rig.diff(active, &[base]), &[base], true);
        assert_eq!(rig.shown(again, &[base]), seen);
    });
}

fn mount_with(mounts: &Mounts, place: &Path, options: &[&str]) {
    let Mounts::Overlay { lowers, upper: Some(upper), .. } = mounts else {
        panic!("an overlay to be written: {mounts:?}")
    };
    let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).expect("overlay");
    let set = |key: &str, value: &Path| {
        rustix::mount::fsconfig_set_string(&fs, key, value).expect("an option");
    };
    for lower in lowers {
        set("lowerdir+", lower);
    }
    set("upperdir", &upper.upper);
    set("workdir", &upper.work);
    for option in options {
        set(option, Path::new("on"));
    }
    rustix::mount::fsconfig_create(&fs).expect("an overlay");
    let mount = rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    let here = rustix::fs::CWD;
    rustix::mount::move_mount(mount.expect("a mount"), "", here, place, flags).expect("in place");
}

/// Everything that a layer took is given back when there is no room for all of it.
#[test]
fn full_disks() {
    alone("full_disks", "4m", |disk| {
        let drivers: [fn(&Path) -> Rig; 2] = [Rig::overlay2, Rig::vfs];
        for make in drivers {
            let rig = make(disk);
            let free = || rustix::fs::statvfs(disk).expect("a disk").f_bavail;
            let before = free();
            let data = "x".repeat(1 << 20);
            let mut layer = LayerTar::new();
            for index in 0..8 {
                layer = layer.file(&format!("d/{index}"), &data);
            }
            let number = rig.prepare(&[]);
            let layer = layer.done();
            let result = rig.driver.apply(number, &mut &*layer, &ApplyOptions::EXACT);
            let words = result.expect_err("no room").to_string();
            assert!(words.starts_with("entry 5: layer entry \"d/4\": "), "{words}");
            assert!(words.ends_with("write a file: no space left on device"), "{words}");
            rig.driver.remove(number).expect("removed");
            assert_eq!(free(), before, "{}", rig.driver.name());
        }
    });
}

#[test]
fn btrfs_limits() {
    alone("btrfs_limits", "2g", |disk| {
        let Some(rig) = Rig::btrfs("btrfs_limits", disk) else { return };
        let limit = PrepareOptions { size_bytes_max: Some(4 << 20) };
        let number = rig.number();
        let error = rig.driver.prepare(number, &[], &limit).expect_err("no quotas yet");
        assert!(matches!(error, SnapshotError::NoSizeLimit { driver: "btrfs", .. }), "{error}");
        let place = rig.disk.to_str().expect("text");
        assert!(run("btrfs", &["quota", "enable", place]), "quotas");
        let base = rig.layer(&LayerTar::new().file("big", &"x".repeat(8 << 20)).done(), &[], false);
        let number = rig.number();
        rig.driver.prepare(number, &[base], &limit).expect("prepared with a limit");
        rig.mounted(number, &[base], &View::WRITE, |root| {
            std::fs::write(root.join("fits"), "x".repeat(1 << 20)).expect("within the limit");
            let error = std::fs::write(root.join("more"), "y".repeat(16 << 20))
                .and_then(|()| std::fs::File::open(root.join("more"))?.sync_all());
            let kind = error.expect_err("beyond the limit").kind();
            assert_eq!(kind, std::io::ErrorKind::QuotaExceeded);
        });
        for number in [number, base] {
            rig.driver.remove(number).expect("removed");
        }
    });
}

/// Anybody may make subvolumes where they may write; they must not keep a snapshot from being removed.
#[test]
fn btrfs_subvolumes_within() {
    alone("btrfs_subvolumes_within", "2g", |disk| {
        let Some(rig) = Rig::btrfs("btrfs_subvolumes_within", disk) else { return };
        let base = rig.layer(&LayerTar::new().dir("d").done(), &[], false);
        let active = rig.changed(&[base], |root| {
            let dir = crate::layer::open_dir_path(&root.join("d")).expect("it");
            let dir = std::os::fd::AsFd::as_fd(&dir);
            dhow_sys::btrfs_create(dir, "inner").expect("a subvolume");
            let inner = crate::layer::open_dir_path(&root.join("d/inner")).expect("it");
            dhow_sys::btrfs_create(std::os::fd::AsFd::as_fd(&inner), "innermost").expect("another");
            std::fs::write(root.join("d/inner/innermost/f"), "x").expect("written");
        });
        assert_eq!(
            rig.names(active, &[base]).last().map(String::as_str),
            Some("A /d/inner/innermost/f")
        );
        rig.driver.remove(active).expect("removed with all that is in it");
        rig.driver.remove(base).expect("removed");
        assert_eq!(rig.driver.walk().expect("walked"), []);
    });
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn project_limits() {
    alone("project_limits", "1g", |disk| {
        let place = match make_xfs(disk) {
            Ok(place) => place,
            Err(reason) => {
                eprintln!("SKIPPED project_limits: {reason}");
                return;
            }
        };
        let drivers: [fn(&Path) -> Rig; 2] = [Rig::overlay2, Rig::vfs];
        for make in drivers {
            let rig = make(&place);
            let limit = PrepareOptions { size_bytes_max: Some(4 << 20) };
            let number = rig.number();
            rig.driver.prepare(number, &[], &limit).expect("prepared with a limit");
            rig.mounted(number, &[], &View::WRITE, |root| {
                std::fs::write(root.join("fits"), "x".repeat(1 << 20)).expect("within the limit");
                let error = std::fs::write(root.join("more"), "y".repeat(16 << 20));
                // xfs says of a project that its disk is full.
                let kind = error.expect_err("beyond the limit").kind();
                use std::io::ErrorKind::{QuotaExceeded, StorageFull};
                assert!(matches!(kind, QuotaExceeded | StorageFull), "{kind:?}");
            });
            let other = rig.changed(&[], |root| {
                std::fs::write(root.join("more"), "y".repeat(16 << 20)).expect("without a limit");
            });
            for number in [number, other] {
                rig.driver.remove(number).expect("removed");
            }
        }
    });
}

/// An xfs with project quotas in a file; or why there is none.
fn make_xfs(disk: &Path) -> Result<std::path::PathBuf, &'static str> {
    let (image, place) = (disk.join("xfs.image"), disk.join("xfs.mnt"));
    let file = std::fs::File::create(&image).expect("an image");
    file.set_len(400 << 20).expect("a size");
    std::fs::create_dir(&place).expect("a place");
    let image = image.to_str().expect("text");
    if !run("mkfs.xfs", &["-q", "-K", image]) {
        return Err("mkfs.xfs is not installed");
    }
    let options = ["-o", "loop,prjquota", image, place.to_str().expect("text")];
    if !run("mount", &options) {
        return Err("the kernel has no project quotas");
    }
    Ok(place)
}

/// Where the file system can, a copy takes no room.
#[test]
fn btrfs_shares_the_blocks_of_copies() {
    alone("btrfs_shares_the_blocks_of_copies", "2g", |disk| {
        let Some(btrfs) = Rig::btrfs("btrfs_shares_the_blocks_of_copies", disk) else { return };
        let rig = Rig::vfs(&btrfs.disk);
        let data: String = (0..1 << 22).map(|n: u32| format!("{n:07x} ")).collect();
        let base = rig.layer(&LayerTar::new().file("big", &data).done(), &[], false);
        let free = || {
            let root = crate::layer::open_dir_path(&rig.disk).expect("a disk");
            rustix::fs::syncfs(&root).expect("synced");
            rustix::fs::fstatvfs(&root).expect("a disk").f_bavail * 4096
        };
        let before = free();
        let copy = rig.prepare(&[base]);
        assert!(before - free() < 8 << 20, "{} bytes were taken", before - free());
        assert_eq!(rig.names(copy, &[base]), [""; 0]);
    });
}

/// An overlay has no whiteouts of its own for us to make: better to hear that before the first image.
#[test]
fn overlays_on_overlays() {
    alone("overlays_on_overlays", "64m", |disk| {
        let rig = Rig::overlay2(disk);
        let base = rig.layer(&LayerTar::new().dir("d").done(), &[], false);
        let active = rig.prepare(&[base]);
        rig.mounted(active, &[base], &View::WRITE, |root| {
            let error = Overlay2::open(&root.join("overlay2"), false).expect_err("refused");
            assert!(matches!(error, SnapshotError::Unusable { driver: "overlay2", .. }), "{error}");
            let inner = Rig::vfs(root);
            let base = inner.layer(&LayerTar::new().dir("d").file("d/f", "x").done(), &[], false);
            let shown = inner.driver.mounts(base, &[], &View::READ).expect("a description");
            let Mounts::Bind { source, .. } = shown else { panic!("{shown:?}") };
            assert_eq!(std::fs::read_to_string(source.join("d/f")).expect("it"), "x");
        });
    });
}

const USER: &str = "DHOW_STORE_AS_A_USER";

/// The same program again, in a user namespace that has one user.
#[test]
#[expect(clippy::disallowed_methods, reason = "a namespace for users needs a process of its own")]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn users_without_rights() {
    let me = std::env::current_exe().expect("this program");
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount"]).arg(me);
    command.args(["--exact", "snapshot::conformance::special::in_a_user_namespace"]);
    let output = command.env(USER, "1").env("RUST_BACKTRACE", "0").output().expect("unshare");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if words.starts_with("unshare: ") {
        eprintln!("SKIPPED users_without_rights: the host refuses user namespaces");
        return;
    }
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("1 passed"), "{told}{words}");
}

/// Not a test by itself: what the one above runs.
#[test]
#[expect(clippy::disallowed_methods, reason = "how a test talks to its child")]
fn in_a_user_namespace() {
    if std::env::var_os(USER).is_none() {
        return;
    }
    alone("in_a_user_namespace", "64m", |disk| {
        let rigs: [fn(&Path) -> Rig; 2] = [Rig::overlay2_of_a_user, Rig::vfs_of_a_user];
        for make in rigs {
            let rig = make(disk);
            let options = ApplyOptions { devices: Unmakeable::Skip, ..ApplyOptions::EXACT };
            let layer = LayerTar::new().dir("./").dir("d").file("d/gone", "x").file("d/kept", "x");
            let layer = layer.dir("e").file("e/hidden", "").device("null", 1, 3).done();
            let base = rig.prepare(&[]);
            let applied = rig.driver.apply(base, &mut &*layer, &options).expect("unpacked");
            assert_eq!(applied.skipped, 1, "the device");
            rig.driver.commit(base, &[]).expect("committed");
            let layer =
                LayerTar::new().file("d/.wh.gone", "").file("e/.wh..wh..opq", "").file("e/f", "");
            let top = rig.layer(&layer.done(), &[base], true);
            let shown = rig.shown(top, &[base]);
            let names: Vec<_> =
                shown.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
            assert_eq!(names, [".", "d", "d/kept", "e", "e/f"], "{}", rig.driver.name());
            let active = rig.changed(&[top, base], |root| {
                std::fs::remove_file(root.join("d/kept")).expect("removed");
                std::fs::write(root.join("new"), "new").expect("written");
            });
            assert_eq!(rig.names(active, &[top, base]), ["C /", "C /d", "D /d/kept", "A /new"]);
            for number in rig.driver.walk().expect("walked") {
                rig.driver.remove(number).expect("removed");
            }
        }
    });
}
