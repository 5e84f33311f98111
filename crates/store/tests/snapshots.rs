//! A driver and its records as one: what `Snapshots` promises, whichever driver it has.

mod common;

use std::path::Path;

use common::{Scratch, Tar, lease, open};
use dhow_store::{
    ApplyOptions, ChainId, Class, CollectOptions, DiffOptions, DiskUsage, LayerWriter, LeaseId,
    Mounts, Overlay2, PrepareOptions, SnapshotKey, SnapshotState, Snapshots, SnapshotsError,
    Snapshotter, Store, Vfs, View, chain_ids,
};

type Case = (&'static str, fn(&Store, &Snapshots));

const CASES: &[Case] = &[
    ("a_life", a_life),
    ("keys_and_names_that_are_taken", keys_and_names_that_are_taken),
    ("what_is_not_there", what_is_not_there),
    ("a_layer_that_breaks", a_layer_that_breaks),
    ("two_who_unpack_the_same", two_who_unpack_the_same),
    ("a_lease_that_ends", a_lease_that_ends),
    ("what_nobody_knows", what_nobody_knows),
    ("all_of_a_stack", all_of_a_stack),
];

fn run(name: &str, driver: fn(&Path) -> Box<dyn Snapshotter>) {
    for (case, work) in CASES {
        let scratch = Scratch::new();
        let store = open(scratch.path());
        let place = store.driver_dir(name).expect("a folder");
        let snapshots = Snapshots::new(store.db(), driver(&place));
        work(&store, &snapshots);
        for record in snapshots.list().expect("a list") {
            if let SnapshotState::Active(key) = record.state {
                snapshots.remove(&key).expect("removed");
            }
        }
        for lease in store.leases().expect("a list") {
            store.end_lease(&lease.id).expect("ended");
        }
        let all = CollectOptions { ingest_age_ms_max: 0 };
        store.collect(all, &[snapshots.driver()]).expect("collected");
        assert_eq!(store.usage().expect("usage"), DiskUsage::default(), "{case}");
        assert_eq!(snapshots.driver().walk().expect("walked"), [], "{case}: nothing is left");
    }
}

#[test]
fn vfs() {
    run("vfs", |place| Box::new(Vfs::open(place, false).expect("a driver")));
}

/// Only root can make its whiteouts.
#[test]
#[expect(clippy::print_stderr, reason = "a skip is said")]
fn overlay2() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED overlay2: needs root");
        return;
    }
    run("overlay2", |place| Box::new(Overlay2::open(place, false).expect("a driver")));
}

fn key(text: &str) -> SnapshotKey {
    SnapshotKey::parse(text).expect("a key")
}

/// Names for stacks that begin with these texts.
fn names(layers: &[&str]) -> Vec<ChainId> {
    let digests: Vec<_> = layers.iter().map(|text| common::digest_of(text.as_bytes())).collect();
    chain_ids(&digests)
}

fn unpack(snapshots: &Snapshots, key: &SnapshotKey, tar: &[u8]) -> Result<(), SnapshotsError> {
    snapshots.apply(key, &mut &tar[..], &ApplyOptions::EXACT).map(drop)
}

fn prepare(
    snapshots: &Snapshots,
    text: &str,
    parent: Option<&ChainId>,
    lease: &LeaseId,
) -> SnapshotKey {
    let key = key(text);
    let options = &PrepareOptions::UNLIMITED;
    snapshots.prepare(&key, parent, Some(lease), options).expect("prepared");
    key
}

/// A stack of one file a layer, committed.
fn stack(snapshots: &Snapshots, layers: &[&str], lease: &LeaseId) -> Vec<ChainId> {
    let names = names(layers);
    for (number, (text, name)) in layers.iter().zip(&names).enumerate() {
        let parent = number.checked_sub(1).map(|below| &names[below]);
        let key = prepare(snapshots, &format!("unpack {text}"), None, lease);
        let tar = Tar::default().file(text, text).bytes();
        unpack(snapshots, &key, &tar).expect("unpacked");
        snapshots.commit(&key, name, parent).expect("committed");
    }
    names
}

