//! Networks that users make, with real packets: who reaches whom, by which kind of addresses, and what is left
//! of those that come and go.

mod common;

use std::collections::BTreeMap;

use common::{alone, ask, at, host, id, inside, ip, is_closed, none, options, serve, tcp};
use dhow_network::{
    EndpointRequest, Host, HostOptions, NetworkConfig, NetworkError, NetworkRequest, PoolRequest,
    RESOLVER_SOCKET, SandboxRequest,
};

fn key(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

/// A network of which nothing special is asked.
fn plain(number: u8, name: &str) -> NetworkRequest {
    NetworkRequest { key: key(number), name: name.to_owned(), ..NetworkRequest::default() }
}

fn with(request: NetworkRequest, options: &[(&str, &str)]) -> NetworkRequest {
    let options = options.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    NetworkRequest { options, ..request }
}

fn pool(subnet: &str) -> PoolRequest {
    PoolRequest { subnet: subnet.to_owned(), ..PoolRequest::default() }
}

fn in_networks(name: &str, networks: &[&NetworkConfig]) -> SandboxRequest {
    SandboxRequest { endpoints: networks.iter().map(|one| at(&one.key)).collect(), ..none(name) }
}

fn words<T>(result: Result<T, NetworkError>) -> String {
    result.map(drop).expect_err("an error").to_string()
}

fn address(sandbox: &dhow_network::Sandbox, number: usize) -> String {
    sandbox.endpoints[number].ipv4.expect("an address").to_string()
}

#[test]
fn networks_are_closed_to_each_other_and_a_sandbox_may_be_in_several() {
    alone("networks_are_closed_to_each_other_and_a_sandbox_may_be_in_several", |dir| {
        let networks = host(dir);
        let front = networks.create_network(&plain(1, "front")).expect("a network");
        let back = networks.create_network(&plain(2, "back")).expect("a network");
        let subnet = |config: &NetworkConfig| config.ipv4.as_ref().expect("it").subnet.to_string();
        assert_eq!(
            (subnet(&front), subnet(&back)),
            ("172.18.0.0/16".into(), "172.19.0.0/16".into())
        );
        let web = networks.sandbox(&in_networks("web", &[&front])).expect("a sandbox");
        let app = networks.sandbox(&in_networks("app", &[&front, &back])).expect("a sandbox");
        let db = networks.sandbox(&in_networks("db", &[&back])).expect("a sandbox");
        assert_eq!(app.endpoints[1].interface, "eth1");
        // Of equal ones the first by name leads out.
        assert!(app.endpoints[0].gateway.is_none() && app.endpoints[1].gateway.is_some());
        let _servers = [&web, &app, &db].map(|one| serve(&one.path, 80));
        let (to_app, to_db) = (address(&app, 0), address(&db, 0));
        assert!(inside(&web.path, || ask(&to_app, 80)).is_some());
        assert!(inside(&app.path, || ask(&to_db, 80)).is_some());
        assert!(inside(&web.path, || is_closed(&to_db, 80)));
        assert!(inside(&db.path, || is_closed(&to_app, 80)));
        assert!(words(networks.remove_network(&front.key)).contains("has active endpoints"));
        for one in [&web, &app, &db] {
            networks.release(&one.id).expect("an end");
        }
        networks.remove_network(&front.key).expect("an end");
        networks.remove_network(&front.key).expect("no error");
        assert_eq!(
            words(networks.sandbox(&in_networks("late", &[&front]))),
            format!("network {} not found", front.key)
        );
    });
}

#[test]
fn a_sandbox_in_use_comes_into_networks_and_leaves_them() {
    alone("a_sandbox_in_use_comes_into_networks_and_leaves_them", |dir| {
        let networks = host(dir);
        let front = networks.create_network(&plain(1, "front")).expect("a network");
        let back = networks.create_network(&plain(2, "back")).expect("a network");
        let request =
            SandboxRequest { ports: vec![tcp(None, 8080, 80)], ..in_networks("app", &[&front]) };
        let app = networks.sandbox(&request).expect("a sandbox");
        let db = networks.sandbox(&in_networks("db", &[&back])).expect("a sandbox");
        let _servers = [serve(&app.path, 80), serve(&db.path, 80)];
        let to_db = address(&db, 0);
        assert!(inside(&app.path, || is_closed(&to_db, 80)));
        let more = networks.connect(&app.id, &at(&back.key)).expect("one more");
        assert!(inside(&app.path, || ask(&to_db, 80)).is_some());
        assert!(words(networks.connect(&app.id, &at(&back.key))).contains("already exists"));
        assert_eq!(more.endpoints.len(), 2);
        // Ports go with the way out.
        assert!(ask("127.0.0.1", 8080).is_some());
        let less = networks.disconnect(&app.id, &front.key, false).expect("one less");
        assert_eq!(less.endpoints.len(), 1);
        assert!(less.endpoints[0].gateway.is_some());
        assert_eq!(less.endpoints[0].ports.len(), 2);
        assert!(ask("127.0.0.1", 8080).is_some());
        assert!(
            words(networks.disconnect(&app.id, &front.key, false)).contains("is not connected")
        );
        networks.disconnect(&app.id, &back.key, false).expect("none left");
        assert!(is_closed("127.0.0.1", 8080));
        // A later engine finds the same.
        drop(networks);
        let known = vec![front, back.clone()];
        let networks =
            Host::open(HostOptions { networks: known, ..options(dir) }).expect("networks");
        assert_eq!(networks.adopt(&app.id).expect("it").endpoints, []);
        networks.connect(&app.id, &at(&back.key)).expect("back again");
        assert!(inside(&app.path, || ask(&to_db, 80)).is_some());
    });
}

#[test]
fn ports_come_and_go_while_a_sandbox_is_in_use() {
    alone("ports_come_and_go_while_a_sandbox_is_in_use", |dir| {
        let networks = host(dir);
        let front = networks.create_network(&plain(1, "front")).expect("a network");
        let app = networks.sandbox(&in_networks("app", &[&front])).expect("a sandbox");
        let _server7 = serve(&app.path, 80);
        networks
            .publish(&app.id, "app", &[tcp(None, 8080, 80), tcp(None, 8081, 80)])
            .expect("ports");
        assert!(ask("127.0.0.1", 8080).is_some() && ask("127.0.0.1", 8081).is_some());
        assert!(
            words(networks.publish(&app.id, "app", &[tcp(None, 8081, 81)])).contains("allocated")
        );
        let tcp = dhow_network::Protocol::Tcp;
        networks.unpublish(&app.id, &[(80, tcp, Some(8081))]).expect("fewer");
        assert!(ask("127.0.0.1", 8080).is_some() && is_closed("127.0.0.1", 8081));
        networks.unpublish(&app.id, &[(80, tcp, None)]).expect("none");
        assert!(is_closed("127.0.0.1", 8080));
    });
}

#[test]
fn nothing_leaves_an_internal_network_and_nobody_talks_where_that_is_off() {
    alone("nothing_leaves_an_internal_network_and_nobody_talks_where_that_is_off", |dir| {
        let networks = host(dir);
        let request = NetworkRequest { internal: true, ..plain(1, "inner") };
        let inner = networks.create_network(&request).expect("a network");
        let request = with(plain(2, "mute"), &[("com.docker.network.bridge.enable_icc", "false")]);
        let mute = networks.create_network(&request).expect("a network");
        let one = networks.sandbox(&in_networks("one", &[&inner])).expect("a sandbox");
        let two = networks.sandbox(&in_networks("two", &[&inner])).expect("a sandbox");
        assert!(one.endpoints[0].gateway.is_none());
        let _server8 = serve(&two.path, 80);
        let to_two = address(&two, 0);
        assert!(inside(&one.path, || ask(&to_two, 80)).is_some());
        // Even with a way, the host lets nothing out.
        ip("link add outside type bridge");
        ip("addr add 192.0.2.1/24 dev outside");
        ip("link set outside up");
        let gateway = inner.ipv4.as_ref().and_then(|one| one.gateway).expect("a gateway");
        inside(&one.path, || ip(&format!("route add default via {gateway}")));
        assert!(inside(&one.path, || is_closed("192.0.2.2", 80)));
        let three = networks.sandbox(&in_networks("three", &[&mute])).expect("a sandbox");
        let four = networks.sandbox(&in_networks("four", &[&mute])).expect("a sandbox");
        let _server9 = serve(&four.path, 80);
        let to_four = address(&four, 0);
        assert!(inside(&three.path, || is_closed(&to_four, 80)));
        assert!(ask(&to_four, 80).is_some());
    });
}

#[test]
fn ipv6_has_addresses_of_its_own_and_published_ports() {
    alone("ipv6_has_addresses_of_its_own_and_published_ports", |dir| {
        let networks = host(dir);
        let request = NetworkRequest { ipv6: Some(true), ..plain(1, "six") };
        let six = networks.create_network(&request).expect("a network");
        let own = six.ipv6.as_ref().expect("addresses").subnet;
        assert!(own.to_string().starts_with("fd") && own.prefix() == 64);
        let ports = vec![tcp(None, 8080, 80)];
        let one = networks
            .sandbox(&SandboxRequest { ports, ..in_networks("one", &[&six]) })
            .expect("a sandbox");
        let two = networks.sandbox(&in_networks("two", &[&six])).expect("a sandbox");
        let _server10 = serve(&one.path, 80);
        let to_one = one.endpoints[0].ipv6.expect("an address").to_string();
        assert!(inside(&two.path, || ask(&to_one, 80)).is_some());
        // By an address of the host, and from a neighbour; by [::1] only a monitor can.
        ip("addr add fd00:2::1/64 dev lo nodad");
        assert!(ask("fd00:2::1", 8080).is_some());
        assert!(inside(&two.path, || ask("fd00:2::1", 8080)).is_some());
        let forwards = one.forwards();
        assert_eq!(forwards.len(), 1);
        assert_eq!(forwards[0].listen.to_string(), "[::1]:8080");
    });
}

#[test]
fn addresses_are_those_that_were_asked_for() {
    alone("addresses_are_those_that_were_asked_for", |dir| {
        let networks = host(dir);
        let pool = PoolRequest {
            range: "10.9.5.0/24".to_owned(),
            gateway: "10.9.0.9".to_owned(),
            auxiliary: BTreeMap::from([("x".to_owned(), "10.9.5.0".to_owned())]),
            ..pool("10.9.0.0/16")
        };
        let request = NetworkRequest { pools: vec![pool.clone()], ..plain(1, "mine") };
        let mine = networks.create_network(&request).expect("a network");
        let one = networks.sandbox(&in_networks("one", &[&mine])).expect("a sandbox");
        assert_eq!(address(&one, 0), "10.9.5.1");
        assert_eq!(one.endpoints[0].gateway.expect("one").to_string(), "10.9.0.9");
        let certain = |name: &str, ipv4: &str| {
            let endpoint = EndpointRequest {
                ipv4: Some(ipv4.parse().expect("an address")),
                mac: "02:00:00:00:00:07".parse().ok(),
                interface: Some("lan7".to_owned()),
                ..at(&mine.key)
            };
            networks.sandbox(&SandboxRequest { endpoints: vec![endpoint], ..none(name) })
        };
        let two = certain("two", "10.9.77.7").expect("a sandbox");
        assert_eq!(address(&two, 0), "10.9.77.7");
        inside(&two.path, || ip("link show dev lan7"));
        assert_eq!(words(certain("three", "10.9.77.7")), "Address already in use");
        assert!(words(certain("three", "10.8.0.1")).starts_with("no configured subnet"));
        let overlap = NetworkRequest { pools: vec![pool], ..plain(2, "theirs") };
        assert_eq!(
            words(networks.create_network(&overlap)),
            "invalid pool request: Pool overlaps with other one on this address space"
        );
        let none = NetworkRequest { ipv4: Some(false), ..plain(3, "none") };
        assert_eq!(words(networks.create_network(&none)), "IPv4 or IPv6 must be enabled");
    });
}

#[test]
fn questions_for_names_arrive_where_somebody_listens() {
    alone("questions_for_names_arrive_where_somebody_listens", |dir| {
        let networks = host(dir);
        let front = networks.create_network(&plain(1, "front")).expect("a network");
        let one = networks.sandbox(&in_networks("one", &[&front])).expect("a sandbox");
        inside(&one.path, || {
            // Port 53 is the container's own, whatever its address.
            let own = std::net::UdpSocket::bind("0.0.0.0:53").expect("a port");
            let names = std::net::UdpSocket::bind(RESOLVER_SOCKET).expect("a port");
            let client = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
            let limit = Some(std::time::Duration::from_secs(2));
            for socket in [&own, &names, &client] {
                socket.set_read_timeout(limit).expect("a limit");
            }
            client.send_to(b"who?", "127.0.0.11:53").expect("a question");
            let (_, from) = names.recv_from(&mut [0; 8]).expect("a question");
            names.send_to(b"me", from).expect("an answer");
            let (_, from) = client.recv_from(&mut [0; 8]).expect("an answer");
            assert_eq!(from.to_string(), "127.0.0.11:53");
            client.send_to(b"who?", "127.0.0.1:53").expect("a question");
            own.recv_from(&mut [0; 8]).expect("its own question");
        });
    });
}

#[test]
fn what_an_engine_did_not_record_goes_with_the_next() {
    alone("what_an_engine_did_not_record_goes_with_the_next", |dir| {
        let networks = host(dir);
        let front = networks.create_network(&plain(1, "front")).expect("a network");
        let lost = networks.create_network(&plain(2, "lost")).expect("a network");
        let one = networks.sandbox(&in_networks("one", &[&front])).expect("a sandbox");
        drop(networks);
        let known = vec![front.clone()];
        let networks =
            Host::open(HostOptions { networks: known, ..options(dir) }).expect("networks");
        let devices = || {
            let mut links = dhow_sys::Links::open().expect("a socket");
            let links = links.list().expect("devices");
            links
                .into_iter()
                .map(|link| link.name.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
        };
        assert!(!devices().contains(&lost.interface) && devices().contains(&front.interface));
        assert!(networks.adopt(&id("one")).is_ok());
        // Somebody else's bridge is left alone.
        ip("link add theirs type bridge");
        let request = with(plain(3, "own"), &[("com.docker.network.bridge.name", "theirs")]);
        let own = networks.create_network(&request).expect("a network");
        assert!(own.is_foreign);
        networks.remove_network(&own.key).expect("an end");
        networks.release(&one.id).expect("an end");
        networks.remove_network(&front.key).expect("an end");
        assert!(devices().contains(&"theirs".to_owned()) && !devices().contains(&front.interface));
    });
}
