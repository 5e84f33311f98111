//! Bodies of answers: nothing, everything at once, or piece by piece.
//!
//! Invariant: whoever sends pieces learns from the next one that nobody reads any more, and waits for a slow
//! reader; memory does not grow.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use serde::Serialize;
use tokio::sync::mpsc;

/// Pieces under way before the sender waits.
const PIECES_MAX: usize = 16;

/// An answer's body.
#[derive(Debug)]
pub(crate) enum Body {
    /// All of it.
    Whole(Option<Bytes>),
    /// What comes.
    Pieces(mpsc::Receiver<Bytes>),
}

/// Where pieces are sent to.
#[derive(Debug, Clone)]
pub(crate) struct Pieces(mpsc::Sender<Bytes>);

/// Nobody reads any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Whole(None)
    }

    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }

    pub(crate) fn pieces() -> (Pieces, Self) {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        (Pieces(sender), Self::Pieces(receiver))
    }
}

impl Pieces {
    /// Sends the next piece.
    pub(crate) async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        self.0.send(bytes.into()).await.map_err(|_| Gone)
    }

    /// Sends the next line of JSON, as Go's encoder and Docker's streams end them.
    pub(crate) async fn line(&self, value: &impl Serialize, end: &str) -> Result<(), Gone> {
        let mut text = serde_json::to_string(value).unwrap_or_default();
        text.push_str(end);
        self.send(text).await
    }

    /// Sends a piece from a thread that may wait.
    pub(crate) fn send_blocking(&self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        self.0.blocking_send(bytes.into()).map_err(|_| Gone)
    }

    /// Returns once nobody reads any more.
    pub(crate) async fn gone(&self) {
        self.0.closed().await;
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(None) => SizeHint::with_exact(0),
            Self::Whole(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}
