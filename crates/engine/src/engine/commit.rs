//! A container made an image.
//!
//! Invariant: a container that was paused for it goes on afterwards, whatever came of it.

use dhow_spec::image::{History, RunConfig};
use dhow_spec::{Platform, Reference};
use dhow_store::{Changes, Import, LeaseId, StoreImageError};
use tokio::task::spawn_blocking;

use super::files::is_place_of_ours;
use super::{Engine, Shared};
use crate::containers::document::snapshot_key;
use crate::containers::request::ContainerConfig;
use crate::containers::table::View;
use crate::error::Error;
use crate::events::{Event, EventKind, Happened};
use crate::images::apply_instruction;

/// An image to be made of a container.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// What it is to be called, if anything.
    pub name: Option<Reference>,
    /// Why.
    pub comment: String,
    /// By whom.
    pub author: String,
    /// Nothing in the container changes meanwhile.
    pub pause: bool,
    /// Changes of the configuration, as a Dockerfile's instructions.
    pub changes: Vec<String>,
    /// What the image's containers run; what it leaves open is the container's.
    pub config: Option<ContainerConfig>,
}

impl Engine {
    /// Makes an image of what a container has become; gives its id.
    pub async fn commit(&self, query: &str, request: CommitRequest) -> Result<String, Error> {
        let entry = self.find(query)?;
        let view = entry.view();
        let paused = request.pause
            && match entry.call(|task| Box::pin(task.pause())).await {
                Ok(()) => true,
                // What does not run needs no pause.
                Err(Error::NotRunning { .. } | Error::Paused { .. } | Error::Restarting { .. }) => {
                    false
                }
                Err(error) => return Err(error),
            };
        let lease = self.shared.images.begin_lease().await.map_err(commit_error)?;
        let name = request.name.as_ref().map(Reference::familiar).unwrap_or_default();
        let (shared, ours) = (self.shared.clone(), lease.clone());
        let committed = spawn_blocking(move || commit(&shared, &ours, &view, request)).await;
        let ended = self.shared.images.done_with(&lease).await.map_err(commit_error);
        if paused {
            match entry.call(|task| Box::pin(task.unpause())).await {
                // It has ended meanwhile, or somebody else lets it go on.
                Ok(()) | Err(Error::NotPaused { .. } | Error::NoSuchContainer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let id = committed??;
        ended?;
        let view = entry.view();
        let event = crate::containers::task::event_of(
            &view.id,
            &view.name,
            &view.document,
            crate::clock::now_ns(),
            "commit",
            &[("comment", String::new()), ("imageID", id.clone()), ("imageRef", name.clone())],
        );
        let made = Event {
            kind: EventKind::Image,
            action: "create".to_owned(),
            id: id.clone(),
            attributes: [("name".to_owned(), name)].into(),
            time_ns: crate::clock::now_ns(),
        };
        self.shared.hub.publish(Happened(vec![made, event])).await?;
        Ok(id)
    }
}

fn commit_error(error: impl std::fmt::Display) -> Error {
    Error::Commit { message: error.to_string() }
}

fn commit(
    shared: &Shared,
    lease: &LeaseId,
    view: &View,
    request: CommitRequest,
) -> Result<String, Error> {
    let document = &view.document;
    let images = shared.store.images();
    let image = images
        .by_digest(&document.image)?
        .ok_or_else(|| Error::NoSuchImage { reference: document.image.to_string() })?;
    let platform = document.request.platform.clone().unwrap_or_else(Platform::of_build);
    let base = match images.select(&image, &platform) {
        Err(StoreImageError::NoPlatform { .. }) => {
            images.select(&image, &document.image_config.platform())?
        }
        other => other?,
    };
    let own = run_config(&document.request.config);
    let mut run = request.config.as_ref().map_or_else(|| own.clone(), run_config);
    for line in request.changes.iter().flat_map(|text| text.lines()) {
        apply_instruction(&mut run, line)
            .map_err(|error| Error::Invalid { message: error.to_string() })?;
    }
    fill(&mut run, own);
    let author = Some(request.author).filter(|author| !author.is_empty());
    let created = crate::images::now();
    let mut config = base.config.clone();
    config.created.clone_from(&created);
    config.author.clone_from(&author);
    config.config = Some(run);
    let step = History {
        created,
        created_by: Some(document.request.config.cmd.clone().unwrap_or_default().join(" ")),
        author,
        comment: Some(request.comment).filter(|comment| !comment.is_empty()),
        empty_layer: false,
    };
    let import = Import { name: request.name, config, step };
    let key = snapshot_key(&view.id);
    let changes =
        Changes { snapshots: &shared.snapshots, key: &key, is_left_out: &is_place_of_ours };
    let made = shared.store.commit(lease, &base.manifest, changes, import);
    Ok(made.map_err(commit_error)?.target.digest.to_string())
}

/// What moves with an image.
fn run_config(config: &ContainerConfig) -> RunConfig {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    RunConfig {
        user: text(&config.user),
        exposed_ports: config.exposed_ports.iter().map(ToString::to_string).collect(),
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone().unwrap_or_default(),
        cmd: config.cmd.clone().unwrap_or_default(),
        volumes: config.volumes.clone(),
        working_dir: text(&config.working_dir),
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone(),
        args_escaped: config.args_escaped,
        healthcheck: config.healthcheck.clone(),
        on_build: config.on_build.clone(),
        shell: config.shell.clone(),
    }
}

/// What was left open is the container's.
fn fill(run: &mut RunConfig, own: RunConfig) {
    if run.user.is_none() {
        run.user = own.user;
    }
    run.exposed_ports.extend(own.exposed_ports);
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    for entry in own.env {
        if !run.env.iter().any(|known| name(known) == name(&entry)) {
            run.env.push(entry);
        }
    }
    if run.entrypoint.is_empty() {
        if run.cmd.is_empty() {
            run.cmd = own.cmd;
            run.args_escaped = own.args_escaped;
        }
        run.entrypoint = own.entrypoint;
    }
    if run.working_dir.is_none() {
        run.working_dir = own.working_dir;
    }
    for (name, value) in own.labels {
        run.labels.entry(name).or_insert(value);
    }
    run.volumes.extend(own.volumes);
    if run.stop_signal.is_none() {
        run.stop_signal = own.stop_signal;
    }
    if run.healthcheck.is_none() {
        run.healthcheck = own.healthcheck;
    }
    if run.shell.is_empty() {
        run.shell = own.shell;
    }
    if run.on_build.is_empty() {
        run.on_build = own.on_build;
    }
}
