//! The cases.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use dhow_monitor::{
    AttachRequest, Connection, ErrorKind, Event, ExecRequest, HealthCheck, Launch, LogConfig,
    LogDriver, Reply, Request, RestartPolicy, Runtime, StartFailure, StreamKinds, journal,
};

use super::{Engine, PATIENCE, Place, all_output, kinds, text_of};

type Case = fn(&Place);

pub(crate) const ALL: &[(&str, Case)] = &[
    ("an_end_is_on_record_and_output_in_the_log", an_end_is_on_record_and_output_in_the_log),
    ("a_program_that_is_not_there", a_program_that_is_not_there),
    ("what_cannot_begin_says_why", what_cannot_begin_says_why),
    ("clients_see_output_from_the_first_byte", clients_see_output_from_the_first_byte),
    ("typed_input_and_its_end", typed_input_and_its_end),
    ("a_terminal_with_detach_keys", a_terminal_with_detach_keys),
    ("a_client_that_does_not_read", a_client_that_does_not_read),
    ("stop_is_quick_for_the_deaf", stop_is_quick_for_the_deaf),
    ("stop_asks_waits_and_kills", stop_asks_waits_and_kills),
    ("pause_update_and_processes", pause_update_and_processes),
    ("restarts_by_policy", restarts_by_policy),
    ("a_waiting_restart_is_cancelled", a_waiting_restart_is_cancelled),
    ("execs_have_streams_and_ends", execs_have_streams_and_ends),
    ("an_exec_waits_for_its_client", an_exec_waits_for_its_client),
    ("health_is_found_out", health_is_found_out),
    ("memory_that_runs_out", memory_that_runs_out),
    ("an_engine_that_comes_back", an_engine_that_comes_back),
    ("another_monitor_takes_over", another_monitor_takes_over),
    ("an_end_between_two_monitors", an_end_between_two_monitors),
    ("other_runtimes_do_the_same", other_runtimes_do_the_same),
];

fn exec(id: &str, args: &[&str]) -> ExecRequest {
    let process = dhow_monitor::Process {
        args: args.iter().map(|word| (*word).to_owned()).collect(),
        cwd: "/".to_owned(),
        env: vec!["PATH=/usr/bin:/bin".to_owned()],
        ..Default::default()
    };
    ExecRequest { exec_id: id.to_owned(), process, privileged: false, attach: None }
}

fn an_end_is_on_record_and_output_in_the_log(place: &Place) {
    let launch = place.launch("echo out; echo err >&2; printf no-end; exit 7");
    let mut engine = place.begin(&launch);
    engine.start();
    assert_eq!(engine.exit_code(), 7);
    place.check_clean();
    let records = engine.leave();
    assert_eq!(kinds(&records), ["Started", "Exited"]);
    assert_eq!(journal::read(&launch.journal, 0).unwrap(), records);
    let mut lines = place.log();
    lines.sort();
    let line = |stream: &str, text: &str| (stream.to_owned(), text.to_owned());
    assert_eq!(lines, [line("stderr", "err\n"), line("stdout", "no-end"), line("stdout", "out\n")]);
    assert!(!launch.socket.exists());
}

fn a_program_that_is_not_there(place: &Place) {
    let launch = place.launch("true");
    let config = launch.bundle.join("config.json");
    for (program, expected) in
        [("/bin/none", StartFailure::NotFound), ("/etc", StartFailure::NotExecutable)]
    {
        place.configure("true", false);
        let text = std::fs::read_to_string(&config).unwrap().replace("/bin/sh", program);
        std::fs::write(&config, text).unwrap();
        let mut engine = place.begin(&launch);
        engine.follow();
        let socket = engine.attach(all_output());
        let reply = engine.ask(&Request::Start);
        let Reply::Error { kind: ErrorKind::Start(kind), message } = reply else {
            panic!("{reply:?}")
        };
        assert_eq!(kind, expected, "{message}");
        assert_eq!(text_of(socket), "");
        assert!(matches!(engine.leave().last().unwrap().event, Event::StartFailed { .. }));
        place.check_clean();
    }
}

