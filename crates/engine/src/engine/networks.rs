//! Networks: what is asked of them by name, and containers coming and going.
//!
//! Invariant: what containers are in a network is what the containers say.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::spawn_blocking;

use super::{Engine, Shared};
use crate::containers::request::{EndpointConfig, Port, PortBinding};
use crate::containers::state::EndpointDetails;
use crate::error::{Error, ErrorClass};
use crate::events::{Event, EventKind, Happened};
use crate::filters::Filters;
use crate::networks::{Network, NewNetwork, key_of, prunable, select};

/// A container in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkMember {
    /// The container's id.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// Its place.
    pub endpoint: EndpointDetails,
}

impl Shared {
    /// The containers that are in a network now.
    fn members(&self, network: &Network) -> Vec<NetworkMember> {
        let mut members = Vec::new();
        for entry in self.table.all() {
            let view = entry.view();
            let found = view.standing.endpoints.iter().find(|one| one.network_id == network.id);
            members.extend(found.map(|endpoint| NetworkMember {
                id: view.id.to_string(),
                name: view.name.clone(),
                endpoint: endpoint.clone(),
            }));
        }
        members
    }

    fn used_networks(&self) -> BTreeSet<String> {
        let views = self.table.all().into_iter().map(|entry| entry.view());
        views
            .flat_map(|view| {
                view.standing.endpoints.iter().map(|one| one.network_id.clone()).collect::<Vec<_>>()
            })
            .collect()
    }
}

impl Engine {
    /// Makes a network. Says what of others keeps it from the world, too.
    pub async fn network_create(&self, new: NewNetwork) -> Result<(Network, Vec<String>), Error> {
        let shared = self.shared.clone();
        let made = spawn_blocking(move || {
            let now = shared.store.now_ms();
            let network = shared.networks.create(&shared.network, new, now)?;
            // The network is there, whether or not anybody can say what is in its way.
            let obstacles = match network.driver.as_str() {
                "bridge" if !network.internal => shared.network.obstacles().unwrap_or_default(),
                _ => Vec::new(),
            };
            Ok::<_, Error>((network, obstacles.iter().map(ToString::to_string).collect()))
        });
        let (network, obstacles) = made.await??;
        self.shared.hub.publish(happened("create", &network, None)).await?;
        Ok((network, obstacles))
    }

    /// The firewall's rules of a network that are in force, a line each.
    pub async fn network_rules(&self, query: &str) -> Result<Vec<String>, Error> {
        let network = self.shared.networks.find(&self.shared.network, query)?;
        let shared = self.shared.clone();
        let told = spawn_blocking(move || shared.network.rules(key_of(&network)));
        Ok(told.await??)
    }

    /// The network of a name or id.
    pub fn network_inspect(&self, query: &str) -> Result<(Network, Vec<NetworkMember>), Error> {
        let network = self.shared.networks.find(&self.shared.network, query)?;
        let members = self.shared.members(&network);
        Ok((network, members))
    }

    /// Networks; those that every engine has come first.
    pub fn networks(&self, filters: &Filters) -> Result<Vec<Network>, Error> {
        let all = self.shared.networks.all(&self.shared.network);
        select(all, filters, &self.shared.used_networks())
    }

    /// Removes a network that no container is in.
    pub async fn network_remove(&self, query: &str) -> Result<(), Error> {
        let network = self.shared.networks.find(&self.shared.network, query)?;
        self.remove_network(network).await
    }

    async fn remove_network(&self, network: Network) -> Result<(), Error> {
        let shared = self.shared.clone();
        let removed = spawn_blocking(move || {
            let members = shared.members(&network).into_iter().map(|one| (one.name, one.id));
            shared.networks.remove(&shared.network, &network, &members.collect::<Vec<_>>())?;
            shared.names.forget(&network.id);
            Ok::<_, Error>(network)
        });
        let network = removed.await??;
        self.shared.hub.publish(happened("destroy", &network, None)).await
    }

    /// Removes networks that no container is in; gives their names.
    pub async fn networks_prune(
        &self,
        filters: &Filters,
        until_ms: Option<i64>,
    ) -> Result<Vec<String>, Error> {
        let all = self.shared.networks.all(&self.shared.network);
        let unused = prunable(all, filters, until_ms, &self.shared.used_networks())?;
        let mut names = Vec::new();
        for network in unused {
            let name = network.name.clone();
            match self.remove_network(network).await {
                Ok(()) => names.push(name),
                // Somebody came in, or was faster.
                Err(Error::Network { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let event = Event {
            kind: EventKind::Network,
            action: "prune".to_owned(),
            id: String::new(),
            attributes: BTreeMap::from([("reclaimed".to_owned(), "0".to_owned())]),
            time_ns: crate::clock::now_ns(),
        };
        self.shared.hub.publish(Happened::one(event)).await?;
        Ok(names)
    }

    /// Gives a container a place in a network, now or at its next start.
    pub async fn network_connect(
        &self,
        query: &str,
        container: &str,
        asked: EndpointConfig,
    ) -> Result<(), Error> {
        let network = self.shared.networks.find(&self.shared.network, query)?;
        let entry = self.find(container)?;
        entry.call(move |task| Box::pin(task.connect(network, asked))).await
    }

    /// Publishes more ports of a container and takes others back, while it runs as well: those at one port of
    /// the host, or all of a port of the container.
    pub async fn publish(
        &self,
        container: &str,
        add: Vec<(Port, PortBinding)>,
        remove: Vec<(Port, PortBinding)>,
    ) -> Result<(), Error> {
        if add.is_empty() && remove.is_empty() {
            return Ok(());
        }
        let host_port = |binding: PortBinding| binding.host_port.map(|(first, _)| first);
        let remove = remove.into_iter().map(|(port, binding)| (port, host_port(binding))).collect();
        let entry = self.find(container)?;
        entry.call(move |task| Box::pin(task.change_ports(add, remove))).await
    }

    /// Takes a container's place in a network away; with `force`, whatever has become of the container's own
    /// network.
    pub async fn network_disconnect(
        &self,
        query: &str,
        container: &str,
        force: bool,
    ) -> Result<(), Error> {
        let network = self.shared.networks.find(&self.shared.network, query)?;
        let entry = self.find(container).map_err(|error| match error {
            // A place without a container is never kept.
            Error::NoSuchContainer { .. } if force => Error::Network {
                message: format!("endpoint {container} not found"),
                class: ErrorClass::NotFound,
            },
            error => error,
        })?;
        entry.call(move |task| Box::pin(task.disconnect(network, force))).await
    }
}

/// Something that happened to a network, perhaps with a container.
pub(crate) fn happened(action: &str, network: &Network, container: Option<&str>) -> Happened {
    Happened::one(event(action, network, container))
}

/// The same, to be told together with other things.
pub(crate) fn event(action: &str, network: &Network, container: Option<&str>) -> Event {
    let mut attributes = BTreeMap::from([
        ("name".to_owned(), network.name.clone()),
        ("type".to_owned(), network.driver.clone()),
    ]);
    if let Some(container) = container {
        attributes.insert("container".to_owned(), container.to_owned());
    }
    Event {
        kind: EventKind::Network,
        action: action.to_owned(),
        id: network.id.clone(),
        attributes,
        time_ns: crate::clock::now_ns(),
    }
}
