//! Copies out of and into a root with links, some of which lead out of it, and a writer who swaps directories.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use dhow_archive::tar::{Content, Entry, Kind, Options, Reader};

use super::*;
use crate::testing::{LayerTar, Scratch};

/// A root with `data/file`, links to it and out of it, and beside it what nobody may reach.
fn root(scratch: &Scratch) -> LiveRoot {
    let path = |name: &str| scratch.path().join(name);
    fs::create_dir_all(path("root/data/sub")).expect("a directory");
    fs::create_dir_all(path("outside")).expect("a directory");
    fs::write(path("outside/secret"), "secret").expect("a file");
    fs::write(path("root/data/file"), "content").expect("a file");
    fs::hard_link(path("root/data/file"), path("root/data/sub/again")).expect("a link");
    symlink("/data", path("root/abs")).expect("a link");
    symlink("../../../../outside", path("root/data/out")).expect("a link");
    symlink("abs/file", path("root/to-file")).expect("a link");
    symlink("loop", path("root/loop")).expect("a link");
    LiveRoot::new(crate::layer::open_dir_path(&path("root")).expect("the root"))
}

fn names(archive: &[u8]) -> Vec<(String, Kind)> {
    let mut reader = Reader::new(Cursor::new(archive), Options::GENERAL);
    let mut found = Vec::new();
    while let Some(Entry { path, kind, .. }) = reader.next_entry().expect("an archive") {
        found.push((String::from_utf8(path).expect("a name"), kind));
    }
    found
}

