//! Connections that stop being HTTP: attach and exec.
//!
//! Docker has two ways for it. A client that says `Upgrade: tcp` gets a `101`, an older one a `200` without an
//! end; behind either the connection belongs to the streams. We take the connection out of the HTTP code before
//! the answer is written, because only the first way exists there, and give socket and bytes already read away:
//! on a unix socket to whoever serves the streams, even to another process. What is no plain socket is relayed.
//! Invariant: no byte that a client sent behind its request is lost.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::header::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Notify;

/// What is done with a connection that was taken over.
pub(crate) struct Takeover {
    /// What the client is told first.
    pub(crate) head: String,
    /// Who gets it then.
    pub(crate) then: Then,
}

/// What somebody does with a connection.
type Then = Box<dyn FnOnce(Taken) -> Done + Send>;
/// That it is done.
type Done = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection without HTTP.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The socket, or our end of a relay.
    pub(crate) fd: OwnedFd,
    /// What came behind the request.
    pub(crate) read_ahead: Vec<u8>,
}

/// Something that clients are connected by.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin + Sized + 'static {
    /// Makes a socket of it that any process can use.
    fn into_socket(self) -> io::Result<OwnedFd>;
}

impl Takeover {
    /// The answer's head for a client that asked with these headers, for a stream of that type.
    pub(crate) fn new<F>(
        headers: &HeaderMap,
        upgraded_type: &str,
        then: impl FnOnce(Taken) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let head = if headers.contains_key("upgrade") {
            format!(
                "HTTP/1.1 101 UPGRADED\r\nContent-Type: {upgraded_type}\r\n\
                 Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            )
        } else {
            format!("HTTP/1.1 200 OK\r\nContent-Type: {}\r\n\r\n", crate::http::reply::RAW_STREAM)
        };
        Self { head, then: Box::new(|taken| Box::pin(then(taken))) }
    }

    /// The same with an answer's head of one's own.
    pub(crate) fn with_head<F>(head: String, then: impl FnOnce(Taken) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { head, then: Box::new(|taken| Box::pin(then(taken))) }
    }

    /// Writes the head and gives the connection away.
    pub(crate) async fn carry_out<T: Transport>(
        self,
        mut transport: T,
        read_ahead: Bytes,
    ) -> io::Result<()> {
        transport.write_all(self.head.as_bytes()).await?;
        transport.flush().await?;
        let taken = Taken { fd: transport.into_socket()?, read_ahead: read_ahead.to_vec() };
        (self.then)(taken).await;
        Ok(())
    }
}

/// Where a request leaves its wish to take the connection over, and the connection's driver finds it.
#[derive(Default, Clone)]
pub(crate) struct Wish(Arc<WishState>);

#[derive(Default)]
struct WishState {
    takeover: Mutex<Option<Takeover>>,
    made: Notify,
}

impl Wish {
    pub(crate) fn make(&self, takeover: Takeover) {
        *self.0.takeover.lock().unwrap_or_else(PoisonError::into_inner) = Some(takeover);
        self.0.made.notify_one();
    }

    pub(crate) async fn made(&self) -> Takeover {
        loop {
            self.0.made.notified().await;
            let mut takeover = self.0.takeover.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(takeover) = takeover.take() {
                return takeover;
            }
        }
    }
}

impl Transport for UnixStream {
    fn into_socket(self) -> io::Result<OwnedFd> {
        Ok(self.into_std()?.into())
    }
}

/// Gives one end of a pair of sockets, and relays between the other and `transport` until both sides have ended.
pub(crate) fn relay<T>(mut transport: T) -> io::Result<OwnedFd>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut ours, theirs) = UnixStream::pair()?;
    tokio::spawn(async move {
        // Each side hears of the other's end; there is nobody to tell of anything else.
        let _ = tokio::io::copy_bidirectional(&mut transport, &mut ours).await;
    });
    Ok(theirs.into_std()?.into())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn both_heads() {
        let nothing = |_| async {};
        let old = Takeover::new(&HeaderMap::new(), "x", nothing).head;
        assert_eq!(
            old,
            "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
        );
        let mut headers = HeaderMap::new();
        headers.insert("upgrade", "tcp".parse().unwrap());
        let new = Takeover::new(&headers, "x", nothing).head;
        assert_eq!(
            new,
            "HTTP/1.1 101 UPGRADED\r\nContent-Type: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn a_relay_passes_ends_on() {
        let (client, server) = tokio::io::duplex(16);
        let socket = std::os::unix::net::UnixStream::from(relay(server).unwrap());
        let mut socket = UnixStream::from_std(socket).unwrap();
        let (mut reader, mut writer) = tokio::io::split(client);
        writer.write_all(b"in").await.unwrap();
        writer.shutdown().await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "in");
        socket.write_all(b"out").await.unwrap();
        drop(socket);
        text.clear();
        reader.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "out");
    }
}
