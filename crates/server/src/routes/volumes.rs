//! Volumes. `export`, `import`, `snapshot` and `rename` are ours; Docker has none.
//!
//! Invariant: none of its own. Absent on purpose: volumes of clusters.

use std::sync::Arc;

use dhow_engine::EventKind;
use dhow_engine::volumes::{NewVolume, Volume};
use dhow_wire::{CreateVolume, Volumes, VolumesPruned};
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;

use crate::app::App;
use crate::compat::{Message, adapt};
use crate::convert;
use crate::http::api_version::ApiVersion;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::reply::Reply;
use crate::http::transfer::{BodyReader, archive_sink};
use crate::routes::engine_filters;

pub(super) async fn dispatch(app: &Arc<App>, call: Call, path: &[&str]) -> Result<Reply, ApiError> {
    let version = call.version;
    match (&call.method, path) {
        (&Method::GET, []) => {
            let found = app.engine.volumes(engine_filters(&call.query.filters()?)).await?;
            let volumes = found.into_iter().map(told).collect();
            let found = Volumes { volumes, warnings: Some(Vec::new()) };
            Ok(Reply::ok(&adapted(version, Message::Volumes, &found)))
        }
        (&Method::POST, ["create"]) => create(app, call).await,
        (&Method::POST, ["prune"]) => prune(app, &call).await,
        (&Method::GET, [name, "export"]) => export(app, name).await,
        (&Method::PUT, [name, "import"]) => {
            let volume = app.engine.volume_import(name, BodyReader::new(call.body)).await?;
            Ok(Reply::ok(&one(version, volume)))
        }
        (&Method::POST, [name, "snapshot"]) => {
            let freeze = call.query.flag_or("pause", true);
            let to = call.query.text("name");
            let volume = app.engine.volume_snapshot(name, to, freeze).await?;
            Ok(Reply::json(StatusCode::CREATED, &one(version, volume)))
        }
        (&Method::POST, [name, "rename"]) => {
            let volume = app.engine.volume_rename(name, call.query.text("name")).await?;
            Ok(Reply::ok(&one(version, volume)))
        }
        (&Method::GET, [name]) => {
            Ok(Reply::ok(&one(version, app.engine.volume_inspect(name).await?)))
        }
        (&Method::DELETE, [name]) => {
            app.engine.volume_remove(name, call.query.flag("force")).await?;
            Ok(Reply::done())
        }
        (&Method::PUT, [_]) => Err(ApiError::no_swarm()),
        _ => Err(ApiError::page_not_found()),
    }
}

/// A volume as the client's version has it.
fn one(version: ApiVersion, volume: Volume) -> Value {
    adapted(version, Message::Volume, &told(volume))
}

fn adapted(version: ApiVersion, message: Message, found: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(found).unwrap_or_default();
    adapt(version, message, &mut value);
    value
}

/// Not Docker's: what a volume holds, as an archive.
async fn export(app: &Arc<App>, name: &str) -> Result<Reply, ApiError> {
    let (pieces, reply) = Reply::stream("application/x-tar");
    app.engine.volume_export(name, archive_sink(pieces)).await?;
    Ok(reply)
}

async fn create(app: &Arc<App>, mut call: Call) -> Result<Reply, ApiError> {
    let wanted: CreateVolume = call.json().await?;
    if wanted.cluster_volume_spec.is_some() {
        return Err(ApiError::no_swarm());
    }
    let version = call.version;
    let new = NewVolume {
        name: wanted.name,
        driver: wanted.driver,
        options: wanted.driver_opts,
        labels: wanted.labels,
        ..NewVolume::default()
    };
    let volume = app.engine.volume_create(new).await?;
    Ok(Reply::json(StatusCode::CREATED, &one(version, volume)))
}

async fn prune(app: &Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    let mut filters = call.query.filters()?;
    // Before 1.42 there was no difference between named ones and others.
    if call.version < ApiVersion::new(1, 42) && !filters.contains("all") {
        filters.add("all", "true");
    }
    let pruned = app.engine.volumes_prune(engine_filters(&filters)).await?;
    app.tell_pruned(EventKind::Volume, pruned.reclaimed_bytes).await;
    let names: Vec<_> = pruned.volumes.into_iter().map(|volume| volume.name).collect();
    Ok(Reply::ok(&VolumesPruned {
        volumes_deleted: Some(names),
        space_reclaimed: pruned.reclaimed_bytes,
    }))
}

/// A volume as Docker tells it.
pub(super) fn told(volume: Volume) -> dhow_wire::Volume {
    dhow_wire::Volume {
        created_at: convert::time(volume.created_ms.saturating_mul(1_000_000)),
        driver: volume.driver().to_owned(),
        labels: Some(volume.labels),
        mountpoint: volume.mountpoint.to_string_lossy().into_owned(),
        name: volume.name,
        options: Some(volume.options),
        scope: "local".to_owned(),
        ..dhow_wire::Volume::default()
    }
}
