//! Garbage collection and check: what stays, what goes, what is found.

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{
    Hands, Piece, Scratch, Unpacked, add, collect, files, index, lease, name, open, put,
    put_single, single, try_open,
};
use dhow_store::{
    CollectOptions, Collected, Finding, Labels, LeaseId, SnapshotKey, SnapshotUsage,
    Snapshotter as _, Steps, Store, chain_ids,
};

fn collect_all(store: &Store, driver: &Unpacked) -> Collected {
    let options = CollectOptions { ingest_age_ms_max: i64::MIN };
    store.collect(options, &[&driver.0]).expect("a collection")
}

#[test]
fn shared_layers_stay_with_who_shares_them() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let (one, two) = (single("amd64", &["base", "one"]), single("amd64", &["base", "two"]));
    add(&store, "one", &one);
    add(&store, "two", &two);
    assert_eq!(collect(&store), Collected::default());
    assert_eq!(files(scratch.path()).len(), 7, "two of each and one base");
    store.images().remove_name(&common::reference("one"), false).expect("it");
    assert_eq!(collect(&store).blobs, 3);
    for piece in two.pieces() {
        assert!(store.content().contains(&piece.digest()).expect("an answer"));
    }
    store.images().remove_name(&common::reference("two"), false).expect("it");
    let collected = collect(&store);
    let bytes: u64 = two.pieces().iter().map(|piece| piece.descriptor.size).sum();
    assert_eq!((collected.blobs, collected.blob_bytes), (4, bytes));
    assert_eq!(files(scratch.path()), [] as [&str; 0]);
    assert_eq!(store.usage().expect("numbers"), dhow_store::DiskUsage::default());
}

#[test]
fn leases_keep_until_they_end() {
    let scratch = Scratch::new();
    let hands = Hands::default();
    let store = try_open(scratch.path(), hands.clock(), Steps::unwatched()).expect("a store");
    let one = single("amd64", &["a"]);
    let id = LeaseId::parse("pull").expect("an id");
    store.lease(&id, Some(100)).expect("a lease");
    put_single(&store, &id, &one);
    hands.advance_ms(99);
    assert_eq!(collect(&store).blobs, 0);
    store.lease(&id, Some(200)).expect("a longer one");
    hands.advance_ms(100);
    assert_eq!(collect(&store).blobs, 0);
    hands.advance_ms(1);
    assert_eq!(store.leases().expect("a list"), []);
    assert_eq!(collect(&store).blobs, 3);
    assert_eq!(files(scratch.path()), [] as [&str; 0]);
}

#[test]
fn snapshots_stay_with_images_and_with_what_stands_on_them() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let driver = Unpacked::of(&store);
    let (one, two) = (single("amd64", &["base", "one"]), single("amd64", &["base", "two"]));
    for (text, image) in [("one", &one), ("two", &two)] {
        add(&store, text, image);
        let id = lease(&store, "unpack");
        driver.unpack(&store, &id, image);
        store.end_lease(&id).expect("the end");
    }
    assert_eq!(collect_all(&store, &driver).snapshots, 0);
    assert_eq!(store.usage().expect("numbers").snapshots, 3);

    // A container stands on the first image.
    let records = store.db().snapshots("vfs");
    let key = SnapshotKey::parse("container").expect("a key");
    let top = *chain_ids(&one.diff_ids).last().expect("a top");
    let made = records.create(&key, Some(&top), &Labels::new(), None).expect("it");
    driver.prepare(made.number);
    for text in ["one", "two"] {
        store.images().remove_name(&common::reference(text), false).expect("it");
    }
    let collected = collect_all(&store, &driver);
    assert_eq!((collected.blobs, collected.snapshots), (7, 1), "two's top alone");
    assert_eq!(records.ancestors(made.number).expect("a chain").len(), 2);

    // Removed, the container leaves nothing.
    records.remove_active(&key).expect("it");
    driver.0.remove(made.number).expect("its directory");
    assert_eq!(collect_all(&store, &driver).snapshots, 2);
    assert_eq!(files(scratch.path()), [] as [&str; 0]);
}

#[test]
fn what_was_being_unpacked_ends_with_its_lease() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let driver = Unpacked::of(&store);
    let id = lease(&store, "unpack");
    let key = SnapshotKey::parse("unpack").expect("a key");
    let records = store.db().snapshots("vfs");
    let made = records.create(&key, None, &Labels::new(), Some(id.as_str())).expect("it");
    driver.prepare(made.number);
    assert_eq!(collect_all(&store, &driver).snapshots, 0);
    store.end_lease(&id).expect("the end");
    assert_eq!(collect_all(&store, &driver).snapshots, 1);
    assert_eq!(files(scratch.path()), [] as [&str; 0]);
}

