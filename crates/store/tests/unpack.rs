//! A process that is killed while it unpacks: the next one removes what there is and does it again.

mod common;

use std::io::Read;
use std::path::Path;

use common::Scratch;
use dhow_archive::tar::{Content, Entry, Kind, Metadata, Writer};
use dhow_store::{
    ApplyOptions, ChainId, CollectOptions, LeaseId, Overlay2, PrepareOptions, SnapshotKey,
    SnapshotState, Snapshots, Store, Vfs,
};

const CHILD: &str = "DHOW_STORE_UNPACK";

/// A layer of some hundred files, with links, removals and directories that it does not speak of.
fn layer(number: usize) -> Vec<u8> {
    let mut tar = Writer::new(Vec::new());
    let mut add = |path: String, kind: Kind, data: &[u8]| {
        let metadata = Metadata { mode: 0o755, ..Metadata::default() };
        tar.append(&Entry { path: path.into_bytes(), kind, metadata }, data).expect("an entry");
    };
    for index in 0..200 {
        let data = format!("{number} {index}").repeat(50);
        let kind = Kind::File(Content::plain(data.len() as u64));
        add(format!("d{}/e/{index}", index % 7), kind, data.as_bytes());
    }
    let target = b"d1/e/1".to_vec();
    add("linked".to_owned(), Kind::HardLink { target }, b"");
    if number > 0 {
        add("d2/e/.wh.gone".to_owned(), Kind::File(Content::plain(0)), b"");
        add("lower".to_owned(), Kind::HardLink { target: b"only-below".to_vec() }, b"");
    } else {
        add("only-below".to_owned(), Kind::File(Content::plain(1)), b"x");
        add("d2/e/gone".to_owned(), Kind::File(Content::plain(0)), b"");
    }
    tar.finish().expect("an archive")
}

fn name(number: usize) -> ChainId {
    ChainId(common::digest_of(format!("chain {number}").as_bytes()))
}

fn snapshots(store: &Store, driver: &str) -> Snapshots {
    let path = store.root().join("snapshots").join(driver);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    match driver {
        "vfs" => Snapshots::new(store.db(), Box::new(Vfs::open(&path, false).expect("vfs"))),
        _ => Snapshots::new(store.db(), Box::new(Overlay2::open(&path, false).expect("overlay2"))),
    }
}

/// Dies when so many bytes were read.
struct Fatal<R>(R, usize);

impl<R: Read> Read for Fatal<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.1 == 0 {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).expect("a signal");
        }
        let part = buffer.len().min(self.1).min(8192);
        let count = self.0.read(&mut buffer[..part])?;
        self.1 -= count;
        Ok(count)
    }
}

/// Unpacks two layers, the second with its parent told late.
fn unpack(store: &Store, driver: &str, die_after: usize) {
    let snapshots = snapshots(store, driver);
    let recovered = store.recover_snapshots(snapshots.driver()).expect("a recovery");
    assert_eq!(recovered.missing, []);
    let lease = common::lease(store, "unpack");
    let mut left = die_after;
    for number in 0..2 {
        if snapshots.contains(&name(number)).expect("looked up") {
            continue;
        }
        let key = SnapshotKey::parse(&format!("layer {number}")).expect("a key");
        snapshots.remove(&key).expect("what is left of it");
        let unlimited = &PrepareOptions::UNLIMITED;
        snapshots.prepare(&key, None, Some(&lease), unlimited).expect("prepared");
        let layer = layer(number);
        let mut source = Fatal(&*layer, left);
        snapshots.apply(&key, &mut source, &ApplyOptions::EXACT).expect("unpacked");
        left = source.1;
        let parent = (number > 0).then(|| name(number - 1));
        snapshots.commit(&key, &name(number), parent.as_ref()).expect("committed");
    }
}

