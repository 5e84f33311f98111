//! A sandbox that is in use being changed: one more network, one less, other ports.
//!
//! Invariant: the record is of what is whole: it names a new endpoint when that is, and forgets an old one
//! before anything of it goes. A mark tells the next engine that the sandbox was being changed.

use std::os::fd::AsFd;

use dhow_sys::NetlinkError;

use super::attach::{Attaching, gateways_of};
use super::rules::{choose_gateways, opens, published, redirects_of};
use super::{Host, Place, Whole, lock};
use crate::error::NetworkError;
use crate::firewall::{Open, Published, Target};
use crate::namespace::Namespace;
use crate::ports::{self, Held};
use crate::resolver;
use crate::sandbox::{
    BoundPort, Endpoint, EndpointRequest, PortMapping, Protocol, Sandbox, SandboxId,
};

impl Host {
    /// Gives a sandbox a place in one more network.
    pub fn connect(
        &self,
        id: &SandboxId,
        request: &EndpointRequest,
    ) -> Result<Sandbox, NetworkError> {
        self.change(id, |whole| self.connect_whole(whole, request))
    }

    /// Takes a sandbox's place in a network away; from the books alone, if its namespace cannot be entered and
    /// that is no obstacle (`force`).
    pub fn disconnect(
        &self,
        id: &SandboxId,
        key: &str,
        force: bool,
    ) -> Result<Sandbox, NetworkError> {
        self.change(id, |whole| self.disconnect_whole(whole, key, force))
    }

    /// Publishes more ports of a sandbox, all or none; `name` is what errors call it.
    pub fn publish(
        &self,
        id: &SandboxId,
        name: &str,
        ports: &[PortMapping],
    ) -> Result<Sandbox, NetworkError> {
        self.change(id, |whole| self.publish_whole(whole, name, ports))
    }

    /// Takes ports of a sandbox back: all of a container's port and protocol, or at one port of the host.
    pub fn unpublish(
        &self,
        id: &SandboxId,
        ports: &[(u16, Protocol, Option<u16>)],
    ) -> Result<Sandbox, NetworkError> {
        self.change(id, |whole| self.unpublish_whole(whole, ports))
    }

    /// Does something to a sandbox that nobody else is at work on.
    fn change(
        &self,
        id: &SandboxId,
        work: impl FnOnce(&mut Whole) -> Result<(), NetworkError>,
    ) -> Result<Sandbox, NetworkError> {
        let unknown = || NetworkError::UnknownSandbox { id: id.clone() };
        let mut whole = {
            let mut sandboxes = self.sandboxes();
            match sandboxes.insert(id.clone(), Place::Busy) {
                Some(Place::Whole(whole)) => whole,
                Some(Place::Busy) => return Err(NetworkError::Busy { id: id.clone() }),
                None => {
                    sandboxes.remove(id);
                    return Err(unknown());
                }
            }
        };
        let result = work(&mut whole);
        let sandbox = whole.sandbox.clone();
        self.sandboxes().insert(id.clone(), Place::Whole(whole));
        result.map(|()| sandbox)
    }

    fn connect_whole(
        &self,
        whole: &mut Whole,
        request: &EndpointRequest,
    ) -> Result<(), NetworkError> {
        let id = whole.sandbox.id.clone();
        let network = self.network(&request.network)?;
        if whole.sandbox.endpoints.iter().any(|one| one.network == request.network) {
            let network = network.config().name.clone();
            return Err(NetworkError::Connected { id, network });
        }
        let mut namespace = self.entered(&id)?;
        let mut attaching = Attaching::begin(&network, request)?;
        let taken: Vec<_> = whole.sandbox.endpoints.iter().map(|one| &one.interface).collect();
        let prefix = &network.config().interface_prefix;
        let is_free = |number: &usize| !taken.contains(&&format!("{prefix}{number}"));
        attaching.name_device((0..).find(is_free).unwrap_or_default());
        let connected = self.connect_attaching(whole, &attaching, &mut namespace);
        if connected.is_err() {
            let interface = &attaching.endpoint.interface;
            let removed = remove_device(&mut namespace, interface);
            attaching.addresses().for_each(|address| network.give_back(address));
            // What stays is seen by the next engine.
            if removed.is_ok() {
                let _ = self.records.remove_mark(&id);
            }
        }
        connected
    }

