//! That every request of Docker's clients is answered, and what of it no other test here asks.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::whole::{IMAGE, TestEngine, until};

const ENDPOINTS: &str = include_str!("../../../server/src/routes/endpoints.txt");

/// Filters whose values are words of their own.
const VALUES: &[(&str, &str)] = &[
    ("dangling", "true"),
    ("all", "true"),
    ("health", "none"),
    ("status", "exited"),
    ("exited", "0"),
    ("is-task", "false"),
    ("isolation", "default"),
    ("expose", "80"),
    ("publish", "80"),
    ("until", "1h"),
    ("since", IMAGE),
    ("before", IMAGE),
    ("type", "custom"),
    ("is-official", "true"),
    ("stars", "1"),
];

#[test]
fn every_request_is_answered_and_every_filter_known() {
    let test = "every_request_is_answered_and_every_filter_known";
    let Some(engine) = TestEngine::start(test) else { return };
    engine.ok(&["create", "--name", "xx", IMAGE]);
    let mut wrong = Vec::new();
    for line in ENDPOINTS.lines().filter(|line| !line.starts_with('#')) {
        let (request, rest) = line.split_once(" ? ").unwrap_or((line, ""));
        let (method, path) = request.trim_start_matches('!').split_once(' ').expect("a request");
        let path =
            path.replace("{id}", "none").replace("{name}", "none").replace("{checkpoint}", "none");
        // These last until somebody ends them, or leave HTTP.
        if matches!(&*path, "/events" | "/session" | "/grpc") {
            continue;
        }
        let mut check = |query: &str, is_wrong: &dyn Fn(&str) -> bool| {
            let answer = engine.ask(method, &format!("{path}{query}"), "").expect("an answer");
            if is_wrong(&answer) {
                wrong.push(format!("{method} {path}{query}: {answer}"));
            }
        };
        check("", &|answer| answer.contains("page not found"));
        if request.starts_with('!') {
            check("", &|answer| !answer.starts_with("HTTP/1.1 501"));
            continue;
        }
        let (options, filters) = rest.split_once(" # ").unwrap_or((rest, ""));
        for option in options.split(' ').filter_map(|option| option.strip_prefix('!')) {
            check(&format!("?{option}=1"), &|answer| {
                !answer.starts_with("HTTP/1.1 501") || !answer.contains(option)
            });
        }
        for filter in filters.split(' ').filter(|filter| !filter.is_empty()) {
            let (name, is_known) = match filter.strip_prefix('!') {
                Some(name) => (name, false),
                None => (filter, true),
            };
            let value =
                VALUES.iter().find(|(known, _)| *known == name).map_or("x", |(_, value)| value);
            let query = format!("?filters=%7B%22{name}%22%3A%5B%22{value}%22%5D%7D");
            check(&query, &|answer| is_known == answer.contains("invalid filter"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A client's message, masked as the standard wants it.
fn masked(kind: u8, text: &[u8]) -> Vec<u8> {
    let mask = [7, 1, 9, 3];
    let mut frame = vec![0x80 | kind, 0x80 | u8::try_from(text.len()).expect("a short text")];
    frame.extend_from_slice(&mask);
    frame.extend(text.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[test]
fn a_web_socket_is_attached_and_execs_outlive_engines() {
    let test = "a_web_socket_is_attached_and_execs_outlive_engines";
    let Some(mut engine) = TestEngine::start(test) else { return };
    engine.ok(&["run", "-di", "--name", "aa", IMAGE, "cat"]);
    let mut stream = UnixStream::connect(engine.socket()).expect("the engine");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    let path = "/containers/aa/attach/ws?stream=1&stdin=1&stdout=1";
    let head = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13";
    let request = format!("GET {path} HTTP/1.1\r\n{head}\r\nSec-WebSocket-Key: eA==\r\n\r\n");
    // What comes right behind the request is the program's input, too.
    stream.write_all(&[request.as_bytes(), &masked(2, b"typed\n")].concat()).expect("written");
    let mut seen = Vec::new();
    let expected = b"\r\n\r\n\x82\x06typed\n";
    while !seen.windows(expected.len()).any(|found| found == expected) {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).expect("an answer");
        assert!(count > 0, "{:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..count]);
    }
    assert!(seen.starts_with(b"HTTP/1.1 101 "), "{:?}", String::from_utf8_lossy(&seen));
    stream.write_all(&masked(8, &1000_u16.to_be_bytes())).expect("written");
    let mut end = Vec::new();
    stream.read_to_end(&mut end).expect("an end");
    assert_eq!(end, [&[0x88, 2][..], &1000_u16.to_be_bytes()].concat());
    let refused = engine.ask("GET", "/containers/aa/attach/ws?stream=1", "").expect("an answer");
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");

    let exec = |engine: &TestEngine, command: &str| {
        let body = format!("{{\"Cmd\":[\"sh\",\"-c\",\"{command}\"]}}");
        let answer = engine.ask("POST", "/containers/aa/exec", &body).expect("an answer");
        let at = answer.find("\"Id\":\"").expect("an id") + 6;
        answer[at..at + 64].to_owned()
    };
    let start = |engine: &TestEngine, id: &str| {
        let path = format!("/exec/{id}/start");
        let answer = engine.ask("POST", &path, "{\"Detach\":true}").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    let inspect = |engine: &TestEngine, id: &str| {
        engine.ask("GET", &format!("/exec/{id}/json"), "").expect("an answer")
    };
    let ended = exec(&engine, "exit 3");
    let later = exec(&engine, "exit 5");
    let wait = "while [ ! -e /tmp/go ]; do usleep 10000; done; exit 4";
    let running = exec(&engine, wait);
    start(&engine, &ended);
    start(&engine, &running);
    until("it ends", || inspect(&engine, &ended).contains("\"ExitCode\":3").then_some(()));
    engine.kill();
    engine.open();
    assert!(inspect(&engine, &ended).contains("\"ExitCode\":3"), "{}", inspect(&engine, &ended));
    assert!(inspect(&engine, &running).contains("\"Running\":true"));
    engine.ok(&["exec", "aa", "touch", "/tmp/go"]);
    until("it ends", || inspect(&engine, &running).contains("\"ExitCode\":4").then_some(()));
    start(&engine, &later);
    until("it ends", || inspect(&engine, &later).contains("\"ExitCode\":5").then_some(()));
}
