//! Volumes on a real disk, with a real database.

use std::path::Path;

use dhow_store::Clock;

use super::*;
use crate::filters::Filters;
use crate::plan::tests::{Scratch, scratch};

fn open(scratch: &Scratch) -> Volumes {
    let db = Db::open(&scratch.path().join("dhow.db"), Clock::system()).expect("a database");
    Volumes::open(scratch.path(), db).expect("volumes")
}

fn named(name: &str) -> NewVolume {
    let labels = BTreeMap::from([("for".to_owned(), name.to_owned())]);
    NewVolume { name: name.to_owned(), labels, ..NewVolume::default() }
}

fn filters(pairs: &[(&str, &str)]) -> Filters {
    let mut filters = Filters::default();
    for (name, value) in pairs {
        filters.add(name, value);
    }
    filters
}

#[test]
fn a_volume_outlives_the_engine() {
    let scratch = scratch("volumes-life");
    let volumes = open(&scratch);
    let (made, new) = volumes.create(named("data")).expect("a volume");
    assert!(new && made.mountpoint.ends_with("volumes/data/_data"));
    assert!(!volumes.create(named("data")).expect("the same").1);
    std::fs::write(made.mountpoint.join("f"), "f").expect("a file");
    drop(volumes);
    let volumes = open(&scratch);
    assert_eq!(volumes.inspect("data").expect("the volume"), made);
    assert!(made.mountpoint.join("f").exists() && volumes.size_bytes(&made) > 0);
    assert_eq!(volumes.inspect("none").expect_err("none").to_string(), "get none: no such volume");
}

#[test]
fn a_volume_in_use_stays() {
    let scratch = scratch("volumes-use");
    let volumes = open(&scratch);
    let (volume, _) = volumes.create(named("data")).expect("a volume");
    let mut users = VolumeUsers::default();
    users.add("data", "c1");
    users.add("data", "c2");
    assert_eq!(
        volumes.remove("data", &users, true).expect_err("in use").to_string(),
        "remove data: volume is in use - [c1, c2]"
    );
    let users = VolumeUsers::default();
    assert!(volumes.remove("data", &users, false).expect("removed").is_some());
    assert!(!volume.mountpoint.exists());
    assert!(volumes.remove("data", &users, false).is_err());
    assert_eq!(volumes.remove("data", &users, true).expect("nothing"), None);
}

#[test]
fn refusals_have_dockers_words() {
    let scratch = scratch("volumes-no");
    let volumes = open(&scratch);
    let refusal = |new: NewVolume| volumes.create(new).expect_err("a refusal").to_string();
    assert!(refusal(named("a/b")).starts_with("create a/b: \"a/b\" includes invalid characters"));
    assert_eq!(
        refusal(NewVolume { driver: "nfs".to_owned(), ..named("data") }),
        "error looking up volume plugin nfs: plugin \"nfs\" not found"
    );
    let options = |option: &str| BTreeMap::from([(option.to_owned(), "x".to_owned())]);
    assert_eq!(
        refusal(NewVolume { options: options("color"), ..named("data") }),
        "create data: invalid option: \"color\""
    );
    assert_eq!(
        refusal(NewVolume { options: options("type"), ..named("data") }),
        "create data: missing required option: \"device\""
    );
    assert!(volumes.inspect("data").is_err());
}

#[test]
fn a_volume_can_stand_for_a_path() {
    let scratch = scratch("volumes-device");
    let volumes = open(&scratch);
    let device = scratch.path().join("elsewhere");
    let options: BTreeMap<String, String> =
        [("type", "none"), ("o", "bind"), ("device", device.to_str().expect("text"))]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
    let new = NewVolume { options, ..named("there") };
    assert!(volumes.create(new.clone()).is_err());
    std::fs::create_dir(&device).expect("a directory");
    let (volume, _) = volumes.create(new).expect("a volume");
    assert_eq!(volume.mountpoint, device);
    let users = VolumeUsers::default();
    volumes.remove("there", &users, false).expect("removed");
    assert!(device.exists());
}

#[test]
fn lists_and_pruning() {
    let scratch = scratch("volumes-list");
    let volumes = open(&scratch);
    for name in ["one", "two"] {
        volumes.create(named(name)).expect("a volume");
    }
    let (third, _) = volumes.create(NewVolume::default()).expect("a volume");
    assert!(third.is_anonymous() && third.name.len() == 64);
    let mut users = VolumeUsers::default();
    users.add("one", "c");
    let list = |pairs: &[(&str, &str)]| -> Vec<String> {
        let found = volumes.list(&filters(pairs), &users).expect("a list");
        found.into_iter().filter(|one| one.name.len() < 64).map(|one| one.name).collect()
    };
    assert_eq!(list(&[]), ["one", "two"]);
    assert_eq!(list(&[("dangling", "true")]), ["two"]);
    assert_eq!(list(&[("dangling", "0")]), ["one"]);
    assert_eq!(list(&[("label", "for=two")]), ["two"]);
    assert_eq!(list(&[("name", "n")]), ["one"]);
    assert!(volumes.list(&filters(&[("color", "red")]), &users).is_err());
    let prune = |pairs: &[(&str, &str)]| -> Vec<String> {
        let pruned = volumes.prune(&filters(pairs), &users).expect("pruned");
        pruned.volumes.into_iter().map(|volume| volume.name).collect()
    };
    assert_eq!(prune(&[]), [third.name]);
    assert_eq!(prune(&[("all", "true"), ("label!", "for=two")]), [""; 0]);
    assert_eq!(prune(&[("all", "true")]), ["two"]);
    assert_eq!(list(&[]), ["one"]);
}

