//! Answers: their head, and their body piece by piece.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::error::{Fault, ProtocolFault};
use crate::said::{RateLimit, Said, retry_after};
use crate::url::Url;

/// Enough for any error document; the rest tells nothing more.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// An answer whose body is still coming.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Who answered, in the end.
    pub(crate) url: Url,
    pub(super) body: Incoming,
    pub(super) stall: Duration,
    /// Held until the body has arrived.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// An answer with all of its body.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) url: Url,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn host(&self) -> String {
        self.url.origin.authority()
    }

    /// A header's text; `None` if it is not there or is no text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How many bytes the body says to have.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header(&CONTENT_LENGTH)?.parse().ok()
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let frame = std::future::poll_fn(|context| {
                std::pin::Pin::new(&mut self.body).poll_frame(context)
            });
            let Ok(frame) = timeout(self.stall, frame).await else {
                return Err(Fault::Stalled { host: self.host(), after: self.stall });
            };
            match frame {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(Fault::Interrupted { host: self.host(), why: innermost(&error) });
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if bytes.is_empty() => {}
                    Ok(bytes) => return Ok(Some(bytes)),
                    // Trailers, which say nothing to us.
                    Err(_) => {}
                },
            }
        }
    }

    /// The whole body, if it is no larger than `max`.
    pub(crate) async fn whole(mut self, max: usize) -> Result<Whole, Fault> {
        let too_large =
            |answer: &Self| Fault::protocol(&answer.host(), ProtocolFault::TooLarge { max });
        if self.content_length().is_some_and(|length| length > max as u64)
            && !self.body.is_end_stream()
        {
            return Err(too_large(&self));
        }
        let mut body = BytesMut::new();
        while let Some(bytes) = self.chunk().await? {
            if body.len() + bytes.len() > max {
                return Err(too_large(&self));
            }
            body.extend_from_slice(&bytes);
        }
        let Self { status, headers, url, .. } = self;
        Ok(Whole { status, headers, url, body: body.freeze() })
    }

    /// Reads what is left, if it is little, so that the connection can be used again.
    pub(crate) async fn discard(mut self) {
        let mut read = 0;
        while let Ok(Some(bytes)) = self.chunk().await {
            read += bytes.len();
            if read > ERROR_BYTES_MAX {
                return;
            }
        }
    }

    /// What an answer means that is not what was hoped for.
    pub(crate) async fn into_fault(mut self) -> Fault {
        let mut body = Vec::new();
        while let Ok(Some(bytes)) = self.chunk().await {
            body.extend_from_slice(&bytes);
            if body.len() > ERROR_BYTES_MAX {
                break;
            }
        }
        fault_of(self.status, &self.headers, &self.url, &body)
    }
}

impl Whole {
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn host(&self) -> String {
        self.url.origin.authority()
    }

    pub(crate) fn fault(&self) -> Fault {
        fault_of(self.status, &self.headers, &self.url, &self.body)
    }
}

/// The one table from statuses and codes to faults.
fn fault_of(status: StatusCode, headers: &HeaderMap, url: &Url, body: &[u8]) -> Fault {
    let said = Said::parse(body);
    let host = url.origin.authority();
    let retry_after = retry_after(headers);
    if status == StatusCode::TOO_MANY_REQUESTS || said.has("TOOMANYREQUESTS") {
        return Fault::RateLimited { said, limit: RateLimit::of(headers), retry_after };
    }
    match status.as_u16() {
        405 => Fault::Unsupported { said },
        400..=499 if said.has("UNSUPPORTED") => Fault::Unsupported { said },
        401 => Fault::Unauthorized { said },
        403 => Fault::Denied { said },
        404 => Fault::NotFound { said },
        status @ (408 | 425 | 500..=599) => Fault::Unavailable { host, status, said, retry_after },
        status => Fault::Refused { host, status, said },
    }
}

/// The last of a chain of errors knows most.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
