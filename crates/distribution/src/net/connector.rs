//! Connections as the HTTP library wants them: TCP, perhaps through a proxy's tunnel, perhaps TLS.
//!
//! Invariant: a connection stands within its time limit or there is none; the addresses of a host
//! are tried side by side, each a moment after the one before, so that a dead one costs little.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::fault::ConnectFault;
use super::proxy::{Proxies, Proxy};
use super::resolver::Resolver;
use super::tls::Tls;
use crate::url::{Origin, Scheme, Url};

/// How long an address has for itself before the next is tried besides.
const STAGGER: Duration = Duration::from_millis(250);
const TUNNEL_ANSWER_BYTES_MAX: usize = 8192;

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) tls: Arc<Tls>,
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) limit: Duration,
}

/// A [`ConnectFault`] on its way through the HTTP library, which wants to share it.
#[derive(Debug, Clone)]
pub(crate) struct ConnectError(pub(crate) Arc<ConnectFault>);

/// A connection.
pub(crate) struct Link {
    stream: TokioIo<Box<dyn Stream>>,
    speaks_h2: bool,
    is_proxied: bool,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<Link, ConnectFault> {
        let text = uri.to_string();
        let origin = match Url::parse(&text) {
            Some(url) => url.origin,
            None => return Err(ConnectFault::Address { text }),
        };
        let after = self.limit;
        let link = timeout(after, self.link(&origin)).await;
        link.unwrap_or(Err(ConnectFault::TimedOut { after }))
    }

    async fn link(&self, origin: &Origin) -> Result<Link, ConnectFault> {
        let Some(proxy) = self.proxies.for_origin(origin) else {
            let stream: Box<dyn Stream> = Box::new(self.dial(origin).await?);
            return self.finish(origin, stream, false).await;
        };
        let mut stream: Box<dyn Stream> = Box::new(self.dial(&proxy.origin).await?);
        if proxy.origin.scheme == Scheme::Https {
            stream = self.encrypt(&proxy.origin, stream, false).await?.0;
        }
        match origin.scheme {
            // The proxy reads these requests itself.
            Scheme::Http => self.finish(origin, stream, true).await,
            Scheme::Https => {
                open_tunnel(&mut stream, proxy, origin).await?;
                self.finish(origin, stream, false).await
            }
        }
    }

    async fn finish(
        &self,
        origin: &Origin,
        stream: Box<dyn Stream>,
        is_proxied: bool,
    ) -> Result<Link, ConnectFault> {
        let (stream, speaks_h2) = match origin.scheme {
            Scheme::Http => (stream, false),
            Scheme::Https => self.encrypt(origin, stream, true).await?,
        };
        Ok(Link { stream: TokioIo::new(stream), speaks_h2, is_proxied })
    }

    async fn encrypt(
        &self,
        origin: &Origin,
        stream: Box<dyn Stream>,
        may_h2: bool,
    ) -> Result<(Box<dyn Stream>, bool), ConnectFault> {
        let name = ServerName::try_from(origin.bare_host().to_owned())
            .map_err(|_| ConnectFault::Address { text: origin.to_string() })?;
        let mut config = self.tls.for_origin(origin);
        if !may_h2 {
            Arc::make_mut(&mut config).alpn_protocols.clear();
        }
        let connecting = TlsConnector::from(config).connect(name, stream);
        let stream = connecting.await.map_err(ConnectFault::of_handshake)?;
        let speaks_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Box::new(stream), speaks_h2))
    }

    async fn dial(&self, origin: &Origin) -> Result<TcpStream, ConnectFault> {
        let host = origin.bare_host();
        let lookup = |source| ConnectFault::Lookup { host: host.to_owned(), source };
        let addresses = match host.parse() {
            Ok(address) => vec![SocketAddr::new(address, origin.port)],
            Err(_) => {
                let found = self.resolver.resolve(host, origin.port).await;
                alternate(found.map_err(|source| lookup(Some(source)))?)
            }
        };
        let mut attempts = JoinSet::new();
        let mut last = lookup(None);
        for address in addresses {
            attempts.spawn(async move { (address, TcpStream::connect(address).await) });
            let first = tokio::select! {
                joined = attempts.join_next() => joined,
                () = sleep(STAGGER) => None,
            };
            match settle(first, &mut last) {
                Some(stream) => return Ok(stream),
                None => continue,
            }
        }
        while let Some(joined) = attempts.join_next().await {
            if let Some(stream) = settle(Some(joined), &mut last) {
                return Ok(stream);
            }
        }
        Err(last)
    }
}

type Dialled = Result<(SocketAddr, io::Result<TcpStream>), tokio::task::JoinError>;

fn settle(joined: Option<Dialled>, last: &mut ConnectFault) -> Option<TcpStream> {
    let (address, stream) = joined?.ok()?;
    match stream {
        Ok(stream) => {
            // A request is one small write that should not wait for another.
            let _ = stream.set_nodelay(true);
            Some(stream)
        }
        Err(source) => {
            *last = ConnectFault::Connect { address, source };
            None
        }
    }
}

/// The resolver's order, but both families by turns: a whole family may be dead.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == first_is_v4);
    let mut second = second.into_iter();
    let mut mixed = Vec::new();
    for address in first {
        mixed.push(address);
        mixed.extend(second.next());
    }
    mixed.extend(second);
    mixed
}

/// `CONNECT`; read byte by byte, since what follows the answer is no longer the proxy's.
async fn open_tunnel(
    stream: &mut Box<dyn Stream>,
    proxy: &Proxy,
    origin: &Origin,
) -> Result<(), ConnectFault> {
    let fault = |status| ConnectFault::Proxy { proxy: proxy.origin.authority(), status };
    let target = format!("{}:{}", origin.host, origin.port);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(ConnectFault::Handshake)?;
    stream.flush().await.map_err(ConnectFault::Handshake)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await.map_err(ConnectFault::Handshake)?;
        answer.push(byte);
        if answer.len() > TUNNEL_ANSWER_BYTES_MAX {
            return Err(fault(None));
        }
    }
    let status = std::str::from_utf8(&answer).ok().and_then(|text| {
        let (version, rest) = text.split_once(' ')?;
        version.starts_with("HTTP/1.").then(|| rest.get(..3)?.parse().ok())?
    });
    match status {
        Some(200..=299) => Ok(()),
        status => Err(fault(status)),
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Link;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Link, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.clone().connect(uri);
        Box::pin(async { connecting.await.map_err(|fault| ConnectError(Arc::new(fault))) })
    }
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.is_proxied);
        if self.speaks_h2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ConnectError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().expect(text)).collect()
        };
        let mixed = alternate(parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "[::4]:1"]));
        assert_eq!(mixed, parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1", "[::4]:1"]));
        assert_eq!(alternate(Vec::new()), Vec::new());
    }
}
