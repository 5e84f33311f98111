//! Pulls and pushes that are killed: at every step of the store, at every word of a transfer, at any moment.
//!
//! Afterwards the store is consistent, what was acknowledged is there, the same can be done again, and when
//! nothing is wanted any more, nothing takes space.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::registry::Registry;
use common::{Layer, Root, layer, read, reference, runtime, scratch};
use dhow_engine::{Progress, PullRequest, PushRequest, Watcher};
use dhow_spec::Reference;
use dhow_store::{DiskUsage, Steps};

const CHILD: &str = "DHOW_ENGINE_CRASH";
/// A child that gets so far was not killed.
const NEVER: usize = usize::MAX;

/// Kills this process when it was called often enough.
struct Fate {
    count: AtomicUsize,
    nth: usize,
}

impl Fate {
    fn step(&self) {
        if self.count.fetch_add(1, Ordering::SeqCst) == self.nth {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).expect("a signal");
        }
    }
}

impl Watcher for Fate {
    fn progress(&self, _: &Progress<'_>) {
        self.step();
    }
}

/// Not a test by itself: what the tests below start and kill.
#[test]
fn child() {
    #[expect(clippy::disallowed_methods, reason = "how a test talks to its child")]
    let Ok(task) = std::env::var(CHILD) else { return };
    let words: Vec<&str> = task.split(' ').collect();
    let [what, root, name, nth] = words[..] else { panic!("{task}") };
    let nth = nth.parse().expect("a number");
    let fate = Arc::new(Fate { count: AtomicUsize::new(0), nth });
    let steps = Steps::watched({
        let fate = fate.clone();
        move |_| {
            fate.step();
            Ok(())
        }
    });
    let root = Root::reopen(Path::new(root), steps);
    let name = Reference::parse(name).expect("a reference");
    match what {
        "pull" => {
            let request = PullRequest { reference: name, platform: None };
            runtime().block_on(root.engine.pull(&request, fate)).expect("a pull");
        }
        _ => {
            let request = PushRequest { reference: name, platform: None };
            runtime().block_on(root.engine.push(&request, fate)).expect("a push");
        }
    }
    std::fs::write(root.path.join("told"), "").expect("a file");
}

fn start(what: &str, root: &Path, name: &Reference, nth: usize) -> Child {
    #[expect(clippy::disallowed_methods, reason = "how a test kills itself without dying")]
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "child", "--test-threads=1", "--quiet"]);
    command.env(CHILD, format!("{what} {} {name} {nth}", root.display()));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("a child")
}

/// An image whose layers depend on each other, one of them larger than any buffer.
fn layers() -> Vec<Layer> {
    let mut state = 1_u32;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + (state >> 24) as u8 % 90)
    })
    .take(1 << 20)
    .collect();
    vec![
        layer(&[("etc/", ""), ("etc/motd", "first"), ("etc/gone", "x")]),
        layer(&[("noise", &noise)]),
        layer(&[("etc/motd", "second"), ("etc/.wh.gone", "")]),
    ]
}

/// What a killed pull has left, and what comes after it.
fn examine_pull(path: PathBuf, name: &Reference, layers: &[Layer], when: &str) {
    let told = path.join("told").exists();
    let root = Root::open(path, Steps::unwatched());
    root.recover();
    let report = root.store.check(false, &[root.snapshots.driver()]).expect("a report");
    assert_eq!(report.findings, [], "{when}");
    let found = root.store.images().by_name(name).expect("read");
    assert!(found.is_some() || !told, "{when}: an image that was acknowledged is lost");
    if let Some(image) = found {
        let manifests = root.store.images().manifests(&image).expect("a list");
        assert_eq!(manifests[0].missing, [], "{when}: a name without all of its image");
        assert_eq!(read(&root.files(layers).join("etc/motd")), "second", "{when}");
    }
    root.pull(name, &Arc::default()).unwrap_or_else(|error| panic!("{when}: {error}"));
    let files = root.files(layers);
    assert_eq!(read(&files.join("etc/motd")), "second", "{when}");
    assert!(!files.join("etc/gone").exists(), "{when}");
    assert_eq!(root.emptied(), DiskUsage::default(), "{when}");
}

#[test]
fn a_pull_killed_at_every_step() {
    let Some(registry) = Registry::start("a_pull_killed_at_every_step", None) else { return };
    let (name, layers) = (reference(&registry, "lib/killed:1"), layers());
    let here = Root::new();
    here.make(&name, &layers);
    here.push(&name);
    for nth in 0.. {
        let path = scratch();
        let status = start("pull", &path, &name, nth).wait().expect("its end");
        examine_pull(path, &name, &layers, &format!("step {nth}"));
        if status.success() {
            assert!(nth > 40, "only {nth} steps");
            return;
        }
    }
}

#[test]
fn a_pull_killed_at_any_moment() {
    let Some(registry) = Registry::start("a_pull_killed_at_any_moment", None) else { return };
    let (name, layers) = (reference(&registry, "lib/killed:1"), layers());
    let here = Root::new();
    here.make(&name, &layers);
    here.push(&name);
    for round in 0..15 {
        let path = scratch();
        let mut child = start("pull", &path, &name, NEVER);
        std::thread::sleep(Duration::from_millis(10 + 9 * round));
        child.kill().expect("a signal");
        child.wait().expect("its end");
        examine_pull(path, &name, &layers, &format!("round {round}"));
    }
}

#[test]
fn a_push_killed_at_every_step() {
    let Some(registry) = Registry::start("a_push_killed_at_every_step", None) else { return };
    let layers = layers();
    let there = Root::new();
    for nth in 0.. {
        // A root that knows of other repositories would have the registry take its blobs from there.
        let path = scratch();
        let name = reference(&registry, &format!("lib/killed-{nth}:1"));
        let target = Root::reopen(&path, Steps::unwatched()).make(&name, &layers);
        let status = start("push", &path, &name, nth).wait().expect("its end");
        // Whoever pulls gets all of it or hears that there is nothing.
        match there.pull(&name, &Arc::default()) {
            Ok(_) => assert_eq!(read(&there.files(&layers).join("etc/motd")), "second"),
            Err(error) => {
                assert!(!status.success(), "acknowledged at step {nth}: {error}");
                assert!(
                    error.contains("manifest unknown")
                        || error.contains("name unknown")
                        || error.contains("does not exist"),
                    "step {nth}: {error}"
                );
            }
        }
        let root = Root::reopen(&path, Steps::unwatched());
        let report = root.store.check(false, &[root.snapshots.driver()]).expect("a report");
        assert_eq!(report.findings, [], "step {nth}");
        assert_eq!(root.push(&name), target, "step {nth}");
        drop(root);
        std::fs::remove_dir_all(&path).expect("removed");
        there.pull(&name, &Arc::default()).unwrap_or_else(|error| panic!("step {nth}: {error}"));
        if status.success() {
            assert!(nth > 10, "only {nth} steps");
            return;
        }
    }
}
