//! Networks: the three that every engine has.
//!
//! Invariant: what containers are in a network is what the containers say. Networks of users' own are refused
//! by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use dhow_engine::{ContainerSummary, ListRequest, NetworkView};
use dhow_wire::{EndpointResource, Filters, Ipam, IpamConfig, NetworkInspect};
use hyper::Method;

use crate::app::App;
use crate::convert;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::reply::Reply;

pub(super) async fn dispatch(
    app: &Arc<App>,
    call: &Call,
    path: &[&str],
) -> Result<Reply, ApiError> {
    match (&call.method, path) {
        (&Method::GET, []) => list(app, call),
        (&Method::GET, [id]) => inspect(app, id).await,
        (&Method::POST, ["create"]) => Err(ApiError::unsupported("making networks")),
        (&Method::POST, ["prune"]) => Err(ApiError::unsupported("pruning networks")),
        (&Method::POST, [_, "connect" | "disconnect"]) => {
            Err(ApiError::unsupported("connecting containers to networks"))
        }
        (&Method::DELETE, [id]) => {
            let network = find(app, id)?;
            Err(ApiError::new(
                hyper::StatusCode::FORBIDDEN,
                format!("{} is a pre-defined network and cannot be removed", network.name),
            ))
        }
        _ => Err(ApiError::page_not_found()),
    }
}

fn list(app: &Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    const KNOWN: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];
    let filters = call.query.filters()?;
    if let Some((name, _)) = filters.iter().find(|(name, _)| !KNOWN.contains(name)) {
        return Err(ApiError::invalid(format!("invalid filter '{name}'")));
    }
    let networks = app.engine.networks().into_iter().filter(|network| fits(network, &filters));
    Ok(Reply::ok(&networks.map(|network| told(&network)).collect::<Vec<_>>()))
}

fn fits(network: &NetworkView, filters: &Filters) -> bool {
    let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
        !filters.contains(name) || filters.get(name).any(fits)
    };
    any("driver", &|value| network.driver == value)
        && any("id", &|value| network.id.contains(value))
        && any("name", &|value| network.name.contains(value))
        && any("scope", &|value| value == "local")
        && any("type", &|value| value == "builtin")
        && any("dangling", &|value| matches!(value, "0" | "false"))
        && filters.get("label").next().is_none()
}

async fn inspect(app: &Arc<App>, query: &str) -> Result<Reply, ApiError> {
    let network = find(app, query)?;
    let rows = app.engine.list(ListRequest::default()).await?;
    let mut answer = told(&network);
    answer.containers = Some(rows.iter().filter_map(|row| member(&network, row)).collect());
    Ok(Reply::ok(&answer))
}

fn member(network: &NetworkView, row: &ContainerSummary) -> Option<(String, EndpointResource)> {
    let endpoint = row.endpoints.iter().find(|endpoint| endpoint.network == network.name);
    let (endpoint_id, mac_address, ipv4_address) = match endpoint {
        Some(endpoint) => (
            endpoint.endpoint_id.clone(),
            endpoint.mac.clone(),
            format!("{}/{}", endpoint.ipv4, endpoint.prefix),
        ),
        None if row.network_mode == network.name => Default::default(),
        None => return None,
    };
    let resource = EndpointResource {
        name: row.name.clone(),
        endpoint_id,
        mac_address,
        ipv4_address,
        ipv6_address: String::new(),
    };
    Some((row.id.clone(), resource))
}

fn find(app: &Arc<App>, query: &str) -> Result<NetworkView, ApiError> {
    let networks = app.engine.networks();
    let exactly = networks.iter().find(|network| network.name == query || network.id == query);
    let found = exactly.or_else(|| networks.iter().find(|network| network.id.starts_with(query)));
    found.cloned().ok_or_else(|| ApiError::not_found(format!("network {query} not found")))
}

fn told(network: &NetworkView) -> NetworkInspect {
    let config = network.subnet.as_ref().map(|(subnet, gateway)| IpamConfig {
        subnet: subnet.clone(),
        gateway: gateway.clone(),
        ..IpamConfig::default()
    });
    NetworkInspect {
        name: network.name.clone(),
        id: network.id.clone(),
        created: convert::time(0),
        scope: "local".to_owned(),
        driver: network.driver.to_owned(),
        enable_ipv4: true,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: None,
            config: Some(config.into_iter().collect()),
        },
        options: Some(network.options.clone()),
        labels: Some(BTreeMap::new()),
        ..NetworkInspect::default()
    }
}
