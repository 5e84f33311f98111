//! The default network as an engine's settings have it, and where subnets come from that nobody chose.

mod common;

use common::{alone, ask, bridged, inside, ip, is_closed, none, options, outside, serve, tcp};
use dhow_network::{DefaultNetwork, Host, HostOptions, NetworkRequest};

fn open(dir: &std::path::Path, default: DefaultNetwork, pools: &[&str]) -> Host {
    let pools = pools.iter().map(|pool| pool.parse().expect("a pool")).collect();
    Host::open(HostOptions { default, pools, ..options(dir) }).expect("networks")
}

#[test]
fn addresses_are_those_that_are_set() {
    alone("addresses_are_those_that_are_set", |dir| {
        let set = DefaultNetwork {
            address: "10.5.0.7/16".parse().ok(),
            range: "10.5.1.0/24".parse().ok(),
            gateway: "10.5.0.9".parse().ok(),
            range6: "fd00:5::/64".parse().ok(),
            ipv6: true,
            mtu: 1400,
            binding: "127.0.0.1".parse().ok(),
            ..DefaultNetwork::standard()
        };
        let networks = open(dir, set.clone(), &[]);
        let one = networks.sandbox(&bridged("one", &[tcp(None, 8080, 80)])).expect("a sandbox");
        let endpoint = &one.endpoints[0];
        assert_eq!(endpoint.ipv4.expect("one").to_string(), "10.5.1.0");
        assert_eq!(endpoint.gateway.expect("one").to_string(), "10.5.0.9");
        assert_eq!(endpoint.ipv6.expect("one").to_string(), "fd00:5::2");
        let _server = serve(&one.path, 80);
        // The host is at its own address, not at that of the way out.
        assert_eq!(ask("10.5.1.0", 80).as_deref(), Some("10.5.0.7"));
        assert_eq!(ask("fd00:5::2", 80).as_deref(), Some("fd00:5::1"));
        assert_eq!(ask("127.0.0.1", 8080).as_deref(), Some("10.5.0.7"));
        assert!(is_closed("10.5.0.7", 8080), "published at 127.0.0.1 alone");
        let name = networks.default_network().expect("it").interface;
        assert_eq!(mtu_of(&name), "1400");
        assert_eq!(inside(&one.path, || mtu_of("eth0")), "1400");
        // While a container is in it, it stays as it is; then it is as it is set.
        drop(networks);
        let other =
            DefaultNetwork { address: "10.6.0.1/16".parse().ok(), ..DefaultNetwork::standard() };
        let networks = open(dir, other.clone(), &[]);
        assert_eq!(ask("10.5.1.0", 80).as_deref(), Some("10.5.0.7"));
        assert_eq!(mtu_of(&name), "1500");
        networks.release(&one.id).expect("an end");
        drop(networks);
        let networks = open(dir, other, &[]);
        let two = networks.sandbox(&bridged("two", &[])).expect("a sandbox");
        assert_eq!(two.endpoints[0].ipv4.expect("one").to_string(), "10.6.0.2");
    });
}

fn mtu_of(device: &str) -> String {
    // The test's /sys shows the machine's devices, not those of this namespace.
    let told = common::ip_told(&format!("-o link show dev {device}"));
    let mut words = told.split_whitespace().skip_while(|word| *word != "mtu").skip(1);
    words.next().expect("a number").to_owned()
}

#[test]
fn containers_talk_and_go_out_only_where_that_is_set() {
    alone("containers_talk_and_go_out_only_where_that_is_set", |dir| {
        let set = DefaultNetwork { icc: false, masquerade: false, ..DefaultNetwork::standard() };
        let networks = open(dir, set, &[]);
        let outside = outside(&networks);
        let one = networks.sandbox(&bridged("one", &[])).expect("a sandbox");
        let two = networks.sandbox(&bridged("two", &[])).expect("a sandbox");
        let _servers = [serve(&one.path, 80), serve(&outside.path, 7)];
        let to_one = one.endpoints[0].ipv4.expect("an address").to_string();
        assert!(inside(&two.path, || is_closed(&to_one, 80)));
        assert!(ask(&to_one, 80).is_some());
        // Who is asked sees the container's own address.
        assert_eq!(inside(&one.path, || ask("192.0.2.2", 7)).as_deref(), Some(to_one.as_str()));
    });
}

#[test]
fn a_bridge_of_somebody_else_s_is_used_and_stays() {
    alone("a_bridge_of_somebody_else_s_is_used_and_stays", |dir| {
        let set =
            DefaultNetwork { interface: Some("theirs".to_owned()), ..DefaultNetwork::standard() };
        let networks = open(dir, set.clone(), &[]);
        let refused = networks.sandbox(&bridged("one", &[])).expect_err("there is none");
        assert_eq!(
            refused.to_string(),
            "bridge device with non default name theirs must be created manually"
        );
        ip("link add theirs type bridge");
        ip("addr add 10.7.0.3/24 dev theirs");
        let one = networks.sandbox(&bridged("one", &[])).expect("a sandbox");
        assert_eq!(one.endpoints[0].gateway.expect("one").to_string(), "10.7.0.3");
        let _server = serve(&one.path, 80);
        let to_one = one.endpoints[0].ipv4.expect("an address").to_string();
        assert_eq!(ask(&to_one, 80).as_deref(), Some("10.7.0.3"));
        networks.dismantle().expect("an end");
        ip("link show dev theirs");
        let set = DefaultNetwork { is_absent: true, ..DefaultNetwork::standard() };
        let networks = open(dir, set, &[]);
        assert!(!networks.has_default());
        let refused = networks.sandbox(&bridged("one", &[])).expect_err("there is none");
        assert_eq!(refused.to_string(), "network bridge not found");
        networks.sandbox(&none("two")).expect("without a network");
    });
}

#[test]
fn subnets_come_from_the_pools_that_are_set() {
    alone("subnets_come_from_the_pools_that_are_set", |dir| {
        let pools = ["base=10.10.0.0/23,size=24", "base=fd00:10::/48,size=64"];
        let networks = open(dir, DefaultNetwork::standard(), &pools);
        let request = |key: char, ipv6| NetworkRequest {
            key: key.to_string().repeat(64),
            name: key.to_string(),
            ipv6: Some(ipv6),
            ..NetworkRequest::default()
        };
        let one = networks.create_network(&request('1', true)).expect("a network");
        let subnet = |addresses: &Option<dhow_network::Addresses>| {
            addresses.as_ref().map(|one| one.subnet.to_string()).unwrap_or_default()
        };
        assert_eq!(
            (subnet(&one.ipv4), subnet(&one.ipv6)),
            ("10.10.1.0/24".into(), "fd00:10::/64".into())
        );
        // The first is kept for the default network.
        let default = networks.sandbox(&bridged("one", &[])).expect("a sandbox");
        assert_eq!(default.endpoints[0].ipv4.expect("one").to_string(), "10.10.0.2");
        let none = networks.create_network(&request('2', false)).expect_err("all are taken");
        assert!(none.to_string().starts_with("could not find an available"), "{none}");
    });
}
