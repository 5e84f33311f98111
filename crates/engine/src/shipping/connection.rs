//! Sockets to where lines go.
//!
//! Invariant: opening one and each write end within their time; a stream whose other side has gone is noticed before
//! a line is written into it, as far as the kernel knows.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use dhow_distribution::{Identity, tls_config};

const OPEN_MAX: Duration = Duration::from_secs(10);
/// Where the system's syslog listens.
const LOCAL_SYSLOG: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
const SYSTEM_CAS: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// `HOST:PORT`.
    Udp(String),
    /// `HOST:PORT`.
    Tcp(String),
    /// `HOST:PORT`.
    Tls(String),
    /// A socket of streams.
    Unix(PathBuf),
    /// A socket of datagrams.
    Datagrams(PathBuf),
    /// The machine's own syslog.
    LocalSyslog,
}

/// What a server must show, and what it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TlsFiles {
    pub(super) ca: Option<PathBuf>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) skip_verify: bool,
}

/// An open way.
#[derive(Debug)]
pub(super) enum Connection {
    Datagrams(UnixDatagram),
    Udp(UdpSocket),
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl TlsFiles {
    /// The system's authorities, and nothing to show.
    pub(super) const SYSTEM: &'static Self =
        &Self { ca: None, certificate: None, key: None, skip_verify: false };
}

impl Address {
    /// `udp://HOST[:PORT]`, `tcp://…`, `tcp+tls://…`, `tls://…`, `unix:///PATH`, `unixgram:///PATH`.
    pub(super) fn parse(text: &str, port: u16) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let place = || {
            let rest = rest.trim_end_matches('/');
            let behind = rest.rsplit_once(']').map_or(rest, |(_, behind)| behind);
            let with_port = match behind.rsplit_once(':') {
                Some((_, number)) => number.parse::<u16>().ok().map(|_| rest.to_owned()),
                None => Some(format!("{rest}:{port}")),
            };
            with_port.filter(|_| !rest.is_empty() && !rest.starts_with(':') && !rest.contains('/'))
        };
        let path = || Some(PathBuf::from(rest)).filter(|_| rest.starts_with('/'));
        match scheme {
            "udp" => place().map(Self::Udp),
            "tcp" => place().map(Self::Tcp),
            "tcp+tls" | "tls" => place().map(Self::Tls),
            "unix" => path().map(Self::Unix),
            "unixgram" => path().map(Self::Datagrams),
            _ => None,
        }
    }
}

impl Connection {
    pub(super) async fn open(address: &Address, tls: &TlsFiles) -> io::Result<Self> {
        let opened = tokio::time::timeout(OPEN_MAX, Self::try_open(address, tls)).await;
        opened.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn try_open(address: &Address, tls: &TlsFiles) -> io::Result<Self> {
        match address {
            Address::Udp(place) => {
                let target = tokio::net::lookup_host(place).await?.next();
                let target = target.ok_or(io::ErrorKind::AddrNotAvailable)?;
                let own = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(own).await?;
                socket.connect(target).await?;
                Ok(Self::Udp(socket))
            }
            Address::Tcp(place) => Ok(Self::Tcp(TcpStream::connect(place).await?)),
            Address::Tls(place) => {
                let config = tls.load().await?;
                let host = place.rsplit_once(':').map_or(place.as_str(), |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = host.try_into().map_err(io::Error::other)?;
                let stream = TcpStream::connect(place).await?;
                let stream = TlsConnector::from(config).connect(name, stream).await?;
                Ok(Self::Tls(Box::new(stream)))
            }
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
            Address::Datagrams(path) => datagrams(path),
            Address::LocalSyslog => {
                for path in LOCAL_SYSLOG.map(Path::new) {
                    if let Ok(socket) = datagrams(path) {
                        return Ok(socket);
                    }
                    if let Ok(stream) = UnixStream::connect(path).await {
                        return Ok(Self::Unix(stream));
                    }
                }
                let why = "no syslog listens on this machine";
                Err(io::Error::new(io::ErrorKind::NotFound, why))
            }
        }
    }

    /// Sends one packet. What is too long for a datagram is not sent at all: it would never be.
    pub(super) async fn send(&mut self, packet: &[u8], time: Option<Duration>) -> io::Result<()> {
        let sent = self.try_send(packet);
        match time {
            Some(time) => tokio::time::timeout(time, sent)
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?,
            None => sent.await,
        }
    }

    async fn try_send(&mut self, packet: &[u8]) -> io::Result<()> {
        let sent = match self {
            Self::Datagrams(socket) => socket.send(packet).await.map(drop),
            Self::Udp(socket) => match socket.send(packet).await {
                // The word of an earlier datagram; with UDP, nobody waits for any.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    socket.send(packet).await.map(drop)
                }
                sent => sent.map(drop),
            },
            Self::Unix(stream) => {
                gone(stream.try_read(&mut [0; 512]))?;
                stream.write_all(packet).await
            }
            Self::Tcp(stream) => {
                gone(stream.try_read(&mut [0; 512]))?;
                stream.write_all(packet).await
            }
            Self::Tls(stream) => {
                stream.write_all(packet).await?;
                stream.flush().await
            }
        };
        match sent {
            Err(error)
                if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::MSGSIZE) =>
            {
                Ok(())
            }
            sent => sent,
        }
    }

