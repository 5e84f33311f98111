//! Answers in the making.
//!
//! Invariant: a header whose value is no header value (nothing of ours) is left out, never a panic.

use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::body::Body;

/// What content it is.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// An answer, header by header.
#[derive(Debug)]
pub(crate) struct Reply(Response<Body>);

impl Reply {
    /// No more than a status yet.
    pub(crate) fn new(status: StatusCode) -> Self {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        Self(response)
    }

    /// A document, and all is well.
    pub(crate) fn json(value: &impl Serialize) -> Self {
        let text = serde_json::to_string(value).unwrap_or_default();
        Self::new(StatusCode::OK)
            .with(CONTENT_TYPE, "application/json")
            .with_body(Body::whole(text))
    }

    pub(crate) fn with(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.0.headers_mut().append(name, value);
        }
        self
    }

    pub(crate) fn with_body(mut self, body: Body) -> Self {
        *self.0.body_mut() = body;
        self
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        self.0
    }
}
