//! One endpoint being made: its addresses, then its device.
//!
//! Invariant: dropped before it is kept, it gives its addresses back.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use dhow_sys::{Errno, NetlinkError};

use super::network::Network;
use super::rules::{to_v4, to_v6};
use crate::address::{Mac, Subnet};
use crate::config::{Kind, Rate};
use crate::error::NetworkError;
use crate::link::{Addressing, Gateway, Links, NewBeside};
use crate::namespace::Namespace;
use crate::ready::plug;
use crate::sandbox::{Endpoint, EndpointRequest};

/// An endpoint that has its addresses.
#[derive(Debug)]
pub(super) struct Attaching {
    pub(super) network: Arc<Network>,
    pub(super) endpoint: Endpoint,
    request: EndpointRequest,
}

impl Attaching {
    /// Takes what is asked for from the network's addresses. They are the caller's to give back.
    pub(super) fn begin(
        network: &Arc<Network>,
        request: &EndpointRequest,
    ) -> Result<Self, NetworkError> {
        let config = network.config();
        if request.rate.inward > 0 && !matches!(config.kind, Kind::Bridge) {
            // What comes in there is sent by nobody whom we could bound.
            return Err(NetworkError::UnknownOption { name: "dhow.rate.in".to_owned() });
        }
        let ipv4 = network.take_address(false, request.ipv4.map(IpAddr::V4))?;
        let ipv6 = match network.take_address(true, request.ipv6.map(IpAddr::V6)) {
            Ok(address) => address,
            Err(error) => {
                ipv4.into_iter().for_each(|address| network.give_back(address));
                return Err(error);
            }
        };
        let prefix = |address: Option<IpAddr>| {
            let around = address.and_then(|address| config.around(address));
            around.map_or(0, |addresses| addresses.subnet.prefix())
        };
        let mac = request.mac.or_else(|| ipv4.and_then(to_v4).map(Mac::of)).or_else(|| {
            let bits = ipv6.and_then(to_v6).map(|address| address.to_bits());
            bits.map(|bits| Mac::local(bits as u64 & 0xff_ffff_ffff))
        });
        let endpoint = Endpoint {
            network: config.key.clone(),
            interface: request.interface.clone().unwrap_or_default(),
            mac: mac.unwrap_or(Mac::local(0)),
            ipv4: ipv4.and_then(to_v4),
            prefix: prefix(ipv4),
            gateway: None,
            ipv6: ipv6.and_then(to_v6),
            prefix6: prefix(ipv6),
            gateway6: None,
            gateway_priority: request.gateway_priority,
            ports: Vec::new(),
        };
        Ok(Self { network: network.clone(), endpoint, request: request.clone() })
    }

    /// What its device is called unless somebody said so.
    pub(super) fn name_device(&mut self, number: usize) {
        if self.endpoint.interface.is_empty() {
            self.endpoint.interface = format!("{}{number}", self.network.config().interface_prefix);
        }
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        [self.endpoint.address(false), self.endpoint.address(true)].into_iter().flatten()
    }

    /// Makes the device, unless it is there, and gives it what the endpoint has.
    pub(super) fn attach(
        &self,
        namespace: &mut Namespace,
        ready: Option<u32>,
        endpoint: &Endpoint,
    ) -> Result<(), NetworkError> {
        let config = self.network.config();
        let inside = &endpoint.interface;
        let index = match (ready, &config.kind) {
            (Some(index), _) => index,
            (None, Kind::Bridge) => plug(&self.network.device, namespace, inside)?.index,
            (None, _) => self.make_beside(namespace, inside)?,
        };
        if endpoint.ipv6.is_some() {
            let setting = vec![("net.ipv6.conf.IFNAME.disable_ipv6".to_owned(), "0".to_owned())];
            set_inside(namespace, inside, &setting)?;
        }
        let giving = || {
            let all: Vec<_> = self.addresses().map(|one| one.to_string()).collect();
            NetworkError::netlink::<NetlinkError>(format!(
                "give {inside} the address {}",
                all.join(", ")
            ))
        };
        let to = self.addressing(endpoint);
        let given = match config.kind {
            Kind::Bridge => namespace.links().give_address(index, &to),
            _ => namespace.links().give_address_beside(index, &to),
        };
        given.map_err(giving())?;
        set_inside(namespace, inside, &self.request.sysctls)?;
        let Rate { inward, outward } = self.rate();
        let bounding =
            || NetworkError::netlink::<NetlinkError>(format!("bound the rate of {inside}"));
        if outward > 0 {
            namespace.links().bound(index, outward).map_err(bounding())?;
        }
        // That of the network the device has from its making.
        if inward > 0 && inward != config.rate.inward {
            self.bound_outside(namespace, index, inward).map_err(bounding())?;
        }
        Ok(())
    }

