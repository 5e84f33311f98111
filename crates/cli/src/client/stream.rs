//! A connection as bytes: a unix socket, TCP, TLS over TCP, or a program's input and output.
//!
//! Blocking, until a session makes it otherwise. Absent on purpose: HTTP.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::endpoint::Endpoint;

/// An open connection.
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Connects; with `tls`, TCP is encrypted.
    pub(crate) fn connect(
        endpoint: &Endpoint,
        tls: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Stream> {
        let (host, port) = match endpoint {
            Endpoint::Unix(path) => return Ok(Stream::Unix(UnixStream::connect(path)?)),
            Endpoint::Ssh(host) => return Ok(Stream::Unix(super::ssh::connect(host)?)),
            Endpoint::Tcp { host, port } => (host, *port),
        };
        let socket = TcpStream::connect((host.as_str(), port))?;
        socket.set_nodelay(true)?;
        let Some(config) = tls else { return Ok(Stream::Tcp(socket)) };
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(connection, socket))))
    }

    /// The same connection once more, for another thread; TLS has a state that cannot be shared.
    pub(crate) fn try_clone(&self) -> io::Result<Stream> {
        match self {
            Stream::Unix(socket) => Ok(Stream::Unix(socket.try_clone()?)),
            Stream::Tcp(socket) => Ok(Stream::Tcp(socket.try_clone()?)),
            Stream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(crate) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match self {
            Stream::Unix(socket) => socket.set_nonblocking(on),
            Stream::Tcp(socket) => socket.set_nonblocking(on),
            Stream::Tls(stream) => stream.sock.set_nonblocking(on),
        }
    }

    /// Tells the other side that no more will come from here.
    pub(crate) fn close_write(&mut self) -> io::Result<()> {
        match self {
            Stream::Unix(socket) => socket.shutdown(Shutdown::Write),
            Stream::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Stream::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.conn.write_tls(&mut stream.sock).map(drop)
            }
        }
    }

    /// Whether encrypted bytes wait to be sent.
    pub(crate) fn wants_write(&self) -> bool {
        matches!(self, Stream::Tls(stream) if stream.conn.wants_write())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Unix(socket) => socket.as_fd(),
            Stream::Tcp(socket) => socket.as_fd(),
            Stream::Tls(stream) => stream.sock.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(socket) => socket.read(buffer),
            Stream::Tcp(socket) => socket.read(buffer),
            // A peer that leaves without the alert of TLS is at its end all the same.
            Stream::Tls(stream) => match stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                result => result,
            },
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(socket) => socket.write(bytes),
            Stream::Tcp(socket) => socket.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Unix(socket) => socket.flush(),
            Stream::Tcp(socket) => socket.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}
