//! Containers as they are: lists and inspections.
//!
//! Invariant: none of its own. Times of an inspection are RFC 3339 with nanoseconds, those of a list seconds.

use std::collections::BTreeMap;

use dhow_spec::image::Descriptor;

use super::config::ContainerConfig;
use super::host::HostConfig;
use crate::go::object;
use crate::network::{EndpointSettings, PortMap};

object! {
    /// One row of `GET /containers/json`.
    ContainerSummary {
        id: String = "Id",
        names: Vec<String> = "Names",
        image: String = "Image",
        image_id: String = "ImageID",
        image_manifest_descriptor: Option<Descriptor> => "ImageManifestDescriptor",
        command: String = "Command",
        created: i64 = "Created",
        ports: Vec<Port> = "Ports",
        size_rw: i64 => "SizeRw",
        size_root_fs: i64 => "SizeRootFs",
        labels: BTreeMap<String, String> = "Labels",
        state: String = "State",
        status: String = "Status",
        host_config: SummaryHostConfig = "HostConfig",
        health: Option<HealthSummary> => "Health",
        network_settings: Option<NetworkSettingsSummary> = "NetworkSettings",
        mounts: Vec<MountPoint> = "Mounts",
    }

    /// A port of a container's.
    Port {
        ip: String => "IP",
        private_port: u16 = "PrivatePort",
        public_port: u16 => "PublicPort",
        kind: String = "Type",
    }

    /// The little of the host's part that a list has.
    SummaryHostConfig {
        network_mode: String => "NetworkMode",
        annotations: BTreeMap<String, String> => "Annotations",
    }

    /// A container's networks in a list.
    NetworkSettingsSummary {
        networks: BTreeMap<String, EndpointSettings> = "Networks",
    }

    /// A container's health in a list.
    HealthSummary {
        status: String = "Status",
        failing_streak: i64 = "FailingStreak",
    }

    /// Something mounted in a container.
    MountPoint {
        kind: String => "Type",
        name: String => "Name",
        source: String = "Source",
        destination: String = "Destination",
        driver: String => "Driver",
        mode: String = "Mode",
        rw: bool = "RW",
        propagation: String = "Propagation",
    }

    /// `GET /containers/{id}/json`.
    ContainerInspect {
        id: String = "Id",
        created: String = "Created",
        path: String = "Path",
        args: Vec<String> = "Args",
        state: State = "State",
        image: String = "Image",
        resolv_conf_path: String = "ResolvConfPath",
        hostname_path: String = "HostnamePath",
        hosts_path: String = "HostsPath",
        log_path: String = "LogPath",
        name: String = "Name",
        restart_count: i64 = "RestartCount",
        driver: String = "Driver",
        platform: String = "Platform",
        mount_label: String = "MountLabel",
        process_label: String = "ProcessLabel",
        app_armor_profile: String = "AppArmorProfile",
        exec_ids: Option<Vec<String>> = "ExecIDs",
        host_config: HostConfig = "HostConfig",
        size_rw: Option<i64> => "SizeRw",
        size_root_fs: Option<i64> => "SizeRootFs",
        mounts: Vec<MountPoint> = "Mounts",
        config: ContainerConfig = "Config",
        network_settings: NetworkSettings = "NetworkSettings",
        image_manifest_descriptor: Option<Descriptor> => "ImageManifestDescriptor",
    }

    /// What a container is doing.
    State {
        status: String = "Status",
        running: bool = "Running",
        paused: bool = "Paused",
        restarting: bool = "Restarting",
        oom_killed: bool = "OOMKilled",
        dead: bool = "Dead",
        pid: i32 = "Pid",
        exit_code: i32 = "ExitCode",
        error: String = "Error",
        started_at: String = "StartedAt",
        finished_at: String = "FinishedAt",
        health: Option<Health> => "Health",
    }

    /// What probes said.
    Health {
        status: String = "Status",
        failing_streak: i64 = "FailingStreak",
        log: Option<Vec<Probe>> = "Log",
    }

    /// One probe.
    Probe {
        start: String = "Start",
        end: String = "End",
        exit_code: i32 = "ExitCode",
        output: String = "Output",
    }

    /// A container's network.
    NetworkSettings {
        sandbox_id: String = "SandboxID",
        sandbox_key: String = "SandboxKey",
        ports: PortMap = "Ports",
        networks: BTreeMap<String, EndpointSettings> = "Networks",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_reference() {
        let json = r#"{
            "Id": "8dfafdbc3a40", "Names": ["/boring_feynman"], "Image": "ubuntu:latest",
            "ImageID": "d74508fb6632491cea586a1fd7d748dfc5274cd6fdfedee309ecdcbc2bf5cb82",
            "Command": "echo 1", "Created": 1367854155, "State": "exited", "Status": "Exit 0",
            "Ports": [{"PrivatePort": 2222, "PublicPort": 3333, "Type": "tcp"}],
            "Labels": {"com.example.vendor": "Acme"}, "SizeRw": 12288,
            "HostConfig": {"NetworkMode": "default", "Annotations": {"a": "b"}},
            "NetworkSettings": {"Networks": {}}, "Mounts": [{
                "Name": "fac362", "Source": "/data", "Destination": "/data", "Driver": "local",
                "Mode": "ro,Z", "RW": false, "Propagation": ""
            }]
        }"#;
        let row: ContainerSummary = serde_json::from_str(json).unwrap();
        let again = serde_json::to_value(&row).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(json).unwrap());
    }

    #[test]
    fn an_inspection_is_in_docker_s_order() {
        let json = serde_json::to_string(&ContainerInspect::default()).unwrap();
        assert!(
            json.starts_with(r#"{"Id":"","Created":"","Path":"","Args":[],"State":{"Status":"#)
        );
        assert!(json.contains(r#""ExecIDs":null,"HostConfig":{"Binds":null,"#));
        assert!(json.contains(r#""Isolation":"","CpuShares":0,"Memory":0,"#));
        assert!(!json.contains("SizeRw"));
    }
}
