//! Sandboxes from their making to their end, on the real kernel.

mod common;

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{alone, ask, bridged, host, id, inside, ip, is_closed, none, options, serve, tcp};
use dhow_network::{Host, HostOptions, Instance, NetworkError, PortMapping, Steps};

#[test]
fn a_sandbox_outlives_the_engine_and_is_given_back_once() {
    alone("a_sandbox_outlives_the_engine_and_is_given_back_once", |dir| {
        let first = host(dir);
        let made = first.sandbox(&none("one")).expect("a sandbox");
        assert!(matches!(first.sandbox(&none("one")), Err(NetworkError::SandboxExists { .. })));
        drop(first);

        let second = host(dir);
        assert_eq!(second.adopt(&id("one")).expect("the same"), made);
        second.release(&id("one")).expect("an end");
        second.release(&id("one")).expect("no error");
        assert!(matches!(second.adopt(&id("one")), Err(NetworkError::UnknownSandbox { .. })));
        assert!(!made.path.exists());
        assert!(host(dir).adopt(&id("one")).is_err());
    });
}

#[test]
fn only_what_is_known_stays() {
    alone("only_what_is_known_stays", |dir| {
        let networks = host(dir);
        for name in ["a", "b", "c"] {
            networks.sandbox(&none(name)).expect("a sandbox");
        }
        let known = HashSet::from([id("b")]);
        let mut gone = networks.prune(&known).expect("an end");
        gone.sort();
        assert_eq!(gone, [id("a"), id("c")]);
        assert!(networks.adopt(&id("b")).is_ok());
    });
}

/// The devices on a bridge's side, which go a moment after their namespaces.
fn devices() -> usize {
    let mut links = dhow_sys::Links::open().expect("a socket");
    let links = links.list().expect("devices");
    links.iter().filter(|link| link.name.to_bytes().starts_with(b"veth")).count()
}

