//! Addresses as values: of a link, and of a network as a whole.
//!
//! A [`Subnet`] is written as its first address, whatever it was parsed from; a [`Mac`] is one that a
//! single link can have. Absent on purpose: zones of IPv6 addresses, which mean something on one machine only.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The text is no address of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressFault {
    /// What was asked for.
    pub kind: &'static str,
    /// The text.
    pub text: String,
}

impl fmt::Display for AddressFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no {}", self.text, self.kind)
    }
}

impl std::error::Error for AddressFault {}

/// A link's address, of one link and not of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    /// The one that Docker gives to an endpoint with this address: the same address is always behind the
    /// same link, so nobody's neighbour table is ever wrong.
    pub fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// One of those that anybody may give away, from 40 bits.
    pub(crate) fn local(number: u64) -> Self {
        let [.., a, b, c, d, e] = number.to_be_bytes();
        Self([0x02, a, b, c, d, e])
    }

    /// The address that a device with this one has for its own link.
    pub(crate) fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0.map(u128::from);
        let number = (a ^ 2) << 56 | b << 48 | c << 40 | 0xff_fe << 24 | d << 16 | e << 8 | f;
        Ipv6Addr::from_bits(0xfe80 << 112 | number)
    }

    /// Its bytes, in the order in which they are sent.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for Mac {
    type Err = AddressFault;

    fn from_str(text: &str) -> Result<Self, AddressFault> {
        let fault = || AddressFault { kind: "MAC address", text: text.to_owned() };
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(fault)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| fault())?;
        }
        let is_group = octets[0] & 1 != 0;
        if parts.next().is_some() || is_group || octets == [0; 6] {
            return Err(fault());
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = AddressFault;

    fn try_from(text: String) -> Result<Self, AddressFault> {
        text.parse()
    }
}

/// The addresses that begin with the same bits, of IPv4 or of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Subnet {
    first: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// The one around `address`; nothing if there are no such prefixes.
    pub fn around(address: impl Into<IpAddr>, prefix: u8) -> Option<Self> {
        let address = address.into();
        let host_bits = width(address).checked_sub(prefix)?;
        let kept = bits(address) & !low_ones(host_bits);
        Some(Self { first: with_bits(address, kept), prefix })
    }

    /// Its first address, which names it.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// Its last address; of IPv4, the one that reaches all.
    pub fn last(self) -> IpAddr {
        with_bits(self.first, bits(self.first) | low_ones(self.host_bits()))
    }

    /// How many bits its addresses have in common.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// How many bits tell its addresses apart.
    pub fn host_bits(self) -> u8 {
        width(self.first) - self.prefix
    }

    /// Whether its addresses are of IPv6.
    pub fn is_ipv6(self) -> bool {
        self.first.is_ipv6()
    }

    /// The address so far from the first, if it is inside.
    pub fn nth(self, offset: u128) -> Option<IpAddr> {
        (offset <= low_ones(self.host_bits()))
            .then(|| with_bits(self.first, bits(self.first) + offset))
    }

    /// How far from the first an address is, if it is inside.
    pub fn offset(self, address: IpAddr) -> Option<u128> {
        self.contains(address).then(|| bits(address) - bits(self.first))
    }

    /// Whether `address` is inside.
    pub fn contains(self, address: IpAddr) -> bool {
        Self::around(address, self.prefix) == Some(self)
    }

    /// Whether any address is inside both.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// Whether all addresses of `other` are inside.
    pub fn covers(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.first)
    }
}

/// The host's own address in a subnet, as `--bip` has it: `172.17.0.1/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostAddress {
    /// The address.
    pub address: IpAddr,
    /// All that can be reached from it.
    pub subnet: Subnet,
}

impl FromStr for HostAddress {
    type Err = AddressFault;

