//! Every failure of networks, and its words.
//!
//! Invariant: what users and scripts know from Docker is worded as there; all else is one line with its
//! object. Absent on purpose: HTTP statuses, which follow from [`NetworkClass`] elsewhere.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use dhow_sys::NetlinkError;

use crate::address::Subnet;
use crate::sandbox::{Protocol, SandboxId};

/// Why something with a network failed.
#[derive(Debug)]
pub enum NetworkError {
    /// A sandbox's name is no file name.
    InvalidId {
        /// What was given.
        text: String,
    },
    /// No protocol with ports is called so.
    InvalidProtocol {
        /// What was given.
        text: String,
    },
    /// A published range ends before it begins, or has no port.
    InvalidPorts {
        /// Its first port.
        first: u16,
        /// Its last port.
        last: u16,
    },
    /// There is no network of this name.
    UnknownNetwork {
        /// The name.
        name: String,
    },
    /// There is no sandbox of this name, or it is no longer whole.
    UnknownSandbox {
        /// The name.
        id: SandboxId,
    },
    /// There is a sandbox of this name.
    SandboxExists {
        /// The name.
        id: SandboxId,
    },
    /// Somebody is making or removing the sandbox.
    Busy {
        /// The name.
        id: SandboxId,
    },
    /// The network has no driver of ours.
    UnknownDriver {
        /// What was given.
        driver: String,
    },
    /// No driver of ours knows the option.
    UnknownOption {
        /// Its name.
        name: String,
    },
    /// The option has no such value.
    InvalidOption {
        /// Its name.
        name: String,
        /// What was given.
        value: String,
    },
    /// An address, subnet, range or gateway that was asked for cannot be.
    InvalidAddresses {
        /// In Docker's words.
        words: String,
    },
    /// The network has no kind of addresses at all.
    NoAddresses,
    /// A bridge has one subnet of each kind.
    SeveralSubnets,
    /// The subnet is, in part, another network's.
    Overlap {
        /// The subnet.
        subnet: Subnet,
    },
    /// The network has no addresses of the kind that was asked for.
    NoSuchKind {
        /// The address.
        address: IpAddr,
    },
    /// The sandbox is in the network already.
    Connected {
        /// The sandbox.
        id: SandboxId,
        /// The network.
        network: String,
    },
    /// The sandbox is not in the network.
    NotConnected {
        /// The sandbox.
        id: SandboxId,
        /// The network.
        network: String,
    },
    /// None of the sandbox's networks lets anybody in from outside.
    NoWayIn {
        /// The sandbox.
        id: SandboxId,
    },
    /// The network's parent is no device of the host.
    NoParent {
        /// What was given.
        parent: String,
    },
    /// The kernel has no devices of this kind.
    NoKind {
        /// Which.
        kind: &'static str,
    },
    /// The network has endpoints.
    InUse {
        /// Its name.
        name: String,
        /// Its key.
        key: String,
    },
    /// Programming ports failed.
    Publish {
        /// What the endpoint is called.
        name: String,
        /// Whose it is.
        id: SandboxId,
        /// Why.
        fault: PortFault,
    },
    /// Another endpoint has the address.
    AddressTaken {
        /// The address.
        address: IpAddr,
    },
    /// The address is none of the network's, or one that no endpoint can have.
    AddressOutside {
        /// The address.
        address: IpAddr,
    },
    /// All addresses are taken.
    NoAddress {
        /// The network's name.
        network: String,
        /// Of IPv6.
        is_ipv6: bool,
    },
    /// Every subnet that may be taken is somebody's.
    NoSubnet,
    /// A configured subnet cannot hold a gateway and an endpoint.
    SubnetTooSmall {
        /// The subnet.
        subnet: Subnet,
    },
    /// A device has the name of our bridge and is none.
    NoBridge {
        /// The name.
        interface: String,
    },
    /// The bridge that the default network is to use is not there.
    NoDefaultBridge {
        /// The name.
        interface: String,
    },
    /// The kernel refused a request.
    Netlink {
        /// What was being done, with its object.
        doing: String,
        /// What the kernel said.
        source: NetlinkError,
    },
    /// A file or mount could not be made, read or removed.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Why a port could not be published.
#[derive(Debug)]
pub enum PortFault {
    /// Another sandbox has it.
    Allocated {
        /// The host's address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// A program of the host has it, or the address is none of the host's.
    Bind {
        /// The host's address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// Where it was to lead.
        target: IpAddr,
        /// To which port.
        target_port: u16,
        /// Of which protocol.
        protocol: Protocol,
        /// What the kernel said.
        source: io::Error,
    },
    /// All ports that may be taken are.
    NoneFree,
}

/// What a failure means for whoever decides what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkClass {
    /// It is not there.
    NotFound,
    /// It can never work.
    Invalid,
    /// Something else has it.
    Conflict,
    /// What is there is against it; Docker's word for that is 403.
    Forbidden,
    /// It was understood, and is not to be had.
    Unsupported,
    /// Our own side, or the host's. Docker counts ports in use among these.
    Internal,
}

impl NetworkError {
    /// What it means.
    pub fn class(&self) -> NetworkClass {
        match self {
            Self::InvalidId { .. }
            | Self::InvalidProtocol { .. }
            | Self::InvalidPorts { .. }
            | Self::AddressOutside { .. }
            | Self::UnknownOption { .. }
            | Self::InvalidOption { .. }
            | Self::InvalidAddresses { .. }
            | Self::NoAddresses
            | Self::NoSuchKind { .. }
            | Self::NoParent { .. }
            | Self::NoDefaultBridge { .. }
            | Self::NoWayIn { .. }
            | Self::SubnetTooSmall { .. } => NetworkClass::Invalid,
            Self::UnknownNetwork { .. }
            | Self::UnknownDriver { .. }
            | Self::UnknownSandbox { .. } => NetworkClass::NotFound,
            Self::SandboxExists { .. } | Self::Busy { .. } => NetworkClass::Conflict,
            Self::InUse { .. }
            | Self::Overlap { .. }
            | Self::Connected { .. }
            | Self::AddressTaken { .. }
            | Self::SeveralSubnets => NetworkClass::Forbidden,
            Self::NoKind { .. } => NetworkClass::Unsupported,
            Self::NotConnected { .. }
            | Self::Publish { .. }
            | Self::NoAddress { .. }
            | Self::NoSubnet
            | Self::NoBridge { .. }
            | Self::Netlink { .. }
            | Self::Io { .. } => NetworkClass::Internal,
        }
    }

