//! Who we are: told to whom it concerns, once, and to nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dhow_distribution::{Class, Client, Credentials, Keyring, Login};

use crate::memory::Memory;
use crate::server::{Reply, Request, Server};
use crate::support::*;

/// A token server that gives `token-1`, `token-2`, … for what it is asked.
async fn token_server(
    answer: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
) -> Server {
    let given = AtomicUsize::new(0);
    Server::start(move |request: &Request| {
        answer(request).unwrap_or_else(|| {
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            Reply::ok(format!(r#"{{"token":"token-{number}","expires_in":300}}"#))
        })
    })
    .await
}

/// A registry that wants a token that `is_good`.
async fn registry(
    realm: &Server,
    is_good: impl Fn(&str, &Request) -> bool + Send + Sync + 'static,
) -> (Server, dhow_spec::image::Index) {
    let challenge =
        format!(r#"Negotiate, Bearer realm="http://{}/token",service="a registry""#, realm.name());
    let memory = Memory::new().rule(move |request, _| {
        let shown = request.header("authorization").unwrap_or_default();
        if is_good(shown, request) {
            return None;
        }
        let scope = match request.path().split('/').nth(2) {
            Some(path) if !path.is_empty() => format!(",scope=\"repository:{path}:pull\""),
            _ => String::new(),
        };
        let reply = Reply::error(401, "UNAUTHORIZED", "authentication required");
        Some(reply.with("WWW-Authenticate", format!("{challenge}{scope}")))
    });
    let index = memory.fill(|content| add_index(content, "a", "1", &[("linux/amd64", true)]));
    (Server::start(memory).await, index)
}

fn password() -> Credentials {
    Credentials::Password { username: "ann".to_owned(), password: "pass word".to_owned() }
}

fn as_ann(client: &Client, server: &Server) -> Client {
    client.with_credentials(Keyring::of(&server.name(), password()))
}

#[tokio::test]
async fn anonymous_tokens() {
    let realm = token_server(|_| None).await;
    let (server, _) = registry(&realm, |shown, _| shown == "Bearer token-1").await;
    let (client, name) = (client(), reference(&format!("{}/a:1", server.name())));
    client.manifest(&name, &()).await.expect("an index");
    client.manifest(&name, &()).await.expect("an index");
    let asked = realm.seen();
    assert_eq!(asked.len(), 1, "a token is kept");
    assert_eq!(asked[0].query("service").as_deref(), Some("a registry"));
    assert_eq!(asked[0].query("scope").as_deref(), Some("repository:a:pull"));
    assert_eq!(asked[0].header("authorization"), None);
}

#[tokio::test]
async fn tokens_for_a_password() {
    let realm = token_server(|_| None).await;
    let (server, _) = registry(&realm, |shown, _| shown == "Bearer token-1").await;
    let client = as_ann(&client(), &server);
    let name = reference(&format!("{}/a:1", server.name()));
    client.manifest(&name, &()).await.expect("an index");
    let asked = realm.seen();
    assert_eq!(asked[0].header("authorization"), Some("Basic YW5uOnBhc3Mgd29yZA=="));
    assert_eq!(asked[0].query("account").as_deref(), Some("ann"));
    // The registry itself is shown the token alone.
    let shown: Vec<_> = server
        .seen()
        .iter()
        .filter_map(|seen| seen.header("authorization").map(str::to_owned))
        .collect();
    assert_eq!(shown, ["Bearer token-1"]);
    // And somebody else gets another.
    let error = client.with_credentials(Keyring::anonymous()).manifest(&name, &()).await;
    assert_eq!(error.expect_err("token-2 is not good").class(), Class::Forbidden);
}

#[tokio::test]
async fn tokens_for_an_identity() {
    let realm = token_server(|_| None).await;
    let (server, _) = registry(&realm, |shown, _| shown == "Bearer token-1").await;
    let identity = Credentials::Identity { token: "ref+resh".to_owned() };
    let client = client().with_credentials(Keyring::of(&server.name(), identity));
    client.manifest(&reference(&format!("{}/a:1", server.name())), &()).await.expect("an index");
    let asked = &realm.seen()[0];
    assert_eq!(asked.method, "POST");
    let form = String::from_utf8(asked.body.clone()).expect("a form");
    assert!(
        form.contains("grant_type=refresh_token") && form.contains("refresh_token=ref%2Bresh"),
        "{form}"
    );
    assert!(form.contains("scope=repository%3Aa%3Apull"), "{form}");
}

#[tokio::test]
async fn many_who_wait_share_one_token() {
    let realm = token_server(|_| None).await;
    let (server, index) = registry(&realm, |shown, _| shown == "Bearer token-1").await;
    let (client, repository) = (client(), Arc::new(repository(&format!("{}/a", server.name()))));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (client, repository, digest) =
            (client.clone(), repository.clone(), index.manifests[0].digest);
        tasks.spawn(async move {
            let pinned = dhow_spec::Reference::pinned(repository.as_ref().clone(), digest);
            client.manifest(&pinned, &()).await
        });
    }
    while let Some(fetched) = tasks.join_next().await {
        fetched.expect("no panic").expect("a manifest");
    }
    assert_eq!(realm.seen().len(), 1);
}

#[tokio::test]
async fn a_token_that_ended_is_replaced() {
    let realm = token_server(|_| None).await;
    let good = Arc::new(AtomicUsize::new(1));
    let now = good.clone();
    let (server, _) = registry(&realm, move |shown, _| {
        shown == format!("Bearer token-{}", now.load(Ordering::SeqCst))
    })
    .await;
    let (client, name) = (client(), reference(&format!("{}/a:1", server.name())));
    client.manifest(&name, &()).await.expect("an index");
    good.store(2, Ordering::SeqCst);
    client.manifest(&name, &()).await.expect("an index, with a new token");
    assert_eq!(realm.seen().len(), 2);
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let realm = token_server(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        Some(Reply::new(401).body(r#"{"details":"incorrect username or password"}"#))
    })
    .await;
    let (server, _) = registry(&realm, |_, _| false).await;
    let client = as_ann(&client(), &server);
    let name = format!("{}/a:1", server.name());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (client, name) = (client.clone(), reference(&name));
        tasks.spawn(async move { client.manifest(&name, &()).await.map(drop) });
    }
    while let Some(fetched) = tasks.join_next().await {
        let error = fetched.expect("no panic").expect_err("a wrong password");
        assert_eq!(error.class(), Class::Unauthorized);
        let text = format!(
            "unauthorized: incorrect username or password ({name}: run 'dhow login {}')",
            server.name()
        );
        assert_eq!(error.to_string(), text);
    }
    assert!(realm.seen().len() <= 2, "{}", realm.seen().len());
}

#[tokio::test]
async fn a_token_that_does_not_do() {
    let realm = token_server(|_| None).await;
    let (server, _) = registry(&realm, |_, _| false).await;
    let name = format!("{}/a:1", server.name());
    let error = client().manifest(&reference(&name), &()).await.expect_err("not for us");
    assert_eq!(error.class(), Class::Forbidden);
    let text = format!(
        "pull access denied for {0}/a, repository does not exist or may require 'dhow login {0}': \
         denied: requested access to the resource is denied",
        server.name()
    );
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_token_server_in_trouble_is_asked_again() {
    let asked = AtomicUsize::new(0);
    let realm =
        token_server(move |_| (asked.fetch_add(1, Ordering::SeqCst) < 2).then(|| Reply::new(503)))
            .await;
    let (server, _) = registry(&realm, |shown, _| shown == "Bearer token-1").await;
    let name = reference(&format!("{}/a:1", server.name()));
    client().manifest(&name, &()).await.expect("an index");
    assert_eq!(realm.seen().len(), 3);
}

#[tokio::test]
async fn what_a_registry_wants_besides_is_asked_for() {
    let realm = token_server(|_| None).await;
    let challenge = format!(
        r#"Bearer realm="http://{}/token",scope="repository:a:pull repository:base:pull",error="insufficient_scope""#,
        realm.name()
    );
    let server = Server::start(move |request: &Request| match request.path() {
        "/v2/" => Reply::ok("{}"),
        _ if request.header("authorization") == Some("Bearer token-1") => {
            Reply::ok(r#"{"name":"a","tags":["x"]}"#)
        }
        _ => Reply::new(401).with("WWW-Authenticate", &challenge),
    })
    .await;
    let tags = client().tags(&repository(&format!("{}/a", server.name())), &()).await;
    assert_eq!(tags.expect("tags"), ["x"]);
    let asked = realm.seen();
    assert!(asked[0].target.contains("scope=repository%3Aa%3Apull&scope=repository%3Abase%3Apull"));
}

fn basic_registry() -> Memory {
    let memory = Memory::new().rule(|request, _| {
        let is_ann = request.header("authorization") == Some("Basic YW5uOnBhc3Mgd29yZA==");
        let reply = Reply::error(401, "UNAUTHORIZED", "authentication required");
        (!is_ann).then(|| reply.with("WWW-Authenticate", "Basic realm=\"x, Bearer realm=y\""))
    });
    memory.fill(|content| add_index(content, "a", "1", &[]));
    memory
}

#[tokio::test]
async fn basic_authentication() {
    let server = Server::start(basic_registry()).await;
    let name = format!("{}/a:1", server.name());
    as_ann(&client(), &server).manifest(&reference(&name), &()).await.expect("an index");

    let error = client().manifest(&reference(&name), &()).await.expect_err("nobody");
    let text = format!(
        "unauthorized: authentication required ({name}: run 'dhow login {}')",
        server.name()
    );
    assert_eq!((error.to_string(), error.class()), (text, Class::Unauthorized));

    let wrong = Credentials::Password { username: "ann".to_owned(), password: "?".to_owned() };
    let client = client().with_credentials(Keyring::of(&server.name(), wrong));
    let before = server.seen().len();
    let error = client.manifest(&reference(&name), &()).await.expect_err("wrong");
    assert_eq!(error.class(), Class::Unauthorized);
    assert!(server.seen().len() - before <= 3, "not tried again and again");
}

#[tokio::test]
async fn credentials_do_not_follow_redirects() {
    let bytes = noise(3000);
    let elsewhere = bytes.clone();
    let other = Server::start(move |_: &Request| Reply::ok(elsewhere.clone())).await;
    let target = format!("http://{}/elsewhere", other.name());
    let memory = basic_registry().rule(move |request, _| {
        let is_it = request.path().contains("/blobs/");
        is_it.then(|| Reply::new(307).with("Location", &target))
    });
    let server = Server::start(memory).await;
    let client = as_ann(&client(), &server);
    let mut kept = Kept::default();
    let repository = repository(&format!("{}/a", server.name()));
    client.fetch(&repository, &layer_of(&bytes), &mut kept, &()).await.expect("a blob");
    assert!(kept.bytes == bytes);
    assert!(server.seen().iter().any(|seen| seen.header("authorization").is_some()));
    assert!(other.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test]
async fn logins() {
    let realm = token_server(|request| {
        let is_ann = request.header("authorization") == Some("Basic YW5uOnBhc3Mgd29yZA==");
        let body = r#"{"token":"token-1","refresh_token":"keep-me"}"#;
        Some(if is_ann { Reply::ok(body) } else { Reply::new(401) })
    })
    .await;
    let (server, _) = registry(&realm, |shown, _| shown == "Bearer token-1").await;
    let login = as_ann(&client(), &server).login(&server.name()).await.expect("a login");
    assert_eq!(login, Login::Identity(Credentials::Identity { token: "keep-me".to_owned() }));
    assert_eq!(realm.seen()[0].query("offline_token").as_deref(), Some("true"));

    let error = client().login(&server.name()).await.expect_err("nobody");
    assert_eq!(error.class(), Class::Unauthorized);
    assert_eq!(
        error.to_string(),
        format!("unauthorized: authentication required ({})", server.name())
    );

    let server = Server::start(basic_registry()).await;
    let login = as_ann(&client(), &server).login(&server.name()).await.expect("a login");
    assert_eq!(login, Login::Accepted);
    client().login(&server.name()).await.expect_err("nobody");

    let server = Server::start(Memory::new()).await;
    assert_eq!(
        as_ann(&client(), &server).login(&server.name()).await.expect("a login"),
        Login::Open
    );
    client().ping(&server.name()).await.expect("a registry");
}

#[tokio::test]
async fn a_registrys_own_token_is_shown_at_once() {
    let server = Server::start(Memory::new()).await;
    let token = Credentials::Registry { token: "abc".to_owned() };
    let client = client().with_credentials(Keyring::of(&server.name(), token));
    let name = reference(&format!("{}/a:1", server.name()));
    client.manifest(&name, &()).await.expect_err("empty");
    assert_eq!(
        server.seen().last().expect("a request").header("authorization"),
        Some("Bearer abc")
    );
}

#[tokio::test]
async fn a_registry_that_is_its_own_token_server() {
    let memory = Memory::new().rule(|request, _| {
        if request.path() == "/token" {
            return Some(Reply::ok(r#"{"token":"t"}"#));
        }
        let host = request.header("host").expect("a host");
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=s");
        let is_stranger = request.header("authorization") != Some("Bearer t");
        is_stranger.then(|| Reply::new(401).with("WWW-Authenticate", challenge))
    });
    memory.fill(|content| content.add_blob(b"x"));
    let server = Server::start(memory).await;
    let mut config = config();
    config.limits.per_host_max = 2;
    let client = client_of(config, Names::default());
    let from = repository(&format!("{}/a", server.name()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (client, from) = (client.clone(), from.clone());
        tasks.spawn(async move {
            client.fetch(&from, &layer_of(b"x"), &mut Kept::default(), &()).await
        });
    }
    let all = tokio::time::timeout(std::time::Duration::from_secs(20), tasks.join_all()).await;
    assert!(all.expect("nobody waits for himself").iter().all(Result::is_ok));
    assert_eq!(server.count("GET", "/token"), 1);
}

#[tokio::test]
async fn whoever_we_are_sent_to_asks_in_vain() {
    let thief = Server::start(|request: &Request| {
        let challenge =
            format!("Bearer realm=\"http://{}/token\"", request.header("host").expect("a host"));
        Reply::new(401).with("WWW-Authenticate", challenge)
    })
    .await;
    let target = format!("http://{}/steal", thief.name());
    let memory = basic_registry().rule(move |request, _| {
        let is_it = request.path().contains("/blobs/");
        is_it.then(|| Reply::new(307).with("Location", &target))
    });
    let server = Server::start(memory).await;
    let client = as_ann(&client(), &server);
    let from = repository(&format!("{}/a", server.name()));
    let error = client.fetch(&from, &layer_of(b"x"), &mut Kept::default(), &()).await;
    error.expect_err("nothing there");
    assert!(thief.seen().iter().all(|seen| seen.header("authorization").is_none()));
    assert_eq!(thief.count("GET", "/token"), 0);
}

#[tokio::test]
async fn an_identity_is_not_sent_on() {
    let thief = Server::start(|_: &Request| Reply::ok(r#"{"token":"t"}"#)).await;
    let target = format!("http://{}/token", thief.name());
    let realm = token_server(move |_| Some(Reply::new(307).with("Location", &target))).await;
    let (server, _) = registry(&realm, |_, _| false).await;
    let identity = Credentials::Identity { token: "refresh".to_owned() };
    let client = client().with_credentials(Keyring::of(&server.name(), identity));
    let name = reference(&format!("{}/a:1", server.name()));
    client.manifest(&name, &()).await.expect_err("no token");
    assert_eq!(thief.seen().len(), 0);
}
