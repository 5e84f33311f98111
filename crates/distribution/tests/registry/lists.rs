//! Lists, their pages, and removal.

use dhow_distribution::Class;
use dhow_spec::Reference;
use dhow_spec::image::{Index, MediaType};

use crate::memory::Memory;
use crate::server::{Reply, Request, Server};
use crate::support::*;

#[tokio::test]
async fn tags_come_in_pages() {
    let server = Server::start(|request: &Request| match request.query("last").as_deref() {
        _ if request.path() == "/v2/" => Reply::ok("{}"),
        None => Reply::ok(r#"{"name":"a","tags":["1","2"]}"#)
            .with("Link", "</v2/a/tags/list?n=2&last=2>; rel=\"next\""),
        Some("2") => {
            Reply::ok(r#"{"name":"a","tags":["3"]}"#).with("Link", "<list?last=3>; rel=next")
        }
        Some(_) => Reply::ok(r#"{"name":"a","tags":null}"#).with("Link", "<list?last=9>; rel=next"),
    })
    .await;
    let tags = client().tags(&repository(&format!("{}/a", server.name())), &()).await;
    assert_eq!(tags.expect("tags"), ["1", "2", "3"]);
    assert_eq!(server.count("GET", "/v2/a/tags/list"), 3);
}

#[tokio::test]
async fn lists_that_are_none() {
    let check = async |reply: Reply, expected: &str| {
        let server = Server::start(move |request: &Request| match request.path() {
            "/v2/" => Reply::ok("{}"),
            _ => reply.clone(),
        })
        .await;
        let error = client().tags(&repository(&format!("{}/a", server.name())), &()).await;
        let error = error.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(Reply::ok(r#"{"tags":"1"}"#), "answers with a list that is none").await;
    check(Reply::ok("no"), "answers with a list that is none").await;
    let foreign =
        Reply::ok(r#"{"tags":["1"]}"#).with("Link", "<http://elsewhere.test/x>; rel=next");
    check(foreign, "sends us to \"http://elsewhere.test/x\"").await;
    check(Reply::error(404, "NAME_UNKNOWN", "no such"), "not found: name unknown: no such").await;
}

#[tokio::test]
async fn repositories() {
    let server = Server::start(|request: &Request| match request.path() {
        "/v2/_catalog" => Reply::ok(r#"{"repositories":["a","b/c"]}"#),
        _ => Reply::ok("{}"),
    })
    .await;
    assert_eq!(client().catalog(&server.name(), &()).await.expect("a list"), ["a", "b/c"]);
}

#[tokio::test]
async fn referrers_of_a_registry_that_knows_them() {
    let subject = digest_of(b"subject");
    let entry = |kind: &str| {
        let mut entry = layer_of(kind.as_bytes());
        entry.artifact_type = Some(MediaType::parse(kind).expect(kind));
        entry
    };
    let pages = [Index::new(vec![entry("a/a"), entry("b/b")]), Index::new(vec![entry("a/a")])];
    for filters in [true, false] {
        let pages = pages.clone();
        let server = Server::start(move |request: &Request| {
            if request.path() == "/v2/" {
                return Reply::ok("{}");
            }
            assert_eq!(request.path(), format!("/v2/a/referrers/{subject}"));
            if filters && request.query("artifactType").is_some() {
                let body = Index::new(vec![pages[0].manifests[1].clone()]).to_json();
                return Reply::ok(body).with("OCI-Filters-Applied", "artifactType");
            }
            match request.query("page") {
                None => Reply::ok(pages[0].to_json()).with("Link", "<?page=2>; rel=\"next\""),
                Some(_) => Reply::ok(pages[1].to_json()),
            }
        })
        .await;
        let (client, from) = (client(), repository(&format!("{}/a", server.name())));
        let all = client.referrers(&from, subject, None, &()).await.expect("a list");
        assert_eq!(all.len(), 3);
        let kind = MediaType::parse("b/b").expect("a type");
        let some = client.referrers(&from, subject, Some(&kind), &()).await.expect("a list");
        assert_eq!(some, [entry("b/b")]);
    }
}

#[tokio::test]
async fn nothing_is_about_it() {
    let server = Server::start(Memory::new()).await;
    let from = repository(&format!("{}/a", server.name()));
    assert_eq!(client().referrers(&from, digest_of(b"x"), None, &()).await.expect("none"), []);
}

#[tokio::test]
async fn removal() {
    let memory = Memory::new();
    let digest = memory.fill(|content| {
        add_index(content, "a", "1", &[]);
        content.add_blob(b"x")
    });
    let server = Server::start(memory).await;
    let (client, from) = (client(), repository(&format!("{}/a", server.name())));
    let tag = reference(&format!("{}/a:1", server.name()));
    client.delete_manifest(&tag, &()).await.expect("a removal");
    let error = client.delete_manifest(&tag, &()).await.expect_err("gone");
    assert_eq!(error.class(), Class::NotFound);
    client.delete_blob(&from, digest, &()).await.expect("a removal");
    assert!(!client.has_blob(&from, digest).await.expect("an answer"));

    let memory = Memory::new().rule(|request, _| {
        let message = "The operation is unsupported.";
        (request.method == "DELETE").then(|| Reply::error(405, "UNSUPPORTED", message))
    });
    let server = Server::start(memory).await;
    let name = format!("{}/a:1", server.name());
    let pinned = Reference::pinned(repository(&format!("{}/a", server.name())), digest);
    for name in [reference(&name), pinned] {
        let error = client.delete_manifest(&name, &()).await.expect_err("no");
        assert_eq!(error.class(), Class::Unsupported);
        let text = format!("{name}: unsupported: The operation is unsupported.");
        assert_eq!(error.to_string(), text);
    }
}
