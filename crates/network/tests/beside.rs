//! Networks beside a device of the host's (`macvlan`, `ipvlan`), and bounds on what a sandbox sends and receives.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use common::{
    alone, ask, at, host, inside, ip, ip_told, is_closed, none, outside, serve, skip, tcp,
};
use dhow_network::{
    EndpointRequest, NetworkConfig, NetworkRequest, PoolRequest, Rate, Sandbox, SandboxRequest,
};

fn beside(driver: &str, options: &[(&str, &str)], subnets: &[&str]) -> NetworkRequest {
    let pool = |subnet: &&str| {
        let gateway = if subnet.starts_with("192.0.2.") { "192.0.2.2" } else { "" };
        PoolRequest {
            subnet: (*subnet).to_owned(),
            gateway: gateway.to_owned(),
            auxiliary: match subnet.contains(':') {
                true => [("outside".to_owned(), "2001:db8::2".to_owned())].into(),
                false => [].into(),
            },
            ..PoolRequest::default()
        }
    };
    NetworkRequest {
        key: "b".repeat(64),
        name: "lan".to_owned(),
        driver: driver.to_owned(),
        options: options.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
        pools: subnets.iter().map(pool).collect(),
        ..NetworkRequest::default()
    }
}

fn within(name: &str, network: &NetworkConfig, ipv4: &str) -> SandboxRequest {
    let endpoint = EndpointRequest { ipv4: ipv4.parse().ok(), ..at(&network.key) };
    SandboxRequest { endpoints: vec![endpoint], ..none(name) }
}

fn address(sandbox: &Sandbox) -> String {
    sandbox.endpoints[0].ipv4.expect("an address").to_string()
}

#[test]
fn macvlan_puts_containers_beside_the_host() {
    alone("macvlan_puts_containers_beside_the_host", |dir| {
        let networks = host(dir);
        let outside = outside(&networks);
        let subnets = ["192.0.2.0/24", "198.51.100.0/30", "2001:db8::/64"];
        let request = beside("macvlan", &[("parent", "out0")], &subnets);
        let lan = networks.create_network(&request).expect("a network");
        let one = networks.sandbox(&within("one", &lan, "192.0.2.10")).expect("a sandbox");
        let two = networks.sandbox(&within("two", &lan, "192.0.2.11")).expect("a sandbox");
        let _servers = [serve(&one.path, 80), serve(&outside.path, 7)];
        // They are where the host is, under addresses of their own.
        assert_eq!(one.endpoints[0].gateway.expect("one").to_string(), "192.0.2.2");
        assert_eq!(inside(&one.path, || ask("192.0.2.2", 7)).as_deref(), Some("192.0.2.10"));
        assert!(inside(&outside.path, || ask("192.0.2.10", 80)).is_some());
        assert!(inside(&two.path, || ask("192.0.2.10", 80)).is_some());
        let six = one.endpoints[0].ipv6.expect("an address").to_string();
        assert!(inside(&outside.path, || ask(&six, 80)).is_some());
        // A second subnet of a kind serves those who ask for it.
        let three = networks.sandbox(&within("three", &lan, "198.51.100.2")).expect("a sandbox");
        assert_eq!(three.endpoints[0].prefix, 30);
        assert_eq!(three.endpoints[0].gateway.expect("one").to_string(), "198.51.100.1");
        let outside_of_all = networks.sandbox(&within("four", &lan, "198.51.100.9"));
        let words = outside_of_all.expect_err("no such address").to_string();
        assert_eq!(words, "no configured subnet or ip range contain the IP address 198.51.100.9");
        // Whoever comes back at once has the same address, whether or not the kernel is through with the old one.
        networks.release(&two.id).expect("an end");
        let two = networks.sandbox(&within("two", &lan, "192.0.2.11")).expect("a sandbox");
        assert!(inside(&two.path, || ask("192.0.2.10", 80)).is_some());
        // One that is in use already comes in as well, and out again.
        let late = networks.sandbox(&none("late")).expect("a sandbox");
        let more = networks.connect(&late.id, &at(&lan.key)).expect("one more");
        assert!(inside(&late.path, || ask("192.0.2.2", 7)) == Some(address(&more)));
        networks.disconnect(&late.id, &lan.key, false).expect("one less");
        for sandbox in [&one, &two, &three, &late] {
            networks.release(&sandbox.id).expect("an end");
        }
        networks.remove_network(&lan.key).expect("an end");
        ip("link show dev out0");
    });
}

