//! Containers, their streams, files and ports, by the command line and by the socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::termios::{Winsize, tcsetwinsize};

use crate::registry::Registry;
use crate::whole::{self, IMAGE, TestEngine, said, until};

/// Counts, ten lines a second: what is lost or told twice is seen.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";

#[test]
fn a_run_passes_output_input_and_code() {
    let Some(engine) = TestEngine::start("a_run_passes_output_input_and_code") else { return };
    let script = "cat; echo no >&2; exit 7";
    let said = engine.fed(&["run", "-i", "--rm", IMAGE, "sh", "-c", script], b"typed\n");
    assert_eq!((said.out.as_str(), said.err.as_str(), said.code), ("typed\n", "no\n", 7));
    assert_eq!(engine.ok(&["ps", "-aq"]), "");
    // The small init makes its process below the usual filter of system calls.
    let said = engine.dhow(&["run", "--rm", "--init", IMAGE, "sh", "-c", "echo in; exit 6"]);
    assert_eq!((said.out.as_str(), said.err.as_str(), said.code), ("in\n", "", 6));
    // The image of our own needs no registry.
    assert!(engine.ok(&["run", "--rm", "hello"]).contains("dhow"));
}

#[test]
fn clients_in_other_languages_find_what_they_expect() {
    let test = "clients_in_other_languages_find_what_they_expect";
    let Some(engine) = TestEngine::start(test) else { return };
    let ask = |method: &str, path: &str, body: &str| engine.ask(method, path, body).expect("said");
    engine.ok(&["run", "-d", "--name", "one", IMAGE, "sleep", "1000"]);
    // Go reads members in any case. An exec's output is framed unless whoever starts it says that it is a terminal.
    let exec = r#"{"cmd":["echo","word"],"attachStdout":true,"TTY":true}"#;
    let made = ask("POST", "/containers/one/exec", exec);
    let id = made.split('"').find(|text| text.len() == 64).expect("an id").to_owned();
    let told = ask("POST", &format!("/exec/{id}/start"), r#"{"Detach":false}"#);
    assert!(told.contains("\u{1}\0\0\0\0\0\0\u{6}word\r\n"), "{told:?}");
    assert!(ask("GET", &format!("/exec/{id}/json"), "").contains(r#""ExitCode":0"#));
    // Its policy starts it again; whoever waits hears of the end all the same.
    let restarted =
        ["--name", "again", "--restart", "always", IMAGE, "sh", "-c", "sleep 1; exit 3"];
    engine.ok(&[&["run", "-d"], &restarted[..]].concat());
    assert_eq!(engine.ok(&["wait", "again"]), "3");
    // What is no archive is said in a stream whose status was sent before.
    let refused = ask("POST", "/images/load", "no archive");
    assert!(refused.starts_with("HTTP/1.1 200") && refused.contains("errorDetail"), "{refused}");
    // Labels of others are no options of ours.
    let opted = r#"{"Image":"busybox","Cmd":["true"],
        "NetworkingConfig":{"EndpointsConfig":{"bridge":{"DriverOpts":{"com.example.note":"x"}}}}}"#;
    assert!(ask("POST", "/containers/create?name=opted", opted).starts_with("HTTP/1.1 201"));
    engine.ok(&["start", "opted"]);
    engine.ok(&["network", "create", "with space"]);
    engine.ok(&["network", "rm", "with space"]);
}

#[test]
fn what_waits_for_its_next_life_can_be_ended() {
    let Some(engine) = TestEngine::start("what_waits_for_its_next_life_can_be_ended") else {
        return;
    };
    let state = || engine.ok(&["inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "cc"]);
    // Lives are short, and the waits between them double: sooner or later it is seen waiting.
    let waits = || {
        until("a wait between two lives", || {
            let state = state();
            (state.starts_with("restarting") && !state.ends_with(" 1")).then_some(())
        });
    };
    engine.ok(&["run", "-d", "--name", "cc", "--restart", "always", IMAGE, "false"]);
    waits();
    engine.ok(&["stop", "cc"]);
    let stopped = state();
    assert!(stopped.starts_with("exited"), "{stopped}");
    engine.ok(&["start", "cc"]);
    waits();
    engine.ok(&["kill", "cc"]);
    assert!(state().starts_with("exited"), "{}", state());
    engine.ok(&["restart", "cc"]);
    waits();
    // Nothing of what came before has started it again.
    assert_eq!(engine.ok(&["ps", "-aq"]).lines().count(), 1);
    engine.ok(&["rm", "-f", "cc"]);
    assert_eq!(engine.ok(&["ps", "-aq"]), "");
}

#[test]
fn each_version_of_the_api_finds_what_it_expects() {
    let test = "each_version_of_the_api_finds_what_it_expects";
    let Some(engine) = TestEngine::start(test) else { return };
    let ask = |method: &str, path: &str, body: &str| engine.ask(method, path, body).expect("said");
    engine.ok(&["create", "--name", "one", IMAGE, "true"]);
    // What is empty is `null` to older clients, and a list to newer ones.
    let links = |version: &str| {
        let told = ask("GET", &format!("{version}/containers/one/json"), "");
        told.split(r#""Links":"#).nth(1).and_then(|rest| rest.split(',').next()).map(str::to_owned)
    };
    assert_eq!(links("/v1.51").as_deref(), Some("null"));
    assert_eq!(links("/v1.52").as_deref(), Some("[]"));
    assert_eq!(engine.ok(&["inspect", "-f", "{{.HostConfig.Links}}", "one"]), "[]");
    let refused = ask("TRACE", "/info", "");
    assert!(refused.starts_with("HTTP/1.1 405") && refused.contains("allow: GET"), "{refused}");
    let counted = ask("GET", "/images/json?shared-size=1", "");
    assert!(counted.contains(r#""SharedSize":0"#), "{counted}");
}

#[test]
fn a_container_has_clocks_of_its_own() {
    let Some(engine) = TestEngine::start("a_container_has_clocks_of_its_own") else { return };
    let uptime = |words: &[&str]| {
        let run = [&["run", "--rm"], words, &[IMAGE, "cat", "/proc/uptime"]].concat();
        let said = engine.ok(&run);
        said.split('.').next().and_then(|text| text.parse::<u64>().ok()).expect("seconds")
    };
    let ahead = uptime(&["--time-offset", "boottime=500000"]) - uptime(&[]);
    assert!((499_000..500_001).contains(&ahead), "{ahead}");
    let refused = engine.dhow(&["run", "--time-offset", "realtime=1", IMAGE]);
    assert_eq!(refused.code, 125);
    assert!(refused.err.contains("time offset"), "{refused:?}");
}

#[test]
fn what_cannot_be_run_says_why() {
    let Some(engine) = TestEngine::start("what_cannot_be_run_says_why") else { return };
    engine.ok(&["create", "--name", "taken", IMAGE]);
    for (words, code, says) in [
        (&["run", "--rm", IMAGE, "no-such-program"][..], 127, "executable file not found in $PATH"),
        (&["run", "--rm", IMAGE, "/etc/none"], 126, "permission denied"),
        (&["run", "--name", "taken", IMAGE], 125, "is already in use by container"),
        (&["run", "127.0.0.1:1/none"], 125, "127.0.0.1:1"),
        (&["run", "UPPER"], 125, "invalid reference format"),
        (&["run", "-p", "x:80", IMAGE], 125, "invalid"),
        (&["run", "--mount", "type=bind,src=/none/at/all,dst=/x", IMAGE], 125, "/none/at/all"),
        (&["run", "--no-such-flag", IMAGE], 125, "--no-such-flag"),
        (&["run", "--memory", "1k", IMAGE], 125, "6MB"),
        (&["exec", "taken", "true"], 1, "is not running"),
        (&["start", "none"], 1, "No such container: none"),
        (&["rmi", IMAGE], 1, "taken"),
    ] {
        let said = engine.dhow(words);
        assert_eq!(said.code, code, "{words:?}: {said:?}");
        assert!(
            said.err.contains(says)
                || (says == "taken" && said.err.contains("in use")
                    || said.err.contains("is using")),
            "{words:?}: {said:?}"
        );
    }
    assert_eq!(engine.ok(&["ps", "-a", "--format", "{{.Names}}"]), "taken");
}

#[test]
fn a_container_lives_its_life() {
    let Some(engine) = TestEngine::start("a_container_lives_its_life") else { return };
    let script = format!(
        "trap 'echo bye; exit 5' TERM; {}",
        COUNT.replace("sleep 0.1", "sleep 0.1 & wait $!")
    );
    let id = engine.ok(&["run", "-d", "--name", "cc", "-e", "A=b", IMAGE, "sh", "-c", &script]);
    assert_eq!(id.len(), 64);
    assert!(engine.ok(&["ps", "--format", "{{.Names}} {{.Status}}"]).starts_with("cc Up "));
    assert_eq!(engine.ok(&["exec", "cc", "sh", "-c", "echo $A"]), "b");
    assert_eq!(engine.dhow(&["exec", "cc", "sh", "-c", "exit 3"]).code, 3);
    assert!(engine.ok(&["top", "cc"]).contains("sh -c"));
    engine.ok(&["pause", "cc"]);
    assert_eq!(engine.ok(&["inspect", "-f", "{{.State.Status}}", "cc"]), "paused");
    engine.ok(&["unpause", "cc"]);
    engine.ok(&["rename", "cc", "dd"]);
    engine.ok(&["stop", "dd"]);
    let state = "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}";
    assert_eq!(engine.ok(&["inspect", "-f", state, "dd"]), "exited 5 false");
    assert!(engine.ok(&["logs", "--tail", "1", "dd"]).ends_with("bye"));
    engine.ok(&["start", "dd"]);
    engine.ok(&["kill", "dd"]);
    assert_eq!(engine.ok(&["wait", "dd"]), "137");
    engine.ok(&["rm", "dd"]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    let until = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    let told = ["events", "--since", "1h", "--until", &until, "--format", "{{.Action}}"];
    let events = engine.ok(&told);
    for action in
        ["create", "start", "pause", "unpause", "rename", "kill", "die", "stop", "destroy"]
    {
        assert!(events.lines().any(|line| line == action), "{action}: {events}");
    }
}

#[test]
fn a_terminal_has_a_size_and_keys() {
    let Some(engine) = TestEngine::start("a_terminal_has_a_size_and_keys") else { return };
    let (ours, theirs) = terminal();
    let mut command = engine.command(&["run", "-it", "--name", "tt", IMAGE, "sh"]);
    let end = || theirs.try_clone().expect("a duplicate");
    command.stdin(end()).stdout(end()).stderr(end());
    let mut client = command.spawn().expect("a client");
    let mut terminal = std::fs::File::from(ours);
    let read_until = |terminal: &mut std::fs::File, mark: &str| {
        let mut seen = String::new();
        let mut bytes = [0; 1024];
        while !seen.contains(mark) {
            assert!(is_readable(terminal), "{mark:?} does not come after {seen:?}");
            let count = terminal.read(&mut bytes).expect("output");
            seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    };
    read_until(&mut terminal, "# ");
    terminal.write_all(b"stty size; tty\n").expect("typed");
    read_until(&mut terminal, "31 97");
    terminal.write_all(b"echo 1st-$((1+1))\n").expect("typed");
    read_until(&mut terminal, "1st-2");
    // The detach keys leave it running, and another client comes back.
    terminal.write_all(b"\x10\x11").expect("typed");
    assert_eq!(client.wait().expect("an end").code(), Some(0));
    assert_eq!(engine.ok(&["ps", "--format", "{{.Names}}"]), "tt");
    let mut command = engine.command(&["attach", "tt"]);
    command.stdin(end()).stdout(end()).stderr(end());
    let mut client = command.spawn().expect("a client");
    terminal.write_all(b"echo 2nd-$((1+1))\n").expect("typed");
    read_until(&mut terminal, "2nd-2");
    terminal.write_all(b"exit 9\n").expect("typed");
    assert_eq!(client.wait().expect("an end").code(), Some(9));
}

/// Whether something comes in time.
pub(crate) fn is_readable(file: &std::fs::File) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
    poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&patience)).expect("a poll") > 0
}

/// A terminal of 31 rows and 97 columns.
pub(crate) fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).expect("granted");
    unlockpt(&ours).expect("unlocked");
    let name = ptsname(&ours, Vec::new()).expect("a name");
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let theirs = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).expect("its end");
    let size = Winsize { ws_row: 31, ws_col: 97, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&ours, size).expect("a size");
    (ours, theirs)
}

#[test]
fn files_come_from_volumes_binds_and_memory() {
    let Some(engine) = TestEngine::start("files_come_from_volumes_binds_and_memory") else {
        return;
    };
    let bound = engine.root.join("bound");
    std::fs::create_dir(&bound).expect("a directory");
    let bind = format!("{}:/bound", whole::text(&bound));
    let write = "cat /data/from-image; echo v >/data/v; echo b >/bound/b; touch /tmp/t && \
        grep -q ' /tmp tmpfs ' /proc/mounts";
    let run = ["run", "--rm", "-v", "vol:/data", "-v", &bind, "--tmpfs", "/tmp", IMAGE];
    // What the image has there is copied into a volume that is new.
    assert_eq!(engine.ok(&[&run[..], &["sh", "-c", write]].concat()), "kept");
    assert_eq!(std::fs::read_to_string(bound.join("b")).expect("a file"), "b\n");
    let read =
        ["run", "--rm", "-v", "vol:/again:ro", IMAGE, "sh", "-c", "cat /again/v; touch /again/x"];
    let said = engine.dhow(&read);
    assert_eq!((said.out.as_str(), said.code), ("v\n", 1), "{said:?}");
    assert!(said.err.contains("Read-only file system"), "{said:?}");
    assert_eq!(engine.ok(&["volume", "ls", "-q"]), "vol");
    engine.ok(&["volume", "rm", "vol"]);
}

#[test]
fn containers_and_their_ports_outlive_engines() {
    let test = "containers_and_their_ports_outlive_engines";
    let Some(mut engine) = TestEngine::start(test) else { return };
    let serve = "echo served >index.html; exec httpd -f -p 80 -h /";
    engine.ok(&["run", "-d", "--name", "web", "-p", "127.0.0.1:0:80", IMAGE, "sh", "-c", serve]);
    engine.ok(&["run", "-d", "--name", "count", "--restart", "always", IMAGE, "sh", "-c", COUNT]);
    let port = "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}";
    let port: u16 = engine.ok(&["inspect", "-f", port, "web"]).parse().expect("a port");
    until("the server answers", || fetch(port).filter(|page| page.contains("served")));
    let pids =
        |engine: &TestEngine| engine.ok(&["inspect", "-f", "{{.State.Pid}}", "web", "count"]);
    let before = pids(&engine);
    let mut waiting = engine.command(&["wait", "count"]);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let waiting = waiting.expect("a client");
    until("the client has asked", || has_asked(waiting.id()).then_some(()));
    for pause in [0, 30, 170, 400] {
        engine.kill();
        assert!(fetch(port).expect("a page").contains("served"));
        engine.open();
        std::thread::sleep(Duration::from_millis(pause));
        assert_eq!(pids(&engine), before);
    }
    engine.ok(&["stop", "count"]);
    // Who waited has waited through all of it.
    let waited = said(waiting.wait_with_output().expect("an end"));
    assert_eq!(waited.out, "137\n", "{waited:?}");
    let lines = engine.ok(&["logs", "count"]);
    let expected: Vec<String> = (1..=lines.lines().count()).map(|line| line.to_string()).collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    // The port is free again once its container is gone, and not before.
    let publish = format!("127.0.0.1:{port}:80");
    let second = ["run", "-d", "--name", "web2", "-p", &publish, IMAGE, "sh", "-c", serve];
    let refused = engine.dhow(&second);
    assert_eq!(refused.code, 125);
    assert!(refused.err.contains("port is already allocated"), "{refused:?}");
    engine.ok(&["rm", "-f", "web", "web2"]);
    engine.ok(&second);
}

/// Whether a client sleeps with a connection to its engine: it waits for the answer then.
fn has_asked(client: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{client}/stat")).expect("a client");
    let sleeps = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'));
    let files = std::fs::read_dir(format!("/proc/{client}/fd")).expect("its files");
    let mut targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    sleeps && targets.any(|target| whole::text(&target).starts_with("socket:"))
}

/// What a server on the loopback answers.
pub(crate) fn fetch(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}

#[test]
fn two_hundred_clients_are_served() {
    let Some(engine) = TestEngine::start("two_hundred_clients_are_served") else { return };
    engine.ok(&["run", "-d", "--name", "cc", IMAGE, "sh", "-c", COUNT]);
    // Half of them follow the log, the other half only hold their connection.
    let mut held = Vec::new();
    for number in 0..200 {
        let mut stream = UnixStream::connect(engine.socket()).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        if number % 2 == 0 {
            let follow = "GET /containers/cc/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n";
            stream.write_all(follow.as_bytes()).expect("asked");
        }
        held.push(stream);
    }
    for stream in held.iter_mut().step_by(2) {
        let mut head = [0; 15];
        stream.read_exact(&mut head).expect("an answer");
        assert_eq!(&head, b"HTTP/1.1 200 OK");
    }
    let begun = Instant::now();
    assert_eq!(engine.ok(&["ps", "--format", "{{.Names}}"]), "cc");
    assert!(begun.elapsed() < Duration::from_secs(5), "a listing waits for other clients");
    // Those who vanish hurt nobody.
    drop(held);
    assert_eq!(engine.ok(&["exec", "cc", "echo", "there"]), "there");
}

#[test]
fn an_attached_client_gets_the_log_first() {
    let Some(engine) = TestEngine::start("an_attached_client_gets_the_log_first") else { return };
    let script = "echo before; read x; echo after $x";
    engine.ok(&["run", "-di", "--name", "cc", IMAGE, "sh", "-c", script]);
    until("the first line", || (engine.ok(&["logs", "cc"]) == "before").then_some(()));
    // The log alone, in frames.
    let answer =
        engine.ask("POST", "/containers/cc/attach?logs=1&stdout=1", "").expect("an answer");
    let (_, frames) = answer.split_once("\r\n\r\n").expect("a body");
    assert_eq!(frames, "\u{1}\0\0\0\0\0\0\u{7}before\n");
    // The log, then what comes.
    let mut stream = UnixStream::connect(engine.socket()).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let path = "/containers/cc/attach?logs=1&stream=1&stdin=1&stdout=1";
    write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\nhello\n")
        .expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an end");
    assert!(answer.ends_with("\u{7}before\n\u{1}\0\0\0\0\0\0\u{c}after hello\n"), "{answer:?}");
}

#[test]
fn images_go_to_a_registry_and_come_back() {
    let test = "images_go_to_a_registry_and_come_back";
    let Some(engine) = TestEngine::start(test) else { return };
    let Some(registry) = Registry::start(test, None) else { return };
    let name = registry.name("team/tool:1");
    engine.ok(&["tag", IMAGE, &name]);
    let path = format!("/images/{}/push?tag=1", registry.name("team/tool"));
    let pushed = engine.ask("POST", &path, "").expect("an answer");
    assert!(pushed.contains("1: digest: sha256:"), "{pushed}");
    engine.ok(&["rmi", &name]);
    assert_eq!(engine.dhow(&["run", "--rm", "--pull", "never", &name, "true"]).code, 125);
    // What is missing is fetched on the way.
    assert_eq!(engine.ok(&["run", "--rm", &name, "echo", "fetched"]), "fetched");
    assert!(engine.ok(&["pull", &name]).contains("Image is up to date"));
    let found = engine.ok(&["search", "--format", "{{.Name}}", &registry.name("tool")]);
    assert_eq!(found, registry.name("team/tool"));
    let starred = ["search", "--format", "{{.Name}}", "--filter", "stars=1"];
    assert_eq!(engine.ok(&[&starred[..], &[&registry.name("tool")]].concat()), "");
    let none = engine.dhow(&["pull", &registry.name("team/none")]);
    assert_eq!(none.code, 1, "{none:?}");
    assert!(none.err.contains("team/none"), "{none:?}");
}

#[test]
fn tcp_is_for_those_with_a_certificate() {
    let test = "tcp_is_for_those_with_a_certificate";
    let ours = Certificates::make(test);
    let theirs = Certificates::make(&format!("{test}-others"));
    let file = |name: &str| ours.0.join(name).display().to_string();
    let address = "tcp://127.0.0.1:23760";
    // Nobody else is in the test's network namespace: any port is free.
    let flags = [
        format!("--host={address}"),
        "--tlsverify".to_owned(),
        format!("--tlscacert={}", file("ca.pem")),
        format!("--tlscert={}", file("cert.pem")),
        format!("--tlskey={}", file("key.pem")),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let Some(engine) = TestEngine::with_flags(test, &flags) else { return };
    let client = |certificates: &Certificates, words: &[&str]| {
        let mut command = engine.command(words);
        command.env("DHOW_HOST", address).env("DOCKER_TLS_VERIFY", "1");
        command.env("DOCKER_CERT_PATH", &certificates.0);
        said(command.output().expect("a client"))
    };
    // Streams go this way, too.
    let run = client(&ours, &["run", "--rm", IMAGE, "echo", "encrypted"]);
    assert_eq!((run.out.as_str(), run.code), ("encrypted\n", 0), "{run:?}");
    let stranger = client(&theirs, &["ps"]);
    assert_eq!((stranger.out.as_str(), stranger.code), ("", 1), "{stranger:?}");
    // One without TLS learns nothing.
    let mut plain = TcpStream::connect("127.0.0.1:23760").expect("connected");
    plain.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").expect("asked");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("OK"), "{answer:?}");
}

/// An authority, and one certificate of it for server and client alike, as Docker's programs name them.
struct Certificates(std::path::PathBuf);

impl Certificates {
    fn make(name: &str) -> Self {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
        let place = std::env::temp_dir().join(format!("dhow-{name}-{}", std::process::id()));
        std::fs::create_dir(&place).expect("a directory");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        let files = [
            ("ca.pem", authority.pem()),
            ("cert.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
        ];
        for (file, text) in files {
            std::fs::write(place.join(file), text).expect("a file");
        }
        Self(place)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_second_engine_is_refused() {
    let Some(engine) = TestEngine::start("a_second_engine_is_refused") else { return };
    let mut second = Command::new(whole::PROGRAM);
    second.args(["engine", "--data-root", whole::text(&engine.root.join("data"))]);
    second.args(["--exec-root", whole::text(&engine.root.join("run")), "--group", ""]);
    let refused = said(second.stdin(Stdio::null()).output().expect("an engine"));
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("is in use by process"), "{refused:?}");
    assert_eq!(engine.ok(&["run", "--rm", IMAGE, "echo", "there"]), "there");
}

#[test]
fn a_process_that_would_not_hear_is_stopped_at_once() {
    let test = "a_process_that_would_not_hear_is_stopped_at_once";
    let Some(engine) = TestEngine::start(test) else { return };
    engine.ok(&["run", "-d", "--name", "deaf", IMAGE, "sleep", "1000"]);
    let begun = Instant::now();
    engine.ok(&["stop", "deaf"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
}

#[test]
fn a_list_of_images_is_put_together_and_pushed() {
    let test = "a_list_of_images_is_put_together_and_pushed";
    let Some(engine) = TestEngine::start(test) else { return };
    let Some(registry) = Registry::start(test, None) else { return };
    let (one, two) = (registry.name("team/tool:one"), registry.name("other/tool:two"));
    engine.ok(&["tag", IMAGE, &one]);
    engine.ok(&["create", "--name", "other", IMAGE]);
    engine.ok(&["commit", "-m", "another", "other", &two]);
    for name in [&one, &two] {
        engine.ok(&["push", "-q", name]);
    }
    engine.ok(&["rm", "other"]);
    let list = registry.name("team/tool:all");
    let created = engine.ok(&["manifest", "create", &list, &one, &two]);
    assert_eq!(created, format!("Created manifest list {list}"));
    let refused = engine.dhow(&["manifest", "create", &list, &one]);
    assert!(refused.err.contains("--amend"), "{refused:?}");
    engine.ok(&["manifest", "annotate", "--arch", "arm64", "--variant", "v8", &list, &two]);
    assert!(engine.ok(&["manifest", "inspect", &list]).contains("\"variant\": \"v8\""));
    assert!(engine.ok(&["manifest", "push", "--purge", &list]).starts_with("sha256:"));
    // From here on it is the registry's.
    let seen = engine.ok(&["manifest", "inspect", &list]);
    assert!(seen.contains("\"architecture\": \"arm64\""), "{seen}");
    let one = engine.ok(&["manifest", "inspect", "-v", &one]);
    assert!(one.contains("\"Ref\"") && one.contains("\"config\""), "{one}");
    engine.ok(&["rmi", "-f", IMAGE, &registry.name("team/tool:one"), &two]);
    assert_eq!(engine.ok(&["run", "--rm", &list, "echo", "ran"]), "ran");
    let gone = engine.dhow(&["manifest", "rm", &list]);
    assert!(gone.err.contains("No such manifest"), "{gone:?}");
    // Of a list that was pulled, one platform can be taken on.
    let single = registry.name("team/tool:single");
    engine.ok(&["tag", &list, &single]);
    let host = engine.ok(&["version", "--format", "{{.Server.Arch}}"]);
    let platform = format!("linux/{host}");
    engine.ok(&["push", "-q", "--platform", &platform, &single]);
    assert!(engine.ok(&["manifest", "inspect", &single]).contains("\"config\""));
    let refused = engine.dhow(&["push", "-q", "--platform", "plan9/amd64", &single]);
    assert_eq!(refused.code, 1, "{refused:?}");
}
