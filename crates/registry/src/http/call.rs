//! A request, taken apart.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::Method;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName};

use super::error::{ApiError, Code};
use super::query::Query;
use super::wire::Outlet;
use crate::access::Caller;

/// What has come is written after so long even if it is little: a slow client's bytes are not held back.
const PATIENCE: Duration = Duration::from_millis(2);

/// A request, taken apart.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    pub(crate) caller: Caller,
    /// A client that says nothing for so long has gone.
    pub(crate) idle: Duration,
    /// Where the kernel sends blobs from, if this connection can do that.
    pub(crate) outlet: Option<Outlet>,
}

impl Call {
    /// A header's text; nothing for one that is no text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How many bytes the body says to have.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header(&CONTENT_LENGTH)?.trim().parse().ok()
    }

    /// The whole body, if it is not too large.
    pub(crate) async fn read_all(&mut self, max: usize) -> Result<Bytes, ApiError> {
        let too_large = || {
            ApiError::new(Code::SizeInvalid, format_args!("more than {max} bytes"))
                .with_status(StatusCode::PAYLOAD_TOO_LARGE)
        };
        if self.content_length().is_some_and(|length| length > max as u64) {
            return Err(too_large());
        }
        let mut all = BytesMut::new();
        while let Some(bytes) = next(&mut self.body, self.idle).await {
            let bytes = bytes?;
            if all.len() + bytes.len() > max {
                return Err(too_large());
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }
}

/// The next bytes of a body.
async fn next(body: &mut Incoming, idle: Duration) -> Option<Result<Bytes, ApiError>> {
    let data = std::future::poll_fn(|context| poll_data(body, context));
    tokio::time::timeout(idle, data).await.unwrap_or_else(|_| Some(Err(silent())))
}

fn silent() -> ApiError {
    ApiError::new(Code::BlobUploadInvalid, "nothing came for too long")
        .with_status(StatusCode::REQUEST_TIMEOUT)
}

fn poll_data(
    body: &mut Incoming,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, ApiError>>> {
    loop {
        let frame = std::task::ready!(Pin::new(&mut *body).poll_frame(context));
        return Poll::Ready(match frame {
            None => None,
            Some(Err(error)) => Some(Err(broken(&error))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => Some(Ok(bytes)),
                // Trailers say nothing that we read.
                Err(_) => continue,
            },
        });
    }
}

fn broken(error: &hyper::Error) -> ApiError {
    ApiError::new(Code::BlobUploadInvalid, format_args!("the body broke off: {error}"))
}

/// What of a body has come and is not written yet.
#[derive(Default)]
pub(crate) struct Gathered {
    pieces: Vec<Bytes>,
    length: usize,
    /// So many bytes are written at once.
    enough: usize,
    over: bool,
    fault: Option<ApiError>,
}

impl Gathered {
    /// Whether more of it is taken now.
    pub(crate) fn wants_more(&self) -> bool {
        !self.over && self.length < self.enough
    }

    /// Waits for some bytes. Nothing is lost if that is given up.
    pub(crate) async fn more(&mut self, body: &mut Incoming, idle: Duration) {
        match next(body, idle).await {
            Some(Ok(bytes)) => {
                self.length += bytes.len();
                self.pieces.push(bytes);
            }
            Some(Err(error)) => (self.over, self.fault) = (true, Some(error)),
            None => self.over = true,
        }
    }

    /// What has come, waited for if there is nothing, and for a moment if it is not `enough`; `None` at the end.
    pub(crate) async fn take(
        &mut self,
        body: &mut Incoming,
        idle: Duration,
        enough: usize,
    ) -> Option<Vec<Bytes>> {
        self.enough = enough;
        while self.length == 0 && !self.over {
            self.more(body, idle).await;
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.wants_more() {
            let more = self.more(body, idle);
            if tokio::time::timeout_at(deadline, more).await.is_err() {
                break;
            }
        }
        self.length = 0;
        let pieces = std::mem::take(&mut self.pieces);
        (!pieces.is_empty()).then_some(pieces)
    }

    /// How the body ended.
    pub(crate) fn end(self) -> Result<(), ApiError> {
        self.fault.map_or(Ok(()), Err)
    }
}
