//! A container coming into networks and leaving them, running or not; and ports that come and go while it runs.
//!
//! Invariant: what a container that does not run is asked is what its next start does; of one that runs, record
//! and host are changed together.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dhow_monitor::Request;
use dhow_network::{Forward, PortMapping, RESOLVER, Sandbox};
use dhow_store::ContainerChange;
use tokio::task::spawn_blocking;

use super::Task;
use super::prepare::{network_place, write_network_files};
use crate::containers::document::Document;
use crate::containers::request::{EndpointConfig, NetworkMode, Port, PortBinding};
use crate::containers::state::EndpointDetails;
use crate::engine::names_of;
use crate::error::{Error, ErrorClass};
use crate::events::Event;
use crate::networks::{Linked, Network, key_of, parse_link, port_mappings};
use crate::plan::{hostname_file, resolv_conf};

/// How long a monitor is given to begin what an engine that died has told it to.
const BEGIN_WAIT: Duration = Duration::from_secs(2);

impl Task {
    /// Gives it a place in a network.
    pub(crate) async fn connect(
        &mut self,
        network: Network,
        asked: EndpointConfig,
    ) -> Result<(), Error> {
        self.check_connectable(&network)?;
        if self.document.request.endpoints.contains_key(&network.name) {
            return Err(forbidden(format!(
                "endpoint with name {} already exists in network {}",
                self.name, network.name
            )));
        }
        let mut document = (*self.document).clone();
        document.request.endpoints.insert(network.name.clone(), asked.clone());
        let mut happened = Vec::new();
        if self.standing.sandbox.is_some() {
            let (shared, id, name) = (self.shared.clone(), self.id.clone(), network.name.clone());
            let ports = self.unpublished();
            let container = self.name.clone();
            let sandbox = spawn_blocking(move || {
                let request = shared.endpoint_request(&name, &asked)?;
                let id = id.parse()?;
                let sandbox = shared.network.connect(&id, &request)?;
                // Ports that no network could publish so far.
                match ports.is_empty() {
                    true => Ok(sandbox),
                    false => Ok(shared.network.publish(&id, &container, &ports).unwrap_or(sandbox)),
                }
            });
            let sandbox: Sandbox = sandbox.await?.map_err(|error: Error| error)?;
            happened.push(self.network_event("connect", &network));
            self.document = Arc::new(document);
            self.take_in(&sandbox).await?;
        } else {
            // What cannot be is said now, not at the next start.
            self.shared.endpoint_request(&network.name, &asked)?;
            self.document = Arc::new(document);
        }
        self.commit_document(happened).await
    }

    /// Takes its place in a network away.
    pub(crate) async fn disconnect(&mut self, network: Network, force: bool) -> Result<(), Error> {
        if matches!(self.document.request.host.network, NetworkMode::Host) {
            let message =
                "container cannot be disconnected from host network or connected to host network";
            return Err(forbidden(message.to_owned()));
        }
        let mut document = (*self.document).clone();
        let missing = || Error::Network {
            message: format!("container {} is not connected to network {}", self.id, network.name),
            class: ErrorClass::Internal,
        };
        document.request.endpoints.remove(&network.name).ok_or_else(missing)?;
        let mut happened = Vec::new();
        if self.standing.endpoints.iter().any(|one| one.network_id == network.id) {
            let (shared, id) = (self.shared.clone(), self.id.clone());
            let key = key_of(&network).to_owned();
            let sandbox = spawn_blocking(move || {
                Ok::<_, Error>(shared.network.disconnect(&id.parse()?, &key, force)?)
            });
            let sandbox = sandbox.await?;
            happened.push(self.network_event("disconnect", &network));
            match sandbox {
                Ok(sandbox) => {
                    self.document = Arc::new(document);
                    self.take_in(&sandbox).await?;
                }
                // What the host has lost it cannot take away: then it is only told no longer.
                Err(_) if force => {
                    self.document = Arc::new(document);
                    self.standing.endpoints.retain(|one| one.network_id != network.id);
                    self.shared.names.set(&self.id, &self.standing.endpoints)?;
                }
                Err(error) => return Err(error),
            }
        } else {
            self.document = Arc::new(document);
        }
        self.commit_document(happened).await
    }

