//! One sandbox being made: in order, and taken back in reverse if any of it fails.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::attach::Attaching;
use super::network::Network;
use super::rules::{choose_gateways, opens, redirects_of};
use super::{Host, Whole, lock};
use crate::config::{GatewayMode, Kind};
use crate::error::NetworkError;
use crate::firewall::{Open, Published};
use crate::namespace::Namespace;
use crate::ports::{self, Taken};
use crate::ready::Ready;
use crate::sandbox::{BoundPort, Endpoint, PortMapping, Sandbox, SandboxId, SandboxRequest};

/// What there is of a sandbox so far. Dropped, it leaves nothing.
struct Making<'a> {
    host: &'a Host,
    id: &'a SandboxId,
    is_pinned: bool,
    addresses: Vec<(Arc<Network>, IpAddr)>,
    taken: Vec<Taken<'a>>,
    is_published: bool,
    opened: Vec<Open>,
}

impl Host {
    pub(super) fn make(&self, request: &SandboxRequest) -> Result<Whole, NetworkError> {
        let mut making = Making {
            host: self,
            id: &request.id,
            is_pinned: false,
            addresses: Vec::new(),
            taken: Vec::new(),
            is_published: false,
            opened: Vec::new(),
        };
        let mut endpoints = Vec::new();
        if request.endpoints.is_empty() {
            making.pin(&self.bare_namespace()?)?;
        } else {
            endpoints = making.endpoints(request)?;
        }
        let id = request.id.clone();
        let sandbox = Sandbox { path: self.pins.path(&id), id, endpoints };
        self.options.steps.at("record")?;
        self.records.put(&sandbox)?;
        Ok(making.keep(sandbox))
    }

    fn bare_namespace(&self) -> Result<Namespace, NetworkError> {
        self.bare.serve(|| Namespace::make(false));
        self.bare.take().map_or_else(|| Namespace::make(false), Ok)
    }
}

impl Making<'_> {
    fn endpoints(&mut self, request: &SandboxRequest) -> Result<Vec<Endpoint>, NetworkError> {
        ports::check(&request.ports)?;
        let host = self.host;
        let mut attaching = Vec::new();
        for (at, endpoint) in request.endpoints.iter().enumerate() {
            let network = host.network(&endpoint.network)?;
            let mut one = Attaching::begin(&network, endpoint)?;
            one.name_device(at);
            self.addresses.extend(one.addresses().map(|address| (network.clone(), address)));
            attaching.push(one);
        }
        let mut endpoints: Vec<_> = attaching.iter().map(|one| one.endpoint.clone()).collect();
        let publishing = {
            let networks = lock(&host.networks).clone();
            choose_gateways(&mut endpoints, &networks)
        };
        if let Some(at) = publishing {
            let network = attaching[at].network.clone();
            endpoints[at].ports =
                self.take_ports(&request.name, &request.ports, &endpoints[at], &network)?;
        }
        let mut first = self.namespace(&attaching)?;
        self.pin(&first.namespace)?;
        for (at, (one, endpoint)) in attaching.iter().zip(&endpoints).enumerate() {
            host.options.steps.at("address")?;
            let index = first.index.filter(|_| at == 0);
            one.attach(&mut first.namespace, index, endpoint)?;
        }
        if let Some(at) = publishing {
            let network = attaching[at].network.clone();
            self.publish(&endpoints[at], &network)?;
        }
        Ok(endpoints)
    }

    /// One that is ready, with the first device in it; else a fresh one.
    fn namespace(&self, attaching: &[Attaching]) -> Result<First, NetworkError> {
        let resolves = attaching.iter().any(|one| one.network.config().resolves());
        let fresh = || Ok(First { namespace: Namespace::make(resolves)?, index: None });
        let Some(first) = attaching.first() else { return fresh() };
        let config = first.network.config();
        let usual = format!("{}0", config.interface_prefix);
        let is_usual = matches!(config.kind, Kind::Bridge)
            && first.endpoint.interface == usual
            && resolves == config.resolves();
        if !is_usual {
            return fresh();
        }
        let ready = match first.network.ready.take() {
            Some(ready) => ready,
            None => Ready::make(&first.network.device)?,
        };
        Ok(First { namespace: ready.namespace, index: Some(ready.index) })
    }

    /// Takes the host's ports: those that must be certain ones first, so that none of them is chosen for
    /// another.
    fn take_ports(
        &mut self,
        name: &str,
        ports: &[PortMapping],
        endpoint: &Endpoint,
        network: &Network,
    ) -> Result<Vec<BoundPort>, NetworkError> {
        let (bound, taken) = self.host.take_ports(self.id, name, ports, endpoint, network)?;
        self.taken.extend(taken);
        Ok(bound)
    }

    fn pin(&mut self, namespace: &Namespace) -> Result<(), NetworkError> {
        let (pins, steps) = (&self.host.pins, &self.host.options.steps);
        self.is_pinned = true;
        steps.at("mount point")?;
        pins.prepare(self.id)?;
        steps.at("pin")?;
        pins.hold(self.id, namespace.as_fd())
    }

    fn publish(&mut self, endpoint: &Endpoint, network: &Network) -> Result<(), NetworkError> {
        let rules = redirects_of(endpoint);
        let open = opens(endpoint, network.config());
        if rules.is_empty() && open.is_empty() {
            return Ok(());
        }
        self.host.options.steps.at("publish")?;
        self.host.with_firewall(|firewall| firewall.publish(&rules))?;
        self.is_published = true;
        self.host.with_firewall(|firewall| firewall.open(&open, true))?;
        self.opened = open;
        Ok(())
    }

    fn keep(mut self, sandbox: Sandbox) -> Whole {
        self.is_pinned = false;
        self.is_published = false;
        self.addresses.clear();
        self.opened.clear();
        let taken = std::mem::take(&mut self.taken);
        let ports = taken.into_iter().map(|taken| (taken.published(), taken.keep())).collect();
        Whole { sandbox, ports }
    }
}

