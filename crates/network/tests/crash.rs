//! An engine that is killed at any step: the next one finds every sandbox that was given and not taken
//! back, whole and reachable, and nothing else of the earlier one is left.

mod common;

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use common::{
    alone, ask, bridged, child_task, devices, host, id, none, options, run_child, serve, tcp, wait,
};
use dhow_network::{Host, HostOptions, SandboxRequest};

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
    let Some((dir, steps)) = child_task(CHILD) else { return };
    let tell = |words: &str| {
        let log = OpenOptions::new().append(true).create(true).open(dir.join("log"));
        writeln!(log.expect("a log"), "{words}").expect("a line");
    };
    let networks = Host::open(HostOptions { steps, ready_max: 2, ..options(&dir) });
    live(&networks.expect("networks"), &tell);
    tell(END);
}

#[test]
fn killed_at_any_step_an_engine_leaves_what_it_gave() {
    alone("killed_at_any_step_an_engine_leaves_what_it_gave", |dir| {
        let before = devices();
        for nth in 0.. {
            run_child(CHILD, dir, nth);
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
        wait(|| devices() == before);
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("mounts");
        assert!(!mounts.contains("/run/netns/"), "{mounts}");
    });
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
