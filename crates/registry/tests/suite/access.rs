//! Who may do what: passwords, tokens, rules, quotas, tags that stay.

use crate::http::{Answer, Http, send};
use crate::pushes::{begin, digest, manifest, push, push_image, push_manifest};
use crate::server::Server;

/// "ann:pass word", and a wrong one, in base64.
const ANN: &str = "Basic YW5uOnBhc3Mgd29yZA==";
const BOB: &str = "Basic Ym9iOnBhc3Mgd29yZA==";
const WRONG: &str = "Basic YW5uOnBhc3N3b3Jk";

/// Ann has `team`, Bob reads there, and everybody reads what is public.
const RULES: &str = r#"{"access": {"htpasswd": "DIR/htpasswd", "rules": [
    {"repositories": ["team/**"], "users": ["ann"], "allow": ["pull", "push", "delete"]},
    {"repositories": ["team/**"], "users": ["bob"], "allow": ["pull"]},
    {"repositories": ["public/*"], "users": ["anonymous"], "allow": ["pull"]},
    {"repositories": ["public/*"], "users": ["ann"], "allow": ["push"]}]}}"#;

fn get(server: &Server, path: &str, authorization: &str) -> Answer {
    let headers: &[_] = match authorization {
        "" => &[],
        value => &[("authorization", value)],
    };
    send(server.address, "GET", path, headers, b"")
}

fn token(server: &Server, authorization: &str, scope: &str) -> String {
    let answer = get(server, &format!("/token?service=dhow-registry&scope={scope}"), authorization);
    assert_eq!(answer.status, 200, "{}", answer.text());
    format!("Bearer {}", answer.json()["token"].as_str().expect("a token"))
}

#[test]
fn a_token_is_good_for_what_it_was_given_for() {
    let server = Server::with(RULES);
    let door = get(&server, "/v2/", "");
    assert_eq!((door.status, door.code().as_str()), (401, "UNAUTHORIZED"));
    assert_eq!(
        door.header("www-authenticate"),
        "Bearer realm=\"http://registry.test/token\",service=\"dhow-registry\""
    );
    let pushing = send(server.address, "POST", "/v2/team/a/blobs/uploads/", &[], b"");
    assert_eq!(pushing.status, 401);
    let scope = "scope=\"repository:team/a:pull,push\"";
    assert!(pushing.header("www-authenticate").contains(scope));
    assert_eq!(get(&server, "/token?scope=repository:team/a:push", WRONG).status, 401);
    let ann = token(&server, ANN, "repository:team/a:pull,push");
    let bob = token(&server, BOB, "repository:team/a:pull,push");
    let push = |path: &str, token: &str| {
        send(server.address, "POST", path, &[("authorization", token)], b"").status
    };
    assert_eq!(push("/v2/team/a/blobs/uploads/", &ann), 202);
    // Bob asked for more than he may have; Ann's is for another repository, and not for removing.
    assert_eq!(push("/v2/team/a/blobs/uploads/", &bob), 403);
    assert_eq!(push("/v2/team/b/blobs/uploads/", &ann), 401);
    let path = "/v2/team/a/manifests/v1";
    let removed = send(server.address, "DELETE", path, &[("authorization", &ann)], b"");
    assert_eq!(removed.status, 401);
    assert!(removed.header("www-authenticate").contains("insufficient_scope"));
    for forged in
        ["Bearer x", "Bearer ", "bearer a.b.c", "Basic x", "Digest x", &ann[..ann.len() - 3]]
    {
        assert_eq!(get(&server, "/v2/", forged).status, 401, "{forged}");
    }
    // A token buys no other token.
    assert_eq!(get(&server, "/token?scope=repository:team/b:pull", &ann).status, 401);
}

#[test]
fn rules_add_up() {
    let server = Server::with(RULES);
    let status = |method: &str, path: &str, authorization: &str| {
        let headers: &[_] = match authorization {
            "" => &[],
            value => &[("authorization", value)],
        };
        send(server.address, method, path, headers, b"").status
    };
    // Nothing is there: who may look learns that, nobody else.
    assert_eq!(status("GET", "/v2/public/x/tags/list", ""), 404);
    assert_eq!(status("GET", "/v2/public/x/y/tags/list", ""), 401);
    assert_eq!(status("GET", "/v2/team/x/tags/list", ""), 401);
    assert_eq!(status("GET", "/v2/team/x/tags/list", BOB), 404);
    assert_eq!(status("GET", "/v2/other/tags/list", ANN), 403);
    assert_eq!(status("POST", "/v2/public/x/blobs/uploads/", ""), 401);
    assert_eq!(status("POST", "/v2/public/x/blobs/uploads/", BOB), 403);
    assert_eq!(status("POST", "/v2/public/x/blobs/uploads/", ANN), 202);
    assert_eq!(status("DELETE", "/v2/public/x/manifests/v1", ANN), 403);
    assert_eq!(status("GET", "/v2/", WRONG), 401);
    assert_eq!(status("GET", "/v2/", ANN), 200);
}

