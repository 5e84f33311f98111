//! A container's network: from what was asked for to a sandbox, and back.
//!
//! Invariant: a sandbox is named like its container, so that what an earlier engine made is found again.
//! Absent on purpose: the host's and other containers' networks, which are joined and not made.

use std::collections::BTreeMap;

use dhow_network::{
    Endpoint, EndpointRequest, Mac, NetworkClass, NetworkError, PortMapping, SandboxId,
    SandboxRequest,
};

use super::{Engine, Shared};
use crate::containers::request::{CreateRequest, HostConfig, NetworkMode, Port, Protocol};
use crate::containers::state::{EndpointDetails, PublishedPort};
use crate::error::{Error, ErrorClass};

impl Shared {
    /// Makes the sandbox of a container that has one of its own. Waits for the kernel.
    pub(crate) fn make_sandbox(
        &self,
        id: &str,
        name: &str,
        request: &CreateRequest,
    ) -> Result<dhow_network::Sandbox, Error> {
        let sandbox_id: SandboxId = id.parse()?;
        // What a start before this one left, should it have been killed half-way.
        self.network.release(&sandbox_id)?;
        let endpoint = endpoint(request)?;
        let request = SandboxRequest { id: sandbox_id, name: name.to_owned(), endpoint };
        Ok(self.network.sandbox(&request)?)
    }

    /// Gives a container's sandbox back; that there is none is no error.
    pub(crate) fn release_sandbox(&self, id: &str) -> Result<(), Error> {
        Ok(self.network.release(&id.parse()?)?)
    }
}

/// A network, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkView {
    /// Its name.
    pub name: String,
    /// Its id, made of the name.
    pub id: String,
    /// `bridge`, `host` or `null`.
    pub driver: &'static str,
    /// Its addresses and its gateway, once it has any.
    pub subnet: Option<(String, String)>,
    /// What Docker's bridge tells of itself.
    pub options: BTreeMap<String, String>,
}

impl Engine {
    /// The networks that every engine has.
    pub fn networks(&self) -> Vec<NetworkView> {
        let found = self.shared.network.networks();
        let networks = [("bridge", "bridge"), ("host", "host"), ("none", "null")];
        let view = |(name, driver): (&str, &'static str)| {
            let details = found.iter().find(|details| details.name == name);
            let option = |name: &str, value: String| (format!("com.docker.network.{name}"), value);
            NetworkView {
                name: name.to_owned(),
                id: digest_of(&["network", name]),
                driver,
                subnet: details
                    .map(|details| (details.subnet.to_string(), details.gateway.to_string())),
                options: details
                    .map(|details| {
                        BTreeMap::from([
                            option("bridge.default_bridge", "true".to_owned()),
                            option("bridge.enable_ip_masquerade", "true".to_owned()),
                            option("bridge.name", details.interface.clone()),
                            option("driver.mtu", details.mtu.to_string()),
                        ])
                    })
                    .unwrap_or_default(),
            }
        };
        networks.map(view).into()
    }
}

/// Its place in a network, if it is to have one.
fn endpoint(request: &CreateRequest) -> Result<Option<EndpointRequest>, Error> {
    let host = &request.host;
    let network = match &host.network {
        _ if request.config.network_disabled => return Ok(None),
        NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) => return Ok(None),
        NetworkMode::Default | NetworkMode::Bridge => dhow_network::DEFAULT_NETWORK.to_owned(),
        NetworkMode::Named(name) => name.clone(),
    };
    let asked = request.endpoints.get(&network).or_else(|| request.endpoints.get("default"));
    let mac = asked.and_then(|asked| asked.mac).map(|mac| mac.to_string().parse::<Mac>());
    let mac = mac.transpose().map_err(|fault| Error::Invalid { message: fault.to_string() })?;
    let ipv4 = asked.and_then(|asked| asked.ipv4);
    Ok(Some(EndpointRequest { network, mac, ipv4, ports: ports(request, host) }))
}

fn ports(request: &CreateRequest, host: &HostConfig) -> Vec<PortMapping> {
    let mut ports = Vec::new();
    for (port, bindings) in &host.ports {
        for binding in bindings {
            ports.push(mapping(*port, binding.host_ip, binding.host_port));
        }
        if bindings.is_empty() {
            ports.push(mapping(*port, None, None));
        }
    }
    if host.publish_all_ports {
        let exposed = request.config.exposed_ports.iter();
        for port in exposed.filter(|port| !host.ports.contains_key(port)) {
            ports.push(mapping(*port, None, None));
        }
    }
    ports
}

fn mapping(
    port: Port,
    host_ip: Option<std::net::IpAddr>,
    host_port: Option<(u16, u16)>,
) -> PortMapping {
    let protocol = match port.protocol {
        Protocol::Tcp => dhow_network::Protocol::Tcp,
        Protocol::Udp => dhow_network::Protocol::Udp,
        Protocol::Sctp => dhow_network::Protocol::Sctp,
    };
    PortMapping { container_port: port.number, protocol, host_ip, host_port }
}

/// An endpoint as it is told. Ids are made of names: one network, one endpoint of a container in it.
pub(crate) fn describe(endpoint: &Endpoint, container: &str) -> EndpointDetails {
    let port = |port: &dhow_network::BoundPort| PublishedPort {
        container_port: port.container_port,
        protocol: port.protocol.to_string(),
        host_ip: port.host_ip.to_string(),
        host_port: port.host_port,
    };
    EndpointDetails {
        network: endpoint.network.clone(),
        network_id: digest_of(&["network", &endpoint.network]),
        endpoint_id: digest_of(&["endpoint", &endpoint.network, container]),
        mac: endpoint.mac.to_string(),
        ipv4: endpoint.ipv4.to_string(),
        prefix: endpoint.prefix,
        gateway: endpoint.gateway.to_string(),
        ports: endpoint.ports.iter().map(port).collect(),
    }
}

/// 64 hexadecimal digits that stay the same.
fn digest_of(words: &[&str]) -> String {
    let mut hasher = dhow_archive::hash::Hasher::new(dhow_spec::Algorithm::Sha256);
    hasher.update(words.join("\n").as_bytes());
    let digest = hasher.finish().digest.to_string();
    digest.split_once(':').map_or(String::new(), |(_, hex)| hex.to_owned())
}

impl From<NetworkError> for Error {
    fn from(error: NetworkError) -> Self {
        let class = match error.class() {
            NetworkClass::NotFound => ErrorClass::NotFound,
            NetworkClass::Invalid => ErrorClass::Invalid,
            NetworkClass::Conflict => ErrorClass::Conflict,
            NetworkClass::Unsupported => ErrorClass::Unsupported,
            NetworkClass::Internal => ErrorClass::Internal,
        };
        Self::Network { message: error.to_string(), class }
    }
}