    /// The narrower bound counts.
    fn rate(&self) -> Rate {
        let narrower = |a: u64, b: u64| match (a, b) {
            (0, other) | (other, 0) => other,
            (a, b) => a.min(b),
        };
        let (own, all) = (self.request.rate, self.network.config().rate);
        Rate {
            inward: narrower(own.inward, all.inward),
            outward: narrower(own.outward, all.outward),
        }
    }

    /// Bounds what comes in: what the other end of the pair sends.
    fn bound_outside(
        &self,
        namespace: &mut Namespace,
        index: u32,
        rate: u64,
    ) -> Result<(), NetlinkError> {
        let outside = namespace.links().peer_of(index)?.ok_or(Errno::OPNOTSUPP)?;
        Links::open()?.bound(outside, rate)
    }

    fn addressing(&self, endpoint: &Endpoint) -> Addressing {
        let config = self.network.config();
        let own = |address: IpAddr| Some((address, config.around(address)?.subnet));
        let both = [endpoint.address(false), endpoint.address(true)];
        let mut addresses: Vec<(IpAddr, Subnet)> =
            both.into_iter().flatten().filter_map(own).collect();
        // Neighbours are asked for from this one where a packet comes from another device's address.
        let own = endpoint.ipv6.map(|_| IpAddr::V6(endpoint.mac.link_local()));
        addresses.extend(self.request.link_local.iter().chain(&own).filter_map(|one| {
            let prefix = if one.is_ipv6() { 64 } else { 16 };
            Subnet::around(*one, prefix).map(|subnet| (*one, subnet))
        }));
        let shares = matches!(config.kind, Kind::Ipvlan { .. });
        Addressing {
            mac: (!shares).then_some(endpoint.mac),
            addresses,
            gateways: gateways_of(endpoint, &config.kind),
        }
    }

    fn make_beside(&self, namespace: &mut Namespace, inside: &str) -> Result<u32, NetworkError> {
        let config = self.network.config();
        let word = if let Kind::Ipvlan { .. } = config.kind { "ipvlan" } else { "macvlan" };
        let making = |error: NetlinkError| match error.errno {
            Errno::OPNOTSUPP => NetworkError::NoKind { kind: word },
            _ => NetworkError::netlink(format!("make {word} device {inside}"))(error),
        };
        let mut host = super::network::open_links()?;
        host.make_beside(&NewBeside {
            kind: &config.kind,
            parent: self.network.device.index,
            mtu: config.mtu,
            namespace: namespace.as_fd(),
            inside,
        })
        .map_err(making)?;
        let bringing = || NetworkError::netlink::<NetlinkError>(format!("bring up {inside}"));
        let found = namespace.links().find(inside).map_err(bringing())?;
        let index = found.ok_or(Errno::NODEV.into()).map_err(bringing())?.index;
        namespace.links().bring_up(index).map_err(bringing())?;
        Ok(index)
    }
}

/// The ways out that an endpoint is.
pub(super) fn gateways_of(endpoint: &Endpoint, kind: &Kind) -> Vec<Gateway> {
    use crate::options::Ipvlan;
    // On the host's routes there is no gateway among neighbours.
    let is_routed = matches!(kind, Kind::Ipvlan { mode: Ipvlan::L3 | Ipvlan::L3s, .. });
    let way = |address: IpAddr| match is_routed {
        true => Gateway::Device { is_ipv6: address.is_ipv6() },
        false => Gateway::By(address),
    };
    let all = [endpoint.gateway.map(IpAddr::V4), endpoint.gateway6.map(IpAddr::V6)];
    all.into_iter().flatten().map(way).collect()
}

/// Writes settings below `/proc/sys`, as a process inside would. What is none of a device's is refused.
fn set_inside(
    namespace: &Namespace,
    interface: &str,
    settings: &[(String, String)],
) -> Result<(), NetworkError> {
    if settings.is_empty() {
        return Ok(());
    }
    Namespace::inside(namespace.as_fd(), || {
        for (name, value) in settings {
            let path = format!("/proc/sys/{}", name.replace('.', "/").replace("IFNAME", interface));
            match std::fs::write(&path, value) {
                // A kernel without IPv6 has no such setting, and nothing to turn on.
                Err(_) if name.ends_with(".disable_ipv6") => {}
                written => written.map_err(NetworkError::io("write", path))?,
            }
        }
        Ok(())
    })
}