    fn connect_attaching(
        &self,
        whole: &mut Whole,
        attaching: &Attaching,
        namespace: &mut Namespace,
    ) -> Result<(), NetworkError> {
        let id = whole.sandbox.id.clone();
        let steps = &self.options.steps;
        steps.at("mark change")?;
        self.records.put_mark(&id, &attaching.endpoint.interface)?;
        let known = |endpoint: &Endpoint| {
            self.network(&endpoint.network).is_ok_and(|network| network.config().resolves())
        };
        if attaching.network.config().resolves() && !whole.sandbox.endpoints.iter().any(known) {
            Namespace::inside(namespace.as_fd(), resolver::redirect)?;
        }
        steps.at("connect")?;
        attaching.attach(namespace, None, &attaching.endpoint)?;
        let mut endpoints = whole.sandbox.endpoints.clone();
        endpoints.push(attaching.endpoint.clone());
        self.reroute(whole, endpoints, Some(namespace))?;
        steps.at("unmark change")?;
        self.records.remove_mark(&id)
    }

    fn disconnect_whole(
        &self,
        whole: &mut Whole,
        key: &str,
        force: bool,
    ) -> Result<(), NetworkError> {
        let id = whole.sandbox.id.clone();
        let position = whole.sandbox.endpoints.iter().position(|one| one.network == key);
        let missing = || NetworkError::NotConnected { id: id.clone(), network: key.to_owned() };
        let at = position.ok_or_else(missing)?;
        let mut namespace = match self.entered(&id) {
            Err(_) if force => None,
            entered => Some(entered?),
        };
        let mut endpoints = whole.sandbox.endpoints.clone();
        let gone = endpoints.remove(at);
        let steps = &self.options.steps;
        steps.at("mark change")?;
        self.records.put_mark(&id, &gone.interface)?;
        self.reroute(whole, endpoints, namespace.as_mut())?;
        steps.at("disconnect")?;
        if let Some(namespace) = &mut namespace {
            remove_device(namespace, &gone.interface)?;
        }
        if let Ok(network) = self.network(key) {
            let both = [gone.address(false), gone.address(true)];
            both.into_iter().flatten().for_each(|address| network.give_back(address));
        }
        steps.at("unmark change")?;
        self.records.remove_mark(&id)
    }

    /// Goes over to other endpoints: their record, then the ways out and the ports.
    fn reroute(
        &self,
        whole: &mut Whole,
        mut endpoints: Vec<Endpoint>,
        namespace: Option<&mut Namespace>,
    ) -> Result<(), NetworkError> {
        let networks = lock(&self.networks).clone();
        let publishing = choose_gateways(&mut endpoints, &networks);
        let ports: Vec<BoundPort> =
            whole.sandbox.endpoints.iter().flat_map(|one| one.ports.iter().copied()).collect();
        for (at, endpoint) in endpoints.iter_mut().enumerate() {
            endpoint.ports = if publishing == Some(at) { ports.clone() } else { Vec::new() };
        }
        let old = std::mem::replace(&mut whole.sandbox.endpoints, endpoints);
        self.options.steps.at("record change")?;
        if let Err(error) = self.records.put(&whole.sandbox) {
            whole.sandbox.endpoints = old;
            return Err(error);
        }
        self.options.steps.at("routes")?;
        if let Some(namespace) = namespace {
            self.set_routes(&whole.sandbox, namespace)?;
        }
        self.options.steps.at("move ports")?;
        self.move_ports(whole, &old)
    }

    fn set_routes(&self, sandbox: &Sandbox, namespace: &mut Namespace) -> Result<(), NetworkError> {
        let routing = || NetworkError::netlink::<NetlinkError>("set the way out");
        let leads = |is_ipv6: bool| {
            sandbox.endpoints.iter().any(|one| match is_ipv6 {
                false => one.gateway.is_some(),
                true => one.gateway6.is_some(),
            })
        };
        for is_ipv6 in [false, true] {
            if !leads(is_ipv6) {
                namespace.links().clear_gateway(is_ipv6).map_err(routing())?;
            }
        }
        for endpoint in &sandbox.endpoints {
            let network = self.network(&endpoint.network)?;
            for gateway in gateways_of(endpoint, &network.config().kind) {
                let found = namespace.links().find(&endpoint.interface).map_err(routing())?;
                let Some(found) = found else { continue };
                namespace.links().set_gateway(found.index, gateway).map_err(routing())?;
            }
        }
        Ok(())
    }

    /// Ports lead to where they are published by now; those that nobody publishes are free.
    fn move_ports(&self, whole: &mut Whole, old: &[Endpoint]) -> Result<(), NetworkError> {
        let networks = lock(&self.networks).clone();
        let of = |endpoints: &[Endpoint]| {
            let redirects: Vec<_> = endpoints.iter().flat_map(redirects_of).collect();
            let open = endpoints
                .iter()
                .filter_map(|one| Some(opens(one, networks.get(&one.network)?.config())));
            (redirects, open.flatten().collect::<Vec<Open>>())
        };
        let (before, open_before) = of(old);
        let (after, open_after) = of(&whole.sandbox.endpoints);
        let gone: Vec<Published> = before
            .iter()
            .map(|(place, _)| *place)
            .filter(|place| after.iter().all(|(other, _)| other != place))
            .collect();
        let new: Vec<(Published, Target)> =
            after.iter().filter(|rule| !before.contains(rule)).copied().collect();
        self.with_firewall(|firewall| {
            firewall.unpublish(&gone)?;
            firewall.publish(&new)?;
            let kept = |port: &&Open| !open_after.contains(*port);
            let closed: Vec<_> = open_before.iter().filter(kept).copied().collect();
            firewall.open(&closed, false)?;
            firewall.open(&open_after, true)
        })?;
        let held: Vec<_> = published(&whole.sandbox.endpoints).collect();
        for at in (0..whole.ports.len()).rev() {
            if !held.contains(&whole.ports[at].0) {
                let (place, held) = whole.ports.swap_remove(at);
                self.ports.give_back(place, held);
            }
        }
        Ok(())
    }

