//! Networks: made, listed, looked at, removed; containers coming and going.
//!
//! Invariant: none of its own. Absent on purpose: networks of clusters, which are refused by name.

use std::sync::Arc;

use dhow_engine::{EventKind, Network, NetworkMember, NetworkPool, NewNetwork};
use dhow_wire::{
    ConfigReference, ConnectNetwork, CreateNetwork, CreatedNetwork, DisconnectNetwork,
    EndpointResource, Ipam, IpamConfig, NetworkInspect, NetworksPruned,
};
use hyper::{Method, StatusCode};

use super::times;
use crate::app::App;
use crate::compat::{Message, adapt};
use crate::convert;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::reply::Reply;
use crate::routes::engine_filters;

pub(super) async fn dispatch(app: &Arc<App>, call: Call, path: &[&str]) -> Result<Reply, ApiError> {
    match (&call.method, path) {
        (&Method::GET, []) => list(app, &call),
        (&Method::POST, ["create"]) => create(app, call).await,
        (&Method::POST, ["prune"]) => prune(app, &call).await,
        (&Method::GET, [id]) => inspect(app, &call, id).await,
        (&Method::DELETE, [id]) => {
            app.engine.network_remove(id).await?;
            Ok(Reply::done())
        }
        (&Method::POST, [id, "connect"]) => connect(app, call, id).await,
        (&Method::POST, [id, "disconnect"]) => disconnect(app, call, id).await,
        _ => Err(ApiError::page_not_found()),
    }
}

fn list(app: &Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    let filters = engine_filters(&call.query.filters()?);
    let networks = app.engine.networks(&filters)?;
    let networks = networks.iter().map(|network| adapted(call, &told(network)));
    Ok(Reply::ok(&networks.collect::<Vec<_>>()))
}

/// As the client's version has it.
fn adapted(call: &Call, network: &NetworkInspect) -> serde_json::Value {
    let mut value = serde_json::to_value(network).unwrap_or_default();
    adapt(call.version, Message::Network, &mut value);
    value
}

async fn inspect(app: &Arc<App>, call: &Call, query: &str) -> Result<Reply, ApiError> {
    if !matches!(call.query.text("scope"), "" | "local") {
        return Err(ApiError::not_found(format!("network {query} not found")));
    }
    let (network, members) = app.engine.network_inspect(query)?;
    let mut answer = told(&network);
    answer.containers = Some(members.into_iter().map(member).collect());
    if call.query.flag("verbose") {
        answer.rules = Some(app.engine.network_rules(query).await?);
    }
    Ok(Reply::ok(&adapted(call, &answer)))
}

async fn create(app: &Arc<App>, mut call: Call) -> Result<Reply, ApiError> {
    let wanted: CreateNetwork = call.json().await?;
    let ipam = wanted.ipam.unwrap_or_default();
    let refused = match () {
        () if wanted.ingress => "the ingress network of a swarm",
        () if !matches!(wanted.scope.as_str(), "" | "local") => "a scope other than local",
        () if !matches!(ipam.driver.as_str(), "" | "default") => {
            "an address driver other than default"
        }
        () => "",
    };
    if !refused.is_empty() {
        return Err(ApiError::unsupported(refused));
    }
    let pools = ipam.config.unwrap_or_default().into_iter().map(|config| NetworkPool {
        subnet: config.subnet,
        range: config.ip_range,
        gateway: config.gateway,
        auxiliary: config.aux_addresses,
    });
    let new = NewNetwork {
        name: wanted.name,
        driver: wanted.driver,
        ipv4: wanted.enable_ipv4,
        // Before there was a third value, this was no answer to anything.
        ipv6: wanted.enable_ipv6,
        internal: wanted.internal,
        attachable: wanted.attachable,
        options: wanted.options.unwrap_or_default(),
        labels: wanted.labels.unwrap_or_default(),
        ipam_options: ipam.options.unwrap_or_default(),
        pools: pools.filter(|pool| *pool != NetworkPool::default()).collect(),
        config_only: wanted.config_only,
        config_from: wanted.config_from.unwrap_or_default().network,
    };
    let (network, warnings) = app.engine.network_create(new).await?;
    let answer = CreatedNetwork { id: network.id, warning: warnings.join("\n") };
    Ok(Reply::json(StatusCode::CREATED, &answer))
}

async fn prune(app: &Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    let filters = call.query.filters()?;
    let until = match filters.get("until").next() {
        Some(text) => Some(times::until_s(text)?.saturating_mul(1000)),
        None => None,
    };
    let names = app.engine.networks_prune(&engine_filters(&filters), until).await?;
    app.tell_pruned(EventKind::Network, 0).await;
    Ok(Reply::ok(&NetworksPruned {
        networks_deleted: Some(names).filter(|names| !names.is_empty()),
    }))
}

async fn connect(app: &Arc<App>, mut call: Call, query: &str) -> Result<Reply, ApiError> {
    let wanted: ConnectNetwork = call.json().await?;
    let asked = convert::endpoint(wanted.endpoint.unwrap_or_default())?;
    app.engine.network_connect(query, &wanted.container, asked).await?;
    Ok(Reply::status(StatusCode::OK))
}

async fn disconnect(app: &Arc<App>, mut call: Call, query: &str) -> Result<Reply, ApiError> {
    let wanted: DisconnectNetwork = call.json().await?;
    app.engine.network_disconnect(query, &wanted.container, wanted.force).await?;
    Ok(Reply::status(StatusCode::OK))
}

fn member(member: NetworkMember) -> (String, EndpointResource) {
    let endpoint = member.endpoint;
    let address = |address: &str, prefix: u8| match address {
        "" => String::new(),
        address => format!("{address}/{prefix}"),
    };
    let resource = EndpointResource {
        name: member.name,
        ipv4_address: address(&endpoint.ipv4, endpoint.prefix),
        ipv6_address: address(&endpoint.ipv6, endpoint.prefix6),
        endpoint_id: endpoint.endpoint_id,
        mac_address: endpoint.mac,
    };
    (member.id, resource)
}

fn told(network: &Network) -> NetworkInspect {
    let pools = network.pools.iter().map(|pool| IpamConfig {
        subnet: pool.subnet.clone(),
        ip_range: pool.range.clone(),
        gateway: pool.gateway.clone(),
        aux_addresses: pool.auxiliary.clone(),
    });
    NetworkInspect {
        name: network.name.clone(),
        id: network.id.clone(),
        created: convert::time(network.created_ms.saturating_mul(1_000_000)),
        scope: "local".to_owned(),
        driver: network.driver.clone(),
        enable_ipv4: network.ipv4,
        enable_ipv6: network.ipv6,
        internal: network.internal,
        attachable: network.attachable,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: Some(network.ipam_options.clone()),
            config: Some(pools.collect()),
        },
        config_only: network.config_only,
        config_from: ConfigReference { network: network.config_from.clone() },
        options: Some(network.options.clone()),
        labels: Some(network.labels.clone()),
        ..NetworkInspect::default()
    }
}
