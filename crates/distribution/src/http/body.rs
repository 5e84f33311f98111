//! Bodies that we send.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Pieces on their way from a source to the network; more would only fill memory.
const PIECES_MAX: usize = 2;

/// What a request carries.
#[derive(Debug)]
pub(crate) enum OutBody {
    /// All of it at hand.
    Whole(Bytes),
    /// Arriving piece by piece, of a size known before.
    Stream(Stream),
}

/// A body that somebody feeds meanwhile.
#[derive(Debug)]
pub(crate) struct Stream {
    pieces: Receiver<Bytes>,
    left: u64,
    pace: Pace,
}

/// Counts what went out, so that a slow upload can be told from a dead one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace(Arc<AtomicU64>);

impl Pace {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl OutBody {
    /// No bytes.
    pub(crate) fn empty() -> Self {
        Self::Whole(Bytes::new())
    }

    /// A body of `size` bytes, and where to feed them.
    pub(crate) fn stream(size: u64) -> (Self, Sender<Bytes>) {
        let (sender, pieces) = channel(PIECES_MAX);
        (Self::Stream(Stream { pieces, left: size, pace: Pace::default() }), sender)
    }

    pub(crate) fn pace(&self) -> Pace {
        match self {
            Self::Whole(_) => Pace::default(),
            Self::Stream(stream) => stream.pace.clone(),
        }
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => stream.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Stream(stream) => stream.left,
        })
    }
}

impl Stream {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = std::task::ready!(self.pieces.poll_recv(context));
        let size = piece.as_ref().map_or(0, Bytes::len) as u64;
        match piece {
            Some(piece) if size <= self.left => {
                self.left -= size;
                self.pace.0.fetch_add(size, Ordering::Relaxed);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            // Whoever fed us gave up, or gives too much: break the request off, rather than let
            // it look complete.
            _ => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
        }
    }
}
