//! `--network` and the flags about a container's place in one.
//!
//! Absent on purpose: whether a network exists.

use std::collections::BTreeMap;

use dhow_wire::{EndpointIpam, EndpointSettings};

use super::csv;
use crate::args::Matches;

/// One `--network`, short or long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attachment {
    pub(crate) target: String,
    aliases: Vec<String>,
    links: Vec<String>,
    driver_opts: BTreeMap<String, String>,
    ipv4: String,
    ipv6: String,
    link_local: Vec<String>,
    mac: String,
    gateway_priority: i64,
}

/// Reads the value of a `--network`.
pub(crate) fn attachment(text: &str) -> Result<Attachment, String> {
    let mut to = Attachment::default();
    if !is_long(text) {
        text.clone_into(&mut to.target);
        return Ok(to);
    }
    for field in csv::fields(text).map_err(|error| error.to_string())? {
        let lower = field.to_lowercase();
        let (key, value) = lower
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| format!("invalid field {field}"))?;
        let value = value.trim().to_owned();
        match key.trim() {
            "name" => to.target = value,
            "alias" => to.aliases.push(value),
            "ip" => to.ipv4 = value,
            "ip6" => to.ipv6 = value,
            "mac-address" => to.mac = value,
            "link-local-ip" => to.link_local.push(value),
            "driver-opt" => {
                let (key, value) = value
                    .split_once('=')
                    .filter(|(key, _)| !key.is_empty())
                    .ok_or("invalid key value pair format in driver options")?;
                to.driver_opts.insert(key.trim().to_owned(), value.trim().to_owned());
            }
            "gw-priority" => {
                let wrong = |_| format!("invalid gw-priority ({value}): invalid syntax");
                to.gateway_priority = value.parse().map_err(wrong)?;
            }
            key => return Err(format!("invalid field key {key}")),
        }
    }
    if to.target.is_empty() {
        return Err("network name/id is not specified".to_owned());
    }
    Ok(to)
}

/// Whether somewhere in it a word is followed by `=` and a word, which is what Docker looks for.
fn is_long(text: &str) -> bool {
    let word = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
    let bytes = text.as_bytes();
    (1..bytes.len().saturating_sub(1))
        .any(|place| bytes[place] == b'=' && word(bytes[place - 1]) && word(bytes[place + 1]))
}

/// Whether a `--network` can be read at all.
pub(crate) fn check_network(text: &str) -> Result<(), String> {
    attachment(text).map(drop)
}

/// Whether a user made the network, so that names count in it.
fn is_user_defined(name: &str) -> bool {
    !matches!(name, "default" | "bridge" | "host" | "none") && !name.starts_with("container:")
}

/// Which network is the container's first.
pub(crate) fn mode(matches: &Matches) -> Result<String, String> {
    match matches.list("network").first() {
        Some(first) => Ok(attachment(first)?.target),
        None => Ok("default".to_owned()),
    }
}

/// The endpoints that the flags ask for.
pub(crate) fn endpoints(
    matches: &Matches,
) -> Result<BTreeMap<String, Option<EndpointSettings>>, String> {
    let mut endpoints = BTreeMap::new();
    let mut wanted = Vec::new();
    for text in matches.list("network") {
        wanted.push(attachment(text)?);
    }
    let default = wanted.is_empty();
    if default {
        wanted.push(Attachment { target: "default".to_owned(), ..Attachment::default() });
    }
    let alone = wanted.len() == 1;
    let users = wanted.iter().filter(|to| is_user_defined(&to.target)).count();
    let mixed = users > 0 && users < wanted.len();
    for (index, mut to) in wanted.into_iter().enumerate() {
        if index == 0 {
            old_flags(&mut to, matches)?;
        }
        let endpoint = endpoint(&to)?;
        if endpoints.contains_key(&to.target) {
            return Err(format!("network {:?} is specified multiple times", to.target));
        }
        if !default && alone && endpoint == EndpointSettings::default() {
            continue;
        }
        endpoints.insert(to.target, Some(endpoint));
    }
    if mixed {
        return Err(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
                .to_owned(),
        );
    }
    Ok(endpoints)
}

