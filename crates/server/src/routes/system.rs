//! The server itself: who it is, what it runs on, what it takes.
//!
//! Invariant: numbers are true; what nobody counts is zero as in Docker, not guessed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use dhow_engine::{BuildCacheRow, ContainerSummary, ImageFilters, ImageRow, ListRequest, Status};
use dhow_wire::{
    AuthConfig, AuthResponse, BuildCache, BuildCacheUsage, Component, ContainersUsage, DiskUsage,
    DistributionInspect, Firewall, ImagesUsage, IndexInfo, Info, PlatformName, Plugins,
    RegistryConfig, Runtime, SwarmInfo, Version, VolumeUsage, VolumesUsage,
};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA};
use hyper::{Method, Response};

use crate::app::{App, VERSION};
use crate::compat::{Message, adapt};
use crate::convert::signed;
use crate::http::api_version::ApiVersion;
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::reply::Reply;
use crate::routes::RUNTIME;

pub(super) async fn dispatch(app: &Arc<App>, call: Call, path: &[&str]) -> Result<Reply, ApiError> {
    match (&call.method, path) {
        (&Method::GET | &Method::HEAD, ["_ping"]) => Ok(ping(&call.method)),
        (&Method::GET, ["version"]) => Ok(Reply::ok(&version(app))),
        (&Method::GET, ["info"]) => info(app, &call).await,
        (&Method::GET, ["system", "df"]) => usage(app, &call).await,
        (&Method::POST, ["auth"]) => auth(app, call).await,
        (&Method::GET, ["distribution", name @ .., "json"]) if !name.is_empty() => {
            distribution(app, &call, &name.join("/")).await
        }
        _ => Err(ApiError::page_not_found()),
    }
}

/// Says that it is there, and in its headers what it can do.
fn ping(method: &Method) -> Reply {
    let body = if method == Method::HEAD { Body::empty() } else { Body::whole("OK") };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let mut put = |name: &'static str, value| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    put("builder-version", "1");
    put("swarm", "inactive");
    put(CONTENT_TYPE.as_str(), "text/plain; charset=utf-8");
    put(CACHE_CONTROL.as_str(), "no-cache, no-store, must-revalidate");
    put(PRAGMA.as_str(), "no-cache");
    Reply::Http(response)
}