/// Not a test by itself: what the tests below start, and what dies.
#[test]
fn child() {
    #[expect(clippy::disallowed_methods, reason = "how a test talks to its child")]
    let Ok(task) = std::env::var(CHILD) else { return };
    let mut words = task.split(':');
    let mut word = || words.next().expect("root, driver and number");
    let (root, driver, die_after) = (word(), word(), word().parse().expect("a number"));
    unpack(&common::open(Path::new(root)), driver, die_after);
}

fn start(root: &Path, driver: &str, die_after: usize) -> std::process::Child {
    #[expect(clippy::disallowed_methods, reason = "how a test kills itself without dying")]
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "child", "--test-threads=1", "--quiet"]);
    command.env(CHILD, format!("{}:{driver}:{die_after}", root.display()));
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.spawn().expect("a child")
}

/// Does it again, to the end; then removes everything.
fn examine(root: &Path, driver: &str, when: &str) {
    let store = common::open(root);
    unpack(&store, driver, usize::MAX);
    let snapshots = snapshots(&store, driver);
    let report = store.check(false, &[snapshots.driver()]).expect("a report");
    assert_eq!(report.findings, [], "{when}");
    let records = snapshots.list().expect("a list");
    let committed = |state: &SnapshotState| matches!(state, SnapshotState::Committed { .. });
    assert!(records.iter().all(|record| committed(&record.state)), "{when}: {records:?}");
    assert_eq!(snapshots.driver().walk().expect("walked").len(), 2, "{when}");
    let mut changes = Vec::new();
    let mut writer = dhow_store::LayerWriter::new(&mut changes);
    snapshots
        .diff_of_committed(&name(1), &dhow_store::DiffOptions::LAYER, &mut writer)
        .expect("a diff");
    writer.finish().expect("a layer");
    let digest = common::digest_of(&changes);
    let whole = Scratch::in_memory();
    let other = common::open(whole.path());
    unpack(&other, driver, usize::MAX);
    let mut expected = Vec::new();
    let mut writer = dhow_store::LayerWriter::new(&mut expected);
    self::snapshots(&other, driver)
        .diff_of_committed(&name(1), &dhow_store::DiffOptions::LAYER, &mut writer)
        .expect("a diff");
    writer.finish().expect("a layer");
    assert_eq!(digest, common::digest_of(&expected), "{when}: what was never interrupted");
    store.end_lease(&LeaseId::parse("unpack").expect("an id")).expect("the end");
    let all = CollectOptions { ingest_age_ms_max: i64::MIN };
    store.collect(all, &[snapshots.driver()]).expect("a collection");
    assert_eq!(snapshots.driver().walk().expect("walked"), [], "{when}: nothing is left");
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED {test}: needs root");
    }
    is_root
}

#[test]
fn killed_while_a_layer_is_read() {
    if !is_root("killed_while_a_layer_is_read") {
        return;
    }
    let size = layer(0).len() + layer(1).len();
    for driver in ["overlay2", "vfs"] {
        for part in 0..=6 {
            let scratch = Scratch::in_memory();
            let die_after = size * part / 6 + part;
            let status = start(scratch.path(), driver, die_after).wait().expect("its end");
            assert_eq!(status.success(), part == 6, "{driver}: {die_after} of {size}: {status}");
            examine(scratch.path(), driver, &format!("{driver}: after {die_after} bytes"));
        }
    }
}

#[test]
fn killed_at_any_moment_of_unpacking() {
    if !is_root("killed_at_any_moment_of_unpacking") {
        return;
    }
    for driver in ["overlay2", "vfs"] {
        for round in 0..8 {
            let scratch = Scratch::in_memory();
            let mut child = start(scratch.path(), driver, usize::MAX);
            std::thread::sleep(std::time::Duration::from_millis(5 + 9 * round));
            child.kill().expect("a signal");
            child.wait().expect("its end");
            examine(scratch.path(), driver, &format!("{driver}: round {round}"));
        }
    }
}
