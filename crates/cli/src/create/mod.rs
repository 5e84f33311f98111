//! From the flags of `run` and `create` to the request that the engine gets.
//!
//! Everything that can be known to be wrong without the engine is refused here, in Docker's words and
//! order. Absent on purpose: talking to the engine.

mod csv;
mod devices;
mod flags;
mod mounts;
mod networks;
mod ports;
mod text;

use std::path::Path;

use dhow_wire::{
    ContainerConfig, CreateContainer, DeviceRequest, HealthConfig, HostConfig, LogConfig,
    NetworkingConfig, Nothing, Resources, RestartPolicy,
};

pub(crate) use flags::{CREATE, RUN};
pub(crate) use ports::published;
pub(crate) use text::{
    Lookup, check_ip, check_label, check_link, check_variable, labels, pairs, variables,
};

use crate::args::Matches;
use crate::failure::Failure;
use crate::units::{parse_cpus, parse_duration, parse_ram};

/// Where relative paths begin, and the caller's variables.
pub(crate) struct Surroundings<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) lookup: Lookup<'a>,
}

/// The request for the flags and words of a `run` or `create`.
pub(crate) fn request(
    matches: &Matches,
    around: &Surroundings<'_>,
) -> Result<CreateContainer, Failure> {
    refuse_unbuilt(matches)?;
    if let Some(mac) = matches.some("mac-address") {
        networks::check_mac(mac).map_err(Failure::Invalid)?;
    }
    let swappiness = matches.int("memory-swappiness");
    if swappiness != -1 && !(0..=100).contains(&swappiness) {
        return Err(Failure::Invalid(format!(
            "invalid value: {swappiness}. Valid memory swappiness range is 0-100"
        )));
    }
    let mut config = config(matches, around)?;
    let mut host = host(matches, around)?;
    volumes(matches, around, &mut config, &mut host)?;
    let mut ports = ports::Ports::default();
    for spec in matches.list("publish") {
        ports.publish(spec).map_err(Failure::Invalid)?;
    }
    for spec in matches.list("expose") {
        ports.expose(spec).map_err(Failure::Invalid)?;
    }
    config.exposed_ports = ports.exposed;
    host.port_bindings = ports.bindings;
    modes(&host)?;
    if host.auto_remove && !matches!(host.restart_policy.name.as_str(), "" | "no") {
        return Err(Failure::invalid(
            "conflicting options: cannot specify both --restart and --rm",
        ));
    }
    let endpoints = networks::endpoints(matches).map_err(Failure::Invalid)?;
    Ok(CreateContainer {
        config,
        host_config: Some(host),
        networking_config: Some(NetworkingConfig { endpoints }),
    })
}

/// Flags that Docker has and that nobody here obeys yet.
fn refuse_unbuilt(matches: &Matches) -> Result<(), Failure> {
    for (given, flag) in [
        (matches.on("use-api-socket"), "--use-api-socket"),
        (matches.changed("kernel-memory"), "--kernel-memory"),
        (!matches.on("disable-content-trust"), "--disable-content-trust=false"),
    ] {
        if given {
            return Err(Failure::NotBuilt { what: flag.to_owned() });
        }
    }
    Ok(())
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}

/// Capabilities by their full names, each once, in order; what is added is not dropped as well, and
/// `ALL` stands for every other.
fn capabilities(add: &[&str], drop: &[&str]) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let names = |texts: &[&str]| {
        let name = |text: &&str| match text.trim().to_uppercase() {
            name if name == "ALL" || name.starts_with("CAP_") => name,
            name => format!("CAP_{name}"),
        };
        let names: std::collections::BTreeSet<String> = texts.iter().map(name).collect();
        if names.contains("ALL") { ["ALL".to_owned()].into() } else { names }
    };
    let (add, mut drop) = (names(add), names(drop));
    drop.retain(|name| name == "ALL" || !add.contains(name));
    let list = |names: std::collections::BTreeSet<String>| {
        Some(names.into_iter().collect()).filter(|names: &Vec<String>| !names.is_empty())
    };
    (list(add), list(drop))
}

/// A list that was not given is null, as the official client sends it.
fn some(texts: Vec<&str>) -> Option<Vec<String>> {
    Some(owned(texts)).filter(|texts| !texts.is_empty())
}

