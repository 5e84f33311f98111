//! A registry that mirrors another: what comes through, what stays, what is served when the other is gone.

use std::thread;
use std::time::Duration;

use crate::http::{Answer, send};
use crate::pushes::{MANIFEST, digest, manifest, push, push_image, push_manifest};
use crate::server::Server;

/// A mirror of everything at `upstream`, whose tags are believed so long.
fn mirror(upstream: &Server, fresh: &str) -> Server {
    Server::with(&format!(
        r#"{{"mirrors": [{{"repositories": ["**"], "upstream": "{}", "fresh": "{fresh}"}}]}}"#,
        upstream.address
    ))
}

fn get(server: &Server, path: &str) -> Answer {
    send(server.address, "GET", path, &[], b"")
}

#[test]
fn what_is_asked_for_comes_and_stays() {
    let upstream = Server::open();
    let large: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
    let tagged = push_image(&upstream, "library/a", "v1", &large);
    let mirror = mirror(&upstream, "1h");
    let found = get(&mirror, "/v2/library/a/manifests/v1");
    assert_eq!((found.status, found.header("docker-content-digest")), (200, tagged.as_str()));
    let path = format!("/v2/library/a/blobs/{}", digest(&large));
    let head = send(mirror.address, "HEAD", &path, &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, "2400000"));
    // Many at once, in whole and in part: all get it, and it is fetched once.
    thread::scope(|scope| {
        for lane in 0..6 {
            let (mirror, path, large) = (&mirror, &path, &large);
            scope.spawn(move || match lane % 3 {
                0 => {
                    let part = send(mirror.address, "GET", path, &[("range", "bytes=9-99")], b"");
                    assert_eq!((part.status, &part.body[..]), (206, &large[9..100]));
                }
                _ => assert!(get(mirror, path).body == *large),
            });
        }
    });
    let fetched = upstream.log.lock().expect("no panic").clone();
    let fetched = fetched.iter().filter(|line| line.contains("GET /v2/library/a/blobs/")).count();
    assert_eq!(fetched, 1);
    // The upstream goes; what is here stays.
    drop(upstream.end());
    assert!(get(&mirror, &path).body == large);
    assert_eq!(get(&mirror, "/v2/library/a/manifests/v1").status, 200);
    assert_eq!(get(&mirror, "/v2/library/b/manifests/v1").status, 503);
    let other = format!("/v2/library/a/blobs/{}", digest(b"other"));
    assert_eq!(get(&mirror, &other).status, 404);
    assert_eq!(mirror.registry.check(false).expect("a check").findings.len(), 0);
}

#[test]
fn tags_follow_their_upstream() {
    let upstream = Server::open();
    let first = push_image(&upstream, "a", "v1", b"one");
    let mirror = mirror(&upstream, "0s");
    let digest_of =
        || get(&mirror, "/v2/a/manifests/v1").header("docker-content-digest").to_owned();
    assert_eq!(digest_of(), first);
    let second = push_image(&upstream, "a", "v1", b"two");
    assert_eq!(digest_of(), second);
    assert_eq!(get(&mirror, "/v2/a/manifests/v2").status, 404);
    let path = format!("/v2/a/manifests/{first}");
    assert_eq!(get(&mirror, &path).status, 200);
    drop(upstream.end());
    assert_eq!(digest_of(), second);
}

#[test]
fn nobody_pushes_to_a_mirror_or_makes_it_fetch() {
    let upstream = Server::open();
    assert_eq!(push(&upstream, "a", b"unnamed").status, 201);
    let mirror = mirror(&upstream, "1h");
    assert_eq!(push(&mirror, "a", b"one").code(), "UNSUPPORTED");
    assert_eq!(push_manifest(&mirror, "a", "v1", &manifest(&[b"one"], "")).code(), "UNSUPPORTED");
    let path = format!("/v2/a/blobs/{}", digest(b"unnamed"));
    assert_eq!(get(&mirror, &path).code(), "BLOB_UNKNOWN");
}

#[test]
fn lists_are_those_of_the_upstream() {
    let upstream = Server::open();
    let subject = push_image(&upstream, "a", "v1", b"one");
    let _ = push_image(&upstream, "a", "v2", b"two");
    let about = format!(
        r#","artifactType":"x/note","subject":{{"mediaType":"{MANIFEST}","digest":"{subject}","size":9}}"#
    );
    let note = manifest(&[b"one"], &about);
    let pushed = push_manifest(&upstream, "a", &digest(note.as_bytes()), &note);
    assert_eq!(pushed.status, 201);
    let mirror = mirror(&upstream, "1h");
    let tags = |path: &str| get(&mirror, path).json()["tags"].clone();
    let page = get(&mirror, "/v2/a/tags/list?n=1");
    assert_eq!(page.header("link"), "</v2/a/tags/list?n=1&last=v1>; rel=\"next\"");
    assert_eq!(page.json()["tags"], serde_json::json!(["v1"]));
    assert_eq!(tags("/v2/a/tags/list?n=1&last=v1"), serde_json::json!(["v2"]));
    let path = format!("/v2/a/referrers/{subject}");
    let referrers = |more: &str| {
        let answer = get(&mirror, &format!("{path}{more}"));
        assert_eq!(answer.status, 200);
        answer.json()["manifests"].as_array().map(Vec::len)
    };
    assert_eq!((referrers(""), referrers("?artifactType=x/note")), (Some(1), Some(1)));
    assert_eq!(referrers("?artifactType=x/other"), Some(0));
    let found = get(&mirror, &path).json()["manifests"][0]["digest"].clone();
    let found = found.as_str().expect("a digest").to_owned();
    assert_eq!(get(&mirror, &format!("/v2/a/manifests/{found}")).text(), note);
    assert_eq!(get(&mirror, "/v2/nobody/tags/list").code(), "NAME_UNKNOWN");
    // Without the upstream, what is here.
    assert_eq!(get(&mirror, "/v2/a/manifests/v1").status, 200);
    drop(upstream.end());
    assert_eq!(tags("/v2/a/tags/list"), serde_json::json!(["v1"]));
    assert_eq!(referrers(""), Some(1));
    assert_eq!(get(&mirror, "/v2/b/tags/list").status, 404);
}

#[test]
fn what_nobody_asks_for_is_not_kept() {
    let upstream = Server::open();
    for (tag, bytes) in [("used", b"one"), ("unused", b"two")] {
        let _ = push_image(&upstream, "a", tag, bytes);
    }
    let mirror = Server::with(&format!(
        r#"{{"collect": {{"grace": "1h"}}, "mirrors": [{{"repositories": ["**"],
            "upstream": "{}", "fresh": "1h", "keep": "7d"}}]}}"#,
        upstream.address
    ));
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let pull = |tag: &str, bytes: &[u8]| {
        assert_eq!(get(&mirror, &format!("/v2/a/manifests/{tag}")).status, 200);
        assert_eq!(get(&mirror, &format!("/v2/a/blobs/{}", digest(bytes))).body, bytes);
    };
    pull("used", b"one");
    pull("unused", b"two");
    mirror.later(hours(6 * 24));
    pull("used", b"one");
    assert_eq!(mirror.registry.collect().expect("a collection").pruned.manifests, 0);
    mirror.later(hours(2 * 24));
    let swept = mirror.registry.collect().expect("a collection");
    assert_eq!((swept.pruned.manifests, swept.pruned.blobs), (1, 1));
    drop(upstream.end());
    pull("used", b"one");
    assert_eq!(get(&mirror, "/v2/a/manifests/unused").status, 503);
    assert_eq!(mirror.registry.check(false).expect("a check").findings.len(), 0);
}
