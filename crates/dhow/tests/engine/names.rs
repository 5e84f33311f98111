//! Names in networks of users' own, asked with real packets from inside; and the servers that everything else is
//! passed on to.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dhow_sys::Namespaces;

use crate::whole::{IMAGE, TestEngine, until};

const RESOLVER: &str = "127.0.0.11:53";
const TYPE_A: u16 = 1;
const TYPE_PTR: u16 = 12;

/// A server of names that says one address whatever it is asked, and remembers how it was asked.
struct Upstream {
    asked: Arc<Mutex<Vec<&'static str>>>,
}

impl Upstream {
    fn at(address: &str, answer: Ipv4Addr) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let udp = UdpSocket::bind(address).expect("a port");
        let heard = asked.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut bytes) {
                heard.lock().expect("no panic").push("udp");
                let _ = udp.send_to(&reply(&bytes[..length], answer), from);
            }
        });
        let tcp = TcpListener::bind(address).expect("a port");
        let heard = asked.clone();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = tcp.accept() {
                let Ok(question) = read_framed(&mut stream) else { continue };
                heard.lock().expect("no panic").push("tcp");
                let _ = write_framed(&mut stream, &reply(&question, answer));
            }
        });
        Self { asked }
    }

    fn asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.asked.lock().expect("no panic"))
    }
}

fn read_framed(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn write_framed(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(bytes.len()).expect("short");
    stream.write_all(&[&length.to_be_bytes(), bytes].concat())
}

/// The question with one address behind it.
fn reply(question: &[u8], address: Ipv4Addr) -> Vec<u8> {
    let mut bytes = question[..end_of_question(question)].to_vec();
    bytes[2] |= 0x80;
    bytes[7] = 1;
    // No more than the question and its answer.
    bytes[8..12].fill(0);
    bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
    bytes.extend(address.octets());
    bytes
}

fn end_of_question(message: &[u8]) -> usize {
    let mut at = 12;
    while message[at] != 0 {
        at += 1 + usize::from(message[at]);
    }
    at + 5
}

fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("short"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend([kind.to_be_bytes(), [0, 1]].concat());
    bytes
}

/// What answers say: the data of each.
fn data_of(message: &[u8]) -> Vec<Vec<u8>> {
    let mut at = end_of_question(message);
    let mut all = Vec::new();
    for _ in 0..message[7] {
        // A pointer or a name, then type, class and time.
        at +=
            if message[at] & 0xc0 == 0xc0 { 2 } else { end_of_question(&message[at - 12..]) - 16 };
        let length = usize::from(u16::from_be_bytes([message[at + 8], message[at + 9]]));
        all.push(message[at + 10..at + 10 + length].to_vec());
        at += 10 + length;
    }
    all
}

/// A machine of names: containers, by way of their first processes.
struct Inside<'e> {
    engine: &'e TestEngine,
}

impl Inside<'_> {
    /// Does something in a container's network.
    fn run<T: Send>(&self, container: &str, work: impl FnOnce() -> T + Send) -> T {
        let pid = self.engine.ok(&["inspect", "-f", "{{.State.Pid}}", container]);
        let namespace = fs::File::open(format!("/proc/{pid}/ns/net")).expect("a namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                dhow_sys::set_namespace(namespace.as_fd(), Namespaces::NETWORK).expect("inside");
                work()
            });
            thread.join().expect("no panic")
        })
    }

    fn ask(&self, container: &str, name: &str, kind: u16) -> Vec<Vec<u8>> {
        self.run(container, || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a limit");
            socket.send_to(&question(name, kind), RESOLVER).expect("sent");
            let mut bytes = [0; 1500];
            let length = socket.recv(&mut bytes).expect("an answer");
            data_of(&bytes[..length])
        })
    }

    fn ask_by_tcp(&self, container: &str, name: &str) -> Vec<Vec<u8>> {
        self.run(container, || {
            let mut stream = TcpStream::connect(RESOLVER).expect("a resolver");
            write_framed(&mut stream, &question(name, TYPE_A)).expect("sent");
            data_of(&read_framed(&mut stream).expect("an answer"))
        })
    }

    /// The addresses that a container finds under a name.
    fn addresses(&self, container: &str, name: &str) -> Vec<IpAddr> {
        let address = |data: Vec<u8>| <[u8; 4]>::try_from(data).ok().map(IpAddr::from);
        self.ask(container, name, TYPE_A).into_iter().filter_map(address).collect()
    }
}

/// Another `/etc/resolv.conf` for this test's engine: in a mount namespace that nobody else has.
fn set_servers(engine: &TestEngine, text: &str) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::SeqCst);
    let path = engine.root.join(format!("resolv.conf.{number}"));
    fs::write(&path, text).expect("a file");
    rustix::mount::mount_bind(&path, "/etc/resolv.conf").expect("mounted");
}

