//! A container being made: its name taken, its files made, then the record of all of it.
//!
//! Invariant: until the record is there, nobody sees the container; what a killed engine has made of it by then
//! is named by an id that nobody knows, and recovery removes it.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use dhow_spec::{Digest, Platform};
use dhow_store::{ChainId, ContainerRow, Image, PrepareOptions, Selected, StoreImageError};
use tokio::task::spawn_blocking;

use super::document::{Document, Places, snapshot_key};
use super::names::Name;
use super::new_id;
use super::request::{CreateRequest, IpcMode, NetworkMode, PidMode};
use super::state::{Standing, State};
use super::task::{Task, event_of};
use super::views::Created;
use crate::engine::Shared;
use crate::error::Error;
use crate::events::Happened;
use crate::images::HELLO;
use crate::plan::{MountPoint, check_sources, mount_points, settle};

/// Names that we find are tried so often before we give up.
const ATTEMPTS: u32 = 16;

/// Makes a container, and gives it to a task of its own.
pub(crate) async fn create(
    shared: &Arc<Shared>,
    name: Option<&str>,
    request: CreateRequest,
) -> Result<Created, Error> {
    let name = name.filter(|name| !name.is_empty()).map(Name::parse).transpose()?;
    request.check()?;
    let platform = request.platform.clone().unwrap_or_else(Platform::of_build);
    let image = find_image(shared, &request).await?;
    let digest = image.target.digest;
    let unready =
        |error| Error::Unready { image: request.config.image.clone(), error: Box::new(error) };
    let selected = shared.images.select_unpacked(&image, &platform).await.map_err(unready)?;
    if let Some(selected) = selected {
        let parent = selected.chain.last().copied();
        let made = create_on(shared, name.clone(), request.clone(), digest, selected).await;
        // Nobody kept what it stands on: it may have been collected as garbage meanwhile.
        let is_gone = |parent| matches!(shared.snapshots.contains(parent), Ok(false));
        if made.is_ok() || !parent.as_ref().is_some_and(is_gone) {
            return made;
        }
    }
    let ready = shared.images.ready(&image, &platform, Arc::new(())).await.map_err(unready)?;
    let made = create_on(shared, name, request, digest, ready.selected).await;
    let done = shared.images.done_with(&ready.lease).await;
    let created = made?;
    done.map_err(|error| Error::Monitor { message: error.to_string() })?;
    Ok(created)
}

/// Makes a container on an image that is unpacked.
async fn create_on(
    shared: &Arc<Shared>,
    name: Option<Name>,
    mut request: CreateRequest,
    image: Digest,
    selected: Selected,
) -> Result<Created, Error> {
    request.merge(selected.config.config.as_ref())?;
    join_by_id(shared, &mut request)?;
    name_networks(shared, &mut request);
    shared.settle_links(&mut request)?;
    let warnings = settle(&mut request, &shared.host_facts())?;
    let points = find_points(shared, &request)?;
    let driver = shared.snapshots.driver().name();
    let document = Document::new(request, image, selected.config, driver);
    let document = Document { points, ..document };
    let parent = selected.chain.last().copied();
    let id = new_id()?;
    let name = reserve(shared, name, &id)?;
    let (made, by) = (shared.clone(), (id.clone(), name.clone()));
    let made = spawn_blocking(move || make(&made, &by.0, &by.1, document, parent)).await;
    let made = made.map_err(Error::from).and_then(|made| made);
    if made.is_err() {
        shared.table.free(name.as_str());
    }
    let (row, document, standing, happened, numbers) = made?;
    let entry = Task::spawn(shared, row, document, standing, false);
    shared.table.insert(entry, name.as_str());
    shared.hub.tell(happened, numbers);
    Ok(Created { id, warnings })
}

