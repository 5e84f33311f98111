//! A host between containers and a neighbour outside, with firewalls of its own: what of it is reached from where,
//! under which address, by IPv4 and by IPv6.

mod common;

use std::net::UdpSocket;
use std::time::Duration;

use common::{
    alone, ask, at, host, inside, ip, is_closed, nft, nft_told, none, options, outside, serve, tcp,
};
use dhow_network::{
    Host, HostOptions, NetworkConfig, NetworkRequest, PortMapping, Protocol, Sandbox,
    SandboxRequest,
};

fn network(networks: &Host, number: u8, options: &[(&str, &str)]) -> NetworkConfig {
    let request = NetworkRequest {
        key: number.to_string().repeat(64),
        name: format!("n{number}"),
        ipv6: Some(true),
        options: options.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
        ..NetworkRequest::default()
    };
    networks.create_network(&request).expect("a network")
}

fn within(networks: &Host, name: &str, network: &NetworkConfig, ports: &[PortMapping]) -> Sandbox {
    let endpoints = vec![at(&network.key)];
    let request = SandboxRequest { endpoints, ports: ports.to_vec(), ..none(name) };
    networks.sandbox(&request).expect("a sandbox")
}

fn addresses(sandbox: &Sandbox) -> [String; 2] {
    let endpoint = &sandbox.endpoints[0];
    [endpoint.ipv4.expect("one").to_string(), endpoint.ipv6.expect("one").to_string()]
}

/// The host's address in a network, of both kinds.
fn gateways(network: &NetworkConfig) -> [String; 2] {
    let of = |addresses: &Option<dhow_network::Addresses>| {
        addresses.as_ref().and_then(|one| one.gateway).expect("one").to_string()
    };
    [of(&network.ipv4), of(&network.ipv6)]
}

const HOST: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const OUTSIDE: [&str; 2] = ["192.0.2.2", "2001:db8::2"];

#[test]
fn published_ports_are_reached_from_everywhere_under_the_right_address() {
    alone("published_ports_are_reached_from_everywhere_under_the_right_address", |dir| {
        let networks = host(dir);
        let outside = outside(&networks);
        let (one, two) = (network(&networks, 1, &[]), network(&networks, 2, &[]));
        let web = within(&networks, "web", &one, &[tcp(None, 8080, 80)]);
        let near = within(&networks, "near", &one, &[]);
        let far = within(&networks, "far", &two, &[]);
        let _servers = [serve(&web.path, 80), serve(&outside.path, 7)];
        let (own, gateway) = (addresses(&web), gateways(&one));
        for kind in [0, 1] {
            let by_host = || ask(HOST[kind], 8080);
            // Who is outside, or in another network, keeps its address.
            assert_eq!(inside(&outside.path, by_host).as_deref(), Some(OUTSIDE[kind]));
            assert_eq!(inside(&far.path, by_host), Some(addresses(&far)[kind].clone()));
            assert_eq!(by_host().as_deref(), Some(HOST[kind]));
            // Neighbours and the container itself come back from the gateway.
            assert_eq!(inside(&near.path, by_host).as_ref(), Some(&gateway[kind]));
            assert_eq!(inside(&web.path, by_host).as_ref(), Some(&gateway[kind]));
            assert!(inside(&near.path, || ask(&own[kind], 80)).is_some());
            // Past the published port nobody comes in.
            assert!(inside(&outside.path, || is_closed(&own[kind], 80)));
            assert!(inside(&far.path, || is_closed(&own[kind], 80)));
            // They go out under the host's address.
            let out = || ask(OUTSIDE[kind], 7);
            assert_eq!(inside(&far.path, out).as_deref(), Some(HOST[kind]));
        }
    });
}