fn config(matches: &Matches, around: &Surroundings<'_>) -> Result<ContainerConfig, Failure> {
    let attach: Vec<String> = matches.list("attach").iter().map(|s| s.to_lowercase()).collect();
    let wants = |stream: &str| attach.iter().any(|known| known == stream);
    let interactive = matches.on("interactive");
    let attach_stdin = wants("stdin") || interactive;
    let text = |flag| matches.text(flag).to_owned();
    let env = variables(&matches.list("env-file"), &matches.list("env"), around.lookup)?;
    let entrypoint = match matches.text("entrypoint") {
        "" if matches.changed("entrypoint") => Some(vec![String::new()]),
        "" => None,
        program => Some(vec![program.to_owned()]),
    };
    let words = matches.words.split_first();
    let (image, command) = words.map_or((String::new(), &[][..]), |(f, r)| (f.clone(), r));
    Ok(ContainerConfig {
        hostname: text("hostname"),
        domainname: text("domainname"),
        user: text("user"),
        attach_stdin,
        attach_stdout: attach.is_empty() || wants("stdout"),
        attach_stderr: attach.is_empty() || wants("stderr"),
        tty: matches.on("tty"),
        open_stdin: interactive,
        stdin_once: interactive && attach_stdin,
        env: Some(env).filter(|env| !env.is_empty()),
        cmd: Some(command.to_vec()).filter(|words| !words.is_empty()),
        healthcheck: health(matches)?,
        image,
        volumes: Some(std::collections::BTreeMap::new()),
        working_dir: text("workdir"),
        entrypoint,
        labels: labels(&matches.list("label-file"), &matches.list("label"))?,
        stop_signal: text("stop-signal"),
        stop_timeout: matches.changed("stop-timeout").then(|| matches.int("stop-timeout")),
        ..ContainerConfig::default()
    })
}

fn health(matches: &Matches) -> Result<Option<HealthConfig>, Failure> {
    let span = |flag| parse_duration(matches.text(flag)).unwrap_or(0);
    let command = matches.some("health-cmd");
    let config = HealthConfig {
        test: command.map_or(Vec::new(), |line| vec!["CMD-SHELL".to_owned(), line.to_owned()]),
        interval: span("health-interval"),
        timeout: span("health-timeout"),
        start_period: span("health-start-period"),
        start_interval: span("health-start-interval"),
        retries: matches.int("health-retries"),
    };
    let given = config != HealthConfig::default();
    if matches.on("no-healthcheck") {
        if given {
            return Err(Failure::invalid("--no-healthcheck conflicts with --health-* options"));
        }
        let none = HealthConfig { test: vec!["NONE".to_owned()], ..HealthConfig::default() };
        return Ok(Some(none));
    }
    for (value, flag) in [
        (config.interval, "interval"),
        (config.timeout, "timeout"),
        (config.retries, "retries"),
        (config.start_period, "start-period"),
        (config.start_interval, "start-interval"),
    ] {
        if value < 0 {
            return Err(Failure::Invalid(format!("--health-{flag} cannot be negative")));
        }
    }
    Ok(given.then_some(config))
}

fn host(matches: &Matches, around: &Surroundings<'_>) -> Result<HostConfig, Failure> {
    let text = |flag| matches.text(flag).to_owned();
    let list = |flag| some(matches.list(flag));
    let (cap_add, cap_drop) = capabilities(&matches.list("cap-add"), &matches.list("cap-drop"));
    let (security_opt, unconfined) = security(&matches.list("security-opt"))?;
    let mut mounts = Vec::new();
    for spec in matches.list("mount") {
        mounts.push(mounts::mount(spec, around.directory).map_err(Failure::Invalid)?);
    }
    let mut extra_hosts = Vec::new();
    for spec in matches.list("add-host") {
        extra_hosts.push(text::extra_host(spec).map_err(Failure::Invalid)?);
    }
    Ok(HostConfig {
        container_id_file: text("cidfile"),
        log_config: logging(matches)?,
        network_mode: networks::mode(matches).map_err(Failure::Invalid)?,
        restart_policy: restart_policy(matches.text("restart")).map_err(Failure::Invalid)?,
        auto_remove: matches.on("rm"),
        volume_driver: text("volume-driver"),
        volumes_from: list("volumes-from"),
        annotations: pairs(matches.list("annotation").into_iter()),
        cap_add,
        cap_drop,
        cgroupns_mode: text("cgroupns"),
        dns: Some(owned(matches.list("dns"))),
        dns_options: Some(owned(matches.list("dns-option"))),
        dns_search: Some(owned(matches.list("dns-search"))),
        extra_hosts: Some(extra_hosts).filter(|hosts| !hosts.is_empty()),
        group_add: list("group-add"),
        ipc_mode: text("ipc"),
        links: list("link"),
        oom_score_adj: matches.int("oom-score-adj"),
        pid_mode: text("pid"),
        privileged: matches.on("privileged"),
        publish_all_ports: matches.on("publish-all"),
        readonly_rootfs: matches.on("read-only"),
        security_opt,
        storage_opt: storage(&matches.list("storage-opt"))?,
        time_offsets: matches.list("time-offset").into_iter().map(str::to_owned).collect(),
        tmpfs: matches
            .list("tmpfs")
            .into_iter()
            .map(|spec| spec.split_once(':').unwrap_or((spec, "")))
            .map(|(path, options)| (path.to_owned(), options.to_owned()))
            .collect(),
        uts_mode: text("uts"),
        userns_mode: text("userns"),
        shm_size: bytes(matches, "shm-size"),
        sysctls: pairs(matches.list("sysctl").into_iter()),
        runtime: text("runtime"),
        isolation: text("isolation"),
        resources: resources(matches)?,
        mounts: Some(mounts).filter(|mounts| !mounts.is_empty()),
        masked_paths: unconfined.then(Vec::new),
        readonly_paths: unconfined.then(Vec::new),
        init: matches.changed("init").then(|| matches.on("init")),
        ..HostConfig::default()
    })
}

