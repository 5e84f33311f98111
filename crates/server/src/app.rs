//! What all requests have in common, and the way from a path to whoever answers.
//!
//! Invariant: every answer has the headers by which clients know what they talk to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use dhow_engine::{Engine, EventKind, ImageEngine, ImageUser, ListRequest, Status};
use dhow_spec::percent::unescape;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Request, Response};

use crate::http::api_version::Versions;
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::http::reply::Reply;
use crate::http::takeover::Wish;
use crate::routes;

/// What we call ourselves.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What all requests have in common.
pub(crate) struct App {
    pub(crate) engine: Engine,
    /// The engine's, because they are asked most.
    pub(crate) images: ImageEngine,
    pub(crate) versions: Versions,
    pub(crate) connections: AtomicUsize,
    pub(crate) foreign: AtomicBool,
}

impl App {
    /// Answers a request. A connection that is to be taken over is left as a wish; then this never returns.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        wish: Wish,
    ) -> Response<Body> {
        self.look_at(request.headers());
        let mut response = match self.dispatch(request).await {
            Ok(Reply::Http(response)) => response,
            Ok(Reply::Takeover(takeover)) => {
                wish.make(takeover);
                std::future::pending().await
            }
            Err(error) => error.response(),
        };
        self.sign(response.headers_mut());
        response
    }

    async fn dispatch(self: &Arc<Self>, request: Request<Incoming>) -> Result<Reply, ApiError> {
        let (head, body) = request.into_parts();
        let path = unescape(head.uri.path(), false);
        let (asked, path) = split_version(&path);
        let version = self.versions.accept(asked)?;
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let call = Call {
            version,
            method: head.method,
            query: Query::parse(head.uri.query().unwrap_or_default()),
            headers: head.headers,
            body,
        };
        routes::dispatch(self, call, &segments).await
    }

    /// Who stands on which image.
    pub(crate) async fn image_users(&self) -> Result<Vec<ImageUser>, ApiError> {
        let request = ListRequest { all: true, ..ListRequest::default() };
        let containers = self.engine.list(request).await?.into_iter();
        let active =
            |status| matches!(status, Status::Running | Status::Paused | Status::Restarting);
        let users = containers.map(|container| ImageUser {
            running: active(container.status),
            container: container.id,
            image: container.image_id,
        });
        Ok(users.collect())
    }

    /// Tells listeners what happened to an image. That it could not be told harms nobody.
    pub(crate) async fn tell_image(&self, action: &str, id: &str, name: &str) {
        let attributes = match name {
            "" => BTreeMap::new(),
            name => BTreeMap::from([("name".to_owned(), name.to_owned())]),
        };
        let _ = self.engine.tell(EventKind::Image, action, id, attributes).await;
    }

    /// Tells listeners how much room a prune has made. That it could not be told harms nobody.
    pub(crate) async fn tell_pruned(&self, kind: EventKind, bytes: u64) {
        let attributes = BTreeMap::from([("reclaimed".to_owned(), bytes.to_string())]);
        let _ = self.engine.tell(kind, "prune", "", attributes).await;
    }

    /// Whether anybody but our own command line has ever asked.
    fn look_at(&self, headers: &HeaderMap) {
        let ours =
            headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"dhow/"));
        if !ours {
            self.foreign.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn sign(&self, headers: &mut HeaderMap) {
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.entry(name).or_insert(value);
            }
        };
        put("api-version", &self.versions.newest.to_string());
        put("docker-experimental", "false");
        put("ostype", "linux");
        put("server", &format!("dhow/{VERSION} (linux)"));
    }
}

/// `/v1.41/info` is version and path; without a version, only a path.
fn split_version(path: &str) -> (Option<&str>, &str) {
    let versioned =
        path.strip_prefix("/v").filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    match versioned.and_then(|rest| rest.split_once('/')) {
        Some((version, rest)) if version.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
            (Some(version), rest)
        }
        _ => (None, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_split_off() {
        assert_eq!(split_version("/v1.41/info"), (Some("1.41"), "info"));
        assert_eq!(split_version("/volumes"), (None, "/volumes"));
        assert_eq!(split_version("/version"), (None, "/version"));
        assert_eq!(split_version("/v1.x/info"), (None, "/v1.x/info"));
    }
}
