//! What goes in comes out: blobs whole, in pieces and in part, manifests, tags, lists.

use crate::http::{Http, send};
use crate::pushes::{MANIFEST, begin, digest, manifest, push_image, push_manifest};
use crate::server::Server;

#[test]
fn a_blob_in_pieces_and_in_part() {
    let server = Server::open();
    let bytes: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut place = begin(&server, "a/b");
    for (index, piece) in bytes.chunks(1_000_000).enumerate() {
        let first = index * 1_000_000;
        let range = format!("{first}-{}", first + piece.len() - 1);
        let answer = send(server.address, "PATCH", &place, &[("content-range", &range)], piece);
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_eq!(answer.header("range"), format!("0-{}", first + piece.len() - 1));
        place = answer.header("location").to_owned();
    }
    let answer =
        send(server.address, "PUT", &format!("{place}?digest={}", digest(&bytes)), &[], b"");
    assert_eq!(answer.status, 201, "{}", answer.text());
    let path = format!("/v2/a/b/blobs/{}", digest(&bytes));
    let mut http = Http::connect(server.address);
    assert_eq!(http.send("GET", &path, &[], b"").body, bytes);
    for (range, part) in [
        ("bytes=5-9", 5..10),
        ("bytes=2799990-", 2_799_990..2_800_000),
        ("bytes=-3", 2_799_997..2_800_000),
        ("bytes=100000-900000", 100_000..900_001),
    ] {
        let answer = http.send("GET", &path, &[("range", range)], b"");
        assert_eq!((answer.status, &answer.body[..]), (206, &bytes[part]), "{range}");
    }
    let answer = http.send("GET", &path, &[("range", "bytes=2800000-")], b"");
    assert_eq!((answer.status, answer.header("content-range")), (416, "bytes */2800000"));
    let etag = format!("\"{}\"", digest(&bytes));
    assert_eq!(http.send("GET", &path, &[("if-none-match", &etag)], b"").status, 304);
    let head = http.send("HEAD", &path, &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, "2800000"));
    let stale = http.send("GET", &path, &[("range", "bytes=0-0"), ("if-range", "\"x\"")], b"");
    assert_eq!(stale.status, 200);
}

#[test]
fn an_upload_is_gone_on_with_where_it_broke_off() {
    let server = Server::open();
    let bytes = vec![7; 300_000];
    let place = begin(&server, "a");
    let mut broken = Http::connect(server.address);
    broken.head("PATCH", &place, &[], Some(bytes.len()));
    broken.write(&bytes[..200_000]);
    drop(broken);
    let offset = loop {
        let answer = send(server.address, "GET", &place, &[], b"");
        // Until it notices, the broken request has the upload.
        if answer.status == 204 && answer.header("range") != "0-0" {
            break answer.header("range")[2..].parse::<usize>().expect("a number") + 1;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    assert_eq!(offset, 200_000);
    // Another process goes on: nothing of the upload is in memory.
    let server = Server::over(server.end(), "{}");
    let answer = send(server.address, "PATCH", &place, &[], &bytes[offset..]);
    assert_eq!((answer.status, answer.header("range")), (202, "0-299999"));
    let path = format!("{place}?digest={}", digest(&bytes));
    assert_eq!(send(server.address, "PUT", &path, &[], b"").status, 201);
}

#[test]
fn manifests_and_tags() {
    let server = Server::open();
    let missing = push_manifest(&server, "a", "v1", &manifest(&[b"absent"], ""));
    assert_eq!((missing.status, missing.code().as_str()), (404, "MANIFEST_BLOB_UNKNOWN"));
    let first = push_image(&server, "a", "v1", b"one");
    let second = push_image(&server, "a", "v2", b"two");
    let mut http = Http::connect(server.address);
    let got = http.send("GET", "/v2/a/manifests/v1", &[], b"");
    assert_eq!(got.text(), manifest(&[b"one"], ""));
    assert_eq!(got.header("docker-content-digest"), first);
    assert_eq!(got.header("content-type"), MANIFEST);
    let etag = got.header("etag").to_owned();
    let known = http.send("GET", "/v2/a/manifests/v1", &[("if-none-match", &etag)], b"");
    assert_eq!((known.status, known.body.len()), (304, 0));
    let list = http.send("GET", "/v2/a/tags/list?n=1", &[], b"");
    assert_eq!(list.json()["tags"], serde_json::json!(["v1"]));
    assert_eq!(list.header("link"), "</v2/a/tags/list?n=1&last=v1>; rel=\"next\"");
    let rest = http.send("GET", "/v2/a/tags/list?n=1&last=v1", &[], b"");
    assert_eq!((rest.json()["tags"][0].as_str(), rest.header("link")), (Some("v2"), ""));
    assert_eq!(http.send("GET", "/v2/a/tags/list?n=x", &[], b"").status, 400);
    assert_eq!(http.send("DELETE", "/v2/a/manifests/v1", &[], b"").status, 202);
    assert_eq!(http.send("GET", "/v2/a/manifests/v1", &[], b"").code(), "MANIFEST_UNKNOWN");
    assert_eq!(http.send("GET", &format!("/v2/a/manifests/{first}"), &[], b"").status, 200);
    assert_eq!(http.send("DELETE", &format!("/v2/a/manifests/{second}"), &[], b"").status, 202);
    assert_eq!(http.send("GET", "/v2/a/manifests/v2", &[], b"").status, 404);
    assert_eq!(http.send("GET", "/v2/b/manifests/v2", &[], b"").code(), "NAME_UNKNOWN");
    let _ = push_image(&server, "b/c", "v1", b"one");
    let catalog = http.send("GET", "/v2/_catalog", &[], b"").json();
    assert_eq!(catalog["repositories"], serde_json::json!(["a", "b/c"]));
}

#[test]
fn referrers_by_kind() {
    let server = Server::open();
    let subject = push_image(&server, "a", "v1", b"one");
    let about = |kind: &str| {
        format!(
            r#","artifactType":"{kind}","annotations":{{"k":"{kind}"}},"subject":{{"mediaType":"{MANIFEST}","digest":"{subject}","size":9}}"#
        )
    };
    for kind in ["x/one", "x/two"] {
        let text = manifest(&[b"one"], &about(kind));
        let pushed = push_manifest(&server, "a", &digest(text.as_bytes()), &text);
        assert_eq!((pushed.status, pushed.header("oci-subject")), (201, subject.as_str()));
    }
    let path = format!("/v2/a/referrers/{subject}");
    let all = send(server.address, "GET", &path, &[], b"");
    assert_eq!(all.json()["manifests"].as_array().map(Vec::len), Some(2));
    assert_eq!(all.header("oci-filters-applied"), "");
    let path = format!("{path}?artifactType=x/two");
    let some = send(server.address, "GET", &path, &[], b"");
    let found = some.json()["manifests"].clone();
    assert_eq!(found.as_array().map(Vec::len), Some(1));
    assert_eq!(found[0]["annotations"]["k"], "x/two");
    assert_eq!(some.header("oci-filters-applied"), "artifactType");
}
