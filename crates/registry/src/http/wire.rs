//! A connection on which parts of blobs go from the page cache to the socket, without passing through us.
//!
//! hyper writes what a body gives it. A body that is to send a part of a file gives a [`StandIn`]: as many bytes of
//! memory that nobody reads. [`Wire`], which hyper writes to, knows them by where they lie and has the kernel send
//! the file's in their place (`sendfile(2)`).
//!
//! Invariant: an [`Outlet`] is given only to answers of a connection whose wire is its other end, and that hyper
//! writes to from where bodies lie (HTTP/1 without TLS); there stand-ins are met in the order in which they were
//! made.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Buf;
use dhow_store::Blob;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Most bytes that the kernel is asked to send at once.
pub(super) const SENT_MAX: usize = 1 << 20;

/// What stand-ins are slices of. Nobody touches it, so that it takes no memory.
static NOTHING: LazyLock<Box<[u8]>> = LazyLock::new(|| vec![0; SENT_MAX].into_boxed_slice());

/// Parts of blobs that stand-ins of one connection stand for; cloned freely.
#[derive(Clone, Default)]
pub(crate) struct Outlet(Arc<Mutex<VecDeque<Part>>>);

struct Part {
    blob: Arc<Blob>,
    left: Range<u64>,
}

/// So many bytes of a blob, in an answer.
#[derive(Debug)]
pub(crate) struct StandIn {
    left: usize,
}

/// A connection without TLS.
pub(crate) struct Wire {
    stream: TcpStream,
    outlet: Outlet,
}

impl Outlet {
    /// What goes into an answer in place of a part of a blob; it has to be sent before the next one is made.
    pub(super) fn stand_in(&self, blob: Arc<Blob>, range: Range<u64>) -> StandIn {
        let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push_back(Part { blob, left: range });
        StandIn { left }
    }
}

impl Buf for StandIn {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        &NOTHING[..self.left.min(SENT_MAX)]
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.left, "more was sent than there was");
        self.left -= count;
    }
}

/// Whether bytes lie where those of stand-ins do.
fn is_stand_in(bytes: &[u8]) -> bool {
    NOTHING.as_ptr_range().contains(&bytes.as_ptr())
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, outlet: Outlet) -> Self {
        Self { stream, outlet }
    }

    /// Sends up to so many bytes of the part that is next.
    fn poll_send(&self, context: &mut Context<'_>, count: usize) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match self.stream.try_io(Interest::WRITABLE, || self.send(count)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn send(&self, count: usize) -> io::Result<usize> {
        let mut parts = self.outlet.0.lock().unwrap_or_else(PoisonError::into_inner);
        let part = parts.front_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let left = part.left.end - part.left.start;
        let count = count.min(usize::try_from(left).unwrap_or(usize::MAX));
        let offset = Some(&mut part.left.start);
        let sent = rustix::fs::sendfile(&self.stream, &*part.blob, offset, count)?;
        if sent == 0 {
            // The file is shorter than it was.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if part.left.is_empty() {
            parts.pop_front();
        }
        Ok(sent)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match is_stand_in(bytes) {
            true => self.poll_send(context, bytes.len()),
            false => Pin::new(&mut self.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().position(|slice| !slice.is_empty()).unwrap_or(0);
        let slices = &slices[first..];
        match slices.iter().position(|slice| is_stand_in(slice)) {
            Some(0) => self.poll_send(context, slices[0].len()),
            Some(next) => Pin::new(&mut self.stream).poll_write_vectored(context, &slices[..next]),
            None => Pin::new(&mut self.stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
