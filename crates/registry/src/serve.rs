//! Sockets and connections, each a task of its own, and an end that breaks nobody off.
//!
//! Invariant: what a client does or does not do hurts its own connection only, and takes bounded memory and
//! time: their number, their heads, and the silence in the middle of a request all have a limit.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::access::Peer;
use crate::app::App;
use crate::http::wire::{Outlet, Wire};
use crate::tls::Identity;

/// How long a socket that gives no connections (too many descriptors) is left alone.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Who does not finish a handshake or a request's head in that time does not want to.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests that are under way at the end have that long.
const FAREWELL: Duration = Duration::from_secs(30);
/// A request's head, and what is read ahead of a body.
const BUFFER: usize = 64 << 10;
/// Requests at once of one connection by HTTP/2, and their windows: what a client can make us hold.
const STREAMS_MAX: u32 = 64;
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// A socket that clients come to.
pub(crate) struct Listener {
    tcp: TcpListener,
    tls: Option<Arc<OnceLock<Identity>>>,
}

impl Listener {
    pub(crate) async fn bind(
        address: &str,
        tls: Option<Arc<OnceLock<Identity>>>,
    ) -> io::Result<Self> {
        Ok(Self { tcp: TcpListener::bind(address).await?, tls })
    }

    /// Takes a socket over that somebody else listens on for us, as systemd does.
    pub(crate) fn adopt(socket: OwnedFd, tls: Option<Arc<OnceLock<Identity>>>) -> io::Result<Self> {
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok(Self { tcp: TcpListener::from_std(listener)?, tls })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }
}

/// Serves until `end` is over; then nobody new, and a while for who is there.
pub(crate) async fn serve(app: Arc<App>, listeners: Vec<Listener>, end: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(app.config.limits.connections));
    let graceful = Arc::new(GracefulShutdown::new());
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(app.clone(), listener, places.clone(), graceful.clone()));
    }
    end.await;
    accepting.shutdown().await;
    if let Ok(graceful) = Arc::try_unwrap(graceful) {
        // Who is not done by then is broken off; what was acknowledged is kept.
        let _ = tokio::time::timeout(FAREWELL, graceful.shutdown()).await;
    }
}

async fn accept(
    app: Arc<App>,
    listener: Listener,
    places: Arc<Semaphore>,
    graceful: Arc<GracefulShutdown>,
) {
    loop {
        // Whoever comes when all places are taken waits in the kernel's queue.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, address)) = listener.tcp.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (app, tls, watcher) = (app.clone(), listener.tls.clone(), graceful.watcher());
        let peer = Peer { address, tls: tls.is_some() };
        tokio::spawn(async move {
            app.metrics.connected();
            prepare(&stream, app.config.limits.idle.0);
            match tls {
                None => {
                    let outlet = Outlet::default();
                    let wire = Wire::new(stream, outlet.clone());
                    connection(&app, wire, peer, Some(outlet), watcher).await;
                }
                Some(identity) => {
                    let acceptor = identity.get().expect("read before anybody came").acceptor();
                    let handshake = acceptor.accept(stream);
                    if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, handshake).await {
                        connection(&app, stream, peer, None, watcher).await;
                    }
                }
            }
            app.metrics.disconnected();
            drop(place);
        });
    }
}

/// Small answers at once; and whoever takes nothing for long has gone.
fn prepare(stream: &TcpStream, idle: Duration) {
    // Without either it works, only worse.
    let _ = stream.set_nodelay(true);
    let idle_ms = u32::try_from(idle.as_millis()).unwrap_or(u32::MAX);
    let _ = set_tcp_user_timeout(stream, idle_ms);
}

async fn connection<S>(
    app: &Arc<App>,
    stream: S,
    peer: Peer,
    outlet: Option<Outlet>,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let app = app.clone();
        // HTTP/2 puts bodies into frames of its own.
        let outlet = outlet.clone().filter(|_| request.version() < Version::HTTP_2);
        // Large futures of rare requests are not part of every connection.
        Box::pin(async move { Ok::<_, Infallible>(app.answer(request, peer, outlet).await) })
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // No `pipeline_flush`: with it hyper takes in a whole answer, however large, before it writes.
        // Bodies are written from where they lie, which `Wire` depends on.
        .writev(true)
        .max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(16 << 10)
        .max_send_buf_size(STREAM_WINDOW as usize)
        .keep_alive_interval(HEAD_TIMEOUT)
        .keep_alive_timeout(HEAD_TIMEOUT);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    // What went wrong with a connection is only its client's business, who is gone.
    let _ = watcher.watch(serving).await;
}