fn pack(root: &LiveRoot, path: &str) -> Vec<String> {
    let archive = root.pack(path, Vec::new()).expect(path);
    names(&archive).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn paths_tell_what_stands_there() {
    let scratch = Scratch::new();
    let root = root(&scratch);
    let stat = root.stat("/data/file").expect("a file");
    assert_eq!((stat.name.as_slice(), stat.size_bytes), (&b"file"[..], 7));
    assert_eq!(stat.link_target, None);
    let target = |path: &str| root.stat(path).expect(path).link_target;
    assert_eq!(target("to-file"), Some(b"/data/file".to_vec()));
    assert_eq!(target("data/out"), Some(b"/outside".to_vec()));
    let kind = |path: &str| FileType::from_raw_mode(root.stat(path).expect(path).mode);
    assert_eq!(kind("/abs"), FileType::Symlink);
    assert_eq!(kind("/abs/"), FileType::Directory);
    assert_eq!(kind("/"), FileType::Directory);
    assert!(matches!(root.stat("/none"), Err(FilesError::NotFound { .. })));
    assert!(matches!(root.stat("/data/file/"), Err(FilesError::NotDirectory { .. })));
    assert!(matches!(root.stat("/data/out/secret"), Err(FilesError::NotFound { .. })));
    assert!(root.stat("/loop").is_err());
}

#[test]
fn archives_are_named_by_what_was_asked_for() {
    let scratch = Scratch::new();
    let root = root(&scratch);
    let all = ["data/", "data/file", "data/out", "data/sub/", "data/sub/again"];
    assert_eq!(pack(&root, "/data"), all);
    assert_eq!(pack(&root, "abs/."), ["./", "./file", "./out", "./sub/", "./sub/again"]);
    assert_eq!(pack(&root, "abs/file"), ["file"]);
    assert_eq!(pack(&root, "/to-file"), ["to-file"]);
    assert_eq!(&pack(&root, "/")[..3], ["/", "/abs", "/data/"]);
    let archive = root.pack("/data", Vec::new()).expect("packed");
    let link = names(&archive).pop().expect("the last").1;
    assert_eq!(link, Kind::HardLink { target: b"data/file".to_vec() });
}

fn unpack(root: &LiveRoot, path: &str, tar: LayerTar, keep_kinds: bool) -> Result<(), FilesError> {
    let options = UnpackOptions { keep_kinds, owner: None };
    root.unpack(path, Cursor::new(tar.done()), options)
}

fn file(tar: LayerTar, path: &str, data: &[u8]) -> LayerTar {
    tar.entry(path, Kind::File(Content::plain(data.len() as u64)), data, |_| {})
}

#[test]
fn links_on_the_way_lead_within_the_root() {
    let scratch = Scratch::new();
    let root = root(&scratch);
    let path = |name: &str| scratch.path().join(name);
    fs::create_dir(path("root/outside")).expect("a directory");
    let tar = file(LayerTar::new(), "out/new", b"new");
    unpack(&root, "/abs", file(tar, "deep/er/x", b"x"), true).expect("unpacked");
    assert_eq!(fs::read(path("root/outside/new")).expect("in the root"), b"new");
    assert!(!path("outside/new").exists());
    assert_eq!(fs::read(path("root/data/deep/er/x")).expect("a file"), b"x");
    let error = unpack(&root, "/data", file(LayerTar::new(), "../x", b"x"), true);
    assert!(matches!(error, Err(FilesError::Outside { .. })), "{error:?}");
    let error = unpack(&root, "/none", LayerTar::new(), true);
    assert!(matches!(error, Err(FilesError::NotFound { .. })), "{error:?}");
    let error = unpack(&root, "/data/file", LayerTar::new(), true);
    assert!(matches!(error, Err(FilesError::NotDirectory { .. })), "{error:?}");
}

#[test]
fn what_stands_there_is_replaced_and_never_followed() {
    let scratch = Scratch::new();
    let root = root(&scratch);
    let path = |name: &str| scratch.path().join(name);
    unpack(&root, "/", file(LayerTar::new(), "to-file", b"own"), true).expect("unpacked");
    assert_eq!(fs::read(path("root/data/file")).expect("untouched"), b"content");
    assert_eq!(fs::read(path("root/to-file")).expect("a file"), b"own");
    let error = unpack(&root, "/", file(LayerTar::new(), "data", b"x"), true);
    assert!(matches!(error, Err(FilesError::OverDirectory { .. })), "{error:?}");
    let directory = || LayerTar::new().entry("abs", Kind::Directory, b"", |_| {});
    let error = unpack(&root, "/", directory(), true);
    assert!(matches!(error, Err(FilesError::OverOther { .. })), "{error:?}");
    unpack(&root, "/", directory(), false).expect("unpacked");
    assert!(path("root/abs").symlink_metadata().expect("there").is_dir());
    unpack(&root, "/", file(LayerTar::new(), "data", b"x"), false).expect("unpacked");
    assert_eq!(fs::read(path("root/data")).expect("a file"), b"x");
}

#[test]
fn all_that_belongs_to_a_file_comes_along() {
    let scratch = Scratch::new();
    let root = root(&scratch);
    let path = |name: &str| scratch.path().join(name);
    let tar = LayerTar::new()
        .entry("d", Kind::Directory, b"", |said| said.mode = 0o2710)
        .entry("d/f", Kind::File(Content::plain(1)), b"f", |said| {
            said.mode = 0o4750;
            said.xattrs.insert(b"user.note".to_vec(), b"kept".to_vec());
        })
        .entry("d/g", Kind::HardLink { target: b"d/f".to_vec() }, b"", |_| {})
        .entry("d/p", Kind::Fifo, b"", |said| said.mode = 0o622);
    unpack(&root, "/data", tar, true).expect("unpacked");
    let metadata = |name: &str| fs::symlink_metadata(path(name)).expect(name);
    assert_eq!(metadata("root/data/d").permissions().mode() & 0o7777, 0o2710);
    assert_eq!(metadata("root/data/d").mtime(), 1_700_000_000);
    assert_eq!(metadata("root/data/d/f").permissions().mode() & 0o7777, 0o4750);
    assert_eq!(metadata("root/data/d/f").ino(), metadata("root/data/d/g").ino());
    assert_eq!(metadata("root/data/d/p").permissions().mode() & 0o7777, 0o622);
    let packed = root.pack("/data/d", Vec::new()).expect("packed");
    let mut reader = Reader::new(Cursor::new(packed), Options::GENERAL);
    let first = reader.next_entry().expect("an archive").expect("the directory");
    assert_eq!((first.metadata.mode, first.metadata.modified.seconds), (0o2710, 1_700_000_000));
    let second = reader.next_entry().expect("an archive").expect("the file");
    assert_eq!(second.metadata.modified.nanoseconds, 123_456_789);
    if !second.metadata.xattrs.is_empty() {
        assert_eq!(second.metadata.xattrs.get(&b"user.note"[..]), Some(&b"kept".to_vec()));
    }
}

#[test]
fn directories_that_become_links_meanwhile_lead_nowhere_else() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let scratch = Scratch::new();
    let root = root(&scratch);
    let path = |name: &str| scratch.path().join(name);
    fs::create_dir(path("root/swap")).expect("a directory");
    let (swapped, real, done) = (path("root/swap"), path("root/real"), AtomicBool::new(false));
    let outside = path("outside");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = fs::rename(&swapped, &real);
                let _ = symlink(&outside, &swapped);
                let _ = fs::remove_file(&swapped);
                let _ = fs::rename(&real, &swapped);
            }
        });
        for _ in 0..500 {
            let tar = file(LayerTar::new(), "swap/planted", b"x");
            // It may fail, for there may be nothing there at the moment.
            let _ = unpack(&root, "/", tar, true);
            if let Ok(archive) = root.pack("/swap/secret", Vec::new()) {
                assert_eq!(names(&archive), [], "nothing of outside is read");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(!path("outside/planted").exists());
}
