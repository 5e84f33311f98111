//! `POST /build`: a Dockerfile and its context come in as one archive, the classic builder's text goes out.
//!
//! Until the first line a failure is the request's; after it, it is a line. Invariants: a client that goes away ends
//! the build; text of stages that run side by side comes stage by stage, in the file's order.
//! Absent on purpose: BuildKit's sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

use dhow_engine::request::{ExtraHost, NetworkMode, Resources, Ulimit};
use dhow_engine::{BuildFault, BuildOptions, CachePrune, Cancel, Credentials};
use dhow_spec::Reference;
use dhow_wire::{AuthConfig, BuildCachePruned, ErrorDetail, Filters, JsonMessage};

use crate::app::App;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::http::reply::Reply;
use crate::http::transfer::BodyReader;
use crate::routes::build_text::Teller;
use crate::routes::images::platform;
use dhow_spec::base64;

/// A header of our own client: secrets by id, as JSON of base64, in base64. In a query they would end in logs.
const SECRETS: &str = "x-dhow-secrets";

/// `POST /build`.
pub(super) async fn build(app: &Arc<App>, call: Call) -> Result<Reply, ApiError> {
    let options = options(&call)?;
    let quiet = call.query.flag("q");
    let cache_from = call.query.text("cachefrom").to_owned();
    let tags = options.tags.clone();
    let source = BodyReader::new(call.body);
    let build = app.engine.begin_build(source, options).await?;
    let (pieces, reply) = Reply::stream("application/json");
    if !quiet && !matches!(cache_from.as_str(), "" | "[]" | "null") {
        // A build is right without it: no reason to refuse what scripts always say.
        let text = "[Warning] cachefrom: only what this engine has built is taken as cache\n";
        let warning = JsonMessage { stream: text.to_owned(), ..JsonMessage::default() };
        // Who has gone already is the watch's matter.
        let _ = pieces.line(&warning, "\r\n").await;
    }
    let cancel = Cancel::default();
    let gone = (pieces.clone(), cancel.clone());
    // Whoever asked for it may leave while a command says nothing.
    let watch = tokio::spawn(async move {
        gone.0.gone().await;
        gone.1.cancel();
    });
    let (teller, lines) = Teller::new(quiet);
    let teller = Arc::new(teller);
    let writing = tokio::task::spawn_blocking({
        let pieces = pieces.clone();
        move || {
            // Nobody there is the watch's matter; what is still said goes nowhere.
            for line in lines {
                let mut text = serde_json::to_string(&line).unwrap_or_default();
                text.push_str("\r\n");
                if pieces.send_blocking(text).is_err() {
                    return;
                }
            }
        }
    });
    let app = app.clone();
    tokio::spawn(async move {
        let built = build.run(teller.clone(), cancel).await;
        teller.finish();
        drop(teller);
        let _ = writing.await;
        let last = match built {
            Ok(built) => {
                for name in &built.names {
                    app.tell_image("tag", &built.id, name).await;
                }
                let short = built.id.strip_prefix("sha256:").unwrap_or(&built.id);
                let short = short.get(..12).unwrap_or(short);
                success(&built.id, short, &tags, quiet)
            }
            Err(fault) => vec![failure(&fault)],
        };
        for line in last {
            if pieces.line(&line, "\r\n").await.is_err() {
                break;
            }
        }
        watch.abort();
    });
    Ok(reply)
}

fn success(id: &str, short: &str, tags: &[Reference], quiet: bool) -> Vec<JsonMessage> {
    let stream = |text: String| JsonMessage { stream: text, ..JsonMessage::default() };
    if quiet {
        return vec![stream(format!("{id}\n"))];
    }
    let aux = serde_json::json!({ "ID": id });
    let mut lines = vec![
        JsonMessage { aux: Some(aux), ..JsonMessage::default() },
        stream(format!("Successfully built {short}\n")),
    ];
    lines
        .extend(tags.iter().map(|tag| stream(format!("Successfully tagged {}\n", tag.familiar()))));
    lines
}

fn failure(fault: &BuildFault) -> JsonMessage {
    let message = fault.to_string();
    JsonMessage {
        error: Some(ErrorDetail { code: fault.code().unwrap_or(0), message: message.clone() }),
        error_message: message,
        ..JsonMessage::default()
    }
}

