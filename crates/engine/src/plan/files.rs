//! The files that every container gets made: `hostname`, `hosts`, `resolv.conf`.
//!
//! Invariant: pure text; a server that only answers on the host's own loopback never gets into a
//! container that has a loopback of its own.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use super::error::PlanError;
use super::facts::HostFacts;
use super::process;
use crate::request::{CreateRequest, NetworkMode};

/// Used where the host names no server that a container could reach.
const PUBLIC_SERVERS: &[&str] = &["8.8.8.8", "8.8.4.4"];

const LOCAL_NAMES: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// What `/etc/hostname` says.
pub fn hostname_file(request: &CreateRequest, id: &str, host: &HostFacts) -> String {
    format!("{}\n", process::hostname(request, id, host))
}

/// What `/etc/hosts` says; `addresses` are the container's own.
pub fn hosts_file(
    request: &CreateRequest,
    id: &str,
    host: &HostFacts,
    addresses: &[IpAddr],
) -> Result<String, PlanError> {
    let own = &request.host;
    if own.network == NetworkMode::Host && own.extra_hosts.is_empty() {
        return Ok(host.hosts.clone());
    }
    let mut text = LOCAL_NAMES.to_owned();
    for extra in &own.extra_hosts {
        let address = extra.address.or(host.defaults.host_gateway).ok_or(PlanError::HostGateway)?;
        let _ = writeln!(text, "{address}\t{}", extra.name);
    }
    let name = process::hostname(request, id, host);
    let domain = request.config.domainname.as_str();
    for address in addresses {
        let _ = match domain {
            "" => writeln!(text, "{address}\t{name}"),
            domain => writeln!(text, "{address}\t{name}.{domain} {name}"),
        };
    }
    Ok(text)
}

/// What `/etc/resolv.conf` says.
///
/// With `server` every question goes there (the resolver of a network that knows names); without, to the
/// host's servers, but for those that only the host can reach.
pub fn resolv_conf(request: &CreateRequest, host: &HostFacts, server: Option<IpAddr>) -> String {
    let own = &request.host;
    let theirs = Parsed::of(&host.resolv_conf);
    let either = |own: &[String], default: &[String], theirs: &[String]| {
        [own, default, theirs]
            .into_iter()
            .find(|list| !list.is_empty())
            .unwrap_or_default()
            .to_vec()
    };
    let asked = if own.dns.is_empty() { &host.defaults.dns } else { &own.dns };
    let servers: Vec<String> = match server {
        Some(server) => vec![server.to_string()],
        None if !asked.is_empty() => asked.iter().map(IpAddr::to_string).collect(),
        None if own.network == NetworkMode::Host => theirs.servers,
        None => reachable(theirs.servers),
    };
    let search = either(&own.dns_search, &host.defaults.dns_search, &theirs.search);
    let mut options = either(&own.dns_options, &host.defaults.dns_options, &theirs.options);
    // Who answers for a network knows names without a dot; nobody has to be asked with a domain first.
    if server.is_some() && !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0".to_owned());
    }
    let mut text = String::from("# Made by dhow for this container; changes inside stay.\n");
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    // One dot alone is Docker's word for no domain at all.
    if !search.is_empty() && search != ["."] {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text.extend(theirs.rest.iter().map(|line| format!("{line}\n")));
    text
}

/// The servers of a `resolv.conf` that are on the host's own loopback, all of them.
pub(super) fn only_local_stub(text: &str) -> bool {
    Parsed::of(text).servers == ["127.0.0.53"]
}

fn reachable(servers: Vec<String>) -> Vec<String> {
    let good = |server: &String| {
        let address = server.split('%').next().unwrap_or_default().parse::<IpAddr>();
        // Containers of the default network speak the older version only.
        matches!(address, Ok(IpAddr::V4(v4)) if !v4.is_loopback() && v4 != Ipv4Addr::UNSPECIFIED)
    };
    let left: Vec<String> = servers.into_iter().filter(good).collect();
    if left.is_empty() {
        return PUBLIC_SERVERS.iter().copied().map(str::to_owned).collect();
    }
    left
}

#[derive(Default)]
struct Parsed {
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
    rest: Vec<String>,
}

impl Parsed {
    fn of(text: &str) -> Self {
        let mut parsed = Self::default();
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
            let mut words = line.split_whitespace();
            let word = words.next().unwrap_or_default();
            let values = words.map(str::to_owned);
            match word {
                "nameserver" => parsed.servers.extend(values.take(1)),
                // The last of these wins, as in the C library.
                "search" | "domain" => parsed.search = values.collect(),
                "options" => parsed.options.extend(values),
                _ => parsed.rest.push(line.to_owned()),
            }
        }
        parsed
    }
}
