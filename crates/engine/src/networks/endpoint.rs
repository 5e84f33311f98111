//! A container's places in networks: from what was asked for to what the network crate is asked for.
//!
//! Invariant: ids are made of names: one network, one endpoint of a container in it.

use std::net::IpAddr;

use dhow_network::{EndpointRequest, Mac, PortMapping, Rate};

use super::{Network, Record, key_of};
use crate::containers::request::{CreateRequest, EndpointConfig, Port, Protocol};
use crate::error::Error;

const INTERFACE: &str = "com.docker.network.endpoint.ifname";
const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";
const RATE_IN: &str = "dhow.rate.in";
const RATE_OUT: &str = "dhow.rate.out";

/// What is asked of one network.
pub(crate) fn endpoint_request(
    network: &Network,
    record: Option<&Record>,
    asked: &EndpointConfig,
) -> Result<EndpointRequest, Error> {
    if let Some(record) = record {
        let chosen =
            [(asked.ipv4.is_some(), record.chosen.0), (asked.ipv6.is_some(), record.chosen.1)];
        if chosen.iter().any(|(asked, chosen)| *asked && !*chosen) {
            let message = "invalid endpoint settings:\nuser specified IP address is supported only \
                           when connecting to networks with user configured subnets";
            return Err(Error::Invalid { message: message.to_owned() });
        }
    }
    let mac = asked.mac.map(|mac| mac.to_string().parse::<Mac>()).transpose();
    let mut request = EndpointRequest {
        network: key_of(network).to_owned(),
        mac: mac.map_err(|fault| Error::Invalid { message: fault.to_string() })?,
        ipv4: asked.ipv4,
        ipv6: asked.ipv6,
        link_local: asked.link_local.clone(),
        gateway_priority: asked.gateway_priority,
        ..EndpointRequest::default()
    };
    for (name, value) in &asked.driver_options {
        take_option(&mut request, name, value)?;
    }
    Ok(request)
}

fn take_option(request: &mut EndpointRequest, name: &str, value: &str) -> Result<(), Error> {
    let invalid = || Error::Invalid {
        message: format!("invalid value for endpoint option {name}: {value:?}"),
    };
    match name {
        INTERFACE => {
            let good = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':');
            let fits = (1..=15).contains(&value.len()) && value.bytes().all(good);
            request.interface = Some(value.to_owned());
            if fits { Ok(()) } else { Err(invalid()) }
        }
        SYSCTLS => {
            for setting in value.split(',').map(str::trim).filter(|one| !one.is_empty()) {
                let (name, value) = setting.split_once('=').ok_or_else(invalid)?;
                // Of this device and of nothing else.
                let known = name.starts_with("net.ipv4.conf.IFNAME.")
                    || name.starts_with("net.ipv6.conf.IFNAME.")
                    || name.starts_with("net.ipv4.neigh.IFNAME.")
                    || name.starts_with("net.ipv6.neigh.IFNAME.")
                    || name.starts_with("net.mpls.conf.IFNAME.");
                if !known || name.contains(['/', ' ']) || name.contains("..") {
                    return Err(invalid());
                }
                request.sysctls.push((name.to_owned(), value.to_owned()));
            }
            Ok(())
        }
        RATE_IN | RATE_OUT => {
            let bytes = Rate::parse(value).ok_or_else(invalid)?;
            let place =
                if name == RATE_IN { &mut request.rate.inward } else { &mut request.rate.outward };
            *place = bytes;
            Ok(())
        }
        // Ours and Docker's are known; others are labels to whoever sets them.
        _ if name.starts_with("com.docker.network.") || name.starts_with("dhow.") => {
            Err(Error::Invalid { message: format!("unknown endpoint option: {name}") })
        }
        _ => Ok(()),
    }
}

/// What of a container is published.
pub(crate) fn port_mappings(request: &CreateRequest) -> Vec<PortMapping> {
    let host = &request.host;
    let mut ports = Vec::new();
    for (port, bindings) in &host.ports {
        for binding in bindings {
            ports.push(mapping(*port, binding.host_ip, binding.host_port));
        }
        if bindings.is_empty() {
            ports.push(mapping(*port, None, None));
        }
    }
    if host.publish_all_ports {
        let exposed = request.config.exposed_ports.iter();
        for port in exposed.filter(|port| !host.ports.contains_key(port)) {
            ports.push(mapping(*port, None, None));
        }
    }
    ports
}

/// One of them.
pub(crate) fn mapping(
    port: Port,
    host_ip: Option<IpAddr>,
    host_port: Option<(u16, u16)>,
) -> PortMapping {
    PortMapping {
        container_port: port.number,
        protocol: protocol(port.protocol),
        host_ip,
        host_port,
    }
}

pub(crate) fn protocol(protocol: Protocol) -> dhow_network::Protocol {
    match protocol {
        Protocol::Tcp => dhow_network::Protocol::Tcp,
        Protocol::Udp => dhow_network::Protocol::Udp,
        Protocol::Sctp => dhow_network::Protocol::Sctp,
    }
}

/// 64 hexadecimal digits that stay the same.
pub(crate) fn digest_of(words: &[&str]) -> String {
    let mut hasher = dhow_archive::hash::Hasher::new(dhow_spec::Algorithm::Sha256);
    hasher.update(words.join("\n").as_bytes());
    let digest = hasher.finish().digest.to_string();
    digest.split_once(':').map_or(String::new(), |(_, hex)| hex.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(name: &str, value: &str) -> Result<EndpointRequest, String> {
        let mut request = EndpointRequest::default();
        take_option(&mut request, name, value).map_err(|error| error.to_string())?;
        Ok(request)
    }

    #[test]
    fn options_of_endpoints() {
        assert_eq!(options(INTERFACE, "lan0").unwrap().interface.as_deref(), Some("lan0"));
        assert!(options(INTERFACE, "a/b").is_err());
        let settings = options(SYSCTLS, "net.ipv4.conf.IFNAME.log_martians=1").unwrap().sysctls;
        assert_eq!(settings, [("net.ipv4.conf.IFNAME.log_martians".to_owned(), "1".to_owned())]);
        assert!(options(SYSCTLS, "net.ipv4.ip_forward=1").is_err());
        assert!(options(SYSCTLS, "net.ipv4.conf.IFNAME./../x=1").is_err());
        assert_eq!(options(RATE_OUT, "8mbit").unwrap().rate.outward, 1_000_000);
        assert_eq!(options("dhow.x", "y").unwrap_err(), "unknown endpoint option: dhow.x");
        options("com.example.note", "y").expect("somebody's label");
    }
}
