//! What clients can make the registry keep in memory, in a process where nothing else runs.

#[path = "../suite/http.rs"]
#[allow(dead_code, reason = "each suite takes what it needs")]
mod http;
#[path = "../suite/pushes.rs"]
#[allow(dead_code, reason = "each suite takes what it needs")]
mod pushes;
#[path = "../suite/server.rs"]
#[allow(dead_code, reason = "each suite takes what it needs")]
mod server;

use std::io::Read as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::http::{Http, send};
use crate::pushes::{begin, digest, push};
use crate::server::Server;

/// One at a time: each counts the memory of the whole process.
static TURN: Mutex<()> = Mutex::new(());

/// What this process has in memory, in bytes: the registry is part of it.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    pages * 4096
}

#[test]
fn heads_have_an_end() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::open();
    let before = resident();
    let mut http = Http::connect(server.address);
    http.write(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n");
    for index in 0..200_000 {
        http.write(format!("x-{index}: {}\r\n", "y".repeat(100)).as_bytes());
    }
    http.write(b"\r\n");
    let grown = resident().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes");
    assert_eq!(send(server.address, "GET", "/v2/", &[], b"").status, 200);
}

#[test]
fn a_thousand_open_uploads_and_slow_clients() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::open();
    let places: Vec<_> = (0..1000).map(|_| begin(&server, "a")).collect();
    let before = resident();
    // Each has sent a part of what it promised, and says no more.
    let mut slow = Vec::new();
    for place in &places[..300] {
        let mut http = Http::connect(server.address);
        http.head("PATCH", place, &[], Some(1 << 30));
        http.write(&[1; 50_000]);
        slow.push(http);
    }
    let began = Instant::now();
    assert_eq!(push(&server, "b", &[2; 1_000_000]).status, 201);
    assert!(began.elapsed() < Duration::from_secs(20), "others wait");
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for 300 slow clients");
    // An upload has one writer.
    let busy = loop {
        let answer = send(server.address, "PATCH", &places[0], &[], b"x");
        if answer.status == 409 {
            break answer;
        }
        assert_eq!(answer.status, 202);
    };
    assert_eq!(busy.code(), "BLOB_UPLOAD_INVALID");
    for place in &places[300..] {
        assert_eq!(send(server.address, "GET", place, &[], b"").status, 204);
    }
    drop(slow);
}

#[test]
fn a_large_blob_is_not_held_for_its_readers() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::open();
    let large = vec![7; 96 << 20];
    assert_eq!(push(&server, "a", &large).status, 201);
    let path = format!("/v2/a/blobs/{}", digest(&large));
    let before = resident();
    // Four begin to read and stop, one reads all of it.
    let slow: Vec<_> = (0..4)
        .map(|_| {
            let mut http = Http::connect(server.address);
            http.head("GET", &path, &[], None);
            http
        })
        .collect();
    let mut quick = Http::connect(server.address);
    quick.head("GET", &path, &[], None);
    let read = std::io::copy(&mut quick.stream.by_ref().take(96 << 20), &mut std::io::sink());
    assert_eq!(read.expect("a body"), 96 << 20);
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes");
    drop(slow);
}
