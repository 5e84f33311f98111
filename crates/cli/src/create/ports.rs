//! `-p` and `--expose`: ports of containers, and where they are published.
//!
//! Absent on purpose: whether a port is free.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dhow_wire::{PortBinding, PortMap};

/// Ports that are published, by container port.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    pub(crate) exposed: BTreeMap<String, dhow_wire::Nothing>,
    pub(crate) bindings: PortMap,
}

/// Ports in the words of `--publish`; nothing if there are none.
pub(crate) fn published(specs: &[&str]) -> Result<Option<PortMap>, String> {
    let mut ports = Ports::default();
    for spec in specs {
        ports.publish(spec)?;
    }
    Ok(Some(ports.bindings).filter(|bindings| !bindings.is_empty()))
}

impl Ports {
    /// Adds the value of a `--publish`.
    pub(crate) fn publish(&mut self, spec: &str) -> Result<(), String> {
        let short = if spec.contains('=') { long_form(spec)? } else { spec.to_owned() };
        let (host_ip, host_port, container) = split(&short);
        let (container_port, protocol) = protocol(container)?;
        let host_ip = match host_ip {
            "" => String::new(),
            ip => {
                let bare = ip.trim_start_matches('[').trim_end_matches(']');
                let parsed: Result<IpAddr, _> = bare.parse();
                parsed.map_err(|_| format!("invalid IP address: {ip}"))?;
                bare.to_owned()
            }
        };
        if container_port.is_empty() {
            return Err(format!("no port specified: {short}<empty>"));
        }
        let wrong = |what: &str, port: &str| format!("invalid {what}: {port}");
        let (start, end) =
            range(container_port).map_err(|_| wrong("containerPort", container_port))?;
        let host = match host_port {
            "" => None,
            port => Some(range(port).map_err(|_| wrong("hostPort", port))?),
        };
        if let Some((host_start, host_end)) = host
            && end - start != host_end - host_start
            && start != end
        {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {container_port} and {host_port}"
            ));
        }
        for offset in 0..=end - start {
            let host_port = match host {
                None => String::new(),
                Some((low, high)) if start == end && low != high => format!("{low}-{high}"),
                Some((low, _)) => (low + offset).to_string(),
            };
            let key = format!("{}/{protocol}", start + offset);
            self.exposed.insert(key.clone(), dhow_wire::Nothing {});
            let binding = PortBinding { host_ip: host_ip.clone(), host_port };
            self.bindings.entry(key).or_default().get_or_insert_default().push(binding);
        }
        Ok(())
    }

    /// Adds the value of an `--expose`.
    pub(crate) fn expose(&mut self, spec: &str) -> Result<(), String> {
        if spec.contains(':') {
            return Err(format!("invalid port format for --expose: {spec}"));
        }
        let (port, protocol) = protocol(spec)?;
        let (start, end) = range(port)
            .map_err(|why| format!("invalid range format for --expose: {spec}, error: {why}"))?;
        let keys = (start..=end).map(|port| (format!("{port}/{protocol}"), dhow_wire::Nothing {}));
        self.exposed.extend(keys);
        Ok(())
    }
}

/// `published=8080,target=80,protocol=udp` in the short form.
fn long_form(spec: &str) -> Result<String, String> {
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for part in spec.split(',') {
        match part.split_once('=').filter(|(key, _)| !key.is_empty()) {
            Some(("published", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            Some(_) => {}
            None => {
                return Err(format!(
                    "invalid publish opts format (should be name=value but got '{part}')"
                ));
            }
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// Address, host port, container port; what is not there is empty.
fn split(spec: &str) -> (&str, &str, &str) {
    let Some((rest, container)) = spec.rsplit_once(':') else { return ("", "", spec) };
    match rest.rsplit_once(':') {
        // `[::1]` or `::1` before a host port, or alone.
        Some((ip, port)) if !port.ends_with(']') => (ip, port, container),
        Some(_) => (rest, "", container),
        None => ("", rest, container),
    }
}

fn protocol(spec: &str) -> Result<(&str, String), String> {
    let (port, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_lowercase() };
    match protocol.as_str() {
        "tcp" | "udp" | "sctp" => Ok((port, protocol)),
        _ => Err(format!("invalid proto: {protocol}")),
    }
}

/// `80` or `80-90`.
fn range(text: &str) -> Result<(u32, u32), String> {
    if text.is_empty() {
        return Err("empty string specified for ports".to_owned());
    }
    let port = |part: &str| -> Result<u32, String> {
        let number: Option<u64> = match part {
            "" => None,
            _ if part.bytes().all(|byte| byte.is_ascii_digit()) => part.parse().ok(),
            _ => None,
        };
        let number =
            number.ok_or_else(|| format!("strconv.ParseUint: parsing {part:?}: invalid syntax"))?;
        let port = u16::try_from(number);
        let port =
            port.map_err(|_| format!("strconv.ParseUint: parsing {part:?}: value out of range"))?;
        Ok(u32::from(port))
    };
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (port(low)?, port(high)?);
    if high < low {
        return Err(format!("invalid range specified for port: {text}"));
    }
    Ok((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(specs: &[&str]) -> Result<String, String> {
        let mut ports = Ports::default();
        for spec in specs {
            ports.publish(spec)?;
        }
        let places = ports.bindings.iter().map(|(port, places)| {
            let places = places.iter().flatten();
            let places: Vec<_> =
                places.map(|place| format!("{}:{}", place.host_ip, place.host_port)).collect();
            format!("{port}={}", places.join("+"))
        });
        Ok(places.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn ports_in_all_spellings() {
        for (spec, expected) in [
            ("80", "80/tcp=:"),
            ("8080:80", "80/tcp=:8080"),
            ("127.0.0.1:8080:80/udp", "80/udp=127.0.0.1:8080"),
            ("127.0.0.1::80", "80/tcp=127.0.0.1:"),
            ("[::1]:8080:80", "80/tcp=::1:8080"),
            ("[::1]::80", "80/tcp=::1:"),
            ("8000-8001:80-81", "80/tcp=:8000 81/tcp=:8001"),
            ("8000-8010:80", "80/tcp=:8000-8010"),
            ("published=8080,target=80", "80/tcp=:8080"),
        ] {
            assert_eq!(published(&[spec]).as_deref(), Ok(expected), "{spec}");
        }
        assert_eq!(published(&["1:80", "2:80"]).as_deref(), Ok("80/tcp=:1+:2"));
    }

    #[test]
    fn wrong_ports_in_docker_s_words() {
        for (spec, message) in [
            ("99999:80", "invalid hostPort: 99999"),
            ("80:x", "invalid containerPort: x"),
            ("a:80:80", "invalid IP address: a"),
            ("80:80/foo", "invalid proto: foo"),
            ("", "no port specified: <empty>"),
            ("80:", "no port specified: 80:<empty>"),
            (
                "8000-8002:80-81",
                "invalid ranges specified for container and host Ports: 80-81 and 8000-8002",
            ),
            ("a=1,b", "invalid publish opts format (should be name=value but got 'b')"),
        ] {
            assert_eq!(published(&[spec]).unwrap_err(), message, "{spec}");
        }
        let expose = |spec| Ports::default().expose(spec).unwrap_err();
        assert_eq!(
            expose("x"),
            "invalid range format for --expose: x, error: strconv.ParseUint: parsing \"x\": invalid syntax"
        );
        assert_eq!(expose("80:80"), "invalid port format for --expose: 80:80");
    }
}
