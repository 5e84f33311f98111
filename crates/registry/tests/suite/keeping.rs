//! What is kept and what is not: garbage, uploads that end, a root taken over by the next process.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::http::{Http, send};
use crate::pushes::{begin, digest, manifest, push, push_image, push_manifest};
use crate::server::Server;

/// Everything that nobody names goes at once.
const AT_ONCE: &str =
    r#"{"collect": {"grace": "0s", "uploads": "0s", "untagged": "0s", "interval": "1d"}}"#;

#[test]
fn what_nothing_names_goes() {
    let server = Server::with(AT_ONCE);
    let _ = push_image(&server, "a", "v1", b"kept");
    let gone = push_image(&server, "a", "v2", b"gone");
    assert_eq!(push(&server, "a", b"never named").status, 201);
    assert_eq!(push(&server, "b", b"gone").status, 201);
    let _ = begin(&server, "a");
    let path = format!("/v2/a/manifests/{gone}");
    assert_eq!(send(server.address, "DELETE", &path, &[], b"").status, 202);
    std::thread::sleep(std::time::Duration::from_millis(5));
    let swept = server.registry.collect().expect("a collection");
    // Two blobs in `a`, one in `b`; three files, one of them a manifest; and one upload.
    assert_eq!((swept.pruned.blobs, swept.pruned.repositories), (3, 1));
    assert_eq!((swept.collected.blobs, swept.collected.ingests), (3, 1));
    let mut http = Http::connect(server.address);
    assert_eq!(http.send("GET", "/v2/a/manifests/v1", &[], b"").status, 200);
    let path = format!("/v2/a/blobs/{}", digest(b"kept"));
    assert_eq!(http.send("GET", &path, &[], b"").body, b"kept");
    let path = format!("/v2/a/blobs/{}", digest(b"gone"));
    assert_eq!(http.send("GET", &path, &[], b"").code(), "BLOB_UNKNOWN");
    let report = server.registry.check(false).expect("a check");
    assert_eq!((report.blobs, report.findings.len()), (2, 0));
    // After removing everything the store is empty to the byte.
    assert_eq!(http.send("DELETE", "/v2/a/manifests/v1", &[], b"").status, 202);
    let _ = server.registry.collect().expect("a collection");
    assert_eq!(server.registry.check(false).expect("a check").blobs, 0);
    let names = send(server.address, "GET", "/v2/_catalog", &[], b"");
    assert_eq!(names.json()["repositories"], serde_json::json!([]));
}

#[test]
fn referrers_stay_with_their_subject() {
    let server = Server::with(AT_ONCE);
    let subject = push_image(&server, "a", "v1", b"one");
    let about = format!(
        r#","subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{subject}","size":1}}"#
    );
    let signature = manifest(&[b"one"], &about);
    let path = digest(signature.as_bytes());
    assert_eq!(push_manifest(&server, "a", &path, &signature).status, 201);
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(server.registry.collect().expect("a collection").pruned.manifests, 0);
    assert_eq!(send(server.address, "DELETE", "/v2/a/manifests/v1", &[], b"").status, 202);
    // The subject goes, and then what was about it.
    let swept = server.registry.collect().expect("a collection");
    assert_eq!((swept.pruned.manifests, swept.pruned.repositories), (2, 1));
}

#[test]
fn a_push_is_not_broken_by_collections() {
    let server = Server::with(r#"{"collect": {"grace": "1h", "uploads": "1h", "untagged": "1h"}}"#);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = server.registry.collect().expect("a collection");
            }
        });
        let pushes: Vec<_> = (0..4)
            .map(|lane| {
                let server = &server;
                scope.spawn(move || {
                    for round in 0..25 {
                        let name = format!("r{}", round % 3);
                        let bytes = format!("blob {} of {lane}", round % 5);
                        let _ = push_image(
                            server,
                            &name,
                            &format!("t{lane}-{round}"),
                            bytes.as_bytes(),
                        );
                        let path = format!("/v2/{name}/manifests/t{lane}-{round}");
                        assert_eq!(send(server.address, "DELETE", &path, &[], b"").status, 202);
                    }
                })
            })
            .collect();
        for push in pushes {
            push.join().expect("no push fails");
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(server.registry.check(false).expect("a check").findings.len(), 0);
}

#[test]
fn the_next_process_has_it_all() {
    let server = Server::open();
    let digest = push_image(&server, "a/b", "v1", b"one");
    let server = Server::over(server.end(), "{}");
    let got = send(server.address, "GET", "/v2/a/b/manifests/v1", &[], b"");
    assert_eq!((got.status, got.header("docker-content-digest")), (200, digest.as_str()));
    let pages = send(server.address, "GET", "/metrics", &[], b"").text();
    assert!(pages.contains("dhow_registry_requests_total{status=\"2xx\"} 1\n"), "{pages}");
    assert_eq!(send(server.address, "GET", "/healthz", &[], b"").status, 200);
}

#[test]
fn damage_is_found_and_forgotten() {
    let server = Server::open();
    let _ = push_image(&server, "a", "v1", b"one");
    let hex = &digest(b"one")["sha256:".len()..];
    let file = server.scratch.path().join("root/blobs/sha256").join(hex);
    std::fs::write(&file, b"two").expect("damage");
    let report = server.registry.check(false).expect("a check");
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert!(server.registry.check(true).expect("a check").findings[0].1);
    let path = format!("/v2/a/blobs/{}", digest(b"one"));
    assert_eq!(send(server.address, "GET", &path, &[], b"").status, 404);
    // Who has it can bring it again.
    assert_eq!(push(&server, "a", b"one").status, 201);
    assert_eq!(send(server.address, "GET", &path, &[], b"").body, b"one");
    assert_eq!(server.registry.check(false).expect("a check").findings.len(), 0);
}

#[test]
fn a_layout_goes_out_and_comes_in() {
    let server = Server::open();
    let first = push_image(&server, "a", "v1", b"one");
    let _ = push_image(&server, "a", "v2", b"two");
    let layout = server.scratch.path().join("layout");
    let path = |name: &str| dhow_spec::RepositoryPath::parse(name).expect("a name");
    let out = server.registry.export(&path("a"), &layout).expect("a layout");
    assert_eq!((out.tags, out.manifests, out.blobs), (2, 2, 2));
    let other = Server::open();
    let back = other.registry.import(&path("b/c"), &layout).expect("a repository");
    assert_eq!(back, out);
    let got = send(other.address, "GET", "/v2/b/c/manifests/v1", &[], b"");
    assert_eq!(got.header("docker-content-digest"), first);
    // Bytes that are not what their name says are not taken.
    let hex = &digest(b"two")["sha256:".len()..];
    std::fs::write(layout.join("blobs/sha256").join(hex), b"not").expect("damage");
    let fresh = Server::open();
    assert!(fresh.registry.import(&path("a"), &layout).is_err());
    let report = fresh.registry.check(false).expect("a check");
    assert_eq!(report.findings, []);
}
