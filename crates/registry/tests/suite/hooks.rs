//! Who is told of changes, what, and what happens when nobody listens.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use ring::hmac;
use serde_json::Value;

use crate::http::send;
use crate::pushes::{MANIFEST, digest, push, push_image};
use crate::server::{Scratch, Server};

/// What a listener was sent: its head in lower case, and its body.
struct Told {
    head: String,
    body: Vec<u8>,
}

impl Told {
    fn event(&self) -> Value {
        let document: Value = serde_json::from_slice(&self.body).expect("JSON");
        assert_eq!(document["events"].as_array().map(Vec::len), Some(1));
        document["events"][0].clone()
    }
}

/// Answers with these statuses, one connection each, and with 200 from then on.
fn listener(statuses: &'static [u16]) -> (SocketAddr, Receiver<Told>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let (tell, hear) = mpsc::channel();
    let mut statuses = statuses.iter().copied();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let (mut head, mut line) = (String::new(), String::new());
            while stream.read_line(&mut line).expect("a head") > 2 {
                head.push_str(&line.to_lowercase());
                line.clear();
            }
            let length = head.split("content-length: ").nth(1).expect("a length");
            let length =
                length.lines().next().and_then(|text| text.parse().ok()).expect("a length");
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("a body");
            let status = statuses.next().unwrap_or(200);
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).expect("heard");
            if tell.send(Told { head, body }).is_err() {
                return;
            }
        }
    });
    (address, hear)
}

fn next(hear: &Receiver<Told>) -> Told {
    hear.recv_timeout(Duration::from_secs(30)).expect("an event")
}

#[test]
fn changes_are_told_in_their_order_and_again_if_need_be() {
    let (address, hear) = listener(&[500, 404]);
    let scratch = Scratch::new();
    std::fs::write(scratch.path().join("key"), "a secret\n").expect("a file");
    let server = Server::over(
        scratch,
        &format!(
            r#"{{"webhooks": [{{"url": "http://{address}/hook?x=1", "repositories": ["team/**"],
                "headers": {{"authorization": "Bearer t"}}, "secret-file": "DIR/key",
                "events": ["push", "delete", "blob-push"]}}]}}"#
        ),
    );
    let _ = push_image(&server, "other", "v1", b"not told");
    let pushed = push_image(&server, "team/a", "v1", b"one");
    // Twice it was not taken, and each time the same was sent again.
    let first = next(&hear);
    assert!(first.head.starts_with("post /hook?x=1 http/1.1"), "{}", first.head);
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"a secret");
    let proof = hmac::sign(&key, &first.body);
    let proof: String = proof.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    for line in [
        "authorization: bearer t",
        "content-type: application/vnd.docker.distribution.events.v1+json",
        &format!("x-dhow-signature: sha256={proof}"),
    ] {
        assert!(first.head.contains(line), "{line} in {}", first.head);
    }
    for _ in 0..2 {
        assert_eq!(next(&hear).body, first.body);
    }
    let blob = first.event();
    assert_eq!((&blob["action"], &blob["target"]["size"]), (&"push".into(), &3.into()));
    assert_eq!(blob["target"]["digest"], digest(b"one"));
    let manifest = next(&hear).event();
    let target = &manifest["target"];
    assert_eq!((&manifest["action"], &target["repository"]), (&"push".into(), &"team/a".into()));
    assert_eq!((&target["tag"], &target["mediaType"]), (&"v1".into(), &MANIFEST.into()));
    let url = format!("http://registry.test/v2/team/a/manifests/{pushed}");
    assert_eq!((&target["digest"], &target["url"]), (&Value::from(pushed), &url.into()));
    assert_eq!(
        (&manifest["request"]["method"], &manifest["actor"]),
        (&"PUT".into(), &serde_json::json!({}))
    );
    let time = manifest["timestamp"].as_str().expect("a time");
    assert!(time.ends_with('Z') && time.contains('T'), "{time}");
    assert_eq!(send(server.address, "DELETE", "/v2/team/a/manifests/v1", &[], b"").status, 202);
    let gone = next(&hear).event();
    assert_eq!((&gone["action"], &gone["target"]["tag"]), (&"delete".into(), &"v1".into()));
    let metrics = send(server.address, "GET", "/metrics", &[], b"").text();
    assert!(metrics.contains("webhook_events_total{end=\"given-up\"} 0"), "{metrics}");
    // What waits is sent before the end.
    assert_eq!(push(&server, "team/a", b"last").status, 201);
    drop(server);
    assert_eq!(next(&hear).event()["target"]["digest"], digest(b"last"));
}

#[test]
fn nobody_listens_and_nobody_waits() {
    // It lets clients come, and says nothing to them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = silent.local_addr().expect("an address");
    let server = Server::with(&format!(
        r#"{{"webhooks": [{{"url": "http://{address}/", "queue": 2, "attempts": 1,
            "timeout": "1h", "events": ["blob-push"]}}]}}"#
    ));
    for number in 0..20 {
        assert_eq!(push(&server, "a", format!("blob {number}").as_bytes()).status, 201);
    }
    let count = |end: &str| {
        let metrics = send(server.address, "GET", "/metrics", &[], b"").text();
        let name = format!("dhow_registry_webhook_events_total{{end=\"{end}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name)).expect("a counter");
        line.parse::<u64>().expect("a number")
    };
    // Two wait, and one may be on its way.
    let lost = count("queue-full");
    assert!((17..=18).contains(&lost), "{lost}");
    drop(silent);
    while count("given-up") + lost < 20 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(count("delivered"), 0);
    let log = server.log.lock().expect("no panic").join("\n");
    assert!(log.contains("an event is given up after 1 attempts"), "{log}");
    assert!(log.contains("too many events wait"), "{log}");
}