#[test]
fn what_somebody_else_unpacked_is_kept_by_asking() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let driver = Unpacked::of(&store);
    let one = single("amd64", &["base", "one"]);
    let (first, second) = (lease(&store, "first"), lease(&store, "second"));
    driver.unpack(&store, &first, &one);
    let records = store.db().snapshots("vfs");
    let chain = chain_ids(&one.diff_ids);
    for _ in 0..2 {
        assert!(records.keep(&chain[0], second.as_str()).expect("an answer"));
    }
    store.end_lease(&first).expect("the end");
    assert_eq!(collect_all(&store, &driver).snapshots, 1, "the upper one");
    assert!(!records.keep(&chain[1], second.as_str()).expect("an answer"));
    store.end_lease(&second).expect("the end");
    let error = records.keep(&chain[0], second.as_str()).expect_err("no lease").to_string();
    assert_eq!(error, "no lease second");
    assert_eq!(collect_all(&store, &driver).snapshots, 1);
}

#[test]
fn what_was_being_unpacked_is_removed_at_the_next_start() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let driver = Unpacked::of(&store);
    let id = lease(&store, "pull");
    let records = store.db().snapshots("vfs");
    let key = |text| SnapshotKey::parse(text).expect("a key");
    let made = |text, lease| {
        let made = records.create(&key(text), None, &Labels::new(), lease).expect("it");
        driver.prepare(made.number);
        made.number
    };
    let (unpacked, container) = (made("unpack", Some(id.as_str())), made("container", None));
    let recovered = store.recover_snapshots(&driver.0).expect("a recovery");
    assert_eq!(recovered.unfinished, [unpacked]);
    records.active(&key("unpack")).expect_err("gone");
    assert_eq!(records.active(&key("container")).expect("it").number, container);
    assert_eq!(driver.0.walk().expect("a list"), [container]);
}

#[test]
fn ingests_go_by_age() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let id = lease(&store, "pull");
    let piece = common::layer("a layer that was cut off");
    let begin = || {
        let expected = dhow_store::Expected::blob(piece.digest(), piece.descriptor.size);
        match store.content().begin(&id, expected, "a test", Duration::ZERO).expect("to begin") {
            dhow_store::Begun::Ingest(ingest) => ingest,
            dhow_store::Begun::Exists(_) => panic!("it is there"),
        }
    };
    let mut ingest = begin();
    ingest.write(b"a layer").expect("bytes");
    assert_eq!(collect(&store).ingests, 0, "somebody writes it");
    drop(ingest);
    let hour = CollectOptions { ingest_age_ms_max: 3_600_000 };
    assert_eq!(store.collect(hour, &[]).expect("a collection").ingests, 0);
    assert_eq!(store.usage().expect("numbers").ingest_bytes, 7);
    let collected = collect(&store);
    assert_eq!((collected.ingests, collected.ingest_bytes), (1, 7));
    assert_eq!(files(scratch.path()), [] as [&str; 0]);
}

/// Pulls and removals of images that share everything, beside a collector that never rests.
#[test]
fn collection_runs_beside_pulls() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let driver = Unpacked::of(&store);
    let images: Vec<_> =
        ["one", "two", "three"].map(|text| single("amd64", &["base", "more", text])).to_vec();
    let unpacking = Mutex::new(());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut collected = 0;
            while !done.load(Ordering::Relaxed) {
                collected += collect_all(&store, &driver).blobs;
            }
            collected
        });
        let pullers: Vec<_> = (0..3)
            .map(|puller| {
                let (store, images, driver) = (&store, &images, &driver);
                let unpacking = &unpacking;
                scope.spawn(move || {
                    for round in 0..40 {
                        let image = &images[(puller + round) % images.len()];
                        let text = format!("app{puller}");
                        pull(store, &text, image);
                        let guard = unpacking.lock().expect("no panic");
                        let id = lease(store, &text);
                        driver.unpack(store, &id, image);
                        drop(guard);
                        let found = store.images().find(&text).expect("what was just pulled");
                        for manifest in store.images().manifests(&found).expect("a list") {
                            assert_eq!(manifest.missing, [], "round {round}");
                        }
                        for piece in image.pieces() {
                            let bytes = store.content().read(&piece.digest(), 1 << 20);
                            assert_eq!(bytes.expect("it"), piece.bytes, "round {round}");
                        }
                        store.end_lease(&id).expect("the end");
                        store.images().remove_name(&common::reference(&text), false).expect("it");
                    }
                })
            })
            .collect();
        let ends: Vec<_> = pullers.into_iter().map(|puller| puller.join()).collect();
        done.store(true, Ordering::Relaxed);
        for end in ends {
            end.expect("a puller");
        }
        assert!(collector.join().expect("the collector") > 0);
    });
    collect_all(&store, &driver);
    assert_eq!(store.check(false, &[&driver.0]).expect("a report").findings, []);
    assert_eq!(files(scratch.path()), [] as [&str; 0]);
}

