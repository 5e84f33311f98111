//! What a client wants of a container, in the engine's words.
//!
//! Invariant: nothing that a client said is dropped: it is kept, or refused by name.

use std::collections::BTreeMap;
use std::str::FromStr;

use dhow_engine::request::{
    BindRequest, Capability, ContainerConfig, CreateRequest, DeviceDriverRequest, DeviceRate,
    DeviceRequest, DeviceWeight, DriverRequest, EndpointConfig, HostConfig, ImageRequest,
    LogConfig, MountFault, MountRequest, MountSource, Port, PortBinding, RequestError, Resources,
    RestartPolicy, TmpfsRequest, Ulimit, UpdateRequest, VolumeRequest, parse_time_offset,
};
use dhow_spec::Platform;
use dhow_spec::image::HealthCheck;
use dhow_spec::runtime::Propagation;
use dhow_wire as wire;

use crate::http::error::ApiError;

type Result<T> = std::result::Result<T, ApiError>;

/// A request to create a container.
pub(crate) fn create_request(
    wanted: wire::CreateContainer,
    platform: Option<Platform>,
) -> Result<CreateRequest> {
    let wire::CreateContainer { config: theirs, host_config, networking_config } = wanted;
    let mac = theirs.mac_address.clone();
    let host = host(host_config.unwrap_or_default())?;
    let mut endpoints = BTreeMap::new();
    for (name, settings) in networking_config.unwrap_or_default().endpoints {
        endpoints.insert(name, endpoint(settings.unwrap_or_default())?);
    }
    if !mac.is_empty() {
        let network = host.network.to_string();
        let own: &mut EndpointConfig = endpoints.entry(network).or_default();
        own.mac = Some(parse(&mac)?);
    }
    let request = CreateRequest { platform, config: config(theirs)?, host, endpoints };
    request.check().map_err(refused)?;
    Ok(request)
}

/// A request to change a container's limits.
pub(crate) fn update_request(wanted: wire::Update) -> Result<UpdateRequest> {
    let policy = &wanted.restart_policy;
    let restart = match policy.name.as_str() {
        "" => None,
        name => Some(RestartPolicy::parse(name, policy.maximum_retry_count).map_err(refused)?),
    };
    let request = UpdateRequest { resources: resources(wanted.resources)?, restart };
    request.check().map_err(refused)?;
    Ok(request)
}

/// Ports to be published, or not any more, one after the other.
pub(crate) fn published(ports: &wire::PortMap) -> Result<Vec<(Port, PortBinding)>> {
    let mut all = Vec::new();
    for (text, bindings) in ports {
        let port = parse(text)?;
        for binding in bindings.iter().flatten() {
            let binding = PortBinding::parse(&binding.host_ip, &binding.host_port);
            all.push((port, binding.map_err(refused)?));
        }
    }
    Ok(all)
}

fn refused(error: RequestError) -> ApiError {
    dhow_engine::Error::from(error).into()
}

fn parse<T: FromStr<Err = RequestError>>(text: &str) -> Result<T> {
    text.parse().map_err(refused)
}

fn parse_all<T: FromStr<Err = RequestError>>(texts: Option<Vec<String>>) -> Result<Vec<T>> {
    texts.unwrap_or_default().iter().map(|text| parse(text)).collect()
}

/// What a container runs.
pub(crate) fn config(wanted: wire::ContainerConfig) -> Result<ContainerConfig> {
    let mut exposed_ports = std::collections::BTreeSet::new();
    for text in wanted.exposed_ports.keys() {
        exposed_ports.extend(Port::parse_range(text).map_err(refused)?);
    }
    Ok(ContainerConfig {
        hostname: wanted.hostname,
        domainname: wanted.domainname,
        user: wanted.user,
        attach_stdin: wanted.attach_stdin,
        attach_stdout: wanted.attach_stdout,
        attach_stderr: wanted.attach_stderr,
        exposed_ports,
        tty: wanted.tty,
        open_stdin: wanted.open_stdin,
        stdin_once: wanted.stdin_once,
        env: wanted.env.unwrap_or_default(),
        cmd: wanted.cmd,
        healthcheck: wanted.healthcheck.map(|health| HealthCheck {
            test: health.test,
            interval: health.interval,
            timeout: health.timeout,
            start_period: health.start_period,
            start_interval: health.start_interval,
            retries: health.retries,
        }),
        args_escaped: wanted.args_escaped,
        image: wanted.image,
        volumes: wanted.volumes.unwrap_or_default().into_keys().collect(),
        working_dir: wanted.working_dir,
        entrypoint: wanted.entrypoint,
        network_disabled: wanted.network_disabled,
        on_build: wanted.on_build.unwrap_or_default(),
        labels: wanted.labels,
        stop_signal: Some(wanted.stop_signal).filter(|signal| !signal.is_empty()),
        stop_timeout: wanted.stop_timeout,
        shell: wanted.shell.unwrap_or_default(),
    })
}