fn what_cannot_begin_says_why(place: &Place) {
    let launch = Launch { journal: place.path("none/journal"), ..place.launch("true") };
    let program = std::env::current_exe().unwrap();
    let started = dhow_monitor::start(&program, &launch, None).unwrap();
    let reply = started.connection.recv(60_000).unwrap();
    let Some((Reply::Error { kind: ErrorKind::Internal, message }, _)) = reply else {
        panic!("{reply:?}")
    };
    assert!(message.contains("none/journal"), "{message}");
    assert_eq!(started.child.wait().unwrap(), dhow_monitor::Exit::Code(1));

    // Nobody asks for the container, and nobody is there.
    let launch = place.launch("true");
    let started = dhow_monitor::start(&program, &launch, None).unwrap();
    drop(started.connection);
    assert_eq!(started.child.wait().unwrap(), dhow_monitor::Exit::Code(0));
    assert!(!launch.socket.exists());
}

fn clients_see_output_from_the_first_byte(place: &Place) {
    let mut engine = place.begin(&place.launch("echo out; sleep 0.1; echo err >&2; exit 3"));
    engine.follow();
    let raw = engine.attach(all_output());
    let framed = engine.attach(AttachRequest { multiplexed: true, ..all_output() });
    let errors = engine.attach(AttachRequest { stderr: true, ..Default::default() });
    assert!(matches!(engine.ask(&Request::Start), Reply::Started { .. }));
    assert_eq!(text_of(raw), "out\nerr\n");
    assert_eq!(text_of(framed), "\x01\0\0\0\0\0\0\x04out\n\x02\0\0\0\0\0\0\x04err\n");
    assert_eq!(text_of(errors), "err\n");
    assert_eq!(engine.exit_code(), 3);
    engine.leave();
}