fn class<T>(result: Result<T, SnapshotsError>) -> Option<Class> {
    result.err().map(|error| error.class())
}

fn a_life(store: &Store, snapshots: &Snapshots) {
    let lease = lease(store, "life");
    let names = stack(snapshots, &["one", "two"], &lease);
    assert!(snapshots.contains(&names[1]).expect("known"));
    let top = key("container");
    let unlimited = &PrepareOptions::UNLIMITED;
    snapshots.prepare(&top, Some(&names[1]), None, unlimited).expect("prepared");
    match snapshots.mounts(&top, &View::WRITE).expect("a description") {
        Mounts::Bind { source, .. } => {
            assert_eq!(std::fs::read_to_string(source.join("one")).expect("read"), "one");
            std::fs::write(source.join("new"), "new").expect("written");
        }
        Mounts::Overlay { lowers, upper, .. } => {
            assert_eq!(lowers.len(), 2);
            let upper = upper.expect("something to write to").upper;
            std::fs::write(upper.join("new"), "new").expect("written");
        }
    }
    let mut layer = LayerWriter::new(Vec::new());
    snapshots.diff(&top, &DiffOptions::LAYER, &mut layer).expect("a diff");
    let layer = layer.finish().expect("a layer");
    // The root is told too, for its time has changed.
    assert_eq!(paths(&layer), ["./", "new"]);
    assert!(snapshots.usage(&top).expect("usage").inodes >= 1);
    let writing = snapshots.mounts_of_committed(&names[1], &View::WRITE);
    assert_eq!(class(writing), Some(Class::Conflict), "committed for ever");
    snapshots.release(&top).expect("released");
    snapshots.remove(&top).expect("removed");
    snapshots.remove(&top).expect("removed already");
}

fn keys_and_names_that_are_taken(store: &Store, snapshots: &Snapshots) {
    let lease = lease(store, "taken");
    let names = stack(snapshots, &["base"], &lease);
    let first = prepare(snapshots, "one", None, &lease);
    let unlimited = &PrepareOptions::UNLIMITED;
    let again = snapshots.prepare(&first, None, Some(&lease), unlimited);
    assert_eq!(class(again), Some(Class::Conflict));
    unpack(snapshots, &first, &Tar::default().file("f", "f").bytes()).expect("unpacked");
    assert_eq!(class(snapshots.commit(&first, &names[0], None)), Some(Class::Conflict));
    // Whoever lost has still what is his, to be removed.
    snapshots.remove(&first).expect("removed");
}

fn what_is_not_there(store: &Store, snapshots: &Snapshots) {
    let lease = lease(store, "nothing");
    let (nobody, nothing) = (key("nobody"), names(&["nothing"])[0]);
    assert!(!snapshots.contains(&nothing).expect("known"));
    assert!(!snapshots.keep(&nothing, &lease).expect("known"));
    let missing = Some(Class::NotFound);
    let unlimited = &PrepareOptions::UNLIMITED;
    let orphan = snapshots.prepare(&nobody, Some(&nothing), Some(&lease), unlimited);
    assert_eq!(class(orphan), missing);
    assert_eq!(class(snapshots.mounts(&nobody, &View::READ)), missing);
    assert_eq!(class(snapshots.mounts_of_committed(&nothing, &View::READ)), missing);
    assert_eq!(class(snapshots.usage(&nobody)), missing);
    assert_eq!(class(snapshots.commit(&nobody, &nothing, None)), missing);
    assert_eq!(class(unpack(snapshots, &nobody, &[0; 1024])), missing);
    let ended = LeaseId::parse("ended").expect("a word");
    let late = snapshots.prepare(&nobody, None, Some(&ended), unlimited);
    assert_eq!(class(late), missing, "a lease that was never made");
    assert_eq!(snapshots.list().expect("a list"), []);
}