#[test]
fn gateway_modes_say_how_the_world_comes_in() {
    alone("gateway_modes_say_how_the_world_comes_in", |dir| {
        let networks = host(dir);
        let outside = outside(&networks);
        let both = |mode| {
            [
                ("com.docker.network.bridge.gateway_mode_ipv4", mode),
                ("com.docker.network.bridge.gateway_mode_ipv6", mode),
            ]
        };
        let open = network(&networks, 1, &both("nat-unprotected"));
        let routed = network(&networks, 2, &both("routed"));
        let alone = [both("isolated")[0], both("isolated")[1]];
        let isolated = NetworkRequest {
            key: "3".repeat(64),
            name: "n3".to_owned(),
            internal: true,
            options: alone.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            ..NetworkRequest::default()
        };
        let isolated = networks.create_network(&isolated).expect("a network");
        let web = within(&networks, "web", &open, &[]);
        let app = within(&networks, "app", &routed, &[tcp(None, 8080, 80)]);
        let _servers = [
            serve(&web.path, 80),
            serve(&app.path, 80),
            serve(&app.path, 81),
            serve(&outside.path, 7),
        ];
        for kind in [0, 1] {
            let (to_web, to_app) = (&addresses(&web)[kind], &addresses(&app)[kind]);
            assert!(inside(&outside.path, || ask(to_web, 80)).is_some(), "every port");
            // By its own address and at its own port; the others stay closed, and the host has none.
            let seen = inside(&outside.path, || ask(to_app, 80));
            assert_eq!(seen.as_deref(), Some(OUTSIDE[kind]));
            assert!(inside(&outside.path, || is_closed(to_app, 81)));
            assert!(inside(&outside.path, || is_closed(HOST[kind], 8080)));
            let out = inside(&app.path, || ask(OUTSIDE[kind], 7));
            assert_eq!(out.as_ref(), Some(to_app), "under its own address");
        }
        // Of an isolated one the host has no address.
        let lonely = within_ipv4(&networks, "lonely", &isolated);
        assert!(is_closed(&lonely, 80));
        let told = common::ip_told(&format!("-brief -4 addr show dev {}", isolated.interface));
        assert!(!told.contains("172."), "{told}");
    });
}

fn within_ipv4(networks: &Host, name: &str, network: &NetworkConfig) -> String {
    let sandbox = within(networks, name, network, &[]);
    sandbox.endpoints[0].ipv4.expect("one").to_string()
}

