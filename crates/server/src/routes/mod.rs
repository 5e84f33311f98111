//! The API's groups, one file each.
//!
//! Invariant: a path that Docker serves is served here, or refused by name; any other is not found.

mod build;
mod build_events;
mod build_lines;
mod build_outputs;
mod build_text;
mod cluster;
mod containers;
mod endpoints;
mod events;
mod execs;
mod files;
mod images;
mod manifests;
mod networks;
mod pull;
mod search;
mod streams;
mod system;
mod times;
mod volumes;

use std::sync::Arc;

use dhow_engine::Filters;
use hyper::{Method, StatusCode};

use crate::app::App;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::reply::Reply;

/// Finds who answers.
pub(crate) async fn dispatch(app: &Arc<App>, call: Call, path: &[&str]) -> Result<Reply, ApiError> {
    // Browsers and old clients ask so what they may.
    if call.method == Method::OPTIONS {
        return Ok(Reply::status(StatusCode::OK));
    }
    endpoints::check(&call, path)?;
    let reply = route(app, call, path).await;
    reply.map_err(|error| match error.is_page_not_found() {
        true => endpoints::refusal(path),
        false => error,
    })
}

async fn route(app: &Arc<App>, call: Call, path: &[&str]) -> Result<Reply, ApiError> {
    match path {
        ["distribution", name @ .., "manifest"]
            if !name.is_empty() && matches!(call.method, Method::GET | Method::POST) =>
        {
            manifests::dispatch(app, call, &name.join("/")).await
        }
        ["_ping" | "version" | "info" | "auth"] | ["system" | "distribution", ..] => {
            system::dispatch(app, call, path).await
        }
        ["events"] if call.method == Method::GET => events::listen(app, &call).await,
        ["containers", rest @ ..] => containers::dispatch(app, call, rest).await,
        ["exec", rest @ ..] => execs::dispatch(app, call, rest).await,
        ["networks", rest @ ..] => networks::dispatch(app, call, rest).await,
        ["volumes", rest @ ..] => volumes::dispatch(app, call, rest).await,
        ["commit"] if call.method == Method::POST => files::commit(app, call).await,
        ["images", rest @ ..] => images::dispatch(app, call, rest).await,
        ["build"] if call.method == Method::POST => build::build(app, call).await,
        ["build", "prune"] if call.method == Method::POST => build::prune(app, &call).await,
        ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs" | "plugins", ..] => {
            cluster::dispatch(&call, path)
        }
        _ => unbuilt(&call, path),
    }
}

/// What runs containers where nobody chose.
pub(crate) const RUNTIME: &str = "dhow";

/// A list's filters in the engine's words.
fn engine_filters(asked: &dhow_wire::Filters) -> Filters {
    let mut filters = Filters::default();
    for (name, values) in asked.iter() {
        for value in values {
            filters.add(name, value);
        }
    }
    filters
}

/// What Docker serves and we do not yet.
fn unbuilt(call: &Call, path: &[&str]) -> Result<Reply, ApiError> {
    let what = match (&call.method, path) {
        (&Method::POST, ["session"] | ["grpc"]) => "BuildKit",
        _ => return Err(ApiError::page_not_found()),
    };
    Err(ApiError::unsupported(what))
}