fn a_layer_that_breaks(store: &Store, snapshots: &Snapshots) {
    let lease = lease(store, "breaks");
    let broken = prepare(snapshots, "broken", None, &lease);
    let mut tar = Tar::default().file("../outside", "x").bytes();
    assert_eq!(class(unpack(snapshots, &broken, &tar)), Some(Class::Invalid));
    snapshots.remove(&broken).expect("removed");
    let again = prepare(snapshots, "broken", None, &lease);
    tar.truncate(700);
    assert!(class(unpack(snapshots, &again, &tar)).is_some(), "cut off");
    snapshots.remove(&again).expect("removed");
    assert_eq!(snapshots.driver().walk().expect("walked"), []);
}

fn two_who_unpack_the_same(store: &Store, snapshots: &Snapshots) {
    let (one, two) = (lease(store, "one"), lease(store, "two"));
    let name = names(&["same"])[0];
    let tar = Tar::default().file("same", "same").bytes();
    let first = prepare(snapshots, "first", None, &one);
    let second = prepare(snapshots, "second", None, &two);
    unpack(snapshots, &first, &tar).expect("unpacked");
    unpack(snapshots, &second, &tar).expect("unpacked");
    snapshots.commit(&first, &name, None).expect("committed");
    assert_eq!(class(snapshots.commit(&second, &name, None)), Some(Class::Conflict));
    assert!(snapshots.keep(&name, &two).expect("kept"));
    snapshots.remove(&second).expect("removed");
    // The first's lease may end: the second's keeps it.
    store.end_lease(&one).expect("ended");
    let all = CollectOptions { ingest_age_ms_max: 0 };
    store.collect(all, &[snapshots.driver()]).expect("collected");
    assert!(snapshots.contains(&name).expect("known"));
}

fn a_lease_that_ends(store: &Store, snapshots: &Snapshots) {
    let lease = lease(store, "short");
    let names = stack(snapshots, &["a", "b"], &lease);
    prepare(snapshots, "unfinished", Some(&names[1]), &lease);
    let mine = key("mine");
    let unlimited = &PrepareOptions::UNLIMITED;
    snapshots.prepare(&mine, Some(&names[0]), None, unlimited).expect("prepared");
    store.end_lease(&lease).expect("ended");
    let all = CollectOptions { ingest_age_ms_max: 0 };
    store.collect(all, &[snapshots.driver()]).expect("collected");
    assert!(snapshots.contains(&names[0]).expect("known"), "something stands on it");
    assert!(!snapshots.contains(&names[1]).expect("known"));
    let left = snapshots.list().expect("a list");
    assert!(left.iter().any(|record| record.state == SnapshotState::Active(mine.clone())));
    assert_eq!(left.len(), 2, "{left:?}");
}

fn what_nobody_knows(store: &Store, snapshots: &Snapshots) {
    let lease = lease(store, "known");
    for text in ["known", "unknown"] {
        prepare(snapshots, text, None, &lease);
    }
    snapshots.remove_unknown(|found| *found == key("known")).expect("removed");
    let left = snapshots.list().expect("a list");
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].state, SnapshotState::Active(key("known")));
}

fn all_of_a_stack(store: &Store, snapshots: &Snapshots) {
    let lease = lease(store, "export");
    let names = stack(snapshots, &["one", "two", "three"], &lease);
    let mut tar = LayerWriter::new(Vec::new());
    let options = &DiffOptions::LAYER;
    snapshots.export_of_committed(&names[2], options, &mut tar).expect("a tar");
    let tar = tar.finish().expect("a tar");
    assert_eq!(paths(&tar), ["./", "one", "three", "two"]);
}

/// The names in an archive.
fn paths(tar: &[u8]) -> Vec<String> {
    let mut reader = dhow_archive::tar::Reader::new(tar, dhow_archive::tar::Options::LAYER);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().expect("an archive") {
        found.push(String::from_utf8(entry.path).expect("text"));
    }
    found
}