fn host(wanted: wire::HostConfig) -> Result<HostConfig> {
    if wanted.umask.is_some() {
        return Err(ApiError::unsupported("HostConfig.Umask"));
    }
    let mut ports: BTreeMap<Port, Vec<PortBinding>> = BTreeMap::new();
    for (text, bindings) in &wanted.port_bindings {
        let port = parse(text)?;
        let bindings = bindings.iter().flatten();
        let bindings: std::result::Result<Vec<_>, _> = bindings
            .map(|binding| PortBinding::parse(&binding.host_ip, &binding.host_port))
            .collect();
        ports.insert(port, bindings.map_err(refused)?);
    }
    let mut time_offsets = BTreeMap::new();
    for text in &wanted.time_offsets {
        time_offsets.extend(parse_time_offset(text).map_err(refused)?);
    }
    let capabilities = |texts: Option<Vec<String>>, read: fn(&str) -> _| {
        let texts = texts.unwrap_or_default();
        texts.iter().map(|text| read(text)).collect::<std::result::Result<Vec<Capability>, _>>()
    };
    let policy = &wanted.restart_policy;
    let dns = wanted.dns.unwrap_or_default().into_iter().map(|text| {
        let invalid = |_| ApiError::invalid(format!("invalid DNS address: {text}"));
        text.parse().map_err(invalid)
    });
    let mounts = wanted.mounts.unwrap_or_default();
    Ok(HostConfig {
        binds: parse_all(wanted.binds)?,
        container_id_file: wanted.container_id_file,
        log: LogConfig { driver: wanted.log_config.kind, options: wanted.log_config.config },
        network: parse(&wanted.network_mode)?,
        ports,
        restart: RestartPolicy::parse(&policy.name, policy.maximum_retry_count).map_err(refused)?,
        auto_remove: wanted.auto_remove,
        volume_driver: wanted.volume_driver,
        volumes_from: parse_all(wanted.volumes_from)?,
        mounts: mounts.into_iter().map(mount).collect::<Result<_>>()?,
        console_size: size(wanted.console_size),
        annotations: wanted.annotations,
        cap_add: capabilities(wanted.cap_add, Capability::parse_add).map_err(refused)?,
        cap_drop: capabilities(wanted.cap_drop, Capability::parse_drop).map_err(refused)?,
        cgroupns: parse(&wanted.cgroupns_mode)?,
        dns: dns.collect::<Result<_>>()?,
        dns_options: wanted.dns_options.unwrap_or_default(),
        dns_search: wanted.dns_search.unwrap_or_default(),
        extra_hosts: parse_all(wanted.extra_hosts)?,
        group_add: wanted.group_add.unwrap_or_default(),
        ipc: parse(&wanted.ipc_mode)?,
        cgroup: wanted.cgroup,
        links: wanted.links.unwrap_or_default(),
        oom_score_adj: wanted.oom_score_adj,
        pid: parse(&wanted.pid_mode)?,
        privileged: wanted.privileged,
        publish_all_ports: wanted.publish_all_ports,
        readonly_rootfs: wanted.readonly_rootfs,
        security: parse_all(wanted.security_opt)?,
        storage_options: wanted.storage_opt,
        tmpfs: wanted.tmpfs,
        uts: parse(&wanted.uts_mode)?,
        userns: parse(&wanted.userns_mode)?,
        shm_size: wanted.shm_size,
        sysctls: wanted.sysctls,
        runtime: wanted.runtime,
        isolation: wanted.isolation,
        masked_paths: wanted.masked_paths,
        readonly_paths: wanted.readonly_paths,
        init: wanted.init,
        resources: resources(wanted.resources)?,
        time_offsets,
    })
}

/// Rows and columns; no size if either is zero.
pub(crate) fn size([rows, cols]: [u32; 2]) -> Option<(u16, u16)> {
    let (rows, cols) = (u16::try_from(rows).ok()?, u16::try_from(cols).ok()?);
    (rows > 0 && cols > 0).then_some((rows, cols))
}

