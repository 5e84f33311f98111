//! `POST /build`: a Dockerfile and its context come in as one archive, the classic builder's text goes out.
//!
//! Until the first line a failure is the request's; after it, it is a line. Invariants: a client that goes away ends
//! the build; text of stages that run side by side comes stage by stage, in the file's order.
//! Our own client may send a listing of the context in place of an archive (`context=KEY`); it is asked for what is
//! not here yet.
//! Absent on purpose: BuildKit's sessions.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use dhow_engine::request::{ExtraHost, NetworkMode, Resources, Ulimit};
use dhow_engine::{
    Annotation, AnnotationPlace, Begun, BuildFault, BuildLint, BuildObserver, BuildOptions,
    BuildWarning, BuiltImage, CachePrune, Cancel, ContextKey, ContextSource, Credentials, Outlet,
    OutputKind,
};
use dhow_spec::Reference;
use dhow_wire::{AuthConfig, BuildCachePruned, ErrorDetail, Filters, JsonMessage};
use hyper::StatusCode;
use hyper::header::HeaderValue;

use crate::app::App;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::http::reply::Reply;
use crate::http::transfer::BodyReader;
use crate::routes::build_events::EventTeller;
use crate::routes::build_lines::{lines, pass_on};
use crate::routes::build_outputs::Framed;
use crate::routes::build_text::Teller;
use crate::routes::images::platform;
use dhow_spec::base64;

/// A header of our own client: secrets by id, as JSON of base64, in base64. In a query they would end in logs.
const SECRETS: &str = "x-dhow-secrets";
/// The same for the sockets of agents.
const AGENTS: &str = "x-dhow-agents";
/// A header of ours: whoever answers understood that what it was sent is a listing.
const LISTED: &str = "x-dhow-context";

/// Who is told of a build, and in which form.
enum Told {
    Text(Arc<Teller>),
    Events(Arc<EventTeller>),
}

/// `POST /build`.
pub(super) async fn build(app: &Arc<App>, call: Call) -> Result<Reply, ApiError> {
    let listed = call.query.has("context");
    let reply = match begin(app, call).await {
        Err(error) if listed => Reply::Http(error.response()),
        reply => reply?,
    };
    Ok(match reply {
        Reply::Http(mut response) if listed => {
            response.headers_mut().insert(LISTED, HeaderValue::from_static("listed"));
            Reply::Http(response)
        }
        reply => reply,
    })
}

