//! What programs do to a file system beyond reading and writing it: mapping, watching, filling it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use dhow_archive::tar::{Content, Kind};
use rusqlite::Connection;
use rustix::fs::inotify;

use super::rig::Rig;
use crate::snapshot::View;
use crate::testing::LayerTar;

/// Enough for directories of more than one block, and little enough for every run; `DHOW_MANY_FILES` is for those
/// who want a million.
const MANY: usize = 20_000;

/// A file that comes from a layer is read through a map of it and written by its descriptor, by a program that
/// relies on the two being one: SQLite.
pub(super) fn maps_of_files(rig: &Rig) {
    let database = rig.disk.join("made.db");
    let open = |path: &std::path::Path, map: bool| {
        let db = Connection::open(path).expect("a database");
        let size = if map { 1 << 20 } else { 0 };
        db.pragma_update(None, "mmap_size", size).expect("a setting");
        db
    };
    let made = open(&database, false);
    made.execute_batch("create table t (n integer); insert into t values (1);").expect("a table");
    drop(made);
    let bytes = fs::read(&database).expect("read");
    fs::remove_file(&database).expect("removed");
    let kind = Kind::File(Content::plain(bytes.len() as u64));
    let layer = LayerTar::new().entry("t.db", kind, &bytes, |_| {}).done();
    let base = rig.layer(&layer, &[], false);
    let active = rig.changed(&[base], |root| {
        let path = root.join("t.db");
        let sum = |db: &Connection| {
            db.query_row("select sum(n) from t", [], |row| row.get::<_, i64>(0)).expect("a sum")
        };
        // Written first: who maps a lower file before it is copied up keeps the lower one, as overlay says.
        let writer = open(&path, false);
        writer.execute("insert into t values (10)", []).expect("a row");
        let (mapped, other) = (open(&path, true), open(&path, true));
        assert_eq!((sum(&mapped), sum(&other)), (11, 11));
        for n in 0..50 {
            writer.execute("insert into t values (?1)", [n]).expect("a row");
            let expected: i64 = 11 + (0..=n).sum::<i64>();
            assert_eq!((sum(&mapped), sum(&other)), (expected, expected), "row {n}");
        }
    });
    // The root is touched by the journal, which comes and goes.
    assert_eq!(rig.names(active, &[base]), ["C /", "C /t.db"]);
}

/// Who watches a file or a directory of a layer hears of what happens to it, although the file moves.
pub(super) fn those_who_watch(rig: &Rig) {
    let layer = LayerTar::new().dir("dir").file("dir/f", "f").file("dir/gone", "x").done();
    let base = rig.layer(&layer, &[], false);
    rig.changed(&[base], |root| {
        let watcher = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK);
        let watcher = watcher.expect("inotify");
        let flags = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::MOVE;
        inotify::add_watch(&watcher, root.join("dir"), flags).expect("a watch");
        fs::write(root.join("dir/new"), "new").expect("written");
        fs::write(root.join("dir/f"), "other").expect("written");
        fs::remove_file(root.join("dir/gone")).expect("removed");
        fs::rename(root.join("dir/new"), root.join("dir/newer")).expect("renamed");
        let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 4096];
        let mut reader = inotify::Reader::new(&watcher, &mut buffer);
        let mut heard = Vec::new();
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
            heard.push((event.events(), name.unwrap_or_default()));
        }
        let has =
            |flag, name: &str| heard.iter().any(|(flags, of)| flags.contains(flag) && of == name);
        assert!(has(inotify::ReadFlags::CREATE, "new"), "{heard:?}");
        assert!(has(inotify::ReadFlags::MODIFY, "f"), "{heard:?}");
        assert!(has(inotify::ReadFlags::DELETE, "gone"), "{heard:?}");
        assert!(has(inotify::ReadFlags::MOVED_TO, "newer"), "{heard:?}");
    });
}

/// A layer with many files in it, and one on top that changes, adds and removes a few.
pub(super) fn many_files(rig: &Rig) {
    #[expect(clippy::disallowed_methods, reason = "how long somebody wants to wait")]
    let wanted = std::env::var("DHOW_MANY_FILES").ok().and_then(|text| text.parse().ok());
    let count: usize = wanted.unwrap_or(MANY);
    let mut tar = LayerTar::new().dir("large").dir("wide");
    for number in 0..count / 2 {
        tar = tar.file(&format!("large/file-{number}"), "");
    }
    for number in 0..count / 2 {
        if number % 500 == 0 {
            tar = tar.dir(&format!("wide/{}", number / 500));
        }
        tar = tar.file(&format!("wide/{}/{number}", number / 500), "");
    }
    let base = rig.layer(&tar.done(), &[], false);
    let active = rig.changed(&[base], |root| {
        let names = fs::read_dir(root.join("large")).expect("a directory").count();
        assert_eq!(names, count / 2);
        fs::write(root.join("large/file-7"), "changed").expect("written");
        fs::remove_file(root.join("large/file-8")).expect("removed");
        fs::write(root.join("wide/0/new"), "new").expect("written");
    });
    let expected =
        ["C /large", "D /large/file-8", "C /large/file-7", "C /wide", "C /wide/0", "A /wide/0/new"];
    assert_eq!(rig.names(active, &[base]), expected);
    let usage = rig.driver.usage(base, &[]).expect("usage");
    assert!(usage.inodes >= count as u64, "{usage:?}");
    let layer = rig.diff(active, &[base]);
    let again = rig.layer(&layer, &[base], true);
    rig.mounted(again, &[base], &View::READ, |root| {
        let large = fs::read_dir(root.join("large")).expect("a directory").count();
        assert_eq!(large, count / 2 - 1);
        assert_eq!(fs::metadata(root.join("large/file-7")).expect("it").size(), 7);
    });
    for number in [again, active, base] {
        rig.driver.remove(number).expect("removed");
    }
}
