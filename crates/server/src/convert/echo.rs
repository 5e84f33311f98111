//! What a container was asked to be, in Docker's words again.
//!
//! Invariant: the other direction of `request`; defaults that the engine fills in are told as Docker tells them,
//! lists that nobody gave are empty (`compat` knows who wants them `null`).

use dhow_engine::request::{
    ContainerConfig, EndpointConfig, HostConfig, MountRequest, MountSource, Resources,
};
use dhow_spec::runtime::Clock;
use dhow_wire as wire;
use wire::Nothing;

/// The part that moves with the image.
pub(super) fn config(kept: &ContainerConfig, id: &str) -> wire::ContainerConfig {
    let hostname = match kept.hostname.as_str() {
        "" => id.chars().take(12).collect(),
        name => name.to_owned(),
    };
    let ports = kept.exposed_ports.iter();
    let volumes = kept.volumes.iter().map(|place| (place.clone(), Nothing {}));
    wire::ContainerConfig {
        hostname,
        domainname: kept.domainname.clone(),
        user: kept.user.clone(),
        attach_stdin: kept.attach_stdin,
        attach_stdout: kept.attach_stdout,
        attach_stderr: kept.attach_stderr,
        exposed_ports: ports.map(|port| (port.to_string(), Nothing {})).collect(),
        tty: kept.tty,
        open_stdin: kept.open_stdin,
        stdin_once: kept.stdin_once,
        env: Some(kept.env.clone()),
        cmd: kept.cmd.clone(),
        healthcheck: kept.healthcheck.as_ref().map(|health| wire::HealthConfig {
            test: health.test.clone(),
            interval: health.interval,
            timeout: health.timeout,
            start_period: health.start_period,
            start_interval: health.start_interval,
            retries: health.retries,
        }),
        args_escaped: kept.args_escaped,
        image: kept.image.clone(),
        volumes: Some(volumes.collect()),
        working_dir: kept.working_dir.clone(),
        // No list is something else than an empty one here: the image decides.
        entrypoint: kept.entrypoint.clone(),
        network_disabled: kept.network_disabled,
        mac_address: String::new(),
        on_build: list(&kept.on_build).filter(|all| !all.is_empty()),
        labels: kept.labels.clone(),
        stop_signal: kept.stop_signal.clone().unwrap_or_default(),
        stop_timeout: kept.stop_timeout,
        shell: list(&kept.shell).filter(|all| !all.is_empty()),
    }
}

/// The part that belongs to the host.
pub(super) fn host(kept: &HostConfig) -> wire::HostConfig {
    let bindings = kept.ports.iter().map(|(port, bindings)| {
        let bindings = bindings.iter().map(|binding| wire::PortBinding {
            host_ip: binding.host_ip_text(),
            host_port: binding.host_port_text(),
        });
        (port.to_string(), Some(bindings.collect()))
    });
    let (rows, cols) = kept.console_size.unwrap_or_default();
    wire::HostConfig {
        binds: texts(&kept.binds),
        container_id_file: kept.container_id_file.clone(),
        log_config: wire::LogConfig {
            kind: or(&kept.log.driver, "json-file"),
            config: kept.log.options.clone(),
        },
        network_mode: match kept.network.to_string().as_str() {
            "default" => "bridge".to_owned(),
            mode => mode.to_owned(),
        },
        port_bindings: bindings.collect(),
        restart_policy: wire::RestartPolicy {
            name: kept.restart.name().to_owned(),
            maximum_retry_count: i64::from(kept.restart.count()),
        },
        auto_remove: kept.auto_remove,
        volume_driver: kept.volume_driver.clone(),
        volumes_from: texts(&kept.volumes_from),
        console_size: [rows.into(), cols.into()],
        annotations: kept.annotations.clone(),
        cap_add: texts(&kept.cap_add),
        cap_drop: texts(&kept.cap_drop),
        cgroupns_mode: kept.cgroupns.to_string(),
        dns: Some(kept.dns.iter().map(ToString::to_string).collect()),
        dns_options: Some(kept.dns_options.clone()),
        dns_search: Some(kept.dns_search.clone()),
        extra_hosts: texts(&kept.extra_hosts),
        group_add: list(&kept.group_add),
        ipc_mode: or(&kept.ipc.to_string(), "private"),
        cgroup: kept.cgroup.clone(),
        links: list(&kept.links),
        oom_score_adj: kept.oom_score_adj,
        pid_mode: kept.pid.to_string(),
        privileged: kept.privileged,
        publish_all_ports: kept.publish_all_ports,
        readonly_rootfs: kept.readonly_rootfs,
        security_opt: texts(&kept.security),
        storage_opt: kept.storage_options.clone(),
        tmpfs: kept.tmpfs.clone(),
        uts_mode: kept.uts.to_string(),
        userns_mode: kept.userns.to_string(),
        shm_size: if kept.shm_size == 0 { 64 << 20 } else { kept.shm_size },
        sysctls: kept.sysctls.clone(),
        runtime: or(&kept.runtime, super::super::routes::RUNTIME),
        umask: None,
        isolation: kept.isolation.clone(),
        resources: resources(&kept.resources),
        mounts: Some(kept.mounts.iter().map(mount).collect()).filter(|_| !kept.mounts.is_empty()),
        masked_paths: kept.masked_paths.clone(),
        readonly_paths: kept.readonly_paths.clone(),
        init: kept.init,
        time_offsets: kept
            .time_offsets
            .iter()
            .map(|(clock, offset)| time_offset(*clock, *offset))
            .collect(),
    }
}

