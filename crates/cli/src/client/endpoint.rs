//! Where the engine listens: `unix://PATH` or `tcp://HOST:PORT`, with or without TLS.
//!
//! Absent on purpose: how the address was chosen (`config` does that), and `ssh://`, which is refused
//! by name.

use std::path::PathBuf;

/// An engine's address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Endpoint {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
}

/// Why a text is no address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum EndpointError {
    Scheme { address: String },
    Port { address: String, port: String },
    HostMissing { address: String },
    PathMissing { address: String },
}

impl std::fmt::Display for EndpointError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EndpointError::Scheme { address } => {
                write!(out, "invalid host {address:?}: only unix:// and tcp:// are supported")
            }
            EndpointError::Port { address, port } => {
                write!(out, "parse {address:?}: invalid port \":{port}\" after host")
            }
            EndpointError::HostMissing { address } => {
                write!(out, "invalid host {address:?}: no host name")
            }
            EndpointError::PathMissing { address } => {
                write!(out, "invalid host {address:?}: no path of a socket")
            }
        }
    }
}

impl Endpoint {
    /// Reads an address as Docker's `--host` takes it; without a scheme it is TCP.
    pub(crate) fn parse(text: &str, tls: bool) -> Result<Endpoint, EndpointError> {
        let address = text.to_owned();
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match scheme {
            "unix" if rest.is_empty() => Err(EndpointError::PathMissing { address }),
            "unix" => Ok(Endpoint::Unix(rest.into())),
            "tcp" | "http" | "https" => tcp(address, rest.trim_end_matches('/'), tls),
            _ => Err(EndpointError::Scheme { address }),
        }
    }
}

fn tcp(address: String, rest: &str, tls: bool) -> Result<Endpoint, EndpointError> {
    let default = if tls { 2376 } else { 2375 };
    let colon = rest.rfind(':').filter(|place| !rest[*place..].contains(']'));
    let (host, port) = match colon {
        Some(place) => (&rest[..place], Some(&rest[place + 1..])),
        None => (rest, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() && port.is_none() {
        return Err(EndpointError::HostMissing { address });
    }
    let port = match port.filter(|port| !port.is_empty()) {
        None => default,
        Some(port) => {
            port.parse().map_err(|_| EndpointError::Port { address, port: port.to_owned() })?
        }
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok(Endpoint::Tcp { host: host.to_owned(), port })
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(out, "unix://{}", path.display()),
            Endpoint::Tcp { host, port } if host.contains(':') => {
                write!(out, "tcp://[{host}]:{port}")
            }
            Endpoint::Tcp { host, port } => write!(out, "tcp://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_all_spellings() {
        for (text, tls, expected) in [
            ("unix:///run/x.sock", false, "unix:///run/x.sock"),
            ("tcp://host", false, "tcp://host:2375"),
            ("tcp://host", true, "tcp://host:2376"),
            ("host:1234", false, "tcp://host:1234"),
            (":1234", false, "tcp://127.0.0.1:1234"),
            ("tcp://[::1]:99", false, "tcp://[::1]:99"),
            ("tcp://[::1]", false, "tcp://[::1]:2375"),
        ] {
            assert_eq!(Endpoint::parse(text, tls).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn wrong_addresses_say_why() {
        for (text, message) in [
            ("tcp://1.2.3.4:x", "parse \"tcp://1.2.3.4:x\": invalid port \":x\" after host"),
            ("ssh://a", "invalid host \"ssh://a\": only unix:// and tcp:// are supported"),
            ("unix://", "invalid host \"unix://\": no path of a socket"),
            ("tcp://", "invalid host \"tcp://\": no host name"),
        ] {
            assert_eq!(Endpoint::parse(text, false).unwrap_err().to_string(), message);
        }
    }
}