fn resources(wanted: wire::Resources) -> Result<Resources> {
    let rates = |devices: Option<Vec<wire::ThrottleDevice>>| {
        let devices = devices.unwrap_or_default().into_iter();
        devices.map(|device| DeviceRate { path: device.path, rate: device.rate }).collect()
    };
    let weights = wanted.blkio_weight_device.unwrap_or_default().into_iter();
    let devices = wanted.devices.unwrap_or_default().into_iter();
    let drivers = wanted.device_requests.unwrap_or_default().into_iter();
    let ulimits = wanted.ulimits.unwrap_or_default().into_iter();
    for (name, value) in [
        ("CpuCount", wanted.cpu_count),
        ("CpuPercent", wanted.cpu_percent),
        ("IOMaximumIOps", wanted.io_maximum_iops.cast_signed()),
        ("IOMaximumBandwidth", wanted.io_maximum_bandwidth.cast_signed()),
    ] {
        if value != 0 {
            return Err(ApiError::invalid(format!("invalid option: {name} is only for Windows")));
        }
    }
    Ok(Resources {
        cpu_shares: wanted.cpu_shares,
        memory: wanted.memory,
        nano_cpus: wanted.nano_cpus,
        cgroup_parent: wanted.cgroup_parent,
        blkio_weight: wanted.blkio_weight,
        blkio_weight_device: weights
            .map(|device| DeviceWeight { path: device.path, weight: device.weight })
            .collect(),
        blkio_read_bps: rates(wanted.blkio_device_read_bps),
        blkio_write_bps: rates(wanted.blkio_device_write_bps),
        blkio_read_iops: rates(wanted.blkio_device_read_iops),
        blkio_write_iops: rates(wanted.blkio_device_write_iops),
        cpu_period: wanted.cpu_period,
        cpu_quota: wanted.cpu_quota,
        cpu_realtime_period: wanted.cpu_realtime_period,
        cpu_realtime_runtime: wanted.cpu_realtime_runtime,
        cpuset_cpus: wanted.cpuset_cpus,
        cpuset_mems: wanted.cpuset_mems,
        devices: devices
            .map(|device| DeviceRequest {
                host_path: device.path_on_host,
                container_path: device.path_in_container,
                permissions: device.cgroup_permissions,
            })
            .collect(),
        device_cgroup_rules: parse_all(wanted.device_cgroup_rules)?,
        device_drivers: drivers
            .map(|request| DeviceDriverRequest {
                driver: request.driver,
                count: request.count,
                device_ids: request.device_ids.unwrap_or_default(),
                capabilities: request.capabilities.unwrap_or_default(),
                options: request.options.unwrap_or_default(),
            })
            .collect(),
        memory_reservation: wanted.memory_reservation,
        memory_swap: wanted.memory_swap,
        memory_swappiness: wanted.memory_swappiness,
        oom_kill_disable: wanted.oom_kill_disable,
        pids_limit: wanted.pids_limit,
        ulimits: ulimits
            .map(|limit| Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard })
            .collect(),
    })
}

/// What is wanted of a place in a network.
pub(crate) fn endpoint(wanted: wire::EndpointSettings) -> Result<EndpointConfig> {
    let ipam = wanted.ipam.unwrap_or_default();
    fn address<T: FromStr>(text: &str) -> Result<Option<T>> {
        if text.is_empty() {
            return Ok(None);
        }
        let invalid = |_| ApiError::invalid(format!("invalid IP address: {text}"));
        text.parse().map(Some).map_err(invalid)
    }
    let link_local = ipam.link_local_ips.iter().map(|text| address(text));
    let mac = match wanted.mac_address.as_str() {
        "" => None,
        text => Some(parse(text)?),
    };
    Ok(EndpointConfig {
        ipv4: address(&ipam.ipv4_address)?,
        ipv6: address(&ipam.ipv6_address)?,
        link_local: link_local.filter_map(Result::transpose).collect::<Result<_>>()?,
        links: wanted.links.unwrap_or_default(),
        aliases: wanted.aliases.unwrap_or_default(),
        mac,
        driver_options: wanted.driver_opts.unwrap_or_default(),
        gateway_priority: wanted.gw_priority,
    })
}

