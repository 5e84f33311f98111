//! Why there is no connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectFault {
    /// The name leads nowhere.
    Lookup {
        /// The name.
        host: String,
        /// What the resolver said; nothing if it just knows no address.
        source: Option<io::Error>,
    },
    /// No address answers; this is the last that was tried.
    Connect {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// It takes too long.
    TimedOut {
        /// How long we waited.
        after: Duration,
    },
    /// The other side does not prove who it is, or does not accept who we are.
    Tls(rustls::Error),
    /// The other side does not speak TLS at all.
    PlainHttp,
    /// The connection broke before it stood.
    Handshake(io::Error),
    /// The proxy does not let us through.
    Proxy {
        /// The proxy.
        proxy: String,
        /// Its HTTP status; absent if it speaks no HTTP.
        status: Option<u16>,
    },
    /// The address cannot be used.
    Address {
        /// The address.
        text: String,
    },
}

impl ConnectFault {
    /// Whether the same may work a moment later; proofs do not get better by waiting.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Lookup { .. } | Self::Connect { .. } | Self::TimedOut { .. } => true,
            Self::Handshake(_) => true,
            Self::Proxy { status, .. } => status.is_none_or(|status| status >= 500),
            Self::Tls(_) | Self::PlainHttp | Self::Address { .. } => false,
        }
    }

    /// What the user can do about it, where that is not plain to see.
    pub(crate) fn remedy(&self, host: &str) -> Option<String> {
        use rustls::CertificateError as Bad;
        match self {
            Self::PlainHttp => Some(format!("list {host} in insecure-registries if that is meant")),
            Self::Tls(rustls::Error::InvalidCertificate(
                Bad::UnknownIssuer | Bad::BadSignature,
            )) => {
                let place = format!("certs.d/{host}/ca.crt");
                Some(format!(
                    "put its authority into {place}, or list {host} in insecure-registries"
                ))
            }
            _ => None,
        }
    }

    /// From what a TLS handshake ended with.
    pub(crate) fn of_handshake(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            // What bytes of HTTP look like to who expects a record of TLS.
            Some(rustls::Error::InvalidMessage(
                rustls::InvalidMessage::InvalidContentType
                | rustls::InvalidMessage::UnknownProtocolVersion,
            )) => Self::PlainHttp,
            Some(inner) => Self::Tls(inner.clone()),
            None => Self::Handshake(error),
        }
    }
}

/// Go's words where people look for them.
impl fmt::Display for ConnectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use rustls::CertificateError as Bad;
        match self {
            Self::Lookup { host, source: None } => write!(f, "lookup {host}: no such host"),
            Self::Lookup { host, source: Some(source) } => {
                write!(f, "lookup {host}: no such host: {source}")
            }
            Self::Connect { address, source } => {
                write!(f, "dial tcp {address}: connect: {}", plain(source))
            }
            Self::TimedOut { after } => write!(f, "i/o timeout after {} s", after.as_secs_f64()),
            // A bad signature is that of another authority by the same name.
            Self::Tls(rustls::Error::InvalidCertificate(
                Bad::UnknownIssuer | Bad::BadSignature,
            )) => f.write_str("x509: certificate signed by unknown authority"),
            Self::Tls(rustls::Error::InvalidCertificate(
                Bad::Expired
                | Bad::ExpiredContext { .. }
                | Bad::NotValidYet
                | Bad::NotValidYetContext { .. },
            )) => f.write_str("x509: certificate has expired or is not yet valid"),
            Self::Tls(rustls::Error::InvalidCertificate(
                Bad::NotValidForName | Bad::NotValidForNameContext { .. },
            )) => f.write_str("x509: certificate is valid for other names"),
            Self::Tls(error) => write!(f, "tls: {error}"),
            Self::PlainHttp => f.write_str("http: server gave HTTP response to HTTPS client"),
            Self::Handshake(source) => write!(f, "tls: {}", plain(source)),
            Self::Proxy { proxy, status: Some(407) } => {
                write!(f, "proxy {proxy} wants a name and a password (407)")
            }
            Self::Proxy { proxy, status: Some(status) } => {
                write!(f, "proxy {proxy} refuses the connection ({status})")
            }
            Self::Proxy { proxy, status: None } => write!(f, "proxy {proxy} speaks no HTTP"),
            Self::Address { text } => write!(f, "{text:?} is no address"),
        }
    }
}

/// The system's words without its number, in lower case as Go has them.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

impl std::error::Error for ConnectFault {}
