//! A network as it is to be: what was asked for, and what of it was settled when it was made.
//!
//! Invariant: a [`NetworkConfig`] is complete: the same one makes the same network again, after a reboot as
//! well. The engine keeps it; absent fields of older records have their defaults.
//! Absent on purpose: labels, scopes and whatever else means nothing to the kernel.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address::{AddressFault, HostAddress, Subnet};
use crate::error::NetworkError;
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
    /// Wanted subnets; of bridges at most one of each kind.
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
    /// The host's own address, where somebody else is the way to everywhere.
    #[serde(default)]
    pub host: Option<IpAddr>,
    /// Addresses that no container gets, by what they are for.
    #[serde(default)]
    pub auxiliary: BTreeMap<String, IpAddr>,
}

impl Addresses {
    /// The host's own address in the network.
    pub fn own(&self) -> Option<IpAddr> {
        self.host.or(self.gateway)
    }

    /// What no container gets.
    pub(crate) fn reserved(&self) -> impl Iterator<Item = IpAddr> {
        let ours = self.host.iter().chain(&self.gateway);
        ours.chain(self.auxiliary.values()).copied()
    }
}

/// Where subnets come from that nobody chose: `--default-address-pool base=10.10.0.0/16,size=24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool {
    /// All of them together.
    pub base: Subnet,
    /// The prefix of each.
    pub size: u8,
}

impl AddressPool {
    /// How many are looked at before a pool counts as taken.
    const LOOKS_MAX: u128 = 1 << 16;

    /// Each subnet, in order.
    pub(crate) fn subnets(self) -> impl Iterator<Item = Subnet> {
        let width = if self.base.is_ipv6() { 128 } else { 32 };
        let count = 1u128.checked_shl(u32::from(self.size - self.base.prefix()));
        (0..count.unwrap_or(u128::MAX).min(Self::LOOKS_MAX)).filter_map(move |number| {
            let first = self.base.nth(number << (width - u32::from(self.size)))?;
            Subnet::around(first, self.size)
        })
    }
}

impl FromStr for AddressPool {
    type Err = AddressFault;

    fn from_str(text: &str) -> Result<Self, AddressFault> {
        let fault = || AddressFault { kind: "pool of addresses", text: text.to_owned() };
        let (mut base, mut size) = (None, None);
        for part in text.split(',') {
            match part.split_once('=').ok_or_else(fault)? {
                ("base", value) => base = Some(value.parse::<Subnet>().map_err(|_| fault())?),
                ("size", value) => size = Some(value.parse::<u8>().map_err(|_| fault())?),
                _ => return Err(fault()),
            }
        }
        let (base, size) = base.zip(size).ok_or_else(fault)?;
        // Each has room for the host and a container.
        let most = base.prefix() + base.host_bits().saturating_sub(2);
        let fits = (base.prefix()..=most).contains(&size) && base.host_bits() > 1;
        if fits { Ok(Self { base, size }) } else { Err(fault()) }
    }
}

/// How the network is to be that every engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultNetwork {
    /// There is none (`--bridge none`).
    pub is_absent: bool,
    /// A bridge of somebody else's (`--bridge`).
    pub interface: Option<String>,
    /// The host's address (`--bip`); otherwise the first of a subnet that is nobody's.
    pub address: Option<HostAddress>,
    /// The host's address of IPv6 (`--bip6`).
    pub address6: Option<HostAddress>,
    /// The part that containers get addresses from (`--fixed-cidr`).
    pub range: Option<Subnet>,
    /// The same of IPv6 (`--fixed-cidr-v6`).
    pub range6: Option<Subnet>,
    /// The way to everywhere, where that is not the host (`--default-gateway`).
    pub gateway: Option<IpAddr>,
    /// The same of IPv6 (`--default-gateway-v6`).
    pub gateway6: Option<IpAddr>,
    /// It has IPv6 (`--ipv6`).
    pub ipv6: bool,
    /// The largest packet (`--mtu`).
    pub mtu: u32,
    /// Its containers reach each other (`--icc`).
    pub icc: bool,
    /// What leaves it comes from the host's address (`--ip-masq`).
    pub masquerade: bool,
    /// Where ports are published if nothing is said (`--ip`).
    pub binding: Option<Ipv4Addr>,
}

impl DefaultNetwork {
    /// As it is where nobody says anything.
    pub fn standard() -> Self {
        Self {
            is_absent: false,
            interface: None,
            address: None,
            address6: None,
            range: None,
            range6: None,
            gateway: None,
            gateway6: None,
            ipv6: false,
            mtu: MTU,
            icc: true,
            masquerade: true,
            binding: None,
        }
    }

