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
use crate::access::Caller;

/// Bytes that are written at once.
const BATCH: usize = 256 << 10;

/// A request, taken apart.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    pub(crate) caller: Caller,
    /// A client that says nothing for so long has gone.
    pub(crate) idle: Duration,
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

/// Some of a body.
pub(crate) struct Batch {
    /// The bytes; none at the end.
    pub(crate) pieces: Vec<Bytes>,
    /// What is wrong with the body behind them.
    pub(crate) fault: Option<ApiError>,
}

/// Waits for the next bytes, and takes with them what else is there already: nothing is held back while
/// a slow client is waited for.
pub(crate) async fn next_batch(body: &mut Incoming, idle: Duration) -> Batch {
    let (mut length, mut pieces, mut fault) = (0, Vec::new(), None);
    match next(body, idle).await {
        Some(Ok(bytes)) => {
            length = bytes.len();
            pieces.push(bytes);
        }
        Some(Err(error)) => fault = Some(error),
        None => {}
    }
    if pieces.is_empty() {
        return Batch { pieces, fault };
    }
    while length < BATCH {
        let ready = std::future::poll_fn(|context| Poll::Ready(poll_data(body, context))).await;
        match ready {
            Poll::Ready(Some(Ok(bytes))) => {
                length += bytes.len();
                pieces.push(bytes);
            }
            Poll::Ready(Some(Err(error))) => {
                fault = Some(error);
                break;
            }
            // The end is met again by the next call.
            Poll::Ready(None) | Poll::Pending => break,
        }
    }
    Batch { pieces, fault }
}
