//! Databases and roots that cannot be used, and disks that are full: an error that names them and
//! the way out, nothing changed, everything given back.

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{Scratch, add, digest_of, files, lease, open, single, try_open};
use dhow_store::{
    Begun, Clock, ContentError, Expected, IngestId, LeaseId, Steps, Store, StoreError,
};
use rustix::mount::{MountFlags, MountPropagationFlags};

fn refusal(root: &Path) -> String {
    let error = try_open(root, Clock::system(), Steps::unwatched()).expect_err("refused");
    error.to_string().replace(&root.display().to_string(), "ROOT")
}

/// A store with something in it, closed.
fn made(root: &Path) {
    let store = open(root);
    add(&store, "app", &single("amd64", &["a"]));
}

#[test]
fn one_owner_at_a_time() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let pid = std::process::id();
    let expected =
        format!("data root ROOT is in use by process {pid}: end that one, or choose another root");
    assert_eq!(refusal(scratch.path()), expected);
    drop(store);
    open(scratch.path());
}

#[test]
fn damaged_databases_are_named_and_left_alone() {
    let damage = |how: &dyn Fn(&mut Vec<u8>)| {
        let scratch = Scratch::new();
        made(scratch.path());
        let path = scratch.path().join("dhow.db");
        let mut bytes = fs::read(&path).expect("a database");
        how(&mut bytes);
        fs::write(&path, &bytes).expect("a database");
        let error = refusal(scratch.path());
        assert_eq!(fs::read(&path).expect("a database"), bytes, "nothing was changed");
        assert_eq!(files(scratch.path()).len(), 3, "nothing was removed");
        error
    };
    let error = damage(&|bytes| bytes[..4096].fill(b'x'));
    assert!(error.starts_with("database ROOT/dhow.db is damaged: "), "{error}");
    assert!(error.ends_with("move it away to begin with an empty one"), "{error}");
    let error = damage(&|bytes| bytes[4096..12_288].fill(b'x'));
    assert!(error.starts_with("database ROOT/dhow.db is damaged: "), "{error}");
    let error = damage(&|bytes| bytes.truncate(8192));
    assert!(error.starts_with("database ROOT/dhow.db is damaged: "), "{error}");
}

#[test]
fn newer_and_foreign_databases_are_refused() {
    let scratch = Scratch::new();
    made(scratch.path());
    let path = scratch.path().join("dhow.db");
    let bytes = fs::read(&path).expect("a database");
    // Where SQLite's file format has `user_version` and `application_id`.
    let mut newer = bytes.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&path, &newer).expect("a database");
    let expected = "database ROOT/dhow.db has schema 99, this program knows up to ";
    let error = refusal(scratch.path());
    assert!(error.starts_with(expected) && error.contains("use the newer program"), "{error}");
    assert_eq!(fs::read(&path).expect("a database"), newer, "nothing was changed");
    let mut foreign = bytes;
    foreign[68..72].copy_from_slice(b"else");
    fs::write(&path, &foreign).expect("a database");
    let error = refusal(scratch.path());
    assert!(error.starts_with("ROOT/dhow.db is another program's database: "), "{error}");
    assert_eq!(files(scratch.path()).len(), 3, "nothing was removed");
}

#[test]
fn a_locked_database_is_waited_for_and_named() {
    let scratch = Scratch::new();
    made(scratch.path());
    let path = scratch.path().join("dhow.db");
    let other = rusqlite::Connection::open(&path).expect("a connection");
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").expect("the lock");
    let error = refusal(scratch.path());
    assert!(error.starts_with("database ROOT/dhow.db is locked by another process: "), "{error}");
    drop(other);
    open(scratch.path());
}

/// Runs in a mount namespace of the thread's own; says so if that is not allowed.
fn alone(test: &str, work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let ran = scope.spawn(move || {
            if let Err(error) = dhow_sys::unshare(dhow_sys::Namespaces::MOUNT) {
                return Some(error);
            }
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).expect("mounts of our own");
            work();
            None
        });
        match ran.join() {
            Ok(Some(error)) => skip(test, &error.to_string()),
            Ok(None) => {}
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
}

