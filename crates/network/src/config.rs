//! A network as it is to be: what was asked for, and what of it was settled when it was made.
//!
//! Invariant: a [`NetworkConfig`] is complete: the same one makes the same network again, after a reboot as
//! well. The engine keeps it; absent fields of older records have their defaults.
//! Absent on purpose: labels, scopes and whatever else means nothing to the kernel.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::address::Subnet;
use crate::options::{Ipvlan, Macvlan};
use crate::sandbox::DEFAULT_NETWORK;

/// The largest packet wherever nothing else is said.
pub(crate) const MTU: u32 = 1500;
/// What devices inside are called, with a number behind it.
pub(crate) const INTERFACE_PREFIX: &str = "eth";

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct NetworkRequest {
    /// Its id, 64 hexadecimal digits.
    pub key: String,
    /// Its name, for the words of errors and for reverse look-ups.
    pub name: String,
    /// `bridge` (or nothing), `macvlan`, `ipvlan`.
    pub driver: String,
    /// The driver's options, as users write them.
    pub options: BTreeMap<String, String>,
    /// Whether it has IPv4; it has unless that is denied.
    pub ipv4: Option<bool>,
    /// Whether it has IPv6; a subnet of it says so, too.
    pub ipv6: Option<bool>,
    /// Nothing in it has a way to anywhere else.
    pub internal: bool,
    /// Wanted subnets, at most one of each kind.
    pub pools: Vec<PoolRequest>,
}

/// A subnet as it is asked for, in the words of users.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolRequest {
    /// The subnet; nothing for one that is nobody's.
    pub subnet: String,
    /// The part of it that addresses come from.
    pub range: String,
    /// The host's address; the first otherwise.
    pub gateway: String,
    /// Addresses that no container gets, by what they are for.
    pub auxiliary: BTreeMap<String, String>,
}

/// The addresses of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// All of them.
    pub subnet: Subnet,
    /// The part that addresses are chosen from where nobody asks for a certain one.
    #[serde(default)]
    pub range: Option<Subnet>,
    /// The way to everywhere else.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// Addresses that no container gets, by what they are for.
    #[serde(default)]
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// How the world reaches a network and is reached from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayMode {
    /// Behind the host's addresses; published ports lead in.
    #[default]
    Nat,
    /// The same, and whoever routes to it reaches every port.
    NatUnprotected,
    /// By its own addresses; published ports are open, at the container's address.
    Routed,
    /// Not at all: the host itself has no address in it.
    Isolated,
}

/// What a network is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "driver")]
pub enum Kind {
    /// A bridge of the host.
    Bridge,
    /// Devices beside one of the host's, with link addresses of their own.
    Macvlan {
        /// The host's device; a dummy where empty.
        parent: String,
        /// Who reaches whom.
        mode: Macvlan,
    },
    /// Devices that share the link address of one of the host's.
    Ipvlan {
        /// The host's device; a dummy where empty.
        parent: String,
        /// On which layer.
        mode: Ipvlan,
    },
}

/// A network, settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// Its id; [`DEFAULT_NETWORK`] for that one.
    pub key: String,
    /// Its name.
    pub name: String,
    /// What it is made of.
    pub kind: Kind,
    /// The bridge's device; of others the parent.
    pub interface: String,
    /// The device was there before, and stays.
    #[serde(default)]
    pub is_foreign: bool,
    /// The largest packet.
    pub mtu: u32,
    /// Its addresses of IPv4, if it has any.
    pub ipv4: Option<Addresses>,
    /// Its addresses of IPv6, if it has any.
    pub ipv6: Option<Addresses>,
    /// Nothing in it has a way to anywhere else.
    #[serde(default)]
    pub internal: bool,
    /// Its containers reach each other.
    pub icc: bool,
    /// What leaves it comes from the host's address.
    pub masquerade: bool,
    /// How IPv4 gets in and out.
    #[serde(default)]
    pub mode4: GatewayMode,
    /// How IPv6 gets in and out.
    #[serde(default)]
    pub mode6: GatewayMode,
    /// Where ports are published if nothing is said.
    #[serde(default)]
    pub binding: Option<Ipv4Addr>,
    /// The host has no IPv4 address in it.
    #[serde(default)]
    pub inhibit_ipv4: bool,
    /// What devices inside are called, with a number behind it.
    pub interface_prefix: String,
    /// What each of its containers may send and receive, in bytes a second; zero is without bound.
    #[serde(default)]
    pub rate: Rate,
}

/// Bounds on what a container sends and receives in a network, in bytes a second; zero is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rate {
    /// What it may receive.
    pub inward: u64,
    /// What it may send.
    pub outward: u64,
}

impl Rate {
    /// Reads bytes a second: `125000`, `1mbit`, `10mbps`, as traffic control has them.
    pub fn parse(text: &str) -> Option<u64> {
        crate::options::rate(text).ok()
    }
}

impl NetworkConfig {
    /// Whether it is the one that every engine has.
    pub fn is_default(&self) -> bool {
        self.key == DEFAULT_NETWORK
    }

    /// Whether containers in it ask us for names.
    pub fn resolves(&self) -> bool {
        !self.is_default()
    }

    /// Its addresses, of each kind that it has.
    pub fn addresses(&self) -> impl Iterator<Item = &Addresses> {
        self.ipv4.iter().chain(&self.ipv6)
    }

    /// How a kind of addresses gets in and out.
    pub(crate) fn mode(&self, is_ipv6: bool) -> GatewayMode {
        if is_ipv6 { self.mode6 } else { self.mode4 }
    }

    /// The host's address of a kind, if it has one there.
    pub(crate) fn host_address(&self, of: &Addresses) -> Option<IpAddr> {
        let is_ipv6 = of.subnet.is_ipv6();
        let absent = self.mode(is_ipv6) == GatewayMode::Isolated
            || self.inhibit_ipv4 && !is_ipv6
            || !matches!(self.kind, Kind::Bridge);
        of.gateway.filter(|_| !absent)
    }

    /// The way out for a container, if there is one.
    pub(crate) fn gateway(&self, is_ipv6: bool) -> Option<IpAddr> {
        let addresses = if is_ipv6 { &self.ipv6 } else { &self.ipv4 };
        let isolated = self.mode(is_ipv6) == GatewayMode::Isolated;
        addresses.as_ref()?.gateway.filter(|_| !self.internal && !isolated)
    }

    /// The default one, as an engine's settings have it.
    pub(crate) fn default(interface: String, subnet: Subnet) -> Self {
        Self {
            key: DEFAULT_NETWORK.to_owned(),
            name: DEFAULT_NETWORK.to_owned(),
            kind: Kind::Bridge,
            interface,
            is_foreign: false,
            mtu: MTU,
            ipv4: Some(Addresses {
                subnet,
                range: None,
                gateway: subnet.nth(1),
                auxiliary: BTreeMap::new(),
            }),
            ipv6: None,
            internal: false,
            icc: true,
            masquerade: true,
            mode4: GatewayMode::Nat,
            mode6: GatewayMode::Nat,
            binding: None,
            inhibit_ipv4: false,
            interface_prefix: INTERFACE_PREFIX.to_owned(),
            rate: Rate::default(),
        }
    }
}
