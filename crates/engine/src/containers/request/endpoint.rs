//! A container's place in a network, as asked for.
//!
//! Invariant: none of it is there unless the client said so; what the network chose is not kept here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Conflict, Field, RequestError};
use super::mode::NetworkMode;
use super::text::as_text;

/// What is asked of one network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointConfig {
    /// The address.
    pub ipv4: Option<Ipv4Addr>,
    /// The address of the newer kind.
    pub ipv6: Option<Ipv6Addr>,
    /// More addresses, for the link alone.
    pub link_local: Vec<IpAddr>,
    /// Containers known by another name.
    pub links: Vec<String>,
    /// More names for this container.
    pub aliases: Vec<String>,
    /// The hardware address.
    pub mac: Option<MacAddress>,
    /// Options of the network's driver.
    pub driver_options: BTreeMap<String, String>,
    /// Which network's gateway wins; the highest.
    pub gateway_priority: i64,
}

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);

impl FromStr for MacAddress {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let fault = || RequestError::word(Field::MacAddress, text);
        let parts: Vec<&str> = text.split([':', '-']).collect();
        let mut bytes = [0; 6];
        if parts.len() != bytes.len() || parts.iter().any(|part| !is_byte(part)) {
            return Err(fault());
        }
        for (byte, part) in bytes.iter_mut().zip(parts) {
            *byte = u8::from_str_radix(part, 16).map_err(|_| fault())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

as_text!(MacAddress);

fn is_byte(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

pub(super) fn check(
    endpoints: &BTreeMap<String, EndpointConfig>,
    mode: &NetworkMode,
) -> Result<(), RequestError> {
    let any_mac = endpoints.values().any(|endpoint| endpoint.mac.is_some());
    if matches!(mode, NetworkMode::Container(_)) && any_mac {
        return Err(RequestError::Conflict(Conflict::MacAndNetwork));
    }
    let default = |name: &str| matches!(name, "default" | "bridge");
    let fixed = |endpoint: &EndpointConfig| endpoint.ipv4.is_some() || endpoint.ipv6.is_some();
    if endpoints.iter().any(|(name, endpoint)| default(name) && fixed(endpoint)) {
        return Err(RequestError::Conflict(Conflict::AddressAndDefaultNetwork));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses() {
        let address: MacAddress = "02-42-AC-11-00-02".parse().expect("an address");
        assert_eq!(address.to_string(), "02:42:ac:11:00:02");
        for text in
            ["", "02:42:ac:11:00", "02:42:ac:11:00:0g", "2:42:ac:11:00:02", "+2:42:ac:11:00:02"]
        {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }
}