fn options(call: &Call) -> Result<BuildOptions, ApiError> {
    let query = &call.query;
    if query.text("version") == "2" {
        return Err(ApiError::unsupported("BuildKit (version=2)"));
    }
    let remote = query.text("remote");
    if !remote.is_empty() {
        return Err(ApiError::unsupported(format_args!("a build context from {remote}")));
    }
    for (name, what) in [
        ("outputs", "build outputs"),
        ("isolation", "isolation"),
        ("securityopt", "security options of builds"),
        ("session", "BuildKit sessions"),
    ] {
        let text = query.text(name);
        if !matches!(text, "" | "[]" | "null" | "default") {
            return Err(ApiError::unsupported(what));
        }
    }
    let dockerfile = match query.text("dockerfile") {
        "" => "Dockerfile",
        path => path,
    };
    let args: BTreeMap<String, Option<String>> = map(query, "buildargs")?;
    let labels: BTreeMap<String, Option<String>> = map(query, "labels")?;
    let context = |text: &str| {
        let (name, image) = text.split_once("=docker-image://")?;
        Some((name.to_owned(), image.to_owned()))
    };
    let contexts = query.all("buildcontext").map(|text| {
        context(text).ok_or_else(|| ApiError::unsupported(format_args!("the context {text}")))
    });
    let contexts = contexts.collect::<Result<_, _>>()?;
    let target = Some(query.text("target").to_owned()).filter(|target| !target.is_empty());
    Ok(BuildOptions {
        dockerfile: dockerfile.to_owned(),
        tags: tags(query)?,
        contexts,
        target,
        args: args.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        labels: labels.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect(),
        platform: platform(query.text("platform"))?,
        no_cache: query.flag("nocache"),
        no_cache_stages: words(query, "nocachefilter").map(|name| name.to_lowercase()).collect(),
        pull: query.flag("pull"),
        squash: query.flag("squash"),
        network: network(query)?,
        extra_hosts: extra_hosts(query)?,
        resources: resources(query)?,
        shm_size: number(query, "shmsize")?,
        secrets: secrets(call)?,
        credentials: credentials(call),
        ..BuildOptions::default()
    })
}

/// A JSON object in the query.
fn map(query: &Query, name: &str) -> Result<BTreeMap<String, Option<String>>, ApiError> {
    match query.text(name) {
        "" | "null" => Ok(BTreeMap::new()),
        text => serde_json::from_str(text)
            .map_err(|error| ApiError::invalid(format!("error reading {name}: {error}"))),
    }
}

fn words<'a>(query: &'a Query, name: &'a str) -> impl Iterator<Item = &'a str> {
    query.all(name).flat_map(|text| text.split(',')).filter(|word| !word.is_empty())
}

fn number(query: &Query, name: &str) -> Result<i64, ApiError> {
    Ok(query.number_checked(name)?.unwrap_or(0))
}

fn tags(query: &Query) -> Result<Vec<Reference>, ApiError> {
    let mut tags: Vec<Reference> = Vec::new();
    for text in query.all("t").filter(|text| !text.is_empty()) {
        let tag = Reference::parse(text).map_err(|error| ApiError::invalid(error.to_string()))?;
        if tag.digest().is_some() {
            return Err(ApiError::invalid("build tag cannot contain a digest"));
        }
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

fn network(query: &Query) -> Result<NetworkMode, ApiError> {
    let text = query.text("networkmode");
    text.parse()
        .map_err(|error: dhow_engine::request::RequestError| ApiError::invalid(error.to_string()))
}

fn extra_hosts(query: &Query) -> Result<Vec<ExtraHost>, ApiError> {
    let mut hosts = Vec::new();
    for text in query.all("extrahosts").filter(|text| !text.is_empty()) {
        let list: Vec<String> = match text.starts_with('[') {
            true => serde_json::from_str(text)
                .map_err(|error| ApiError::invalid(format!("error reading extrahosts: {error}")))?,
            false => text.split(',').map(str::to_owned).collect(),
        };
        for host in list {
            let host = host.parse().map_err(|error: dhow_engine::request::RequestError| {
                ApiError::invalid(error.to_string())
            })?;
            hosts.push(host);
        }
    }
    Ok(hosts)
}

fn resources(query: &Query) -> Result<Resources, ApiError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Limit {
        name: String,
        #[serde(default)]
        soft: i64,
        #[serde(default)]
        hard: i64,
    }
    let ulimits: Vec<Limit> = match query.text("ulimits") {
        "" | "null" => Vec::new(),
        text => serde_json::from_str(text).map_err(|error| {
            ApiError::invalid(format!("error reading ulimit settings: {error}"))
        })?,
    };
    let ulimits = ulimits.into_iter();
    Ok(Resources {
        memory: number(query, "memory")?,
        memory_swap: number(query, "memswap")?,
        cpu_shares: number(query, "cpushares")?,
        cpu_period: number(query, "cpuperiod")?,
        cpu_quota: number(query, "cpuquota")?,
        cpuset_cpus: query.text("cpusetcpus").to_owned(),
        cpuset_mems: query.text("cpusetmems").to_owned(),
        cgroup_parent: query.text("cgroupparent").to_owned(),
        ulimits: ulimits
            .map(|limit| Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard })
            .collect(),
        ..Resources::default()
    })
}

