//! Pushing: to registries that have it already, break off, forget, move, and refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dhow_distribution::{Class, Client, Credentials, Error, InMemory, Keyring, Pushed};
use dhow_spec::image::{Descriptor, Family, Manifest, MediaType};
use dhow_spec::{Platform, Reference};

use crate::memory::Memory;
use crate::server::{Ending, Reply, Request, Server};
use crate::support::*;

const UPLOADS: &str = "/v2/a/blobs/uploads/";

async fn push(
    client: &Client,
    server: &Server,
    source: &mut Pieces,
    diary: &Diary,
) -> Result<Pushed, Error> {
    let layer = layer_of(&source.bytes);
    client.push(&repository(&format!("{}/a", server.name())), &layer, None, source, diary).await
}

/// The uploads that a server saw: method, range and bytes of each.
fn parts(server: &Server) -> Vec<(String, Option<String>, usize)> {
    let uploads = server.seen().into_iter().filter(|seen| seen.path().starts_with(UPLOADS));
    uploads
        .map(|seen| {
            let range = seen.header("content-range").map(str::to_owned);
            (seen.method.clone(), range, seen.body.len())
        })
        .collect()
}

fn part(method: &str, range: Option<&str>, size: usize) -> (String, Option<String>, usize) {
    (method.to_owned(), range.map(str::to_owned), size)
}

#[tokio::test]
async fn a_blob_travels_once() {
    let memory = Memory::new();
    let content = memory.content.clone();
    let server = Server::start(memory).await;
    let (client, bytes, diary) = (client(), noise(10_500), Diary::default());
    let mut source = Pieces::new(&bytes);
    let pushed = push(&client, &server, &mut source, &diary).await.expect("a push");
    assert_eq!((pushed, source.read), (Pushed::Uploaded, 10_500));
    assert_eq!(parts(&server), [part("POST", None, 0), part("PUT", None, 10_500)]);
    assert_eq!(diary.lines("progress").last().map(String::as_str), Some("progress 10500 of 10500"));
    assert!(content.lock().expect("fine").blobs.values().any(|held| *held == bytes));

    let pushed = push(&client, &server, &mut source, &diary).await.expect("nothing to do");
    assert_eq!((pushed, source.read), (Pushed::Existed, 10_500));
    assert_eq!(diary.lines("exists").len(), 1);
}

#[tokio::test]
async fn an_empty_blob() {
    let server = Server::start(Memory::new()).await;
    let pushed = push(&client(), &server, &mut Pieces::new(b""), &Diary::default()).await;
    assert_eq!(pushed.expect("a push"), Pushed::Uploaded);
}

#[tokio::test]
async fn a_blob_is_mounted_from_another_repository() {
    let bytes = noise(5000);
    let present = bytes.clone();
    // Only the other repository is known to have it.
    let memory = Memory::new().rule(|request, _| {
        (request.method == "HEAD").then(|| Reply::error(404, "BLOB_UNKNOWN", "unknown"))
    });
    memory.fill(|content| content.add_blob(&present));
    let server = Server::start(memory).await;
    let (client, diary, mut source) = (client(), Diary::default(), Pieces::new(&bytes));
    let (to, from) = (
        repository(&format!("{}/a", server.name())),
        repository(&format!("{}/b/c", server.name())),
    );
    let layer = layer_of(&bytes);
    let pushed = client.push(&to, &layer, Some(&from), &mut source, &diary).await;
    assert_eq!((pushed.expect("a mount"), source.read), (Pushed::Mounted, 0));
    assert_eq!(diary.lines("mounted"), ["mounted from b/c"]);
    let asked = server.seen();
    assert_eq!(asked.last().expect("a request").query("from").as_deref(), Some("b/c"));

    // A registry that does not mount begins an upload instead, or complains; either will do.
    for refusal in [202, 404, 403] {
        let memory = Memory::new().rule(move |request, content| {
            let is_mount = request.query("mount").is_some();
            is_mount.then(|| match refusal {
                202 => content.answer(&Request { target: UPLOADS.to_owned(), ..request.clone() }),
                _ => Reply::error(refusal, "DENIED", "no"),
            })
        });
        let server = Server::start(memory).await;
        let to = repository(&format!("{}/a", server.name()));
        let from = repository(&format!("{}/b", server.name()));
        let pushed = client.push(&to, &layer, Some(&from), &mut source, &()).await;
        assert_eq!(pushed.expect("an upload"), Pushed::Uploaded, "{refusal}");
    }
}