    /// Publishes more ports, and takes others back.
    pub(crate) async fn change_ports(
        &mut self,
        add: Vec<(Port, PortBinding)>,
        remove: Vec<(Port, Option<u16>)>,
    ) -> Result<(), Error> {
        if add.is_empty() && remove.is_empty() {
            return Ok(());
        }
        if !self.document.request.host.network.is_private() {
            let message =
                "conflicting options: port publishing and the container type network mode";
            return Err(Error::Invalid { message: message.to_owned() });
        }
        let mut document = (*self.document).clone();
        let ports = &mut document.request.host.ports;
        for (port, host) in &remove {
            let Some(bindings) = ports.get_mut(port) else {
                let message = format!("No public port '{port}' published for {}", self.name);
                return Err(Error::Network { message, class: ErrorClass::NotFound });
            };
            bindings.retain(|binding| {
                host.is_some_and(|host| {
                    binding.host_port.is_none_or(|(first, last)| !(first..=last).contains(&host))
                })
            });
            if bindings.is_empty() {
                ports.remove(port);
            }
        }
        for (port, binding) in &add {
            ports.entry(*port).or_default().push(binding.clone());
        }
        if self.standing.sandbox.is_some() {
            let more: Vec<PortMapping> = add
                .iter()
                .map(|(port, binding)| {
                    crate::networks::mapping(*port, binding.host_ip, binding.host_port)
                })
                .collect();
            let fewer: Vec<_> = remove
                .iter()
                .map(|(port, host)| (port.number, crate::networks::protocol(port.protocol), *host))
                .collect();
            let (shared, id, name) = (self.shared.clone(), self.id.clone(), self.name.clone());
            let sandbox = spawn_blocking(move || {
                let id = id.parse()?;
                if more.is_empty() {
                    return Ok(shared.network.unpublish(&id, &fewer)?);
                }
                let sandbox = shared.network.publish(&id, &name, &more)?;
                match fewer.is_empty() {
                    true => Ok::<_, Error>(sandbox),
                    false => Ok(shared.network.unpublish(&id, &fewer)?),
                }
            });
            let sandbox = sandbox.await??;
            self.document = Arc::new(document);
            self.take_in(&sandbox).await?;
        } else {
            self.document = Arc::new(document);
        }
        let event = self.now("update", &[]);
        self.commit_document(vec![event]).await
    }

    /// What is to be published and is not.
    fn unpublished(&self) -> Vec<PortMapping> {
        let is_published = self.standing.endpoints.iter().any(|one| !one.ports.is_empty());
        if is_published { Vec::new() } else { port_mappings(&self.document.request) }
    }

    fn check_connectable(&self, network: &Network) -> Result<(), Error> {
        let message = match (&self.document.request.host.network, network.driver.as_str()) {
            _ if network.config_only => "cannot create endpoint on configuration-only network",
            (NetworkMode::Container(_), _) => {
                "container sharing network namespace with another container or host cannot be connected to any other network"
            }
            (NetworkMode::Host, _) | (_, "host") => {
                "container cannot be disconnected from host network or connected to host network"
            }
            (NetworkMode::None, _) | (_, "null") => {
                "container cannot be connected to multiple networks with one of the networks in private (none) mode"
            }
            _ => return Ok(()),
        };
        Err(forbidden(message.to_owned()))
    }

    /// Its sandbox is another by now: what is told of it, names, files, and what its monitor does.
    async fn take_in(&mut self, sandbox: &Sandbox) -> Result<(), Error> {
        let before = std::mem::take(&mut self.standing.endpoints);
        let request = &self.document.request;
        self.standing.endpoints = self.shared.describe(sandbox, &self.id, &self.name, request);
        self.shared.names.set(&self.id, &self.standing.endpoints)?;
        self.write_files(&before, &sandbox.forwards())?;
        if self.link.is_some() {
            self.ask("", &Request::Network, &[]).await?;
        }
        Ok(())
    }

    /// Files of a container whose networks are others by now: who is asked for names, and its own addresses.
    fn write_files(&self, before: &[EndpointDetails], forwards: &[Forward]) -> Result<(), Error> {
        let (request, host) = (&self.document.request, self.shared.host_facts());
        let config = self.shared.resolver_of(request, &self.standing.endpoints, &host);
        let had_one = self.shared.resolver_of(request, before, &host).is_some();
        if config.is_some() != had_one {
            let server = config.as_ref().map(|_| IpAddr::V4(RESOLVER));
            let path = self.places.data.join("resolv.conf");
            // In its place: the container has this very file.
            std::fs::write(&path, resolv_conf(request, &host, server))
                .map_err(|error| Error::io("write", &path, error))?;
        }
        self.change_hosts(before)?;
        let Some(namespace) = &self.standing.sandbox else { return Ok(()) };
        let place = network_place(&self.places, namespace);
        write_network_files(&place, config.as_ref(), forwards)
    }

    /// Its own lines of `/etc/hosts`, and no others: what the container wrote there stays.
    fn change_hosts(&self, before: &[EndpointDetails]) -> Result<(), Error> {
        let path = self.places.data.join("hosts");
        let failed = |doing| {
            let path = path.clone();
            move |error| Error::io(doing, &path, error)
        };
        let all = |endpoints: &[EndpointDetails]| -> Vec<IpAddr> {
            endpoints.iter().flat_map(EndpointDetails::addresses).collect()
        };
        let (old, new) = (all(before), all(&self.standing.endpoints));
        let text = std::fs::read_to_string(&path).map_err(failed("read"))?;
        let address_of = |line: &str| {
            line.split_whitespace().next().and_then(|word| word.parse::<IpAddr>().ok())
        };
        let stays = |line: &&str| {
            address_of(line).is_none_or(|address| !old.contains(&address) || new.contains(&address))
        };
        let mut text: String = text.lines().filter(stays).map(|line| format!("{line}\n")).collect();
        let host = self.shared.host_facts();
        let name = hostname_file(&self.document.request, &self.id, &host);
        for address in new.iter().filter(|address| !old.contains(address)) {
            text.push_str(&format!("{address}\t{name}"));
        }
        std::fs::write(&path, text).map_err(failed("write"))
    }

