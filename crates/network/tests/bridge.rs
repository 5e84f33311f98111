//! The default network with real packets: who reaches whom, and as whom.

mod common;

use std::path::Path;

use common::{alone, ask, bridged, host, inside, ip, is_closed, none, outside, serve, tcp};

/// Whether bridges show the host's rules what they pass on: some hosts do, and some do not.
fn filter_bridges(yes: bool) {
    let path = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if path.exists() {
        std::fs::write(path, if yes { "1" } else { "0" }).expect("a setting of this namespace");
    }
}

#[test]
fn containers_and_host_reach_each_other() {
    alone("containers_and_host_reach_each_other", |dir| {
        let networks = host(dir);
        let one = networks.sandbox(&bridged("one", &[])).expect("a sandbox");
        let two = networks.sandbox(&bridged("two", &[])).expect("a sandbox");
        let (first, second) = (&one.endpoints[0], &two.endpoints[0]);
        assert_eq!(first.ipv4.expect("one").to_string(), "172.17.0.2");
        assert_eq!(first.gateway.expect("one").to_string(), "172.17.0.1");
        assert_eq!(first.mac.to_string(), "02:42:ac:11:00:02");
        assert_eq!(second.ipv4.expect("one").to_string(), "172.17.0.3");
        let _server1 = serve(&one.path, 80);
        assert_eq!(ask("172.17.0.2", 80).as_deref(), Some("172.17.0.1"));
        let answer = inside(&two.path, || ask("172.17.0.2", 80));
        assert_eq!(answer.as_deref(), Some("172.17.0.3"));
    });
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    alone("a_published_port_is_reached_from_everywhere", |dir| {
        let networks = host(dir);
        let outside = outside(&networks);
        let one = networks.sandbox(&bridged("one", &[tcp(None, 8080, 80)])).expect("a sandbox");
        let two = networks.sandbox(&bridged("two", &[])).expect("a sandbox");
        let _server2 = serve(&one.path, 80);
        for filtered in [true, false] {
            filter_bridges(filtered);
            // Hosts that drop what comes in by another way than the answer would leave by, too.
            for device in ["all", "dhow", "out0"] {
                let device =
                    device.replace("dhow", &networks.default_network().expect("it").interface);
                let strict = format!("/proc/sys/net/ipv4/conf/{device}/rp_filter");
                std::fs::write(strict, if filtered { "0" } else { "1" }).expect("a setting");
            }
            // From the host, by any of its addresses.
            assert_eq!(ask("127.0.0.1", 8080).as_deref(), Some("172.17.0.1"));
            assert_eq!(ask("127.5.6.7", 8080).as_deref(), Some("172.17.0.1"));
            assert_eq!(ask("192.0.2.1", 8080).as_deref(), Some("192.0.2.1"));
            // From outside, with its own address.
            let by_host = || ask("192.0.2.1", 8080);
            assert_eq!(inside(&outside.path, by_host).as_deref(), Some("192.0.2.2"));
            // From another container of the network, and from the container itself.
            assert_eq!(inside(&two.path, by_host).as_deref(), Some("172.17.0.1"));
            assert_eq!(inside(&one.path, by_host).as_deref(), Some("172.17.0.1"));
            let by_gateway = || ask("172.17.0.1", 8080);
            assert_eq!(inside(&two.path, by_gateway).as_deref(), Some("172.17.0.1"));
        }
        networks.release(&one.id).expect("an end");
        assert!(is_closed("127.0.0.1", 8080));
        assert!(inside(&outside.path, || is_closed("192.0.2.1", 8080)));
    });
}

#[test]
fn containers_go_out_under_the_host_s_address_and_nobody_comes_in() {
    alone("containers_go_out_under_the_host_s_address_and_nobody_comes_in", |dir| {
        let networks = host(dir);
        let outside = outside(&networks);
        let one = networks.sandbox(&bridged("one", &[tcp(None, 8080, 80)])).expect("a sandbox");
        let _server3 = serve(&outside.path, 7);
        let _server4 = serve(&one.path, 80);
        let answer = inside(&one.path, || ask("192.0.2.2", 7));
        assert_eq!(answer.as_deref(), Some("192.0.2.1"));
        // The way past the published port is closed, to published ports and others.
        assert!(inside(&outside.path, || is_closed("172.17.0.2", 80)));
    });
}

#[test]
fn the_host_becomes_no_router_for_others() {
    alone("the_host_becomes_no_router_for_others", |dir| {
        assert_eq!(forwarding(), "0");
        let networks = host(dir);
        networks.sandbox(&none("one")).expect("a sandbox");
        assert_eq!(forwarding(), "0");
        networks.sandbox(&bridged("two", &[])).expect("a sandbox");
        assert_eq!(forwarding(), "1");
        // A later engine still knows that it was not so before.
        drop(networks);
        host(dir).dismantle().expect("an end");
        assert_eq!(forwarding(), "0");
    });
}

fn forwarding() -> String {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("a setting");
    text.trim().to_owned()
}

#[test]
fn loopback_ports_are_the_host_s_alone() {
    alone("loopback_ports_are_the_host_s_alone", |dir| {
        let networks = host(dir);
        let outside = outside(&networks);
        let port = tcp(Some("127.0.0.1"), 8080, 80);
        let one = networks.sandbox(&bridged("one", &[port])).expect("a sandbox");
        let two = networks.sandbox(&bridged("two", &[])).expect("a sandbox");
        let _server5 = serve(&one.path, 80);
        let _server6 = serve(Path::new("/proc/thread-self/ns/net"), 9090);
        assert_eq!(ask("127.0.0.1", 8080).as_deref(), Some("172.17.0.1"));
        assert_eq!(ask("127.0.0.1", 9090).as_deref(), Some("127.0.0.1"));
        assert!(is_closed("192.0.2.1", 8080));
        // Neither a container nor a neighbour that sends to 127.0.0.1 by way of the host gets there.
        for (path, gateway) in [(&two.path, "172.17.0.1"), (&outside.path, "192.0.2.1")] {
            inside(path, || {
                ip("link set lo down");
                let device = if gateway == "172.17.0.1" { "eth0" } else { "out1" };
                std::fs::write(format!("/proc/sys/net/ipv4/conf/{device}/route_localnet"), "1")
                    .expect("a setting");
                ip("route del table local 127.0.0.0/8 dev lo");
                ip(&format!("route add 127.0.0.0/8 via {gateway}"));
                let source = if device == "eth0" { "172.17.0.3" } else { "192.0.2.2" };
                ip(&format!("route change 127.0.0.0/8 via {gateway} src {source}"));
                assert!(is_closed("127.0.0.1", 8080), "{device}");
                assert!(is_closed("127.0.0.1", 9090), "{device}");
            });
        }
    });
}
