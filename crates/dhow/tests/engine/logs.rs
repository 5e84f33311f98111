//! Containers' output sent elsewhere, with servers played on the loopback and on sockets.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::mount::{MountFlags, mount};

use crate::whole::{IMAGE, TestEngine, until};

const SAY: &str = "echo first; echo second >&2";

/// Datagrams until one holds `last`.
fn datagrams(last: &str, mut receive: impl FnMut(&mut [u8]) -> usize) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let mut buffer = [0; 65536];
        let length = receive(&mut buffer);
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let is_last = text.contains(last);
        found.push(text);
        if is_last {
            return found;
        }
    }
}

#[test]
fn output_goes_to_the_journal_to_syslog_and_to_gelf() {
    let test = "output_goes_to_the_journal_to_syslog_and_to_gelf";
    let Some(engine) = TestEngine::start(test) else { return };
    // In this test's own mount namespace, which is the engine's as well.
    mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None).expect("a /run of one's own");
    std::fs::create_dir_all("/run/systemd/journal").expect("a directory");
    let refused = engine.dhow(&["run", "--rm", "--log-driver", "journald", IMAGE, "true"]);
    assert_eq!(refused.code, 125, "{refused:?}");
    assert!(refused.err.contains("failed to initialize logging driver"), "{refused:?}");
    let journal = UnixDatagram::bind("/run/systemd/journal/socket").expect("a journal");
    let patience = Some(Duration::from_secs(30));
    journal.set_read_timeout(patience).expect("a time");
    let run = ["run", "--rm", "--log-driver", "journald", "--log-opt", "tag={{.Name}}/x"];
    let words = ["--log-opt", "labels=com.example", "--label", "com.example=yes", "--name", "aa"];
    engine.ok(&[&run[..], &words, &[IMAGE, "sh", "-c", SAY]].concat());
    // The two streams are read one after the other, in no certain order.
    let mut seen = 0;
    let entries = datagrams("\nNOTHING", |buffer| {
        seen += 1;
        match seen {
            1 | 2 => journal.recv(buffer).expect("an entry"),
            _ => {
                buffer[..8].copy_from_slice(b"\nNOTHING");
                8
            }
        }
    });
    let has =
        |words: &[&str]| entries.iter().any(|one| words.iter().all(|word| one.contains(word)));
    let about = ["CONTAINER_NAME=aa\n", "SYSLOG_IDENTIFIER=aa/x\n", "COM_EXAMPLE=yes\n"];
    assert!(has(&[&["MESSAGE=first\n", "PRIORITY=6\n"][..], &about].concat()), "{entries:?}");
    assert!(has(&["MESSAGE=second\n", "PRIORITY=3\n"]), "{entries:?}");

    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    server.set_read_timeout(patience).expect("a time");
    let to = |driver: &str| format!("{driver}-address=udp://{}", server.local_addr().expect("it"));
    let syslog = to("syslog");
    let run = ["run", "--name", "bb", "--log-driver", "syslog", "--log-opt", &syslog];
    let words = ["--log-opt", "tag=b", "--log-opt", "syslog-facility=local0"];
    engine.ok(&[&run[..], &words, &[IMAGE, "echo", "over"]].concat());
    let lines = datagrams("over", |buffer| server.recv(buffer).expect("a line"));
    assert!(lines[0].starts_with("<134>") && lines[0].ends_with(": over\n"), "{lines:?}");
    // The copy that is kept here is what `logs` shows.
    assert_eq!(engine.ok(&["logs", "bb"]), "over");

    let gelf = to("gelf");
    let run = ["run", "--rm", "--log-driver", "gelf", "--log-opt", &gelf];
    let words = ["--log-opt", "gelf-compression-type=none", "-e", "K=v", "--log-opt", "env=K"];
    engine.ok(&[&run[..], &words, &[IMAGE, "echo", "json"]].concat());
    let lines = datagrams("json", |buffer| server.recv(buffer).expect("a line"));
    let value: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
    assert_eq!((&value["short_message"], &value["_K"]), (&"json".into(), &"v".into()));
    for (driver, option) in [("syslog", "bird=1"), ("gelf", "bird=1"), ("json-file", "bird=1")] {
        let refused = engine.dhow(&["create", "--log-driver", driver, "--log-opt", option, IMAGE]);
        assert!(refused.err.contains("unknown log opt 'bird'"), "{refused:?}");
    }
    let hidden = ["--log-opt", &syslog, "--log-opt", "cache-disabled=true", "--name", "cc"];
    engine.ok(&[&["run", "--log-driver", "syslog"], &hidden[..], &[IMAGE, "true"]].concat());
    assert!(engine.dhow(&["logs", "cc"]).err.contains("does not support reading"));
}

