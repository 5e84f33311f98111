//! Published ports: who has them, what is said when somebody else does, and that nothing stays of them.

mod common;

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;

use common::{alone, ask, bridged, host, id, inside, serve, tcp};
use dhow_network::{Host, NetworkClass, NetworkError, PortMapping, Protocol};

/// The words behind those that every such failure begins with.
fn refused(networks: &Host, name: &str, ports: &[PortMapping]) -> String {
    let error = networks.sandbox(&bridged(name, ports)).expect_err("a port in use");
    assert!(error.to_string().starts_with(&format!(
        "driver failed programming external connectivity on endpoint {name} ({name}): "
    )));
    assert_eq!(error.class(), NetworkClass::Internal);
    assert!(networks.adopt(&id(name)).is_err());
    match error {
        NetworkError::Publish { fault, .. } => fault.to_string(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_port_in_use_is_refused_before_anything_is_made() {
    alone("a_port_in_use_is_refused_before_anything_is_made", |dir| {
        let networks = host(dir);
        networks.sandbox(&bridged("one", &[tcp(None, 8080, 80)])).expect("a sandbox");
        // Another sandbox has it.
        for address in [None, Some("127.0.0.1"), Some("0.0.0.0")] {
            let shown = address.unwrap_or("0.0.0.0");
            let words = format!("Bind for {shown}:8080 failed: port is already allocated");
            assert_eq!(refused(&networks, "two", &[tcp(address, 8080, 80)]), words);
        }
        // A program of the host has it.
        let program = TcpListener::bind((Ipv4Addr::LOCALHOST, 9090)).expect("a port");
        let words = "failed to bind host port for 0.0.0.0:9090:172.17.0.6:80/tcp: \
                     address already in use";
        assert_eq!(refused(&networks, "two", &[tcp(None, 9090, 80)]), words);
        // The host has no such address.
        let words = "failed to bind host port for 192.0.2.77:99:172.17.0.7:80/tcp: \
                     cannot assign requested address";
        assert_eq!(refused(&networks, "two", &[tcp(Some("192.0.2.77"), 99, 80)]), words);
        // The first of two is not kept when the second fails.
        refused(&networks, "two", &[tcp(None, 7070, 80), tcp(None, 8080, 80)]);
        drop(program);
        let ports = [tcp(None, 7070, 80), tcp(None, 9090, 80)];
        networks.sandbox(&bridged("two", &ports)).expect("all of them are free");
        // And no program can have what a sandbox has.
        assert!(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).is_err());
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, 9090)).is_err());
        networks.release(&id("one")).expect("an end");
        networks.release(&id("two")).expect("an end");
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).expect("free again");
    });
}

#[test]
fn connections_that_are_over_are_in_nobody_s_way() {
    alone("connections_that_are_over_are_in_nobody_s_way", |dir| {
        let networks = host(dir);
        // A server that closes first leaves its end of the connection to be forgotten.
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 8080)).expect("a port");
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, 8080)).expect("a connection");
        drop(server.accept().expect("a connection"));
        drop(server);
        drop(client);
        networks.sandbox(&bridged("one", &[tcp(None, 8080, 80)])).expect("a sandbox");
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, 8080)).is_err());
    });
}

#[test]
fn ports_are_chosen_from_ranges_and_from_all() {
    alone("ports_are_chosen_from_ranges_and_from_all", |dir| {
        let networks = host(dir);
        let range = PortMapping { host_port: Some((8000, 8002)), ..tcp(None, 1, 80) };
        let any = PortMapping { host_port: None, ..range };
        // The certain one is taken first, wherever it stands.
        let request = bridged("one", &[range, any, tcp(None, 8000, 81)]);
        let made = networks.sandbox(&request).expect("a sandbox");
        // Each at both kinds of addresses.
        let ports: Vec<_> = made.endpoints[0].ports.chunks(2).map(|both| both[0]).collect();
        assert_eq!(made.endpoints[0].ports[1].host_ip, Ipv6Addr::UNSPECIFIED);
        assert_eq!(made.endpoints[0].ports[1].host_port, 8001);
        assert_eq!(ports[0].host_port, 8001);
        assert_eq!(ports[2].host_port, 8000);
        assert!(ports[1].host_port > 1024);
        assert_eq!(ports[1].host_ip, Ipv4Addr::UNSPECIFIED);
        networks.sandbox(&bridged("two", &[range])).expect("the last one");
        assert_eq!(refused(&networks, "three", &[range]), "all ports are allocated");
    });
}

/// A server of one question, that answers with its own name.
fn answer_once(path: &Path, port: u16, name: &'static str) {
    inside(path, || {
        let server = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("a port");
        std::thread::spawn(move || {
            let (_, from) = server.recv_from(&mut [0; 64]).expect("a question");
            server.send_to(name.as_bytes(), from).expect("an answer");
        });
    });
}

