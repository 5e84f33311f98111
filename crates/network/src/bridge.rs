//! A network's device on the host: found again, or made.
//!
//! What we make carries the engine's mark in its alias, so that a later engine knows which devices are its
//! own. The address on a bridge is the reservation of its subnet: whoever looks next sees the way to it.
//! Invariant: a device without our mark is used at most, never changed but for being brought up, and never
//! removed.
//! Absent on purpose: taking the default bridge away at the end. It costs more than it does no harm.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::Ipv6Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use dhow_sys::{Errno, NetlinkError};
use rustix::fs::{FlockOperation, flock};

use crate::address::{Mac, Subnet};
use crate::config::{Kind, NetworkConfig};
use crate::error::NetworkError;
use crate::instance::Instance;
use crate::link::Links;

/// The host's address for the link alone, as Docker's bridges have it.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// A network's device, up.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) index: u32,
    pub(crate) config: NetworkConfig,
}

impl Device {
    /// The device of a network, with the host's addresses on it.
    pub(crate) fn ensure(
        links: &mut Links,
        instance: Instance,
        config: &NetworkConfig,
    ) -> Result<Self, NetworkError> {
        let name = &config.interface;
        let looking = || NetworkError::netlink::<NetlinkError>(format!("look at {name}"));
        let found = links.find(name).map_err(looking())?;
        let index = match (found, &config.kind) {
            (Some(found), Kind::Bridge) if found.kind != "bridge" => {
                return Err(NetworkError::NoBridge { interface: name.clone() });
            }
            (Some(found), _) => {
                links.bring_up(found.index).map_err(looking())?;
                found.index
            }
            (None, Kind::Bridge) if config.is_foreign => {
                return Err(NetworkError::NoParent { parent: name.clone() });
            }
            (None, Kind::Bridge) => links
                .make_bridge(name, &alias(instance, &config.key), mac(instance, config), config.mtu)
                .map_err(NetworkError::netlink(format!("make bridge {name}")))?,
            (None, _) => make_parent(links, instance, config)?,
        };
        if matches!(config.kind, Kind::Bridge) {
            if config.ipv6.is_some() {
                // Where IPv6 is off for new devices, it is not for this one.
                let _ = set(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "0");
            }
            for addresses in config.addresses() {
                let Some(address) = config.host_address(addresses) else { continue };
                let giving = NetworkError::netlink(format!("give {name} the address {address}"));
                links.add_address(index, address, addresses.subnet).map_err(giving)?;
                if let (true, Some(link)) = (address.is_ipv6(), Subnet::around(LINK_LOCAL, 64)) {
                    // Neighbours are asked for from this one where a packet comes from elsewhere.
                    let giving = NetworkError::netlink(format!("give {name} a link-local address"));
                    links.add_address(index, LINK_LOCAL.into(), link).map_err(giving)?;
                }
            }
        }
        Ok(Self { index, config: config.clone() })
    }

    /// Lets answers to the host's loopback addresses come back through the bridge. Only with the rules in
    /// force that keep containers from using it.
    pub(crate) fn route_loopback(&self) -> Result<(), NetworkError> {
        let name = &self.config.interface;
        set(&format!("/proc/sys/net/ipv4/conf/{name}/route_localnet"), "1")
    }
}

/// The default bridge's addresses: those that it has, if they suit, or free ones. The turn is kept until the
/// bridge is there.
pub(crate) fn settle_default(
    links: &mut Links,
    name: &str,
    pool: Option<Subnet>,
    may_replace: bool,
    others: &[Subnet],
) -> Result<Subnet, NetworkError> {
    let looking = || NetworkError::netlink::<NetlinkError>(format!("look at {name}"));
    if let Some(found) = links.find(name).map_err(looking())? {
        if found.kind != "bridge" {
            return Err(NetworkError::NoBridge { interface: name.to_owned() });
        }
        let addresses = links.addresses(found.index).map_err(looking())?;
        let suits = |subnet: &Subnet| pool.is_none_or(|pool| pool == *subnet) || !may_replace;
        // An engine that was killed may have made the bridge and not given it an address.
        let ours = addresses
            .iter()
            .find(|(one, subnet)| !subnet.is_ipv6() && subnet.nth(1) == Some(*one))
            .map(|(_, subnet)| *subnet)
            .filter(suits);
        if let Some(subnet) = ours {
            return Ok(subnet);
        }
        let removing = NetworkError::netlink(format!("remove bridge {name}"));
        links.remove(found.index).map_err(removing)?;
    }
    let subnet = match pool {
        Some(subnet) => subnet,
        None => free_subnet(links, others, 0)?,
    };
    if subnet.is_ipv6() || subnet.host_bits() < 2 {
        return Err(NetworkError::SubnetTooSmall { subnet });
    }
    Ok(subnet)
}