/// Takes the name, or finds one.
fn reserve(shared: &Shared, given: Option<Name>, id: &str) -> Result<Name, Error> {
    if let Some(name) = given {
        return shared.table.reserve(name.as_str(), id).map(|()| name);
    }
    let mut attempt = 0;
    loop {
        let name = Name::find(attempt)?;
        match shared.table.reserve(name.as_str(), id) {
            Ok(()) => return Ok(name),
            Err(error) if attempt >= ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}

/// Names of other containers may change, ids do not.
fn join_by_id(shared: &Shared, request: &mut CreateRequest) -> Result<(), Error> {
    let id = |query: &str| shared.table.find(query).map(|entry| entry.id.to_string());
    if let NetworkMode::Container(other) = &mut request.host.network {
        *other = id(other)?;
    }
    if let PidMode::Container(other) = &mut request.host.pid {
        *other = id(other)?;
    }
    if let IpcMode::Container(other) = &mut request.host.ipc {
        *other = id(other)?;
        let view = shared.table.find(other)?.view();
        if !matches!(view.document.request.host.ipc, IpcMode::Shareable | IpcMode::Host) {
            let message = format!(
                "container {other}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
            );
            return Err(Error::Invalid { message });
        }
    }
    Ok(())
}

/// Each network by its name, the first one included: from now on these are the networks that it is in.
fn name_networks(shared: &Shared, request: &mut CreateRequest) {
    let name_of = |query: &str| match query {
        "default" | "" => "bridge".to_owned(),
        // One that is not there is said so by the start.
        query => shared
            .networks
            .find(&shared.network, query)
            .map_or_else(|_| query.to_owned(), |network| network.name),
    };
    let endpoints = std::mem::take(&mut request.endpoints);
    request.endpoints =
        endpoints.into_iter().map(|(query, asked)| (name_of(&query), asked)).collect();
    let first = match &mut request.host.network {
        NetworkMode::Default | NetworkMode::Bridge => "bridge".to_owned(),
        NetworkMode::Named(name) => {
            *name = name_of(name);
            name.clone()
        }
        NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) => return,
    };
    request.endpoints.entry(first).or_default();
}

/// What is to be mounted in it; sources that must be there are.
fn find_points(shared: &Shared, request: &CreateRequest) -> Result<Vec<MountPoint>, Error> {
    let mut others = BTreeMap::new();
    for from in &request.host.volumes_from {
        let view = shared.table.find(&from.container)?.view();
        others.insert(from.container.clone(), view.document.points.clone());
    }
    let mut names = Vec::new();
    let (host, config) = (&request.host, &request.config);
    for _ in 0..host.binds.len() + host.mounts.len() + config.volumes.len() {
        names.push(new_id()?);
    }
    let points = mount_points(request, &others, || names.pop().unwrap_or_default())?;
    check_sources(&points)?;
    Ok(points)
}

/// The image that is asked for.
async fn find_image(shared: &Arc<Shared>, request: &CreateRequest) -> Result<Image, Error> {
    let text = request.config.image.clone();
    let store = shared.store.clone();
    let found = spawn_blocking(move || store.images().find(&text)).await?;
    match found {
        Ok(image) => Ok(image),
        Err(StoreImageError::NotFound { .. }) if is_hello(&request.config.image) => {
            let made = shared.images.make_hello(&shared.program).await;
            made.map_err(|error| Error::Hello { message: error.to_string() })
        }
        Err(StoreImageError::NotFound { .. }) => {
            Err(Error::NoSuchImage { reference: familiar(&request.config.image) })
        }
        Err(error) => Err(error.into()),
    }
}

/// The image that is made of our own program when somebody asks for it.
fn is_hello(text: &str) -> bool {
    text.strip_suffix(":latest").unwrap_or(text) == HELLO
}

/// With its tag, as Docker says it.
fn familiar(text: &str) -> String {
    match dhow_spec::Reference::parse(text) {
        Ok(reference) => reference.familiar(),
        Err(_) => text.to_owned(),
    }
}

type Made = (ContainerRow, Document, Standing, Happened, Vec<u64>);

fn make(
    shared: &Arc<Shared>,
    id: &str,
    name: &Name,
    mut document: Document,
    parent: Option<ChainId>,
) -> Result<Made, Error> {
    let made = make_files(shared, id, &mut document, parent).and_then(|()| {
        let standing = Standing { state: State::Created { failure: None }, ..Standing::making() };
        let row = ContainerRow {
            id: id.to_owned(),
            name: name.as_str().to_owned(),
            created_ms: shared.store.now_ms(),
            document: document.to_json(),
            state: serde_json::to_string(&standing).expect("a state prints"),
            journal: 0,
        };
        let now = crate::clock::now_ns();
        let happened = Happened::one(event_of(id, &row.name, &document, now, "create", &[]));
        let numbers = shared.store.db().insert_container(row.clone(), happened.rows())?;
        Ok((row, document, standing, happened, numbers))
    });
    if made.is_err() {
        undo(shared, id)?;
    }
    made
}

fn make_files(
    shared: &Arc<Shared>,
    id: &str,
    document: &mut Document,
    parent: Option<ChainId>,
) -> Result<(), Error> {
    let options = PrepareOptions { size_bytes_max: size_limit(document)? };
    shared.snapshots.prepare(&snapshot_key(id), parent.as_ref(), None, &options)?;
    let places = Places::of(&shared.data_root, &shared.exec_root, id);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o710)
        .create(&places.data)
        .map_err(|error| Error::io("make", &places.data, error))?;
    shared.make_volumes(&mut document.points)
}

/// `--storage-opt size=10G`; everything else that storage drivers know elsewhere is refused.
fn size_limit(document: &Document) -> Result<Option<u64>, Error> {
    let mut limit = None;
    for (name, value) in &document.request.host.storage_options {
        if name != "size" {
            return Err(Error::Invalid { message: format!("Unknown option {name}") });
        }
        let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match value[digits.len()..].to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(Error::Invalid { message: format!("invalid size: '{value}'") }),
        };
        let number: u64 = digits
            .parse()
            .map_err(|_| Error::Invalid { message: format!("invalid size: '{value}'") })?;
        limit = Some(number.saturating_mul(1 << shift));
    }
    Ok(limit)
}

/// Removes what there is of a container that nobody was told of.
pub(super) fn undo(shared: &Shared, id: &str) -> Result<(), Error> {
    let places = Places::of(&shared.data_root, &shared.exec_root, id);
    shared.snapshots.remove(&snapshot_key(id))?;
    super::task::remove_tree(&places.run)?;
    super::task::remove_tree(&places.data)?;
    shared.store.db().remove_container(id, Vec::new())?;
    Ok(())
}
