//! Pulling: from registries that cut, stall, lie and limit.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dhow_distribution::{Class, Error, Mismatch};
use dhow_spec::image::Descriptor;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::memory::Memory;
use crate::server::{Ending, Reply, Request, Server};
use crate::support::*;

/// A server of one blob, whose answers `answer` makes; the number counts the requests for it.
async fn blob_server(
    bytes: Vec<u8>,
    answer: impl Fn(&Request, usize, &[u8]) -> Reply + Send + Sync + 'static,
) -> Server {
    let asked = AtomicUsize::new(0);
    Server::start(move |request: &Request| {
        if !request.path().contains("/blobs/") {
            return Reply::ok("{}");
        }
        answer(request, asked.fetch_add(1, Ordering::SeqCst), &bytes)
    })
    .await
}

async fn fetch(
    server: &Server,
    layer: &Descriptor,
    sink: &mut Kept,
    diary: &Diary,
) -> Result<(), Error> {
    client().fetch(&repository(&format!("{}/a", server.name())), layer, sink, diary).await
}

/// Where a request wants a blob to begin.
fn from(request: &Request) -> usize {
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes="));
    range.and_then(|range| range.strip_suffix('-')?.parse().ok()).unwrap_or(0)
}

fn part(request: &Request, bytes: &[u8]) -> Reply {
    let from = from(request);
    let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
    let reply =
        if from == 0 { Reply::new(200) } else { Reply::new(206).with("Content-Range", range) };
    reply.body(&bytes[from..])
}

fn blob_requests(server: &Server) -> Vec<Request> {
    server.seen().into_iter().filter(|request| request.path().contains("/blobs/")).collect()
}