fn typed_input_and_its_end(place: &Place) {
    let launch = Launch { open_stdin: true, stdin_once: true, ..place.launch("cat; echo end") };
    let mut engine = place.begin(&launch);
    engine.follow();
    let request = AttachRequest { stdin: true, read_ahead: b"ahead ".to_vec(), ..all_output() };
    let mut client = engine.attach(request);
    client.write_all(b"early\n").unwrap();
    assert!(matches!(engine.ask(&Request::Start), Reply::Started { .. }));
    // More than any pipe or socket holds, half closed at its end.
    let text = "0123456789abcde\n".repeat(40_000);
    let mut writer = client.try_clone().unwrap();
    let copy = text.clone();
    let typing = std::thread::spawn(move || {
        writer.write_all(copy.as_bytes()).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let output = text_of(client);
    typing.join().unwrap();
    assert!(output == format!("ahead early\n{text}end\n"), "{} bytes", output.len());
    assert_eq!(engine.exit_code(), 0);
    engine.leave();
    assert!(place.output() == output);
}

fn a_terminal_with_detach_keys(place: &Place) {
    let script = "stty size; stty -echo; read a; echo got $a; read b; stty size; exit 5";
    let launch = Launch {
        terminal: true,
        terminal_size: Some((20, 70)),
        open_stdin: true,
        ..place.launch(script)
    };
    place.configure(script, true);
    let mut engine = place.begin(&launch);
    engine.follow();
    let request = AttachRequest { stdin: true, detach_keys: vec![16, 17], ..all_output() };
    let mut client = engine.attach(request.clone());
    assert!(matches!(engine.ask(&Request::Start), Reply::Started { .. }));
    let mut size = [0; 7];
    client.read_exact(&mut size).unwrap();
    assert_eq!(&size, b"20 70\r\n");
    client.write_all(b"x\r\x10\x11").unwrap();
    engine.wait_for(|event| matches!(event, Event::Detached { exec_id: None }).then_some(()));
    // What came before the keys is typed; the session ends, the container does not.
    drop(client);
    assert_eq!(engine.ask(&Request::Resize { rows: 30, cols: 100 }), Reply::Ok);
    let mut client = engine.attach(request);
    client.write_all(b"y\r").unwrap();
    assert!(text_of(client).ends_with("30 100\r\n"));
    assert_eq!(engine.exit_code(), 5);
    engine.leave();
    assert!(place.output().contains("got x\r\n"), "{}", place.output());
}

fn a_client_that_does_not_read(place: &Place) {
    let mut engine = place.begin(&place.launch("seq 1 300000; exit 2"));
    engine.follow();
    let slow = engine.attach(all_output());
    assert!(matches!(engine.ask(&Request::Start), Reply::Started { .. }));
    // The container ends although nobody has taken a byte, and nothing is lost when somebody does.
    assert_eq!(engine.exit_code(), 2);
    let expected: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert!(place.output() == expected);
    assert!(text_of(slow) == expected);
    engine.leave();
    place.check_clean();
}

fn stop_is_quick_for_the_deaf(place: &Place) {
    let mut engine = place.begin(&place.launch("exec sleep 1000"));
    engine.start();
    let begun = Instant::now();
    assert_eq!(engine.ask(&Request::Stop { signal: None, timeout_s: None }), Reply::Ok);
    assert_eq!(engine.exit_code(), 137);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let records = engine.leave();
    assert_eq!(kinds(&records), ["Started", "Stopping", "Exited"]);
    assert_eq!(records[1].event, Event::Stopping { signal: 15, unhandled: true });
    let Event::Exited { signal: Some(9), last: true, .. } = records[2].event else {
        panic!("{records:?}")
    };
    place.check_clean();
}

fn stop_asks_waits_and_kills(place: &Place) {
    let script = "trap 'echo stopping; exit 4' TERM; echo ready; while :; do sleep 0.05; done";
    let mut engine = place.begin(&place.launch(script));
    engine.follow();
    let mut client = engine.attach(all_output());
    assert!(matches!(engine.ask(&Request::Start), Reply::Started { .. }));
    client.read_exact(&mut [0; 6]).unwrap();
    engine.ask(&Request::Stop { signal: None, timeout_s: Some(-1) });
    assert_eq!(engine.exit_code(), 4);
    assert_eq!(text_of(client), "stopping\n");
    let records = engine.leave();
    assert_eq!(records[1].event, Event::Stopping { signal: 15, unhandled: false });

    let script = "trap 'echo no' TERM; echo ready; while :; do sleep 0.05; done";
    std::fs::remove_file(place.path("journal")).unwrap();
    let mut engine = place.begin(&place.launch(script));
    engine.start();
    while !place.output().ends_with("ready\n") {
        std::thread::sleep(Duration::from_millis(10));
    }
    engine.ask(&Request::Stop { signal: None, timeout_s: Some(1) });
    assert_eq!(engine.exit_code(), 137);
    engine.leave();
    assert!(place.output().ends_with("no\n"));
    place.check_clean();
}

fn pause_update_and_processes(place: &Place) {
    let script = "trap 'exit 6' TERM; while :; do sleep 0.05; done";
    let mut engine = place.begin(&place.launch(script));
    let pid = engine.start();
    let Reply::Processes { pids } = engine.ask(&Request::Processes) else { panic!() };
    assert!(pids.contains(&pid), "{pids:?}");
    assert_eq!(engine.ask(&Request::Pause), Reply::Ok);
    assert!(matches!(engine.ask(&Request::Pause), Reply::Error { kind: ErrorKind::Conflict, .. }));
    let hello = engine.ask(&Request::Hello { version: 1 });
    assert!(matches!(hello, Reply::Hello { running: true, paused: true, .. }), "{hello:?}");
    assert_eq!(engine.ask(&Request::Resume), Reply::Ok);
    let resources = serde_json::from_str(r#"{"pids":{"limit":77}}"#).unwrap();
    let update = Request::Update { resources: Some(Box::new(resources)), restart: None };
    assert_eq!(engine.ask(&update), Reply::Ok);
    let limits: Vec<String> = super::cgroups(&place.id)
        .into_iter()
        .filter_map(|dir| std::fs::read_to_string(dir.join("pids.max")).ok())
        .collect();
    assert!(limits.iter().any(|limit| limit.trim() == "77"), "{limits:?}");
    assert_eq!(engine.ask(&Request::Pause), Reply::Ok);
    // A stop reaches a frozen container as well.
    engine.ask(&Request::Stop { signal: None, timeout_s: None });
    assert_eq!(engine.exit_code(), 6);
    engine.leave();
    place.check_clean();
}

fn restarts_by_policy(place: &Place) {
    let counted = "echo life; exit 1";
    let launch = Launch { restart: RestartPolicy::OnFailure { max: 2 }, ..place.launch(counted) };
    let mut engine = place.begin(&launch);
    engine.start();
    assert_eq!(engine.exit_code(), 1);
    let records = engine.leave();
    let life = ["Started", "Exited", "Restarting"];
    assert_eq!(kinds(&records), [&life[..], &life[..], &life[..2]].concat());
    let delays: Vec<u64> = records
        .iter()
        .filter_map(|record| match record.event {
            Event::Restarting { in_ms, .. } => Some(in_ms),
            _ => None,
        })
        .collect();
    assert_eq!(delays, [100, 200]);
    assert_eq!(place.output(), "life\nlife\nlife\n");
    place.check_clean();
}

fn a_waiting_restart_is_cancelled(place: &Place) {
    let launch = Launch { restart: RestartPolicy::Always, ..place.launch("exit 0") };
    // KILL as well: an engine that sends it may not have heard of the end yet.
    let stop = Request::Stop { signal: None, timeout_s: None };
    for (nth, request) in [stop, Request::Kill { signal: 9 }].into_iter().enumerate() {
        let journal = place.path(&format!("journal.{nth}"));
        let mut engine = place.begin(&Launch { journal, ..launch.clone() });
        engine.start();
        engine.wait_for(|event| matches!(event, Event::Restarting { count: 4, .. }).then_some(()));
        assert_eq!(engine.ask(&request), Reply::Ok);
        let records = engine.leave();
        assert_eq!(records.last().unwrap().event, Event::RestartCancelled);
        place.check_clean();
    }
}

fn execs_have_streams_and_ends(place: &Place) {
    let mut engine = place.begin(&place.launch("exec sleep 1000"));
    engine.start();
    let (client, theirs) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = exec("e1", &["sh", "-c", "cat; echo err >&2; exit 9"]);
    let attach = AttachRequest { stdin: true, multiplexed: true, ..all_output() };
    request.attach = Some(attach.clone());
    let theirs = OwnedFd::from(theirs);
    let reply = engine.ask_with(&Request::Exec(Box::new(request)), &[&theirs]).0;
    assert!(matches!(reply, Reply::Started { .. }), "{reply:?}");
    drop(theirs);
    (&client).write_all(b"in").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(text_of(client), "\x01\0\0\0\0\0\0\x02in\x02\0\0\0\0\0\0\x04err\n");
    let ended = |wanted: &'static str| {
        move |event: &Event| match event {
            Event::ExecExited { exec_id, code } if exec_id == wanted => Some(*code),
            _ => None,
        }
    };
    assert_eq!(engine.wait_for(ended("e1")), Some(9));

    let missing = exec("e2", &["/bin/none"]);
    let reply = engine.ask(&Request::Exec(Box::new(missing)));
    let Reply::Error { kind, .. } = &reply else { panic!("{reply:?}") };
    assert_eq!(*kind, ErrorKind::Start(StartFailure::NotFound));

    let mut request = exec("e3", &["sh", "-c", "stty size; read a; stty size"]);
    request.process.terminal = true;
    request.attach = Some(AttachRequest { multiplexed: false, ..attach });
    let (mut client, theirs) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let theirs = OwnedFd::from(theirs);
    engine.ask_with(&Request::Exec(Box::new(request)), &[&theirs]);
    drop(theirs);
    let resize = Request::ExecResize { exec_id: "e3".into(), rows: 11, cols: 22 };
    assert_eq!(engine.ask(&resize), Reply::Ok);
    client.write_all(b"\r").unwrap();
    assert!(text_of(client).ends_with("11 22\r\n"));

    let mut strong = exec("e6", &["sh", "-c", "grep -q 'CapEff:.*[1-9a-f]' /proc/self/status"]);
    engine.ask(&Request::Exec(Box::new(strong.clone())));
    assert_eq!(engine.wait_for(ended("e6")), Some(1), "it was asked for none");
    (strong.exec_id, strong.privileged) = ("e7".to_owned(), true);
    engine.ask(&Request::Exec(Box::new(strong)));
    assert_eq!(engine.wait_for(ended("e7")), Some(0));

    // An exec that nobody is attached to, and one that ends with the container.
    let detached = exec("e4", &["sh", "-c", "exit 8"]);
    engine.ask(&Request::Exec(Box::new(detached)));
    assert_eq!(engine.wait_for(ended("e4")), Some(8));
    let long = exec("e5", &["sleep", "1000"]);
    engine.ask(&Request::Exec(Box::new(long)));
    engine.ask(&Request::Kill { signal: 9 });
    assert_eq!(engine.exit_code(), 137);
    assert_eq!(engine.wait_for(ended("e5")), Some(137));
    engine.leave();
    place.check_clean();
}

fn an_exec_waits_for_its_client(place: &Place) {
    let mut engine = place.begin(&place.launch("exec sleep 1000"));
    engine.start();
    let (client, theirs) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = exec("e1", &["seq", "1", "500000"]);
    request.attach = Some(all_output());
    let theirs = OwnedFd::from(theirs);
    engine.ask_with(&Request::Exec(Box::new(request)), &[&theirs]);
    drop(theirs);
    std::thread::sleep(Duration::from_millis(300));
    let ended = engine.seen.iter().any(|one| matches!(one.event, Event::ExecExited { .. }));
    assert!(!ended, "nobody has read three megabytes");
    let expected: String = (1..=500_000).map(|number| format!("{number}\n")).collect();
    assert!(text_of(client) == expected);
    engine.ask(&Request::Kill { signal: 9 });
    engine.exit_code();
    engine.leave();
}

fn health_is_found_out(place: &Place) {
    let script = "touch /tmp/well; exec sleep 1000";
    place.begin(&place.launch(script)).leave_unstarted();
    let process = exec("", &["sh", "-c", "echo looked; test -e /tmp/well"]).process;
    let health = HealthCheck {
        process,
        interval_ms: 50,
        timeout_ms: 20_000,
        start_period_ms: 0,
        start_interval_ms: 50,
        retries: 2,
    };
    let launch = Launch { health: Some(health), ..place.launch(script) };
    let mut engine = place.begin(&launch);
    engine.start();
    let status = |wanted: &'static str| {
        move |event: &Event| match event {
            Event::Health(health) if health.status == wanted => Some(health.clone()),
            _ => None,
        }
    };
    assert!(engine.wait_for(status("starting")).probe.is_none());
    let probe = engine.wait_for(status("healthy")).probe.unwrap();
    assert_eq!((probe.exit_code, &probe.output[..]), (0, "looked\n"));
    engine.ask(&Request::Exec(Box::new(exec("ill", &["rm", "/tmp/well"]))));
    let ill = engine.wait_for(status("unhealthy"));
    assert_eq!((ill.failing_streak, ill.probe.unwrap().exit_code), (2, 1));
    engine.ask(&Request::Stop { signal: None, timeout_s: None });
    engine.exit_code();
    engine.leave();
    place.check_clean();
}

impl Engine {
    /// Ends a monitor whose container was never started.
    fn leave_unstarted(mut self) {
        self.follow();
        assert_eq!(self.ask(&Request::Quit), Reply::Ok);
        assert_eq!(self.leave(), []);
    }
}

fn memory_that_runs_out(place: &Place) {
    let script = "head -c 200000000 /dev/zero | tail -c 200000000 >/dev/null; exit 1";
    let launch = place.launch(script);
    let config = launch.bundle.join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let limited = r#""linux":{"resources":{"memory":{"limit":16777216,"swap":16777216}},"#;
    std::fs::write(&config, text.replace(r#""linux":{"#, limited)).unwrap();
    let mut engine = place.begin(&launch);
    engine.start();
    engine.exit_code();
    let records = engine.leave();
    assert!(kinds(&records).contains(&"Oom".to_owned()), "{records:?}");
    let Event::Exited { oom_killed: true, .. } = records.last().unwrap().event else {
        panic!("{records:?}")
    };
    place.check_clean();
}

fn an_engine_that_comes_back(place: &Place) {
    let launch = place.launch("trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done");
    let mut first = place.begin(&launch);
    first.start();
    first.wait_for(|event| matches!(event, Event::Started { .. }).then_some(()));
    let child = first.child.take();
    drop(first);
    let connection = Connection::connect(&launch.socket).unwrap();
    let mut second = Engine { connection, child, seen: Vec::new() };
    assert!(matches!(
        second.ask(&Request::Hello { version: 1 }),
        Reply::Hello { last: 1, running: true, paused: false, .. }
    ));
    second.connection.send(&Request::Follow { after: 0 }, &[]).unwrap();
    second.follow();
    second.wait_for(|event| matches!(event, Event::Started { .. }).then_some(()));
    assert!(matches!(second.ask(&Request::Start), Reply::Error { .. }));
    while place.output() != "up\n" {
        std::thread::sleep(Duration::from_millis(10));
    }
    second.ask(&Request::Stop { signal: None, timeout_s: None });
    assert_eq!(second.exit_code(), 3);
    second.leave();
}

/// Starts a container, borrows its streams, and kills its monitor.
fn orphan(place: &Place, launch: &Launch) -> (Vec<OwnedFd>, StreamKinds, i32) {
    let mut engine = place.begin(launch);
    let pid = engine.start();
    let (reply, fds) = engine.ask_with(&Request::Streams, &[]);
    let Reply::Streams { streams } = reply else { panic!("{reply:?}") };
    let child = engine.child.take().unwrap();
    let _ = rustix::process::kill_process(child.pid, rustix::process::Signal::KILL);
    child.wait().unwrap();
    (fds, streams, pid)
}

fn another_monitor_takes_over(place: &Place) {
    let script =
        "trap 'echo bye; exit 5' TERM; n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done";
    let log = LogConfig { max_size: Some(1 << 20), max_file: 2, ..place.launch(script).log };
    assert_eq!(log.driver, LogDriver::JsonFile);
    let launch = Launch { log, ..place.launch(script) };
    let (fds, streams, pid) = orphan(place, &launch);
    assert_eq!(streams, StreamKinds { terminal: false, stdin: false, stdout: true, stderr: true });
    std::thread::sleep(Duration::from_millis(200));
    let mut engine = place.begin(&launch);
    engine.follow();
    let fds: Vec<&OwnedFd> = fds.iter().collect();
    let reply = engine.ask_with(&Request::Adopt { streams, pidfd: true }, &fds).0;
    assert_eq!(reply, Reply::Started { pid });
    let mut client = engine.attach(all_output());
    client.read_exact(&mut [0; 4]).unwrap();
    engine.ask(&Request::Stop { signal: None, timeout_s: None });
    assert_eq!(engine.exit_code(), 5);
    let records = engine.leave();
    assert_eq!(kinds(&records), ["Started", "Adopted", "Stopping", "Exited"]);
    let output = place.output();
    let (counted, bye) = output.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(bye, "bye");
    let numbers: Vec<u32> = counted.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "a line came twice: {numbers:?}");
    // What the first monitor had read and not yet written when it was killed is gone with it.
    let missing = *numbers.last().unwrap() as usize - numbers.len();
    assert!(missing <= 2, "{missing} lines are lost: {numbers:?}");
    drop(client);
    place.check_clean();
}

fn an_end_between_two_monitors(place: &Place) {
    let script = "read line; echo last words; exit 6";
    let launch = Launch { open_stdin: true, ..place.launch(script) };
    let (mut fds, streams, _) = orphan(place, &launch);
    assert!(streams.stdin);
    let stdin = fds[1].try_clone().unwrap();
    std::fs::File::from(stdin).write_all(b"\n").unwrap();
    // The pidfd hangs up when the process has been reaped.
    let pidfd = fds[0].try_clone().unwrap();
    let mut ended = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::empty())];
    let timeout = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut ended, Some(&timeout)).unwrap(), 1);
    let mut engine = place.begin(&launch);
    engine.follow();
    let lent: Vec<&OwnedFd> = fds.iter().collect();
    let reply = engine.ask_with(&Request::Adopt { streams, pidfd: true }, &lent).0;
    assert!(matches!(reply, Reply::Error { kind: ErrorKind::Conflict, .. }), "{reply:?}");
    assert_eq!(engine.exit_code(), 6);
    fds.clear();
    engine.leave();
    assert_eq!(place.output(), "last words\n");
    place.check_clean();
}

