//! Errors as the protocol words them: a code, a status, and what it was about.
//!
//! Invariant: what the store or the machine says goes to the log, not to the client.

use std::fmt;

use dhow_store::{Class, ContentError, DbError, RepositoryError};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::Body;

/// The protocol's codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    /// Not the protocol's: a list's `n` that is no number.
    PaginationInvalid,
    /// Not the protocol's: something went wrong here.
    Unknown,
}

impl Code {
    const fn parts(self) -> (&'static str, StatusCode) {
        match self {
            Self::BlobUnknown => ("BLOB_UNKNOWN", StatusCode::NOT_FOUND),
            Self::BlobUploadInvalid => ("BLOB_UPLOAD_INVALID", StatusCode::BAD_REQUEST),
            Self::BlobUploadUnknown => ("BLOB_UPLOAD_UNKNOWN", StatusCode::NOT_FOUND),
            Self::DigestInvalid => ("DIGEST_INVALID", StatusCode::BAD_REQUEST),
            Self::ManifestBlobUnknown => ("MANIFEST_BLOB_UNKNOWN", StatusCode::NOT_FOUND),
            Self::ManifestInvalid => ("MANIFEST_INVALID", StatusCode::BAD_REQUEST),
            Self::ManifestUnknown => ("MANIFEST_UNKNOWN", StatusCode::NOT_FOUND),
            Self::NameInvalid => ("NAME_INVALID", StatusCode::BAD_REQUEST),
            Self::NameUnknown => ("NAME_UNKNOWN", StatusCode::NOT_FOUND),
            Self::SizeInvalid => ("SIZE_INVALID", StatusCode::BAD_REQUEST),
            Self::Unauthorized => ("UNAUTHORIZED", StatusCode::UNAUTHORIZED),
            Self::Denied => ("DENIED", StatusCode::FORBIDDEN),
            Self::Unsupported => ("UNSUPPORTED", StatusCode::METHOD_NOT_ALLOWED),
            Self::PaginationInvalid => ("PAGINATION_NUMBER_INVALID", StatusCode::BAD_REQUEST),
            Self::Unknown => ("UNKNOWN", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

/// Why a request was not done.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: Code,
    status: StatusCode,
    message: String,
    detail: Value,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log alone.
    cause: Option<String>,
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl fmt::Display) -> Self {
        let (_, status) = code.parts();
        let (message, headers) = (message.to_string(), Vec::new());
        Self { code, status, message, detail: Value::Null, headers, cause: None }
    }

    /// Another status than the code usually comes with.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// What it was about.
    pub(crate) fn about(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.detail = json!({ name: value.to_string() });
        self
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Something went wrong here; what, is for the log.
    pub(crate) fn internal(cause: impl fmt::Display) -> Self {
        let mut error = Self::new(Code::Unknown, "the registry could not do it");
        error.cause = Some(cause.to_string());
        error
    }

    /// Other words for the client.
    pub(crate) fn saying(mut self, message: &str) -> Self {
        message.clone_into(&mut self.message);
        self
    }

    fn full(cause: impl fmt::Display) -> Self {
        let error = Self::internal(cause).with_status(StatusCode::INSUFFICIENT_STORAGE);
        error.saying("no space left in the registry")
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// What the log should have.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// What went wrong, for somebody who may know.
    pub(crate) fn said(&self) -> &str {
        self.cause.as_deref().unwrap_or(&self.message)
    }

    pub(crate) fn response(self) -> Response<Body> {
        let (word, _) = self.code.parts();
        let mut error = json!({ "code": word, "message": self.message });
        if !self.detail.is_null() {
            error["detail"] = self.detail;
        }
        let text = json!({ "errors": [error] }).to_string();
        let mut response = Response::new(Body::whole(text));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        match error.class() {
            Class::NoSpace => Self::full(error),
            _ => Self::internal(error),
        }
    }
}

impl From<ContentError> for ApiError {
    fn from(error: ContentError) -> Self {
        match &error {
            ContentError::NotFound { digest } => {
                Self::new(Code::BlobUnknown, "no such blob").about("digest", digest)
            }
            ContentError::Corrupt { expected, actual } => {
                Self::new(Code::DigestInvalid, format_args!("the bytes are those of {actual}"))
                    .about("digest", expected)
            }
            ContentError::Size { expected, actual, .. } => {
                Self::new(Code::SizeInvalid, format_args!("{actual} bytes instead of {expected}"))
            }
            ContentError::TooLarge { max, .. } => {
                Self::new(Code::SizeInvalid, format_args!("more than {max} bytes"))
                    .with_status(StatusCode::PAYLOAD_TOO_LARGE)
            }
            ContentError::OverQuota { .. } => Self::new(Code::Denied, &error),
            ContentError::Busy { .. } => {
                Self::new(Code::BlobUploadInvalid, "another request writes this upload")
                    .with_status(StatusCode::CONFLICT)
            }
            _ if error.class() == Class::NoSpace => Self::full(error),
            _ => Self::internal(error),
        }
    }
}

impl From<RepositoryError> for ApiError {
    fn from(error: RepositoryError) -> Self {
        match &error {
            RepositoryError::Missing { digest } => {
                Self::new(Code::ManifestBlobUnknown, &error).about("digest", digest)
            }
            RepositoryError::Immutable { .. } => {
                Self::new(Code::Denied, &error).with_status(StatusCode::CONFLICT)
            }
            RepositoryError::OverQuota { .. } => Self::new(Code::Denied, &error),
            RepositoryError::Db(_) if error.class() == Class::NoSpace => Self::full(error),
            RepositoryError::NoBlob { .. } | RepositoryError::Db(_) => Self::internal(error),
        }
    }
}
