//! An engine that is killed at any step: the next one finds every sandbox that was given and not taken
//! back, whole and reachable, and nothing else of the earlier one is left.

mod common;

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{alone, ask, bridged, host, id, none, options, serve, tcp};
use dhow_network::{Host, HostOptions, SandboxRequest, Steps};

const CHILD: &str = "DHOW_NETWORK_CRASH";
/// What a child says when it got to its end.
const END: &str = "the end";

fn requests() -> [SandboxRequest; 3] {
    let ports = [tcp(None, 8080, 80), tcp(Some("127.0.0.1"), 9090, 81)];
    [none("none"), bridged("one", &ports), bridged("two", &[tcp(None, 7070, 80)])]
}

/// What an engine's life is made of; `tell` hears of each operation before and after.
fn live(networks: &Host, tell: &dyn Fn(&str)) {
    for round in 0..2 {
        for request in requests() {
            tell(&format!("> make {}", request.id));
            // The engine before may have got so far.
            networks.release(&request.id).expect("an end");
            networks.sandbox(&request).expect("a sandbox");
            tell(&format!("< make {}", request.id));
        }
        for name in if round == 0 { &["none", "one"][..] } else { &["two"] } {
            tell(&format!("> release {name}"));
            networks.release(&id(name)).expect("an end");
            tell(&format!("< release {name}"));
        }
    }
}

/// Not a test by itself: what the test below starts and kills.
#[test]
fn child() {
    #[expect(clippy::disallowed_methods, reason = "how a test talks to its child")]
    let Ok(task) = std::env::var(CHILD) else { return };
    let (dir, nth) = task.rsplit_once(':').expect("directory and step");
    let nth: usize = nth.parse().expect("a number");
    let count = AtomicUsize::new(0);
    let steps = Steps::watched(move |_| {
        if count.fetch_add(1, Ordering::Relaxed) == nth {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).expect("a signal");
        }
        Ok(())
    });
    let dir = Path::new(dir);
    let tell = |words: &str| {
        let log = OpenOptions::new().append(true).create(true).open(dir.join("log"));
        writeln!(log.expect("a log"), "{words}").expect("a line");
    };
    let networks = Host::open(HostOptions { steps, ready_max: 2, ..options(dir) });
    live(&networks.expect("networks"), &tell);
    tell(END);
}

#[test]
fn killed_at_any_step_an_engine_leaves_what_it_gave() {
    alone("killed_at_any_step_an_engine_leaves_what_it_gave", |dir| {
        let before = names();
        for nth in 0.. {
            run_child(dir, nth);
            let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
            check(dir, &log, nth);
            if log.ends_with(&format!("{END}\n")) {
                assert!(nth > 30, "only {nth} steps");
                break;
            }
            // Every other life goes on where the last one was killed.
            let _ = fs::remove_file(dir.join("log"));
            if nth % 2 == 0 {
                host(dir).prune(&HashSet::new()).expect("an end");
            }
        }
        host(dir).dismantle().expect("an end");
        assert_eq!(fs::read_dir(dir.join("run/netns")).expect("a directory").count(), 0);
        wait(|| names() == before);
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("mounts");
        assert!(!mounts.contains("/run/netns/"), "{mounts}");
    });
}

#[expect(clippy::disallowed_methods, reason = "only a process can be killed")]
fn run_child(dir: &Path, nth: usize) {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program);
    child.args(["--exact", "child", "--nocapture"]).env(CHILD, format!("{}:{nth}", dir.display()));
    let output = child.output().expect("a child");
    let killed = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9);
    assert!(
        killed || output.status.success(),
        "{nth}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What the next engine finds.
fn check(dir: &Path, log: &str, nth: usize) {
    let mut certain = BTreeSet::new();
    let mut open = None;
    for line in log.lines().filter(|line| *line != END) {
        let (mark, words) = line.split_once(' ').expect("a mark");
        let (verb, name) = words.split_once(' ').expect("a verb");
        certain.remove(name);
        open = (mark == ">").then_some(name);
        if mark == "<" && verb == "make" {
            certain.insert(name);
        }
    }
    let networks = host(dir);
    for request in requests() {
        let (name, found) = (request.id.as_str(), networks.adopt(&request.id).ok());
        assert!(
            found.is_some() == certain.contains(name) || open == Some(name) || log.is_empty(),
            "{nth}: {name}\n{log}"
        );
        let Some(found) = found else {
            assert!(!dir.join("run/netns").join(name).exists(), "{nth}: {name}");
            continue;
        };
        for port in found.endpoints.iter().flat_map(|endpoint| &endpoint.ports) {
            let _server1 = serve(&found.path, port.container_port);
            assert!(ask("127.0.0.1", port.host_port).is_some(), "{nth}: {name}\n{log}");
        }
    }
    // What was not found is free: nothing of it is in the way of another.
    for request in requests().into_iter().filter(|request| networks.adopt(&request.id).is_err()) {
        networks.sandbox(&request).expect("a sandbox");
        networks.release(&request.id).expect("an end");
    }
    assert!(!networks.repair().expect("rules"), "{nth}: rules that nobody knows");
}

/// The devices there are.
fn names() -> BTreeSet<String> {
    let mut links = dhow_sys::Links::open().expect("a socket");
    let links = links.list().expect("devices");
    links.into_iter().map(|link| link.name.to_string_lossy().into_owned()).collect()
}

fn wait(until: impl Fn() -> bool) {
    let begin = Instant::now();
    while !until() {
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", names());
        std::thread::sleep(Duration::from_millis(20));
    }
}
