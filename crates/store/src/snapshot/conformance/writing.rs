//! Snapshots that are written to, and what is told of it.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

use super::rig::Rig;
use super::tell::{tell, tell_timeless};
use crate::db::SnapshotNumber;
use crate::snapshot::View;
use crate::testing::LayerTar;

/// Something of everything, for changes to happen to.
fn base(rig: &Rig) -> SnapshotNumber {
    let layer = LayerTar::new()
        .dir("./")
        .dir("dir")
        .file("dir/a", "a")
        .file("dir/b", "b")
        .dir("dir/sub")
        .file("dir/sub/c", "c")
        .dir("other")
        .file("other/x", "x")
        .file("other/y", "y")
        .file("f", "f")
        .file("same", "same")
        .symlink("link", "f")
        .file("one", "linked")
        .link("two", "one")
        .done();
    rig.layer(&layer, &[], false)
}

fn write(path: impl AsRef<Path>, text: &str) {
    fs::write(path, text).expect("written");
}

/// Renames a directory as programs do: by hand, where the kernel refuses.
fn rename_dir(from: &Path, to: &Path) {
    match fs::rename(from, to) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            fs::create_dir(to).expect("a directory");
            for entry in fs::read_dir(from).expect("a directory") {
                let name = entry.expect("a name").file_name();
                if from.join(&name).is_dir() {
                    rename_dir(&from.join(&name), &to.join(&name));
                } else {
                    fs::rename(from.join(&name), to.join(&name)).expect("renamed");
                }
            }
            fs::remove_dir(from).expect("removed");
        }
        Err(error) => panic!("{error}"),
    }
}

/// Changes of every kind.
fn change(root: &Path) {
    write(root.join("new"), "new");
    write(root.join("f"), "other");
    fs::remove_file(root.join("dir/a")).expect("removed");
    rename_dir(&root.join("dir/sub"), &root.join("moved"));
    fs::remove_dir_all(root.join("other")).expect("removed");
    fs::create_dir(root.join("other")).expect("made again");
    write(root.join("other/z"), "z");
    fs::remove_file(root.join("link")).expect("removed");
    symlink("new", root.join("link")).expect("a link");
    fs::set_permissions(root.join("same"), fs::Permissions::from_mode(0o4700)).expect("a mode");
    fs::create_dir_all(root.join("p/q/r")).expect("directories");
    let fifo = FileType::Fifo;
    rustix::fs::mknodat(CWD, root.join("pipe"), fifo, Mode::RUSR, 0).expect("a pipe");
    let device = rustix::fs::makedev(1, 3);
    let kind = FileType::CharacterDevice;
    rustix::fs::mknodat(CWD, root.join("null"), kind, Mode::RUSR, device).expect("a device");
}

pub(super) fn names_and_kinds_of_changes(rig: &Rig) {
    let base = base(rig);
    let active = rig.changed(&[base], change);
    let expected = [
        "C /",
        "C /dir",
        "D /dir/a",
        "D /dir/sub",
        "C /f",
        "C /link",
        "A /moved",
        "A /moved/c",
        "A /new",
        "A /null",
        "C /other",
        "D /other/x",
        "D /other/y",
        "A /other/z",
        "A /p",
        "A /p/q",
        "A /p/q/r",
        "A /pipe",
        "C /same",
    ];
    assert_eq!(rig.names(active, &[base]), expected);
}

pub(super) fn a_diff_is_a_layer(rig: &Rig) {
    let base = base(rig);
    let active = rig.changed(&[base], |root| {
        change(root);
        // A socket is no part of any layer.
        drop(UnixListener::bind(root.join("socket")).expect("a socket"));
    });
    let seen = rig.mounted(active, &[base], &View::WRITE, |root| {
        assert!(fs::symlink_metadata(root.join("socket")).expect("it").file_type().is_socket());
        fs::remove_file(root.join("socket")).expect("removed");
        tell(root)
    });
    let layer = rig.diff(active, &[base]);
    for late in [false, true] {
        let again = rig.layer(&layer, &[base], late);
        assert_eq!(rig.shown(again, &[base]), seen, "{late}");
    }
}

pub(super) fn an_export_is_all_of_it(rig: &Rig) {
    let base = base(rig);
    let active = rig.changed(&[base], change);
    let seen = rig.mounted(active, &[base], &View::WRITE, tell);
    let export = rig.export(active, &[base]);
    let again = rig.layer(&export, &[], false);
    assert_eq!(rig.shown(again, &[]), seen);
    rig.driver.commit(active, &[base]).expect("committed");
    assert!(rig.export(active, &[base]) == export, "committed or not");
    assert!(rig.export(again, &[]) == export, "whatever it is made of");
}

pub(super) fn a_diff_is_the_same_twice(rig: &Rig) {
    let base = base(rig);
    let active = rig.changed(&[base], change);
    let layer = rig.diff(active, &[base]);
    assert!(rig.diff(active, &[base]) == layer);
    let again = rig.layer(&layer, &[base], true);
    assert!(rig.diff(again, &[base]) == layer, "what was made of it is told as it was");
    rig.driver.commit(active, &[base]).expect("committed");
    assert!(rig.diff(active, &[base]) == layer, "committed or not");
}

