//! Mirrors: asked first, believed no more than others, left alone when they fail.

use dhow_distribution::{Client, Config, Credentials, Keyring, Mirror, RegistryConfig};

use crate::memory::Memory;
use crate::server::{Ending, Reply, Request, Server};
use crate::support::*;

/// A registry at `registry.test` with these mirrors; it is plain HTTP, so it is called insecure.
fn client_with(mirrors: &[String], upstream: &Server) -> Client {
    client_of(config_with(mirrors), Names::new([("registry.test", upstream.address)]))
}

fn config_with(mirrors: &[String]) -> Config {
    let mut config = config();
    let mirrors = mirrors.iter().map(|mirror| Mirror::parse(mirror).expect(mirror)).collect();
    let entry = RegistryConfig { mirrors, ..RegistryConfig::default() };
    config.registries.insert("*.test".to_owned(), entry);
    config.insecure = dhow_distribution::Insecure::parse(["registry.test"]).expect("a list");
    config
}

fn filled(repository: &str) -> Memory {
    let memory = Memory::new();
    memory.fill(|content| {
        add_index(content, repository, "1", &[("linux/amd64", true)]);
        content.add_blob(&noise(50_000));
    });
    memory
}

fn url(server: &Server) -> String {
    format!("http://{}", server.name())
}

#[tokio::test]
async fn the_first_that_has_it() {
    let (empty, full) = (Server::start(Memory::new()).await, Server::start(filled("a")).await);
    let upstream = Server::start(filled("a")).await;
    let client = client_with(&[url(&empty), url(&full)], &upstream);
    let (name, diary) = (reference("registry.test/a:1"), Diary::default());
    client.manifest(&name, &diary).await.expect("an index");
    client.resolve(&name, &diary).await.expect("a target");
    let mut kept = Kept::default();
    let layer = layer_of(&noise(50_000));
    client.fetch(name.repository(), &layer, &mut kept, &diary).await.expect("a blob");
    assert_eq!(upstream.seen().len(), 0);
    // Not to have something is no failure: it is asked the next time as well.
    assert_eq!(empty.seen().len(), 4);
    assert_eq!(diary.lines("passed over").len(), 3);
    // Pushing goes to the registry alone.
    let mut source = Pieces::new(b"new");
    let layer = layer_of(b"new");
    client.push(name.repository(), &layer, None, &mut source, &()).await.expect("a push");
    assert_eq!(full.seen().iter().filter(|seen| seen.method == "POST").count(), 0);
    assert!(upstream.seen().len() >= 3);
}

#[tokio::test]
async fn whoever_fails_rests() {
    let broken = Server::start(|_: &Request| Reply::new(500)).await;
    let upstream = Server::start(filled("a")).await;
    let client = client_with(&[url(&broken)], &upstream);
    let name = reference("registry.test/a:1");
    client.manifest(&name, &()).await.expect("an index");
    let asked = broken.seen().len();
    assert_eq!(asked, 2, "a second try, and no more");
    client.manifest(&name, &()).await.expect("an index");
    assert_eq!(broken.seen().len(), asked);
}

#[tokio::test]
async fn a_registry_that_cannot_be_reached_is_not_needed() {
    let mirror = Server::start(filled("a")).await;
    let client = client_of(config_with(&[url(&mirror)]), Names::default());
    client.manifest(&reference("registry.test/a:1"), &()).await.expect("an index");
    let error = client.manifest(&reference("registry.test/a:2"), &()).await.expect_err("nobody");
    assert!(error.to_string().ends_with("lookup registry.test: no such host"), "{error}");
}

#[tokio::test]
async fn a_mirror_that_is_not_there_costs_one_attempt() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mirror = format!("http://{}", gone.local_addr().expect("an address"));
    drop(gone);
    let upstream = Server::start(filled("a")).await;
    let (client, diary) = (client_with(&[mirror], &upstream), Diary::default());
    let name = reference("registry.test/a:1");
    for _ in 0..2 {
        client.manifest(&name, &diary).await.expect("an index");
    }
    assert_eq!((diary.lines("retrying").len(), diary.lines("passed over").len()), (0, 1));
}

#[tokio::test]
async fn a_mirror_that_lies_is_found_out() {
    let liar = Memory::new()
        .rule(|request, _| request.path().contains("/blobs/").then(|| Reply::ok(vec![0; 50_000])));
    let (liar, upstream) = (Server::start(liar).await, Server::start(filled("a")).await);
    let client = client_with(&[url(&liar)], &upstream);
    let (bytes, mut kept, diary) = (noise(50_000), Kept::default(), Diary::default());
    let from = repository("registry.test/a");
    client.fetch(&from, &layer_of(&bytes), &mut kept, &diary).await.expect("from the registry");
    assert!(kept.bytes == bytes && kept.is_finished);
    assert_eq!(kept.rewinds, 1);
    assert!(diary.lines("passed over")[0].contains("verification failed"));
}

#[tokio::test]
async fn a_mirror_that_dies_midway_is_taken_over_from() {
    let dying = Memory::new().rule(|request, _| {
        let is_it = request.path().contains("/blobs/");
        is_it.then(|| match request.header("range") {
            None => Reply::ok(noise(50_000)).ending(Ending::CutAfter(30_000)),
            Some(_) => Reply::new(502),
        })
    });
    let (dying, upstream) = (Server::start(dying).await, Server::start(filled("a")).await);
    let client = client_with(&[url(&dying)], &upstream);
    let (bytes, mut kept) = (noise(50_000), Kept::default());
    client
        .fetch(&repository("registry.test/a"), &layer_of(&bytes), &mut kept, &())
        .await
        .expect("all");
    assert!(kept.bytes == bytes);
    assert_eq!((kept.written, kept.rewinds), (50_000, 0), "no byte twice");
    assert_eq!(upstream.seen().last().expect("a request").header("range"), Some("bytes=30000-"));
}

#[tokio::test]
async fn a_mirror_of_many_registries() {
    let mirror = Server::start(filled("cache/a")).await;
    let mut config = config_with(&[]);
    let entry = Mirror::parse(&format!("{}/cache/", url(&mirror))).expect("a mirror");
    let registry = config.registries.get_mut("*.test").expect("an entry");
    registry.mirrors = vec![entry.naming_registry()];
    let client = client_of(config, Names::default());
    client.manifest(&reference("registry.test/a:1"), &()).await.expect("an index");
    let seen = mirror.seen();
    assert_eq!(seen[0].target, "/v2/cache/a/manifests/1?ns=registry.test");
}

#[tokio::test]
async fn each_is_shown_its_own_credentials() {
    let asking = |user: &'static str| {
        Memory::new().rule(move |request, content| {
            let shown = request.header("authorization").map(str::to_owned);
            let Some(shown) = shown else {
                return Some(Reply::new(401).with("WWW-Authenticate", "Basic realm=x"));
            };
            assert!(shown.ends_with(user), "{shown}");
            Some(content.answer(request))
        })
    };
    let (mirror, upstream) =
        (Server::start(asking("bTpw")).await, Server::start(asking("dTpw")).await);
    let client = client_with(&[url(&mirror)], &upstream);
    let credentials = |username: &str| Credentials::Password {
        username: username.to_owned(),
        password: "p".to_owned(),
    };
    let mut keyring = Keyring::of("registry.test", credentials("u"));
    keyring.insert(&mirror.name(), credentials("m"));
    let client = client.with_credentials(keyring);
    client.manifest(&reference("registry.test/a:1"), &()).await.expect_err("nobody has it");
    assert!(mirror.seen().len() == 2 && upstream.seen().len() >= 2);
}
