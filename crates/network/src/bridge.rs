//! A network's device on the host: found again, or made.
//!
//! What we make carries the engine's mark in its alias, so that a later engine knows which devices are its
//! own. The address on a bridge is the reservation of its subnet: whoever looks next sees the way to it.
//! Invariant: a device without our mark is used at most, never changed but for being brought up, and never
//! removed.
//! Absent on purpose: taking the default bridge away at the end. It costs more than it does no harm.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use dhow_sys::{Errno, NetlinkError};
use rustix::fs::{FlockOperation, flock};

use crate::address::{HostAddress, Mac, Subnet};
use crate::config::{AddressPool, DefaultNetwork, Kind, NetworkConfig};
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
                if found.mtu != config.mtu && found.alias == alias(instance, &config.key) {
                    let setting = NetworkError::netlink(format!("set the MTU of {name}"));
                    links.set_mtu(found.index, config.mtu).map_err(setting)?;
                }
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

/// What the default network's addresses follow from.
#[derive(Debug)]
pub(crate) struct Choice<'a> {
    pub(crate) settings: &'a DefaultNetwork,
    pub(crate) instance: Instance,
    pub(crate) others: &'a [Subnet],
    pub(crate) pools: &'a [AddressPool],
}

impl Choice<'_> {
    /// The default network: with the addresses that its bridge has, if they suit, or those that are set, or free
    /// ones. The turn is kept until the bridge is there.
    pub(crate) fn settle(
        &self,
        links: &mut Links,
        used: Option<Subnet>,
    ) -> Result<NetworkConfig, NetworkError> {
        let settings = self.settings;
        let name = settings.interface.clone().unwrap_or_else(|| self.instance.bridge());
        let found = self.found(links, &name, used)?;
        let suiting = found.iter().copied().find(|own| !own.subnet.is_ipv6());
        let own = match (suiting.or(settings.address), used.or(settings.range)) {
            (Some(own), _) => own,
            (None, Some(subnet)) => first_of(subnet)?,
            (None, None) => first_of(free_subnet(links, self.others, self.pools, 0)?)?,
        };
        let ipv6 = match settings.ipv6 {
            true => Some(settings.addresses(self.own6(links, &found)?)?),
            false => None,
        };
        Ok(NetworkConfig::default(name, settings, settings.addresses(own)?, ipv6))
    }

    fn own6(&self, links: &mut Links, found: &[HostAddress]) -> Result<HostAddress, NetworkError> {
        let there = found.iter().copied().find(|own| own.subnet.is_ipv6());
        match (self.settings.address6.or(there), self.settings.range6) {
            (Some(own), _) => Ok(own),
            (None, Some(subnet)) => first_of(subnet),
            (None, None) => first_of(free_subnet6(links, self.others, self.pools, self.instance)?),
        }
    }

    /// The addresses of the bridge, where it is there and they are what is set. Ours is taken away otherwise.
    fn found(
        &self,
        links: &mut Links,
        name: &str,
        used: Option<Subnet>,
    ) -> Result<Vec<HostAddress>, NetworkError> {
        let settings = self.settings;
        let looking = || NetworkError::netlink::<NetlinkError>(format!("look at {name}"));
        let Some(found) = links.find(name).map_err(looking())? else {
            let missing = || NetworkError::NoDefaultBridge { interface: name.to_owned() };
            return if settings.interface.is_some() { Err(missing()) } else { Ok(Vec::new()) };
        };
        if found.kind != "bridge" {
            return Err(NetworkError::NoBridge { interface: name.to_owned() });
        }
        let addresses = links.addresses(found.index).map_err(looking())?;
        let of_network = |(address, _): &&(IpAddr, Subnet)| match address {
            IpAddr::V4(address) => !address.is_link_local(),
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        };
        let all = addresses.iter().filter(of_network);
        let all: Vec<_> = all
            .map(|(address, subnet)| HostAddress { address: *address, subnet: *subnet })
            .collect();
        let wanted = |own: &HostAddress| match (used, settings.address, settings.range) {
            (Some(used), ..) => own.subnet == used,
            (None, Some(wanted), _) => *own == wanted,
            (None, None, Some(range)) => own.subnet.covers(range),
            (None, None, None) => true,
        };
        let suits = all.iter().any(|own| !own.subnet.is_ipv6() && wanted(own));
        if suits || settings.interface.is_some() {
            let kept = |own: &HostAddress| own.subnet.is_ipv6() || wanted(own);
            return Ok(all.into_iter().filter(kept).collect());
        }
        // An engine that was killed may have made it and not given it an address.
        let removing = NetworkError::netlink(format!("remove bridge {name}"));
        links.remove(found.index).map_err(removing)?;
        Ok(Vec::new())
    }
}

/// With the host at its first address.
fn first_of(subnet: Subnet) -> Result<HostAddress, NetworkError> {
    let first = subnet.nth(1).filter(|_| subnet.host_bits() > 1);
    let address = first.ok_or(NetworkError::SubnetTooSmall { subnet })?;
    Ok(HostAddress { address, subnet })
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

/// The first subnet of the pools, or of Docker's, that the host has no way to, and that is none of `others`.
pub(crate) fn free_subnet(
    links: &mut Links,
    others: &[Subnet],
    pools: &[AddressPool],
    skip: usize,
) -> Result<Subnet, NetworkError> {
    let own: Vec<_> = pools.iter().filter(|pool| !pool.base.is_ipv6()).collect();
    let cut = || own.iter().flat_map(|pool| pool.subnets());
    match own.is_empty() {
        true => free_of(links, others, candidates().skip(skip).chain(candidates().take(skip))),
        false => free_of(links, others, cut().skip(skip).chain(cut().take(skip))),
    }
}

/// A subnet of the pools, or of the addresses that the engine has for itself alone: 48 bits that are its own,
/// 16 to choose.
pub(crate) fn free_subnet6(
    links: &mut Links,
    others: &[Subnet],
    pools: &[AddressPool],
    instance: Instance,
) -> Result<Subnet, NetworkError> {
    let mut own: Vec<_> = pools.iter().filter(|pool| pool.base.is_ipv6()).copied().collect();
    if own.is_empty() {
        own.push(AddressPool { base: instance.unique_local(), size: 64 });
    }
    free_of(links, others, own.into_iter().flat_map(AddressPool::subnets))
}

fn free_of(
    links: &mut Links,
    others: &[Subnet],
    mut all: impl Iterator<Item = Subnet>,
) -> Result<Subnet, NetworkError> {
    let routed = links.routed().map_err(NetworkError::netlink("list routes"))?;
    let is_free =
        |subnet: &Subnet| !routed.iter().chain(others).any(|other| other.overlaps(*subnet));
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
