//! What is asked for and what is given: sandboxes, their endpoints, their ports. Values only.
//!
//! Invariant: a [`SandboxId`] is a file name of its own and nothing else. Absent on purpose: container
//! names in any role but that of a word in an error, host names, and the contents of hosts and
//! resolv.conf, which are the engine's.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address::Mac;
use crate::config::Rate;
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
    /// Its places in networks, the first as `eth0`; without any it has its loopback device alone
    /// (`--network none`).
    pub endpoints: Vec<EndpointRequest>,
    /// What is published, by way of the network that leads out.
    pub ports: Vec<PortMapping>,
}

/// What an endpoint is to be.
#[derive(Debug, Clone, Default)]
pub struct EndpointRequest {
    /// The network's key: its id, or [`DEFAULT_NETWORK`].
    pub network: String,
    /// The link's address; otherwise it follows from the endpoint's.
    pub mac: Option<Mac>,
    /// The address; otherwise a free one.
    pub ipv4: Option<Ipv4Addr>,
    /// The address of the newer kind; otherwise a free one.
    pub ipv6: Option<Ipv6Addr>,
    /// More addresses, for the link alone.
    pub link_local: Vec<IpAddr>,
    /// Which network leads out: the highest, then the first by its name.
    pub gateway_priority: i64,
    /// What its device is called; `eth0` and so on otherwise.
    pub interface: Option<String>,
    /// Settings of the device, by their names in `/proc/sys` with `IFNAME` for the device.
    pub sysctls: Vec<(String, String)>,
    /// Bounds besides those of the network.
    pub rate: Rate,
}

/// A port of a container that shall be reachable at one of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortMapping {
    /// The container's port.
    pub container_port: u16,
    /// Of which protocol.
    pub protocol: Protocol,
    /// At which of the host's addresses; all of them if none is named.
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

/// A port that no rule can redirect: whoever watches over the container listens there and passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Forward {
    /// Of which protocol.
    pub protocol: Protocol,
    /// Where, on the host.
    pub listen: SocketAddr,
    /// Where to.
    pub target: SocketAddr,
}

impl Forward {
    /// Reads what was written to a file; none, if there is none.
    pub fn read(path: &Path) -> io::Result<Vec<Self>> {
        match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            bytes => Ok(serde_json::from_slice(&bytes?)?),
        }
    }

    /// Replaces a file by these; none take it away.
    pub fn write(path: &Path, all: &[Self]) -> io::Result<()> {
        if !all.is_empty() {
            return crate::names::replace(path, &serde_json::to_vec(all)?);
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Sandbox {
    /// Published ports that somebody has to listen at.
    pub fn forwards(&self) -> Vec<Forward> {
        let all = self
            .endpoints
            .iter()
            .flat_map(|endpoint| endpoint.ports.iter().filter_map(|port| endpoint.forward(port)));
        all.collect()
    }
}

impl Endpoint {
    fn forward(&self, port: &BoundPort) -> Option<Forward> {
        let IpAddr::V6(host) = port.host_ip else { return None };
        // Those that rules redirect still cannot be reached by way of the loopback device.
        let listen = match (self.ipv6.is_some(), host.is_unspecified()) {
            (false, _) => host,
            (true, true) => Ipv6Addr::LOCALHOST,
            (true, false) if host.is_loopback() => host,
            (true, false) => return None,
        };
        let target = self.ipv4.map(IpAddr::V4).or(self.ipv6.map(IpAddr::V6))?;
        Some(Forward {
            protocol: port.protocol,
            listen: SocketAddr::new(listen.into(), port.host_port),
            target: SocketAddr::new(target, port.container_port),
        })
    }

    /// Its address of a kind.
    pub fn address(&self, is_ipv6: bool) -> Option<IpAddr> {
        match is_ipv6 {
            false => self.ipv4.map(IpAddr::V4),
            true => self.ipv6.map(IpAddr::V6),
        }
    }
}

/// A sandbox's place in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's key.
    pub network: String,
    /// The device inside.
    pub interface: String,
    /// Its link's address.
    pub mac: Mac,
    /// Its address.
    pub ipv4: Option<Ipv4Addr>,
    /// How many bits of it are the network's.
    pub prefix: u8,
    /// The way to everything else.
    pub gateway: Option<Ipv4Addr>,
    /// Its address of the newer kind.
    #[serde(default)]
    pub ipv6: Option<Ipv6Addr>,
    /// How many bits of that are the network's.
    #[serde(default)]
    pub prefix6: u8,
    /// The way to everything else of that kind.
    #[serde(default)]
    pub gateway6: Option<Ipv6Addr>,
    /// Which network leads out: the highest, then the first by its name.
    #[serde(default)]
    pub gateway_priority: i64,
    /// What is published by way of it, in the order of the request, with the ports that were chosen.
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