#[test]
fn macvlan_s_modes_say_who_reaches_whom() {
    alone("macvlan_s_modes_say_who_reaches_whom", |dir| {
        let networks = host(dir);
        let outside = outside(&networks);
        let options = [("parent", "out0"), ("macvlan_mode", "private")];
        let lan = networks.create_network(&beside("macvlan", &options, &["192.0.2.0/24"]));
        let lan = lan.expect("a network");
        let one = networks.sandbox(&within("one", &lan, "192.0.2.10")).expect("a sandbox");
        let two = networks.sandbox(&within("two", &lan, "192.0.2.11")).expect("a sandbox");
        let _servers = [serve(&one.path, 80), serve(&outside.path, 7)];
        assert!(inside(&two.path, || ask("192.0.2.2", 7)).is_some());
        assert!(inside(&two.path, || is_closed("192.0.2.10", 80)));
        // Ports are not published there: its containers are outside themselves.
        let publishing =
            SandboxRequest { ports: vec![tcp(None, 8080, 80)], ..within("p", &lan, "") };
        let publishing = networks.sandbox(&publishing).expect("a sandbox");
        assert!(publishing.endpoints[0].ports.is_empty());
        let missing = beside("macvlan", &[("parent", "none0")], &["203.0.113.0/24"]);
        let missing = NetworkRequest { key: "c".repeat(64), ..missing };
        let words = networks.create_network(&missing).expect_err("no such device").to_string();
        assert_eq!(words, "the parent device none0 was not found");
    });
}

#[test]
fn a_parent_that_nobody_named_is_made_and_taken_away() {
    let test = "a_parent_that_nobody_named_is_made_and_taken_away";
    alone(test, |dir| {
        let networks = host(dir);
        let made = networks.create_network(&beside("macvlan", &[], &["10.3.0.0/24"]));
        let lan = match made {
            Err(error) if error.to_string().starts_with("this kernel has no devices") => {
                return skip(test, "the kernel has no dummy devices");
            }
            made => made.expect("a network"),
        };
        let one = networks.sandbox(&within("one", &lan, "")).expect("a sandbox");
        let two = networks.sandbox(&within("two", &lan, "")).expect("a sandbox");
        let _server = serve(&one.path, 80);
        let to_one = address(&one);
        assert!(inside(&two.path, || ask(&to_one, 80)).is_some());
        for sandbox in [&one, &two] {
            networks.release(&sandbox.id).expect("an end");
        }
        networks.remove_network(&lan.key).expect("an end");
        assert!(!ip_told("-brief link").contains("dm-"));
    });
}

