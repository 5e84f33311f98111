//! Where the engine listens: `unix://PATH`, `tcp://HOST:PORT` with or without TLS, or behind `ssh://[USER@]HOST`.
//!
//! Absent on purpose: how the address was chosen (`config` does that).

use std::path::PathBuf;

/// An engine's address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Endpoint {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
    Ssh(SshHost),
}

/// A machine that `ssh` reaches.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct SshHost {
    pub(crate) user: Option<String>,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// The engine's socket over there, if it is not the usual one.
    pub(crate) socket: Option<String>,
}

/// Why a text is no address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum EndpointError {
    Scheme { address: String },
    Port { address: String, port: String },
    HostMissing { address: String },
    PathMissing { address: String },
    Password { address: String },
}

impl std::fmt::Display for EndpointError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EndpointError::Scheme { address } => {
                write!(
                    out,
                    "invalid host {address:?}: only unix://, tcp:// and ssh:// are supported"
                )
            }
            EndpointError::Password { address } => {
                write!(out, "invalid host {address:?}: ssh takes no password from an address")
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
            "ssh" => ssh(address, rest),
            "tcp" | "http" | "https" => tcp(address, rest.trim_end_matches('/'), tls),
            _ => Err(EndpointError::Scheme { address }),
        }
    }
}

fn ssh(address: String, rest: &str) -> Result<Endpoint, EndpointError> {
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, place) = match place.rsplit_once('@') {
        Some((user, place)) => (Some(user.to_owned()), place),
        None => (None, place),
    };
    if user.as_deref().is_some_and(|user| user.contains(':')) {
        return Err(EndpointError::Password { address });
    }
    let colon = place.rfind(':').filter(|at| !place[*at..].contains(']'));
    let (host, port) = match colon {
        Some(at) => (&place[..at], Some(&place[at + 1..])),
        None => (place, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    // A name that begins so would be an option of ssh's.
    if host.is_empty() || host.starts_with('-') {
        return Err(EndpointError::HostMissing { address });
    }
    let read = |port: &str| {
        port.parse()
            .map_err(|_| EndpointError::Port { address: address.clone(), port: port.to_owned() })
    };
    let port = port.map(read).transpose()?;
    let socket = Some(path).filter(|path| !path.is_empty()).map(|path| format!("/{path}"));
    Ok(Endpoint::Ssh(SshHost { user, host, port, socket }))
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
            Endpoint::Ssh(SshHost { user, host, port, socket }) => {
                out.write_str("ssh://")?;
                if let Some(user) = user {
                    write!(out, "{user}@")?;
                }
                out.write_str(host)?;
                if let Some(port) = port {
                    write!(out, ":{port}")?;
                }
                out.write_str(socket.as_deref().unwrap_or_default())
            }
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
            ("ssh://me@host:22/run/x.sock", false, "ssh://me@host:22/run/x.sock"),
            ("ssh://host", false, "ssh://host"),
        ] {
            assert_eq!(Endpoint::parse(text, tls).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn wrong_addresses_say_why() {
        for (text, message) in [
            ("tcp://1.2.3.4:x", "parse \"tcp://1.2.3.4:x\": invalid port \":x\" after host"),
            (
                "npipe://a",
                "invalid host \"npipe://a\": only unix://, tcp:// and ssh:// are supported",
            ),
            ("ssh://-o", "invalid host \"ssh://-o\": no host name"),
            ("ssh://a:b@c", "invalid host \"ssh://a:b@c\": ssh takes no password from an address"),
            ("unix://", "invalid host \"unix://\": no path of a socket"),
            ("tcp://", "invalid host \"tcp://\": no host name"),
        ] {
            assert_eq!(Endpoint::parse(text, false).unwrap_err().to_string(), message);
        }
    }
}