fn pull(store: &Store, text: &str, image: &common::Single) {
    let id = lease(store, text);
    for piece in image.pieces() {
        let expected = dhow_store::Expected::blob(piece.digest(), piece.descriptor.size);
        let begun = store.content().begin(&id, expected, text, Duration::from_secs(60));
        if let dhow_store::Begun::Ingest(mut ingest) = begun.expect("to begin") {
            ingest.restart().expect("to begin anew");
            ingest.write(&piece.bytes).expect("bytes");
            ingest.commit().expect("a blob");
        }
    }
    store.images().put(&name(text), &image.manifest.descriptor).expect("an image");
}

#[test]
fn check_finds_and_repairs() {
    let scratch = Scratch::new();
    let store = open(scratch.path());
    let driver = Unpacked::of(&store);
    let one = single("amd64", &["a", "b", "c"]);
    let top = index(&[&one]);
    let id = lease(&store, "pull");
    put_single(&store, &id, &one);
    put(&store, &id, &top).expect("an index");
    store.images().put(&name("app"), &top.descriptor).expect("an image");
    driver.unpack(&store, &id, &one);
    let check = |repair| store.check(repair, &[&driver.0]).expect("a report").findings;
    assert_eq!(check(true), []);

    let path = |piece: &Piece| scratch.path().join("blobs/sha256").join(piece.digest().hex());
    std::fs::remove_file(path(&one.layers[0])).expect("a file");
    std::fs::write(path(&one.layers[1]), "other").expect("a file");
    let stray = common::layer("stray");
    std::fs::write(path(&stray), "stray").expect("a file");
    std::fs::write(scratch.path().join("blobs/sha256/notes"), "").expect("a file");
    let chain = chain_ids(&one.diff_ids);
    let records = store.db().snapshots("vfs");
    let missing = records.committed(&chain[2]).expect("it").number;
    driver.0.remove(missing).expect("its directory");
    driver.prepare(dhow_store::SnapshotNumber::parse("99").expect("one"));

    let mut expected = [
        Finding::BlobMissing { digest: one.layers[0].digest() },
        Finding::BlobCorrupt {
            digest: one.layers[1].digest(),
            actual: common::digest_of(b"other"),
        },
        Finding::BlobUnrecorded { digest: stray.digest() },
        Finding::Stranger { path: "blobs/sha256/notes".into() },
        Finding::SnapshotMissing { driver: "vfs".to_owned(), name: chain[2] },
        Finding::SnapshotUnrecorded {
            driver: "vfs".to_owned(),
            number: dhow_store::SnapshotNumber::parse("99").expect("one"),
        },
    ]
    .map(|finding| finding.to_string());
    expected.sort();
    let told = |repair| {
        let mut told: Vec<_> =
            check(repair).into_iter().map(|(finding, done)| (finding.to_string(), done)).collect();
        told.sort();
        told
    };
    let found = told(false);
    assert!(found.iter().all(|(_, repaired)| !repaired), "{found:?}");
    assert_eq!(found.into_iter().map(|(text, _)| text).collect::<Vec<_>>(), expected);
    let repaired = told(true).into_iter().filter(|(_, repaired)| *repaired).count();
    assert_eq!(repaired, 5, "all but the stranger");
    assert_eq!(told(true).len(), 1);

    // What was forgotten is missing, and can be had again.
    let image = store.images().find("app").expect("it");
    let manifests = store.images().manifests(&image).expect("a list");
    assert_eq!(manifests[0].missing, [one.layers[0].digest(), one.layers[1].digest()]);
    put_single(&store, &id, &one);
    driver.unpack(&store, &id, &one);
    let manifests = store.images().manifests(&image).expect("a list");
    assert_eq!(manifests[0].missing, []);
    assert_eq!(records.list().expect("a list").len(), 3, "{:?}", SnapshotUsage::default());
}