#[tokio::test]
async fn an_upload_goes_on_where_the_registry_stopped() {
    let cuts = AtomicUsize::new(0);
    let memory = Memory::new().limit(move |request| {
        let is_body = request.header("content-length").is_some_and(|length| length.len() > 3);
        (is_body && cuts.fetch_add(1, Ordering::SeqCst) < 3).then_some(20_000)
    });
    let content = memory.content.clone();
    // What was read before the cut is kept, as registries do.
    let memory = memory.rule(|request, content| {
        let short = request.method == "PUT" && request.body.len() == 20_000;
        short.then(|| {
            let id = request.path().rsplit('/').next().expect("an id").to_owned();
            content.uploads.get_mut(&id).expect("a session").extend_from_slice(&request.body);
            Reply::new(500)
        })
    });
    let server = Server::start(memory).await;
    let (bytes, diary) = (noise(100_000), Diary::default());
    let mut source = Pieces::new(&bytes);
    push(&client(), &server, &mut source, &diary).await.expect("a push");
    assert_eq!(
        parts(&server),
        [
            part("POST", None, 0),
            part("PUT", None, 20_000),
            part("GET", None, 0),
            part("PATCH", Some("20000-99999"), 20_000),
            part("GET", None, 0),
            part("PATCH", Some("40000-99999"), 20_000),
            part("GET", None, 0),
            part("PATCH", Some("60000-99999"), 40_000),
            part("PUT", None, 0),
        ]
    );
    assert!(content.lock().expect("fine").blobs.values().any(|held| *held == bytes));
    assert_eq!(diary.lines("retrying").len(), 3);
}