/// What was wanted of a place in a network.
pub(super) fn endpoint(kept: &EndpointConfig) -> wire::EndpointSettings {
    let text = |address: Option<String>| address.unwrap_or_default();
    let ipam = wire::EndpointIpam {
        ipv4_address: text(kept.ipv4.map(|address| address.to_string())),
        ipv6_address: text(kept.ipv6.map(|address| address.to_string())),
        link_local_ips: kept.link_local.iter().map(ToString::to_string).collect(),
    };
    wire::EndpointSettings {
        ipam: Some(ipam).filter(|ipam| *ipam != wire::EndpointIpam::default()),
        links: list(&kept.links),
        aliases: list(&kept.aliases),
        driver_opts: Some(kept.driver_options.clone()).filter(|options| !options.is_empty()),
        gw_priority: kept.gateway_priority,
        mac_address: text(kept.mac.map(|mac| mac.to_string())),
        dns_names: Some(Vec::new()),
        ..wire::EndpointSettings::default()
    }
}

fn resources(kept: &Resources) -> wire::Resources {
    let rates = |rates: &[dhow_engine::request::DeviceRate]| {
        let rates = rates.iter();
        let rates = rates
            .map(|device| wire::ThrottleDevice { path: device.path.clone(), rate: device.rate });
        Some(rates.collect::<Vec<_>>())
    };
    let weights = kept.blkio_weight_device.iter();
    let ulimits = kept.ulimits.iter();
    let drivers = kept.device_drivers.iter();
    let devices = kept.devices.iter();
    wire::Resources {
        cpu_shares: kept.cpu_shares,
        memory: kept.memory,
        nano_cpus: kept.nano_cpus,
        cgroup_parent: kept.cgroup_parent.clone(),
        blkio_weight: kept.blkio_weight,
        blkio_weight_device: Some(
            weights
                .map(|device| wire::WeightDevice {
                    path: device.path.clone(),
                    weight: device.weight,
                })
                .collect(),
        ),
        blkio_device_read_bps: rates(&kept.blkio_read_bps),
        blkio_device_write_bps: rates(&kept.blkio_write_bps),
        blkio_device_read_iops: rates(&kept.blkio_read_iops),
        blkio_device_write_iops: rates(&kept.blkio_write_iops),
        cpu_period: kept.cpu_period,
        cpu_quota: kept.cpu_quota,
        cpu_realtime_period: kept.cpu_realtime_period,
        cpu_realtime_runtime: kept.cpu_realtime_runtime,
        cpuset_cpus: kept.cpuset_cpus.clone(),
        cpuset_mems: kept.cpuset_mems.clone(),
        devices: Some(
            devices
                .map(|device| wire::Device {
                    path_on_host: device.host_path.clone(),
                    path_in_container: device.container_path.clone(),
                    cgroup_permissions: device.permissions.clone(),
                })
                .collect(),
        ),
        device_cgroup_rules: texts(&kept.device_cgroup_rules),
        device_requests: Some(
            drivers
                .map(|request| wire::DeviceRequest {
                    driver: request.driver.clone(),
                    count: request.count,
                    device_ids: Some(request.device_ids.clone()),
                    capabilities: Some(request.capabilities.clone()),
                    options: Some(request.options.clone()),
                })
                .collect(),
        ),
        memory_reservation: kept.memory_reservation,
        memory_swap: kept.memory_swap,
        memory_swappiness: kept.memory_swappiness,
        oom_kill_disable: kept.oom_kill_disable,
        pids_limit: kept.pids_limit,
        ulimits: Some(
            ulimits
                .map(|limit| wire::Ulimit {
                    name: limit.name.clone(),
                    soft: limit.soft,
                    hard: limit.hard,
                })
                .collect(),
        ),
        ..wire::Resources::default()
    }
}

