//! The pages for people, as a browser without scripts has them.

use crate::http::send;
use crate::pushes::{digest, manifest, push, push_image, push_manifest};
use crate::server::Server;

fn page(server: &Server, path: &str) -> String {
    let answer = send(server.address, "GET", path, &[], b"");
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    assert!(answer.header("content-type").starts_with("text/"), "{path}");
    answer.text()
}

#[test]
fn everything_can_be_read() {
    let server = Server::open();
    assert!(page(&server, "/").contains("Nothing is here yet"));
    let config = br#"{"os":"linux","architecture":"amd64","config":{"Cmd":["<b>sh</b>"]},
        "history":[{"created_by":"ADD rootfs"},{"created_by":"ENV a=b","empty_layer":true}]}"#;
    for bytes in [&config[..], &[1; 3000]] {
        assert_eq!(push(&server, "team/app", bytes).status, 201);
    }
    let text = manifest(&[config, &[1; 3000]], "").replacen(
        "application/octet-stream",
        "application/vnd.oci.image.config.v1+json",
        1,
    );
    assert_eq!(push_manifest(&server, "team/app", "v1", &text).status, 201);
    let _ = push_image(&server, "other", "x", b"one");
    let list = page(&server, "/");
    assert!(list.contains("<a href=\"/-/team/app\">team/app</a>"), "{list}");
    assert!(page(&server, "/-/team/app").contains("/-/team/app?tag=v1"));
    let image = page(&server, "/-/team/app?tag=v1");
    for part in [
        "docker pull registry.test/team/app:v1",
        "linux/amd64",
        "&lt;b&gt;sh&lt;/b&gt;",
        "<rect x=\"0.00\" width=\"1000.00\"",
        "ADD rootfs",
        "ENV a=b",
        "3.0 kB",
    ] {
        assert!(image.contains(part), "{part} in\n{image}");
    }
    let by_digest = format!("/-/team/app?digest={}", digest(text.as_bytes()));
    assert!(page(&server, &by_digest).contains("ADD rootfs"));
    assert!(page(&server, "/page.css").contains(".command"));
    assert!(page(&server, "/page.js").contains("clipboard"));
    assert_eq!(send(server.address, "GET", "/-/team/app?tag=v2", &[], b"").status, 404);
    assert_eq!(send(server.address, "GET", "/-/../etc", &[], b"").status, 404);
    assert_eq!(send(server.address, "POST", "/", &[], b"").status, 404);
}

#[test]
fn pages_keep_to_the_rules() {
    let server = Server::with(
        r#"{"access": {"htpasswd": "DIR/htpasswd", "rules": [
            {"repositories": ["team/**"], "users": ["ann"], "allow": ["pull", "push"]}]}}"#,
    );
    let outside = send(server.address, "GET", "/", &[], b"");
    assert_eq!(
        (outside.status, outside.header("www-authenticate").starts_with("Basic")),
        (401, true)
    );
    let status = |path: &str, user: &str| {
        send(server.address, "GET", path, &[("authorization", user)], b"").status
    };
    let (ann, bob) = ("Basic YW5uOnBhc3Mgd29yZA==", "Basic Ym9iOnBhc3Mgd29yZA==");
    assert_eq!((status("/", ann), status("/", bob)), (200, 200));
    assert_eq!((status("/-/team/a", ann), status("/-/team/a", bob)), (200, 403));
    let closed = Server::with(r#"{"web": false}"#);
    assert_eq!(send(closed.address, "GET", "/", &[], b"").status, 404);
}

/// Chromium with a page; what it said. `None` where there is none.
fn chromium(server: &Server, path: &str, words: &[&str]) -> Option<String> {
    let programs = ["/usr/bin/chromium-headless-shell", "/usr/bin/chromium"];
    let program = programs.iter().find(|path| std::path::Path::new(path).exists())?;
    #[expect(clippy::disallowed_methods, reason = "a program to test with")]
    let mut command = std::process::Command::new(program);
    // Its sandbox needs what root in a container lacks; it sees nothing but this server.
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.args(["--no-first-run", "--disable-background-networking"]).args(words);
    command.arg(format!("--user-data-dir={}", server.scratch.path().join("profile").display()));
    command.arg(format!("http://{}{path}", server.address));
    let output = command.stdin(std::process::Stdio::null()).output().expect("Chromium");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // What the page may not do, or what is wrong with it, the console has.
    assert!(!said.contains("Content Security Policy") && !said.contains("Uncaught"), "{said}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn pages_in_a_browser() {
    let server = Server::open();
    let config = br#"{"os":"linux","architecture":"amd64",
        "history":[{"created_by":"<script>document.title='taken'</script>"}]}"#;
    for bytes in [&config[..], &[1; 3000]] {
        assert_eq!(push(&server, "team/app", bytes).status, 201);
    }
    let text = manifest(&[config, &[1; 3000]], "").replacen(
        "application/octet-stream",
        "application/vnd.oci.image.config.v1+json",
        1,
    );
    assert_eq!(push_manifest(&server, "team/app", "v1", &text).status, 201);
    let image = "/-/team/app?tag=v1";
    let logging = "--enable-logging=stderr";
    let Some(dom) = chromium(&server, image, &[logging, "--dump-dom"]) else {
        #[expect(clippy::print_stderr, reason = "a skip is said")]
        {
            eprintln!("SKIPPED pages_in_a_browser: Chromium is not installed");
        }
        return;
    };
    // As a browser has read it there are elements, and what was pushed is text; the script was run.
    let command = format!("docker pull {}/team/app:v1", server.address);
    for part in [&command, "</rect>", "&lt;script&gt;document.title", "<button>copy</button>"] {
        assert!(dom.contains(part), "{part} in {dom}");
    }
    assert!(!dom.contains("<title>taken"), "{dom}");
    let list = chromium(&server, "/", &["--dump-dom"]).expect("it was there");
    assert!(list.contains("<a href=\"/-/team/app\">team/app</a>"), "{list}");
}