pub(super) fn nothing_changed_is_nothing(rig: &Rig) {
    let base = base(rig);
    let untouched = rig.prepare(&[base]);
    assert_eq!(rig.names(untouched, &[base]), [""; 0]);
    let read = rig.changed(&[base], |root| {
        fs::read(root.join("f")).expect("read");
        // Opened to be written, but not written: copied up, and the same.
        fs::File::options().append(true).open(root.join("dir/a")).expect("opened");
        let modified = fs::metadata(root.join("dir/b")).expect("it").modified().expect("a time");
        let file = fs::File::options().append(true).open(root.join("dir/b")).expect("opened");
        file.set_modified(modified).expect("a time");
    });
    assert_eq!(rig.names(read, &[base]), [""; 0]);
}

/// Same size, same time, other data.
pub(super) fn changes_that_hide(rig: &Rig) {
    let base = base(rig);
    let active = rig.changed(&[base], |root| {
        let path = root.join("dir/b");
        let modified = fs::metadata(&path).expect("it").modified().expect("a time");
        write(&path, "B");
        let file = fs::File::options().append(true).open(&path).expect("opened");
        file.set_modified(modified).expect("a time");
        let later = SystemTime::now() + Duration::from_secs(60);
        let file = fs::File::options().append(true).open(root.join("f")).expect("opened");
        file.set_modified(later).expect("a time");
    });
    assert_eq!(rig.names(active, &[base]), ["C /dir", "C /dir/b", "C /f"]);
}

pub(super) fn hard_links_across_copies(rig: &Rig) {
    let base = base(rig);
    let active = rig.changed(&[base], |root| {
        fs::hard_link(root.join("f"), root.join("g")).expect("a link");
        write(root.join("g"), "through g");
        fs::hard_link(root.join("one"), root.join("three")).expect("a link");
    });
    let again = rig.layer(&rig.diff(active, &[base]), &[base], true);
    let shown = rig.shown(again, &[base]);
    assert!(shown.contains("\ng = f\n"), "{shown}");
    assert!(shown.contains("\nthree = one\n"), "{shown}");
    rig.mounted(again, &[base], &View::READ, |root| {
        assert_eq!(fs::read_to_string(root.join("f")).expect("it"), "through g");
    });
}

/// Temporary files, files removed while open, locks: what programs do to a file system.
pub(super) fn files_without_names(rig: &Rig) {
    use std::io::{Read, Seek, Write};
    let base = base(rig);
    let active = rig.changed(&[base], |root| {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, root.join("dir"), flags, Mode::RUSR | Mode::WUSR);
        let mut file = fs::File::from(file.expect("a file without a name"));
        file.write_all(b"temporary").expect("written");
        let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        rustix::fs::linkat(CWD, name, CWD, root.join("named"), AtFlags::SYMLINK_FOLLOW)
            .expect("a name");
        let mut gone = fs::File::options().read(true).write(true).open(root.join("f")).expect("f");
        fs::remove_file(root.join("f")).expect("removed");
        gone.write_all(b"still").expect("written");
        gone.rewind().expect("rewound");
        let mut text = String::new();
        gone.read_to_string(&mut text).expect("read");
        assert_eq!(text, "still");
        let lock = fs::File::open(root.join("same")).expect("it");
        let other = fs::File::open(root.join("same")).expect("it");
        let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(lock.as_fd(), operation).expect("a lock");
        assert!(rustix::fs::flock(other.as_fd(), operation).is_err(), "one holds it");
        assert_eq!(fs::metadata(root.join("named")).expect("it").nlink(), 1);
    });
    assert_eq!(rig.names(active, &[base]), ["C /", "D /f", "A /named"]);
}

/// What a build does: a snapshot that was written to becomes a layer for others.
pub(super) fn committed_by_writing(rig: &Rig) {
    let base = base(rig);
    let active = rig.changed(&[base], change);
    let seen = rig.mounted(active, &[base], &View::WRITE, tell);
    rig.driver.commit(active, &[base]).expect("committed");
    assert_eq!(rig.shown(active, &[base]), seen);
    let next = rig.changed(&[active, base], |root| {
        assert_eq!(tell(root), seen);
        fs::remove_file(root.join("moved/c")).expect("removed");
    });
    assert_eq!(rig.names(next, &[active, base]), ["C /moved", "D /moved/c"]);
    let fresh = rig.prepare(&[]);
    let empty = rig.mounted(fresh, &[], &View::WRITE, |root| {
        let text = tell_timeless(root);
        write(root.join("x"), "x");
        text
    });
    assert_eq!(empty, ". 40755 0:0");
    rig.driver.commit(fresh, &[]).expect("committed");
    assert!(rig.shown(fresh, &[]).contains("\nx 100644 "));
}