    pub(crate) fn netlink<E: Into<NetlinkError>>(
        doing: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Netlink { doing, source: source.into() }
    }

    pub(crate) fn io<E: Into<io::Error>>(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source: source.into() }
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidId { text } => write!(f, "invalid sandbox id: {text:?}"),
            Self::InvalidProtocol { text } => write!(f, "invalid proto: {text}"),
            Self::InvalidPorts { first, last } => {
                write!(f, "invalid range of host ports: {first}-{last}")
            }
            Self::UnknownNetwork { name } => write!(f, "network {name} not found"),
            Self::UnknownSandbox { id } => write!(f, "no such sandbox: {id}"),
            Self::SandboxExists { id } => write!(f, "sandbox {id} exists already"),
            Self::Busy { id } => write!(f, "sandbox {id} is being changed"),
            Self::UnknownDriver { driver } => {
                write!(f, "could not find plugin {driver} in v1 plugin registry: plugin not found")
            }
            Self::UnknownOption { name } => write!(f, "unknown network option: {name}"),
            Self::InvalidOption { name, value } => {
                write!(f, "invalid value for network option {name}: {value:?}")
            }
            Self::InvalidAddresses { words } => f.write_str(words),
            Self::NoAddresses => f.write_str("IPv4 or IPv6 must be enabled"),
            Self::SeveralSubnets => f.write_str("bridge driver doesn't support multiple subnets"),
            Self::Overlap { .. } => f.write_str(
                "invalid pool request: Pool overlaps with other one on this address space",
            ),
            Self::NoSuchKind { address } => write!(
                f,
                "user specified IP address {address} is supported only when connecting to networks with user configured subnets"
            ),
            Self::Connected { id, network } => {
                write!(f, "endpoint with name {id} already exists in network {network}")
            }
            Self::NotConnected { id, network } => {
                write!(f, "container {id} is not connected to network {network}")
            }
            Self::NoWayIn { id } => {
                write!(f, "none of the networks of container {id} can publish ports")
            }
            Self::NoParent { parent } => write!(f, "the parent device {parent} was not found"),
            Self::NoKind { kind } => write!(f, "this kernel has no devices of the kind {kind}"),
            Self::InUse { name, key } => {
                write!(
                    f,
                    "error while removing network: network {name} id {key} has active endpoints"
                )
            }
            Self::Publish { name, id, fault } => write!(
                f,
                "driver failed programming external connectivity on endpoint {name} ({id}): {fault}"
            ),
            Self::AddressTaken { .. } => f.write_str("Address already in use"),
            Self::AddressOutside { address } => {
                write!(f, "no configured subnet or ip range contain the IP address {address}")
            }
            Self::NoAddress { network, is_ipv6 } => {
                let kind = if *is_ipv6 { "IPv6" } else { "IPv4" };
                write!(
                    f,
                    "no available {kind} addresses on this network's address pools: {network}"
                )
            }
            Self::NoSubnet => f.write_str(
                "could not find an available, non-overlapping IPv4 address pool among the defaults \
                 to assign to the network",
            ),
            Self::SubnetTooSmall { subnet } => {
                write!(f, "subnet {subnet} has no room for a gateway and a container")
            }
            Self::NoBridge { interface } => {
                write!(f, "the device {interface} is somebody else's, and no bridge")
            }
            Self::NoDefaultBridge { interface } => {
                write!(
                    f,
                    "bridge device with non default name {interface} must be created manually"
                )
            }
            Self::Netlink { doing, source } => write!(f, "{doing}: {source}"),
            Self::Io { doing, path, source } => write!(f, "{doing} {}: {source}", path.display()),
        }
    }
}

