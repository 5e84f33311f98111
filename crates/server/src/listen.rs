//! The sockets that clients come to.
//!
//! Invariant: nobody can connect to a unix socket before it has its owner and mode; TCP is served to clients
//! with a certificate only, since whoever may talk to an engine is root.
//! Absent on purpose: reading certificates from files.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid, chmodat, chownat};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::http::takeover::{Transport, relay};

/// Connections that wait to be accepted: a burst of clients is normal.
const BACKLOG: i32 = 4096;
/// Who does not finish a handshake in that time does not want to.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where to listen.
#[derive(Debug, Clone)]
pub enum Address {
    /// A path, for root and the members of a group.
    Unix {
        /// The path.
        path: PathBuf,
        /// The group; none if absent.
        group: Option<u32>,
    },
    /// An address.
    Tcp {
        /// The address.
        address: SocketAddr,
        /// Who we are, and whom we know; without it nobody is served.
        tls: Option<TlsIdentity>,
    },
}

/// What proves who a server is, and what its clients must prove; all of it PEM.
#[derive(Clone)]
pub struct TlsIdentity {
    /// Our certificate and its chain.
    pub certificates_pem: Vec<u8>,
    /// Our key.
    pub key_pem: Vec<u8>,
    /// Who signs our clients' certificates.
    pub client_ca_pem: Vec<u8>,
}

/// A socket that is not listened on.
#[derive(Debug)]
pub enum ListenError {
    /// TCP without certificates would let everybody in.
    Insecure {
        /// The address.
        address: SocketAddr,
    },
    /// Somebody else serves that path.
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The certificates.
    Tls {
        /// What is wrong with them.
        why: String,
    },
    /// The socket.
    Io {
        /// Where.
        place: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A socket that clients come to.
pub struct Listener(Kind);

enum Kind {
    Unix(UnixListener),
    Tls(TcpListener, TlsAcceptor),
}

/// A client that has come.
pub(crate) enum Accepted {
    Unix(UnixStream),
    Tls(Handshake),
}

/// A client that has yet to prove who it is.
pub(crate) struct Handshake {
    stream: TcpStream,
    acceptor: TlsAcceptor,
}

impl Listener {
    /// Begins to listen. A socket that nobody serves any more is replaced.
    pub fn bind(address: &Address) -> Result<Self, ListenError> {
        match address {
            Address::Unix { path, group } => {
                let failed = |source| ListenError::Io { place: path.display().to_string(), source };
                if is_served(path) {
                    return Err(ListenError::InUse { path: path.clone() });
                }
                bind_unix(path, *group).map(|listener| Self(Kind::Unix(listener))).map_err(failed)
            }
            Address::Tcp { address, tls: None } => Err(ListenError::Insecure { address: *address }),
            Address::Tcp { address, tls: Some(identity) } => {
                let acceptor = identity.acceptor()?;
                let bound = std::net::TcpListener::bind(address).and_then(|listener| {
                    listener.set_nonblocking(true)?;
                    TcpListener::from_std(listener)
                });
                bound
                    .map(|listener| Self(Kind::Tls(listener, acceptor)))
                    .map_err(|source| ListenError::Io { place: address.to_string(), source })
            }
        }
    }

    /// Takes a unix socket over that somebody else listens on for us, as systemd does.
    pub fn from_unix(listener: StdUnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self(Kind::Unix(UnixListener::from_std(listener)?)))
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match &self.0 {
            Kind::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
            Kind::Tls(listener, acceptor) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Accepted::Tls(Handshake { stream, acceptor: acceptor.clone() }))
            }
        }
    }
}

impl Handshake {
    pub(crate) async fn finish(self) -> io::Result<TlsStream<TcpStream>> {
        let accepted = self.acceptor.accept(self.stream);
        tokio::time::timeout(HANDSHAKE_TIMEOUT, accepted).await.map_err(io::Error::from)?
    }
}

impl Transport for TlsStream<TcpStream> {
    fn into_socket(self) -> io::Result<std::os::fd::OwnedFd> {
        relay(self)
    }
}

impl TlsIdentity {
    fn acceptor(&self) -> Result<TlsAcceptor, ListenError> {
        let wrong = |why: String| ListenError::Tls { why };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&self.client_ca_pem) {
            let certificate =
                certificate.map_err(|e| wrong(format!("certificate authority: {e}")))?;
            roots.add(certificate).map_err(|e| wrong(format!("certificate authority: {e}")))?;
        }
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&self.certificates_pem).collect();
        let chain = chain.map_err(|error| wrong(format!("certificate: {error}")))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key_pem);
        let key = key.map_err(|error| wrong(format!("key: {error}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let verifier = verifier.map_err(|e| wrong(format!("certificate authority: {e}")))?;
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| wrong(error.to_string()))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Whether somebody answers there.
fn is_served(path: &Path) -> bool {
    StdUnixStream::connect(path).is_ok()
}

fn bind_unix(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there and no socket"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    // Nobody can connect before it listens, whatever its mode is until then.
    chmodat(CWD, path, Mode::from_raw_mode(0o660), AtFlags::empty())?;
    if let Some(group) = group {
        chownat(CWD, path, None::<Uid>, Some(Gid::from_raw(group)), AtFlags::empty())?;
    }
    listen(&socket, BACKLOG)?;
    UnixListener::from_std(StdUnixListener::from(socket))
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Insecure { address } => write!(
                f,
                "listen on tcp://{address}: refused without TLS and client certificates, because whoever \
                 can connect is root here; use --tlsverify with --tlscacert, --tlscert and --tlskey"
            ),
            Self::InUse { path } => {
                write!(f, "listen on {}: another engine serves it", path.display())
            }
            Self::Tls { why } => write!(f, "TLS: {why}"),
            Self::Io { place, source } => write!(f, "listen on {place}: {source}"),
        }
    }
}

impl std::error::Error for ListenError {}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Unix(listener) => listener.fmt(f),
            Kind::Tls(listener, _) => listener.fmt(f),
        }
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("dhow-listen-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn unix(&self) -> Address {
            Address::Unix { path: self.0.join("s"), group: None }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_no_obstacle_and_a_live_one_is() {
        let scratch = Scratch::new("stale");
        let listener = Listener::bind(&scratch.unix()).unwrap();
        let mode = std::fs::metadata(scratch.0.join("s")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(matches!(Listener::bind(&scratch.unix()), Err(ListenError::InUse { .. })));
        drop(listener);
        Listener::bind(&scratch.unix()).unwrap();
    }

    #[tokio::test]
    async fn files_are_not_replaced() {
        let scratch = Scratch::new("file");
        std::fs::write(scratch.0.join("s"), "precious").unwrap();
        assert!(matches!(Listener::bind(&scratch.unix()), Err(ListenError::Io { .. })));
    }

    #[tokio::test]
    async fn tcp_needs_certificates() {
        let address = Address::Tcp { address: ([127, 0, 0, 1], 0).into(), tls: None };
        let error = Listener::bind(&address).unwrap_err().to_string();
        assert!(error.contains("--tlsverify"), "{error}");
        let tls = TlsIdentity {
            certificates_pem: b"no".to_vec(),
            key_pem: Vec::new(),
            client_ca_pem: Vec::new(),
        };
        let address = Address::Tcp { address: ([127, 0, 0, 1], 0).into(), tls: Some(tls) };
        assert!(matches!(Listener::bind(&address), Err(ListenError::Tls { .. })));
    }
}