    fn publish_whole(
        &self,
        whole: &mut Whole,
        name: &str,
        mappings: &[PortMapping],
    ) -> Result<(), NetworkError> {
        ports::check(mappings)?;
        let mut endpoints = whole.sandbox.endpoints.clone();
        let networks = lock(&self.networks).clone();
        let Some(at) = choose_gateways(&mut endpoints, &networks) else {
            let none = match mappings.is_empty() {
                true => Ok(()),
                false => Err(NetworkError::NoWayIn { id: whole.sandbox.id.clone() }),
            };
            return none;
        };
        let network = self.network(&endpoints[at].network)?;
        let id = whole.sandbox.id.clone();
        let (bound, taken) = self.take_ports(&id, name, mappings, &endpoints[at], &network)?;
        endpoints[at].ports.extend(bound);
        let old = std::mem::replace(&mut whole.sandbox.endpoints, endpoints);
        let all = |endpoints: &[Endpoint]| endpoints.iter().flat_map(redirects_of).collect();
        let rules: Vec<_> = all(&whole.sandbox.endpoints);
        let before: Vec<_> = all(&old);
        let new: Vec<_> = rules.into_iter().filter(|rule| !before.contains(rule)).collect();
        self.options.steps.at("publish more")?;
        let result = self
            .with_firewall(|firewall| {
                firewall.publish(&new)?;
                let open = opens(&whole.sandbox.endpoints[at], network.config());
                firewall.open(&open, true)
            })
            .and_then(|()| self.records.put(&whole.sandbox));
        if let Err(error) = result {
            let places: Vec<_> = new.iter().map(|(place, _)| *place).collect();
            let _ = self.with_firewall(|firewall| firewall.unpublish(&places));
            whole.sandbox.endpoints = old;
            return Err(error);
        }
        let kept: Vec<(Published, Held)> =
            taken.into_iter().map(|taken| (taken.published(), taken.keep())).collect();
        whole.ports.extend(kept);
        Ok(())
    }

    fn unpublish_whole(
        &self,
        whole: &mut Whole,
        ports: &[(u16, Protocol, Option<u16>)],
    ) -> Result<(), NetworkError> {
        let goes = |port: &BoundPort| {
            ports.iter().any(|(container, protocol, host)| {
                port.container_port == *container
                    && port.protocol == *protocol
                    && host.is_none_or(|host| port.host_port == host)
            })
        };
        let old = whole.sandbox.endpoints.clone();
        for endpoint in &mut whole.sandbox.endpoints {
            endpoint.ports.retain(|port| !goes(port));
        }
        self.options.steps.at("record fewer ports")?;
        if let Err(error) = self.records.put(&whole.sandbox) {
            whole.sandbox.endpoints = old;
            return Err(error);
        }
        self.options.steps.at("unpublish some")?;
        self.move_ports(whole, &old)
    }

    /// What a killed engine was changing: devices that are no endpoint's go, and the ways out are set.
    pub(super) fn tidy(&self, sandbox: &Sandbox, interface: &str) -> Result<(), NetworkError> {
        let Ok(mut namespace) = self.entered(&sandbox.id) else { return Ok(()) };
        if sandbox.endpoints.iter().all(|one| one.interface != interface) {
            remove_device(&mut namespace, interface)?;
        }
        self.set_routes(sandbox, &mut namespace)
    }

    fn entered(&self, id: &SandboxId) -> Result<Namespace, NetworkError> {
        let unknown = || NetworkError::UnknownSandbox { id: id.clone() };
        let fd = self.pins.open(id)?.ok_or_else(unknown)?;
        Namespace::enter(fd.as_fd())
    }
}

/// Takes a device inside away, and with it its other end; that there is none is no error.
fn remove_device(namespace: &mut Namespace, interface: &str) -> Result<(), NetworkError> {
    let removing = || NetworkError::netlink::<NetlinkError>(format!("remove {interface}"));
    match namespace.links().find(interface).map_err(removing())? {
        Some(found) => namespace.links().remove(found.index).map_err(removing()),
        None => Ok(()),
    }
}