#[test]
fn output_waits_for_its_destination_and_for_the_next_engine() {
    let test = "output_waits_for_its_destination_and_for_the_next_engine";
    let Some(mut engine) = TestEngine::start(test) else { return };
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("fluentd-address={}", server.local_addr().expect("an address"));
    let options = ["--log-opt", &address, "--log-opt", "fluentd-async=true", "--log-opt"];
    let options = [&options[..], &["fluentd-retry-wait=10ms", "--log-opt", "tag=t"]].concat();
    let run = [&["run", "-d", "--name", "aa", "--log-driver", "fluentd"], &options[..]].concat();
    let script = "echo one; while [ ! -e /tmp/go ]; do usleep 10000; done; echo two";
    engine.ok(&[&run[..], &[IMAGE, "sh", "-c", script]].concat());
    let read = |stream: &mut std::net::TcpStream, word: &str| {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
        let mut seen = Vec::new();
        while !seen.windows(word.len()).any(|found| found == word.as_bytes()) {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).expect("something");
            assert!(count > 0, "an end before {word}");
            seen.extend_from_slice(&buffer[..count]);
        }
        seen
    };
    let (mut stream, _) = server.accept().expect("a client");
    let message = read(&mut stream, "one");
    assert!(message.starts_with(b"\x94\xa1t\xce"), "{message:?}");
    // What is sent is on record before the engine ends, or it is sent again.
    engine.kill();
    drop(stream);
    engine.open();
    engine.ok(&["exec", "aa", "touch", "/tmp/go"]);
    let (mut stream, _) = server.accept().expect("the next engine");
    read(&mut stream, "two");
    engine.ok(&["wait", "aa"]);
    assert_eq!(engine.ok(&["logs", "aa"]), "one\ntwo");
    engine.ok(&["rm", "aa"]);

    // With receipts, a line without one is sent again.
    drop(stream);
    let acked = ["--log-opt", "fluentd-request-ack=true"];
    let sent = ["--log-opt", "fluentd-read-timeout=100ms", "--log-opt", "mode=non-blocking"];
    engine.ok(&[&run[..], &acked, &sent, &[IMAGE, "echo", "three"]].concat());
    let (mut stream, _) = server.accept().expect("a client");
    read(&mut stream, "three");
    let (mut stream, _) = server.accept().expect("once more");
    let again = read(&mut stream, "chunk");
    let again = [again, read_rest(&mut stream)].concat();
    let at = again.windows(5).position(|found| found == b"chunk").expect("a name") + 5;
    let name = &again[at..];
    stream.write_all(&[b"\x81\xa3ack", name].concat()).expect("a receipt");
    until("it has been sent", || {
        std::fs::read_dir(engine.root.join("data/containers"))
            .ok()?
            .find_map(|entry| entry.ok()?.path().join("log-sent").exists().then_some(()))
    });
}

/// What is there besides.
fn read_rest(stream: &mut std::net::TcpStream) -> Vec<u8> {
    stream.set_nonblocking(true).expect("a mode");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    stream.set_nonblocking(false).expect("a mode");
    rest
}