async fn begin(app: &Arc<App>, call: Call) -> Result<Reply, ApiError> {
    let options = options(&call)?;
    let quiet = call.query.flag("q");
    let events = call.query.text("progress") == "events";
    let tags = options.tags.clone();
    let (only_lint, name) = (options.only_lint, options.dockerfile.clone());
    let gives = !options.outputs.is_empty();
    let cancel = Cancel::default();
    let remote = call.query.text("remote").to_owned();
    // A client that leaves drops this call, and with it what is being fetched.
    let mut guard = CancelOnDrop(Some(cancel.clone()));
    let key = context_key(&call.query)?;
    let (engine, cancelled) = (&app.engine, cancel.clone());
    let build = match (remote.as_str(), key) {
        ("", None) => engine.begin_build(BodyReader::new(call.body), options, cancelled).await?,
        ("", Some(key)) => {
            let body = BodyReader::new(call.body);
            match engine.begin_build_listed(key, body, options, cancelled).await? {
                Begun::Build(build) => *build,
                Begun::Wanted(numbers) => return Ok(wanted(&numbers)),
            }
        }
        (remote, _) => engine.begin_build_from(remote.to_owned(), options, cancelled).await?,
    };
    guard.0 = None;
    if only_lint {
        return Ok(Reply::ok(&lint_json(&build.lint(), &name, build.source())));
    }
    let (pieces, reply) = Reply::stream("application/json");
    let gone = (pieces.clone(), cancel.clone());
    // Whoever asked for it may leave while a command says nothing.
    let watch = tokio::spawn(async move {
        gone.0.gone().await;
        gone.1.cancel();
    });
    let (sender, lines) = lines();
    let outlet: Box<dyn Outlet> = match gives {
        true => Box::new(Framed::new(pieces.clone(), sender.clone())),
        false => Box::new(()),
    };
    let told = match events {
        true => Told::Events(Arc::new(EventTeller::new(build.stages(), sender))),
        false => Told::Text(Arc::new(Teller::new(quiet, sender))),
    };
    let writing = tokio::task::spawn_blocking({
        let pieces = pieces.clone();
        move || pass_on(lines, &pieces)
    });
    let app = app.clone();
    tokio::spawn(async move {
        let source = build.source().to_vec();
        let observer: Arc<dyn BuildObserver> = match &told {
            Told::Text(teller) => teller.clone(),
            Told::Events(teller) => teller.clone(),
        };
        let built = build.run(observer, cancel, outlet).await;
        match &told {
            Told::Text(teller) => teller.finish(),
            Told::Events(teller) => {
                teller.finish(built.as_ref().err().map(ToString::to_string).as_deref());
            }
        }
        drop(told);
        let _ = writing.await;
        let last = match built {
            Ok(built) => {
                for name in &built.names {
                    app.tell_image("tag", &built.id, name).await;
                }
                match events {
                    true => vec![built_event(&built, &name, &source)],
                    false => success(&built.id, &tags, quiet),
                }
            }
            Err(fault) if events => {
                let place = serde_json::json!({ "Failed": {
                    "Dockerfile": name, "Line": fault.line(), "Source": base64::encode(&source),
                } });
                vec![JsonMessage { aux: Some(place), ..JsonMessage::default() }, failure(&fault)]
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

/// What our own client calls its context, where it sends a listing of it first.
fn context_key(query: &Query) -> Result<Option<ContextKey>, ApiError> {
    match query.text("context") {
        "" => Ok(None),
        text => ContextKey::parse(text)
            .map(Some)
            .ok_or_else(|| ApiError::invalid(format!("invalid context {text:?}"))),
    }
}

/// The client is to ask again and to bring these files with it: first and last numbers of its listing.
fn wanted(numbers: &[u32]) -> Reply {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let runs: Vec<[u32; 2]> = runs.filter_map(|run| Some([*run.first()?, *run.last()?])).collect();
    let message = "files of the build context are not here yet";
    Reply::json(
        StatusCode::PRECONDITION_REQUIRED,
        &serde_json::json!({ "message": message, "Wanted": runs }),
    )
}

/// What came of a build, for who follows its events.
fn built_event(built: &BuiltImage, dockerfile: &str, source: &[u8]) -> JsonMessage {
    let aux = serde_json::json!({
        "ID": built.id,
        "Names": built.names,
        "Descriptor": built.descriptor,
        "Config": built.config,
        "Lint": lint_json(&built.lint, dockerfile, source),
    });
    JsonMessage { aux: Some(aux), ..JsonMessage::default() }
}

/// As BuildKit tells of checks.
fn lint_json(lint: &BuildLint, dockerfile: &str, source: &[u8]) -> serde_json::Value {
    let warning = |warning: &BuildWarning| {
        let (first, last) = warning.lines;
        serde_json::json!({
            "ruleName": warning.rule.name,
            "description": warning.rule.description,
            "url": warning.rule.url(),
            "detail": warning.message,
            "location": { "ranges": [{ "start": { "line": first }, "end": { "line": last } }] },
        })
    };
    let mut value = serde_json::json!({
        "warnings": lint.warnings.iter().map(warning).collect::<Vec<_>>(),
        "sources": [{
            "filename": dockerfile, "language": "Dockerfile", "data": base64::encode(source),
        }],
    });
    if lint.error {
        let message = format!("lint violation found for rules: {}", lint.rules());
        value["buildError"] = serde_json::json!({ "message": message });
    }
    value
}

/// Ends what nobody waits for any more.
struct CancelOnDrop(Option<Cancel>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(cancel) = self.0.take() {
            cancel.cancel();
        }
    }
}

fn success(id: &str, tags: &[Reference], quiet: bool) -> Vec<JsonMessage> {
    let short = id.strip_prefix("sha256:").unwrap_or(id);
    let short = short.get(..12).unwrap_or(short);
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
    for (name, what) in [
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
    let contexts = query.all("buildcontext").map(context).collect::<Result<_, _>>()?;
    let target = Some(query.text("target").to_owned()).filter(|target| !target.is_empty());
    Ok(BuildOptions {
        dockerfile: dockerfile.to_owned(),
        tags: tags(query)?,
        contexts,
        target,
        args: args.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        labels: labels.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect(),
        platforms: words(query, "platform")
            .filter_map(|text| platform(text).transpose())
            .collect::<Result<_, _>>()?,
        only_lint: matches!(query.text("call"), "lint" | "check"),
        discard: query.flag("discard"),
        outputs: outputs(query)?,
        annotations: query.all("annotation").map(annotation).collect::<Result<_, _>>()?,
        keep_failed: query.flag("keepfailed"),
        insecure: words(query, "allow").any(|right| right == "security.insecure"),
        no_cache: query.flag("nocache"),
        no_cache_stages: words(query, "nocachefilter").map(|name| name.to_lowercase()).collect(),
        pull: query.flag("pull"),
        squash: query.flag("squash"),
        network: network(query)?,
        extra_hosts: extra_hosts(query)?,
        resources: resources(query)?,
        shm_size: number(query, "shmsize")?,
        secrets: by_id(call, SECRETS)?,
        agents: agents(call)?,
        credentials: credentials(call),
        ..caches(query)?
    })
}

/// `NAME=docker-image://IMAGE`, `NAME=sent:DIRECTORY` of what was sent, or an address.
fn context(text: &str) -> Result<(String, ContextSource), ApiError> {
    let bad = || ApiError::invalid(format!("invalid build context {text}"));
    let (name, place) = text.split_once('=').ok_or_else(bad)?;
    let source = if let Some(image) = place.strip_prefix("docker-image://") {
        ContextSource::Image(image.to_owned())
    } else if let Some(directory) = place.strip_prefix("sent:") {
        ContextSource::Sent(directory.to_owned())
    } else if place.contains("://") || place.starts_with("git@") {
        ContextSource::Remote(place.to_owned())
    } else {
        return Err(bad());
    };
    match name {
        "" => Err(bad()),
        name => Ok((name.to_owned(), source)),
    }
}

/// What is to be given away: words of ours.
fn outputs(query: &Query) -> Result<Vec<OutputKind>, ApiError> {
    let kind = |word: &str| match word {
        "root" => Ok(OutputKind::Root),
        "archive" => Ok(OutputKind::Archive),
        "cache" => Ok(OutputKind::Cache),
        other => Err(ApiError::unsupported(format_args!("the build output {other}"))),
    };
    match query.text("outputs") {
        "" | "[]" | "null" => Ok(Vec::new()),
        _ => words(query, "outputs").map(kind).collect(),
    }
}

/// `[TYPE:]KEY=VALUE`.
fn annotation(text: &str) -> Result<Annotation, ApiError> {
    let bad = || ApiError::invalid(format!("invalid annotation {text:?}, must be KEY=VALUE"));
    let (left, value) = text.split_once('=').ok_or_else(bad)?;
    let (at, name) = match left.split_once(':') {
        None => (AnnotationPlace::Manifest, left),
        Some(("manifest", name)) => (AnnotationPlace::Manifest, name),
        Some(("index", name)) => (AnnotationPlace::Index, name),
        Some(("manifest-descriptor", name)) => (AnnotationPlace::ManifestDescriptor, name),
        Some((other, _)) => {
            return Err(ApiError::unsupported(format_args!("annotations of type {other}")));
        }
    };
    match name {
        "" => Err(bad()),
        name => Ok(Annotation { at, name: name.to_owned(), value: value.to_owned() }),
    }
}

/// Where caches come from and go to: `cachefrom` as Docker has it, with directories of what was sent beside images.
fn caches(query: &Query) -> Result<BuildOptions, ApiError> {
    let mut options = BuildOptions::default();
    let from: Vec<String> = match query.text("cachefrom") {
        "" | "null" => Vec::new(),
        text => serde_json::from_str(text)
            .map_err(|error| ApiError::invalid(format!("error reading cachefrom: {error}")))?,
    };
    let name =
        |text: &str| Reference::parse(text).map_err(|error| ApiError::invalid(error.to_string()));
    for text in from {
        match text.strip_prefix("sent:") {
            Some(directory) => options.cache_sent.push(directory.to_owned()),
            None => options.cache_from.push(name(&text)?),
        }
    }
    for text in query.all("cacheto") {
        match text {
            "inline" => options.cache_inline = true,
            text => options.cache_to.push(name(text)?),
        }
    }
    // Our own client asks as BuildKit's do, for whom such caches come beside what is known here.
    options.cache_strict = !options.cache_from.is_empty() && query.text("progress") != "events";
    options.cache_all = query.text("cachemode") == "max";
    options.cache_lenient = query.flag("cachelenient");
    Ok(options)
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

/// What a header of ours says by ids: JSON of base64, in base64.
fn by_id(call: &Call, name: &'static str) -> Result<BTreeMap<String, Vec<u8>>, ApiError> {
    let text = call.header(name);
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let bad = || ApiError::invalid(format!("{name}: not what it should be"));
    let json = base64::decode(text).ok_or_else(bad)?;
    let map: BTreeMap<String, String> = serde_json::from_slice(&json).map_err(|_| bad())?;
    let one = |(id, value): (String, String)| Some((id, base64::decode(&value)?));
    map.into_iter().map(one).collect::<Option<_>>().ok_or_else(bad)
}

/// Where the client's agents listen: only a client of this machine can say.
fn agents(call: &Call) -> Result<BTreeMap<String, PathBuf>, ApiError> {
    let path = |(id, bytes): (String, Vec<u8>)| {
        let path = PathBuf::from(OsString::from_vec(bytes));
        match path.is_absolute() {
            true => Ok((id, path)),
            false => Err(ApiError::invalid(format!("{AGENTS}: {id}: no absolute path"))),
        }
    };
    by_id(call, AGENTS)?.into_iter().map(path).collect()
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
