//! What became of a container, in Docker's words.
//!
//! Invariant: none of its own; texts that people read (`Up 2 hours`) come from the engine.

use std::collections::BTreeMap;

use dhow_engine::request::EndpointConfig;
use dhow_engine::{
    ContainerDetails, ContainerSummary, EndpointDetails, Health, IoCount, MountDetails,
    PublishedPort, Stats, Status, Usage,
};
use dhow_wire as wire;

use super::{NEVER, echo, signed, time};

/// One row of a list.
pub(crate) fn row(found: ContainerSummary) -> wire::ContainerSummary {
    // One that does not run has no ports.
    let runs = matches!(found.status, Status::Running | Status::Paused);
    let exposed = found.exposed.iter().filter(|exposed| {
        let same = |port: &PublishedPort| {
            port.container_port == exposed.number && port.protocol == exposed.protocol.as_str()
        };
        runs && !found.ports.iter().any(same)
    });
    let exposed = exposed.map(|port| wire::Port {
        private_port: port.number,
        kind: port.protocol.as_str().to_owned(),
        ..wire::Port::default()
    });
    let published = found.ports.iter().map(|port| wire::Port {
        ip: port.host_ip.clone(),
        private_port: port.container_port,
        public_port: port.host_port,
        kind: port.protocol.clone(),
    });
    let networks = networks(&found.endpoints, &found.network_mode, |_| None);
    wire::ContainerSummary {
        id: found.id,
        names: std::iter::once(&found.name)
            .chain(&found.link_names)
            .map(|name| format!("/{name}"))
            .collect(),
        image: found.image,
        image_id: found.image_id.to_string(),
        image_manifest_descriptor: None,
        command: found.command,
        created: found.created_ns.div_euclid(1_000_000_000),
        ports: published.chain(exposed).collect(),
        size_rw: found.size.map_or(0, |size| signed(size.writable_bytes)),
        size_root_fs: found.size.map_or(0, |size| signed(size.root_bytes)),
        labels: found.labels,
        state: found.status.as_str().to_owned(),
        status: found.status_text,
        host_config: wire::SummaryHostConfig {
            network_mode: match found.network_mode.as_str() {
                "default" => "bridge".to_owned(),
                _ => found.network_mode,
            },
            annotations: found.annotations,
        },
        health: Some(found.health.map_or_else(
            || wire::HealthSummary { status: "none".to_owned(), failing_streak: 0 },
            |health| wire::HealthSummary {
                status: health.status,
                failing_streak: health.failing_streak.into(),
            },
        )),
        network_settings: Some(wire::NetworkSettingsSummary { networks }),
        mounts: found.mounts.into_iter().map(mount).collect(),
    }
}

/// Everything about a container.
pub(crate) fn container(found: ContainerDetails) -> wire::ContainerInspect {
    let request = &found.request;
    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let mode = request.host.network.to_string();
    let wanted = |network: &str| {
        let asked = request.endpoints.get(network);
        let default = || (network == "bridge").then(|| request.endpoints.get("default")).flatten();
        asked.or_else(default).map(echo::endpoint)
    };
    let first = wanted(if mode == "default" { "bridge" } else { &mode });
    let networks = networks(&found.endpoints, &mode, wanted);
    let mut ports: wire::PortMap =
        request.config.exposed_ports.iter().map(|port| (port.to_string(), None)).collect();
    let active = matches!(found.state.status, Status::Running | Status::Paused);
    if !active {
        ports.clear();
    }
    for port in found.endpoints.iter().flat_map(|endpoint| &endpoint.ports) {
        let name = format!("{}/{}", port.container_port, port.protocol);
        ports.entry(name).or_default().get_or_insert_default().push(wire::PortBinding {
            host_ip: port.host_ip.clone(),
            host_port: port.host_port.to_string(),
        });
    }
    let state = &found.state;
    let is = |status| state.status == status;
    let running = active || is(Status::Restarting);
    let sandbox = path(&found.sandbox_path);
    wire::ContainerInspect {
        created: time(found.created_ns),
        path: found.path,
        args: found.args,
        state: wire::State {
            status: state.status.as_str().to_owned(),
            running,
            paused: is(Status::Paused),
            restarting: is(Status::Restarting),
            oom_killed: state.oom_killed,
            dead: is(Status::Dead),
            pid: i32::try_from(state.pid).unwrap_or(0),
            exit_code: state.exit_code,
            error: state.error.clone(),
            started_at: state.started_ns.map_or_else(|| NEVER.to_owned(), time),
            finished_at: state.finished_ns.map_or_else(|| NEVER.to_owned(), time),
            health: state.health.clone().map(health),
        },
        image: found.image_id.to_string(),
        resolv_conf_path: path(&found.resolv_conf_path),
        hostname_path: path(&found.hostname_path),
        hosts_path: path(&found.hosts_path),
        log_path: path(&found.log_path),
        name: format!("/{}", found.name),
        restart_count: found.restart_count.into(),
        driver: found.driver,
        platform: found.platform,
        exec_ids: Some(found.execs).filter(|execs| !execs.is_empty()),
        host_config: echo::host(&request.host),
        size_rw: found.size.map(|size| signed(size.writable_bytes)),
        size_root_fs: found.size.map(|size| signed(size.root_bytes)),
        mounts: found.mounts.into_iter().map(mount).collect(),
        config: wire::ContainerConfig {
            // Where old clients gave it, and look for it.
            mac_address: first.map(|first| first.mac_address).unwrap_or_default(),
            ..echo::config(&request.config, &found.id)
        },
        network_settings: wire::NetworkSettings {
            sandbox_id: if sandbox.is_empty() { String::new() } else { found.id.clone() },
            sandbox_key: sandbox,
            ports,
            networks,
        },
        id: found.id,
        ..wire::ContainerInspect::default()
    }
}