    /// What an earlier engine left of its network, perhaps amid a change that nobody was told of: with what does
    /// not run nothing stays; of what runs, the host has what is on record, and the record what the host has.
    pub(super) async fn recover_network(&mut self) {
        let Ok(id) = self.id.parse() else { return };
        let Ok(sandbox) = self.shared.network.adopt(&id) else { return };
        if !self.standing.state.is_active() && self.link.is_some() {
            // The engine before may have said that it is to begin. One that was not told so ends when nobody
            // is there.
            tokio::time::sleep(BEGIN_WAIT).await;
            self.catch_up().await;
            if !self.standing.state.is_active() {
                self.link = None;
            }
        }
        if self.gone {
            return;
        }
        if !self.standing.state.is_active() {
            self.give_back().await;
            return;
        }
        let (shared, told) = (self.shared.clone(), self.standing.endpoints.clone());
        let undone = spawn_blocking(move || shared.undo_untold(sandbox, &told)).await;
        let Ok(Ok(sandbox)) = undone else { return };
        let request = &self.document.request;
        let found = self.shared.describe(&sandbox, &self.id, &self.name, request);
        // Files and names follow; what cannot be written now is with the next change.
        if found != self.standing.endpoints && self.take_in(&sandbox).await.is_ok() {
            self.note(Vec::new()).await;
        }
    }

    /// Whoever it is linked to may have another address by now.
    pub(crate) async fn refresh_links(&mut self) -> Result<(), Error> {
        // One that does not run keeps its line until it does.
        let Ok(linked) = self.shared.linked(&self.name, &self.document.request) else {
            return Ok(());
        };
        self.change_link_lines(&linked, &[])
    }

    /// Takes a link away.
    pub(crate) async fn unlink(&mut self, alias: String) -> Result<(), Error> {
        let mut document = (*self.document).clone();
        let is_it = |link: &String| parse_link(link).is_some_and(|(_, known)| known == alias);
        let gone = self.shared.linked(&self.name, &document.request).unwrap_or_default();
        let gone: Vec<_> = gone.into_iter().filter(|linked| linked.alias == alias).collect();
        document.request.host.links.retain(|link| !is_it(link));
        self.document = Arc::new(document);
        if self.standing.sandbox.is_some() {
            self.change_link_lines(&[], &gone)?;
        }
        self.commit_document(Vec::new()).await
    }

    /// The lines of its links in `/etc/hosts`, and no others.
    fn change_link_lines(&self, now: &[Linked], gone: &[Linked]) -> Result<(), Error> {
        let path = self.places.data.join("hosts");
        let failed = |doing| {
            let path = path.clone();
            move |error| Error::io(doing, &path, error)
        };
        let before = std::fs::read_to_string(&path).map_err(failed("read"))?;
        let is_old = |line: &&str| {
            let names = line.split_once('\t').map_or("", |(_, names)| names);
            now.iter().chain(gone).any(|linked| linked.has_line(names))
        };
        let kept = before.lines().filter(|line| !is_old(line));
        let mut text: String = kept.map(|line| format!("{line}\n")).collect();
        text.extend(now.iter().map(Linked::lines));
        match text == before {
            true => Ok(()),
            false => std::fs::write(&path, text).map_err(failed("write")),
        }
    }

    /// It is called something else, in its networks as well.
    pub(super) fn rename_endpoints(&mut self) -> Result<(), Error> {
        let request = &self.document.request;
        for endpoint in self.standing.endpoints.iter_mut().filter(|one| !one.names.is_empty()) {
            let asked = request.endpoints.get(&endpoint.network);
            endpoint.names = names_of(&self.id, &self.name, request, asked);
        }
        self.shared.names.set(&self.id, &self.standing.endpoints)
    }

    async fn commit_document(&mut self, happened: Vec<Event>) -> Result<(), Error> {
        let change = ContainerChange {
            document: Some(Document::to_json(&self.document)),
            state: Some(self.state_json()),
            journal: Some(self.journal),
            ..ContainerChange::default()
        };
        self.commit(change, happened).await
    }

    /// The same with all networks that it is in.
    pub(super) fn network_events(&self, action: &str) -> Vec<Event> {
        let endpoints = self.standing.endpoints.iter();
        let network = |id: &str| self.shared.networks.find(&self.shared.network, id).ok();
        let networks = endpoints.filter_map(|one| network(&one.network_id));
        networks.map(|network| self.network_event(action, &network)).collect()
    }

    /// Something that happened between it and a network.
    fn network_event(&self, action: &str, network: &Network) -> Event {
        crate::engine::network_event(action, network, Some(&self.id))
    }
}

fn forbidden(message: String) -> Error {
    Error::Network { message, class: ErrorClass::Forbidden }
}
