//! The byte stream below a connection: sending with and without descriptors, receiving, introducing ourselves.
//!
//! Everything is bounded by time. Deliberately absent: descriptors that come in; nothing that we ask for is
//! answered with one, so they are left to the kernel to close.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::super::error::BusError;
use super::PATIENCE;

/// No line of the text part is longer.
const LINE_SIZE_MAX: usize = 1024;

/// A stream that systemd or a message bus is at the other end of.
pub(super) struct Channel {
    stream: UnixStream,
    /// What has come and is not yet read.
    input: Vec<u8>,
    /// Whether the other end takes descriptors.
    passes_descriptors: bool,
}

impl Channel {
    /// Introduces this process, `uid` as the host knows it, on a fresh stream to `path`.
    ///
    /// The text part of the protocol: a NUL that carries our credentials, a claim to be who they say, a
    /// request to pass descriptors, and, without waiting for answers, the end of the text.
    ///
    /// systemd reads what comes in one piece in one piece: a first message that arrived together with
    /// `BEGIN` would lie there unseen until another comes. So `BEGIN` goes first, with the rest, and the
    /// answers say that all is read.
    pub(super) fn introduce(
        stream: UnixStream,
        path: &Path,
        uid: u32,
    ) -> Result<Channel, BusError> {
        let mut channel = Channel { stream, input: Vec::new(), passes_descriptors: false };
        let deadline = Instant::now() + PATIENCE;
        let claim: String = uid.to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        let text = format!("\0AUTH EXTERNAL {claim}\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n");
        channel.send(text.as_bytes(), &[])?;
        let line = channel.line(deadline)?;
        if !line.starts_with("OK ") {
            return Err(BusError::Refused { path: path.to_owned(), answer: line });
        }
        channel.passes_descriptors = channel.line(deadline)? == "AGREE_UNIX_FD";
        Ok(channel)
    }

    pub(super) fn passes_descriptors(&self) -> bool {
        self.passes_descriptors
    }

    /// One line of the text part, without its end.
    fn line(&mut self, deadline: Instant) -> Result<String, BusError> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.input.len() > LINE_SIZE_MAX {
                return Err(BusError::Malformed);
            }
            self.fill(deadline)?;
        }
    }

    /// Sends all of `bytes`; `descriptors` go with the first of them.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), BusError> {
        self.stream.set_write_timeout(Some(PATIENCE)).map_err(|error| failed(&error))?;
        let mut sent = 0;
        if !descriptors.is_empty() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(BusError::Io(Errno::TOOMANYREFS));
            }
            let pieces = [IoSlice::new(bytes)];
            sent = rustix::io::retry_on_intr(|| {
                rustix::net::sendmsg(
                    self.stream.as_fd(),
                    &pieces,
                    &mut control,
                    SendFlags::NOSIGNAL,
                )
            })
            .map_err(BusError::Io)?;
        }
        self.stream.write_all(&bytes[sent..]).map_err(|error| failed(&error))
    }

    /// Waits until `count` bytes are there to be looked at.
    pub(super) fn peek(&mut self, count: usize, deadline: Instant) -> Result<&[u8], BusError> {
        while self.input.len() < count {
            self.fill(deadline)?;
        }
        Ok(&self.input[..count])
    }

    /// Waits for `count` bytes and takes them.
    pub(super) fn take(&mut self, count: usize, deadline: Instant) -> Result<Vec<u8>, BusError> {
        self.peek(count, deadline)?;
        Ok(self.input.drain(..count).collect())
    }

    /// Waits for some more bytes.
    fn fill(&mut self, deadline: Instant) -> Result<(), BusError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(BusError::Late);
            }
            self.stream.set_read_timeout(Some(left)).map_err(|error| failed(&error))?;
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(BusError::Closed),
                Ok(count) => {
                    self.input.extend(&buffer[..count]);
                    return Ok(());
                }
                Err(error) if is_passing(error.kind()) => {}
                Err(error) => return Err(failed(&error)),
            }
        }
    }
}

fn failed(error: &std::io::Error) -> BusError {
    BusError::Io(Errno::from_io_error(error).unwrap_or(Errno::IO))
}

fn is_passing(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind;
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