#[tokio::test]
async fn a_session_that_is_forgotten_begins_anew() {
    let forgotten = AtomicUsize::new(0);
    let memory = Memory::new().rule(move |request, content| {
        let first = request.method == "PUT" && forgotten.fetch_add(1, Ordering::SeqCst) == 0;
        first.then(|| {
            content.uploads.clear();
            Reply::new(503)
        })
    });
    let server = Server::start(memory).await;
    push(&client(), &server, &mut Pieces::new(&noise(3000)), &Diary::default())
        .await
        .expect("a push");
    assert_eq!(server.count("POST", UPLOADS), 2);

    // One that always forgets is given up.
    let memory = Memory::new().rule(|request, _| {
        let is_body = request.path().starts_with(UPLOADS) && request.method != "POST";
        is_body.then(|| Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown"))
    });
    let server = Server::start(memory).await;
    let pushed = push(&client(), &server, &mut Pieces::new(&noise(3000)), &Diary::default()).await;
    pushed.expect_err("never");
    assert_eq!(server.count("POST", UPLOADS), 5);
}

/// A registry behind something that lets no large bodies through.
fn narrow(min: Option<usize>) -> Memory {
    Memory::new().rule(move |request, content| {
        if request.body.len() > 10_000 {
            return Some(Reply::new(413));
        }
        let reply = content.answer(request);
        let Some(min) = min.filter(|_| request.method == "POST") else { return Some(reply) };
        Some(reply.with("OCI-Chunk-Min-Length", min))
    })
}

#[tokio::test]
async fn what_is_refused_whole_goes_in_pieces() {
    let mut config = config();
    config.limits.chunk_bytes = 4000;
    let client = client_of(config, Names::default());
    let server = Server::start(narrow(None)).await;
    push(&client, &server, &mut Pieces::new(&noise(10_500)), &Diary::default())
        .await
        .expect("a push");
    assert_eq!(
        parts(&server)[3..],
        [
            part("PATCH", Some("0-3999"), 4000),
            part("PATCH", Some("4000-7999"), 4000),
            part("PATCH", Some("8000-10499"), 2500),
            part("PUT", None, 0),
        ]
    );
    let server = Server::start(narrow(Some(6000))).await;
    push(&client, &server, &mut Pieces::new(&noise(10_500)), &Diary::default())
        .await
        .expect("a push");
    assert_eq!(
        parts(&server)[3..],
        [
            part("PATCH", Some("0-5999"), 6000),
            part("PATCH", Some("6000-10499"), 4500),
            part("PUT", None, 0),
        ]
    );
}

#[tokio::test]
async fn a_piece_that_does_not_fit_is_sent_again() {
    let lost = AtomicUsize::new(0);
    // The second piece is acknowledged and lost.
    let memory = narrow(None);
    let content = memory.content.clone();
    let server = Server::start(move |request: &Request| {
        let mut content = content.lock().expect("fine");
        if request.body.len() > 10_000 {
            return Reply::new(413);
        }
        if request.method == "PATCH" && lost.fetch_add(1, Ordering::SeqCst) == 1 {
            let place = request.path().to_owned();
            return Reply::new(202).with("Location", place);
        }
        content.answer(request)
    })
    .await;
    let mut config = config();
    config.limits.chunk_bytes = 4000;
    let client = client_of(config, Names::default());
    push(&client, &server, &mut Pieces::new(&noise(10_500)), &Diary::default())
        .await
        .expect("a push");
    let ranges: Vec<_> = parts(&server)[3..]
        .iter()
        .map(|(method, range, _)| format!("{method} {}", range.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        ranges,
        [
            "PATCH 0-3999",
            "PATCH 4000-7999",
            "PATCH 8000-10499",
            "GET ",
            "PATCH 4000-7999",
            "PATCH 8000-10499",
            "PUT "
        ]
    );
}

#[tokio::test]
async fn an_upload_elsewhere_learns_nothing_of_us() {
    let store = Server::start(|_: &Request| Reply::new(201)).await;
    let target = format!("http://{}/bucket/key?signature=x", store.name());
    let memory = Memory::new().rule(move |request, _| {
        let is_begin = request.is("POST", UPLOADS);
        is_begin.then(|| Reply::new(202).with("Location", &target))
    });
    let server = Server::start(memory).await;
    let token = Credentials::Registry { token: "secret".to_owned() };
    let client = client().with_credentials(Keyring::of(&server.name(), token));
    push(&client, &server, &mut Pieces::new(&noise(3000)), &Diary::default())
        .await
        .expect("a push");
    let seen = store.seen();
    assert_eq!(seen.len(), 1);
    assert!(
        seen[0].target.starts_with("/bucket/key?signature=x&digest=sha256%3A"),
        "{}",
        seen[0].target
    );
    assert_eq!(seen[0].header("authorization"), None);
    assert!(server.seen()[2].header("authorization").is_some());
}

#[tokio::test]
async fn a_session_may_move_with_every_answer() {
    for absolute in [false, true] {
        let moved = Arc::new(AtomicUsize::new(0));
        let memory = narrow(None);
        let content = memory.content.clone();
        let server = Server::start(move |request: &Request| {
            if request.body.len() > 10_000 {
                return Reply::new(413);
            }
            let mut reply = content.lock().expect("fine").answer(request);
            let state = moved.fetch_add(1, Ordering::SeqCst);
            let host = request.header("host").expect("a host").to_owned();
            for (name, value) in &mut reply.headers {
                if name == "Location" && value.contains("uploads") {
                    let start = if absolute { format!("http://{host}") } else { String::new() };
                    *value = format!("{start}{value}?_state={state}");
                }
            }
            reply
        })
        .await;
        let mut config = config();
        config.limits.chunk_bytes = 6000;
        let client = client_of(config, Names::default());
        push(&client, &server, &mut Pieces::new(&noise(10_500)), &Diary::default())
            .await
            .expect("a push");
        let states: Vec<_> = server.seen().iter().filter_map(|seen| seen.query("_state")).collect();
        assert!(states.len() == 4 && states.is_sorted_by(|a, b| a < b), "{states:?}");
    }
}

#[tokio::test]
async fn a_source_that_fails_leaves_no_session() {
    let memory = Memory::new();
    let content = memory.content.clone();
    let server = Server::start(memory).await;
    let mut source = Pieces::new(&noise(10_000));
    source.rotten_from = 5000;
    let error = push(&client(), &server, &mut source, &Diary::default()).await.expect_err("rotten");
    assert_eq!(error.class(), Class::Internal);
    assert!(error.to_string().ends_with("read: the disk is rotten"), "{error}");
    assert!(content.lock().expect("fine").uploads.is_empty());
}

#[tokio::test]
async fn wrong_bytes_are_refused_by_the_registry() {
    let server = Server::start(Memory::new()).await;
    let mut layer = layer_of(b"right");
    layer.size = 5;
    let to = repository(&format!("{}/a", server.name()));
    let mut source = InMemory::new(bytes::Bytes::from_static(b"wrong"));
    let error = client().push(&to, &layer, None, &mut source, &()).await.expect_err("wrong");
    assert!(error.to_string().contains("digest invalid: provided digest did not match"), "{error}");
}

#[tokio::test]
async fn whoever_may_not_push_is_told_so() {
    let memory = Memory::new().rule(|request, _| {
        let message = "requested access to the resource is denied";
        (request.method == "POST").then(|| Reply::error(403, "DENIED", message))
    });
    let server = Server::start(memory).await;
    let pushed = push(&client(), &server, &mut Pieces::new(b"x"), &Diary::default()).await;
    let text = format!(
        "push access denied for {0}/a, repository does not exist or may require 'dhow login {0}': \
         denied: requested access to the resource is denied",
        server.name()
    );
    assert_eq!(pushed.expect_err("no").to_string(), text);
}

#[tokio::test]
async fn many_blobs_at_once() {
    let memory = Memory::new();
    let content = memory.content.clone();
    let server = Server::start(memory).await;
    let (client, to) = (client(), repository(&format!("{}/a", server.name())));
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..20 {
        let (client, to) = (client.clone(), to.clone());
        tasks.spawn(async move {
            let mut source = Pieces::new(&noise(50_000 + index));
            let layer = layer_of(&source.bytes);
            client.push(&to, &layer, None, &mut source, &()).await
        });
    }
    while let Some(pushed) = tasks.join_next().await {
        pushed.expect("no panic").expect("a push");
    }
    assert_eq!(content.lock().expect("fine").blobs.len(), 20);
    assert!(server.load_max() <= 6);
}

fn image() -> Manifest {
    add_image(&mut crate::memory::Content::default(), &Platform::new("linux", "amd64", ""), &[b"x"])
}

async fn put(client: &Client, name: &str, manifest: &Manifest) -> Result<Descriptor, Error> {
    let kind = MediaType::Manifest(Family::Oci);
    client.push_manifest(&reference(name), &kind, manifest.to_json().into(), &()).await
}

#[tokio::test]
async fn manifests_by_tag_and_by_digest() {
    let server = Server::start(Memory::new()).await;
    let (client, manifest) = (client(), image());
    let digest = digest_of(manifest.to_json().as_bytes());
    for suffix in [":1".to_owned(), format!("@{digest}"), format!(":2@{digest}")] {
        let name = format!("{}/a{suffix}", server.name());
        let pushed = put(&client, &name, &manifest).await.expect("a push");
        assert_eq!(pushed, client.resolve(&reference(&name), &()).await.expect("it is there"));
    }
    assert_eq!(server.count("PUT", "/v2/a/manifests/2"), 1);
    let wrong = format!("{}/a@{}", server.name(), digest_of(b"another"));
    let error = put(&client, &wrong, &manifest).await.expect_err("another");
    assert!(error.to_string().contains("verification failed for digest"), "{error}");
}

#[tokio::test]
async fn a_registry_that_took_something_else() {
    let memory = Memory::new().rule(|request, _| {
        let is_put = request.method == "PUT";
        is_put.then(|| Reply::new(201).with("Docker-Content-Digest", digest_of(b"another")))
    });
    let server = Server::start(memory).await;
    let error =
        put(&client(), &format!("{}/a:1", server.name()), &image()).await.expect_err("a lie");
    assert!(error.to_string().contains("verification failed for digest"), "{error}");
    let pushed = push(&client(), &server, &mut Pieces::new(b"x"), &Diary::default()).await;
    let error = pushed.expect_err("a lie").to_string();
    assert!(error.contains("verification failed for digest"), "{error}");
}

#[tokio::test]
async fn a_manifest_is_pushed_again_where_that_helps() {
    let tried = AtomicUsize::new(0);
    let memory = Memory::new().rule(move |request, _| {
        let is_first = request.method == "PUT" && tried.fetch_add(1, Ordering::SeqCst) < 2;
        is_first.then(|| Reply::new(503).ending(Ending::Nothing))
    });
    let server = Server::start(memory).await;
    put(&client(), &format!("{}/a:1", server.name()), &image()).await.expect("at last");
}

fn about(subject: &Descriptor, kind: &str) -> Manifest {
    let mut manifest = image();
    manifest.subject = Some(subject.clone());
    manifest.artifact_type = Some(MediaType::parse(kind).expect(kind));
    manifest.annotations.insert("made.by".to_owned(), kind.to_owned());
    manifest
}

#[tokio::test]
async fn what_is_about_something_is_listed_by_us_where_the_registry_does_not() {
    let server = Server::start(Memory::new()).await;
    let (client, host) = (client(), server.name());
    let subject = put(&client, &format!("{host}/a:1"), &image()).await.expect("a subject");
    let mut pushed = Vec::new();
    for kind in ["text/one", "text/two"] {
        let manifest = about(&subject, kind);
        let digest = digest_of(manifest.to_json().as_bytes());
        for _ in 0..2 {
            put(&client, &format!("{host}/a@{digest}"), &manifest).await.expect("a push");
        }
        pushed.push(digest);
    }
    let to = repository(&format!("{host}/a"));
    let listed = client.referrers(&to, subject.digest, None, &()).await.expect("a list");
    assert_eq!(listed.iter().map(|entry| entry.digest).collect::<Vec<_>>(), pushed, "each once");
    assert_eq!(listed[0].annotations["made.by"], "text/one");
    let kind = MediaType::parse("text/two").expect("a type");
    let listed = client.referrers(&to, subject.digest, Some(&kind), &()).await.expect("a list");
    assert_eq!(listed.iter().map(|entry| entry.digest).collect::<Vec<_>>(), pushed[1..]);

    // And taken off the list when it is removed.
    let gone = Reference::pinned(to.clone(), pushed[0]);
    client.delete_manifest(&gone, &()).await.expect("a removal");
    let listed = client.referrers(&to, subject.digest, None, &()).await.expect("a list");
    assert_eq!(listed.iter().map(|entry| entry.digest).collect::<Vec<_>>(), pushed[1..]);
}

#[tokio::test]
async fn a_registry_that_lists_referrers_is_left_to_it() {
    let memory = Memory::new().rule(|request, content| {
        let is_put = request.method == "PUT";
        is_put.then(|| content.answer(request).with("OCI-Subject", digest_of(b"x")))
    });
    let server = Server::start(memory).await;
    let subject = layer_of(b"x");
    let manifest = about(&subject, "text/one");
    put(&client(), &format!("{}/a:1", server.name()), &manifest).await.expect("a push");
    assert_eq!(server.seen().iter().filter(|seen| seen.method == "PUT").count(), 1);
}

#[tokio::test]
async fn a_list_that_others_change_meanwhile_is_read_again() {
    let races = AtomicUsize::new(0);
    let memory = Memory::new().rule(move |request, content| {
        let is_list = request.path().contains("/manifests/sha256-");
        match request.method.as_str() {
            "GET" if is_list => Some(content.answer(request).with("ETag", "\"v\"")),
            "PUT" if is_list && request.header("if-match").is_some() => {
                let is_first = races.fetch_add(1, Ordering::SeqCst) == 0;
                is_first.then(|| Reply::new(412))
            }
            _ => None,
        }
    });
    let server = Server::start(memory).await;
    let (client, host) = (client(), server.name());
    let subject = put(&client, &format!("{host}/a:1"), &image()).await.expect("a subject");
    for kind in ["text/one", "text/two"] {
        put(&client, &format!("{host}/a:{}", &kind[5..]), &about(&subject, kind))
            .await
            .expect("a push");
    }
    let to = repository(&format!("{host}/a"));
    let listed = client.referrers(&to, subject.digest, None, &()).await.expect("a list");
    assert_eq!(listed.len(), 2);
    let lists = server.seen();
    let lists = lists.iter().filter(|seen| seen.method == "PUT" && seen.path().contains("sha256-"));
    let conditions: Vec<_> = lists.map(|seen| seen.header("if-match").map(str::to_owned)).collect();
    assert_eq!(conditions, [None, Some("\"v\"".to_owned()), Some("\"v\"".to_owned())]);
}
