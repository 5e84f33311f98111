//! Containers.
//!
//! Invariant: a refusal comes before anything is done; an answer that streams begins at once.

use std::sync::Arc;

use dhow_engine::{EventKind, ListRequest, RemoveRequest, StopRequest, WaitCondition, request};
use dhow_wire::{CreateContainer, Created, Pruned, Top, Update, WaitError, Waited, Warnings};
use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::app::App;
use crate::compat::{Message, adapt};
use crate::convert;
use crate::http::api_version::ApiVersion;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::query::quoted;
use crate::http::reply::Reply;
use crate::routes::{engine_filters, files, streams, times};

pub(super) async fn dispatch(app: &Arc<App>, call: Call, path: &[&str]) -> Result<Reply, ApiError> {
    let engine = &app.engine;
    match (&call.method, path) {
        (&Method::GET, ["json"]) => list(app, &call).await,
        (&Method::POST, ["create"]) => create(app, call).await,
        (&Method::POST, ["prune"]) => prune(app, &call).await,
        (&Method::GET, [id, "json"]) => inspect(app, &call, id).await,
        (&Method::GET, [id, "top"]) => top(app, &call, id).await,
        (&Method::GET, [id, "logs"]) => streams::logs(app, &call, id).await,
        (&Method::GET, [id, "stats"]) => streams::stats(app, &call, id).await,
        (&Method::POST, [id, "attach"]) => streams::attach(app, &call, id),
        (&Method::GET, [id, "attach", "ws"]) => streams::attach_by_websocket(app, &call, id),
        (&Method::POST, [id, "exec"]) => super::execs::create(app, call, id).await,
        (&Method::POST, [id, "start"]) => start(app, call, id).await,
        (&Method::POST, [id, "stop"]) => {
            engine.stop(id, stop_request(&call)?).await?;
            Ok(Reply::done())
        }
        (&Method::POST, [id, "restart"]) => {
            engine.restart(id, stop_request(&call)?).await?;
            Ok(Reply::done())
        }
        (&Method::POST, [id, "kill"]) => {
            engine.kill(id, signal(call.query.text("signal"))?.unwrap_or(SIGKILL)).await?;
            Ok(Reply::done())
        }
        (&Method::POST, [id, "pause"]) => {
            engine.pause(id).await?;
            Ok(Reply::done())
        }
        (&Method::POST, [id, "unpause"]) => {
            engine.unpause(id).await?;
            Ok(Reply::done())
        }
        (&Method::POST, [id, "rename"]) => {
            engine.rename(id, call.query.text("name")).await?;
            Ok(Reply::done())
        }
        (&Method::POST, [id, "resize"]) => {
            let (rows, cols) = size(&call)?;
            engine.resize(id, rows, cols).await?;
            Ok(Reply::status(StatusCode::OK))
        }
        (&Method::POST, [id, "wait"]) => wait(app, &call, id),
        (&Method::POST, [id, "update"]) => update(app, call, id).await,
        (&Method::DELETE, [id]) => remove(app, &call, id).await,
        (&Method::DELETE, [parent, alias]) if call.query.flag("link") => {
            remove(app, &call, &format!("{parent}/{alias}")).await
        }
        (&Method::HEAD, [id, "archive"]) => files::stat(app, &call, id).await,
        (&Method::GET, [id, "archive"]) => files::get(app, &call, id).await,
        (&Method::PUT, [id, "archive"]) => files::put(app, call, id).await,
        (&Method::GET, [id, "changes"]) => files::changes(app, &call, id).await,
        (&Method::GET, [id, "export"]) => files::export(app, id).await,
        (_, [_, "checkpoints", ..]) => Err(ApiError::unsupported("containers' checkpoints")),
        _ => Err(ApiError::page_not_found()),
    }
}

const SIGKILL: i32 = 9;

async fn list(app: &Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    let limit = call.query.number_checked("limit")?;
    let request = ListRequest {
        all: call.query.flag("all"),
        limit: limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0),
        size: call.query.flag("size"),
        filters: engine_filters(&call.query.filters()?),
    };
    let rows = app.engine.list(request).await?.into_iter().map(|row| {
        let mut value = serde_json::to_value(convert::row(row)).unwrap_or_default();
        adapt(call.version, Message::ContainerRow, &mut value);
        value
    });
    Ok(Reply::ok(&rows.collect::<Vec<Value>>()))
}

async fn create(app: &Arc<App>, mut call: Call) -> Result<Reply, ApiError> {
    let mut value: Value = call.json().await?;
    adapt(call.version, Message::CreateContainer, &mut value);
    let wanted: CreateContainer = serde_json::from_value(value)
        .map_err(|error| ApiError::invalid(format!("invalid JSON: {error}")))?;
    if wanted.config == Default::default() {
        return Err(ApiError::invalid("config cannot be empty in order to create a container"));
    }
    let platform = super::images::platform(call.query.text("platform"))?;
    let request = convert::create_request(wanted, platform)?;
    let name = Some(call.query.text("name")).filter(|name| !name.is_empty());
    let created = app.engine.create(name, request).await.map_err(|error| match error {
        // Clients take "not found" for the image, and fetch it.
        dhow_engine::Error::NoSuchContainer { .. } => ApiError::invalid(error.to_string()),
        error => error.into(),
    })?;
    let created = Created { id: created.id, warnings: created.warnings };
    Ok(Reply::json(StatusCode::CREATED, &created))
}

