//! Blobs: written, continued, shared, refused, read.

mod common;

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Scratch, collect, digest_of, files, lease, open, try_open};
use dhow_spec::Digest;
use dhow_store::{Begun, Clock, ContentError, Expected, Ingest, IngestId, LeaseId, Steps, Store};

const TEXT: &[u8] = b"some bytes that make a blob";

fn text() -> Expected {
    Expected::blob(digest_of(TEXT), TEXT.len() as u64)
}

fn begin(store: &Store, lease: &LeaseId, expected: Expected) -> Box<Ingest> {
    match store.content().begin(lease, expected, "a test", Duration::ZERO).expect("to begin") {
        Begun::Ingest(ingest) => ingest,
        Begun::Exists(stored) => panic!("{stored:?} is there"),
    }
}

#[test]
fn what_is_written_is_read() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let id = lease(&store, "a");
    let mut ingest = begin(&store, &id, text());
    ingest.write(&TEXT[..5]).expect("a part");
    assert!(!store.content().contains(&digest_of(TEXT)).expect("an answer"), "not whole yet");
    ingest.write(&TEXT[5..]).expect("the rest");
    let stored = ingest.commit().expect("a blob");
    assert_eq!((stored.digest, stored.size), (digest_of(TEXT), TEXT.len() as u64));
    assert_eq!(store.content().read(&stored.digest, 100).expect("it"), TEXT);
    let blob = store.content().open_blob(&stored.digest).expect("it");
    let mut part = String::new();
    blob.range(5..10).read_to_string(&mut part).expect("a part");
    assert_eq!(part, "bytes");
    let mut end = [0; 8];
    assert_eq!(blob.read_at(&mut end, blob.size() - 4).expect("the end"), 4);
    assert_eq!(&end[..4], b"blob");
    let error = store.content().read(&stored.digest, 3).expect_err("too large");
    assert!(matches!(error, ContentError::TooLarge { max: 3, .. }), "{error}");
    let begun = store.content().begin(&id, text(), "a test", Duration::ZERO);
    assert!(matches!(begun, Ok(Begun::Exists(known)) if known == stored));
}

#[test]
fn a_later_process_continues() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let id = lease(&store, "a");
    let mut ingest = begin(&store, &id, text());
    ingest.write(&TEXT[..5]).expect("a part");
    drop(ingest);
    drop(store);
    let store = open(scratch.path());
    let partial = store.content().partial_ingests().expect("a list");
    assert_eq!(partial.len(), 1);
    assert_eq!((partial[0].id.digest(), partial[0].size_bytes), (Some(digest_of(TEXT)), 5));
    let mut ingest = begin(&store, &id, text());
    assert_eq!(ingest.offset(), 5);
    ingest.write(&TEXT[5..]).expect("the rest");
    ingest.commit().expect("a blob");
    assert_eq!(store.content().partial_ingests().expect("a list"), []);
}

#[test]
fn wrong_bytes_are_not_kept() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let id = lease(&store, "a");
    let mut ingest = begin(&store, &id, text());
    ingest.write(&[b'x'; TEXT.len()]).expect("bytes");
    let error = ingest.commit().expect_err("other bytes");
    assert!(matches!(error, ContentError::Corrupt { .. }), "{error}");

    let mut ingest = begin(&store, &id, text());
    let error = ingest.write(&[b'x'; TEXT.len() + 1]).expect_err("too many").to_string();
    assert!(error.ends_with("28 bytes instead of 27"), "{error}");
    drop(ingest);

    let unknown =
        Expected { id: IngestId::named("upload-1").expect("a name"), size: None, size_max: 4 };
    let mut ingest = begin(&store, &id, unknown);
    ingest.write(b"four").expect("as many as allowed");
    let error = ingest.write(b"5").expect_err("too many").to_string();
    assert_eq!(error, "ingest upload-1: more than 4 bytes");
    drop(ingest);
    assert_eq!(files(scratch.path()), [] as [&str; 0]);
}

#[test]
fn what_is_too_short_can_still_become_whole() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let id = lease(&store, "a");
    let mut ingest = begin(&store, &id, text());
    ingest.write(&TEXT[..5]).expect("a part");
    let error = ingest.commit().expect_err("cut off").to_string();
    assert!(error.ends_with("5 bytes instead of 27"), "{error}");
    assert_eq!(begin(&store, &id, text()).offset(), 5);
}

