//! What only one driver has, and what happens on disks that are too small.

use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags};

use super::rig::{Rig, alone, run};
use crate::layer::ApplyOptions;
use crate::snapshot::{Mounts, PrepareOptions, SnapshotError, View};
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