/// A namespace, and the device in it that is ready.
struct First {
    namespace: Namespace,
    index: Option<u32>,
}

impl Host {
    /// Takes the host's ports that mappings ask for, at the addresses that an endpoint can be reached by.
    pub(super) fn take_ports<'h>(
        &'h self,
        id: &SandboxId,
        name: &str,
        ports: &[PortMapping],
        endpoint: &Endpoint,
        network: &Network,
    ) -> Result<(Vec<BoundPort>, Vec<Taken<'h>>), NetworkError> {
        let config = network.config();
        let routed = |is_ipv6: bool| config.mode(is_ipv6) == GatewayMode::Routed;
        let mut order: Vec<_> = (0..ports.len()).collect();
        order.sort_by_key(|at| match ports[*at].host_port {
            Some((first, last)) => u32::from(last - first),
            None => u32::MAX,
        });
        let unspecified = IpAddr::from([0, 0, 0, 0]);
        let target = endpoint.address(false).or(endpoint.address(true)).unwrap_or(unspecified);
        let mut all: Vec<Vec<BoundPort>> = vec![Vec::new(); ports.len()];
        let mut kept = Vec::new();
        for at in order {
            let mapping = &ports[at];
            let addresses = ports::addresses_of(mapping, config.binding);
            let (open, redirected): (Vec<_>, Vec<_>) =
                addresses.into_iter().partition(|address| routed(address.is_ipv6()));
            let bound = |host_ip, host_port| BoundPort {
                container_port: mapping.container_port,
                protocol: mapping.protocol,
                host_ip,
                host_port,
            };
            all[at].extend(open.into_iter().map(|address| bound(address, 0)));
            if redirected.is_empty() {
                continue;
            }
            let taken = self.ports.take(mapping, &redirected, target).map_err(|fault| {
                NetworkError::Publish { name: name.to_owned(), id: id.clone(), fault }
            })?;
            let places = taken.iter().map(Taken::published);
            all[at].extend(places.map(|Published { address, port, .. }| bound(address, port)));
            kept.extend(taken);
        }
        Ok((all.into_iter().flatten().collect(), kept))
    }
}

impl Drop for Making<'_> {
    /// What cannot be taken back now is garbage for the next engine, having no record.
    fn drop(&mut self) {
        let published: Vec<_> = self.taken.iter().map(Taken::published).collect();
        if self.is_published {
            let opened = std::mem::take(&mut self.opened);
            let _ = self.host.with_firewall(|firewall| firewall.unpublish(&published));
            let _ = self.host.with_firewall(|firewall| firewall.open(&opened, false));
        }
        let unpinned = !self.is_pinned
            || self.host.records.remove(self.id).is_ok() & self.host.pins.remove(self.id).is_ok();
        if unpinned {
            self.addresses.drain(..).for_each(|(network, address)| network.give_back(address));
        }
    }
}