    /// Reads until `receipt` has been among what came.
    pub(super) async fn await_receipt(
        &mut self,
        receipt: &[u8],
        time: Option<Duration>,
    ) -> io::Result<()> {
        let mut seen = Vec::new();
        let read = async {
            loop {
                let mut buffer = [0; 512];
                let count = match self {
                    Self::Unix(stream) => stream.read(&mut buffer).await?,
                    Self::Tcp(stream) => stream.read(&mut buffer).await?,
                    Self::Tls(stream) => stream.read(&mut buffer).await?,
                    Self::Datagrams(_) | Self::Udp(_) => return Ok(()),
                };
                if count == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
                seen.extend_from_slice(&buffer[..count]);
                if seen.windows(receipt.len()).any(|found| found == receipt) {
                    return Ok(());
                }
                // What is no receipt of ours is of no use.
                let useless = seen.len().saturating_sub(receipt.len());
                seen.drain(..useless);
            }
        };
        match time {
            Some(time) => tokio::time::timeout(time, read)
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?,
            None => read.await,
        }
    }
}

fn datagrams(path: &Path) -> io::Result<Connection> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(Connection::Datagrams(socket))
}

/// Nobody says anything to us: what can be read is the end.
fn gone(read: io::Result<usize>) -> io::Result<()> {
    match read {
        Ok(0) => Err(io::ErrorKind::ConnectionReset.into()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

impl TlsFiles {
    async fn load(&self) -> io::Result<Arc<tokio_rustls::rustls::ClientConfig>> {
        let files = self.clone();
        let loaded = tokio::task::spawn_blocking(move || files.read());
        loaded.await.map_err(io::Error::other)?
    }

    fn read(&self) -> io::Result<Arc<tokio_rustls::rustls::ClientConfig>> {
        let named = |path: &Path| {
            std::fs::read(path).map_err(|error| {
                io::Error::new(error.kind(), format!("read {}: {error}", path.display()))
            })
        };
        let authorities = match &self.ca {
            Some(path) => named(path)?,
            None => SYSTEM_CAS.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default(),
        };
        let identity = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                Some(Identity { certificates_pem: named(certificate)?, key_pem: named(key)? })
            }
            _ => None,
        };
        tls_config(&authorities, identity.as_ref(), !self.skip_verify).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let parse = |text| Address::parse(text, 514);
        assert_eq!(parse("udp://host"), Some(Address::Udp("host:514".to_owned())));
        assert_eq!(parse("tcp://[::1]:99"), Some(Address::Tcp("[::1]:99".to_owned())));
        assert_eq!(parse("tcp://[::1]"), Some(Address::Tcp("[::1]:514".to_owned())));
        assert_eq!(parse("tcp+tls://h:1"), Some(Address::Tls("h:1".to_owned())));
        assert_eq!(parse("unixgram:///dev/log"), Some(Address::Datagrams("/dev/log".into())));
        for wrong in ["host:1", "tcp://", "tcp://h:x", "unix://relative", "ftp://h", "udp://:1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