/// Its places in networks; the one that it will have, while it has none.
fn networks(
    endpoints: &[EndpointDetails],
    mode: &str,
    wanted: impl Fn(&str) -> Option<wire::EndpointSettings>,
) -> BTreeMap<String, wire::EndpointSettings> {
    let mut networks = BTreeMap::new();
    for endpoint in endpoints {
        let asked = wanted(&endpoint.network).unwrap_or_else(no_endpoint);
        let settings = wire::EndpointSettings {
            network_id: endpoint.network_id.clone(),
            endpoint_id: endpoint.endpoint_id.clone(),
            gateway: endpoint.gateway.clone(),
            ip_address: endpoint.ipv4.clone(),
            ip_prefix_len: endpoint.prefix.into(),
            mac_address: if endpoint.mac.is_empty() {
                asked.mac_address
            } else {
                endpoint.mac.clone()
            },
            ipv6_gateway: endpoint.gateway6.clone(),
            global_ipv6_address: endpoint.ipv6.clone(),
            global_ipv6_prefix_len: endpoint.prefix6.into(),
            dns_names: Some(endpoint.names.clone()),
            ..asked
        };
        networks.insert(endpoint.network.clone(), settings);
    }
    if networks.is_empty() && matches!(mode, "host" | "none") {
        let name = if mode == "default" { "bridge" } else { mode };
        networks.insert(name.to_owned(), wanted(name).unwrap_or_else(no_endpoint));
    }
    networks
}

/// A place in a network of which nothing was wanted.
fn no_endpoint() -> wire::EndpointSettings {
    echo::endpoint(&EndpointConfig::default())
}

fn mount(found: MountDetails) -> wire::MountPoint {
    wire::MountPoint {
        kind: found.kind,
        name: found.name,
        source: found.source,
        destination: found.destination,
        driver: found.driver,
        mode: found.mode,
        rw: found.writable,
        propagation: found.propagation,
    }
}

fn health(found: Health) -> wire::Health {
    let probes = found.log.into_iter().map(|probe| wire::Probe {
        start: time(probe.start_ns),
        end: time(probe.end_ns),
        exit_code: probe.exit_code,
        output: probe.output,
    });
    wire::Health {
        status: found.status,
        failing_streak: found.failing_streak.into(),
        log: Some(probes.collect()),
    }
}

/// A sample, beside the one before it.
pub(crate) fn stats(now: &Stats, before: Option<&Stats>) -> wire::Stats {
    let Some(usage) = &now.usage else {
        return wire::Stats {
            id: now.id.clone(),
            name: format!("/{}", now.name),
            os_type: "linux".to_owned(),
            read: NEVER.to_owned(),
            preread: NEVER.to_owned(),
            ..wire::Stats::default()
        };
    };
    let networks = now.networks.iter().map(|(name, traffic)| {
        let counts = wire::NetworkStats {
            rx_bytes: traffic.rx_bytes,
            rx_packets: traffic.rx_packets,
            rx_errors: traffic.rx_errors,
            rx_dropped: traffic.rx_dropped,
            tx_bytes: traffic.tx_bytes,
            tx_packets: traffic.tx_packets,
            tx_errors: traffic.tx_errors,
            tx_dropped: traffic.tx_dropped,
        };
        (name.clone(), counts)
    });
    wire::Stats {
        id: now.id.clone(),
        name: format!("/{}", now.name),
        os_type: "linux".to_owned(),
        read: time(now.read_ns),
        cpu: cpu(now),
        memory: wire::MemoryStats {
            usage: usage.memory_bytes,
            max_usage: if now.unified { 0 } else { usage.memory_bytes_peak },
            stats: usage.memory_detail.clone(),
            failcnt: if now.unified { 0 } else { usage.memory_failures },
            limit: usage.memory_bytes_max.min(now.system_memory_bytes),
        },
        networks: networks.collect(),
        pids: wire::PidsStats { current: usage.pids, limit: usage.pids_max },
        blkio: blkio(usage, now.unified),
        preread: before.map_or_else(|| NEVER.to_owned(), |before| time(before.read_ns)),
        precpu: before.map(cpu).unwrap_or_default(),
        ..wire::Stats::default()
    }
}

fn cpu(sample: &Stats) -> wire::CpuStats {
    let Some(usage) = &sample.usage else { return wire::CpuStats::default() };
    wire::CpuStats {
        usage: wire::CpuUsage {
            total: usage.cpu_ns,
            per_cpu: usage.cpus_ns.clone(),
            kernel: usage.cpu_kernel_ns,
            user: usage.cpu_user_ns,
        },
        system_usage: sample.system_cpu_ns,
        online_cpus: sample.online_cpus,
        throttling: wire::Throttling {
            periods: usage.periods,
            throttled_periods: usage.throttled_periods,
            throttled_time: usage.throttled_ns,
        },
    }
}

fn blkio(usage: &Usage, unified: bool) -> wire::BlkioStats {
    let entries = |counts: &[IoCount]| {
        let entries = counts.iter().map(|count| wire::BlkioEntry {
            major: count.major,
            minor: count.minor,
            op: count.operation.clone(),
            value: count.value,
        });
        Some(entries.collect())
    };
    let none = || Some(Vec::new()).filter(|_| !unified);
    wire::BlkioStats {
        service_bytes: entries(&usage.io_bytes),
        serviced: entries(&usage.io_operations).filter(|_: &Vec<_>| !unified),
        queued: none(),
        service_time: none(),
        wait_time: none(),
        merged: none(),
        time: none(),
        sectors: none(),
    }
}