impl fmt::Display for PortFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allocated { address, port } => {
                write!(f, "Bind for {address}:{port} failed: port is already allocated")
            }
            Self::Bind { address, port, target, target_port, protocol, source } => {
                let from = format_args!("{address}:{port}:{target}:{target_port}/{protocol}");
                write!(f, "failed to bind host port for {from}: ")?;
                match source.kind() {
                    io::ErrorKind::AddrInUse => f.write_str("address already in use"),
                    io::ErrorKind::AddrNotAvailable => {
                        f.write_str("cannot assign requested address")
                    }
                    _ => write!(f, "{source}"),
                }
            }
            Self::NoneFree => f.write_str("all ports are allocated"),
        }
    }
}

impl std::error::Error for NetworkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Netlink { source, .. } => Some(source),
            Self::Io { source, .. } => Some(source),
            Self::Publish { fault, .. } => Some(fault),
            _ => None,
        }
    }
}

impl std::error::Error for PortFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } => Some(source),
            Self::Allocated { .. } | Self::NoneFree => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(fault: PortFault) -> String {
        let id = "abc".parse().unwrap();
        NetworkError::Publish { name: "web".to_owned(), id, fault }.to_string()
    }

    #[test]
    fn ports_fail_in_docker_s_words() {
        let address = IpAddr::from([0, 0, 0, 0]);
        let words = "driver failed programming external connectivity on endpoint web (abc): ";
        assert_eq!(
            port(PortFault::Allocated { address, port: 80 }),
            format!("{words}Bind for 0.0.0.0:80 failed: port is already allocated")
        );
        let fault = PortFault::Bind {
            address,
            port: 80,
            target: IpAddr::from([172, 17, 0, 2]),
            target_port: 8080,
            protocol: Protocol::Tcp,
            source: io::ErrorKind::AddrInUse.into(),
        };
        let words = format!("{words}failed to bind host port for 0.0.0.0:80:172.17.0.2:8080/tcp: ");
        assert_eq!(port(fault), format!("{words}address already in use"));
    }
}