fn bytes(matches: &Matches, flag: &'static str) -> i64 {
    match matches.text(flag) {
        "-1" => -1,
        text => parse_ram(text).unwrap_or(0),
    }
}

/// The resources that `update` sets as well.
pub(crate) fn common_resources(matches: &Matches) -> Resources {
    let text = |flag| matches.text(flag).to_owned();
    Resources {
        cpu_shares: matches.int("cpu-shares"),
        memory: bytes(matches, "memory"),
        nano_cpus: parse_cpus(matches.text("cpus")).unwrap_or(0),
        blkio_weight: u16::try_from(matches.int("blkio-weight")).unwrap_or(0),
        cpu_period: matches.int("cpu-period"),
        cpu_quota: matches.int("cpu-quota"),
        cpu_realtime_period: matches.int("cpu-rt-period"),
        cpu_realtime_runtime: matches.int("cpu-rt-runtime"),
        cpuset_cpus: text("cpuset-cpus"),
        cpuset_mems: text("cpuset-mems"),
        memory_reservation: bytes(matches, "memory-reservation"),
        memory_swap: bytes(matches, "memory-swap"),
        ..Resources::default()
    }
}

fn resources(matches: &Matches) -> Result<Resources, Failure> {
    let (mut devices, mut names) = (Vec::new(), Vec::new());
    for spec in matches.list("device") {
        if devices::is_cdi(spec) {
            names.push(spec.to_owned());
        } else {
            devices.push(devices::device(spec).map_err(Failure::Invalid)?);
        }
    }
    let mut requests = all(matches, "gpus", devices::gpus)?;
    if !names.is_empty() {
        let driver = "cdi".to_owned();
        requests.push(DeviceRequest {
            driver,
            device_ids: Some(names),
            ..DeviceRequest::default()
        });
    }
    Ok(Resources {
        cgroup_parent: matches.text("cgroup-parent").to_owned(),
        blkio_weight_device: Some(all(matches, "blkio-weight-device", devices::weight)?),
        blkio_device_read_bps: Some(all(matches, "device-read-bps", devices::rate_bytes)?),
        blkio_device_write_bps: Some(all(matches, "device-write-bps", devices::rate_bytes)?),
        blkio_device_read_iops: Some(all(matches, "device-read-iops", devices::rate_count)?),
        blkio_device_write_iops: Some(all(matches, "device-write-iops", devices::rate_count)?),
        devices: Some(devices),
        device_cgroup_rules: some(matches.list("device-cgroup-rule")),
        device_requests: Some(requests).filter(|requests| !requests.is_empty()),
        memory_swappiness: Some(matches.int("memory-swappiness")),
        oom_kill_disable: Some(matches.on("oom-kill-disable")),
        pids_limit: Some(matches.int("pids-limit")),
        ulimits: Some(all(matches, "ulimit", devices::ulimit)?),
        cpu_count: matches.int("cpu-count"),
        cpu_percent: matches.int("cpu-percent"),
        io_maximum_iops: u64::try_from(matches.int("io-maxiops")).unwrap_or(0),
        io_maximum_bandwidth: u64::try_from(bytes(matches, "io-maxbandwidth")).unwrap_or(0),
        ..common_resources(matches)
    })
}

