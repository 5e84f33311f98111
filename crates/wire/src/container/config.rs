//! The part of a container's configuration that moves with its image, and the request to create one.
//!
//! Invariant: `Cmd` and `Entrypoint` may be one text, as old clients send them; they are lists here.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::host::HostConfig;
use crate::go::{Nothing, object};
use crate::network::NetworkingConfig;

object! {
    /// What runs in a container, and as whom.
    ContainerConfig {
        hostname: String = "Hostname",
        domainname: String = "Domainname",
        user: String = "User",
        attach_stdin: bool = "AttachStdin",
        attach_stdout: bool = "AttachStdout",
        attach_stderr: bool = "AttachStderr",
        exposed_ports: BTreeMap<String, Nothing> => "ExposedPorts",
        tty: bool = "Tty",
        open_stdin: bool = "OpenStdin",
        stdin_once: bool = "StdinOnce",
        env: Option<Vec<String>> = "Env",
        #[serde(rename = "Cmd", deserialize_with = "words")]
        cmd: Option<Vec<String>>,
        healthcheck: Option<HealthConfig> => "Healthcheck",
        args_escaped: bool => "ArgsEscaped",
        image: String = "Image",
        volumes: Option<BTreeMap<String, Nothing>> = "Volumes",
        working_dir: String = "WorkingDir",
        #[serde(rename = "Entrypoint", deserialize_with = "words")]
        entrypoint: Option<Vec<String>>,
        network_disabled: bool => "NetworkDisabled",
        /// Before 1.44 a container had one; now its endpoints have.
        mac_address: String => "MacAddress",
        on_build: Option<Vec<String>> => "OnBuild",
        labels: BTreeMap<String, String> = "Labels",
        stop_signal: String => "StopSignal",
        stop_timeout: Option<i64> => "StopTimeout",
        shell: Option<Vec<String>> => "Shell",
    }

    /// How to find out whether a container is well; times in nanoseconds.
    HealthConfig {
        test: Vec<String> => "Test",
        interval: i64 => "Interval",
        timeout: i64 => "Timeout",
        start_period: i64 => "StartPeriod",
        start_interval: i64 => "StartInterval",
        retries: i64 => "Retries",
    }

    /// `POST /containers/create`.
    CreateContainer {
        #[serde(flatten)]
        config: ContainerConfig,
        host_config: Option<HostConfig> => "HostConfig",
        networking_config: Option<NetworkingConfig> => "NetworkingConfig",
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Many(Vec<String>),
    One(String),
}

/// A list, one text, or nothing.
fn words<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Vec<String>>, D::Error> {
    Ok(Option::deserialize(reader)?.map(|words| match words {
        Words::Many(words) => words,
        Words::One(word) => vec![word],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_the_reference() {
        let request: CreateContainer = serde_json::from_str(
            r#"{
            "Hostname": "", "User": "", "AttachStdout": true, "Tty": false,
            "Env": ["FOO=bar", "BAZ=quux"], "Cmd": ["date"], "Entrypoint": "",
            "Image": "ubuntu", "Labels": {"com.example.vendor": "Acme"},
            "Volumes": {"/volumes/data": {}}, "WorkingDir": "", "NetworkDisabled": false,
            "ExposedPorts": {"22/tcp": {}}, "StopSignal": "SIGTERM", "StopTimeout": 10,
            "HostConfig": {
                "Binds": ["/tmp:/tmp"], "Links": ["redis3:redis"], "Memory": 0, "MemorySwap": 0,
                "NanoCpus": 500000, "CpuPercent": 80, "CpuShares": 512, "MemorySwappiness": 60,
                "OomKillDisable": false, "PidsLimit": 0,
                "PortBindings": {"22/tcp": [{"HostPort": "11022"}]},
                "RestartPolicy": {"Name": "", "MaximumRetryCount": 0},
                "NetworkMode": "bridge", "Devices": [],
                "Ulimits": [{}], "LogConfig": {"Type": "json-file", "Config": {}},
                "BlkioWeightDevice": [{}], "ShmSize": 67108864
            },
            "NetworkingConfig": {"EndpointsConfig": {"isolated_nw": {
                "IPAMConfig": {"IPv4Address": "172.20.30.33", "LinkLocalIPs": ["169.254.34.68"]},
                "Links": ["container_1"], "Aliases": ["server_x"]
            }}}
        }"#,
        )
        .unwrap();
        assert_eq!(request.config.cmd.as_deref(), Some(&["date".to_owned()][..]));
        assert_eq!(request.config.entrypoint.as_deref(), Some(&[String::new()][..]));
        let host = request.host_config.unwrap();
        assert_eq!(host.resources.nano_cpus, 500_000);
        assert_eq!(host.port_bindings["22/tcp"].as_ref().unwrap()[0].host_port, "11022");
        assert_eq!(host.resources.memory_swappiness, Some(60));
        let networks = request.networking_config.unwrap();
        let endpoint = networks.endpoints["isolated_nw"].as_ref().unwrap();
        assert_eq!(endpoint.ipam.as_ref().unwrap().ipv4_address, "172.20.30.33");
    }

    #[test]
    fn a_request_is_flat_and_comes_back() {
        let request = CreateContainer {
            config: ContainerConfig { image: "x".to_owned(), ..ContainerConfig::default() },
            host_config: Some(HostConfig::default()),
            networking_config: None,
        };
        let json = serde_json::to_value(&request).unwrap();
        assert_eq!(json["Image"], "x");
        assert_eq!(json["Cmd"], serde_json::Value::Null);
        assert_eq!(json["HostConfig"]["Memory"], 0);
        assert!(json.get("NetworkingConfig").is_none());
        assert_eq!(serde_json::from_value::<CreateContainer>(json).unwrap(), request);
    }
}
