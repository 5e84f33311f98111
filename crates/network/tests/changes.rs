//! An engine that is killed at any step of making networks, of sandboxes coming into them and leaving them, and of
//! ports coming and going: the next one has what is on record, reachable, and nothing else of the earlier one.

mod common;

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use common::{
    alone, ask, at, child_task, devices, id, inside, ip_told, is_closed, none, options, run_child,
    serve, tcp, wait,
};
use dhow_network::{Host, HostOptions, NetworkConfig, NetworkRequest, Protocol, SandboxRequest};

const CHILD: &str = "DHOW_NETWORK_CHANGES";
const PORTS: [u16; 2] = [8080, 8081];

fn request(number: u8, name: &str) -> NetworkRequest {
    let key = format!("{number}").repeat(64);
    let ipv6 = Some(number == 2);
    NetworkRequest { key, name: name.to_owned(), ipv6, ..NetworkRequest::default() }
}

/// Networks on record, as an engine keeps them: written behind the host's work, and removed behind it.
fn known(dir: &Path) -> Vec<NetworkConfig> {
    let text = fs::read_to_string(dir.join("known.json")).unwrap_or("[]".to_owned());
    serde_json::from_str(&text).expect("networks")
}

fn know(dir: &Path, all: &[NetworkConfig]) {
    let text = serde_json::to_string(all).expect("JSON");
    fs::write(dir.join("known.json"), text).expect("a record");
}

/// Not a test by itself: what the test below starts and kills.
#[test]
fn child() {
    let Some((dir, steps)) = child_task(CHILD) else { return };
    let options = HostOptions { steps, ready_max: 2, ..options(&dir) };
    let networks = Host::open(options).expect("networks");
    let front = networks.create_network(&request(1, "front")).expect("a network");
    know(&dir, std::slice::from_ref(&front));
    let back = networks.create_network(&request(2, "back")).expect("a network");
    know(&dir, &[front.clone(), back.clone()]);
    let app = SandboxRequest {
        endpoints: vec![at(&front.key)],
        ports: vec![tcp(None, PORTS[0], 80)],
        ..none("app")
    };
    let app = networks.sandbox(&app).expect("a sandbox").id;
    networks.connect(&app, &at(&back.key)).expect("one more");
    networks.publish(&app, "app", &[tcp(None, PORTS[1], 80)]).expect("a port");
    networks.unpublish(&app, &[(80, Protocol::Tcp, Some(PORTS[0]))]).expect("one less");
    networks.disconnect(&app, &front.key, false).expect("one less");
    networks.remove_network(&front.key).expect("an end");
    know(&dir, std::slice::from_ref(&back));
    networks.disconnect(&app, &back.key, false).expect("none left");
    networks.connect(&app, &at(&back.key)).expect("one again");
    networks.release(&app).expect("an end");
    networks.remove_network(&back.key).expect("an end");
    know(&dir, &[]);
    fs::write(dir.join("end"), "").expect("a mark");
}

#[test]
fn killed_at_any_change_an_engine_leaves_what_is_on_record() {
    alone("killed_at_any_change_an_engine_leaves_what_is_on_record", |dir| {
        let before = devices();
        for nth in 0.. {
            run_child(CHILD, dir, nth);
            check(dir, nth);
            let options = HostOptions { networks: known(dir), ..options(dir) };
            Host::open(options).expect("networks").dismantle().expect("an end");
            know(dir, &[]);
            wait(|| devices() == before);
            if dir.join("end").exists() {
                assert!(nth > 40, "only {nth} steps");
                break;
            }
        }
    });
}

fn check(dir: &Path, nth: usize) {
    let known = known(dir);
    let options = HostOptions { networks: known.clone(), ..options(dir) };
    let networks = Host::open(options).expect("networks");
    let app = networks.adopt(&id("app")).ok();
    let endpoints = app.iter().flat_map(|app| &app.endpoints).collect::<Vec<_>>();
    // Devices: a bridge for each network at most, a pair for each endpoint, and nothing else.
    let bridges: BTreeSet<_> = known.iter().map(|config| config.interface.clone()).collect();
    let others = || devices().into_iter().filter(|name| name != "lo" && !bridges.contains(name));
    wait(|| others().count() == endpoints.len());
    assert!(others().all(|name| name.starts_with("veth")), "{nth}: {:?}", devices());
    assert!(!networks.repair().expect("rules"), "{nth}: rules that nobody knows");
    if let Some(app) = &app {
        let told = inside(&app.path, || ip_told("-brief -4 addr"));
        let found: BTreeSet<_> = told
            .lines()
            .filter(|line| !line.starts_with("lo "))
            .filter_map(|line| line.split_whitespace().nth(2)?.split('/').next())
            .map(str::to_owned)
            .collect();
        let expected = endpoints.iter().filter_map(|one| one.ipv4).map(|one| one.to_string());
        assert_eq!(found, expected.collect(), "{nth}: {told}");
        let leads = inside(&app.path, || ip_told("route")).contains("default");
        assert_eq!(leads, endpoints.iter().any(|one| one.gateway.is_some()), "{nth}");
        let _server = serve(&app.path, 80);
        let published: HashSet<_> =
            endpoints.iter().flat_map(|one| &one.ports).map(|port| port.host_port).collect();
        for port in PORTS {
            match published.contains(&port) {
                true => assert!(ask("127.0.0.1", port).is_some(), "{nth}: {port}"),
                false => assert!(is_closed("127.0.0.1", port), "{nth}: {port}"),
            }
        }
        networks.release(&app.id).expect("an end");
    }
    // Every address but the gateway's is free again, and every port.
    for config in &known {
        let again = SandboxRequest {
            endpoints: vec![at(&config.key)],
            ports: PORTS.map(|port| tcp(None, port, 80)).to_vec(),
            ..none("again")
        };
        networks.sandbox(&again).expect("a sandbox");
        networks.release(&id("again")).expect("an end");
    }
}