fn version(app: &App) -> Version {
    let names = rustix::system::uname();
    let kernel = names.release().to_string_lossy().into_owned();
    let arch = dhow_spec::Platform::of_build().architecture;
    let (api, oldest) = (app.versions.newest.to_string(), app.versions.oldest.to_string());
    let details = BTreeMap::from(
        [
            ("ApiVersion", &*api),
            ("Arch", &*arch),
            ("Experimental", "false"),
            ("KernelVersion", &*kernel),
            ("MinAPIVersion", &*oldest),
            ("Os", "linux"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    Version {
        platform: PlatformName { name: "dhow".to_owned() },
        version: VERSION.to_owned(),
        api_version: api,
        min_api_version: oldest,
        os: "linux".to_owned(),
        components: vec![Component {
            name: "Engine".to_owned(),
            version: VERSION.to_owned(),
            details,
        }],
        arch,
        kernel_version: kernel,
        // There is none; clients in Python want the member.
        go_version: "none".to_owned(),
        ..Version::default()
    }
}

async fn info(app: &Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    let facts = app.engine.facts().await?;
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let words = |words: &[&str]| Some(words.iter().copied().map(str::to_owned).collect());
    let mirrors = facts.told.mirrors.clone();
    let index = |name: &str, mirrors: Vec<String>, official: bool| {
        let index = IndexInfo { name: name.to_owned(), mirrors, secure: official, official };
        (name.to_owned(), index)
    };
    let is_range = |text: &&String| text.contains('/');
    let insecure = &facts.told.insecure_registries;
    let names = insecure.iter().filter(|text| !is_range(text));
    let indexes = names.map(|name| index(name, Vec::new(), false));
    let indexes = indexes.chain([index("docker.io", mirrors.clone(), true)]).collect();
    let own = ["::1/128", "127.0.0.0/8"].map(str::to_owned);
    let ranges = own.into_iter().chain(insecure.iter().filter(is_range).cloned()).collect();
    let program = |path: &std::path::PathBuf| Runtime {
        path: path.to_string_lossy().into_owned(),
        ..Runtime::default()
    };
    let runtimes = facts.runtimes.iter().map(|(name, path)| (name.clone(), program(path)));
    let runtimes = runtimes.chain([(RUNTIME.to_owned(), Runtime::default())]).collect();
    let info = Info {
        id: facts.id,
        containers: number(facts.containers),
        containers_running: number(facts.running),
        containers_paused: number(facts.paused),
        containers_stopped: number(facts.stopped),
        images: number(facts.images.0),
        driver: facts.driver.clone(),
        driver_status: Some(vec![["driver-type".to_owned(), facts.driver]]),
        plugins: Plugins {
            volume: words(&["local"]),
            network: words(&["bridge", "host", "null"]),
            authorization: Some(Vec::new()),
            log: words(&["fluentd", "gelf", "journald", "json-file", "local", "none", "syslog"]),
        },
        memory_limit: true,
        swap_limit: facts.swap_limit,
        cpu_cfs_period: true,
        cpu_cfs_quota: true,
        cpu_shares: true,
        cpu_set: true,
        pids_limit: true,
        oom_kill_disable: facts.cgroup_version == 1,
        ipv4_forwarding: facts.forwarding,
        n_fd: number(facts.descriptors),
        system_time: crate::convert::time(now_ns()),
        logging_driver: facts.log_driver,
        cgroup_driver: if facts.systemd_cgroups { "systemd" } else { "cgroupfs" }.to_owned(),
        debug: facts.told.debug,
        cgroup_version: facts.cgroup_version.to_string(),
        kernel_version: facts.kernel,
        operating_system: facts.operating_system,
        os_version: facts.os_version,
        os_type: "linux".to_owned(),
        architecture: facts.machine,
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: Some(RegistryConfig {
            insecure_cidrs: Some(ranges),
            indexes,
            mirrors: Some(mirrors),
        }),
        n_cpu: number(facts.processors),
        mem_total: signed(facts.memory_bytes),
        docker_root_dir: facts.data_root.to_string_lossy().into_owned(),
        name: facts.host,
        labels: Some(facts.told.labels),
        server_version: VERSION.to_owned(),
        runtimes,
        default_runtime: match facts.default_runtime.as_str() {
            "" => RUNTIME.to_owned(),
            name => name.to_owned(),
        },
        swarm: SwarmInfo { local_node_state: "inactive".to_owned(), ..SwarmInfo::default() },
        live_restore_enabled: true,
        init_binary: "dhow".to_owned(),
        security_options: words(&["name=seccomp,profile=builtin", "name=cgroupns"]),
        firewall_backend: Some(Firewall { driver: "nftables".to_owned(), info: Vec::new() }),
        cdi_spec_dirs: Some(Vec::new()),
        generic_resources: Some(Vec::new()),
        warnings: Some(Vec::new()),
        ..Info::default()
    };
    let mut value = serde_json::to_value(info).unwrap_or_default();
    adapt(call.version, Message::Info, &mut value);
    Ok(Reply::ok(&value))
}

/// What is taken on disk, kind by kind. Lists come only with `verbose`, and always before 1.52.
async fn usage(app: &Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    let kinds: Vec<&str> = call.query.all("type").filter(|kind| !kind.is_empty()).collect();
    if let Some(kind) =
        kinds.iter().find(|kind| !["container", "image", "volume", "build-cache"].contains(kind))
    {
        return Err(ApiError::invalid(format!("unknown object type: {kind}")));
    }
    let wants = |kind| kinds.is_empty() || kinds.contains(&kind);
    let verbose = call.query.flag("verbose") || call.version < ApiVersion::new(1, 53);
    let request = ListRequest { all: true, size: true, ..ListRequest::default() };
    let containers = app.engine.list(request).await?;
    let mut answer = DiskUsage::default();
    if wants("image") {
        answer.images = Some(images_usage(app, &containers, verbose).await?);
    }
    if wants("container") {
        answer.containers = Some(containers_usage(containers, verbose));
    }
    if wants("volume") {
        answer.volumes = Some(volumes_usage(app, verbose).await?);
    }
    if wants("build-cache") {
        answer.build_cache = Some(cache_usage(app.engine.build_cache().await?, verbose));
    }
    let mut value = serde_json::to_value(answer).unwrap_or_default();
    adapt(call.version, Message::DiskUsage, &mut value);
    Ok(Reply::ok(&value))
}

async fn images_usage(
    app: &Arc<App>,
    containers: &[ContainerSummary],
    verbose: bool,
) -> Result<ImagesUsage, ApiError> {
    let rows = app.images.list(&ImageFilters::default()).await?;
    let total = signed(app.images.taken_bytes().await?);
    let shared = app.images.shared_bytes().await?;
    let users = |row: &ImageRow| {
        containers.iter().filter(|container| container.image_id == row.target.digest).count()
    };
    let used: Vec<_> = rows.iter().map(users).collect();
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let reclaimable: u64 = rows
        .iter()
        .zip(&used)
        .filter(|(_, users)| **users == 0)
        .map(|(row, _)| row.size_bytes)
        .sum();
    Ok(ImagesUsage {
        active_count: number(used.iter().filter(|users| **users > 0).count()),
        reclaimable: signed(reclaimable).min(total),
        total_count: number(rows.len()),
        total_size: total,
        items: match verbose {
            false => Vec::new(),
            true => {
                let items = rows.into_iter().zip(used).map(|(row, users)| {
                    let shared = shared.get(&row.target.digest).copied();
                    let mut summary = super::images::summary(row, None);
                    summary.containers = number(users);
                    summary.shared_size = signed(shared.unwrap_or(0));
                    summary
                });
                items.collect()
            }
        },
    })
}

fn containers_usage(containers: Vec<ContainerSummary>, verbose: bool) -> ContainersUsage {
    let taken = |row: &ContainerSummary| row.size.map_or(0, |size| signed(size.writable_bytes));
    let active = |row: &&ContainerSummary| {
        !matches!(row.status, Status::Created | Status::Exited | Status::Dead)
    };
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let total: i64 = containers.iter().map(taken).sum();
    let held: i64 = containers.iter().filter(active).map(taken).sum();
    ContainersUsage {
        active_count: number(containers.iter().filter(active).count()),
        reclaimable: total - held,
        total_count: number(containers.len()),
        total_size: total,
        items: match verbose {
            true => containers.into_iter().map(crate::convert::row).collect(),
            false => Vec::new(),
        },
    }
}

async fn volumes_usage(app: &Arc<App>, verbose: bool) -> Result<VolumesUsage, ApiError> {
    let taken = app.engine.volumes_usage().await?;
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let sum = |unused: bool| {
        let counted = taken.iter().filter(|(_, _, users)| !unused || *users == 0);
        signed(counted.map(|(_, bytes, _)| bytes).sum())
    };
    let mut usage = VolumesUsage {
        active_count: number(taken.iter().filter(|(_, _, users)| *users > 0).count()),
        reclaimable: sum(true),
        total_count: number(taken.len()),
        total_size: sum(false),
        items: Vec::new(),
    };
    if verbose {
        let items = taken.into_iter().map(|(volume, bytes, users)| dhow_wire::Volume {
            usage: Some(VolumeUsage { ref_count: number(users), size: signed(bytes) }),
            ..super::volumes::told(volume)
        });
        usage.items = items.collect();
    }
    Ok(usage)
}

fn cache_usage(rows: Vec<BuildCacheRow>, verbose: bool) -> BuildCacheUsage {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let sum = |fits: &dyn Fn(&BuildCacheRow) -> bool| -> i64 {
        rows.iter().filter(|row| fits(row)).map(|row| signed(row.size)).sum()
    };
    BuildCacheUsage {
        active_count: number(rows.iter().filter(|row| row.in_use).count()),
        // What an image has as well takes nothing more.
        reclaimable: sum(&|row| !row.in_use && !row.shared),
        total_count: number(rows.len()),
        total_size: sum(&|row| !row.shared),
        items: match verbose {
            true => rows.into_iter().map(cache_row).collect(),
            false => Vec::new(),
        },
    }
}

fn cache_row(row: BuildCacheRow) -> BuildCache {
    let time = |ms: i64| crate::convert::time(ms.saturating_mul(1_000_000));
    BuildCache {
        id: row.id,
        parents: Vec::new(),
        kind: row.kind.to_owned(),
        description: row.description,
        in_use: row.in_use,
        shared: row.shared,
        size: signed(row.size),
        created_at: time(row.created_ms),
        last_used_at: Some(time(row.used_ms)),
        usage_count: signed(row.uses),
    }
}

/// Whether a registry knows somebody.
async fn auth(app: &Arc<App>, mut call: Call) -> Result<Reply, ApiError> {
    let config: AuthConfig = call.json().await?;
    let address = config.server_address.clone();
    let address = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
    let registry = match address.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    let Some(credentials) = super::pull::from_config(config) else {
        return Err(ApiError::invalid("no credentials provided"));
    };
    let token = app.images.login(registry, credentials).await?;
    Ok(Reply::ok(&AuthResponse {
        identity_token: token.unwrap_or_default(),
        status: "Login Succeeded".to_owned(),
    }))
}

/// What a registry has under a name.
async fn distribution(app: &Arc<App>, call: &Call, name: &str) -> Result<Reply, ApiError> {
    let reference = dhow_spec::Reference::parse(name)
        .map_err(|error| ApiError::invalid(format!("invalid reference format: {error}")))?;
    let mut images = app.images.clone();
    if let Some(credentials) = super::pull::credentials(call) {
        images = images.with_credentials(reference.repository().domain(), credentials);
    }
    let (descriptor, platforms) = images.remote(&reference).await?;
    Ok(Reply::ok(&DistributionInspect { descriptor: Some(descriptor), platforms: Some(platforms) }))
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