#[test]
fn more_than_there_can_be_begins_anew() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let id = lease(&store, "a");
    let name = format!("ingest/sha256.{}", digest_of(TEXT).hex());
    std::fs::write(scratch.path().join(name), [0; 100]).expect("a file");
    let mut ingest = begin(&store, &id, text());
    assert_eq!(ingest.offset(), 0);
    ingest.write(TEXT).expect("all of it");
    ingest.commit().expect("a blob");
}

#[test]
fn two_who_want_one_blob_share_its_ingest() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let (first, second) = (lease(&store, "first"), lease(&store, "second"));
    let mut ingest = begin(&store, &first, text());
    let error = store.content().begin(&second, text(), "pull of b", Duration::ZERO);
    let error = error.expect_err("taken").to_string();
    assert!(error.ends_with(" is being written by a test"), "{error}");
    std::thread::scope(|scope| {
        let waiting = scope
            .spawn(|| store.content().begin(&second, text(), "pull of b", Duration::from_secs(60)));
        ingest.write(TEXT).expect("all of it");
        ingest.commit().expect("a blob");
        let begun = waiting.join().expect("no panic").expect("its turn");
        assert!(matches!(begun, Begun::Exists(_)), "{begun:?}");
    });
    store.end_lease(&first).expect("the end");
    collect(&store);
    assert!(store.content().contains(&digest_of(TEXT)).expect("an answer"), "the second keeps it");
    store.end_lease(&second).expect("the end");
    collect(&store);
    assert_eq!(files(scratch.path()), [] as [&str; 0]);
}

#[test]
fn nothing_is_kept_without_a_lease() {
    let scratch = Scratch::new();
    let hands = common::Hands::default();
    let store = try_open(scratch.path(), hands.clock(), Steps::unwatched()).expect("a store");
    let id = LeaseId::parse("brief").expect("an id");
    store.lease(&id, Some(10)).expect("a lease");
    let mut ingest = begin(&store, &id, text());
    ingest.write(TEXT).expect("all of it");
    hands.advance_ms(10);
    assert_eq!(ingest.commit().expect_err("ended").to_string(), "no lease brief");
    assert_eq!(files(scratch.path()), [] as [&str; 0], "the named file is taken back");
    assert_eq!(store.leases().expect("a list"), []);
}

#[test]
fn any_step_may_fail() {
    for nth in 0.. {
        let scratch = Scratch::new();
        let count = AtomicUsize::new(0);
        let steps = Steps::watched(move |_| {
            let failing = count.fetch_add(1, Ordering::Relaxed) == nth;
            if failing { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        });
        let store = try_open(scratch.path(), Clock::system(), steps).expect("a store");
        let id = lease(&store, "a");
        let failed = store.content().put(&id, TEXT, "a test").is_err();
        // What failed can be done again at once.
        let stored = store.content().put(&id, TEXT, "a test").expect("the second time");
        assert_eq!(store.content().read(&stored.digest, 100).expect("it"), TEXT);
        let report = store.check(false, &[]).expect("a report");
        assert_eq!(report.findings, [], "step {nth}");
        if !failed {
            assert!(nth >= 6, "only {nth} steps");
            return;
        }
    }
}

#[test]
fn many_blobs_are_committed_together() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let id = lease(&store, "a");
    let ingests = (0..10_u8).map(|byte| {
        let bytes = [byte; 100];
        let mut ingest = begin(&store, &id, Expected::blob(digest_of(&bytes), 100));
        ingest.write(&bytes).expect("bytes");
        *ingest
    });
    let stored = store.content().commit_all(ingests.collect()).expect("blobs");
    assert_eq!(stored.len(), 10);
    assert_eq!(files(scratch.path()).len(), 10);
    assert_eq!(store.content().commit_all(Vec::new()).expect("nothing"), []);
}

#[test]
fn sources_are_remembered_with_their_blob() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let id = lease(&store, "a");
    let stored = store.content().put(&id, TEXT, "a test").expect("a blob");
    let repository = dhow_spec::Repository::parse("example.com/app").expect("a repository");
    for digest in [stored.digest, Digest::Sha256([0; 32])] {
        store.content().add_source(&digest, &repository).expect("a note");
        store.content().add_source(&digest, &repository).expect("the same note");
    }
    let sources = |digest| store.content().sources(digest).expect("a list");
    assert_eq!(sources(&stored.digest), [repository]);
    assert_eq!(sources(&Digest::Sha256([0; 32])), []);
    store.end_lease(&id).expect("the end");
    collect(&store);
    assert_eq!(sources(&stored.digest), []);
}