/// Asks from a port that stays the same.
fn ask_by_udp(client: &UdpSocket, port: u16) -> Option<String> {
    client.send_to(b"who?", (Ipv4Addr::LOCALHOST, port)).expect("a question");
    let mut bytes = [0; 64];
    let (length, from) = client.recv_from(&mut bytes).ok()?;
    assert_eq!(from.port(), port);
    Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

#[test]
fn every_protocol_has_its_own_ports() {
    alone("every_protocol_has_its_own_ports", |dir| {
        let networks = host(dir);
        let udp = PortMapping { protocol: Protocol::Udp, ..tcp(None, 5353, 53) };
        let sctp = PortMapping { protocol: Protocol::Sctp, ..udp };
        let ports = [tcp(None, 5353, 53), udp, sctp];
        let one = networks.sandbox(&bridged("one", &ports)).expect("a sandbox");
        assert!(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353)).is_err());
        answer_once(&one.path, 53, "one");
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        client.set_read_timeout(Some(std::time::Duration::from_secs(3))).expect("a limit");
        assert_eq!(ask_by_udp(&client, 5353).as_deref(), Some("one"));
    });
}

#[test]
fn a_client_that_goes_on_sending_is_heard_by_who_has_the_port_now() {
    alone("a_client_that_goes_on_sending_is_heard_by_who_has_the_port_now", |dir| {
        let networks = host(dir);
        networks.sandbox(&bridged("first", &[])).expect("a network");
        let udp = PortMapping { protocol: Protocol::Udp, ..tcp(None, 5353, 53) };
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        client.set_read_timeout(Some(std::time::Duration::from_secs(1))).expect("a limit");
        for name in ["one", "two"] {
            // Nobody has the port, and the kernel remembers that it was not redirected.
            assert_eq!(ask_by_udp(&client, 5353), None);
            let sandbox = networks.sandbox(&bridged(name, &[udp])).expect("a sandbox");
            answer_once(&sandbox.path, 53, name);
            assert_eq!(ask_by_udp(&client, 5353).as_deref(), Some(name));
            networks.release(&sandbox.id).expect("an end");
        }
    });
}

#[test]
fn ten_thousand_ports_are_ten_thousand_elements() {
    alone("ten_thousand_ports_are_ten_thousand_elements", |dir| {
        let networks = host(dir);
        let ports: Vec<_> = (10_000..20_000).map(|port| tcp(None, port, port)).collect();
        let many = networks.sandbox(&bridged("many", &ports)).expect("a sandbox");
        let certain = [10_000, 14_567, 19_999];
        let _servers = certain.map(|port| serve(&many.path, port));
        for port in certain {
            assert!(ask("127.0.0.1", port).is_some(), "{port}");
        }
        drop(networks);
        // All of them are found again, and none is left behind.
        let networks = host(dir);
        assert_eq!(networks.adopt(&many.id).expect("a sandbox"), many);
        assert!(ask("127.0.0.1", 19_999).is_some());
        networks.release(&many.id).expect("an end");
        networks.sandbox(&bridged("again", &ports[..10])).expect("a sandbox");
    });
}

#[test]
fn what_cannot_be_is_said() {
    alone("what_cannot_be_is_said", |dir| {
        let networks = host(dir);
        let request = |ipv4: Option<&str>, network: &str| {
            let mut request = bridged("one", &[]);
            let endpoint = request.endpoints.first_mut().expect("an endpoint");
            endpoint.ipv4 = ipv4.map(|text| text.parse().expect("an address"));
            endpoint.network = network.to_owned();
            networks.sandbox(&request)
        };
        let words = |result: Result<_, NetworkError>| result.map(drop).unwrap_err().to_string();
        assert_eq!(words(request(None, "web")), "network web not found");
        assert_eq!(words(request(Some("172.17.0.1"), "bridge")), "Address already in use");
        assert_eq!(
            words(request(Some("10.0.0.1"), "bridge")),
            "no configured subnet or ip range contain the IP address 10.0.0.1"
        );
        let made = request(Some("172.17.5.5"), "bridge").expect("a sandbox");
        assert_eq!(made.endpoints[0].ipv4.expect("one").to_string(), "172.17.5.5");
        let port = PortMapping { host_ip: Some("::".parse().expect("text")), ..tcp(None, 1, 1) };
        networks.sandbox(&bridged("six", &[port])).expect("somebody listens there");
        let port = PortMapping { host_port: Some((9, 8)), ..port };
        assert!(networks.sandbox(&bridged("bad", &[port])).is_err());
    });
}