    /// A subnet alone means its first address that can be anybody's.
    fn from_str(text: &str) -> Result<Self, AddressFault> {
        let fault = || AddressFault { kind: "address with a prefix", text: text.to_owned() };
        let subnet: Subnet = text.parse().map_err(|_| fault())?;
        let (address, _) = text.split_once('/').ok_or_else(fault)?;
        let address: IpAddr = address.parse().map_err(|_| fault())?;
        let own = if address == subnet.first() { subnet.nth(1) } else { Some(address) };
        let is_all = !subnet.is_ipv6() && own == Some(subnet.last());
        let own = own.filter(|_| subnet.host_bits() > 1 && !is_all);
        own.map(|address| Self { address, subnet }).ok_or_else(fault)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address with these bits, of the same kind as `like`.
fn with_bits(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits(bits as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

fn low_ones(count: u8) -> u128 {
    match count {
        0 => 0,
        count => u128::MAX >> (128 - u32::from(count)),
    }
}

impl FromStr for Subnet {
    type Err = AddressFault;

    fn from_str(text: &str) -> Result<Self, AddressFault> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            Self::around(address.parse::<IpAddr>().ok()?, prefix.parse().ok()?)
        };
        parse().ok_or_else(|| AddressFault { kind: "subnet", text: text.to_owned() })
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl TryFrom<String> for Subnet {
    type Error = AddressFault;

    fn try_from(text: String) -> Result<Self, AddressFault> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn a_subnet_is_named_by_its_first_address() {
        let docker = subnet("172.17.3.4/16");
        assert_eq!(docker.to_string(), "172.17.0.0/16");
        assert_eq!(docker.last().to_string(), "172.17.255.255");
        assert_eq!(docker.nth(1).unwrap().to_string(), "172.17.0.1");
        assert_eq!(docker.nth(1 << 16), None);
        assert_eq!(docker.offset("172.17.1.0".parse().unwrap()), Some(256));
        assert_eq!(docker.offset("172.18.0.0".parse().unwrap()), None);
        assert_eq!(subnet("1.2.3.4/0").host_bits(), 32);
        assert_eq!(subnet("fd00:1::7/64").to_string(), "fd00:1::/64");
        assert_eq!(subnet("fd00::/64").nth(0x1_0000).unwrap().to_string(), "fd00::1:0");
        assert_eq!(subnet("::/0").last().to_string(), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        for bad in ["172.17.0.0", "172.17.0.0/33", "172.17.0/16", "/", "::/129"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_host_s_address_is_one_that_a_device_can_have() {
        let own = |text: &str| text.parse::<HostAddress>().map(|own| own.address.to_string()).ok();
        assert_eq!(own("10.0.0.5/16").as_deref(), Some("10.0.0.5"));
        assert_eq!(own("10.0.0.0/16").as_deref(), Some("10.0.0.1"));
        assert_eq!(own("fd00::/64").as_deref(), Some("fd00::1"));
        for bad in ["10.0.0.5", "10.0.0.255/24", "10.0.0.0/31", "10.0.0.5/33"] {
            assert_eq!(own(bad), None, "{bad}");
        }
    }

    #[test]
    fn overlap_is_mutual() {
        let pairs = [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/16", "10.1.0.0/16", false),
            ("::/0", "10.0.0.0/8", false),
        ];
        for (one, other, expected) in pairs {
            assert_eq!(subnet(one).overlaps(subnet(other)), expected);
            assert_eq!(subnet(other).overlaps(subnet(one)), expected);
        }
    }

    #[test]
    fn a_mac_is_of_one_link() {
        let mac: Mac = "02:42:AC:11:00:02".parse().unwrap();
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        assert_eq!(mac, Mac::of("172.17.0.2".parse().unwrap()));
        for bad in ["", "02:42:ac:11:00", "02:42:ac:11:00:02:03", "01:00:5e:00:00:01"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
        assert_eq!(mac.link_local().to_string(), "fe80::42:acff:fe11:2");
        assert!("00:00:00:00:00:00".parse::<Mac>().is_err());
        assert!("2:42:ac:11:00:02".parse::<Mac>().is_err());
    }
}
