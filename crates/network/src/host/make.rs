//! One sandbox being made: in order, and taken back in reverse if any of it fails.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;

use crate::address::Mac;
use crate::error::NetworkError;
use crate::firewall::{Published, Target};
use crate::link::{Addressing, INSIDE};
use crate::namespace::Namespace;
use crate::ports::{self, Taken, rule};
use crate::ready::Ready;
use crate::sandbox::{
    BoundPort, DEFAULT_NETWORK, Endpoint, EndpointRequest, Sandbox, SandboxId, SandboxRequest,
};

use super::{Host, Whole};

/// What there is of a sandbox so far. Dropped, it leaves nothing.
struct Making<'a> {
    host: &'a Host,
    id: &'a SandboxId,
    is_pinned: bool,
    address: Option<Ipv4Addr>,
    taken: Vec<Taken<'a>>,
    is_published: bool,
}

impl Host {
    pub(super) fn make(&self, request: &SandboxRequest) -> Result<Whole, NetworkError> {
        let mut making = Making {
            host: self,
            id: &request.id,
            is_pinned: false,
            address: None,
            taken: Vec::new(),
            is_published: false,
        };
        let mut endpoints = Vec::new();
        match &request.endpoint {
            None => making.pin(&self.bare_namespace()?)?,
            Some(endpoint) => endpoints.push(making.endpoint(&request.name, endpoint)?),
        }
        let id = request.id.clone();
        let sandbox = Sandbox { path: self.pins.path(&id), id, endpoints };
        self.options.steps.at("record")?;
        self.records.put(&sandbox)?;
        Ok(making.keep(sandbox))
    }
}

impl Host {
    fn bare_namespace(&self) -> Result<Namespace, NetworkError> {
        self.bare.serve(Namespace::make);
        self.bare.take().map_or_else(Namespace::make, Ok)
    }
}

impl Making<'_> {
    fn endpoint(
        &mut self,
        name: &str,
        request: &EndpointRequest,
    ) -> Result<Endpoint, NetworkError> {
        if request.network != DEFAULT_NETWORK {
            return Err(NetworkError::UnknownNetwork { name: request.network.clone() });
        }
        ports::check(&request.ports)?;
        let bridge = self.host.bridge()?;
        let address = self.host.take_address(request.ipv4)?;
        self.address = Some(address);
        let ports = self.take_ports(name, request, address)?;
        let mut ready = match self.host.ready.take() {
            Some(ready) => ready,
            None => Ready::make(&bridge)?,
        };
        self.pin(&ready.namespace)?;
        let details = bridge.details;
        let to = Addressing {
            mac: request.mac.unwrap_or(Mac::of(address)),
            address,
            subnet: details.subnet,
            gateway: details.gateway,
        };
        self.host.options.steps.at("address")?;
        ready
            .namespace
            .links()
            .give_address(ready.index, &to)
            .map_err(NetworkError::netlink(format!("give {INSIDE} the address {address}")))?;
        self.publish(&ports, address)?;
        Ok(Endpoint {
            network: details.name,
            interface: INSIDE.to_owned(),
            mac: to.mac,
            ipv4: address,
            prefix: details.subnet.prefix(),
            gateway: details.gateway,
            ports,
        })
    }

    /// Takes the host's ports: those that must be certain ones first, so that none of them is chosen for
    /// another.
    fn take_ports(
        &mut self,
        name: &str,
        request: &EndpointRequest,
        address: Ipv4Addr,
    ) -> Result<Vec<BoundPort>, NetworkError> {
        let mut order: Vec<_> = (0..request.ports.len()).collect();
        order.sort_by_key(|at| match request.ports[*at].host_port {
            Some((first, last)) => u32::from(last - first),
            None => u32::MAX,
        });
        let mut bound = vec![None; request.ports.len()];
        for at in order {
            let mapping = &request.ports[at];
            let taken = self.host.ports.take(mapping, address).map_err(|fault| {
                let (name, id) = (name.to_owned(), self.id.clone());
                NetworkError::Publish { name, id, fault }
            })?;
            bound[at] = Some(BoundPort {
                container_port: mapping.container_port,
                protocol: mapping.protocol,
                host_ip: IpAddr::V4(taken.published().address),
                host_port: taken.published().port,
            });
            self.taken.push(taken);
        }
        Ok(bound.into_iter().flatten().collect())
    }

    fn pin(&mut self, namespace: &Namespace) -> Result<(), NetworkError> {
        let (pins, steps) = (&self.host.pins, &self.host.options.steps);
        self.is_pinned = true;
        steps.at("mount point")?;
        pins.prepare(self.id)?;
        steps.at("pin")?;
        pins.hold(self.id, namespace.as_fd())
    }

    fn publish(&mut self, ports: &[BoundPort], address: Ipv4Addr) -> Result<(), NetworkError> {
        if ports.is_empty() {
            return Ok(());
        }
        self.host.options.steps.at("publish")?;
        let rules: Vec<(Published, Target)> =
            ports.iter().filter_map(|port| rule(port, address)).collect();
        self.host.with_firewall(|firewall| firewall.publish(&rules))?;
        self.is_published = true;
        Ok(())
    }

    fn keep(mut self, sandbox: Sandbox) -> Whole {
        self.is_pinned = false;
        self.is_published = false;
        self.address = None;
        let taken = std::mem::take(&mut self.taken);
        let ports = taken.into_iter().map(|taken| (taken.published(), taken.keep())).collect();
        Whole { sandbox, ports }
    }
}

impl Drop for Making<'_> {
    /// What cannot be taken back now is garbage for the next engine, having no record.
    fn drop(&mut self) {
        let published: Vec<_> = self.taken.iter().map(Taken::published).collect();
        if self.is_published {
            let _ = self.host.with_firewall(|firewall| firewall.unpublish(&published));
        }
        let unpinned = !self.is_pinned
            || self.host.records.remove(self.id).is_ok() & self.host.pins.remove(self.id).is_ok();
        if let Some(address) = self.address.filter(|_| unpinned) {
            self.host.give_back(address);
        }
    }
}
