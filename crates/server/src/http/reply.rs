//! What a request is answered with.
//!
//! Invariant: an answer has its type; Docker's clients look at it. Absent on purpose: errors (their own file).

use std::fmt;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::http::body::{Body, Pieces};
use crate::http::takeover::Takeover;

/// An answer.
pub(crate) enum Reply {
    /// Over HTTP.
    Http(Response<Body>),
    /// The connection is somebody else's from now on.
    Takeover(Takeover),
}

/// The streams that Docker has names for.
pub(crate) const RAW_STREAM: &str = "application/vnd.docker.raw-stream";
pub(crate) const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";
const JSON: &str = "application/json";

impl Reply {
    /// A document.
    pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        let mut text = serde_json::to_string(value).unwrap_or_default();
        text.push('\n');
        Self::typed(status, JSON, Body::whole(text))
    }

    /// A document, and all is well.
    pub(crate) fn ok(value: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, value)
    }

    /// No more than a status.
    pub(crate) fn status(status: StatusCode) -> Self {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        Self::Http(response)
    }

    /// It was done, and there is nothing to say.
    pub(crate) fn done() -> Self {
        Self::status(StatusCode::NO_CONTENT)
    }

    /// An answer that comes piece by piece.
    pub(crate) fn stream(kind: &'static str) -> (Pieces, Self) {
        let (pieces, body) = Body::pieces();
        (pieces, Self::typed(StatusCode::OK, kind, body))
    }

    /// A body of that type.
    pub(crate) fn typed(status: StatusCode, kind: &'static str, body: Body) -> Self {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Self::Http(response)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(response) => f.debug_tuple("Http").field(&response.status()).finish(),
            Self::Takeover(_) => f.write_str("Takeover"),
        }
    }
}
