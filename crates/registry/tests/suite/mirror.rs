//! A registry that mirrors another: what comes through, what stays, what is served when the other is gone.

use std::thread;

use crate::http::{Answer, send};
use crate::pushes::{digest, manifest, push, push_image, push_manifest};
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