#[expect(clippy::print_stderr, reason = "a skip is said")]
fn skip(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: needs root: {reason}");
}

#[test]
fn a_read_only_root_is_named() {
    alone("a_read_only_root_is_named", || {
        let scratch = Scratch::new();
        made(scratch.path());
        let path = scratch.path();
        rustix::mount::mount_bind(path, path).expect("a bind mount");
        let flags = MountFlags::BIND | MountFlags::RDONLY;
        rustix::mount::mount_remount(path, flags, "").expect("a read-only one");
        let expected = "data root ROOT cannot be written: make it writable, or choose another root";
        assert_eq!(refusal(path), expected);
        assert_eq!(files(path).len(), 3);
        let new = path.join("new");
        let error = try_open(&new, Clock::system(), Steps::unwatched()).expect_err("refused");
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
        rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).expect("an unmount");
    });
}

/// A root on a disk of 4 MiB.
fn on_small_disk(test: &str, work: impl FnOnce(&Store, &Path) + Send) {
    alone(test, move || {
        let scratch = Scratch::new();
        let path = scratch.path();
        rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), c"size=4m")
            .expect("a tmpfs");
        let store = open(path);
        work(&store, path);
        drop(store);
        rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).expect("an unmount");
    });
}

fn free(path: &Path) -> u64 {
    let found = rustix::fs::statvfs(path).expect("numbers");
    found.f_bfree * found.f_frsize
}

#[test]
fn a_full_disk_gets_everything_back() {
    on_small_disk("a_full_disk_gets_everything_back", |store, path| {
        let id = lease(store, "pull");
        let small = store.content().put(&id, b"small", "a test").expect("a blob");
        let before = free(path);
        for known in [true, false] {
            let expected = Expected {
                id: match known {
                    true => IngestId::of(digest_of(b"never")),
                    false => IngestId::named("upload").expect("a name"),
                },
                size: known.then_some(8 << 20),
                size_max: 8 << 20,
            };
            let error = fill(store, &id, expected);
            assert!(matches!(error, ContentError::NoSpace { .. }), "{error}");
            assert!(error.to_string().ends_with(": no space left on device"), "{error}");
            assert_eq!(free(path), before, "all of it is back");
        }
        assert_eq!(store.content().read(&small.digest, 10).expect("it"), b"small");
        store.content().put(&id, b"another", "a test").expect("a blob");
        assert_eq!(store.check(false, &[]).expect("a report").findings, []);
    });
}

fn fill(store: &Store, lease: &LeaseId, expected: Expected) -> ContentError {
    let begun = store.content().begin(lease, expected, "a test", Duration::ZERO);
    let Begun::Ingest(mut ingest) = begun.expect("to begin") else { panic!("it is there") };
    let bytes = vec![7; 64 << 10];
    loop {
        if let Err(error) = ingest.write(&bytes) {
            return error;
        }
    }
}

/// Until the database itself does not fit any more.
#[test]
fn a_full_disk_takes_no_record_back() {
    on_small_disk("a_full_disk_takes_no_record_back", |store, path| {
        let id = lease(store, "pull");
        let mut kept = Vec::new();
        let error = loop {
            let bytes = format!("blob {}", kept.len()).repeat(200);
            match store.content().put(&id, bytes.as_bytes(), "a test") {
                Ok(stored) => kept.push(stored),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("no space left on device"), "{error}");
        assert!(kept.len() > 10, "only {}", kept.len());
        for stored in &kept {
            store.content().read(&stored.digest, 1 << 20).expect("what was acknowledged");
        }
        assert_eq!(store.check(false, &[]).expect("a report").findings, []);
        let others = files(path).into_iter().filter(|name| name.starts_with("ingest"));
        assert_eq!(others.count(), 0, "the last one was given back");
        // What was given up makes room again.
        store.end_lease(&id).expect("the end");
        assert_eq!(common::collect(store).blobs, kept.len() as u64);
        let id = lease(store, "again");
        store.content().put(&id, b"fits", "a test").expect("a blob");
    });
}
