//! The options of networks' drivers, as users write them.
//!
//! Invariant: an option that is taken does what it says; one that no driver of ours knows is refused by name.
//! Absent on purpose: options of whole engines.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::config::{GatewayMode, INTERFACE_PREFIX, Kind, MTU, Rate};
use crate::error::NetworkError;

const BRIDGE: &str = "com.docker.network.bridge.";
const NETWORK: &str = "com.docker.network.";

/// Who of a device's `macvlan` neighbours reaches whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Macvlan {
    /// Everybody.
    #[default]
    Bridge,
    /// Nobody.
    Private,
    /// Everybody, by way of the switch outside.
    Vepa,
    /// There is only one, and it has the device.
    Passthru,
}

/// What a device's `ipvlan` neighbours share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ipvlan {
    /// The link.
    #[default]
    L2,
    /// The host's routes.
    L3,
    /// The host's routes and filters.
    L3s,
}

/// What options say of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) kind: Kind,
    /// What the bridge is to be called.
    pub(crate) interface: Option<String>,
    pub(crate) mtu: u32,
    pub(crate) icc: bool,
    pub(crate) masquerade: bool,
    pub(crate) mode4: GatewayMode,
    pub(crate) mode6: GatewayMode,
    pub(crate) binding: Option<Ipv4Addr>,
    pub(crate) inhibit_ipv4: bool,
    pub(crate) interface_prefix: String,
    pub(crate) rate: Rate,
    pub(crate) ipv4: Option<bool>,
    pub(crate) ipv6: Option<bool>,
}

impl Settings {
    /// Reads the options of a network with this driver.
    pub(crate) fn read(
        driver: &str,
        options: &BTreeMap<String, String>,
    ) -> Result<Self, NetworkError> {
        let kind = match driver {
            "" | "bridge" => Kind::Bridge,
            "macvlan" => Kind::Macvlan { parent: String::new(), mode: Macvlan::default() },
            "ipvlan" => Kind::Ipvlan { parent: String::new(), mode: Ipvlan::default() },
            other => return Err(NetworkError::UnknownDriver { driver: other.to_owned() }),
        };
        let mut settings = Self {
            kind,
            interface: None,
            mtu: MTU,
            icc: true,
            masquerade: true,
            mode4: GatewayMode::Nat,
            mode6: GatewayMode::Nat,
            binding: None,
            inhibit_ipv4: false,
            interface_prefix: INTERFACE_PREFIX.to_owned(),
            rate: Rate::default(),
            ipv4: None,
            ipv6: None,
        };
        for (name, value) in options {
            let known = settings.take(name, value).map_err(|()| NetworkError::InvalidOption {
                name: name.clone(),
                value: value.clone(),
            })?;
            if !known {
                return Err(NetworkError::UnknownOption { name: name.clone() });
            }
        }
        Ok(settings)
    }

    /// Takes an option; whether it is one of the driver's.
    fn take(&mut self, name: &str, value: &str) -> Result<bool, ()> {
        if let Some(name) = name.strip_prefix(BRIDGE)
            && self.kind == Kind::Bridge
        {
            return self.take_bridge(name, value);
        }
        match name.strip_prefix(NETWORK).unwrap_or(name) {
            "driver.mtu" | "mtu" => self.mtu = number(value)?.try_into().map_err(drop)?,
            "container_iface_prefix" => self.interface_prefix = device_name(value, 12)?,
            "enable_ipv4" => self.ipv4 = Some(flag(value)?),
            "enable_ipv6" => self.ipv6 = Some(flag(value)?),
            // Of others nobody sends what comes in whom we could bound.
            "dhow.rate.in" if self.kind == Kind::Bridge => self.rate.inward = rate(value)?,
            "dhow.rate.out" => self.rate.outward = rate(value)?,
            name => return self.take_kind(name, value),
        }
        Ok(true)
    }

