//! The client as a program, against an engine that is played: what it asks, in which order, and what
//! becomes of the answers, of keys, signals and of its terminal.
//!
//! Absent on purpose: a real engine, and what the client's own tests know already.
#![allow(clippy::disallowed_methods, reason = "tests start the program that they judge")]

mod played;

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use played::{Answer, Engine, Request};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

const ID: &str = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

fn client(engine: &Engine) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dhow"));
    command
        .env_clear()
        .env("DHOW_HOST", engine.address())
        .env("DOCKER_CONFIG", engine.directory())
        .stdin(Stdio::null());
    command
}

fn run(engine: &Engine, words: &[&str]) -> (String, String, i32) {
    text(client(engine).args(words).output().unwrap())
}

fn text(output: Output) -> (String, String, i32) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap_or(-1))
}

/// An engine in which every container starts, says a little, and ends with 42.
fn obliging(request: &Request) -> Answer {
    match request.path() {
        "/containers/create" => Answer::json(201, &format!("{{\"Id\":\"{ID}\",\"Warnings\":[]}}")),
        path if path.ends_with("/wait") => Answer::Later(r#"{"StatusCode":42}"#),
        path if path.ends_with("/attach") => Answer::Stream,
        _ => Answer::json(204, ""),
    }
}

fn lines(engine: &Engine) -> Vec<String> {
    engine.seen().iter().map(|request| format!("{} {}", request.method, request.target)).collect()
}

#[test]
fn run_creates_attaches_waits_and_starts() {
    let engine = Engine::play(obliging);
    let mut child = client(&engine)
        .args(["run", "-i", "--name", "x", "debian", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    let (out, err, code) = text(child.wait_with_output().unwrap());
    assert_eq!((out.as_str(), err.as_str(), code), ("out:hello", "err", 42));
    let container = format!("POST /v1.56/containers/{ID}");
    assert_eq!(
        lines(&engine),
        [
            "POST /v1.56/containers/create?name=x".to_owned(),
            format!("{container}/attach?stream=1&stdin=1&stdout=1&stderr=1"),
            format!("{container}/wait?condition=next-exit"),
            format!("{container}/start"),
        ]
    );
}

#[test]
fn an_image_that_is_missing_is_pulled() {
    let engine = Engine::play(|request| match request.path() {
        "/containers/create" if request.earlier == 0 => {
            Answer::json(404, r#"{"message":"No such image: debian:latest"}"#)
        }
        "/images/create" => Answer::json(200, "{\"status\":\"Digest: sha256:00\"}\n"),
        _ => obliging(request),
    });
    let (out, err, code) = run(&engine, &["run", "-d", "debian"]);
    assert_eq!((out, code), (format!("{ID}\n"), 0), "{err}");
    assert_eq!(err, "Unable to find image 'debian:latest' locally\nDigest: sha256:00\n");
    let pull = "POST /v1.56/images/create?fromImage=docker.io%2Flibrary%2Fdebian&tag=latest";
    assert_eq!(lines(&engine)[1], pull);
}

#[test]
fn a_program_that_is_not_there_is_127() {
    let engine = Engine::play(|request| match request.path() {
        path if path.ends_with("/start") => {
            Answer::json(400, r#"{"message":"exec: \"nope\": executable file not found in $PATH"}"#)
        }
        _ => obliging(request),
    });
    let (_, err, code) = run(&engine, &["run", "debian", "nope"]);
    assert_eq!(code, 127);
    assert_eq!(
        err,
        "dhow: Error response from daemon: exec: \"nope\": executable file not found in $PATH\n\n\
         Run 'dhow run --help' for more information\n"
    );
}

#[test]
fn mistakes_never_reach_the_engine() {
    let engine = Engine::play(obliging);
    for (words, code, begin) in [
        (
            &["run", "--foo", "x"][..],
            125,
            "unknown flag: --foo\n\nUsage:  dhow run [OPTIONS] IMAGE",
        ),
        (&["run", "-p", "99999:80", "x"], 125, "dhow: invalid hostPort: 99999\n\nRun 'dhow run"),
        (&["ps", "x"], 1, "dhow: 'dhow ps' accepts no arguments\n\nUsage:  dhow ps [OPTIONS]"),
        (&["fly"], 1, "dhow: unknown command: dhow fly"),
        (&["swarm", "init"], 1, "'dhow swarm' is not built yet"),
        (&["run", "--use-api-socket", "x"], 125, "dhow: --use-api-socket is not built yet"),
        (&["run", "-it", "x"], 1, "the input device is not a TTY"),
    ] {
        let (out, err, got) = run(&engine, words);
        assert!(err.starts_with(begin), "{words:?}: {err}");
        assert_eq!((out.as_str(), got), ("", code), "{words:?}");
    }
    assert!(lines(&engine).is_empty());
}

#[test]
fn an_older_engine_is_spoken_to_in_its_version() {
    let engine = Engine::play(|request| match request.target.as_str() {
        target if target.starts_with("/v1.56/") => Answer::json(
            400,
            r#"{"message":"client version 1.56 is too new. Maximum supported API version is 1.43"}"#,
        ),
        _ => Answer::json(200, "[]"),
    });
    let (out, _, code) = run(&engine, &["ps", "-q"]);
    assert_eq!((out.as_str(), code), ("", 0));
    assert_eq!(lines(&engine)[1], "GET /v1.43/containers/json");
}

#[test]
fn nobody_there_is_said_in_one_line() {
    let engine = Engine::play(obliging);
    let address = "unix:///nonexistent/engine.sock";
    let output = client(&engine).env("DHOW_HOST", address).arg("ps").output().unwrap();
    let (_, err, code) = text(output);
    let line = format!(
        "Cannot connect to the Docker daemon at {address}. Is the docker daemon running?\n"
    );
    assert_eq!((err, code), (line, 1));
}

#[test]
fn called_docker_it_answers_as_docker() {
    let engine = Engine::play(obliging);
    let link = engine.directory().join("docker");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dhow"), &link).unwrap();
    let output = Command::new(&link).env_clear().args(["run"]).output().unwrap();
    let (_, err, code) = text(output);
    assert!(err.starts_with("docker: 'docker run' requires at least 1 argument"), "{err}");
    assert_eq!(code, 1);
}

#[test]
fn signals_are_for_the_container() {
    let engine = Engine::play(|request| match request.path() {
        path if path.ends_with("/attach") => Answer::StreamUntilKilled,
        path if path.ends_with("/wait") => Answer::LaterWhenKilled(r#"{"StatusCode":143}"#),
        _ => obliging(request),
    });
    let child = client(&engine)
        .args(["run", "debian", "sleep"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    engine.wait_for(|request| request.path().ends_with("/start"));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let (_, _, code) = text(child.wait_with_output().unwrap());
    assert_eq!(code, 143);
    let kill = format!("POST /v1.56/containers/{ID}/kill?signal=TERM");
    assert!(lines(&engine).contains(&kill), "{:?}", lines(&engine));
}

/// A terminal, and the end of it that a user would sit at.
fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&user).unwrap();
    unlockpt(&user).unwrap();
    let name = ptsname(&user, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let program = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    tcsetwinsize(&program, Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    (user, program)
}

fn is_raw(terminal: impl AsFd) -> bool {
    !tcgetattr(terminal).unwrap().local_modes.contains(LocalModes::ICANON)
}

fn wait_until(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_terminal_is_raw_sized_left_by_keys_and_restored() {
    let engine = Engine::play(|request| match request.path() {
        path if path.ends_with("/attach") => Answer::StreamUntilKilled,
        path if path.ends_with("/wait") => Answer::LaterWhenKilled(r#"{"StatusCode":0}"#),
        _ => obliging(request),
    });
    let (user, program) = terminal();
    let copy = || Stdio::from(program.try_clone().unwrap());
    let mut child = client(&engine)
        .args(["run", "-it", "--sig-proxy=false", "debian"])
        .stdin(copy())
        .stdout(copy())
        .stderr(copy())
        .spawn()
        .unwrap();
    engine.wait_for(|request| request.path().ends_with("/resize"));
    assert!(lines(&engine).contains(&format!("POST /v1.56/containers/{ID}/resize?h=33&w=99")));
    assert!(is_raw(&program));
    rustix::io::write(&user, b"abc\x10\x11").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!is_raw(&program));
    // What came before the keys went to the container.
    wait_until(|| engine.typed() == b"abc");
}

#[test]
fn a_terminal_is_restored_when_a_signal_ends_the_client() {
    let engine = Engine::play(|request| match request.path() {
        path if path.ends_with("/attach") => Answer::StreamUntilKilled,
        path if path.ends_with("/wait") => Answer::LaterWhenKilled(r#"{"StatusCode":0}"#),
        _ => obliging(request),
    });
    let (mut user, program) = {
        let (user, program) = terminal();
        (std::fs::File::from(user), program)
    };
    let copy = || Stdio::from(program.try_clone().unwrap());
    let mut child = client(&engine)
        .args(["run", "-it", "--sig-proxy=false", "debian"])
        .stdin(copy())
        .stdout(copy())
        .stderr(copy())
        .spawn()
        .unwrap();
    wait_until(|| is_raw(&program));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    assert!(!is_raw(&program));
    user.write_all(b"x").unwrap();
    let mut echo = [0];
    user.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"x");
}
