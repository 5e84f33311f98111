//! The default network's bridge: found again, or made, once.
//!
//! The bridge's name carries the engine's mark, so one that is there is ours. Its addresses are those of
//! a subnet that is nobody's; engines that look for one at the same time take turns by a lock on a file.
//! The address on the bridge is the reservation: whoever looks next sees the way to it.
//! Absent on purpose: taking a bridge away at the end. It costs more than it does no harm.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dhow_sys::{Errno, NetlinkError};
use rustix::fs::{FlockOperation, flock};

use crate::address::Subnet;
use crate::error::NetworkError;
use crate::instance::Instance;
use crate::link::{Links, NewBridge};
use crate::sandbox::{DEFAULT_NETWORK, NetworkDetails};

/// The largest packet wherever nothing else is said.
const MTU: u32 = 1500;

/// A bridge that is up.
#[derive(Debug, Clone)]
pub(crate) struct Bridge {
    pub(crate) index: u32,
    pub(crate) subnet: Subnet,
    pub(crate) details: NetworkDetails,
}

/// What decides about the bridge.
#[derive(Debug)]
pub(crate) struct BridgeOptions {
    pub(crate) instance: Instance,
    /// The only subnet that it may have.
    pub(crate) pool: Option<Subnet>,
    pub(crate) lock: PathBuf,
    /// Whether another subnet than the bridge's is reason enough to make a new one.
    pub(crate) may_replace: bool,
}

impl Bridge {
    /// The bridge of an engine.
    pub(crate) fn ensure(options: &BridgeOptions) -> Result<Self, NetworkError> {
        let name = options.instance.bridge();
        let mut links = Links::open().map_err(NetworkError::netlink("open a netlink socket"))?;
        if let Some(bridge) = Self::find(&mut links, &name, options)? {
            return Ok(bridge);
        }
        let _turn = lock(&options.lock)?;
        let subnet = match options.pool {
            Some(subnet) => subnet,
            None => free_subnet(&mut links)?,
        };
        let address = subnet
            .nth(1)
            .filter(|_| subnet.size() >= 4)
            .ok_or(NetworkError::SubnetTooSmall { subnet })?;
        let mac = options.instance.bridge_mac();
        let index = links
            .make_bridge(&NewBridge { name: &name, mac, mtu: MTU, address, subnet })
            .map_err(NetworkError::netlink(format!("make bridge {name}")))?;
        Ok(Self::new(index, name, subnet))
    }

    /// The bridge, if there is one with addresses that suit.
    fn find(
        links: &mut Links,
        name: &str,
        options: &BridgeOptions,
    ) -> Result<Option<Self>, NetworkError> {
        let looking = || NetworkError::netlink::<NetlinkError>(format!("look at {name}"));
        let Some(found) = links.find(name).map_err(looking())? else { return Ok(None) };
        if found.kind != "bridge" {
            return Err(NetworkError::NoBridge { interface: name.to_owned() });
        }
        let addresses = links.addresses(found.index).map_err(looking())?;
        let suits = |subnet: &Subnet| options.pool.is_none_or(|pool| pool == *subnet);
        // An engine that was killed may have made the bridge and not given it an address.
        let subnet = addresses.iter().find(|(address, subnet)| subnet.nth(1) == Some(*address));
        match subnet.map(|(_, subnet)| *subnet) {
            Some(subnet) if suits(&subnet) || !options.may_replace => {
                links.bring_up(found.index).map_err(looking())?;
                Ok(Some(Self::new(found.index, name.to_owned(), subnet)))
            }
            _ => {
                let removing = NetworkError::netlink(format!("remove bridge {name}"));
                links.remove(found.index).map_err(removing)?;
                Ok(None)
            }
        }
    }

    fn new(index: u32, interface: String, subnet: Subnet) -> Self {
        let details = NetworkDetails {
            name: DEFAULT_NETWORK.to_owned(),
            interface,
            subnet,
            gateway: subnet.nth(1).unwrap_or(subnet.first()),
            mtu: MTU,
        };
        Self { index, subnet, details }
    }

    /// Lets answers to the host's loopback addresses come back through the bridge. Only with the rules in
    /// force that keep containers from using it.
    pub(crate) fn route_loopback(&self) -> Result<(), NetworkError> {
        let name = &self.details.interface;
        set(&format!("/proc/sys/net/ipv4/conf/{name}/route_localnet"), "1")
    }
}

/// Takes the engine's bridge away, if there is one.
pub(crate) fn remove(instance: Instance) -> Result<(), NetworkError> {
    let name = instance.bridge();
    let removing = || NetworkError::netlink::<NetlinkError>(format!("remove bridge {name}"));
    let mut links = Links::open().map_err(NetworkError::netlink("open a netlink socket"))?;
    match links.find(&name).map_err(removing())? {
        Some(found) => links.remove(found.index).map_err(removing()),
        None => Ok(()),
    }
}

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Whether the host forwards packets.
pub(crate) fn forwards() -> Result<bool, NetworkError> {
    let text = fs::read_to_string(FORWARDING).map_err(NetworkError::io("read", FORWARDING))?;
    Ok(text.trim() != "0")
}

/// Makes the host forward packets.
pub(crate) fn forward() -> Result<(), NetworkError> {
    set(FORWARDING, "1")
}

/// Ends that.
pub(crate) fn stop_forwarding() -> Result<(), NetworkError> {
    set(FORWARDING, "0")
}

fn set(path: &str, value: &str) -> Result<(), NetworkError> {
    fs::write(path, value).map_err(NetworkError::io("write", path))
}

/// The first of Docker's subnets that the host has no way to.
fn free_subnet(links: &mut Links) -> Result<Subnet, NetworkError> {
    let routed = links.routed().map_err(NetworkError::netlink("list routes"))?;
    let is_free = |subnet: &Subnet| !routed.iter().any(|other| other.overlaps(*subnet));
    candidates().find(is_free).ok_or(NetworkError::NoSubnet)
}

/// 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/20 to 192.168.240.0/20, as Docker has them.
fn candidates() -> impl Iterator<Item = Subnet> {
    let large = (17..32).filter_map(|n| Subnet::around([172, n, 0, 0].into(), 16));
    let small = (0..16).filter_map(|n| Subnet::around([192, 168, n << 4, 0].into(), 20));
    large.chain(small)
}

/// Waits for the turn; it ends when the file is closed, however that comes.
fn lock(path: &Path) -> Result<File, NetworkError> {
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