fn mount(kept: &MountRequest) -> wire::Mount {
    let mut mount = wire::Mount {
        kind: kept.kind().to_owned(),
        target: kept.target.clone(),
        read_only: kept.read_only,
        consistency: kept.consistency.clone(),
        ..wire::Mount::default()
    };
    match &kept.source {
        MountSource::Bind(bind) => {
            mount.source.clone_from(&bind.path);
            mount.bind_options = bind.with_options.then(|| wire::BindOptions {
                propagation: bind.propagation.map(|it| it.to_string()).unwrap_or_default(),
                non_recursive: bind.non_recursive,
                create_mountpoint: bind.create,
                read_only_non_recursive: bind.read_only_non_recursive,
                read_only_force_recursive: bind.read_only_force,
            });
        }
        MountSource::Volume(volume) => {
            mount.source = volume.name.clone().unwrap_or_default();
            mount.volume_options = volume.with_options.then(|| wire::VolumeOptions {
                no_copy: volume.no_copy,
                labels: volume.labels.clone(),
                subpath: volume.subpath.clone(),
                driver_config: volume.driver.as_ref().map(|driver| wire::DriverConfig {
                    name: driver.name.clone(),
                    options: driver.options.clone(),
                }),
            });
        }
        MountSource::Tmpfs(tmpfs) => {
            let options = tmpfs.options.iter();
            let words = options
                .map(|(name, value)| [name].into_iter().chain(value.as_ref()).cloned().collect());
            mount.tmpfs_options = tmpfs.with_options.then(|| wire::TmpfsOptions {
                size_bytes: tmpfs.size_bytes,
                mode: tmpfs.mode,
                options: words.collect(),
            });
        }
        MountSource::Image(image) => {
            mount.source.clone_from(&image.image);
            let subpath = image.subpath.clone();
            mount.image_options = (!subpath.is_empty()).then_some(wire::ImageOptions { subpath });
        }
    }
    mount
}

fn time_offset(clock: Clock, nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let size = nanoseconds.unsigned_abs();
    let (seconds, rest) = (size / 1_000_000_000, size % 1_000_000_000);
    let fraction = match rest {
        0 => String::new(),
        rest => format!(".{rest:09}"),
    };
    format!("{clock}={sign}{seconds}{fraction}")
}

fn texts<T: ToString>(values: &[T]) -> Option<Vec<String>> {
    Some(values.iter().map(ToString::to_string).collect())
}

fn list(values: &[String]) -> Option<Vec<String>> {
    Some(values.to_vec())
}

fn or(text: &str, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::request::create_request;
    use super::*;

    /// What a client says must come back, field by field.
    #[test]
    fn what_was_asked_for_comes_back() {
        let asked = serde_json::json!({
            "Binds": ["/a:/b:ro"], "NetworkMode": "host", "RestartPolicy": {"Name": "on-failure",
            "MaximumRetryCount": 3}, "CapAdd": ["CAP_NET_ADMIN"], "Dns": ["1.1.1.1"],
            "ExtraHosts": ["h:1.2.3.4"], "Memory": 8388608, "MemorySwap": -1, "PidsLimit": 7,
            "Ulimits": [{"Name": "nofile", "Hard": 9, "Soft": 8}], "ShmSize": 1024, "Init": true,
            "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}],
            "Mounts": [{"Type": "volume", "Source": "data", "Target": "/d",
                "VolumeOptions": {"NoCopy": true, "Labels": {"a": "b"}}},
                {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 5, "Options": [["exec"]]}}],
            "SecurityOpt": ["no-new-privileges"], "Tmpfs": {"/run": "size=1m"},
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]},
            "LogConfig": {"Type": "local", "Config": {"max-size": "1m"}}, "TimeOffsets": ["monotonic=-1.5"],
            "ConsoleSize": [24, 80], "ReadonlyRootfs": true, "IpcMode": "host"
        });
        let wanted = serde_json::json!({"Image": "x", "HostConfig": asked});
        let request = create_request(serde_json::from_value(wanted).unwrap(), None).unwrap();
        let told = serde_json::to_value(host(&request.host)).unwrap();
        for (name, value) in asked.as_object().unwrap() {
            if name != "TimeOffsets" {
                assert_eq!(&told[name], value, "{name}");
            }
        }
        assert_eq!(told["TimeOffsets"], serde_json::json!(["monotonic=-1.500000000"]));
    }

    #[test]
    fn what_was_left_open_has_docker_s_defaults() {
        let wanted = serde_json::json!({"Image": "x", "Cmd": ["a"]});
        let request = create_request(serde_json::from_value(wanted).unwrap(), None).unwrap();
        let told = serde_json::to_value(host(&request.host)).unwrap();
        assert_eq!(told["NetworkMode"], "bridge");
        assert_eq!(told["ShmSize"], 67_108_864);
        assert_eq!(told["LogConfig"]["Type"], "json-file");
        assert_eq!(told["Binds"], serde_json::json!([]));
        assert_eq!(config(&request.config, "0123456789abcdef").hostname, "0123456789ab");
    }
}
