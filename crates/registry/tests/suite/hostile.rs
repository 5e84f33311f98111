//! Whoever means no good: the specified error, bounded memory, no access.

use std::time::Duration;

use crate::http::{Http, send};
use crate::pushes::{MANIFEST, begin, digest, manifest, push, push_image};
use crate::server::Server;

#[test]
fn names_lead_nowhere_else() {
    let server = Server::open();
    let _ = push_image(&server, "a", "v1", b"one");
    for (path, code) in [
        ("/v2/../a/manifests/v1", "NAME_INVALID"),
        ("/v2/%2e%2e/a/manifests/v1", "NAME_INVALID"),
        ("/v2/a%2F..%2Fa/manifests/v1", "NAME_INVALID"),
        ("/v2//manifests/v1", "NAME_INVALID"),
        ("/v2/A/manifests/v1", "NAME_INVALID"),
        ("/v2/a%00/manifests/v1", "NAME_INVALID"),
        ("/v2/a/manifests/..", "MANIFEST_INVALID"),
        ("/v2/a/manifests/%2e%2e%2f%2e%2e", "NAME_INVALID"),
        ("/v2/a/manifests/sha256:..", "DIGEST_INVALID"),
        ("/v2/a/blobs/sha256:../../../dhow.db", "UNSUPPORTED"),
        ("/v2/a/blobs/sha256%3A..%2F..%2Fdhow.db", "UNSUPPORTED"),
        ("/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", "DIGEST_INVALID"),
        ("/v2/a/blobs/uploads/../../../lock", "NAME_INVALID"),
        ("/v2/a/blobs/uploads/named.x", "BLOB_UPLOAD_UNKNOWN"),
        ("/v3/a", "UNSUPPORTED"),
    ] {
        let answer = send(server.address, "GET", path, &[], b"");
        let refused = (400..=405).contains(&answer.status);
        assert!(refused, "{path}: {} {}", answer.status, answer.text());
        assert!(
            answer.code() == code || code == "UNSUPPORTED" || code == "NAME_INVALID",
            "{path}: {}",
            answer.text()
        );
    }
    let long = format!("/v2/{}/manifests/v1", "a/".repeat(200) + "a");
    assert_eq!(send(server.address, "GET", &long, &[], b"").code(), "NAME_INVALID");
    let tag = format!("/v2/a/manifests/{}", "t".repeat(129));
    assert_eq!(send(server.address, "GET", &tag, &[], b"").code(), "MANIFEST_INVALID");
}

#[test]
fn bytes_are_what_they_should_be() {
    let server = Server::open();
    let path = format!("/v2/a/blobs/uploads/?digest={}", digest(b"other"));
    let wrong = send(server.address, "POST", &path, &[], b"bytes");
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "DIGEST_INVALID"));
    let place = begin(&server, "a");
    for (headers, body, status) in [
        (("content-range", "5-9"), &b"12345"[..], 416),
        (("content-range", "0-9"), b"12345", 400),
        (("content-range", "9-0"), b"12345", 400),
        (("content-range", "x"), b"12345", 400),
        (("content-range", "0-18446744073709551615"), b"12345", 400),
        (("content-range", "0-4"), b"12345", 202),
        (("content-range", "0-4"), b"12345", 416),
    ] {
        let answer = send(server.address, "PATCH", &place, &[headers], body);
        assert_eq!(answer.status, status, "{headers:?} {}", answer.text());
    }
    let answer = send(server.address, "PUT", &place, &[], b"");
    assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"));
    let path = format!("{place}?digest={}", digest(b"wrong"));
    assert_eq!(send(server.address, "PUT", &path, &[], b"").code(), "DIGEST_INVALID");
    let path = "/v2/a/blobs/uploads/?digest-algorithm=md5";
    assert_eq!(send(server.address, "POST", path, &[], b"").code(), "DIGEST_INVALID");
    // Nothing of all that was kept.
    let found = server.registry.check(false).expect("a check");
    assert_eq!((found.blobs, found.findings.len()), (0, 0));
}

#[test]
fn manifests_are_small_and_make_sense() {
    let server = Server::open();
    assert_eq!(push(&server, "a", b"one").status, 201);
    let put = |kind: &str, body: &[u8]| {
        let answer =
            send(server.address, "PUT", "/v2/a/manifests/v1", &[("content-type", kind)], body);
        (answer.status, answer.code())
    };
    let good = manifest(&[b"one"], "");
    let invalid = (400, "MANIFEST_INVALID".to_owned());
    assert_eq!(put(MANIFEST, b"{"), invalid);
    assert_eq!(put(MANIFEST, b"[]"), invalid);
    assert_eq!(put(MANIFEST, good.replace(":2,", ":1,").as_bytes()), invalid);
    assert_eq!(put("text/html", good.as_bytes()), invalid);
    assert_eq!(put("application/vnd.oci.image.index.v1+json", good.as_bytes()), invalid);
    assert_eq!(put(MANIFEST, "[".repeat(100_000).as_bytes()), invalid);
    let huge = format!("{good}{}", " ".repeat(4 << 20));
    assert_eq!(put(MANIFEST, huge.as_bytes()).0, 413);
    let path = format!("/v2/a/manifests/{}", digest(b"other"));
    let answer = send(server.address, "PUT", &path, &[("content-type", MANIFEST)], good.as_bytes());
    assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(put(MANIFEST, good.as_bytes()).0, 201);
}

#[test]
fn whoever_says_nothing_is_let_go() {
    let server = Server::with(r#"{"limits": {"idle": "1s"}}"#);
    let place = begin(&server, "a");
    let mut http = Http::connect(server.address);
    http.head("PATCH", &place, &[], Some(10));
    http.write(b"12345");
    let answer = http.answer(false);
    assert_eq!((answer.status, answer.code().as_str()), (408, "BLOB_UPLOAD_INVALID"));
    let answer = send(server.address, "GET", &place, &[], b"");
    assert_eq!((answer.status, answer.header("range")), (204, "0-4"));
}

#[test]
fn many_connections_wait_their_turn() {
    let server = Server::with(r#"{"limits": {"connections": 4}}"#);
    let idle: Vec<_> = (0..4).map(|_| Http::connect(server.address)).collect();
    let address = server.address;
    let waiting = std::thread::spawn(move || send(address, "GET", "/v2/", &[], b"").status);
    std::thread::sleep(Duration::from_millis(50));
    drop(idle);
    assert_eq!(waiting.join().expect("no panic"), 200);
}
