//! A container's network: from what was asked for to a sandbox, and back.
//!
//! Invariant: a sandbox is named like its container, so that what an earlier engine made is found again.
//! Absent on purpose: the host's and other containers' networks, which are joined and not made.

use std::net::IpAddr;

use dhow_network::{
    BoundPort, Endpoint, EndpointRequest, NamesConfig, NetworkClass, NetworkError, Sandbox,
    SandboxId, SandboxRequest,
};

use super::Shared;
use crate::containers::request::{CreateRequest, EndpointConfig, NetworkMode};
use crate::containers::state::{EndpointDetails, PublishedPort};
use crate::containers::table::View;
use crate::error::{Error, ErrorClass};
use crate::networks::{
    Network, digest_of, endpoint_request, key_of, port_mappings, resolver_config,
};
use crate::plan::HostFacts;

/// How Docker begins what it says of networks that keep a container from starting.
const PREFIX: &str = "failed to set up container networking: ";

impl Shared {
    /// Makes the sandbox of a container that has one of its own. Waits for the kernel.
    pub(crate) fn make_sandbox(
        &self,
        id: &str,
        name: &str,
        request: &CreateRequest,
    ) -> Result<(Sandbox, Vec<EndpointDetails>), Error> {
        let made = self.try_make_sandbox(id, name, request);
        made.map_err(|error| match error {
            Error::Network { message, class } => {
                Error::Network { message: format!("{PREFIX}{message}"), class }
            }
            Error::Invalid { message } => {
                let class = ErrorClass::Invalid;
                Error::Network { message: format!("{PREFIX}{message}"), class }
            }
            other => other,
        })
    }

    fn try_make_sandbox(
        &self,
        id: &str,
        name: &str,
        request: &CreateRequest,
    ) -> Result<(Sandbox, Vec<EndpointDetails>), Error> {
        let sandbox_id: SandboxId = id.parse()?;
        // What a start before this one left, should it have been killed half-way.
        self.network.release(&sandbox_id)?;
        let mut endpoints = Vec::new();
        for (network, asked) in places(request) {
            endpoints.push(self.endpoint_request(network, asked)?);
        }
        let ports = if endpoints.is_empty() { Vec::new() } else { port_mappings(request) };
        let asked = SandboxRequest { id: sandbox_id, name: name.to_owned(), endpoints, ports };
        let sandbox = self.network.sandbox(&asked)?;
        let endpoints = self.describe(&sandbox, id, name, request);
        self.names.set(id, &endpoints)?;
        Ok((sandbox, endpoints))
    }

    /// What is asked of a network for a container.
    pub(crate) fn endpoint_request(
        &self,
        query: &str,
        asked: &EndpointConfig,
    ) -> Result<EndpointRequest, Error> {
        let network = self.networks.find(&self.network, query)?;
        if network.config_only {
            let message = "cannot create endpoint on configuration-only network".to_owned();
            return Err(Error::Network { message, class: ErrorClass::Forbidden });
        }
        if matches!(network.driver.as_str(), "host" | "null") {
            let message =
                "container cannot be disconnected from host network or connected to host \
                           network"
                    .to_owned();
            return Err(Error::Network { message, class: ErrorClass::Forbidden });
        }
        endpoint_request(&network, self.networks.record(&network.id).as_ref(), asked)
    }

    /// How a container's questions for names are answered, if any of its networks knows names.
    pub(crate) fn resolver_of(
        &self,
        request: &CreateRequest,
        endpoints: &[EndpointDetails],
        host: &HostFacts,
    ) -> Option<NamesConfig> {
        resolver_config(&self.names, request, endpoints, &host.defaults.dns)
    }

    /// Where containers find the host: in the default network, as in Docker, or in one of their own.
    pub(crate) fn host_gateway(&self, endpoints: &[EndpointDetails]) -> Option<IpAddr> {
        let default = self.network.default_network().and_then(|network| network.ipv4?.own());
        let own = || endpoints.iter().find_map(|one| one.gateway.parse().ok());
        let inside = || endpoints.iter().find_map(|one| one.host_address.parse().ok());
        default.or_else(own).or_else(inside)
    }

    /// Takes back what a sandbox has and nobody was told of: places in networks, then ports.
    pub(crate) fn undo_untold(
        &self,
        mut sandbox: Sandbox,
        told: &[EndpointDetails],
    ) -> Result<Sandbox, Error> {
        let id = sandbox.id.clone();
        let networks = self.networks.all(&self.network);
        let is_told = |key: &str| {
            let network = networks.iter().find(|network| key_of(network) == key);
            network.is_some_and(|network| told.iter().any(|one| one.network_id == network.id))
        };
        for endpoint in sandbox.endpoints.clone() {
            if !is_told(&endpoint.network) {
                sandbox = self.network.disconnect(&id, &endpoint.network, true)?;
            }
        }
        let told: Vec<_> = told.iter().flat_map(|one| &one.ports).collect();
        let is_told = |port: &BoundPort| {
            told.iter().any(|told| {
                told.container_port == port.container_port
                    && told.host_port == port.host_port
                    && told.protocol == port.protocol.to_string()
            })
        };
        let ports = sandbox.endpoints.iter().flat_map(|endpoint| &endpoint.ports);
        let untold: Vec<_> = ports
            .filter(|port| !is_told(port))
            .map(|port| (port.container_port, port.protocol, Some(port.host_port)))
            .collect();
        match untold.is_empty() {
            true => Ok(sandbox),
            false => Ok(self.network.unpublish(&id, &untold)?),
        }
    }

