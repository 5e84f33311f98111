//! Receives what runtimes send over unix sockets: a message with one open file.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::case::Case;
use super::verdict::{Outcome, Stop, check_eq, fail};

/// What came first over a new connection.
pub(crate) struct Message {
    pub(crate) stream: UnixStream,
    pub(crate) bytes: Vec<u8>,
    pub(crate) fd: OwnedFd,
}

/// Accepts one connection and receives one message with exactly one file.
pub(crate) fn receive_fd(case: &Case, listener: &UnixListener) -> Outcome<Message> {
    let stream = accept(case, listener)?;
    stream.set_read_timeout(Some(case.limit(5)))?;
    let mut bytes = vec![0; 65536];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = rustix::net::recvmsg(
        &stream,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?
    .bytes;
    bytes.truncate(length);
    let mut fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        })
        .flatten()
        .collect();
    check_eq!(fds.len(), 1, "files that were sent");
    let fd = fds.pop().ok_or_else(|| Stop::Fail("no file".into()))?;
    Ok(Message { stream, bytes, fd })
}

fn accept(case: &Case, listener: &UnixListener) -> Outcome<UnixStream> {
    listener.set_nonblocking(true)?;
    let start = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(_) if start.elapsed() < case.limit(5) => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(e) => fail!("nobody connected: {e}"),
        }
    }
}
