//! An engine that is played: HTTP/1.1 on a unix socket, answers by a function, requests written down.
//!
//! One thread for each connection. Absent on purpose: anything that an engine does.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What a client asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path with version and query.
    pub(crate) target: String,
    /// How many requests for the same path came before.
    pub(crate) earlier: usize,
}

impl Request {
    /// The path alone.
    pub(crate) fn path(&self) -> &str {
        let path = self.target.split('?').next().unwrap();
        let rest = path.strip_prefix("/v").and_then(|rest| rest.find('/'));
        rest.map_or(path, |place| &path[place + 2..])
    }
}

/// What to answer.
pub(crate) enum Answer {
    Json(u16, String),
    /// The head at once, the document once the streams are over.
    Later(&'static str),
    /// The same, once a kill was asked for.
    LaterWhenKilled(&'static str),
    /// A stream that says what it was told, and ends.
    Stream,
    /// A stream that ends when a kill was asked for.
    StreamUntilKilled,
}

impl Answer {
    pub(crate) fn json(status: u16, text: &str) -> Answer {
        Answer::Json(status, text.to_owned())
    }
}

#[derive(Default)]
struct State {
    seen: Mutex<Vec<Request>>,
    news: Condvar,
    typed: Mutex<Vec<u8>>,
}

type Play = dyn Fn(&Request) -> Answer + Send + Sync;

/// The engine. Its socket is gone with it.
pub(crate) struct Engine {
    directory: PathBuf,
    state: Arc<State>,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Engine {
    /// Plays an engine that answers by `play`.
    pub(crate) fn play(play: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Engine {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dhow-client-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let listener = UnixListener::bind(directory.join("sock")).unwrap();
        let state = Arc::new(State::default());
        let (shared, play): (_, Arc<Play>) = (state.clone(), Arc::new(play));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, play) = (shared.clone(), play.clone());
                std::thread::spawn(move || serve(stream, &state, &*play));
            }
        });
        Engine { directory, state }
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.directory.join("sock").display())
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// All requests, in the order in which they came.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.state.seen.lock().unwrap().clone()
    }

    /// What was sent into streams.
    pub(crate) fn typed(&self) -> Vec<u8> {
        self.state.typed.lock().unwrap().clone()
    }

    pub(crate) fn wait_for(&self, what: impl Fn(&Request) -> bool) {
        self.state.wait_for(what);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl State {
    fn wait_for(&self, what: impl Fn(&Request) -> bool) {
        let seen = self.seen.lock().unwrap();
        let absent = |seen: &mut Vec<Request>| !seen.iter().any(&what);
        let limit = Duration::from_secs(20);
        let (_seen, waited) = self.news.wait_timeout_while(seen, limit, absent).unwrap();
        assert!(!waited.timed_out(), "it was not asked for");
    }

    fn wait_for_kill(&self) {
        self.wait_for(|request| request.path().ends_with("/kill"));
    }
}

/// Answers requests until the client goes away.
fn serve(stream: UnixStream, state: &State, play: &Play) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(request) = receive(&mut reader, state) {
        match play(&request) {
            Answer::Json(status, text) => {
                let length = match status {
                    204 => String::new(),
                    _ => format!("Content-Length: {}\r\n", text.len()),
                };
                let head = format!("HTTP/1.1 {status} Status\r\n{length}\r\n{text}");
                if writer.write_all(head.as_bytes()).is_err() {
                    return;
                }
            }
            Answer::Later(text) => later(&mut writer, text, || {}),
            Answer::LaterWhenKilled(text) => later(&mut writer, text, || state.wait_for_kill()),
            Answer::Stream => return stream_out(&mut reader, &mut writer, state, false),
            Answer::StreamUntilKilled => return stream_out(&mut reader, &mut writer, state, true),
        }
    }
}

fn receive(reader: &mut BufReader<UnixStream>, state: &State) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim_end().split_once(": ") {
            None => break,
            Some(("Content-Length", value)) => length = value.parse().unwrap(),
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut seen = state.seen.lock().unwrap();
    let mut request = Request { method, target, earlier: 0 };
    request.earlier = seen.iter().filter(|other| other.path() == request.path()).count();
    seen.push(request.clone());
    state.news.notify_all();
    Some(request)
}

fn later(writer: &mut UnixStream, text: &str, wait: impl FnOnce()) {
    // The client may be gone when its answer comes.
    let _ = writer.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    wait();
    let _ = write!(writer, "{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
}

fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
    let mut out = vec![stream, 0, 0, 0];
    out.extend((text.len() as u32).to_be_bytes());
    out.extend(text);
    out
}

fn stream_out(
    reader: &mut BufReader<UnixStream>,
    writer: &mut UnixStream,
    state: &State,
    until_killed: bool,
) {
    let head = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    writer.write_all(head).unwrap();
    let mut input = Vec::new();
    // Until the client closes its side, which it does at once if it has nothing to say.
    let _ = reader.read_to_end(&mut input);
    state.typed.lock().unwrap().extend_from_slice(&input);
    if until_killed && input.is_empty() {
        state.wait_for_kill();
    }
    let mut out = frame(1, b"out:");
    out.extend(frame(1, &input));
    out.extend(frame(2, b"err"));
    // A client that left hears nothing more.
    let _ = writer.write_all(&out);
}