/// What `--network-alias`, `--link`, `--ip` and their like say counts for the first network.
fn old_flags(to: &mut Attachment, matches: &Matches) -> Result<(), String> {
    let texts = |flag| matches.list(flag).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let both = |flag: &str, what: &str| {
        Err(format!("conflicting options: cannot specify both {flag} and per-network {what}"))
    };
    let aliases = texts("network-alias");
    if !aliases.is_empty() {
        if !to.aliases.is_empty() {
            return both("--network-alias", "alias");
        }
        to.aliases = aliases;
    }
    if is_user_defined(&to.target) {
        to.links = texts("link");
    }
    for (flag, what, place) in [
        ("ip", "IPv4 address", &mut to.ipv4),
        ("ip6", "IPv6 address", &mut to.ipv6),
        ("mac-address", "MAC address", &mut to.mac),
    ] {
        let Some(value) = matches.some(flag) else { continue };
        if !place.is_empty() {
            return both(&format!("--{flag}"), what);
        }
        value.clone_into(place);
    }
    let link_local = texts("link-local-ip");
    if !link_local.is_empty() {
        if !to.link_local.is_empty() {
            return both("--link-local-ip", "link-local IP addresses");
        }
        to.link_local = link_local;
    }
    Ok(())
}

fn endpoint(to: &Attachment) -> Result<EndpointSettings, String> {
    if to.target.trim().is_empty() {
        return Err("no name set for network".to_owned());
    }
    if !is_user_defined(&to.target) {
        let only = |what: &str| Err(format!("{what} are only supported for user-defined networks"));
        if !to.aliases.is_empty() {
            return only("network-scoped aliases");
        }
        if !to.links.is_empty() {
            return only("links");
        }
    }
    if !to.mac.is_empty() {
        check_mac(&to.mac)?;
    }
    let some = |list: &Vec<String>| Some(list.clone()).filter(|list| !list.is_empty());
    let ipam = EndpointIpam {
        ipv4_address: to.ipv4.clone(),
        ipv6_address: to.ipv6.clone(),
        link_local_ips: to.link_local.clone(),
    };
    Ok(EndpointSettings {
        ipam: Some(ipam).filter(|ipam| *ipam != EndpointIpam::default()),
        aliases: some(&to.aliases),
        links: some(&to.links),
        driver_opts: Some(to.driver_opts.clone()).filter(|options| !options.is_empty()),
        gw_priority: to.gateway_priority,
        mac_address: to.mac.clone(),
        ..EndpointSettings::default()
    })
}

/// Six or eight pairs of hexadecimal digits.
pub(crate) fn check_mac(text: &str) -> Result<(), String> {
    let trimmed = text.trim();
    let separator = if trimmed.contains('-') { '-' } else { ':' };
    let pair = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts: Vec<&str> = trimmed.split(separator).collect();
    if matches!(parts.len(), 6 | 8 | 20) && parts.into_iter().all(pair) {
        return Ok(());
    }
    Err(format!("{text} is not a valid mac address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_short() {
        assert_eq!(attachment("my-net").unwrap().target, "my-net");
        let to = attachment("name=n,alias=A,ip=10.0.0.2,driver-opt=a=b,gw-priority=3").unwrap();
        assert_eq!(
            (to.target.as_str(), to.aliases, to.ipv4.as_str()),
            ("n", vec!["a".to_owned()], "10.0.0.2")
        );
        assert_eq!((to.driver_opts["a"].as_str(), to.gateway_priority), ("b", 3));
        assert_eq!(attachment("a:b=c").unwrap_err(), "invalid field key a:b");
        assert_eq!(attachment("alias=c").unwrap_err(), "network name/id is not specified");
    }

    #[test]
    fn macs() {
        assert!(check_mac("92:d0:c6:0a:29:33").is_ok());
        assert_eq!(check_mac("x").unwrap_err(), "x is not a valid mac address");
    }
}
