//! Links of the default network: who is meant, what a start makes of it, and what is told.
//!
//! Invariant: whoever a container is linked to is in the default network and runs when it starts; one that was
//! removed is no link any more.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use dhow_network::DEFAULT_NETWORK;

use super::{Engine, Shared};
use crate::containers::request::{Conflict, CreateRequest, NetworkMode, RequestError};
use crate::containers::table::View;
use crate::error::{Error, ErrorClass};
use crate::networks::{Linked, parse_link, sorted_ports};

/// The links that a container of the default network has, as its record has them: an id and a name.
fn links_of(request: &CreateRequest) -> impl Iterator<Item = (&str, &str)> {
    let is_default = matches!(request.host.network, NetworkMode::Default | NetworkMode::Bridge);
    let links = if is_default { &request.host.links[..] } else { &[] };
    links.iter().filter_map(|link| parse_link(link))
}

/// Whether a container is linked to another.
pub(crate) fn is_linked(request: &CreateRequest, to: &str) -> bool {
    links_of(request).any(|(id, _)| id == to)
}

impl Shared {
    /// From names, as users write them, to ids; in a network of users' own links are the network's.
    pub(crate) fn settle_links(&self, request: &mut CreateRequest) -> Result<(), Error> {
        if request.host.links.is_empty() {
            return Ok(());
        }
        let links = std::mem::take(&mut request.host.links);
        if let NetworkMode::Named(name) = &request.host.network {
            let endpoint = request.endpoints.entry(name.clone()).or_default();
            if endpoint.links.is_empty() {
                endpoint.links = links;
            }
            return Ok(());
        }
        let mut settled: Vec<String> = Vec::new();
        for link in &links {
            let fault = || RequestError::Link { text: link.clone() };
            let (name, alias) = parse_link(link).ok_or_else(fault)?;
            let missing = |error: Error| Error::Invalid {
                message: format!("could not get container for {name}: {error}"),
            };
            let mut view = self.table.find(name).map_err(missing)?.view();
            while let NetworkMode::Container(other) = &view.document.request.host.network {
                view = self.table.find(other).map_err(missing)?.view();
            }
            if view.document.request.host.network == NetworkMode::Host {
                return Err(RequestError::Conflict(Conflict::LinksAndHost).into());
            }
            let known = settled.iter().filter_map(|link| parse_link(link));
            match known.filter(|(_, known)| *known == alias).map(|(id, _)| id).next() {
                Some(id) if *id == *view.id => {}
                Some(id) => {
                    let message = format!("the link name {alias:?} is already in use by {id}");
                    return Err(Error::Conflict { message });
                }
                None => settled.push(format!("{}:{alias}", view.id)),
            }
        }
        request.host.links = settled;
        self.names.any_links.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The containers that one is linked to, for its start.
    pub(crate) fn linked(&self, name: &str, request: &CreateRequest) -> Result<Vec<Linked>, Error> {
        let mut all = Vec::new();
        for (id, alias) in links_of(request) {
            let Ok(entry) = self.table.find(id) else { continue };
            let view = entry.view();
            let refused =
                |message: String| Err(Error::Network { message, class: ErrorClass::Internal });
            if view.standing.state.run().is_none() {
                return refused(format!(
                    "Cannot link to a non running container: /{} AS /{name}/{alias}",
                    view.name
                ));
            }
            let endpoints = view.standing.endpoints.iter();
            let mut endpoints = endpoints.filter(|one| one.network == DEFAULT_NETWORK);
            let Some(endpoint) = endpoints.next() else {
                return refused(format!(
                    "Cannot link to /{}, as it does not belong to the default network",
                    view.name
                ));
            };
            if self.network.default_network().is_some_and(|network| !network.icc) {
                return refused(format!(
                    "Cannot link to /{}: containers of the default network do not reach each other \
                     (icc is off)",
                    view.name
                ));
            }
            all.push(self.describe_linked(name, alias, &view, endpoint.addresses().into_iter()));
        }
        Ok(all)
    }

    fn describe_linked(
        &self,
        parent: &str,
        alias: &str,
        view: &View,
        addresses: impl Iterator<Item = IpAddr>,
    ) -> Linked {
        let request = &view.document.request;
        let short = view.id.get(..12).unwrap_or(&view.id);
        let hostname = Some(request.config.hostname.as_str()).filter(|name| !name.is_empty());
        Linked {
            alias: alias.to_owned(),
            parent: parent.to_owned(),
            name: view.name.clone(),
            hostname: hostname.unwrap_or(short).to_owned(),
            addresses: addresses.collect(),
            ports: sorted_ports(request.config.exposed_ports.iter().copied()),
            env: request.config.env.clone(),
        }
    }

    /// A container's links as they are told: `/db:/web/sql`.
    pub(crate) fn told_links(&self, view: &View) -> Vec<String> {
        let tell = |(id, alias): (&str, &str)| {
            let other = self.table.find(id).ok()?.view();
            Some(format!("/{}:/{}/{alias}", other.name, view.name))
        };
        links_of(&view.document.request).filter_map(tell).collect()
    }

    /// What others call a container by their links: `web/sql`.
    pub(crate) fn link_names(&self, id: &str) -> Vec<String> {
        if !self.names.any_links.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut names = Vec::new();
        for view in self.table.all().into_iter().map(|entry| entry.view()) {
            let own = links_of(&view.document.request).filter(|(to, _)| *to == id);
            names.extend(own.map(|(_, alias)| format!("{}/{alias}", view.name)));
        }
        names
    }

    /// Has those who are linked to a container that has just started look where it is now.
    pub(crate) fn tell_linked(&self, id: &str) {
        if !self.names.any_links.load(Ordering::Relaxed) {
            return;
        }
        for entry in self.table.all() {
            let view = entry.view();
            if view.standing.sandbox.is_some() && is_linked(&view.document.request, id) {
                // Nobody waits: two may be linked to each other.
                tokio::spawn(async move {
                    let _ = entry.call(|task| Box::pin(task.refresh_links())).await;
                });
            }
        }
    }
}

impl Engine {
    /// Takes a link away, named by the container that has it and the name that it has there.
    pub async fn unlink(&self, query: &str) -> Result<(), Error> {
        let query = query.strip_prefix('/').unwrap_or(query);
        let missing = || Error::Network {
            message: format!("No such link: /{query}"),
            class: ErrorClass::NotFound,
        };
        let (parent, alias) = query.split_once('/').ok_or_else(missing)?;
        let (parent, alias) = (self.find(parent)?, alias.to_owned());
        let known = parent.view();
        if links_of(&known.document.request).all(|(_, known)| known != alias) {
            return Err(missing());
        }
        parent.call(move |task| Box::pin(task.unlink(alias))).await
    }
}
