//! A process that is killed at any step: the next one finds all that was acknowledged, nothing
//! else, and can do again what was interrupted.

mod common;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{
    Scratch, Single, Unpacked, docker_archive, files, lease, name, put_single, reference, single,
};
use dhow_archive::compress::Limits;
use dhow_store::{Clock, CollectOptions, LoadLimits, Steps, Store};

const CHILD: &str = "DHOW_STORE_CRASH";

/// What a life of a store is made of; `tell` hears of each operation before and after.
fn live(store: &Store, tell: &dyn Fn(&str)) {
    let driver = Unpacked::of(store);
    let images = images();
    let said = |what: &str, work: &dyn Fn()| {
        tell(&format!("> {what}"));
        work();
        tell(&format!("< {what}"));
    };
    for (text, image) in &images {
        said(&format!("pull {text}"), &|| pull(store, &driver, text, image));
    }
    said(&format!("pull {LOADED}"), &|| load(store));
    let all = CollectOptions { ingest_age_ms_max: i64::MIN };
    for text in [images[0].0, images[1].0, LOADED] {
        said(&format!("remove {text}"), &|| {
            // The life before may have got so far.
            let _ = store.images().remove_name(&reference(text), false);
        });
        said("collect", &|| {
            store.collect(all, &[&driver.0]).expect("a collection");
        });
    }
}

/// An image that comes from an archive.
const LOADED: &str = "loaded";

fn load(store: &Store) {
    let id = lease(store, "load");
    let bytes = docker_archive(&single("amd64", &["a", "a"]), r#""loaded""#).bytes();
    let limits = LoadLimits { bytes_max: 1 << 20, compression: Limits::NONE };
    store.load(&id, &bytes[..], limits).expect("an image");
    store.end_lease(&id).expect("the end");
}

fn images() -> Vec<(&'static str, Single)> {
    let image = |text: &'static str| (text, single("amd64", &["base", text]));
    vec![image("one"), image("two"), image("three")]
}

fn pull(store: &Store, driver: &Unpacked, text: &str, image: &Single) {
    let id = lease(store, &format!("pull {text}"));
    put_single(store, &id, image);
    driver.unpack(store, &id, image);
    store.images().put(&name(text), &image.manifest.descriptor).expect("an image");
    store.end_lease(&id).expect("the end");
}

/// Not a test by itself: what the tests below start and kill.
#[test]
fn child() {
    #[expect(clippy::disallowed_methods, reason = "how a test talks to its child")]
    let Ok(task) = std::env::var(CHILD) else { return };
    let (root, nth) = task.rsplit_once(':').expect("root and step");
    let nth: usize = nth.parse().expect("a number");
    let count = AtomicUsize::new(0);
    let steps = Steps::watched(move |_| {
        if count.fetch_add(1, Ordering::Relaxed) == nth {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).expect("a signal");
        }
        Ok(())
    });
    let root = Path::new(root);
    let store = common::try_open(root, Clock::system(), steps).expect("a store");
    store.recover_snapshots(&Unpacked::of(&store).0).expect("a recovery");
    let told = OpenOptions::new().append(true).create(true).open(root.join("told"));
    let told = told.expect("a file");
    live(&store, &|line| (&told).write_all(format!("{line}\n").as_bytes()).expect("a line"));
}

fn start(root: &Path, nth: usize) -> std::process::Child {
    #[expect(clippy::disallowed_methods, reason = "how a test kills itself without dying")]
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "child", "--test-threads=1", "--quiet"]);
    command.env(CHILD, format!("{}:{nth}", root.display()));
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.spawn().expect("a child")
}

/// Holds the store against what was told; then lives the life to its end, and removes everything.
fn examine(root: &Path, when: &str) {
    let told = std::fs::read_to_string(root.join("told")).unwrap_or_default();
    let store = common::open(root);
    let driver = Unpacked::of(&store);
    let recovered = store.recover_snapshots(&driver.0).expect("a recovery");
    assert_eq!(recovered.missing, [], "{when}: a snapshot has lost its directory");
    let report = store.check(false, &[&driver.0]).expect("a report");
    assert_eq!(report.findings, [], "{when}");
    let is_told = |line: &str| told.lines().any(|told| told == line);
    for (text, image) in images() {
        let acknowledged = is_told(&format!("< pull {text}"));
        if acknowledged && !is_told(&format!("> remove {text}")) {
            let found = store.images().find(text).expect("an image that was acknowledged");
            let manifests = store.images().manifests(&found).expect("a list");
            assert_eq!(manifests[0].missing, [], "{when}: {text}");
            let chain = dhow_store::chain_ids(&image.diff_ids);
            let top = chain.last().expect("a top");
            store.db().snapshots("vfs").committed(top).expect("an unpacked image");
        }
        if is_told(&format!("< remove {text}")) {
            store.images().find(text).expect_err("an image whose removal was acknowledged");
        }
    }
    if is_told(&format!("< pull {LOADED}")) && !is_told(&format!("> remove {LOADED}")) {
        let found = store.images().find(LOADED).expect("an image that was acknowledged");
        assert_eq!(store.images().manifests(&found).expect("a list")[0].missing, [], "{when}");
    }
    live(&store, &|_| ());
    assert_eq!(files(root).len(), 4 + 2, "{when}: the third image and its snapshots");
    store.images().remove_name(&reference("three"), false).expect("it");
    for lease in store.leases().expect("a list") {
        store.end_lease(&lease.id).expect("the end");
    }
    let all = CollectOptions { ingest_age_ms_max: i64::MIN };
    store.collect(all, &[&driver.0]).expect("a collection");
    assert_eq!(files(root), [] as [&str; 0], "{when}");
    assert_eq!(store.usage().expect("numbers"), dhow_store::DiskUsage::default(), "{when}");
}

#[test]
fn killed_at_every_step() {
    for nth in 0.. {
        let scratch = Scratch::in_memory();
        let status = start(scratch.path(), nth).wait().expect("its end");
        examine(scratch.path(), &format!("step {nth}"));
        if status.success() {
            assert!(nth > 60, "only {nth} steps");
            return;
        }
    }
}

#[test]
fn killed_at_any_moment() {
    for round in 0..25 {
        let scratch = Scratch::in_memory();
        let mut child = start(scratch.path(), usize::MAX);
        std::thread::sleep(Duration::from_millis(2 + 4 * round));
        child.kill().expect("a signal");
        child.wait().expect("its end");
        examine(scratch.path(), &format!("round {round}"));
    }
}
