//! A disk that gets full: what was acknowledged is served, what was not leaves nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dhow_registry::{Config, Log, Options, Place, Registry};
use dhow_store::{Clock, Steps};

use crate::http::Http;
use crate::pushes::{MANIFEST, digest, manifest};
use crate::server::Scratch;

/// Where the process with the small disk has its root.
const ROOT: &str = "DHOW_TEST_SMALL_DISK";
/// A mount namespace with a small disk at `$1`.
const PREPARE: &str = "mount -t tmpfs -o size=6m none \"$1\" || exit 77; shift; exec \"$@\"";

/// Not a test but the program with the small disk: it serves until its input ends, then looks through everything.
#[test]
fn serve_on_a_small_disk() {
    #[expect(clippy::disallowed_methods, reason = "the test that this is a part of says it")]
    let Some(root) = std::env::var_os(ROOT) else { return };
    let registry = Registry::open(Options {
        root: root.into(),
        config: Config::parse(r#"{"log": {"access": false}}"#).expect("a configuration"),
        log: Log::nowhere(),
        clock: Clock::system(),
        steps: Steps::unwatched(),
    })
    .expect("a registry");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let end = async {
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
        let _ = ended.await;
    };
    let ready = |addresses: &[SocketAddr]| say(&format!("\nlistening {}", addresses[0]));
    let place = Place::Address("127.0.0.1:0".to_owned());
    runtime.block_on(registry.serve(vec![place], ready, end)).expect("served");
    let report = registry.check(false).expect("a check");
    let begun = std::fs::read_dir(registry_ingests()).map_or(0, Iterator::count);
    say(&format!("\nfound {} {begun}", report.findings.len()));
}

fn registry_ingests() -> std::path::PathBuf {
    #[expect(clippy::disallowed_methods, reason = "the test that this is a part of says it")]
    let root = std::env::var_os(ROOT).unwrap_or_default();
    Path::new(&root).join("ingest")
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "what the two processes say")]
fn say(line: &str) {
    if line.starts_with("SKIPPED") {
        eprintln!("{line}");
    } else {
        println!("{line}");
    }
}

fn start(root: &Path) -> Child {
    let program = std::env::current_exe().expect("this program");
    #[expect(clippy::disallowed_methods, reason = "this program again, with a disk of its own")]
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--propagation", "private"]);
    command.args(["sh", "-c", PREPARE, "sh"]).arg(root).arg(program);
    command.args(["--exact", "disk::serve_on_a_small_disk", "--nocapture"]).env(ROOT, root);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().expect("unshare")
}

#[test]
fn a_full_disk_is_an_error_and_no_more() {
    let scratch = Scratch::new();
    let mut child = start(scratch.path());
    let mut lines =
        BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let address = lines.find_map(|line| line.strip_prefix("listening ")?.parse().ok());
    let Some(address) = address else {
        let _ = child.wait();
        return say(
            "SKIPPED a_full_disk_is_an_error_and_no_more: the host refuses user namespaces",
        );
    };
    let mut http = Http::connect(address);
    let push = |bytes: &[u8]| {
        let path = format!("/v2/a/blobs/uploads/?digest={}", digest(bytes));
        Http::connect(address).send("POST", &path, &[], bytes)
    };
    // One that never fits: nothing of it stays, however it came.
    let large = vec![9; 8 << 20];
    let refused = push(&large);
    assert_eq!((refused.status, refused.code().as_str()), (507, "UNKNOWN"), "{}", refused.text());
    // Small ones until there is no room, and a manifest for each.
    let (mut kept, mut full) = (Vec::new(), 0);
    for number in 0..200_u32 {
        let bytes = number.to_le_bytes().repeat(25_000);
        let pushed = push(&bytes);
        if pushed.status != 201 {
            assert!(pushed.status >= 500 && !pushed.code().is_empty(), "{}", pushed.text());
            full += 1;
            if full > 3 {
                break;
            }
            continue;
        }
        let text = manifest(&[&bytes], "");
        let path = format!("/v2/a/manifests/t{number}");
        let headers = [("content-type", MANIFEST)];
        match http.send("PUT", &path, &headers, text.as_bytes()).status {
            201 => kept.push((number, bytes, text)),
            status => assert!(status >= 500, "{status}"),
        }
    }
    assert!(full > 0 && kept.len() > 10, "{full} {}", kept.len());
    for (number, bytes, text) in &kept {
        let path = format!("/v2/a/manifests/t{number}");
        assert_eq!(http.send("GET", &path, &[], b"").text(), *text);
        let path = format!("/v2/a/blobs/{}", digest(bytes));
        assert!(http.send("GET", &path, &[], b"").body == *bytes);
    }
    assert_eq!(http.send("GET", "/healthz", &[], b"").status, 200);
    drop(http);
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"\n").expect("heard");
    let found = lines.find_map(|line| line.strip_prefix("found ").map(str::to_owned));
    assert_eq!(found.as_deref(), Some("0 0"));
    assert!(child.wait().expect("an end").success());
}