fn secrets(call: &Call) -> Result<BTreeMap<String, Vec<u8>>, ApiError> {
    let text = call.header(SECRETS);
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let bad = || ApiError::invalid(format!("{SECRETS}: not what it should be"));
    let json = base64::decode(text).ok_or_else(bad)?;
    let map: BTreeMap<String, String> = serde_json::from_slice(&json).map_err(|_| bad())?;
    let secret = |(id, value): (String, String)| Some((id, base64::decode(&value)?));
    map.into_iter().map(secret).collect::<Option<_>>().ok_or_else(bad)
}

/// Who the client is at registries. As in Docker, what cannot be read counts as nobody.
fn credentials(call: &Call) -> BTreeMap<String, Credentials> {
    let configs: Option<BTreeMap<String, AuthConfig>> =
        base64::decode(call.header("x-registry-config"))
            .and_then(|json| serde_json::from_slice(&json).ok());
    let one = |(address, config): (String, AuthConfig)| {
        let host = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
        let host = match host.split('/').next().unwrap_or_default() {
            "index.docker.io" | "registry-1.docker.io" => "docker.io",
            host => host,
        };
        Some((host.to_owned(), super::pull::from_config(config)?))
    };
    configs.unwrap_or_default().into_iter().filter_map(one).collect()
}

/// `POST /build/prune`.
pub(super) async fn prune(app: &Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    let query = &call.query;
    let filters = query.filters()?;
    let keep = ["max-used-space", "reserved-space", "keep-storage"]
        .iter()
        .find_map(|name| query.number_checked(name).transpose())
        .transpose()?;
    if query.has("min-free-space") && query.text("min-free-space") != "0" {
        return Err(ApiError::unsupported("min-free-space"));
    }
    let wanted = CachePrune {
        all: query.flag("all"),
        keep_bytes: keep.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0),
        ..by_filters(&filters)?
    };
    let pruned = app.engine.prune_builds(wanted).await?;
    Ok(Reply::ok(&BuildCachePruned {
        caches_deleted: Some(pruned.ids).filter(|ids| !ids.is_empty()),
        space_reclaimed: i64::try_from(pruned.bytes).unwrap_or(i64::MAX),
    }))
}

fn by_filters(filters: &Filters) -> Result<CachePrune, ApiError> {
    let mut wanted = CachePrune::default();
    let switch = |values: &[&str]| !values.iter().any(|value| matches!(*value, "false" | "0"));
    for (name, values) in filters.iter() {
        let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
        let owned = || values.iter().map(|value| (*value).to_owned()).collect();
        match name {
            "until" | "unused-for" => {
                let text = values.first().copied().unwrap_or_default();
                wanted.until_ms = Some(super::times::until_s(text)?.saturating_mul(1000));
            }
            "id" => wanted.ids = owned(),
            "type" => wanted.kinds = owned(),
            "description" => wanted.descriptions = owned(),
            "shared" => wanted.shared = Some(switch(&values)),
            "private" => wanted.shared = Some(!switch(&values)),
            "inuse" => wanted.in_use = Some(switch(&values)),
            other => return Err(ApiError::invalid(format!("invalid filter '{other}'"))),
        }
    }
    Ok(wanted)
}

impl From<BuildFault> for ApiError {
    fn from(fault: BuildFault) -> Self {
        Self::new(crate::http::error::status_of(fault.class()), fault.to_string())
    }
}
