//! Lists of containers, and which of them are wanted.
//!
//! Invariant: a list is made of what the tasks have published; it waits for no container.

mod pattern;

use std::collections::BTreeMap;
use std::sync::Arc;

use dhow_spec::Digest;
use tokio::task::spawn_blocking;

use super::asks::ListRequest;
use super::document::snapshot_key;
use super::state::Status;
use super::table::View;
use super::views::{ContainerSize, ContainerSummary, MountDetails};
use crate::engine::Shared;
use crate::error::Error;
use crate::filters::Filters;

use pattern::Pattern;

const KNOWN: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

/// What the filters say, understood.
struct Wanted<'a> {
    filters: &'a Filters,
    names: Vec<Pattern>,
    ids: Vec<&'a str>,
    statuses: Vec<Status>,
    codes: Vec<i32>,
    before: Option<i64>,
    since: Option<i64>,
    images: Vec<Digest>,
}

/// The containers that are wanted, the newest first.
pub(crate) async fn list(
    shared: &Arc<Shared>,
    request: ListRequest,
) -> Result<Vec<ContainerSummary>, Error> {
    request.filters.check(KNOWN)?;
    let shared = shared.clone();
    spawn_blocking(move || list_now(&shared, &request)).await?
}

fn list_now(shared: &Arc<Shared>, request: &ListRequest) -> Result<Vec<ContainerSummary>, Error> {
    let mut views: Vec<_> = shared.table.all().iter().map(super::table::Entry::view).collect();
    views.sort_by(|a, b| (b.created_ms, &b.id).cmp(&(a.created_ms, &a.id)));
    let wanted = Wanted::read(shared, &request.filters)?;
    // A limit, a state or an exit code means all containers, as in Docker.
    let all = request.all
        || request.limit.is_some()
        || ["status", "exited", "before", "since"].iter().any(|name| request.filters.has(name));
    let names = image_names(shared)?;
    views
        .iter()
        .filter(|view| all || view.standing.state.is_active())
        .filter(|view| wanted.fits(view))
        .take(request.limit.unwrap_or(usize::MAX))
        .map(|view| summarize(shared, view, request.size, &names))
        .collect()
}

/// What names point to now: a name that was given to another image says nothing any more.
fn image_names(shared: &Shared) -> Result<BTreeMap<String, Digest>, Error> {
    let mut names = BTreeMap::new();
    for image in shared.store.images().list()? {
        for name in &image.names {
            names.insert(name.to_string(), image.target.digest);
        }
    }
    Ok(names)
}

fn summarize(
    shared: &Shared,
    view: &View,
    size: bool,
    names: &BTreeMap<String, Digest>,
) -> Result<ContainerSummary, Error> {
    let (document, standing) = (&view.document, &view.standing);
    let (config, host) = (&document.request.config, &document.request.host);
    let now = crate::clock::now_ns();
    let ports = standing.endpoints.iter().flat_map(|endpoint| endpoint.ports.clone()).collect();
    let command = config.args().join(" ");
    Ok(ContainerSummary {
        id: view.id.to_string(),
        name: view.name.clone(),
        link_names: shared.link_names(&view.id),
        image: image_word(&config.image, document.image, names),
        image_id: document.image,
        command,
        created_ns: view.created_ms.saturating_mul(1_000_000),
        status: standing.state.status(),
        status_text: standing.describe(now),
        health: standing.health.clone(),
        ports,
        exposed: config.exposed_ports.iter().copied().collect(),
        labels: config.labels.clone(),
        network_mode: host.network.to_string(),
        endpoints: shared.endpoints_of(view),
        mounts: document.points.iter().map(MountDetails::of).collect(),
        annotations: host.annotations.clone(),
        size: if size { size_of(shared, view)? } else { None },
    })
}

/// The image as it was asked for; its id if that means something else, or nothing, by now.
fn image_word(asked: &str, image: Digest, names: &BTreeMap<String, Digest>) -> String {
    let now = dhow_spec::Reference::parse(asked)
        .ok()
        .and_then(|name| names.get(&name.to_string()).copied());
    match now {
        Some(digest) if digest != image => image.to_string(),
        _ => asked.to_owned(),
    }
}

/// What it takes; nothing if it is on its way out.
pub(super) fn size_of(shared: &Shared, view: &View) -> Result<Option<ContainerSize>, Error> {
    let Ok(usage) = shared.snapshots.usage(&snapshot_key(&view.id)) else { return Ok(None) };
    let mut root_bytes = usage.size_bytes;
    let chain = dhow_store::chain_ids(&view.document.image_config.rootfs.diff_ids);
    for record in shared.snapshots.list()? {
        if let dhow_store::SnapshotState::Committed { name, usage } = record.state
            && chain.contains(&name)
        {
            root_bytes += usage.size_bytes;
        }
    }
    Ok(Some(ContainerSize { writable_bytes: usage.size_bytes, root_bytes }))
}