    /// The addresses of a kind, once it is known which subnet it is and what the host is called there.
    pub(crate) fn addresses(&self, own: HostAddress) -> Result<Addresses, NetworkError> {
        let (range, gateway) = match own.subnet.is_ipv6() {
            false => (self.range, self.gateway),
            true => (self.range6, self.gateway6),
        };
        let HostAddress { address, subnet } = own;
        let invalid = |words: String| Err(NetworkError::InvalidAddresses { words });
        if let Some(range) = range.filter(|range| !subnet.covers(*range)) {
            return invalid(format!("fixed-cidr {range} is not in the default network's {subnet}"));
        }
        if let Some(gateway) = gateway.filter(|gateway| !subnet.contains(*gateway)) {
            let words =
                format!("default-gateway {gateway} is not in the default network's {subnet}");
            return invalid(words);
        }
        Ok(Addresses {
            subnet,
            range: range.filter(|range| *range != subnet),
            gateway: gateway.or(Some(address)),
            host: gateway.map(|_| address),
            auxiliary: BTreeMap::new(),
        })
    }
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
    /// More subnets of either kind, for when the first is full or another is asked for; bridges have none.
    #[serde(default)]
    pub more: Vec<Addresses>,
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
        self.ipv4.iter().chain(&self.ipv6).chain(&self.more)
    }

    /// Those that an address is one of.
    pub(crate) fn around(&self, address: IpAddr) -> Option<&Addresses> {
        self.addresses().find(|addresses| addresses.subnet.contains(address))
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
        of.own().filter(|_| !absent)
    }

    /// The way out for a container with an address, if there is one.
    pub(crate) fn gateway(&self, of: IpAddr) -> Option<IpAddr> {
        let isolated = self.mode(of.is_ipv6()) == GatewayMode::Isolated;
        self.around(of)?.gateway.filter(|_| !self.internal && !isolated)
    }

    /// The default one, as an engine's settings have it.
    pub(crate) fn default(
        interface: String,
        settings: &DefaultNetwork,
        ipv4: Addresses,
        ipv6: Option<Addresses>,
    ) -> Self {
        Self {
            key: DEFAULT_NETWORK.to_owned(),
            name: DEFAULT_NETWORK.to_owned(),
            kind: Kind::Bridge,
            interface,
            is_foreign: settings.interface.is_some(),
            mtu: settings.mtu,
            ipv4: Some(ipv4),
            ipv6,
            more: Vec::new(),
            internal: false,
            icc: settings.icc,
            masquerade: settings.masquerade,
            mode4: GatewayMode::Nat,
            mode6: GatewayMode::Nat,
            binding: settings.binding,
            inhibit_ipv4: false,
            interface_prefix: INTERFACE_PREFIX.to_owned(),
            rate: Rate::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_cut_into_subnets_of_one_size() {
        let cut = |text: &str| {
            let pool: AddressPool = text.parse().unwrap();
            pool.subnets().map(|subnet| subnet.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(cut("base=10.0.0.0/23,size=24"), ["10.0.0.0/24", "10.0.1.0/24"]);
        assert_eq!(cut("size=64,base=fd00::/63"), ["fd00::/64", "fd00:0:0:1::/64"]);
        assert_eq!(cut("base=10.0.0.0/8,size=30").len(), 1 << 16);
        assert_eq!(cut("base=::/0,size=64").len(), 1 << 16);
        for bad in
            ["10.0.0.0/8", "base=10.0.0.0/24,size=16", "base=10.0.0.0/24,size=31", "base=x,size=1"]
        {
            assert!(bad.parse::<AddressPool>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_default_network_is_what_the_settings_say() {
        let settings = DefaultNetwork {
            range: "10.0.5.0/24".parse().ok(),
            gateway: "10.0.0.9".parse().ok(),
            ..DefaultNetwork::standard()
        };
        let addresses = settings.addresses("10.0.0.1/16".parse().unwrap()).unwrap();
        assert_eq!(addresses.gateway, "10.0.0.9".parse().ok());
        assert_eq!(addresses.own(), "10.0.0.1".parse().ok());
        assert_eq!(addresses.reserved().count(), 2);
        let outside = settings.addresses("10.1.0.1/16".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(outside, "fixed-cidr 10.0.5.0/24 is not in the default network's 10.1.0.0/16");
    }
}
