//! Addresses as values: of a link, and of a network as a whole.
//!
//! A [`Subnet`] is written as its first address, whatever it was parsed from; a [`Mac`] is one that a
//! single link can have. Absent on purpose: IPv6, which comes with networks that users define.

use std::fmt;
use std::net::Ipv4Addr;
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

/// The addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Subnet {
    first: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// The one around `address`; nothing if there are no such prefixes.
    pub fn around(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        let first = Ipv4Addr::from_bits(address.to_bits() & mask(prefix)?);
        Some(Self { first, prefix })
    }

    /// Its first address, which names it.
    pub fn first(self) -> Ipv4Addr {
        self.first
    }

    /// Its last address, which reaches all.
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits() | !mask(self.prefix).unwrap_or(u32::MAX))
    }

    /// How many bits its addresses have in common.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// How many addresses there are, with the first and the last.
    pub fn size(self) -> u64 {
        1 << (32 - u32::from(self.prefix))
    }

    /// The address so far from the first, if it is inside.
    pub fn nth(self, offset: u64) -> Option<Ipv4Addr> {
        let offset = u32::try_from(offset).ok().filter(|_| offset < self.size())?;
        Some(Ipv4Addr::from_bits(self.first.to_bits() + offset))
    }

    /// How far from the first an address is, if it is inside.
    pub fn offset(self, address: Ipv4Addr) -> Option<u64> {
        self.contains(address).then(|| u64::from(address.to_bits() - self.first.to_bits()))
    }

    /// Whether `address` is inside.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        Self::around(address, self.prefix) == Some(self)
    }

    /// Whether any address is inside both.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }
}

fn mask(prefix: u8) -> Option<u32> {
    match prefix {
        0 => Some(0),
        1..=32 => Some(u32::MAX << (32 - prefix)),
        _ => None,
    }
}

impl FromStr for Subnet {
    type Err = AddressFault;

    fn from_str(text: &str) -> Result<Self, AddressFault> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            Self::around(address.parse().ok()?, prefix.parse().ok()?)
        };
        parse().ok_or_else(|| AddressFault { kind: "IPv4 subnet", text: text.to_owned() })
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
        assert_eq!(subnet("1.2.3.4/0").size(), 1 << 32);
        for bad in ["172.17.0.0", "172.17.0.0/33", "172.17.0/16", "/", "::/0"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn overlap_is_mutual() {
        let pairs = [("10.0.0.0/8", "10.1.0.0/16", true), ("10.0.0.0/16", "10.1.0.0/16", false)];
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
        assert!("00:00:00:00:00:00".parse::<Mac>().is_err());
        assert!("2:42:ac:11:00:02".parse::<Mac>().is_err());
    }
}
