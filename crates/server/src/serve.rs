//! Connections, each a task of its own.
//!
//! Invariant: whatever a client does hurts its own connection only; one that goes away ends what it had asked
//! for, unless that is the container's by now.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dhow_engine::Engine;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use crate::app::App;
use crate::http::api_version::{InvalidVersion, Versions};
use crate::http::takeover::{Transport, Wish};
use crate::listen::{Accepted, Listener};

/// How long a socket that gives no connections (too many descriptors) is left alone.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How the API is served.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// The oldest version of the API to be served; Docker's choice if absent.
    pub min_api_version: Option<String>,
}

/// The API, ready to be served; cloned freely.
#[derive(Clone)]
pub struct Server {
    app: Arc<App>,
}

/// Who is there, for an engine that leaves when nobody needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// Connections that are open.
    pub connections: usize,
    /// Somebody else than dhow's own command line has called.
    pub foreign: bool,
}

impl Server {
    /// Serves this engine.
    pub fn new(engine: Engine, options: &ServerOptions) -> Result<Self, InvalidVersion> {
        let versions = Versions::from_oldest(options.min_api_version.as_deref())?;
        let app = App {
            images: engine.images().clone(),
            engine,
            versions,
            connections: AtomicUsize::new(0),
            foreign: AtomicBool::new(false),
        };
        Ok(Self { app: Arc::new(app) })
    }

    /// Who is there.
    pub fn activity(&self) -> Activity {
        Activity {
            connections: self.app.connections.load(Ordering::Relaxed),
            foreign: self.app.foreign.load(Ordering::Relaxed),
        }
    }

    /// Serves whoever connects to any of the listeners, until the future that this is is dropped.
    pub async fn serve(&self, listeners: Vec<Listener>) {
        let mut tasks = JoinSet::new();
        for listener in listeners {
            let app = self.app.clone();
            tasks.spawn(accept(app, listener));
        }
        while tasks.join_next().await.is_some() {}
    }
}

async fn accept(app: Arc<App>, listener: Listener) {
    let mut clients = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                let app = app.clone();
                clients.spawn(async move {
                    app.connections.fetch_add(1, Ordering::Relaxed);
                    let _leave = Leave(&app);
                    match accepted {
                        Accepted::Unix(stream) => connection(&app, stream).await,
                        Accepted::Tls(handshake) => {
                            if let Ok(stream) = handshake.finish().await {
                                connection(&app, stream).await;
                            }
                        }
                    }
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        while clients.try_join_next().is_some() {}
    }
}

struct Leave<'a>(&'a App);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// HTTP until the client goes or the connection is taken over.
async fn connection<T: Transport>(app: &Arc<App>, stream: T) {
    let wish = Wish::default();
    let service = service_fn(|request| {
        let (app, wish) = (app.clone(), wish.clone());
        Box::pin(async move { Ok::<_, Infallible>(app.answer(request, wish).await) })
    });
    let mut http = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let takeover = {
        let mut driven = pin!(poll_fn(|context| http.poll_without_shutdown(context)));
        let mut made = pin!(wish.made());
        tokio::select! {
            biased;
            takeover = &mut made => Some(takeover),
            // What went wrong with a connection is only its client's business, who is gone.
            _ = &mut driven => None,
        }
    };
    let parts = http.into_parts();
    match takeover {
        Some(takeover) => {
            // The client is gone before it heard that it may begin.
            let _ = takeover.carry_out(parts.io.into_inner(), parts.read_buf).await;
        }
        None => shut_down(parts.io.into_inner()).await,
    }
}

/// Says goodbye, so that TLS clients know that nothing was cut off.
async fn shut_down<T: Transport>(mut stream: T) {
    let mut stream = Pin::new(&mut stream);
    let closed = poll_fn(|context| stream.as_mut().poll_shutdown(context));
    let _ = tokio::time::timeout(Duration::from_secs(1), closed).await;
}
