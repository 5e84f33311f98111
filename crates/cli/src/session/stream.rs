//! A session with a container: its output to ours, our input to it, until one side has enough.
//!
//! One poll loop over the connection, standard input and signals. Input waits in a bounded buffer while
//! the container does not read, and meanwhile output goes on: neither side can lock the other up.
//! Absent on purpose: how the session came to be, and what exit code follows from it.

use std::io::{self, Read, Write};

use dhow_wire::{FrameReader, Stream as Source};
use rustix::event::{PollFd, PollFlags, poll};

use super::keys::{DetachKeys, Typed};
use super::signals::Signals;
use crate::client::Connection;
use crate::failure::Failure;

/// No more input than this waits to be sent.
const PENDING_MAX: usize = 128 << 10;

/// What a session carries.
pub(crate) struct Streams {
    /// Our standard input goes to the container.
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    /// The container has a terminal: output is one stream as it is.
    pub(crate) tty: bool,
    /// Keys that end the session; they count on a terminal only.
    pub(crate) keys: Option<DetachKeys>,
}

/// How a session ended.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// The container's side is at its end.
    Closed,
    /// The user left it running.
    Detached,
    /// The caller's answer to a signal was to stop.
    Stopped,
}

/// What to do with a signal: `false` ends the session.
pub(crate) type OnSignal<'a> = &'a mut dyn FnMut(i32) -> bool;

struct Session<'a> {
    connection: Connection,
    streams: Streams,
    frames: FrameReader,
    pending: Vec<u8>,
    stdin_open: bool,
    /// To be told to the other side once `pending` is empty.
    close_due: bool,
    on_signal: OnSignal<'a>,
}

/// Runs a session to its end.
pub(crate) fn run(
    connection: Connection,
    streams: Streams,
    signals: &Signals,
    on_signal: OnSignal<'_>,
) -> Result<Ended, Failure> {
    let stdin_open = streams.stdin;
    let mut session = Session {
        connection,
        streams,
        frames: FrameReader::default(),
        pending: Vec::new(),
        stdin_open,
        close_due: !stdin_open,
        on_signal,
    };
    let broken =
        |source| Failure::Io { doing: "talk to", object: "the container".to_owned(), source };
    session.connection.stream.set_nonblocking(true).map_err(broken)?;
    let ahead = std::mem::take(&mut session.connection.ahead);
    session.output(&ahead)?;
    loop {
        if let Some(ended) = session.turn(signals)? {
            return Ok(ended);
        }
    }
}

impl Session<'_> {
    fn turn(&mut self, signals: &Signals) -> Result<Option<Ended>, Failure> {
        let broken =
            |source| Failure::Io { doing: "talk to", object: "the container".to_owned(), source };
        let (stdin, socket, signal) = self.wait(signals).map_err(broken)?;
        if signal {
            while let Some(number) = signals.next() {
                if !(self.on_signal)(number) {
                    return Ok(Some(Ended::Stopped));
                }
            }
        }
        if socket && self.receive()? {
            return Ok(Some(Ended::Closed));
        }
        if stdin && self.input() {
            return Ok(Some(Ended::Detached));
        }
        self.send();
        Ok(None)
    }

    /// Waits for something to do: input, the connection, a signal.
    fn wait(&self, signals: &Signals) -> io::Result<(bool, bool, bool)> {
        let room = self.stdin_open && self.pending.len() < PENDING_MAX;
        let sending = !self.pending.is_empty() || self.connection.stream.wants_write();
        let socket = if sending { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let stdin = rustix::stdio::stdin();
        let mut fds =
            vec![PollFd::new(signals, PollFlags::IN), PollFd::new(&self.connection.stream, socket)];
        if room {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        Ok((ready(2), ready(1), ready(0)))
    }

    /// Takes what the container's side sent; true at its end.
    fn receive(&mut self) -> Result<bool, Failure> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.connection.stream.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(count) => self.output(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The engine or its monitor is gone; the exit code tells what became of the container.
                Err(_) => return Ok(true),
            }
        }
    }

    fn output(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.streams.tty {
            return write(Source::Stdout, bytes);
        }
        let mut rest = bytes;
        loop {
            let frame = self
                .frames
                .next(&mut rest)
                .map_err(|error| Failure::Stream { message: error.to_string(), code: 1 })?;
            let Some(frame) = frame else { return Ok(()) };
            match frame.stream {
                Source::Stdout if self.streams.stdout => write(Source::Stdout, frame.bytes)?,
                Source::Stderr if self.streams.stderr => write(Source::Stderr, frame.bytes)?,
                Source::System => {
                    let text = String::from_utf8_lossy(frame.bytes).into_owned();
                    let message = format!("error from daemon in stream: {text}");
                    return Err(Failure::Stream { message, code: 1 });
                }
                _ => {}
            }
        }
    }

    /// Takes what the user typed; true when he leaves.
    fn input(&mut self) -> bool {
        let mut buffer = [0; 32 << 10];
        let count = match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return false,
            // A terminal that is gone, or not ours to read: there is no more input.
            Err(_) | Ok(0) => {
                self.stdin_open = false;
                self.close_due = true;
                return false;
            }
            Ok(count) => count,
        };
        match &mut self.streams.keys {
            None => self.pending.extend_from_slice(&buffer[..count]),
            Some(keys) => match keys.feed(&buffer[..count]) {
                Typed::Through(bytes) => self.pending.extend(bytes),
                Typed::Detached(bytes) => {
                    self.pending.extend(bytes);
                    self.send();
                    return true;
                }
            },
        }
        false
    }

    /// Sends what waits, as far as the other side takes it now.
    fn send(&mut self) {
        while !self.pending.is_empty() {
            match self.connection.stream.write(&self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nobody reads any more; there may still be output.
                Err(_) => {
                    self.pending.clear();
                    self.stdin_open = false;
                    return;
                }
            }
        }
        // Flushing moves encrypted bytes on; what the socket does not take now goes later.
        let _ = self.connection.stream.flush();
        if self.close_due {
            self.close_due = false;
            // A connection that is closed already needs no telling.
            let _ = self.connection.stream.close_write();
        }
    }
}

/// Writes to our own output. A reader of ours that left is no reason to stop the container.
fn write(stream: Source, bytes: &[u8]) -> Result<(), Failure> {
    let result = match stream {
        Source::Stderr => io::stderr().write_all(bytes),
        _ => {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Exit(1)),
        result => result.map_err(Failure::io("write", "output")),
    }
}
