//! One delivery: a connection, a request, and whether its answer says that it was taken.
//!
//! Invariant: it ends in time, and nothing of the answer but its status is looked at. A certificate is believed as
//! the machine's authorities or the configured one vouch for it.
//! Absent on purpose: proxies, and following to another address.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::client::conn::http1;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use ring::hmac;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::event::MEDIA_TYPE;
use crate::config::HookConfig;
use crate::http::body::Body;
use crate::mirror::system_authorities;

const AGENT: &str = concat!("dhow-registry/", env!("CARGO_PKG_VERSION"));
const SIGNATURE: HeaderName = HeaderName::from_static("x-dhow-signature");

/// Where events go.
pub(super) struct Destination {
    host: String,
    port: u16,
    path: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    headers: HeaderMap,
    key: Option<hmac::Key>,
    timeout: Duration,
}

impl Destination {
    /// Reads what the configuration says, and the files that it names.
    pub(super) fn open(config: &HookConfig) -> io::Result<Self> {
        let wrong = |why: &dyn fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", config.url))
        };
        let uri: Uri = config.url.parse().map_err(|error| wrong(&error))?;
        let host = uri.host().ok_or_else(|| wrong(&"no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong(&"neither http nor https")),
        };
        let tls = match secure {
            true => {
                let authorities = match &config.ca {
                    Some(path) => std::fs::read(path).map_err(|error| wrong(&error))?,
                    None => system_authorities(),
                };
                let tls = dhow_distribution::tls_config(&authorities, None, true);
                let name = ServerName::try_from(host.clone()).map_err(|error| wrong(&error))?;
                Some((tls.map_err(|error| wrong(&error))?, name))
            }
            false => None,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let name: HeaderName = name.parse().map_err(|error| wrong(&error))?;
            headers.append(name, HeaderValue::from_str(value).map_err(|error| wrong(&error))?);
        }
        let key = match &config.secret_file {
            Some(path) => {
                let secret = std::fs::read(path).map_err(|error| wrong(&error))?;
                Some(hmac::Key::new(hmac::HMAC_SHA256, secret.trim_ascii_end()))
            }
            None => None,
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { host, port, path, tls, headers, key, timeout: config.timeout.0 })
    }

    /// Sends an event; anything but a status of success is an error.
    pub(super) async fn post(&self, event: Bytes) -> io::Result<()> {
        let sent = tokio::time::timeout(self.timeout, self.send(event)).await;
        sent.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn send(&self, event: Bytes) -> io::Result<()> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match &self.tls {
            None => self.exchange(stream, event).await,
            Some((config, name)) => {
                let connector = TlsConnector::from(config.clone());
                self.exchange(connector.connect(name.clone(), stream).await?, event).await
            }
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        event: Bytes,
    ) -> io::Result<()> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let mut answering = std::pin::pin!(sender.send_request(self.request(event)?));
        let answer = tokio::select! {
            biased;
            answer = &mut answering => answer,
            // Who answers and goes is heard, too.
            ended = connection => {
                ended.map_err(io::Error::other)?;
                answering.await
            }
        };
        let answer = answer.map_err(io::Error::other)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(io::Error::other(format!("status {status}"))),
        }
    }

    fn request(&self, event: Bytes) -> io::Result<Request<Body>> {
        let signature = self.key.as_ref().map(|key| {
            let proof = hmac::sign(key, &event);
            format!("sha256={}", crate::secret::hex(proof.as_ref()))
        });
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header(HOST, self.authority())
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(CONTENT_LENGTH, event.len());
        if let Some(signature) = signature {
            request = request.header(SIGNATURE, signature);
        }
        let mut request = request.body(Body::whole(event)).map_err(io::Error::other)?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The path may be a secret.
        f.write_str(&self.authority())
    }
}
