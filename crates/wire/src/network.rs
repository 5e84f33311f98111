//! Networks, and a container's places in them.
//!
//! Invariant: addresses are text; one that is not there is `""`, as Go writes an invalid `netip.Addr`.

use std::collections::BTreeMap;

use crate::go::object;

/// Container ports (`80/tcp`) and where they are published; `None` is an exposed port that is not.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

object! {
    /// One place where a port is published.
    PortBinding {
        host_ip: String = "HostIp",
        host_port: String = "HostPort",
    }

    /// Which networks a new container is to be in, and how.
    NetworkingConfig {
        endpoints: BTreeMap<String, Option<EndpointSettings>> = "EndpointsConfig",
    }

    /// A container's place in a network: what was wanted, then what it is.
    EndpointSettings {
        ipam: Option<EndpointIpam> = "IPAMConfig",
        links: Option<Vec<String>> = "Links",
        aliases: Option<Vec<String>> = "Aliases",
        driver_opts: Option<BTreeMap<String, String>> = "DriverOpts",
        gw_priority: i64 = "GwPriority",
        network_id: String = "NetworkID",
        endpoint_id: String = "EndpointID",
        gateway: String = "Gateway",
        ip_address: String = "IPAddress",
        mac_address: String = "MacAddress",
        ip_prefix_len: i64 = "IPPrefixLen",
        ipv6_gateway: String = "IPv6Gateway",
        global_ipv6_address: String = "GlobalIPv6Address",
        global_ipv6_prefix_len: i64 = "GlobalIPv6PrefixLen",
        dns_names: Option<Vec<String>> = "DNSNames",
    }

    /// Wanted addresses.
    EndpointIpam {
        ipv4_address: String => "IPv4Address",
        ipv6_address: String => "IPv6Address",
        link_local_ips: Vec<String> => "LinkLocalIPs",
    }

    /// `GET /networks/{id}`; lists leave out what containers there are.
    NetworkInspect {
        name: String = "Name",
        id: String = "Id",
        created: String = "Created",
        scope: String = "Scope",
        driver: String = "Driver",
        enable_ipv4: bool = "EnableIPv4",
        enable_ipv6: bool = "EnableIPv6",
        ipam: Ipam = "IPAM",
        internal: bool = "Internal",
        attachable: bool = "Attachable",
        ingress: bool = "Ingress",
        config_from: ConfigReference = "ConfigFrom",
        config_only: bool = "ConfigOnly",
        options: Option<BTreeMap<String, String>> = "Options",
        labels: Option<BTreeMap<String, String>> = "Labels",
        containers: Option<BTreeMap<String, EndpointResource>> => "Containers",
        rules: Option<Vec<String>> => "DhowRules",
    }

    /// A container in a network, seen from the network.
    EndpointResource {
        name: String = "Name",
        endpoint_id: String = "EndpointID",
        mac_address: String = "MacAddress",
        ipv4_address: String = "IPv4Address",
        ipv6_address: String = "IPv6Address",
    }

    /// How a network's addresses are given out.
    Ipam {
        driver: String = "Driver",
        options: Option<BTreeMap<String, String>> = "Options",
        config: Option<Vec<IpamConfig>> = "Config",
    }

    /// One pool of addresses.
    IpamConfig {
        subnet: String => "Subnet",
        ip_range: String => "IPRange",
        gateway: String => "Gateway",
        aux_addresses: BTreeMap<String, String> => "AuxiliaryAddresses",
    }

    /// A network that only holds another's configuration.
    ConfigReference {
        network: String = "Network",
    }

    /// `POST /networks/create`.
    CreateNetwork {
        name: String = "Name",
        driver: String = "Driver",
        scope: String = "Scope",
        enable_ipv4: Option<bool> => "EnableIPv4",
        enable_ipv6: Option<bool> => "EnableIPv6",
        ipam: Option<Ipam> = "IPAM",
        internal: bool = "Internal",
        attachable: bool = "Attachable",
        ingress: bool = "Ingress",
        config_only: bool = "ConfigOnly",
        config_from: Option<ConfigReference> = "ConfigFrom",
        options: Option<BTreeMap<String, String>> = "Options",
        labels: Option<BTreeMap<String, String>> = "Labels",
    }

    /// Its answer.
    CreatedNetwork {
        id: String = "Id",
        warning: String = "Warning",
    }

    /// `POST /networks/{id}/connect`.
    ConnectNetwork {
        container: String = "Container",
        endpoint: Option<EndpointSettings> => "EndpointConfig",
    }

    /// `POST /networks/{id}/disconnect`.
    DisconnectNetwork {
        container: String = "Container",
        force: bool = "Force",
    }

    /// `POST /networks/prune`.
    NetworksPruned {
        networks_deleted: Option<Vec<String>> = "NetworksDeleted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exposed_port_is_null() {
        let ports: PortMap = serde_json::from_str(
            r#"{"443/tcp":null,"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"80"}]}"#,
        )
        .unwrap();
        assert_eq!(ports["443/tcp"], None);
        assert_eq!(ports["80/tcp"].as_ref().unwrap()[0].host_port, "80");
    }

    #[test]
    fn a_network_without_settings() {
        let config: NetworkingConfig =
            serde_json::from_str(r#"{"EndpointsConfig":{"isolated_nw":null}}"#).unwrap();
        assert_eq!(config.endpoints["isolated_nw"], None);
    }
}
