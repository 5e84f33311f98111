//! One request on its way to whoever answers it.
//!
//! Invariant: a body is read within bounds; one that is no JSON is refused before anything is done.

use dhow_spec::AnyCase;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;

use crate::http::api_version::ApiVersion;
use crate::http::error::ApiError;
use crate::http::query::Query;

/// The largest document that a request may carry.
const JSON_BYTES_MAX: usize = 16 << 20;

/// A request.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) version: ApiVersion,
    pub(crate) method: Method,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
}

impl Call {
    /// A header's text; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Reads the body, which must be one JSON document.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, ApiError> {
        match self.json_or_nothing().await? {
            Some(value) => Ok(value),
            None => Err(ApiError::invalid("invalid JSON: got EOF while reading request body")),
        }
    }

    /// Reads the body, which must be one JSON document or nothing.
    pub(crate) async fn json_or_nothing<T: DeserializeOwned>(
        &mut self,
    ) -> Result<Option<T>, ApiError> {
        let bytes = Limited::new(&mut self.body, JSON_BYTES_MAX).collect().await;
        let bytes = bytes.map_err(|error| {
            let status = if error.is::<http_body_util::LengthLimitError>() {
                StatusCode::PAYLOAD_TOO_LARGE
            } else {
                StatusCode::BAD_REQUEST
            };
            ApiError::new(status, format!("reading the request's body: {error}"))
        })?;
        let bytes = bytes.to_bytes();
        if bytes.is_empty() {
            return Ok(None);
        }
        check_json(self.headers.get(CONTENT_TYPE).map(|value| value.as_bytes()))?;
        let invalid = |error| ApiError::invalid(format!("invalid JSON: {error}"));
        // dockerd reads members in any case of letters, and clients came to rely on it.
        let mut documents = serde_json::Deserializer::from_slice(&bytes).into_iter::<AnyCase>();
        let Some(document) = documents.next().transpose().map_err(invalid)? else {
            return Ok(None);
        };
        if documents.next().is_some() {
            return Err(ApiError::invalid("unexpected content after JSON"));
        }
        T::deserialize(document).map(Some).map_err(invalid)
    }
}

/// Browsers can be made to send forms anywhere, but not JSON: that is why the type is looked at.
fn check_json(content_type: Option<&[u8]>) -> Result<(), ApiError> {
    let text = String::from_utf8_lossy(content_type.unwrap_or_default());
    let kind = text.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "unsupported Content-Type header ({text}): must be 'application/json'"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_json() {
        check_json(Some(b"application/json")).unwrap();
        check_json(Some(b"application/json; charset=utf-8")).unwrap();
        let refused = check_json(Some(b"text/plain")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "unsupported Content-Type header (text/plain): must be 'application/json'"
        );
        check_json(None).unwrap_err();
    }
}
