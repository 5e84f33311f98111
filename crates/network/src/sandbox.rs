//! What is asked for and what is given: sandboxes, their endpoints, their ports. Values only.
//!
//! Invariant: a [`SandboxId`] is a file name of its own and nothing else. Absent on purpose: container
//! names in any role but that of a word in an error, host names, and the contents of hosts and
//! resolv.conf, which are the engine's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address::{Mac, Subnet};
use crate::error::NetworkError;

/// The name of the network that every engine has.
pub const DEFAULT_NETWORK: &str = "bridge";

/// A sandbox's name, which is its container's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SandboxId(String);

impl SandboxId {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SandboxId {
    type Err = NetworkError;

    /// Letters, digits, `-` and `_`, at most 128 of them.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        match (1..=128).contains(&text.len()) && text.bytes().all(good) {
            true => Ok(Self(text.to_owned())),
            false => Err(NetworkError::InvalidId { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<SandboxId> for String {
    fn from(id: SandboxId) -> Self {
        id.0
    }
}

impl TryFrom<String> for SandboxId {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

/// What a sandbox is to be.
#[derive(Debug, Clone)]
pub struct SandboxRequest {
    /// Its name.
    pub id: SandboxId,
    /// What errors call its endpoint: the container's name, without a slash.
    pub name: String,
    /// Its place in a network; without one it has its loopback device alone (`--network none`).
    pub endpoint: Option<EndpointRequest>,
}

/// What an endpoint is to be.
#[derive(Debug, Clone)]
pub struct EndpointRequest {
    /// The network's name; today there is [`DEFAULT_NETWORK`].
    pub network: String,
    /// The link's address; otherwise it follows from the endpoint's.
    pub mac: Option<Mac>,
    /// The address; otherwise a free one.
    pub ipv4: Option<Ipv4Addr>,
    /// What is published.
    pub ports: Vec<PortMapping>,
}

/// A port of a container that shall be reachable at one of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortMapping {
    /// The container's port.
    pub container_port: u16,
    /// Of which protocol.
    pub protocol: Protocol,
    /// At which of the host's addresses; all of them if none is named or `0.0.0.0`.
    pub host_ip: Option<IpAddr>,
    /// Of which of the host's ports, the first that is free from the one to the other; any free one if
    /// nothing is said. Docker's `0` is `None` here.
    pub host_port: Option<(u16, u16)>,
}

/// Protocols with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
    /// Stream Control Transmission Protocol.
    Sctp,
}

impl Protocol {
    /// Its number in IP headers.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl FromStr for Protocol {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let all = [Self::Tcp, Self::Udp, Self::Sctp];
        let found = all.into_iter().find(|protocol| text.eq_ignore_ascii_case(protocol.word()));
        found.ok_or_else(|| NetworkError::InvalidProtocol { text: text.to_owned() })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A network namespace that outlives every process, with what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Its name.
    pub id: SandboxId,
    /// Where its namespace is mounted: what a runtime specification names, and what others join.
    pub path: PathBuf,
    /// Its places in networks; none of `--network none`.
    pub endpoints: Vec<Endpoint>,
}

/// A sandbox's place in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's name.
    pub network: String,
    /// The device inside.
    pub interface: String,
    /// Its link's address.
    pub mac: Mac,
    /// Its address.
    pub ipv4: Ipv4Addr,
    /// How many bits of it are the network's.
    pub prefix: u8,
    /// The host's address in the network, and the way to everything else.
    pub gateway: Ipv4Addr,
    /// What is published, in the order of the request, with the ports that were chosen.
    pub ports: Vec<BoundPort>,
}

/// A published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BoundPort {
    /// The container's port.
    pub container_port: u16,
    /// Of which protocol.
    pub protocol: Protocol,
    /// At which of the host's addresses; `0.0.0.0` is each.
    pub host_ip: IpAddr,
    /// Of which of the host's ports.
    pub host_port: u16,
}

/// A network as it is on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkDetails {
    /// Its name.
    pub name: String,
    /// The bridge's device.
    pub interface: String,
    /// The addresses of its endpoints.
    pub subnet: Subnet,
    /// The host's among them.
    pub gateway: Ipv4Addr,
    /// The largest packet.
    pub mtu: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_file_name() {
        assert!("a".repeat(64).parse::<SandboxId>().is_ok());
        for bad in ["", ".", "..", "a/b", "a.b", "ä", " "] {
            assert!(bad.parse::<SandboxId>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(129).parse::<SandboxId>().is_err());
    }

    #[test]
    fn protocols_are_docker_s() {
        assert_eq!("TCP".parse::<Protocol>().unwrap(), Protocol::Tcp);
        assert_eq!("sctp".parse::<Protocol>().unwrap().to_string(), "sctp");
        assert!("icmp".parse::<Protocol>().is_err());
    }
}
