//! One client's socket: what it types, and what it is shown.
//!
//! Invariant: nothing here blocks; a client that takes too little is given up, not waited for. Output goes
//! raw, or in Docker's frames: stream, three zeroes, length as four bytes big-endian.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::backlog::Backlog;
use super::keys::Keys;
use crate::log::LogStream;
use crate::protocol::AttachRequest;

/// What is read from a client at a time.
const READ_BYTES: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Client {
    socket: OwnedFd,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    multiplexed: bool,
    keys: Keys,
    backlog: Backlog,
    /// It has not closed its side.
    sends: bool,
    /// It gets what is in the backlog, and then the end.
    closing: bool,
}

/// What came from a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Something, perhaps nothing.
    Typed(Vec<u8>),
    /// What it typed before the keys that end the session.
    Detached(Vec<u8>),
    /// It sends no more.
    Ended,
}

impl Client {
    /// A client, and what of its input has been read already.
    pub(super) fn new(socket: OwnedFd, request: AttachRequest, terminal: bool) -> (Self, Input) {
        let AttachRequest { stdin, stdout, stderr, detach_keys, multiplexed, read_ahead } = request;
        let mut client = Self {
            socket,
            stdin,
            stdout,
            stderr,
            multiplexed,
            // Without a terminal there are no keys: what comes may be a file.
            keys: Keys::new(if terminal { detach_keys } else { Vec::new() }),
            backlog: Backlog::default(),
            sends: true,
            closing: false,
        };
        let input = client.take(&read_ahead);
        (client, input)
    }

    /// It has not closed its side.
    pub(super) fn sends(&self) -> bool {
        self.sends
    }

    pub(super) fn has_stdin(&self) -> bool {
        self.stdin
    }

    /// What to wait for; `listen` says whether there is room for what it types.
    pub(super) fn wants(&self, listen: bool) -> PollFlags {
        let mut flags = PollFlags::empty();
        if self.sends && (listen || !self.stdin || self.closing) {
            flags |= PollFlags::IN;
        }
        if !self.backlog.is_empty() {
            flags |= PollFlags::OUT;
        }
        flags
    }

    /// Reads what came. Bytes for nobody are read too: left there they would turn the end of the connection
    /// into an error on the other side.
    pub(super) fn read(&mut self) -> Input {
        let mut buffer = Vec::with_capacity(READ_BYTES);
        let flags = RecvFlags::DONTWAIT;
        match rustix::net::recv(&self.socket, spare_capacity(&mut buffer), flags) {
            Ok(_) if buffer.is_empty() => {
                self.sends = false;
                Input::Ended
            }
            Ok(_) if self.stdin && !self.closing => self.take(&buffer),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Input::Typed(Vec::new()),
            Err(_) => {
                self.sends = false;
                Input::Ended
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Input {
        let mut typed = Vec::new();
        match self.keys.filter(bytes, &mut typed) {
            true => Input::Detached(typed),
            false => Input::Typed(typed),
        }
    }

    /// Shows it what a process wrote; false if it is too slow or has gone.
    pub(super) fn show(&mut self, stream: LogStream, bytes: &[u8], spill: &Path) -> bool {
        let wanted = match stream {
            LogStream::Stdout => self.stdout,
            LogStream::Stderr => self.stderr,
        };
        if !wanted || self.closing || bytes.is_empty() {
            return true;
        }
        if self.multiplexed {
            let length = (bytes.len() as u32).to_be_bytes();
            let kind = if stream == LogStream::Stdout { 1 } else { 2 };
            let header = [kind, 0, 0, 0, length[0], length[1], length[2], length[3]];
            if self.backlog.push(&header, spill).is_err() {
                return false;
            }
            return self.backlog.push(bytes, spill).is_ok() && self.flush();
        }
        let mut rest = bytes;
        if self.backlog.is_empty() {
            match self.send(bytes) {
                Ok(count) => rest = &bytes[count..],
                Err(Errno::AGAIN) => {}
                Err(_) => return false,
            }
        }
        rest.is_empty() || self.backlog.push(rest, spill).is_ok()
    }

    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::io::retry_on_intr(|| rustix::net::send(&self.socket, bytes, flags))
    }

    /// Sends of the backlog what the client takes; false if it has gone.
    pub(super) fn flush(&mut self) -> bool {
        while !self.backlog.is_empty() {
            let Ok(front) = self.backlog.front() else { return false };
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.socket, front, flags) {
                Ok(count) => self.backlog.consume(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Whether a source that can wait should.
    pub(super) fn is_behind(&self) -> bool {
        self.backlog.is_long()
    }

    /// From now on it gets only what is in the backlog.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// It has got everything, and the end.
    pub(super) fn is_done(&self) -> bool {
        self.closing && self.backlog.is_empty()
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Others may hold the socket too: the end of the session must be seen nevertheless.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
        while self.sends && matches!(self.read(), Input::Typed(bytes) if !bytes.is_empty()) {}
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }
}
