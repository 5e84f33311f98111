//! Bodies of answers: nothing, everything at once, or a part of a blob as its reader takes it.
//!
//! Invariant: a slow reader costs one buffer, and no thread while it is waited for.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use dhow_store::Blob;
use http_body::{Frame, SizeHint};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Bytes of a blob under way to one reader.
const PIECE: u64 = 128 << 10;

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

    pub(crate) fn blob(blob: Blob, range: Range<u64>) -> Self {
        Self::Blob(BlobBody { blob: Arc::new(blob), left: range, reading: None })
    }
}

impl BlobBody {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
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
        Poll::Ready(Some(piece))
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
            Ok(buffer.into())
        })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Self::Blob(blob) => blob.poll_piece(context),
            Self::Pieces(pieces, left) => pieces.poll_recv(context).map(|piece| match piece {
                Some(Ok(bytes)) => {
                    *left = left.saturating_sub(bytes.len() as u64);
                    Some(Ok(bytes))
                }
                None if *left > 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
                piece => piece,
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

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = http_body::Body::size_hint(self).exact();
        f.debug_tuple("Body").field(&size).finish()
    }
}