fn make_parent(
    links: &mut Links,
    instance: Instance,
    config: &NetworkConfig,
) -> Result<u32, NetworkError> {
    let name = &config.interface;
    let alias = alias(instance, &config.key);
    let making = |kind| {
        move |error: NetlinkError| match error.errno {
            Errno::OPNOTSUPP => NetworkError::NoKind { kind },
            _ => NetworkError::netlink(format!("make {kind} device {name}"))(error),
        }
    };
    let wanted = match &config.kind {
        Kind::Macvlan { parent, .. } | Kind::Ipvlan { parent, .. } => parent,
        Kind::Bridge => name,
    };
    if wanted.is_empty() {
        return links.make_parent(name, &alias, None).map_err(making("dummy"));
    }
    // `eth0.10` is VLAN 10 of eth0, where that is not there yet.
    let missing = || NetworkError::NoParent { parent: name.clone() };
    let (device, id) = name.rsplit_once('.').ok_or_else(missing)?;
    let id = id.parse().ok().filter(|id| (1..4095).contains(id)).ok_or_else(missing)?;
    let looking = NetworkError::netlink::<NetlinkError>(format!("look at {device}"));
    let device = links.find(device).map_err(looking)?.ok_or_else(missing)?;
    links.make_parent(name, &alias, Some((device.index, id))).map_err(making("vlan"))
}

/// What we write on our devices.
fn alias(instance: Instance, key: &str) -> String {
    format!("dhow-{instance} {key}")
}

fn mac(instance: Instance, config: &NetworkConfig) -> Mac {
    let digits = config.key.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    match digits.filter(|_| !config.is_default()) {
        Some(number) => Mac::local(0x42 << 32 | u64::from(number)),
        None => instance.bridge_mac(),
    }
}

/// Takes a device of ours away, if it is there.
pub(crate) fn remove(instance: Instance, config: &NetworkConfig) -> Result<(), NetworkError> {
    let name = &config.interface;
    let removing = || NetworkError::netlink::<NetlinkError>(format!("remove device {name}"));
    let mut links = Links::open().map_err(NetworkError::netlink("open a netlink socket"))?;
    let marks = [alias(instance, &config.key)];
    match links.find(name).map_err(removing())? {
        Some(found) if config.is_default() || marks.contains(&found.alias) => {
            match links.remove(found.index) {
                Err(error) if error.errno == Errno::NODEV => Ok(()),
                removed => removed.map_err(removing()),
            }
        }
        _ => Ok(()),
    }
}

/// Takes the default bridge away, if it is there.
pub(crate) fn remove_default(instance: Instance) -> Result<(), NetworkError> {
    let name = instance.bridge();
    let removing = || NetworkError::netlink::<NetlinkError>(format!("remove device {name}"));
    let mut links = Links::open().map_err(NetworkError::netlink("open a netlink socket"))?;
    match links.find(&name).map_err(removing())? {
        Some(found) => links.remove(found.index).map_err(removing()),
        None => Ok(()),
    }
}

/// Takes devices of ours away that are no network's.
pub(crate) fn remove_strangers(
    instance: Instance,
    is_known: impl Fn(&str) -> bool,
) -> Result<(), NetworkError> {
    let mut links = Links::open().map_err(NetworkError::netlink("open a netlink socket"))?;
    let mark = alias(instance, "");
    for found in links.all().map_err(NetworkError::netlink("list devices"))? {
        if found.alias.strip_prefix(&mark).is_some_and(|key| !is_known(key)) {
            let removing = NetworkError::netlink(format!("remove device {}", found.name));
            links.remove(found.index).map_err(removing)?;
        }
    }
    Ok(())
}

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
const SETTINGS6: &str = "/proc/sys/net/ipv6/conf";