fn all<T>(
    matches: &Matches,
    flag: &'static str,
    read: fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Failure> {
    matches.list(flag).into_iter().map(|text| read(text).map_err(Failure::Invalid)).collect()
}

fn volumes(
    matches: &Matches,
    around: &Surroundings<'_>,
    config: &mut ContainerConfig,
    host: &mut HostConfig,
) -> Result<(), Failure> {
    let mut binds: Vec<String> = Vec::new();
    for spec in matches.list("volume") {
        match mounts::volume_spec(spec, around.directory).map_err(Failure::Invalid)? {
            mounts::VolumeSpec::Anonymous(path) => {
                config.volumes.get_or_insert_default().insert(path, Nothing {});
            }
            mounts::VolumeSpec::Bind(bind) if !binds.contains(&bind) => binds.push(bind),
            mounts::VolumeSpec::Bind(_) => {}
        }
    }
    host.binds = Some(binds).filter(|binds| !binds.is_empty());
    Ok(())
}

/// `no`, `always`, `unless-stopped`, `on-failure[:max]`; the engine knows which names are good.
pub(crate) fn restart_policy(text: &str) -> Result<RestartPolicy, String> {
    let (name, count) = match text.split_once(':') {
        Some(("", _)) => {
            return Err("invalid restart policy format: no policy provided before colon".to_owned());
        }
        Some((name, count)) => (name, count),
        None => (text, ""),
    };
    let maximum_retry_count = match count {
        "" => 0,
        count => count.parse().map_err(|_| {
            "invalid restart policy format: maximum retry count must be an integer".to_owned()
        })?,
    };
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count })
}

fn logging(matches: &Matches) -> Result<LogConfig, Failure> {
    let options = matches.list("log-opt");
    let kind = matches.text("log-driver").to_owned();
    if kind == "none" && !options.is_empty() {
        return Err(Failure::Invalid(format!("invalid logging opts for driver {kind}")));
    }
    Ok(LogConfig { kind, config: pairs(options.into_iter()) })
}

/// Profiles are sent by content; `systempaths=unconfined` is no option but two empty lists.
fn security(options: &[&str]) -> Result<(Option<Vec<String>>, bool), Failure> {
    let mut out = Vec::new();
    let mut unconfined = false;
    for option in options {
        let pair = option.split_once('=').or_else(|| option.split_once(':'));
        let (key, value) = match pair {
            Some((key, value)) => (key, value),
            None => (*option, ""),
        };
        if value.is_empty() && key != "no-new-privileges" {
            return Err(Failure::Invalid(format!("Invalid --security-opt: {option:?}")));
        }
        match (key, value) {
            ("systempaths", "unconfined") => unconfined = true,
            ("seccomp", "builtin" | "unconfined") => out.push((*option).to_owned()),
            ("seccomp", path) => out.push(format!("seccomp={}", profile(path)?)),
            _ => out.push((*option).to_owned()),
        }
    }
    Ok((Some(out).filter(|options| !options.is_empty()), unconfined))
}

fn profile(path: &str) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(Failure::io("open seccomp profile", path))?;
    let json = crate::json::Json::parse(&bytes).map_err(|error| {
        Failure::Invalid(format!("compacting json for seccomp profile ({path}) failed: {error}"))
    })?;
    Ok(json.compact())
}

fn storage(options: &[&str]) -> Result<std::collections::BTreeMap<String, String>, Failure> {
    if options.iter().any(|option| !option.contains('=')) {
        return Err(Failure::invalid("invalid storage option"));
    }
    Ok(pairs(options.iter().copied()))
}

/// The names of namespaces, as far as they are known without the engine.
fn modes(host: &HostConfig) -> Result<(), Failure> {
    let container =
        |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    let wrong =
        |flag: &str, kind: &str| Err(Failure::Invalid(format!("--{flag}: invalid {kind} mode")));
    let pid = &host.pid_mode;
    if !matches!(pid.as_str(), "" | "host") && !container(pid) {
        return wrong("pid", "PID");
    }
    if !matches!(host.uts_mode.as_str(), "" | "host") {
        return wrong("uts", "UTS");
    }
    if !matches!(host.userns_mode.as_str(), "" | "host") {
        return wrong("userns", "USER");
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "host" | "private") {
        return wrong("cgroupns", "CGROUP");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
