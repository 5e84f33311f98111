//! What all requests have in common, and the way from a request to its answer.
//!
//! Invariant: every request is authenticated, answered, counted and logged once; nothing that waits for the
//! disk runs on a thread that serves connections.

use std::sync::Arc;
use std::time::Instant;

use dhow_spec::percent::unescape;
use dhow_spec::{Digest, RepositoryPath};
use dhow_store::{Repositories, Store};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::access::{Access, Peer};
use crate::audit::{Audit, Change};
use crate::config::Config;
use crate::hooks::{Event, Hooks};
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::error::{ApiError, Code};
use crate::http::query::Query;
use crate::http::reply::Reply;
use crate::http::wire::Outlet;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::mirror::Mirrors;
use crate::routes;
use crate::uploads::Uploads;

const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// What all requests have in common.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) repositories: Repositories,
    pub(crate) uploads: Uploads,
    pub(crate) access: Access,
    pub(crate) audit: Audit,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) hooks: Hooks,
    pub(crate) mirrors: Mirrors,
    pub(crate) log: Log,
}

/// What a change happened to.
#[derive(Debug, Clone)]
pub(crate) struct Subject<'a> {
    pub(crate) name: &'a RepositoryPath,
    pub(crate) digest: &'a Digest,
    pub(crate) tag: Option<&'a str>,
    /// For what was pushed.
    pub(crate) media_type: Option<String>,
    pub(crate) size: Option<u64>,
}

impl<'a> Subject<'a> {
    /// Something in a repository, of which no more is known.
    pub(crate) const fn new(name: &'a RepositoryPath, digest: &'a Digest) -> Self {
        Self { name, digest, tag: None, media_type: None, size: None }
    }
}

impl App {
    /// Answers a request.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
        outlet: Option<Outlet>,
    ) -> Response<Body> {
        let began = Instant::now();
        let line = format!("{} {}", request.method(), request.uri().path());
        let head = request.method() == Method::HEAD;
        let mut user = None;
        let answered = self.dispatch(request, peer, outlet, &mut user).await;
        let mut response = match answered {
            Ok(reply) => reply.into_response(),
            Err(error) => {
                if let Some(cause) = error.cause() {
                    self.log.say(&format!("{line}: {cause}"));
                }
                error.response()
            }
        };
        if head {
            // Its length stays: hyper keeps the header of a body that it does not send.
            let length = http_body::Body::size_hint(response.body()).exact().unwrap_or(0);
            if length > 0 {
                response.headers_mut().insert("content-length", length.into());
            }
            *response.body_mut() = Body::empty();
        }
        let headers = response.headers_mut();
        headers.insert(VERSION, HeaderValue::from_static("registry/2.0"));
        headers.insert(NOSNIFF, HeaderValue::from_static("nosniff"));
        let status = response.status();
        self.metrics.answered(status, began.elapsed());
        if self.config.log.access {
            let user = user.as_deref().unwrap_or("-");
            let ms = began.elapsed().as_secs_f64() * 1000.0;
            let status = status.as_u16();
            self.log.say(&format!(
                "{} {user} \"{}\" {status} {ms:.1}ms",
                peer.address,
                printable(&line)
            ));
        }
        response
    }

    async fn dispatch(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
        outlet: Option<Outlet>,
        user: &mut Option<String>,
    ) -> Result<Reply, ApiError> {
        let (head, body) = request.into_parts();
        let path = unescape(head.uri.path(), false);
        match path.as_str() {
            "/healthz" => return self.health().await,
            "/metrics" => return Ok(self.metrics.page(self.uploads.count())),
            _ => {}
        }
        let host = head.uri.authority().map(|authority| authority.as_str().to_owned());
        let caller = self.access.identify(&head.headers, host, peer).await?;
        user.clone_from(&caller.user);
        let call = Call {
            method: head.method,
            query: Query::parse(head.uri.query().unwrap_or_default()),
            headers: head.headers,
            body,
            caller,
            idle: self.config.limits.idle.0,
            outlet,
        };
        if let Some(rest) = path.strip_prefix("/v2/") {
            return routes::dispatch(self, call, rest).await;
        }
        match path.as_str() {
            "/v2" => routes::dispatch(self, call, "").await,
            "/token" => self.access.token(self, call).await,
            path => {
                let page = crate::page::dispatch(self, &call, path).await?;
                page.ok_or_else(|| {
                    ApiError::new(Code::Unsupported, "no such address")
                        .with_status(StatusCode::NOT_FOUND)
                })
            }
        }
    }

    /// Whether we can serve: the records can be read, and something can be written.
    async fn health(self: &Arc<Self>) -> Result<Reply, ApiError> {
        let app = self.clone();
        blocking(move || {
            app.repositories.list("", 1)?;
            Ok(())
        })
        .await
        .map_err(|error| error.with_status(StatusCode::SERVICE_UNAVAILABLE))?;
        Ok(Reply::json(&serde_json::json!({ "status": "ok" })))
    }

    /// Tells whoever wants to know of a change.
    pub(crate) fn changed(&self, call: &Call, change: Change, subject: &Subject<'_>) {
        self.metrics.changed();
        let now_ms = self.store.now_ms();
        self.audit.write(&self.log, now_ms, &call.caller, change, subject);
        if self.hooks.want(subject.name, change) {
            // Without random bytes nothing else works either.
            let id = crate::secret::random_name().unwrap_or_default();
            let event = Event { id, now_ms, change, subject, call };
            self.hooks.tell(subject.name, change, &event, &self.log, &self.metrics);
        }
    }
}

/// Runs what waits for the disk where it harms nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            // Our bug, which goes on here and ends this connection alone.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(ApiError::internal(error)),
        },
    }
}

/// A line of a log has no control characters and an end.
fn printable(text: &str) -> String {
    text.chars().take(512).map(|c| if c.is_control() || c == '"' { '?' } else { c }).collect()
}