fn mount(wanted: wire::Mount) -> Result<MountRequest> {
    let kind = wanted.kind.clone();
    let extra = |field| {
        Err(refused(RequestError::Mount { kind: kind.clone(), fault: MountFault::Extra { field } }))
    };
    let is = |name| wanted.kind == name;
    match () {
        () if wanted.bind_options.is_some() && !is("bind") => return extra("BindOptions"),
        () if wanted.volume_options.is_some() && !is("volume") => return extra("VolumeOptions"),
        () if wanted.tmpfs_options.is_some() && !is("tmpfs") => return extra("TmpfsOptions"),
        () if wanted.image_options.is_some() && !is("image") => return extra("ImageOptions"),
        () if is("tmpfs") && !wanted.source.is_empty() => return extra("Source"),
        () => {}
    }
    let source = match wanted.kind.as_str() {
        "bind" => MountSource::Bind(bind(&kind, wanted.source, wanted.bind_options)?),
        "volume" => MountSource::Volume(volume(wanted.source, wanted.volume_options)),
        "tmpfs" => MountSource::Tmpfs(tmpfs(wanted.tmpfs_options)),
        "image" => {
            let subpath = wanted.image_options.unwrap_or_default().subpath;
            MountSource::Image(ImageRequest { image: wanted.source, subpath })
        }
        other => return Err(refused(MountSource::refuse(other))),
    };
    Ok(MountRequest {
        target: wanted.target,
        read_only: wanted.read_only,
        consistency: wanted.consistency,
        source,
    })
}

fn bind(kind: &str, path: String, options: Option<wire::BindOptions>) -> Result<BindRequest> {
    let with_options = options.is_some();
    let options = options.unwrap_or_default();
    let propagation = match options.propagation.as_str() {
        "" => None,
        word => Some(Propagation::from_str(word).map_err(|_| {
            let fault = MountFault::Propagation { word: word.to_owned() };
            refused(RequestError::Mount { kind: kind.to_owned(), fault })
        })?),
    };
    Ok(BindRequest {
        path,
        with_options,
        propagation,
        non_recursive: options.non_recursive,
        create: options.create_mountpoint,
        read_only_non_recursive: options.read_only_non_recursive,
        read_only_force: options.read_only_force_recursive,
    })
}

fn volume(source: String, options: Option<wire::VolumeOptions>) -> VolumeRequest {
    let with_options = options.is_some();
    let options = options.unwrap_or_default();
    VolumeRequest {
        name: Some(source).filter(|name| !name.is_empty()),
        with_options,
        no_copy: options.no_copy,
        labels: options.labels,
        driver: options
            .driver_config
            .map(|driver| DriverRequest { name: driver.name, options: driver.options }),
        subpath: options.subpath,
    }
}

fn tmpfs(options: Option<wire::TmpfsOptions>) -> TmpfsRequest {
    let with_options = options.is_some();
    let options = options.unwrap_or_default();
    let pairs = options.options.into_iter().filter_map(|words| {
        let mut words = words.into_iter();
        Some((words.next()?, words.next()))
    });
    TmpfsRequest {
        with_options,
        size_bytes: options.size_bytes,
        mode: options.mode,
        options: pairs.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: serde_json::Value) -> String {
        let wanted: wire::CreateContainer = serde_json::from_value(json).expect("a request");
        create_request(wanted, None).expect_err("refused").to_string()
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        let host = |host: serde_json::Value| {
            refusal(serde_json::json!({"Image": "x", "HostConfig": host}))
        };
        assert_eq!(
            host(serde_json::json!({"Umask": 18})),
            "HostConfig.Umask is not supported by this engine"
        );
        assert_eq!(
            host(serde_json::json!({"CapAdd": ["NOPE"]})),
            "invalid CapAdd: unknown capability: \"CAP_NOPE\""
        );
        assert_eq!(
            host(serde_json::json!({"Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b",
                "VolumeOptions": {}}]})),
            "invalid mount config for type \"bind\": field VolumeOptions must not be specified"
        );
        assert_eq!(host(serde_json::json!({"Dns": ["nowhere"]})), "invalid DNS address: nowhere");
        assert_eq!(
            host(serde_json::json!({"CpuCount": 1})),
            "invalid option: CpuCount is only for Windows"
        );
    }

    #[test]
    fn an_old_client_s_hardware_address_is_the_network_s() {
        let wanted = serde_json::json!({"Image": "x", "MacAddress": "02:42:ac:11:00:02",
            "HostConfig": {"NetworkMode": "bridge"}});
        let request = create_request(serde_json::from_value(wanted).unwrap(), None).unwrap();
        assert!(request.endpoints["bridge"].mac.is_some());
    }
}