#[test]
fn another_repository_is_no_way_around() {
    let server = Server::with(RULES);
    let bytes = b"a secret of the team";
    let path = format!("/v2/team/a/blobs/uploads/?digest={}", digest(bytes));
    assert_eq!(send(server.address, "POST", &path, &[("authorization", ANN)], bytes).status, 201);
    // Nobody mounts what they may not read, named or not; and an upload belongs to its repository.
    let config = RULES.replace("\"bob\"], \"allow\": [\"pull\"]", "\"bob\"], \"allow\": []");
    let config =
        config.replace("[\"ann\"], \"allow\": [\"push\"]", "[\"bob\"], \"allow\": [\"push\"]");
    let server = Server::over(server.end(), &config);
    for from in ["&from=team/a", ""] {
        let path = format!("/v2/public/x/blobs/uploads/?mount={}{from}", digest(bytes));
        let mounted = send(server.address, "POST", &path, &[("authorization", BOB)], b"");
        assert_eq!(mounted.status, 202, "{from}");
    }
    let begun =
        send(server.address, "POST", "/v2/team/a/blobs/uploads/", &[("authorization", ANN)], b"");
    let place = begun.header("location").replace("/team/a/", "/public/x/");
    let stolen = send(server.address, "PATCH", &place, &[("authorization", BOB)], b"x");
    assert_eq!((stolen.status, stolen.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
    let own = send(server.address, "GET", begun.header("location"), &[("authorization", ANN)], b"");
    assert_eq!(own.status, 204);
}

#[test]
fn lists_show_what_may_be_read() {
    let server = Server::with(RULES);
    for name in ["team/a", "public/x"] {
        let path = format!("/v2/{name}/blobs/uploads/?digest={}", digest(b"x"));
        assert_eq!(
            send(server.address, "POST", &path, &[("authorization", ANN)], b"x").status,
            201
        );
    }
    let names = |who: &str| get(&server, "/v2/_catalog", who).json()["repositories"].clone();
    assert_eq!(names(""), serde_json::json!(["public/x"]));
    assert_eq!(names(BOB), serde_json::json!(["public/x", "team/a"]));
}

#[test]
fn changes_are_audited() {
    let config = RULES.replace(r#"{"access""#, r#"{"log": {"audit": "DIR/audit"}, "access""#);
    let server = Server::with(&config);
    let path = format!("/v2/team/a/blobs/uploads/?digest={}", digest(b"x"));
    assert_eq!(send(server.address, "POST", &path, &[("authorization", ANN)], b"x").status, 201);
    let text = std::fs::read_to_string(server.scratch.path().join("audit")).expect("lines");
    let line: serde_json::Value = serde_json::from_str(text.trim()).expect("one line");
    assert_eq!((line["event"].as_str(), line["user"].as_str()), (Some("blob-push"), Some("ann")));
    assert_eq!(line["repository"], "team/a");
    let log = server.log.lock().expect("no panic").join("\n");
    assert!(log.contains("ann \"POST /v2/team/a/blobs/uploads/\" 201"), "{log}");
}

#[test]
fn quotas_and_tags_that_stay() {
    let server = Server::with(
        r#"{"repositories": [{"repositories": ["small/*"], "quota": 1000, "immutable-tags": true}]}"#,
    );
    let first = push_image(&server, "small/a", "v1", &[1; 300]);
    let full = push(&server, "small/a", &[2; 600]);
    assert_eq!((full.status, full.code().as_str()), (403, "DENIED"));
    // What was refused takes nothing away, and other repositories have room of their own.
    assert_eq!(push(&server, "small/a", &[3; 100]).status, 201);
    assert_eq!(push(&server, "small/b", &[2; 600]).status, 201);
    let other = manifest(&[&[3; 100]], r#","annotations":{"a":"b"}"#);
    let moved = push_manifest(&server, "small/a", "v1", &other);
    assert_eq!((moved.status, moved.code().as_str()), (409, "DENIED"));
    assert_eq!(push_manifest(&server, "small/a", "v1", &manifest(&[&[1; 300]], "")).status, 201);
    let mut http = Http::connect(server.address);
    assert_eq!(http.send("DELETE", "/v2/small/a/manifests/v1", &[], b"").status, 403);
    let path = format!("/v2/small/a/manifests/{first}");
    assert_eq!(http.send("DELETE", &path, &[], b"").status, 403);
    let place = begin(&server, "small/a");
    assert_eq!(http.send("DELETE", &place, &[], b"").status, 204);
    assert_eq!(http.send("GET", &place, &[], b"").status, 404);
}
