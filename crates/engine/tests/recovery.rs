//! Engines and monitors that are killed at any moment: containers notice nothing, and nothing is forgotten.
#![allow(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test says what it skips, and starts the engine that it kills"
)]

mod rig;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dhow_engine::request::RestartPolicy;
use dhow_engine::{ListRequest, LogsRequest, RemoveRequest, Status, StopRequest};
use rig::{Rig, kill, monitor_of, sh};

/// Counts, a line each tenth of a second: what is lost or told twice is seen.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";

#[test]
fn a_closed_engine_is_found_again_as_it_was() {
    Rig::run("a_closed_engine_is_found_again_as_it_was", async |rig| {
        rig.start("runs", sh(COUNT)).await;
        rig.start("ended", sh("exit 4")).await;
        rig.until_status("ended", Status::Exited).await;
        rig.engine().create(Some("made"), sh("true")).await.expect("created");
        let pid = rig.pid("runs").await;
        rig.reopen().await;
        assert_eq!(rig.status("made").await, Status::Created);
        rig.until_status("runs", Status::Running).await;
        assert_eq!(rig.pid("runs").await, pid);
        let ended = rig.engine().inspect("ended", false).await.expect("details").state;
        assert_eq!((ended.status, ended.exit_code), (Status::Exited, 4));
        // It is ours again: it can be stopped.
        rig.engine().stop("runs", StopRequest::default()).await.expect("stopped");
        assert_counted(&rig.logs("runs", LogsRequest::default()).await);
    });
}

#[test]
fn what_ends_without_an_engine_is_known_to_the_next() {
    Rig::run("what_ends_without_an_engine_is_known_to_the_next", async |rig| {
        rig.start("ends", sh("sleep 0.3; exit 9")).await;
        let mut request = sh("sleep 0.3");
        request.host.auto_remove = true;
        rig.start("goes", request).await;
        let mut request = sh("sleep 0.2; exit 1");
        request.host.restart = RestartPolicy::OnFailure { max: 1 };
        rig.start("again", request).await;
        rig.close().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        rig.reopen().await;
        rig.until_status("ends", Status::Exited).await;
        let state = rig.engine().inspect("ends", false).await.expect("details").state;
        assert_eq!(state.exit_code, 9);
        rig.until_status("again", Status::Exited).await;
        let again = rig.engine().inspect("again", false).await.expect("details");
        assert_eq!((again.state.exit_code, again.restart_count), (1, 1));
        rig.until_async(async || rig.engine().inspect("goes", false).await.err()).await;
    });
}

#[test]
fn a_killed_monitor_is_replaced() {
    Rig::run("a_killed_monitor_is_replaced", async |rig| {
        rig.start("runs", sh(COUNT)).await;
        let pid = rig.pid("runs").await;
        let id = rig.id("runs").await;
        for _ in 0..kills(3) {
            kill(monitor_of(&id).expect("a monitor"));
            // Its processes are told by the next one.
            rig.until_async(async || rig.engine().top("runs", "").await.ok()).await;
            assert_eq!(rig.status("runs").await, Status::Running);
            assert_eq!(rig.pid("runs").await, pid);
        }
        rig.engine().stop("runs", StopRequest::default()).await.expect("stopped");
        assert_counted(&rig.logs("runs", LogsRequest::default()).await);
    });
}

/// How often something is killed: enough for every run, or what `DHOW_KILLS` says.
fn kills(usual: u64) -> u64 {
    std::env::var("DHOW_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn engines_are_killed_at_random_moments() {
    const CONTAINERS: usize = 20;
    Rig::run("engines_are_killed_at_random_moments", async |rig| {
        for number in 0..CONTAINERS {
            let mut request = sh(COUNT);
            request.host.restart = RestartPolicy::Always;
            rig.start(&format!("c{number}"), request).await;
        }
        let mut pids = Vec::new();
        for number in 0..CONTAINERS {
            pids.push(rig.pid(&format!("c{number}")).await);
        }
        rig.close().await;
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for round in 0..kills(12) {
            let mut engine = spawn(&rig.root);
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            // Somebody makes and removes containers meanwhile.
            let socket = rig.root.join("run/dhow.sock");
            let client = std::thread::spawn(move || disturb(&socket, round));
            tokio::time::sleep(Duration::from_millis(50 + seed % 700)).await;
            engine.kill().expect("killed");
            engine.wait().expect("reaped");
            client.join().expect("no panic");
        }
        rig.reopen().await;
        for (number, pid) in pids.iter().enumerate() {
            let name = format!("c{number}");
            rig.until_status(&name, Status::Running).await;
            assert_eq!(rig.pid(&name).await, *pid, "{name}");
            rig.engine().stop(&name, StopRequest::default()).await.expect("stopped");
            assert_counted(&rig.logs(&name, LogsRequest::default()).await);
        }
        // What was half made or half removed is whole or not there.
        let all = ListRequest { all: true, ..ListRequest::default() };
        for container in rig.engine().list(all).await.expect("a list") {
            let request = RemoveRequest { force: true, volumes: true };
            rig.engine().remove(&container.id, request).await.expect("removed");
        }
        let left = std::fs::read_dir(rig.root.join("data/containers")).expect("a directory");
        assert_eq!(left.count(), 0);
    });
}

/// A line for every number, once, in order.
fn assert_counted(lines: &[String]) {
    assert!(!lines.is_empty());
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(line.trim_end(), (index + 1).to_string(), "{lines:?}");
    }
}

/// The engine as a process of its own, in our namespaces.
fn spawn(root: &Path) -> Child {
    Command::new(rig::program())
        .arg("engine")
        .arg("--data-root")
        .arg(root.join("data"))
        .arg("--exec-root")
        .arg(root.join("run"))
        .args(["--group", "", "--ip-forward=false", "--log-level", "error"])
        .arg("--cgroup-parent")
        .arg(root.file_name().expect("a name"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("an engine")
}

/// Creates, starts and removes containers until nobody answers any more.
fn disturb(socket: &Path, round: u64) {
    for number in 0.. {
        let name = format!("d{round}-{number}");
        let body = r#"{"Image":"busybox","Cmd":["true"],"HostConfig":{"NetworkMode":"none"}}"#;
        if number > 200 {
            return;
        }
        let create = format!("/containers/create?name={name}");
        if ask(socket, "POST", &create, body).is_none() {
            // Not there yet, or no more.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        }
        let started = ask(socket, "POST", &format!("/containers/{name}/start"), "");
        let removed = ask(socket, "DELETE", &format!("/containers/{name}?force=1"), "");
        if started.is_none() || removed.is_none() {
            return;
        }
    }
}

fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (!answer.is_empty()).then_some(answer)
}
