//! `kill -9` at random moments of pushes and garbage collections: a process of its own is the registry.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dhow_registry::{Config, Log, Options, Place, Registry};
use dhow_store::{Clock, Steps};

use crate::http::{Http, send};
use crate::pushes::{MANIFEST, digest, manifest};
use crate::server::{Scratch, Server};

/// Where the process that is killed has its root.
const ROOT: &str = "DHOW_TEST_REGISTRY_ROOT";
const ROUNDS: u64 = 12;
const CONFIG: &str = r#"{"log": {"access": false}, "collect": {"grace": "1h", "untagged": "0s"}}"#;

/// Not a test but the program that one kills: it serves, and collects garbage all the time.
#[test]
fn serve_until_killed() {
    let Some(root) = variable(ROOT) else { return };
    let registry = Registry::open(Options {
        root: root.into(),
        config: Config::parse(CONFIG).expect("a configuration"),
        log: Log::nowhere(),
        clock: Clock::system(),
        steps: Steps::unwatched(),
    })
    .expect("a registry");
    let collecting = registry.clone();
    std::thread::spawn(move || {
        loop {
            let _ = collecting.collect();
            std::thread::sleep(Duration::from_millis(3));
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let place = Place::Address("127.0.0.1:0".to_owned());
    let ready = |addresses: &[SocketAddr]| say(&format!("\nlistening {}", addresses[0]));
    let serving = registry.serve(vec![place], ready, std::future::pending());
    runtime.expect("a runtime").block_on(serving).expect("served");
}

fn start(root: &Path) -> (Child, SocketAddr) {
    let program = std::env::current_exe().expect("this program");
    #[expect(clippy::disallowed_methods, reason = "this program again, to be killed")]
    let mut command = Command::new(program);
    command.args(["--exact", "crash::serve_until_killed", "--nocapture"]).env(ROOT, root);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("a process");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let address = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("listening ")?.parse().ok())
        .expect("an address");
    (child, address)
}

/// Pushes images until the registry dies; gives the tags that were acknowledged.
fn push_until_dead(address: SocketAddr, lane: usize, round: u64) -> Vec<(String, Vec<u8>)> {
    let mut kept = Vec::new();
    for number in 0.. {
        let bytes = format!("blob {number} of {lane} in {round} ").repeat(500 * (lane + 1));
        let tag = format!("t{lane}-{round}-{number}");
        match push(address, &tag, bytes.as_bytes()) {
            Some(()) => kept.push((tag, bytes.into_bytes())),
            None => return kept,
        }
    }
    kept
}

/// `None` if the connection broke.
fn push(address: SocketAddr, tag: &str, bytes: &[u8]) -> Option<()> {
    let answered = |status: u16, expected: u16| assert_eq!(status, expected, "{tag}");
    let mut http = Http::try_connect(address)?;
    let begun = http.try_send("POST", "/v2/a/blobs/uploads/", &[], b"")?;
    answered(begun.status, 202);
    let path = format!("{}?digest={}", begun.header("location"), digest(bytes));
    let half = bytes.len() / 2;
    let patched = http.try_send("PATCH", begun.header("location"), &[], &bytes[..half])?;
    answered(patched.status, 202);
    let put = http.try_send("PUT", &path, &[], &bytes[half..])?;
    answered(put.status, 201);
    let (path, text) = (format!("/v2/a/manifests/{tag}"), manifest(&[bytes], ""));
    let put = http.try_send("PUT", &path, &[("content-type", MANIFEST)], text.as_bytes())?;
    answered(put.status, 201);
    Some(())
}

#[test]
fn what_was_acknowledged_is_there() {
    let scratch = Scratch::new();
    let root = scratch.path().join("root");
    let mut kept = Vec::new();
    for round in 0..ROUNDS {
        let (mut child, address) = start(&root);
        let pushes: Vec<_> = (0..3)
            .map(|lane| std::thread::spawn(move || push_until_dead(address, lane, round)))
            .collect();
        // Anywhere from the first bytes to many images.
        std::thread::sleep(Duration::from_millis(40 + round * 37 % 300));
        child.kill().expect("killed");
        let _ = child.wait();
        kept.extend(pushes.into_iter().flat_map(|push| push.join().expect("only known answers")));
    }
    assert!(kept.len() as u64 > ROUNDS, "only {} pushes", kept.len());
    let server = Server::over(scratch, CONFIG);
    for (tag, bytes) in &kept {
        let got = send(server.address, "GET", &format!("/v2/a/manifests/{tag}"), &[], b"");
        assert_eq!(got.text(), manifest(&[bytes], ""), "{tag}");
        let got = send(server.address, "GET", &format!("/v2/a/blobs/{}", digest(bytes)), &[], b"");
        assert!(got.body == *bytes, "{tag}");
    }
    let report = server.registry.check(false).expect("a check");
    assert_eq!(report.findings, []);
}

#[expect(clippy::disallowed_methods, reason = "how a test tells its own program what to be")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[expect(clippy::print_stdout, reason = "how its own program tells a test where it listens")]
fn say(line: &str) {
    println!("{line}");
}