    /// Gives a container's sandbox back; that there is none is no error.
    pub(crate) fn release_sandbox(&self, id: &str) -> Result<(), Error> {
        let released = self.network.release(&id.parse()?);
        self.names.set(id, &[])?;
        Ok(released?)
    }

    /// A container's places in networks as they are told.
    pub(crate) fn describe(
        &self,
        sandbox: &Sandbox,
        container: &str,
        name: &str,
        request: &CreateRequest,
    ) -> Vec<EndpointDetails> {
        let networks = self.networks.all(&self.network);
        let describe = |endpoint: &Endpoint| {
            let network = networks.iter().find(|one| key_of(one) == endpoint.network)?;
            let asked = request.endpoints.get(&network.name);
            Some(describe(endpoint, network, container, name, request, asked))
        };
        sandbox.endpoints.iter().filter_map(describe).collect()
    }

    /// A container's places in networks: those that it has, or those that its next start gives it.
    pub(crate) fn endpoints_of(&self, view: &View) -> Vec<EndpointDetails> {
        let (request, standing) = (&view.document.request, &view.standing);
        if !standing.endpoints.is_empty() || standing.state.run().is_some() {
            return standing.endpoints.clone();
        }
        let planned = |(name, _): (&str, _)| {
            let found = self.networks.find(&self.network, name).ok();
            EndpointDetails {
                network: name.to_owned(),
                network_id: found.map(|network| network.id).unwrap_or_default(),
                ..EndpointDetails::default()
            }
        };
        places(request).into_iter().map(planned).collect()
    }
}

/// The networks that a container is to be in, the one of its mode first, then by their names.
pub(crate) fn places(request: &CreateRequest) -> Vec<(&str, &EndpointConfig)> {
    let first = match &request.host.network {
        _ if request.config.network_disabled => return Vec::new(),
        NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) => return Vec::new(),
        NetworkMode::Default | NetworkMode::Bridge => dhow_network::DEFAULT_NETWORK,
        NetworkMode::Named(name) => name,
    };
    let mut places: Vec<_> =
        request.endpoints.iter().map(|(name, asked)| (name.as_str(), asked)).collect();
    places.sort_by_key(|(name, _)| *name != first);
    places
}

/// An endpoint as it is told.
fn describe(
    endpoint: &Endpoint,
    network: &Network,
    container: &str,
    name: &str,
    request: &CreateRequest,
    asked: Option<&EndpointConfig>,
) -> EndpointDetails {
    let port = |port: &dhow_network::BoundPort| PublishedPort {
        container_port: port.container_port,
        protocol: port.protocol.to_string(),
        host_ip: port.host_ip.to_string(),
        host_port: port.host_port,
    };
    let text = |address: Option<IpAddr>| address.map(|one| one.to_string()).unwrap_or_default();
    let host = network.pools.iter().find(|pool| !pool.gateway.is_empty());
    let names = match network.is_builtin() {
        true => Vec::new(),
        false => names_of(container, name, request, asked),
    };
    EndpointDetails {
        network: network.name.clone(),
        network_id: network.id.clone(),
        endpoint_id: digest_of(&["endpoint", &network.id, container]),
        mac: endpoint.mac.to_string(),
        ipv4: text(endpoint.address(false)),
        prefix: if endpoint.ipv4.is_some() { endpoint.prefix } else { 0 },
        gateway: text(endpoint.gateway.map(IpAddr::V4)),
        ipv6: text(endpoint.address(true)),
        prefix6: endpoint.prefix6,
        gateway6: text(endpoint.gateway6.map(IpAddr::V6)),
        host_address: host.map(|pool| pool.gateway.clone()).unwrap_or_default(),
        names,
        ports: endpoint.ports.iter().map(port).collect(),
    }
}

/// What a container is called in a network, its own name first, each once.
pub(crate) fn names_of(
    container: &str,
    name: &str,
    request: &CreateRequest,
    asked: Option<&EndpointConfig>,
) -> Vec<String> {
    let aliases = asked.into_iter().flat_map(|asked| asked.aliases.iter().map(String::as_str));
    let short = container.get(..12).unwrap_or(container);
    let hostname = Some(request.config.hostname.as_str()).filter(|name| !name.is_empty());
    let mut names: Vec<String> = Vec::new();
    for one in std::iter::once(name).chain(aliases).chain([short]).chain(hostname) {
        if names.iter().all(|known| known != one) {
            names.push(one.to_owned());
        }
    }
    names
}

impl From<NetworkError> for Error {
    fn from(error: NetworkError) -> Self {
        let class = match error.class() {
            NetworkClass::NotFound => ErrorClass::NotFound,
            NetworkClass::Invalid => ErrorClass::Invalid,
            NetworkClass::Conflict => ErrorClass::Conflict,
            NetworkClass::Forbidden => ErrorClass::Forbidden,
            NetworkClass::Unsupported => ErrorClass::Unsupported,
            NetworkClass::Internal => ErrorClass::Internal,
        };
        Self::Network { message: error.to_string(), class }
    }
}
