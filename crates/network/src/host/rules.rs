//! What a sandbox's ports are in rules, and which of its networks leads out.
//!
//! Invariant: of each kind of addresses, one network at most leads out, and ports are published by way of it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::network::Network;
use crate::config::{GatewayMode, Kind, NetworkConfig};
use crate::firewall::{Open, Published, Target};
use crate::sandbox::{BoundPort, Endpoint, Sandbox};

type Networks = HashMap<String, Arc<Network>>;

/// What is in force for a sandbox.
pub(super) fn rules_of(sandbox: &Sandbox, networks: &Networks) -> Vec<(Published, Target)> {
    let known = |endpoint: &&Endpoint| networks.contains_key(&endpoint.network);
    sandbox.endpoints.iter().filter(known).flat_map(redirects_of).collect()
}

/// What of a sandbox is open at its own address.
pub(super) fn opens_of(sandbox: &Sandbox, networks: &Networks) -> Vec<Open> {
    let mut all = Vec::new();
    for endpoint in &sandbox.endpoints {
        let Some(network) = networks.get(&endpoint.network) else { continue };
        all.extend(opens(endpoint, network.config()));
    }
    all
}

/// Connections to the host that lead to an endpoint.
pub(super) fn redirects_of(endpoint: &Endpoint) -> Vec<(Published, Target)> {
    endpoint.ports.iter().filter_map(|port| redirect(endpoint, port)).collect()
}

fn redirect(endpoint: &Endpoint, port: &BoundPort) -> Option<(Published, Target)> {
    let address = endpoint.address(port.host_ip.is_ipv6()).filter(|_| port.host_port != 0)?;
    let published =
        Published { address: port.host_ip, protocol: port.protocol, port: port.host_port };
    Some((published, Target { address, port: port.container_port }))
}

/// What of an endpoint is open at its own address.
pub(super) fn opens(endpoint: &Endpoint, config: &NetworkConfig) -> Vec<Open> {
    let open = |port: &BoundPort| {
        let is_ipv6 = port.host_ip.is_ipv6();
        let address = endpoint.address(is_ipv6)?;
        let routed = config.mode(is_ipv6) == GatewayMode::Routed;
        routed.then_some(Open { address, protocol: port.protocol, port: port.container_port })
    };
    endpoint.ports.iter().filter_map(open).collect()
}

/// The ports of the host that a sandbox has.
pub(super) fn published(endpoints: &[Endpoint]) -> impl Iterator<Item = Published> {
    endpoints.iter().flat_map(|endpoint| &endpoint.ports).filter(|port| port.host_port != 0).map(
        |port| Published { address: port.host_ip, protocol: port.protocol, port: port.host_port },
    )
}

/// Decides which endpoints lead out; the others lose their gateways. Says which publishes ports.
pub(super) fn choose_gateways(endpoints: &mut [Endpoint], networks: &Networks) -> Option<usize> {
    let config = |endpoint: &Endpoint| networks.get(&endpoint.network).map(|one| one.config());
    let best = |endpoints: &[Endpoint], is_ipv6: bool| {
        let leads = |endpoint: &(usize, &Endpoint)| {
            let address = endpoint.1.address(is_ipv6);
            config(endpoint.1)
                .zip(address)
                .is_some_and(|(config, own)| config.gateway(own).is_some())
        };
        let rank = |endpoint: &(usize, &Endpoint)| {
            let name = config(endpoint.1).map(|config| config.name.clone());
            (endpoint.1.gateway_priority, std::cmp::Reverse(name))
        };
        endpoints.iter().enumerate().filter(leads).max_by_key(rank).map(|(at, _)| at)
    };
    let (out4, out6) = (best(endpoints, false), best(endpoints, true));
    for (at, endpoint) in endpoints.iter_mut().enumerate() {
        let way = |is_ipv6, out| {
            let config = networks.get(&endpoint.network).map(|one| one.config())?;
            config.gateway(endpoint.address(is_ipv6)?).filter(|_| out == Some(at))
        };
        let (way4, way6) = (way(false, out4), way(true, out6));
        endpoint.gateway = way4.and_then(to_v4);
        endpoint.gateway6 = way6.and_then(to_v6);
    }
    let publishes = |at: &usize| {
        config(&endpoints[*at]).is_some_and(|config| matches!(config.kind, Kind::Bridge))
    };
    out4.filter(publishes).or(out6.filter(publishes))
}

pub(super) fn to_v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

pub(super) fn to_v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    }
}