#[test]
fn datagrams_reach_published_ports_from_everywhere() {
    alone("datagrams_reach_published_ports_from_everywhere", |dir| {
        let networks = host(dir);
        let outside = outside(&networks);
        let one = network(&networks, 1, &[]);
        let port = PortMapping { protocol: Protocol::Udp, ..tcp(None, 8053, 53) };
        let web = within(&networks, "web", &one, &[port]);
        let near = within(&networks, "near", &one, &[]);
        let server = inside(&web.path, || UdpSocket::bind("[::]:53").expect("a port"));
        std::thread::spawn(move || {
            let mut bytes = [0; 16];
            while let Ok((_, from)) = server.recv_from(&mut bytes) {
                let seen = from.ip().to_canonical().to_string();
                let _ = server.send_to(seen.as_bytes(), from);
            }
        });
        let asked = |to: &str| {
            let client = UdpSocket::bind("[::]:0").expect("a port");
            client.set_read_timeout(Some(Duration::from_secs(5))).expect("a limit");
            let to: std::net::IpAddr = to.parse().expect("an address");
            let to = match to {
                std::net::IpAddr::V4(to) => to.to_ipv6_mapped().into(),
                to => to,
            };
            client.send_to(b"?", (to, 8053)).expect("sent");
            let mut bytes = [0; 64];
            let length = client.recv(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
        };
        for kind in [0, 1] {
            assert_eq!(asked(HOST[kind]).as_deref(), Some(HOST[kind]));
            let seen = inside(&outside.path, || asked(HOST[kind]));
            assert_eq!(seen.as_deref(), Some(OUTSIDE[kind]));
            let seen = inside(&near.path, || asked(HOST[kind]));
            assert_eq!(seen, Some(gateways(&one)[kind].clone()));
        }
        assert_eq!(asked("127.0.0.1"), Some(gateways(&one)[0].clone()));
    });
}

#[test]
fn firewalls_of_others_are_left_alone_and_obeyed() {
    alone("firewalls_of_others_are_left_alone_and_obeyed", |dir| {
        let networks = host(dir);
        let outside = outside(&networks);
        let one = network(&networks, 1, &[]);
        let web = within(&networks, "web", &one, &[tcp(None, 8080, 80)]);
        let _servers = [serve(&web.path, 80), serve(&outside.path, 7)];
        let comes_in = || inside(&outside.path, || ask(HOST[0], 8080)).is_some();
        let goes_out = || inside(&web.path, || ask(OUTSIDE[0], 7)).is_some();
        let (no_way_in, no_way_out) = (
            || inside(&outside.path, || is_closed(HOST[0], 8080)),
            || inside(&web.path, || is_closed(OUTSIDE[0], 7)),
        );
        assert!(comes_in() && goes_out());
        assert_eq!(networks.obstacles().expect("an answer").len(), 0);
        // A chain that drops what it does not know, as firewalls and dockerd make them.
        nft("add table ip strict");
        nft("add chain ip strict FORWARD { type filter hook forward priority 0 ; policy drop ; }");
        assert!(no_way_in() && no_way_out());
        let told = networks.obstacles().expect("an answer");
        let told = told.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(
            told.starts_with("the chain ip strict FORWARD drops what it does not know"),
            "{told}"
        );
        // What is told helps.
        let (_, rules) = told.split_once(": ").expect("rules");
        rules.split("; ").for_each(|rule| nft(rule.trim_start_matches("nft ")));
        assert!(comes_in() && goes_out());
        nft("delete table ip strict");
        // Users' own rules have their place, and keep it whatever becomes of ours.
        nft("add rule inet dhow-user forward ip saddr 192.0.2.2 drop");
        // Answers come from there, too.
        assert!(no_way_in() && no_way_out());
        let users = nft_told("list table inet dhow-user");
        drop(networks);
        let networks = Host::open(HostOptions { networks: vec![one.clone()], ..options(dir) });
        let networks = networks.expect("networks");
        networks.repair().expect("rules");
        assert_eq!(nft_told("list table inet dhow-user"), users);
        assert!(no_way_in());
        nft("flush chain inet dhow-user forward");
        assert!(comes_in());
        // Whoever flushes all rules does not end containers' connections for long.
        nft("flush ruleset");
        networks.repair().expect("rules");
        assert!(comes_in() && goes_out());
    });
}

#[test]
fn nothing_of_others_is_changed_by_a_whole_life() {
    alone("nothing_of_others_is_changed_by_a_whole_life", |dir| {
        ip("link add theirs type bridge");
        ip("addr add 172.18.0.1/16 dev theirs");
        ip("link set theirs up");
        nft("add table inet theirs");
        nft("add chain inet theirs f { type filter hook forward priority 0 ; policy accept ; }");
        nft("add rule inet theirs f tcp dport 22 accept");
        let rules = || nft_told("list table inet theirs");
        let devices = || common::ip_told("-o addr show dev theirs");
        let before = (rules(), devices());
        let networks = host(dir);
        let one = network(&networks, 1, &[]);
        // The address that is somebody's is not chosen.
        assert_eq!(one.ipv4.as_ref().expect("one").subnet.to_string(), "172.19.0.0/16");
        let web = within(&networks, "web", &one, &[tcp(None, 8080, 80)]);
        assert_eq!((rules(), devices()), before);
        networks.release(&web.id).expect("an end");
        networks.remove_network(&one.key).expect("an end");
        networks.dismantle().expect("an end");
        assert_eq!((rules(), devices()), before);
        let tables = nft_told("list tables");
        assert_eq!(tables.matches("dhow-").count(), 1, "only the users' own stays: {tables}");
    });
}