    fn take_bridge(&mut self, name: &str, value: &str) -> Result<bool, ()> {
        match name {
            "name" => self.interface = Some(device_name(value, 15)?),
            "enable_ip_masquerade" => self.masquerade = flag(value)?,
            "enable_icc" => self.icc = flag(value)?,
            "inhibit_ipv4" => self.inhibit_ipv4 = flag(value)?,
            "host_binding_ipv4" => self.binding = Some(value.parse().map_err(drop)?),
            "gateway_mode_ipv4" => self.mode4 = mode(value)?,
            "gateway_mode_ipv6" => self.mode6 = mode(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_kind(&mut self, name: &str, value: &str) -> Result<bool, ()> {
        match (&mut self.kind, name) {
            (Kind::Macvlan { parent, .. } | Kind::Ipvlan { parent, .. }, "parent") => {
                *parent = device_name(value, 15)?;
            }
            (Kind::Macvlan { mode, .. }, "macvlan_mode") => {
                *mode = match value {
                    "" | "bridge" => Macvlan::Bridge,
                    "private" => Macvlan::Private,
                    "vepa" => Macvlan::Vepa,
                    "passthru" => Macvlan::Passthru,
                    _ => return Err(()),
                };
            }
            (Kind::Ipvlan { mode, .. }, "ipvlan_mode") => {
                *mode = match value {
                    "" | "l2" => Ipvlan::L2,
                    "l3" => Ipvlan::L3,
                    "l3s" => Ipvlan::L3s,
                    _ => return Err(()),
                };
            }
            (Kind::Ipvlan { .. }, "ipvlan_flag") if matches!(value, "" | "bridge") => {}
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Bounds that an endpoint's or a container's own options name, beside those of its network.
pub(crate) fn rate(text: &str) -> Result<u64, ()> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let (factor, divisor) = match unit.as_str() {
        "" | "bps" => (1, 1),
        "kbps" => (1_000, 1),
        "mbps" => (1_000_000, 1),
        "gbps" => (1_000_000_000, 1),
        "bit" => (1, 8),
        "kbit" => (1_000, 8),
        "mbit" => (1_000_000, 8),
        "gbit" => (1_000_000_000, 8),
        _ => return Err(()),
    };
    let number = digits.parse::<u64>().map_err(drop)?;
    Ok(number.checked_mul(factor).ok_or(())? / divisor)
}

fn mode(value: &str) -> Result<GatewayMode, ()> {
    Ok(match value {
        "" | "nat" => GatewayMode::Nat,
        "nat-unprotected" => GatewayMode::NatUnprotected,
        "routed" => GatewayMode::Routed,
        "isolated" => GatewayMode::Isolated,
        _ => return Err(()),
    })
}

/// Go's words for yes and no.
fn flag(value: &str) -> Result<bool, ()> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(()),
    }
}

fn number(value: &str) -> Result<u64, ()> {
    value.parse().map_err(drop)
}

/// A name that a device can have.
pub(crate) fn device_name(value: &str, length_max: usize) -> Result<String, ()> {
    let good = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':');
    let fits = (1..=length_max).contains(&value.len()) && value.bytes().all(good);
    if fits && !matches!(value, "." | "..") { Ok(value.to_owned()) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(driver: &str, options: &[(&str, &str)]) -> Result<Settings, String> {
        let options = options.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Settings::read(driver, &options).map_err(|error| error.to_string())
    }

    #[test]
    fn options_of_each_driver() {
        let settings = read(
            "bridge",
            &[
                ("com.docker.network.bridge.name", "mine"),
                ("com.docker.network.bridge.enable_icc", "false"),
                ("com.docker.network.bridge.gateway_mode_ipv6", "routed"),
                ("com.docker.network.driver.mtu", "1400"),
                ("dhow.rate.in", "8mbit"),
            ],
        )
        .unwrap();
        assert_eq!((settings.interface.as_deref(), settings.icc), (Some("mine"), false));
        assert_eq!((settings.mode6, settings.mtu), (GatewayMode::Routed, 1400));
        assert_eq!(settings.rate.inward, 1_000_000);
        let settings = read("macvlan", &[("parent", "eth0.10"), ("macvlan_mode", "vepa")]).unwrap();
        assert_eq!(settings.kind, Kind::Macvlan { parent: "eth0.10".into(), mode: Macvlan::Vepa });
    }

    #[test]
    fn what_nobody_knows_is_refused_by_name() {
        let refused = |driver, name, value| read(driver, &[(name, value)]).unwrap_err();
        assert_eq!(refused("bridge", "parent", "eth0"), "unknown network option: parent");
        assert!(refused("macvlan", "dhow.rate.in", "1mbit").contains("unknown"));
        assert!(
            refused("macvlan", "com.docker.network.bridge.enable_icc", "true").contains("unknown")
        );
        let mtu = refused("bridge", "com.docker.network.driver.mtu", "much");
        assert_eq!(mtu, "invalid value for network option com.docker.network.driver.mtu: \"much\"");
        assert!(refused("bridge", "com.docker.network.bridge.name", "a/b").contains("\"a/b\""));
        assert_eq!(
            read("overlay", &[]).unwrap_err(),
            "could not find plugin overlay in v1 plugin registry: plugin not found"
        );
    }
}