async fn inspect(app: &Arc<App>, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let details = app.engine.inspect(id, call.query.flag("size")).await?;
    let mut value = serde_json::to_value(convert::container(details)).unwrap_or_default();
    adapt(call.version, Message::ContainerInspect, &mut value);
    Ok(Reply::ok(&value))
}

async fn top(app: &Arc<App>, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let options = match call.query.text("ps_args") {
        "" => "-ef",
        options => options,
    };
    let top = app.engine.top(id, options).await?;
    Ok(Reply::ok(&Top { processes: Some(top.processes), titles: top.titles }))
}

async fn start(app: &Arc<App>, mut call: Call, id: &str) -> Result<Reply, ApiError> {
    // Clients of long ago sent the host's part only here.
    let body: Option<Value> = call.json_or_nothing().await?;
    if body.is_some_and(|body| body.as_object().is_none_or(|object| !object.is_empty())) {
        return Err(ApiError::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    app.engine.start(id).await?;
    Ok(Reply::done())
}

fn stop_request(call: &Call) -> Result<StopRequest, ApiError> {
    // Before 1.42 only the time could be chosen.
    let signal = match call.version < ApiVersion::new(1, 42) {
        true => None,
        false => signal(call.query.text("signal"))?,
    };
    Ok(StopRequest { signal, timeout_s: call.query.number_checked("t")? })
}

fn signal(text: &str) -> Result<Option<i32>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = request::parse_signal(text);
    parsed.map(Some).map_err(|error| dhow_engine::Error::from(error).into())
}

/// The size of a terminal.
pub(super) fn size(call: &Call) -> Result<(u16, u16), ApiError> {
    let number = |name: &str, what: &str| {
        let text = call.query.text(name);
        text.parse::<u16>().map_err(|_| {
            ApiError::invalid(format!("invalid resize {what} {}: invalid syntax", quoted(text)))
        })
    };
    Ok((number("h", "height")?, number("w", "width")?))
}

/// Says at once that it waits: clients start what they wait for only then.
fn wait(app: &Arc<App>, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let condition = match call.query.text("condition") {
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        word => return Err(ApiError::invalid(format!("invalid condition: {}", quoted(word)))),
    };
    let wait = app.engine.wait(id, condition)?;
    let (pieces, reply) = Reply::stream("application/json");
    tokio::spawn(async move {
        let waited = tokio::select! {
            waited = wait.done() => waited,
            () = pieces.gone() => return,
        };
        let told = Waited {
            error: waited.error.map(|message| WaitError { message }),
            status_code: waited.code.into(),
        };
        // Nobody to tell if he is gone by now.
        let _ = pieces.line(&told, "\n").await;
    });
    Ok(reply)
}

async fn update(app: &Arc<App>, mut call: Call, id: &str) -> Result<Reply, ApiError> {
    let mut wanted: Update = call.json().await?;
    let add = convert::published(&wanted.publish_add.take().unwrap_or_default())?;
    let remove = convert::published(&wanted.publish_remove.take().unwrap_or_default())?;
    let publishes = !add.is_empty() || !remove.is_empty();
    // An update of ports and nothing else is no update of limits.
    let warnings = match publishes && wanted == Update::default() {
        true => Vec::new(),
        false => app.engine.update(id, convert::update_request(wanted)?).await?,
    };
    app.engine.publish(id, add, remove).await?;
    Ok(Reply::ok(&Warnings { warnings: Some(warnings).filter(|all| !all.is_empty()) }))
}

async fn remove(app: &Arc<App>, call: &Call, id: &str) -> Result<Reply, ApiError> {
    if call.query.flag("link") {
        app.engine.unlink(id).await?;
        return Ok(Reply::done());
    }
    let request = RemoveRequest { force: call.query.flag("force"), volumes: call.query.flag("v") };
    app.engine.remove(id, request).await?;
    Ok(Reply::done())
}

/// Removes what does not run. What is in the way of one is no matter of the others.
async fn prune(app: &Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    let asked = call.query.filters()?;
    let known = ["until", "label", "label!"];
    if let Some((name, _)) = asked.iter().find(|(name, _)| !known.contains(name)) {
        return Err(ApiError::invalid(format!("invalid filter '{name}'")));
    }
    let until_s = asked.get("until").next().map(times::until_s).transpose()?;
    let request = ListRequest { all: true, size: true, ..ListRequest::default() };
    let mut pruned = Pruned::default();
    let mut removed = Vec::new();
    for row in app.engine.list(request).await? {
        let has = |wanted: &str| match wanted.split_once('=') {
            Some((key, value)) => row.labels.get(key).is_some_and(|found| found == value),
            None => row.labels.contains_key(wanted),
        };
        let stopped = matches!(
            row.status,
            dhow_engine::Status::Created | dhow_engine::Status::Exited | dhow_engine::Status::Dead
        );
        let wanted = stopped
            && until_s.is_none_or(|until| row.created_ns.div_euclid(1_000_000_000) < until)
            && asked.get("label").all(has)
            && !asked.get("label!").any(has);
        if wanted && app.engine.remove(&row.id, RemoveRequest::default()).await.is_ok() {
            pruned.space_reclaimed += row.size.map_or(0, |size| size.writable_bytes);
            removed.push(row.id);
        }
    }
    app.tell_pruned(EventKind::Container, pruned.space_reclaimed).await;
    pruned.containers_deleted = Some(removed).filter(|removed| !removed.is_empty());
    Ok(Reply::ok(&pruned))
}
