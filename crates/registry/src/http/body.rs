//! Bodies of answers: nothing, everything at once, or a part of a blob as its reader takes it.
//!
//! What of a blob the kernel has in memory it sends by itself, where the connection can do that; the rest is read
//! into memory here.
//!
//! Invariant: a slow reader costs one buffer, and no thread while it is waited for.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use dhow_store::Blob;
use http_body::{Frame, SizeHint};
use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::wire::{Outlet, SENT_MAX, StandIn};

/// Bytes of a blob in memory on their way to one reader.
const PIECE: u64 = 128 << 10;
/// Fewer are better sent together with the answer's head.
const SENT_MIN: u64 = 64 << 10;

/// Bytes that the disk is asked for ahead of their reader.
const AHEAD: u64 = 4 << 20;
/// The mark of tmpfs.
const IN_MEMORY: rustix::fs::FsWord = 0x0102_1994;

/// Bytes of an answer.
#[derive(Debug)]
pub(crate) enum Piece {
    /// In memory.
    Bytes(Bytes),
    /// In a file.
    File(StandIn),
}

/// An answer's body.
pub(crate) enum Body {
    /// All of it.
    Whole(Option<Bytes>),
    /// A part of a blob.
    Blob(BlobBody),
    /// What comes, of a length that is known.
    Pieces(mpsc::Receiver<io::Result<Bytes>>, u64),
}

/// A part of a blob that is being sent.
pub(crate) struct BlobBody {
    blob: Arc<Blob>,
    left: Range<u64>,
    /// Where the kernel sends from, if this connection can do that.
    outlet: Option<Outlet>,
    /// A read that had to wait for the disk.
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Whole(None)
    }

    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }

    pub(crate) fn blob(blob: Blob, range: Range<u64>, outlet: Option<Outlet>) -> Self {
        Self::Blob(BlobBody { blob: Arc::new(blob), left: range, outlet, reading: None })
    }
}

impl BlobBody {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Piece>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        if self.reading.is_none()
            && let Some(piece) = self.stand_in()
        {
            return Poll::Ready(Some(Ok(Piece::File(piece))));
        }
        let piece = match &mut self.reading {
            Some(reading) => {
                let read = ready!(Pin::new(reading).poll(context));
                self.reading = None;
                read.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            None => match self.read_cached() {
                Some(piece) => piece,
                None => {
                    self.reading = Some(self.start_reading());
                    return self.poll_piece(context);
                }
            },
        };
        if let Ok(bytes) = &piece {
            self.left.start += bytes.len() as u64;
            if bytes.is_empty() {
                return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
            }
        }
        Poll::Ready(Some(piece.map(Piece::Bytes)))
    }

    /// What the kernel sends without us: as much as it has in memory, as far as its ends tell.
    fn stand_in(&mut self) -> Option<StandIn> {
        let outlet = self.outlet.as_ref()?;
        let length = (self.left.end - self.left.start).min(SENT_MAX as u64);
        let part = self.left.start..self.left.start + length;
        if length < SENT_MIN || !self.is_cached(part.start) || !self.is_cached(part.end - 1) {
            return None;
        }
        self.left.start = part.end;
        Some(outlet.stand_in(self.blob.clone(), part))
    }

    fn is_cached(&self, offset: u64) -> bool {
        let mut byte = [0];
        let (fd, slices) = (self.blob.as_fd(), &mut [IoSliceMut::new(&mut byte)]);
        match rustix::io::preadv2(fd, slices, offset, ReadWriteFlags::NOWAIT) {
            Ok(count) => count == 1,
            // A file system in memory cannot tell, and need not.
            Err(Errno::NOTSUP) => {
                rustix::fs::fstatfs(fd).is_ok_and(|found| found.f_type == IN_MEMORY)
            }
            Err(_) => false,
        }
    }

    fn length(&self) -> usize {
        usize::try_from((self.left.end - self.left.start).min(PIECE)).expect("a piece is small")
    }

    /// What the kernel has in memory; `None` if it would have to wait.
    fn read_cached(&self) -> Option<io::Result<Bytes>> {
        let mut buffer = vec![0; self.length()];
        let slices = &mut [IoSliceMut::new(&mut buffer)];
        let (fd, flags) = (self.blob.as_fd(), ReadWriteFlags::NOWAIT);
        match rustix::io::preadv2(fd, slices, self.left.start, flags) {
            Ok(count) => {
                buffer.truncate(count);
                Some(Ok(buffer.into()))
            }
            Err(Errno::AGAIN | Errno::NOTSUP | Errno::INTR) => None,
            Err(error) => Some(Err(error.into())),
        }
    }

    fn start_reading(&self) -> JoinHandle<io::Result<Bytes>> {
        let (blob, offset, length) = (self.blob.clone(), self.left.start, self.length());
        tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; length];
            let count = blob.read_at(&mut buffer, offset)?;
            buffer.truncate(count);
            // What follows is in memory when its turn comes; without that it is waited for, piece by piece.
            let next = offset + count as u64;
            let _ = rustix::fs::fadvise(&*blob, next, NonZeroU64::new(AHEAD), Advice::WillNeed);
            Ok(buffer.into())
        })
    }
}

impl http_body::Body for Body {
    type Data = Piece;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, io::Error>>> {
        let piece = match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(Piece::Bytes).map(Ok)),
            Self::Blob(blob) => blob.poll_piece(context),
            Self::Pieces(pieces, left) => pieces.poll_recv(context).map(|piece| match piece {
                Some(Ok(bytes)) => {
                    *left = left.saturating_sub(bytes.len() as u64);
                    Some(Ok(Piece::Bytes(bytes)))
                }
                Some(Err(error)) => Some(Err(error)),
                None if *left > 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
                None => None,
            }),
        };
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Blob(blob) => blob.left.is_empty(),
            Self::Pieces(_, left) => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Blob(blob) => blob.left.end - blob.left.start,
            Self::Pieces(_, left) => *left,
        })
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.remaining(),
            Self::File(part) => part.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.chunk(),
            Self::File(part) => part.chunk(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::File(part) => part.advance(count),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = http_body::Body::size_hint(self).exact();
        f.debug_tuple("Body").field(&size).finish()
    }
}