impl<'a> Wanted<'a> {
    fn read(shared: &Shared, filters: &'a Filters) -> Result<Self, Error> {
        let refused = |name: &str, value: &str| Error::InvalidFilterValue {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let mut wanted = Self {
            filters,
            names: Vec::new(),
            ids: filters.values("id").collect(),
            statuses: Vec::new(),
            codes: Vec::new(),
            before: None,
            since: None,
            images: Vec::new(),
        };
        for name in filters.values("name") {
            wanted.names.push(Pattern::parse(name).ok_or_else(|| refused("name", name))?);
        }
        for word in filters.values("status") {
            wanted.statuses.push(Status::parse(word).ok_or_else(|| refused("status", word))?);
        }
        for code in filters.values("exited") {
            wanted.codes.push(code.parse().map_err(|_| refused("exited", code))?);
        }
        for word in filters.values("health") {
            if !["none", "starting", "healthy", "unhealthy"].contains(&word) {
                return Err(refused("health", word));
            }
        }
        for query in filters.values("before") {
            wanted.before = Some(shared.table.find(query)?.view().created_ms);
        }
        for query in filters.values("since") {
            wanted.since = Some(shared.table.find(query)?.view().created_ms);
        }
        for text in filters.values("ancestor") {
            if let Ok(image) = shared.store.images().find(text) {
                wanted.images.push(image.target.digest);
            }
        }
        Ok(wanted)
    }

    fn fits(&self, view: &View) -> bool {
        let (filters, standing) = (self.filters, &view.standing);
        let config = &view.document.request.config;
        let code = match &standing.state {
            super::state::State::Exited(exit) => Some(exit.code),
            _ => None,
        };
        let health = standing.health.as_ref().map_or("none", |health| health.status.as_str());
        let slashed = format!("/{}", view.name);
        let named = |name: &Pattern| name.matches(&view.name) || name.matches(&slashed);
        (self.names.is_empty() || self.names.iter().any(named))
            && (self.ids.is_empty() || self.ids.iter().any(|id| view.id.starts_with(id)))
            && (self.statuses.is_empty() || self.statuses.contains(&standing.state.status()))
            && (self.codes.is_empty() || code.is_some_and(|code| self.codes.contains(&code)))
            && self.before.is_none_or(|before| view.created_ms < before)
            && self.since.is_none_or(|since| view.created_ms > since)
            && (!filters.has("ancestor") || self.images.contains(&view.document.image))
            && filters.fits("health", |value| value == health)
            && filters.fits("is-task", |value| matches!(value, "false" | "0"))
            && filters.fits("isolation", |value| value == "default")
            && filters.fits("network", |value| self.fits_network(view, value))
            && filters.fits("volume", |value| fits_volume(view, value))
            && filters.fits("expose", |value| {
                config.exposed_ports.iter().any(|port| fits_port(port, value))
            })
            && filters.fits("publish", |value| {
                let ports = standing.endpoints.iter().flat_map(|endpoint| &endpoint.ports);
                ports.into_iter().any(|port| {
                    let (number, protocol) = split_port(value);
                    number == Some(port.host_port) && protocol == port.protocol
                })
            })
            && filters.fits_labels(&config.labels)
    }

    fn fits_network(&self, view: &View, value: &str) -> bool {
        let mode = view.document.request.host.network.to_string();
        let mode = if mode == "default" { "bridge" } else { mode.as_str() };
        let of = |endpoint: &super::state::EndpointDetails| {
            endpoint.network == value
                || (!endpoint.network_id.is_empty() && endpoint.network_id.starts_with(value))
        };
        mode == value
            || view.standing.endpoints.iter().any(of)
            || view.document.request.endpoints.contains_key(value)
    }
}

fn fits_volume(view: &View, value: &str) -> bool {
    view.document
        .points
        .iter()
        .any(|mount| mount.name == value || mount.destination == value || mount.source == value)
}

fn split_port(text: &str) -> (Option<u16>, &str) {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    (number.parse().ok(), protocol)
}

fn fits_port(port: &super::request::Port, text: &str) -> bool {
    let (number, protocol) = split_port(text);
    number == Some(port.number) && protocol == port.protocol.as_str()
}