fn wait_for_devices(count: usize) {
    let begin = Instant::now();
    while devices() != count {
        assert!(begin.elapsed() < Duration::from_secs(10), "{} devices", devices());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn whatever_step_fails_nothing_is_left_and_the_next_works() {
    alone("whatever_step_fails_nothing_is_left_and_the_next_works", |dir| {
        let nth = Arc::new(AtomicUsize::new(usize::MAX));
        let left = nth.clone();
        let steps = Steps::watched(move |_| {
            let before = left.fetch_sub(1, Ordering::Relaxed);
            if before == 0 { Err(ErrorKind::Other.into()) } else { Ok(()) }
        });
        let networks = Host::open(HostOptions { steps, ..options(dir) }).expect("networks");
        let request = bridged("one", &[tcp(None, 8080, 80)]);
        let mut failed = 0;
        // Making: the first to fail is the making of the bridge.
        loop {
            nth.store(failed, Ordering::Relaxed);
            let made = networks.sandbox(&request);
            let all = nth.swap(usize::MAX, Ordering::Relaxed) < usize::MAX / 2;
            if all {
                made.expect("no step failed");
                break;
            }
            made.expect_err("a step failed");
            failed += 1;
            assert!(networks.adopt(&request.id).is_err());
            let pins = std::fs::read_dir(dir.join("run/netns"));
            assert!(pins.map_or(0, Iterator::count) == 0, "{failed}");
            drop(TcpListener::bind(("0.0.0.0", 8080)).expect("the port is free"));
            assert!(!networks.repair().expect("rules"), "rules that nobody knows");
        }
        assert!(failed > 5);
        // Giving back: after a failure it is tried again.
        for step in 0.. {
            nth.store(step, Ordering::Relaxed);
            let released = networks.release(&request.id);
            let all = nth.swap(usize::MAX, Ordering::Relaxed) < usize::MAX / 2;
            if all {
                released.expect("no step failed");
                break;
            }
            released.expect_err("a step failed");
            networks.release(&request.id).expect("an end");
            networks.release(&request.id).expect("an end, again");
            networks.sandbox(&request).expect("a sandbox again");
        }
        wait_for_devices(0);
    });
}

#[test]
fn many_at_once_are_made_and_given_back() {
    alone("many_at_once_are_made_and_given_back", |dir| {
        let networks = Host::open(HostOptions { ready_max: 4, ..options(dir) }).expect("networks");
        let addresses = Mutex::new(HashSet::new());
        std::thread::scope(|scope| {
            for worker in 0..8 {
                let (networks, addresses) = (&networks, &addresses);
                scope.spawn(move || {
                    for round in 0..5 {
                        let any = PortMapping { host_port: None, ..tcp(None, 1, 80) };
                        let request = bridged(&format!("{worker}-{round}"), &[any]);
                        let made = networks.sandbox(&request).expect("a sandbox");
                        assert!(addresses.lock().expect("a lock").insert(made.endpoints[0].ipv4));
                        networks.release(&request.id).expect("an end");
                    }
                });
            }
        });
        assert!(!networks.repair().expect("rules"), "rules that nobody knows");
        drop(networks);
        // Those that were ready went with the engine.
        wait_for_devices(0);
    });
}

#[test]
fn ready_namespaces_are_as_good_as_others() {
    alone("ready_namespaces_are_as_good_as_others", |dir| {
        let networks = Host::open(HostOptions { ready_max: 3, ..options(dir) }).expect("networks");
        let first = networks.sandbox(&bridged("first", &[])).expect("a sandbox");
        wait_for_devices(4);
        let _server = serve(&first.path, 80);
        for name in ["a", "b", "c", "d"] {
            let made = networks.sandbox(&bridged(name, &[])).expect("a sandbox");
            let mine = made.endpoints[0].ipv4.expect("one").to_string();
            let answer = inside(&made.path, || ask("172.17.0.2", 80));
            assert_eq!(answer, Some(mine));
        }
        // They are made again once nobody asks for them.
        wait_for_devices(8);
        networks.dismantle().expect("an end");
        drop(_server);
        wait_for_devices(0);
    });
}

#[test]
fn engines_with_different_roots_do_not_meet() {
    alone("engines_with_different_roots_do_not_meet", |dir| {
        ip("route add blackhole 172.17.128.0/20");
        let open = |name: &str| {
            let exec_root = dir.join(name);
            let instance = Instance::of(&exec_root);
            Host::open(HostOptions { exec_root, instance, ..options(dir) }).expect("networks")
        };
        let (one, two) = (open("one"), open("two"));
        let first = one.sandbox(&bridged("same", &[tcp(None, 8080, 80)])).expect("a sandbox");
        let second = two.sandbox(&bridged("same", &[tcp(None, 9090, 80)])).expect("a sandbox");
        // The first choice is on the way to somewhere else already.
        assert_eq!(
            one.default_network().expect("it").ipv4.expect("one").subnet.to_string(),
            "172.18.0.0/16"
        );
        assert_eq!(
            two.default_network().expect("it").ipv4.expect("one").subnet.to_string(),
            "172.19.0.0/16"
        );
        let _servers = [serve(&first.path, 80), serve(&second.path, 80)];
        assert!(ask("127.0.0.1", 8080).is_some() && ask("127.0.0.1", 9090).is_some());
        // Each network is closed to the other; published ports are open.
        assert!(inside(&first.path, || is_closed("172.19.0.2", 80)));
        // To the other engine, the first one's containers are outside: they come under the host's address.
        let answer = inside(&first.path, || ask("172.19.0.1", 9090));
        assert_eq!(answer.as_deref(), Some("172.19.0.1"));
        // The port of one is not the other's.
        let refused = two.sandbox(&bridged("other", &[tcp(None, 8080, 80)]));
        assert!(matches!(refused, Err(NetworkError::Publish { .. })));
        one.dismantle().expect("an end");
        assert!(ask("127.0.0.1", 9090).is_some());
    });
}

#[test]
fn engines_that_look_for_addresses_at_once_find_different_ones() {
    alone("engines_that_look_for_addresses_at_once_find_different_ones", |dir| {
        let mut subnets = std::thread::scope(|scope| {
            let threads = ["a", "b", "c", "d", "e"].map(|name| {
                scope.spawn(move || {
                    let exec_root = dir.join(name);
                    let instance = Instance::of(&exec_root);
                    let networks = Host::open(HostOptions { exec_root, instance, ..options(dir) });
                    let networks = networks.expect("networks");
                    networks.sandbox(&bridged("one", &[])).expect("a sandbox");
                    networks.default_network().expect("it").ipv4.expect("one").subnet.to_string()
                })
            });
            threads.map(|thread| thread.join().expect("a subnet"))
        });
        subnets.sort();
        let expected = [17, 18, 19, 20, 21].map(|n| format!("172.{n}.0.0/16"));
        assert_eq!(subnets, expected);
    });
}

#[test]
fn a_running_engine_s_rules_are_its_own() {
    alone("a_running_engine_s_rules_are_its_own", |dir| {
        let networks = host(dir);
        let one = networks.sandbox(&bridged("one", &[tcp(None, 8080, 80)])).expect("a sandbox");
        let _server = serve(&one.path, 80);
        assert!(!networks.repair().expect("rules"));
        // An engine of the same mark that knows nothing takes them for garbage, if the kernel lets it.
        let other = Host::open(HostOptions { exec_root: dir.join("x"), ..options(dir) });
        assert_eq!(networks.repair().expect("rules"), other.is_ok());
        assert!(ask("127.0.0.1", 8080).is_some());
    });
}
