//! Swarm and plug-ins: Docker's answers of an engine that has neither.
//!
//! Invariant: nothing here succeeds but empty lists.

use hyper::{Method, StatusCode};

use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::reply::Reply;
use crate::routes::endpoints;

pub(super) fn dispatch(call: &Call, path: &[&str]) -> Result<Reply, ApiError> {
    if !endpoints::is_known(&call.method, path) {
        return Err(ApiError::page_not_found());
    }
    match (&call.method, path) {
        (&Method::GET, ["plugins"]) => Ok(Reply::ok(&[(); 0])),
        (&Method::GET, ["plugins", name @ .., "json"])
        | (
            &Method::POST,
            ["plugins", name @ .., "enable" | "disable" | "upgrade" | "push" | "set"],
        ) if !name.is_empty() => {
            Err(ApiError::not_found(format!("plugin \"{}\" not found", name.join("/"))))
        }
        (&Method::DELETE, ["plugins", name @ ..]) if !name.is_empty() => {
            Err(ApiError::not_found(format!("plugin \"{}\" not found", name.join("/"))))
        }
        (_, ["plugins", ..]) => Err(ApiError::unsupported("plugins")),
        (&Method::POST, ["swarm", "init" | "join" | "unlock"]) => {
            Err(ApiError::unsupported("swarm mode"))
        }
        (&Method::POST, ["swarm", "leave"]) => {
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "This node is not part of a swarm"))
        }
        _ => Err(ApiError::no_swarm()),
    }
}