#[test]
fn what_was_interrupted_is_finished() {
    let scratch = scratch("volumes-crash");
    let volumes = open(&scratch);
    for name in ["half", "made"] {
        volumes.create(named(name)).expect("a volume");
    }
    drop(volumes);
    let path = |name: &str| scratch.path().join("volumes").join(name);
    // One was set aside and its record not forgotten; of the other, only the record is there.
    std::fs::rename(path("half"), path(".removed-half")).expect("renamed");
    std::fs::remove_dir_all(path("made")).expect("removed");
    let volumes = open(&scratch);
    assert!(volumes.inspect("half").is_err() && !path(".removed-half").exists());
    assert!(volumes.inspect("made").expect("a volume").mountpoint.is_dir());
}

#[test]
fn an_empty_volume_gets_what_the_image_has() {
    let scratch = scratch("volumes-copy");
    let volumes = open(&scratch);
    let root = scratch.path().join("root");
    std::fs::create_dir_all(root.join("srv/sub")).expect("a directory");
    std::fs::write(root.join("srv/sub/f"), "f").expect("a file");
    std::os::unix::fs::symlink("/etc/passwd", root.join("srv/out")).expect("a link");
    std::os::unix::fs::symlink("../../../etc", root.join("away")).expect("a link");
    let view = || RootView::of_directory(open_directory(&root).expect("the root"));
    let (volume, _) = volumes.create(named("data")).expect("a volume");
    let copy = |destination: &str| volumes.copy_up(&volume, &view(), destination);
    // Links out of the root lead to the root's own directories, and there is none.
    copy("/away").expect("nothing");
    assert!(matches!(copy("/srv/sub/f"), Err(VolumeError::OverFile { .. })));
    copy("/srv").expect("copied");
    let read = |name: &str| std::fs::read_to_string(volume.mountpoint.join(name));
    assert_eq!(read("sub/f").expect("a file"), "f");
    let link = std::fs::read_link(volume.mountpoint.join("out")).expect("a link");
    assert_eq!(link, Path::new("/etc/passwd"));
    std::fs::write(volume.mountpoint.join("sub/f"), "own").expect("a file");
    copy("/srv").expect("nothing to do");
    assert_eq!(read("sub/f").expect("a file"), "own");
}

#[test]
fn a_volume_gets_another_name_or_a_twin() {
    let scratch = scratch("volumes-rename");
    let volumes = open(&scratch);
    let (old, _) = volumes.create(named("old")).expect("a volume");
    std::fs::write(old.mountpoint.join("f"), "text").expect("a file");
    let mut users = VolumeUsers::default();
    users.add("old", "c1");
    volumes.rename("old", "new", &users).expect_err("in use");
    let nobody = VolumeUsers::default();
    volumes.rename("old", "../x", &nobody).expect_err("no name");
    let new = volumes.rename("old", "new", &nobody).expect("renamed");
    assert_eq!(volumes.inspect("new").expect("there"), new);
    assert_eq!((new.labels, new.created_ms), (old.labels, old.created_ms));
    volumes.inspect("old").expect_err("gone");
    let (twin, _) = volumes.create(named("twin")).expect("a volume");
    volumes.rename("new", "twin", &nobody).expect_err("taken");
    let new = volumes.inspect("new").expect("there");
    volumes.copy_all(&new, &twin).expect("a copy");
    assert_eq!(std::fs::read(twin.mountpoint.join("f")).expect("the file"), b"text");
}

#[test]
fn file_systems_of_volumes_are_the_kernel_s() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mount = |kind: &str, device: &str, o: &str| {
        let (kind, device, o) = (kind.to_owned(), device.to_owned(), o.to_owned());
        // In a thread with mounts of its own, which go with it.
        let tried = std::thread::spawn(move || {
            use rustix::mount::{MountPropagationFlags, mount_change};
            dhow_sys::unshare(dhow_sys::Namespaces::MOUNT).expect("a namespace");
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change("/", private).expect("a private tree");
            let scratch = scratch("volumes-mount");
            let volumes = open(&scratch);
            let pairs = [("type", kind), ("device", device), ("o", o)];
            let options = pairs.map(|(name, value)| (name.to_owned(), value)).into();
            let (volume, _) = volumes
                .create(NewVolume { options, ..named("own") })
                .map_err(|error| error.to_string())?;
            volumes.mount(&volume).map_err(|error| error.to_string())?;
            let full = std::fs::write(volume.mountpoint.join("f"), vec![0; 2 << 20]).is_err();
            volumes.unmount(&volume).map_err(|error| error.to_string())?;
            Ok::<_, String>(full)
        });
        tried.join().expect("no panic")
    };
    assert_eq!(mount("tmpfs", "tmpfs", "size=1m,mode=700"), Ok(true));
    // Nobody listens there; or there is no NFS in this kernel at all.
    let refused = mount("nfs", ":/none", "addr=127.0.0.1,vers=4,timeo=1,retrans=0,soft,port=1");
    assert!(refused.expect_err("no server").contains("mount the volume at"));
    let unknown = mount("birdfs", "none", "");
    assert!(unknown.expect_err("no such kind").contains("mount the volume at"));
}
