//! The HTTP library, its pool of connections, and the clock beside it.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use hyper::header::{
    AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT,
};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answer::{Answer, innermost};
use super::body::OutBody;
use crate::config::{Config, ConfigError};
use crate::error::Fault;
use crate::net::{ConnectError, ConnectFault, Connector, Proxies, Resolver, Tls};
use crate::url::{Origin, Scheme, Url};

/// Connections that wait for another request.
const IDLE_PER_HOST_MAX: usize = 8;
const IDLE: Duration = Duration::from_secs(60);
/// What a peer may send before it hears from us (HTTP/2): enough for a fast line over a long way.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// What the protocol allows.
const CONNECTION_WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// Hosts remembered before those that nobody talks to are forgotten.
const GATES_MAX: usize = 1024;

/// A request without a body.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
}

/// Sends requests.
pub(crate) struct Transport {
    client: legacy::Client<Connector, OutBody>,
    proxies: Arc<Proxies>,
    user_agent: HeaderValue,
    per_host_max: usize,
    /// For the head of an answer; longer than for a connection, which has its own limit within.
    head: Duration,
    stall: Duration,
    gates: Mutex<HashMap<Origin, Arc<Semaphore>>>,
}

impl Request {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new() }
    }

    pub(crate) fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// With one more header, whose value is known to be one.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("visible characters only");
        self.headers.append(name, value);
        self
    }
}

impl Transport {
    pub(crate) fn new(
        config: &Config,
        resolver: Arc<dyn Resolver>,
        tls: Arc<Tls>,
    ) -> Result<Self, ConfigError> {
        let user_agent =
            HeaderValue::from_str(&config.user_agent).map_err(|_| ConfigError::UserAgent)?;
        let proxies = Arc::new(config.proxies.clone());
        let limit = config.limits.connect;
        let connector = Connector { resolver, tls, proxies: proxies.clone(), limit };
        let per_host_max = config.limits.per_host_max.max(1);
        // Room for all streams: one that nobody reads must not keep the others waiting.
        let streams = u32::try_from(per_host_max).unwrap_or(u32::MAX).saturating_add(1);
        let window = STREAM_WINDOW_BYTES.saturating_mul(streams).min(CONNECTION_WINDOW_BYTES_MAX);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(window)
            .build(connector);
        let stall = config.limits.stall;
        let head = stall.max(limit + Duration::from_secs(1));
        let gates = Mutex::default();
        Ok(Self { client, proxies, user_agent, per_host_max, head, stall, gates })
    }

    /// Sends a request to exactly where it says; `patience` is how long the answer may take to
    /// begin once nothing of the body moves any more.
    pub(crate) async fn send(
        &self,
        request: &Request,
        authorization: Option<&HeaderValue>,
        body: OutBody,
        patience: Option<Duration>,
    ) -> Result<Answer, Fault> {
        let origin = &request.url.origin;
        let host = origin.authority();
        let permit = self.gate(origin).acquire_owned().await.expect("gates are never closed");
        let pace = body.pace();
        let message = self.message(request, authorization, body)?;
        let mut responding = std::pin::pin!(self.client.request(message));
        let after = patience.unwrap_or_default().max(self.head);
        let mut sent = pace.bytes();
        let response = loop {
            match timeout(after, &mut responding).await {
                Ok(response) => break response,
                Err(_) if pace.bytes() > sent => sent = pace.bytes(),
                Err(_) => return Err(Fault::Stalled { host, after }),
            }
        };
        let (head, body) = response.map_err(|error| fault_of(host, &error))?.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            url: request.url.clone(),
            body,
            stall: self.stall,
            _permit: permit,
        })
    }

    fn message(
        &self,
        request: &Request,
        authorization: Option<&HeaderValue>,
        body: OutBody,
    ) -> Result<hyper::Request<OutBody>, Fault> {
        let url = &request.url;
        let unusable = || {
            let why = ConnectFault::Address { text: url.to_string() };
            Fault::Unreachable { host: url.origin.authority(), why: Arc::new(why) }
        };
        let mut message = hyper::Request::new(body);
        *message.method_mut() = request.method.clone();
        *message.uri_mut() = url.to_uri().ok_or_else(unusable)?;
        *message.headers_mut() = request.headers.clone();
        let headers = message.headers_mut();
        headers.insert(USER_AGENT, self.user_agent.clone());
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        // Through a tunnel the proxy was told already.
        if url.origin.scheme == Scheme::Http
            && let Some(proxy) = self.proxies.for_origin(&url.origin)
            && let Some(text) = &proxy.authorization
        {
            let mut value = HeaderValue::from_str(text).map_err(|_| unusable())?;
            value.set_sensitive(true);
            headers.insert(PROXY_AUTHORIZATION, value);
        }
        Ok(message)
    }

    fn gate(&self, origin: &Origin) -> Arc<Semaphore> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever redirects us to ever new hosts must not fill our memory.
        if gates.len() >= GATES_MAX {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        let new = || Arc::new(Semaphore::new(self.per_host_max));
        gates.entry(origin.clone()).or_insert_with(new).clone()
    }
}

fn fault_of(host: String, error: &legacy::Error) -> Fault {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(ConnectError(why)) = error.downcast_ref() {
            return Fault::Unreachable { host, why: why.clone() };
        }
        source = error.source();
    }
    Fault::Interrupted { host, why: innermost(error) }
}