#[test]
fn ipvlan_shares_the_host_s_link() {
    let test = "ipvlan_shares_the_host_s_link";
    alone(test, |dir| {
        let networks = host(dir);
        let outside = outside(&networks);
        for mode in ["l2", "l3"] {
            let options = [("parent", "out0"), ("ipvlan_mode", mode)];
            let lan = networks.create_network(&beside("ipvlan", &options, &["192.0.2.0/24"]));
            let lan = lan.expect("a network");
            let one = match networks.sandbox(&within("one", &lan, "192.0.2.10")) {
                Err(error)
                    if error.to_string() == "this kernel has no devices of the kind ipvlan" =>
                {
                    return skip(test, "the kernel has no ipvlan");
                }
                made => made.expect("a sandbox"),
            };
            let two = networks.sandbox(&within("two", &lan, "192.0.2.11")).expect("a sandbox");
            let _servers = [serve(&one.path, 80), serve(&outside.path, 7)];
            assert!(inside(&two.path, || ask("192.0.2.10", 80)).is_some(), "{mode}");
            if mode == "l2" {
                assert_eq!(
                    inside(&one.path, || ask("192.0.2.2", 7)).as_deref(),
                    Some("192.0.2.10")
                );
                assert!(inside(&outside.path, || ask("192.0.2.10", 80)).is_some());
            } else {
                // There is no gateway among neighbours: the host's routes are the way.
                assert!(inside(&one.path, || ip_told("route")).starts_with("default dev eth0"));
            }
            for sandbox in [&one, &two] {
                networks.release(&sandbox.id).expect("an end");
            }
            networks.remove_network(&lan.key).expect("an end");
        }
    });
}

const BYTES: usize = 640 << 10;

/// How long it takes until whoever listens at `to` has it all.
fn sent(path: &Path, to: &str) -> Duration {
    inside(path, || {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(to).expect("somebody");
        stream.write_all(&vec![0; BYTES]).expect("all of it");
        stream.shutdown(std::net::Shutdown::Write).expect("an end");
        stream.read_to_end(&mut Vec::new()).expect("an end");
        begun.elapsed()
    })
}

/// Takes everything that is sent.
fn swallow(path: &Path) {
    let listener = inside(path, || TcpListener::bind("0.0.0.0:9").expect("a port"));
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
}

#[test]
fn what_a_sandbox_sends_and_receives_is_bounded() {
    alone("what_a_sandbox_sends_and_receives_is_bounded", |dir| {
        let networks = host(dir);
        let request = NetworkRequest {
            key: "a".repeat(64),
            name: "slow".to_owned(),
            options: [("dhow.rate.in".to_owned(), "4mbit".to_owned())].into(),
            ..NetworkRequest::default()
        };
        let slow = networks.create_network(&request).expect("a network");
        let plain = NetworkRequest {
            key: "b".repeat(64),
            name: "plain".to_owned(),
            // Wider than what an endpoint is bound to: the narrower counts.
            options: [("dhow.rate.in".to_owned(), "10gbit".to_owned())].into(),
            ..NetworkRequest::default()
        };
        let plain = networks.create_network(&plain).expect("a network");
        // All of 128 KiB at once, then half a megabyte a second: this is at least one.
        let slowly = Duration::from_millis(600);
        let one = networks.sandbox(&within("one", &slow, "")).expect("a sandbox");
        let rate = Rate { outward: 500_000, ..Rate::default() };
        let mut request = within("two", &plain, "");
        request.endpoints[0].rate = rate;
        let two = networks.sandbox(&request).expect("a sandbox");
        let rate = Rate { inward: 500_000, ..Rate::default() };
        request = within("three", &plain, "");
        request.endpoints[0].rate = rate;
        let three = networks.sandbox(&request).expect("a sandbox");
        let own = Path::new("/proc/thread-self/ns/net");
        for sandbox in [&one, &two, &three] {
            swallow(&sandbox.path);
        }
        swallow(own);
        let to = |sandbox: &Sandbox| format!("{}:9", address(sandbox));
        assert!(sent(own, &to(&one)) > slowly, "in, by the network");
        assert!(
            sent(&two.path, &format!("{}:9", two.endpoints[0].gateway.expect("one"))) > slowly,
            "out"
        );
        assert!(sent(own, &to(&three)) > slowly, "in, by the endpoint");
        let free = |taken: Duration| assert!(taken < slowly, "the other way is free: {taken:?}");
        free(sent(&one.path, &format!("{}:9", one.endpoints[0].gateway.expect("one"))));
        free(sent(own, &to(&two)));
    });
}