#[test]
fn names_are_answered_and_all_others_passed_on() {
    let test = "names_are_answered_and_all_others_passed_on";
    let Some(mut engine) = TestEngine::start(test) else { return };
    let first = Upstream::at("127.0.0.1:53", [203, 0, 113, 1].into());
    let second = Upstream::at("127.0.0.2:53", [203, 0, 113, 2].into());
    set_servers(&engine, "nameserver 127.0.0.1\n");
    engine.ok(&["network", "create", "front"]);
    engine.ok(&["network", "create", "--internal", "inner"]);
    let sleep = [IMAGE, "sleep", "1000"];
    let run = |words: &[&str]| engine.ok(&[&["run", "-d"], words, &sleep[..]].concat());
    let web =
        ["--name", "web", "--network", "front", "--network-alias", "www", "--hostname", "host1"];
    let id = run(&web);
    run(&[
        "--name",
        "client",
        "--network",
        "front",
        "--link",
        "web:linked",
        "--dns-search",
        "example.test",
    ]);
    run(&["--name", "closed", "--network", "inner"]);
    run(&[
        "--name",
        "asks",
        "--network",
        "front",
        "--dns",
        "192.0.2.53",
        "--dns-option",
        "timeout:1",
    ]);
    let address = "{{.NetworkSettings.Networks.front.IPAddress}}";
    let address: IpAddr = engine.ok(&["inspect", "-f", address, "web"]).parse().expect("one");
    let inside = Inside { engine: &engine };
    for name in ["web", "WWW", &id[..12], "host1", "linked", "web.front"] {
        assert_eq!(inside.addresses("client", name), [address], "{name}");
    }
    let gateway: IpAddr = match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            [a, b, 0, 1].into()
        }
        IpAddr::V6(_) => unreachable!("an address of IPv4"),
    };
    assert_eq!(inside.addresses("client", "host.docker.internal"), [gateway]);
    let IpAddr::V4(v4) = address else { unreachable!("an address of IPv4") };
    let [a, b, c, d] = v4.octets();
    let reverse = inside.ask("client", &format!("{d}.{c}.{b}.{a}.in-addr.arpa"), TYPE_PTR);
    assert_eq!(reverse, [b"\x03web\x05front\0".to_vec()]);
    assert_eq!(first.asked(), [""; 0], "nobody was asked so far");
    // Everything else, as it was asked; the host's servers as they are at that moment.
    assert_eq!(inside.addresses("client", "elsewhere.test"), [IpAddr::from([203, 0, 113, 1])]);
    assert_eq!(inside.ask_by_tcp("client", "elsewhere.test"), [vec![203, 0, 113, 1]]);
    assert_eq!(first.asked(), ["udp", "tcp"]);
    // A client that comes again is the next question: the same file has another server now.
    fs::write("/etc/resolv.conf", "nameserver 127.0.0.2\n").expect("another server");
    until("the next server is asked", || {
        let found = inside.addresses("client", "elsewhere.test");
        (found == [IpAddr::from([203, 0, 113, 2])]).then_some(())
    });
    second.asked();
    assert!(inside.addresses("closed", "elsewhere.test").is_empty());
    assert_eq!(
        (first.asked(), second.asked()),
        (vec![], vec![]),
        "an internal network asks nobody"
    );
    // Servers of its own are asked from inside, by its own address.
    let there = inside.run("asks", || {
        let socket = UdpSocket::bind("192.0.2.53:53");
        socket.is_err()
    });
    assert!(there, "the address is nobody's inside");
    std::process::Command::new("ip")
        .args(["addr", "add", "192.0.2.53/32", "dev", "lo"])
        .status()
        .expect("the program ip");
    let own = Upstream::at("192.0.2.53:53", [203, 0, 113, 53].into());
    assert_eq!(inside.addresses("asks", "elsewhere.test"), [IpAddr::from([203, 0, 113, 53])]);
    assert_eq!(own.asked(), ["udp"]);
    let file = |container: &str| engine.ok(&["exec", container, "cat", "/etc/resolv.conf"]);
    assert!(file("client").contains("search example.test"), "{}", file("client"));
    assert!(file("asks").contains("timeout:1") && file("asks").contains("nameserver 127.0.0.11"));
    // All of it without an engine.
    let pid = engine.ok(&["inspect", "-f", "{{.State.Pid}}", "client"]);
    let namespace = fs::File::open(format!("/proc/{pid}/ns/net")).expect("a namespace");
    engine.kill();
    let found = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            dhow_sys::set_namespace(namespace.as_fd(), Namespaces::NETWORK).expect("inside");
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a limit");
            ["web", "elsewhere.test"].map(|name| {
                socket.send_to(&question(name, TYPE_A), RESOLVER).expect("sent");
                let mut bytes = [0; 1500];
                let length = socket.recv(&mut bytes).expect("an answer");
                data_of(&bytes[..length]).concat()
            })
        });
        thread.join().expect("no panic")
    });
    assert_eq!(found, [v4.octets().to_vec(), vec![203, 0, 113, 2]]);
    engine.open();
}

#[test]
fn the_default_network_has_the_host_s_servers_and_written_names() {
    let test = "the_default_network_has_the_host_s_servers_and_written_names";
    let Some(engine) = TestEngine::start(test) else { return };
    set_servers(&engine, "nameserver 192.0.2.1\nsearch a.test\noptions ndots:2\n");
    let names = ["--add-host", "up:host-gateway", "--add-host", "db:192.0.2.7", "--hostname", "me"];
    let cat = [IMAGE, "cat", "/etc/resolv.conf", "/etc/hosts"];
    let said = engine.ok(&[&["run", "--rm"], &names[..], &cat[..]].concat());
    for line in [
        "nameserver 192.0.2.1",
        "search a.test",
        "options ndots:2",
        "172.17.0.1\tup",
        "192.0.2.7\tdb",
        "172.17.0.2\tme",
    ] {
        assert!(said.lines().any(|one| one == line), "{line} in {said}");
    }
    // Ports of a container without IPv6, by the host's loopback of both kinds.
    let serve = "echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp";
    engine.ok(&[
        "run", "-d", "--name", "web", "-p", "8080:80", "--expose", "81", "-P", IMAGE, "sh", "-c",
        serve,
    ]);
    let fetch = |address: &str| {
        let to: SocketAddr = address.parse().expect("an address");
        let mut stream = TcpStream::connect(to).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        page.contains("served").then_some(())
    };
    for address in ["127.0.0.1:8080", "[::1]:8080", "172.17.0.1:8080"] {
        until(address, || fetch(address));
    }
    assert!(engine.ok(&["port", "web", "81"]).contains(':'), "exposed ports are published by -P");
}