/// Those of other runtimes that are installed.
fn other_runtimes_do_the_same(place: &Place) {
    let installed = ["/usr/bin/crun", "/usr/sbin/runc"].into_iter().filter(|program| {
        let there = std::path::Path::new(program).exists();
        if !there {
            println!("skipped: {program} is not installed");
        }
        there
    });
    for program in installed {
        let root = place.path("foreign");
        let runtime =
            Runtime::Foreign { program: program.into(), args: Vec::new(), root: root.clone() };
        let script = "echo up; read line; echo got $line; exit 4";
        let base = place.launch(script);
        let launch = Launch { runtime, open_stdin: true, ..base };
        let _ = std::fs::remove_file(&launch.journal);
        let _ = std::fs::remove_file(&launch.log.path);
        let mut engine = place.begin(&launch);
        engine.follow();
        let mut client = engine.attach(AttachRequest { stdin: true, ..all_output() });
        let reply = engine.ask(&Request::Start);
        if let Reply::Error { message, .. } = &reply
            && message.contains("hybrid mode not supported")
        {
            println!("skipped: {program} cannot do with this machine's cgroups");
            engine.leave();
            continue;
        }
        assert!(matches!(reply, Reply::Started { .. }), "{program}: {reply:?}");
        let mut up = [0; 3];
        client.read_exact(&mut up).unwrap();
        let mut request = exec("f1", &["sh", "-c", "stty size; exit 8"]);
        request.process.terminal = true;
        request.process.console_size = Some(dhow_monitor::ConsoleSize { height: 12, width: 34 });
        request.attach = Some(all_output());
        let (shown, theirs) = UnixStream::pair().unwrap();
        shown.set_read_timeout(Some(PATIENCE)).unwrap();
        let theirs = OwnedFd::from(theirs);
        let reply = engine.ask_with(&Request::Exec(Box::new(request)), &[&theirs]).0;
        assert!(matches!(reply, Reply::Started { .. }), "{program}: {reply:?}");
        drop(theirs);
        let code = engine.wait_for(|event| match event {
            Event::ExecExited { code, .. } => Some(*code),
            _ => None,
        });
        assert_eq!(code, Some(8), "{program}");
        text_of(shown);
        assert_eq!(engine.ask(&Request::Pause), Reply::Ok, "{program}");
        assert_eq!(engine.ask(&Request::Resume), Reply::Ok, "{program}");
        client.write_all(b"it\n").unwrap();
        assert_eq!(text_of(client), "got it\n", "{program}");
        assert_eq!(engine.exit_code(), 4, "{program}");
        engine.leave();
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "{program} keeps something");

        let config = launch.bundle.join("config.json");
        let text = std::fs::read_to_string(&config).unwrap().replace("/bin/sh", "/bin/none");
        std::fs::write(&config, text).unwrap();
        let mut engine = place.begin(&launch);
        engine.follow();
        let reply = engine.ask(&Request::Start);
        let Reply::Error { kind, .. } = &reply else { panic!("{program}: {reply:?}") };
        assert_eq!(*kind, ErrorKind::Start(StartFailure::NotFound), "{program}: {reply:?}");
        engine.leave();
    }
}