#[tokio::test]
async fn an_image_for_a_platform() {
    let memory = Memory::new();
    let index = memory.fill(|content| {
        add_index(content, "a/b", "1", &[("linux/arm64", true), ("linux/amd64", true)])
    });
    let server = Server::start(memory).await;
    let (client, name) = (client(), reference(&format!("{}/a/b:1", server.name())));
    let (matcher, wanted) = (matcher("linux/arm64"), platform("linux/arm64"));
    let image = client.image(&name, &matcher, &wanted, &()).await.expect("an image");
    let agents = server.seen();
    assert!(agents.iter().all(|seen| seen.header("user-agent") == Some("dhow-test/1")));
    assert_eq!(image.path.len(), 2);
    assert_eq!(image.path[0].bytes, index.to_json());
    assert_eq!(image.path[1].descriptor.digest, index.manifests[0].digest);
    assert_eq!(client.resolve(&name, &()).await.expect("a target"), *image.target());
    let mut kept = Kept::default();
    let layer = &image.manifest.layers[0];
    client.fetch(name.repository(), layer, &mut kept, &()).await.expect("a layer");
    assert_eq!((kept.bytes.as_slice(), kept.is_finished), (b"linux/arm64".as_slice(), true));
    let config = &image.manifest.config;
    let bytes = client.fetch_bytes(name.repository(), config, 1 << 20, &()).await.expect("bytes");
    assert_eq!(digest_of(&bytes), config.digest);

    let (matcher, wanted) = (self::matcher("linux/s390x"), platform("linux/s390x"));
    let error = client.image(&name, &matcher, &wanted, &()).await.expect_err("no such platform");
    assert_eq!(error.class(), Class::NotFound);
    let text = format!("no matching manifest for linux/s390x in the manifest list entries: {name}");
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn entries_without_platform_are_looked_into() {
    let memory = Memory::new();
    let index = memory.fill(|content| {
        add_index(content, "a", "1", &[("linux/s390x", false), ("linux/amd64", false)])
    });
    let server = Server::start(memory).await;
    let name = reference(&format!("{}/a:1", server.name()));
    let (matcher, wanted) = (matcher("linux/amd64"), platform("linux/amd64"));
    let image = client().image(&name, &matcher, &wanted, &()).await.expect("an image");
    assert_eq!(image.path[1].descriptor.digest, index.manifests[1].digest);
}

#[tokio::test]
async fn a_cut_connection_goes_on_where_it_broke() {
    let bytes = noise(300_000);
    let layer = layer_of(&bytes);
    let server = blob_server(bytes.clone(), |request, _, bytes| {
        part(request, bytes).ending(Ending::CutAfter(70_000))
    })
    .await;
    let (mut kept, diary) = (Kept::default(), Diary::default());
    fetch(&server, &layer, &mut kept, &diary).await.expect("all of it");
    assert!(kept.bytes == bytes && kept.is_finished);
    assert_eq!((kept.written, kept.rewinds), (bytes.len(), 0), "no byte twice");
    let starts: Vec<usize> = blob_requests(&server).iter().map(from).collect();
    assert_eq!(starts, [0, 70_000, 140_000, 210_000, 280_000]);
    assert_eq!(diary.lines("retrying").len(), 4);
    assert_eq!(
        diary.lines("progress").last().map(String::as_str),
        Some("progress 300000 of 300000")
    );
}

#[tokio::test]
async fn a_few_bytes_at_a_time_are_no_progress() {
    let bytes = noise(300_000);
    let layer = layer_of(&bytes);
    let server =
        blob_server(bytes, |request, _, bytes| part(request, bytes).ending(Ending::CutAfter(100)))
            .await;
    let error = fetch(&server, &layer, &mut Kept::default(), &Diary::default()).await;
    assert_eq!(error.expect_err("no progress").class(), Class::Unavailable);
    assert_eq!(blob_requests(&server).len(), 5);
}

#[tokio::test]
async fn a_registry_without_ranges_is_skipped_through() {
    let bytes = noise(100_000);
    let layer = layer_of(&bytes);
    let server = blob_server(bytes.clone(), |_, asked, bytes| {
        let ending = if asked == 0 { Ending::CutAfter(40_000) } else { Ending::Chunked };
        Reply::ok(bytes).ending(ending)
    })
    .await;
    let mut kept = Kept::default();
    fetch(&server, &layer, &mut kept, &Diary::default()).await.expect("all of it");
    assert!(kept.bytes == bytes);
    assert_eq!(kept.written, bytes.len(), "no byte twice");
}

#[tokio::test]
async fn a_download_of_yesterday_goes_on() {
    let bytes = noise(100_000);
    let layer = layer_of(&bytes);
    let server = blob_server(bytes.clone(), |request, _, bytes| part(request, bytes)).await;
    let (mut kept, diary) = (Kept::with(&bytes[..60_000]), Diary::default());
    fetch(&server, &layer, &mut kept, &diary).await.expect("the rest");
    assert!(kept.bytes == bytes);
    assert_eq!((kept.written, kept.rewinds), (40_000, 0));
    assert_eq!(diary.lines("started"), ["started at 60000 of 100000"]);

    let mut all = Kept::with(&bytes);
    fetch(&server, &layer, &mut all, &diary).await.expect("nothing to do");
    assert_eq!((all.written, all.is_finished), (0, true));
    assert_eq!(blob_requests(&server).len(), 1);
}

#[tokio::test]
async fn a_rotten_beginning_is_fetched_again() {
    let bytes = noise(100_000);
    let layer = layer_of(&bytes);
    let server = blob_server(bytes.clone(), |request, _, bytes| part(request, bytes)).await;
    let mut kept = Kept::with(&[0; 60_000]);
    fetch(&server, &layer, &mut kept, &Diary::default()).await.expect("all of it");
    assert!(kept.bytes == bytes && kept.is_finished);
    assert_eq!((kept.written, kept.rewinds), (140_000, 1));
}

#[tokio::test]
async fn wrong_bytes_are_never_finished() {
    let layer = layer_of(&noise(5000));
    let server = blob_server(vec![7; 5000], |_, _, bytes| Reply::ok(bytes)).await;
    let mut kept = Kept::default();
    let error = fetch(&server, &layer, &mut kept, &Diary::default()).await.expect_err("wrong");
    assert!(!kept.is_finished);
    let actual = digest_of(&[7; 5000]);
    let text = format!(
        "{}/a@{1}: verification failed for digest {1}: the content is {actual}",
        server.name(),
        layer.digest
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(blob_requests(&server).len(), 1, "asking again does not help");
}

#[tokio::test]
async fn sizes_that_lie() {
    let check = async |reply: Reply, size: u64, actual: u64| {
        let bytes = noise(5000);
        let mut layer = layer_of(&bytes);
        layer.size = size;
        let server = Server::start(move |request: &Request| match request.path() {
            "/v2/" => Reply::ok("{}"),
            _ if request.header("range").is_some() => {
                Reply::new(416).with("Content-Range", "bytes */5000")
            }
            _ => reply.clone(),
        })
        .await;
        let mut kept = Kept::default();
        let error = fetch(&server, &layer, &mut kept, &Diary::default()).await.expect_err("a lie");
        assert!(!kept.is_finished && kept.written <= 6000);
        let expected = Mismatch::Size { expected: size, actual };
        assert!(error.to_string().ends_with(&expected.to_string()), "{error}");
    };
    let bytes = noise(5000);
    // The descriptor says less or more than there is, whether the answer tells its length or not.
    check(Reply::ok(bytes.clone()), 4000, 5000).await;
    check(Reply::ok(bytes.clone()), 6000, 5000).await;
    check(Reply::ok(bytes.clone()).ending(Ending::Chunked), 4000, 5000).await;
    check(Reply::ok(bytes.clone()).ending(Ending::Chunked), 6000, 5000).await;
    // The answer says more than there is.
    check(Reply::ok(bytes.clone()).ending(Ending::Claiming(9000)), 5000, 9000).await;
}

#[tokio::test]
async fn an_endless_blob_ends() {
    let layer = layer_of(&noise(5000));
    let server =
        blob_server(noise(5000), |_, _, bytes| Reply::ok(bytes).ending(Ending::Endless)).await;
    let mut kept = Kept::default();
    let error = fetch(&server, &layer, &mut kept, &Diary::default()).await.expect_err("too much");
    assert!(error.to_string().contains("size mismatch: expected 5000 bytes"), "{error}");
    assert!(!kept.is_finished && kept.written <= 5000);
}

#[tokio::test]
async fn a_part_that_was_not_asked_for() {
    let bytes = noise(5000);
    let layer = layer_of(&bytes);
    let server = blob_server(bytes.clone(), |_, _, bytes| {
        Reply::new(206).with("Content-Range", "bytes 0-4999/5000").body(bytes)
    })
    .await;
    let mut kept = Kept::with(&bytes[..100]);
    let error = fetch(&server, &layer, &mut kept, &Diary::default()).await.expect_err("no");
    assert!(error.to_string().contains("wrong part of a blob (\"bytes 0-4999/5000\")"), "{error}");
    assert_eq!(kept.written, 0);
}

/// With a client that does not wait long for the next byte.
async fn fetch_impatiently(
    server: &Server,
    layer: &Descriptor,
    sink: &mut Kept,
    diary: &Diary,
) -> Result<(), Error> {
    let mut config = config();
    config.limits.stall = Duration::from_millis(400);
    let client = client_of(config, Names::default());
    client.fetch(&repository(&format!("{}/a", server.name())), layer, sink, diary).await
}

#[tokio::test]
async fn whoever_stalls_is_left() {
    let bytes = noise(50_000);
    let layer = layer_of(&bytes);
    let server = blob_server(bytes.clone(), |request, asked, bytes| {
        let ending = if asked == 0 { Ending::StallAfter(20_000) } else { Ending::Whole };
        part(request, bytes).ending(ending)
    })
    .await;
    let (mut kept, diary) = (Kept::default(), Diary::default());
    fetch_impatiently(&server, &layer, &mut kept, &diary).await.expect("all of it");
    assert_eq!(kept.written, bytes.len());
    let lines = diary.lines("retrying");
    assert!(lines.len() == 1 && lines[0].ends_with("sent nothing for 1 s"), "{lines:?}");
}

#[tokio::test]
async fn whoever_stalls_forever_is_given_up() {
    let layer = layer_of(&noise(50_000));
    let server = blob_server(noise(50_000), |request, _, bytes| {
        part(request, bytes).ending(Ending::StallAfter(0))
    })
    .await;
    let began = Instant::now();
    let error = fetch_impatiently(&server, &layer, &mut Kept::default(), &Diary::default()).await;
    let error = error.expect_err("a dead registry");
    assert_eq!(error.class(), Class::Unavailable);
    assert_eq!(blob_requests(&server).len(), 5);
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
}

#[tokio::test]
async fn trouble_passes_or_does_not() {
    let bytes = noise(1000);
    let layer = layer_of(&bytes);
    let server = blob_server(bytes.clone(), |_, asked, bytes| match asked {
        0 => Reply::new(503),
        1 => Reply::error(500, "UNKNOWN", "oops"),
        2 => Reply::new(200).ending(Ending::Nothing),
        3 => Reply::new(429),
        _ => Reply::ok(bytes),
    })
    .await;
    let diary = Diary::default();
    fetch(&server, &layer, &mut Kept::default(), &diary).await.expect("at last");
    assert_eq!(diary.lines("retrying").len(), 4);

    let server = blob_server(bytes, |_, _, _| Reply::error(502, "UNKNOWN", "oops")).await;
    let error = fetch(&server, &layer, &mut Kept::default(), &diary).await.expect_err("never");
    assert_eq!(blob_requests(&server).len(), 5);
    let text = format!(
        "{}/a@{}: received unexpected HTTP status: 502 Bad Gateway from {}: unknown: oops",
        server.name(),
        layer.digest,
        server.name()
    );
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_registrys_wish_to_wait_is_heard() {
    let bytes = noise(1000);
    let layer = layer_of(&bytes);
    let server = blob_server(bytes, |_, asked, bytes| match asked {
        0 => Reply::new(429).with("Retry-After", "1"),
        1 => Reply::new(503)
            .with("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
            .with("Retry-After", "Sun, 06 Nov 1994 08:49:38 GMT"),
        _ => Reply::ok(bytes),
    })
    .await;
    let (diary, began) = (Diary::default(), Instant::now());
    fetch(&server, &layer, &mut Kept::default(), &diary).await.expect("at last");
    assert!(began.elapsed() >= Duration::from_secs(2));
    let waits = diary.lines("retrying in 1000 ms");
    assert_eq!(waits.len(), 2, "{waits:?}");
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_told_instead() {
    let server = Server::start(|request: &Request| match request.path() {
        "/v2/" => Reply::ok("{}"),
        _ => Reply::error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.")
            .with("Retry-After", "21600")
            .with("RateLimit-Limit", "100;w=21600")
            .with("RateLimit-Remaining", "0;w=21600"),
    })
    .await;
    let name = format!("{}/a:1", server.name());
    let began = Instant::now();
    let error = client().manifest(&reference(&name), &()).await.expect_err("limited");
    assert!(began.elapsed() < Duration::from_secs(15));
    let text = format!(
        "toomanyrequests: You have reached your pull rate limit., 0 of 100 requests left per \
         21600 s, try again in 21600 s ({name}; 'dhow login {}' may raise the limit)",
        server.name()
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(error.class(), Class::Unavailable);
}

#[tokio::test]
async fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let (name, began) = (format!("{address}/a:1"), Instant::now());
    let error = client().manifest(&reference(&name), &()).await.expect_err("nobody");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(error.class(), Class::Unavailable);
    let text =
        format!("{name}: cannot reach {address}: dial tcp {address}: connect: connection refused");
    assert_eq!(error.to_string(), text);

    let error = client().manifest(&reference("nowhere.test/a:1"), &()).await.expect_err("nobody");
    let text = "nowhere.test/a:1: cannot reach nowhere.test: lookup nowhere.test: no such host";
    assert_eq!(error.to_string(), text);
}

/// An address where nobody answers, not even with a refusal: a queue that is full.
async fn silence() -> (SocketAddr, (TcpListener, Vec<TcpStream>)) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let listener = socket.listen(1).expect("a queue");
    let address = listener.local_addr().expect("an address");
    let mut waiting = Vec::new();
    let patience = Duration::from_millis(300);
    while let Ok(stream) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
        waiting.push(stream.expect("a place in the queue"));
    }
    (address, (listener, waiting))
}

#[tokio::test]
async fn one_address_of_a_name_will_do() {
    let memory = Memory::new();
    memory.fill(|content| add_index(content, "a", "1", &[]));
    let server = Server::start(memory).await;
    let dead = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut addresses = vec![dead.local_addr().expect("an address"), server.address];
    drop(dead);
    let (silent, _held) = silence().await;
    addresses.insert(0, silent);
    let mut config = config();
    config.insecure = dhow_distribution::Insecure::parse(["registry.test"]).expect("a list");
    let client = client_of(config, Names::of("registry.test", addresses));
    client.manifest(&reference("registry.test/a:1"), &()).await.expect("an index");
}

#[tokio::test]
async fn a_manifest_that_is_cut_is_asked_for_again() {
    let cuts = AtomicUsize::new(0);
    let memory = Memory::new().rule(move |request, content| {
        let is_it = request.path().contains("/manifests/");
        let is_first = is_it && cuts.fetch_add(1, Ordering::SeqCst) < 2;
        is_first.then(|| content.answer(request).ending(Ending::CutAfter(20)))
    });
    let index = memory.fill(|content| add_index(content, "a", "1", &[("linux/amd64", true)]));
    let server = Server::start(memory).await;
    let name = reference(&format!("{}/a:1", server.name()));
    let fetched = client().manifest(&name, &()).await.expect("an index");
    assert_eq!(fetched.bytes, index.to_json());
    assert_eq!(server.count("GET", "/v2/a/manifests/1"), 3);
}

/// What a manifest that is answered so ends with.
async fn manifest_error(reply: Reply, suffix: &str) -> (String, String) {
    let server = Server::start(move |request: &Request| match request.path() {
        "/v2/" => Reply::ok("{}"),
        _ => reply.clone(),
    })
    .await;
    let name = format!("{}/a{suffix}", server.name());
    let error = client().manifest(&reference(&name), &()).await.expect_err("a bad manifest");
    (error.to_string(), name)
}

#[tokio::test]
async fn manifests_that_are_none() {
    let check = async |reply: Reply, expected: &str| {
        let (error, name) = manifest_error(reply, ":1").await;
        assert_eq!(
            error,
            format!("{name}: {expected}").replace("HOST", name.split('/').next().expect("a host"))
        );
    };
    let max = 4 << 20;
    let large = format!("HOST answers with more than {max} bytes");
    check(Reply::ok("{}").ending(Ending::Claiming(1 << 30)), &large).await;
    check(Reply::ok(noise(100_000)).ending(Ending::Endless), &large).await;
    let legacy = r#"{"schemaVersion":1,"fsLayers":[]}"#;
    let kind = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let refused = "docker manifest schema 1 is no longer supported";
    check(Reply::ok(legacy).with("Content-Type", kind), refused).await;
    check(Reply::ok(legacy), refused).await;
    check(
        Reply::ok(r#"{"schemaVersion":2,"manifests":[]}"#).with("Content-Type", OCI_MANIFEST),
        "a manifest with the member \"manifests\"",
    )
    .await;
    check(
        Reply::ok(r#"{"schemaVersion":2}"#).with("Content-Type", "text/html"),
        "text/html is neither an index nor a manifest",
    )
    .await;
    let wanted = digest_of(b"another");
    let body = r#"{"schemaVersion":2,"manifests":[]}"#;
    let actual = digest_of(body.as_bytes());
    check(
        Reply::ok(body).with("Content-Type", OCI_INDEX).with("Docker-Content-Digest", wanted),
        &format!("verification failed for digest {wanted}: the content is {actual}"),
    )
    .await;
    let pin = format!("@{wanted}");
    let (error, name) = manifest_error(Reply::ok(body).with("Content-Type", OCI_INDEX), &pin).await;
    let text = format!("{name}: verification failed for digest {wanted}: the content is {actual}");
    assert_eq!(error, text);
}

#[tokio::test]
async fn what_is_not_there() {
    let server = Server::start(Memory::new()).await;
    let (client, host) = (client(), server.name());
    let name = format!("{host}/a:nope");
    for error in [
        client.manifest(&reference(&name), &()).await.expect_err("nothing"),
        client.resolve(&reference(&name), &()).await.expect_err("nothing"),
    ] {
        assert_eq!(error.class(), Class::NotFound);
        let text = format!("manifest for {name} not found: manifest unknown: manifest unknown");
        assert_eq!(error.to_string(), text);
    }
    let layer = layer_of(b"x");
    let error = fetch(&server, &layer, &mut Kept::default(), &Diary::default()).await;
    let text =
        format!("{host}/a@{} not found: blob unknown: blob unknown to registry", layer.digest);
    assert_eq!(error.expect_err("nothing").to_string(), text);
    assert!(
        !client.has_blob(&repository(&format!("{host}/a")), layer.digest).await.expect("an answer")
    );
}

#[tokio::test]
async fn resolving_where_head_tells_nothing() {
    for status in [405, 200] {
        let memory = Memory::new().rule(move |request, _| {
            let is_it = request.method == "HEAD";
            is_it.then(|| Reply::new(status).with("Content-Type", OCI_INDEX))
        });
        let index = memory.fill(|content| add_index(content, "a", "1", &[("linux/amd64", true)]));
        let server = Server::start(memory).await;
        let name = reference(&format!("{}/a:1", server.name()));
        let descriptor = client().resolve(&name, &()).await.expect("a target");
        assert_eq!(descriptor.digest, digest_of(index.to_json().as_bytes()));
        assert_eq!(descriptor.size, index.to_json().len() as u64);
    }
}

#[tokio::test]
async fn redirects_are_followed_to_an_end() {
    let bytes = noise(5000);
    let layer = layer_of(&bytes);
    let other = blob_server(bytes.clone(), |request, _, bytes| part(request, bytes)).await;
    let target = format!("http://{}/x/blobs/y?sig=a%2Fb", other.name());
    let server =
        blob_server(Vec::new(), move |_, _, _| Reply::new(307).with("Location", &target)).await;
    let mut kept = Kept::default();
    fetch(&server, &layer, &mut kept, &Diary::default()).await.expect("from elsewhere");
    assert!(kept.bytes == bytes);
    assert_eq!(other.seen().last().expect("a request").target, "/x/blobs/y?sig=a%2Fb");

    let check = async |location: &'static str, expected: &str| {
        let server =
            blob_server(Vec::new(), move |_, _, _| Reply::new(302).with("Location", location))
                .await;
        let error = fetch(&server, &layer, &mut Kept::default(), &Diary::default()).await;
        let error = error.expect_err(location).to_string();
        assert!(error.ends_with(expected), "{error}");
    };
    check("blobs", "redirects us too often").await;
    check("file:///etc/shadow", "sends us to \"file:///etc/shadow\", which is no address").await;
    check("", "did not say where to go on").await;
}

#[tokio::test]
async fn a_host_sees_only_so_many_requests_at_once() {
    let memory = Memory::new().rule(|request, content| {
        let moment = Duration::from_millis(100);
        Some(content.answer(request).ending(Ending::Late(moment)))
    });
    let layers: Vec<Vec<u8>> = (0..12).map(|index| noise(2000 + index)).collect();
    memory.fill(|content| {
        for layer in &layers {
            content.add_blob(layer);
        }
    });
    let server = Server::start(memory).await;
    let mut config = config();
    config.limits.per_host_max = 3;
    let client = client_of(config, Names::default());
    let repository = repository(&format!("{}/a", server.name()));
    let mut tasks = tokio::task::JoinSet::new();
    for layer in &layers {
        let (client, repository, layer) = (client.clone(), repository.clone(), layer_of(layer));
        tasks.spawn(
            async move { client.fetch(&repository, &layer, &mut Kept::default(), &()).await },
        );
    }
    while let Some(fetched) = tasks.join_next().await {
        fetched.expect("no panic").expect("a blob");
    }
    assert_eq!(server.load_max(), 3);
}

#[tokio::test]
async fn warnings_are_passed_on() {
    let memory = Memory::new().rule(|request, content| {
        let reply = content.answer(request);
        Some(reply.with("Warning", "299 - \"this registry closes\""))
    });
    memory.fill(|content| add_index(content, "a", "1", &[]));
    let server = Server::start(memory).await;
    let diary = Diary::default();
    let name = reference(&format!("{}/a:1", server.name()));
    client().manifest(&name, &diary).await.expect("an index");
    assert_eq!(diary.lines("warning"), ["warning this registry closes"]);
}

#[tokio::test]
async fn a_sink_that_fails_is_the_callers_matter() {
    struct Full;
    impl dhow_distribution::Sink for Full {
        async fn begin(&mut self, _: &mut dhow_distribution::Verifier) -> std::io::Result<()> {
            Ok(())
        }
        async fn write(&mut self, _: bytes::Bytes) -> std::io::Result<()> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        async fn rewind(&mut self) -> std::io::Result<()> {
            Ok(())
        }
        async fn finish(&mut self) -> std::io::Result<()> {
            panic!("never")
        }
    }
    let bytes = noise(5000);
    let layer = layer_of(&bytes);
    let server = blob_server(bytes, |request, _, bytes| part(request, bytes)).await;
    let repository = repository(&format!("{}/a", server.name()));
    let error = client().fetch(&repository, &layer, &mut Full, &()).await.expect_err("full");
    assert_eq!(error.class(), Class::Internal);
    assert!(error.to_string().ends_with("write: no storage space"), "{error}");
    assert_eq!(blob_requests(&server).len(), 1);
}
