//! Requests that are not carried out: a status and a text.
//!
//! Invariant: this is the only place that knows which class of error has which status.

use std::fmt;

use dhow_engine::{ErrorClass, ImagesError, PullError, PushError};
use dhow_wire::{ErrorResponse, FiltersError};
use hyper::StatusCode;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};

use crate::http::body::Body;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// The methods that the path takes, where it was another.
    allow: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), allow: None }
    }

    /// The request makes no sense.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// There is no such thing.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// It is understood and not built.
    pub(crate) fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, format!("{what} is not supported by this engine"))
    }

    /// It belongs to a cluster, and there is none.
    pub(crate) fn no_swarm() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
             connect this node to swarm and try again.",
        )
    }

    /// Nothing is served under that path.
    pub(crate) fn page_not_found() -> Self {
        Self::not_found("page not found")
    }

    /// Something is served under that path, but by these methods.
    pub(crate) fn other_method(methods: &[&str]) -> Self {
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        Self { allow: Some(methods.join(", ")), ..error }
    }

    /// Whether nothing is served there.
    pub(crate) fn is_page_not_found(&self) -> bool {
        *self == Self::page_not_found()
    }

    /// The text as JSON.
    pub(crate) fn json(&self) -> String {
        let response = ErrorResponse::new(self.message.clone());
        let mut text = serde_json::to_string(&response).unwrap_or_default();
        text.push('\n');
        text
    }

    /// As an answer.
    pub(crate) fn response(&self) -> hyper::Response<Body> {
        // A status that says "as before" has no body.
        let empty = self.status == StatusCode::NOT_MODIFIED;
        let body = if empty { Body::empty() } else { Body::whole(self.json()) };
        let mut response = hyper::Response::new(body);
        *response.status_mut() = self.status;
        if !empty {
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
        }
        let methods = self.allow.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
        response.headers_mut().extend(methods.map(|methods| (ALLOW, methods)));
        response
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<FiltersError> for ApiError {
    fn from(error: FiltersError) -> Self {
        Self::invalid(error.to_string())
    }
}

/// The status of a class of errors.
pub(crate) fn status_of(class: ErrorClass) -> StatusCode {
    match class {
        ErrorClass::NotFound => StatusCode::NOT_FOUND,
        ErrorClass::Invalid => StatusCode::BAD_REQUEST,
        ErrorClass::Conflict => StatusCode::CONFLICT,
        ErrorClass::Forbidden => StatusCode::FORBIDDEN,
        ErrorClass::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorClass::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorClass::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorClass::NotModified => StatusCode::NOT_MODIFIED,
        ErrorClass::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<dhow_engine::Error> for ApiError {
    fn from(error: dhow_engine::Error) -> Self {
        Self::new(status_of(error.class()), error.to_string())
    }
}

impl From<ImagesError> for ApiError {
    fn from(error: ImagesError) -> Self {
        Self::new(status_of(error.class()), error.to_string())
    }
}

impl From<PullError> for ApiError {
    fn from(error: PullError) -> Self {
        Self::new(status_of(error.class()), error.to_string())
    }
}

impl From<PushError> for ApiError {
    fn from(error: PushError) -> Self {
        Self::new(status_of(error.class()), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_json_with_a_line_end() {
        assert_eq!(ApiError::page_not_found().json(), "{\"message\":\"page not found\"}\n");
    }

    #[test]
    fn another_method_is_told_which_it_may_be() {
        let response = ApiError::other_method(&["GET", "DELETE"]).response();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[ALLOW], "GET, DELETE");
    }
}