/// Whether the host forwards packets.
pub(crate) fn forwards() -> Result<bool, NetworkError> {
    let text = fs::read_to_string(FORWARDING).map_err(NetworkError::io("read", FORWARDING))?;
    Ok(text.trim() != "0")
}

/// Makes the host forward packets, or not.
pub(crate) fn forward(yes: bool) -> Result<(), NetworkError> {
    set(FORWARDING, if yes { "1" } else { "0" })
}

/// Whether the host forwards packets of IPv6.
pub(crate) fn forwards6() -> bool {
    let text = fs::read_to_string(format!("{SETTINGS6}/all/forwarding"));
    text.is_ok_and(|text| text.trim() != "0")
}

/// Makes the host forward packets of IPv6, or not. A router listens to no other router unless it is told
/// to: devices that did so far are.
pub(crate) fn forward6(yes: bool) -> Result<(), NetworkError> {
    let path = format!("{SETTINGS6}/all/forwarding");
    if yes && let Ok(devices) = fs::read_dir(SETTINGS6) {
        for device in devices.flatten() {
            let listens = device.path().join("accept_ra");
            if fs::read_to_string(&listens).is_ok_and(|text| text.trim() == "1") {
                fs::write(&listens, "2").map_err(NetworkError::io("write", &listens))?;
            }
        }
    }
    set(&path, if yes { "1" } else { "0" })
}

fn set(path: &str, value: &str) -> Result<(), NetworkError> {
    fs::write(path, value).map_err(NetworkError::io("write", path))
}

/// The first of Docker's subnets that the host has no way to, and that is none of `others`.
pub(crate) fn free_subnet(
    links: &mut Links,
    others: &[Subnet],
    skip: usize,
) -> Result<Subnet, NetworkError> {
    let routed = links.routed().map_err(NetworkError::netlink("list routes"))?;
    let is_free =
        |subnet: &Subnet| !routed.iter().chain(others).any(|other| other.overlaps(*subnet));
    let all: Vec<_> = candidates().collect();
    let (first, rest) = all.split_at(skip.min(all.len()));
    rest.iter().chain(first).copied().find(is_free).ok_or(NetworkError::NoSubnet)
}

/// A subnet of the addresses that the engine has for itself alone: 48 bits that are its own, 16 to choose.
pub(crate) fn free_subnet6(
    links: &mut Links,
    others: &[Subnet],
    instance: Instance,
) -> Result<Subnet, NetworkError> {
    let routed = links.routed().map_err(NetworkError::netlink("list routes"))?;
    let is_free =
        |subnet: &Subnet| !routed.iter().chain(others).any(|other| other.overlaps(*subnet));
    let own = instance.unique_local();
    let mut all =
        (0..1 << 16).filter_map(|number: u128| Subnet::around(own.nth(number << 64)?, 64));
    all.find(is_free).ok_or(NetworkError::NoSubnet)
}

/// 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/20 to 192.168.240.0/20, as Docker has them.
fn candidates() -> impl Iterator<Item = Subnet> {
    let large = (17..32).filter_map(|n| Subnet::around([172, n, 0, 0], 16));
    let small = (0..16).filter_map(|n| Subnet::around([192, 168, n << 4, 0], 20));
    large.chain(small)
}

/// Waits for the turn; it ends when the file is closed, however that comes.
pub(crate) fn lock(path: &Path) -> Result<File, NetworkError> {
    let locking = || NetworkError::io::<io::Error>("lock", path);
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let file = file.map_err(locking())?;
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            result => {
                result.map_err(|errno| locking()(errno.into()))?;
                return Ok(file);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_choice_is_docker_s() {
        let all: Vec<_> = candidates().map(|subnet| subnet.to_string()).collect();
        assert_eq!(all.first().unwrap(), "172.17.0.0/16");
        assert_eq!(all.last().unwrap(), "192.168.240.0/20");
        assert_eq!(all.len(), 31);
    }
}
