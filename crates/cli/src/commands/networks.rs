//! `network create`, `connect`, `disconnect`, `ls`, `rm` and `prune`.

use std::net::IpAddr;

use dhow_wire::{
    ConfigReference, ConnectNetwork, CreateNetwork, DisconnectNetwork, EndpointIpam,
    EndpointSettings, Ipam, IpamConfig,
};

use super::exec::document;
use super::{confirm, filters, filters_json};
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{escape, query};
use crate::create::{check_ip, check_label, check_link, labels, pairs};
use crate::failure::Failure;
use crate::format::{Heads, Row, render, short_id};
use crate::tree::{Command, Words};

pub(super) const CREATE: Command = Command {
    names: &["network create"],
    usage: "[OPTIONS] NETWORK",
    about: "Create a network",
    flags: &[&[
        Flag::switch("attachable", "Let containers that nobody planned come in"),
        Flag::map("aux-address", "Address of the subnet that no container gets"),
        Flag::text("config-from", "The network whose configuration this one has"),
        Flag::switch("config-only", "Only a configuration, for others"),
        Flag::text("driver", "Driver of the network").short('d').default("bridge"),
        Flag::list("gateway", "Address of the host in the subnet"),
        Flag::switch("ingress", "").hidden(),
        Flag::switch("internal", "Nothing in it reaches anything else"),
        Flag::list("ip-range", "Part of the subnet that containers get addresses from"),
        Flag::text("ipam-driver", "Driver of addresses").default("default"),
        Flag::map("ipam-opt", "Option of the driver of addresses"),
        Flag::switch("ipv4", "With IPv4").default("true"),
        Flag::switch("ipv6", "With IPv6"),
        Flag::list("label", "Label of the network").checked(check_label),
        Flag::map("opt", "Option of the driver").short('o'),
        Flag::text("scope", "").hidden(),
        Flag::list("subnet", "Subnet of the network, in CIDR form"),
    ]],
    words: Words::Exactly(1),
    stops: false,
    run: create,
};

pub(super) const CONNECT: Command = Command {
    names: &["network connect"],
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Connect a container to a network",
    flags: &[&[
        Flag::list("alias", "Name of the container in the network"),
        Flag::list("driver-opt", "Option of the network's driver"),
        Flag::int("gw-priority", "The network with the highest leads out"),
        Flag::text("ip", "IPv4 address (e.g. 172.30.100.104)").checked(check_ip),
        Flag::text("ip6", "IPv6 address (e.g. 2001:db8::33)").checked(check_ip),
        Flag::list("link", "Another container, by a name of its own").checked(check_link),
        Flag::list("link-local-ip", "Address for the link alone").checked(check_ip),
    ]],
    words: Words::Exactly(2),
    stops: false,
    run: connect,
};

pub(super) const DISCONNECT: Command = Command {
    names: &["network disconnect"],
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Disconnect a container from a network",
    flags: &[&[Flag::switch("force", "Whatever the container says").short('f')]],
    words: Words::Exactly(2),
    stops: false,
    run: |cli, matches| {
        let (network, container) = (escape(&matches.words[0]), matches.words[1].clone());
        let request = DisconnectNetwork { container, force: matches.on("force") };
        cli.client()?.post_json(format!("/networks/{network}/disconnect"), &document(&request)?)?;
        Ok(0)
    },
};

pub(super) const LIST: Command = Command {
    names: &["network ls", "network list"],
    usage: "[OPTIONS]",
    about: "List networks",
    flags: &[&[
        Flag::filter("Show only networks that match (e.g. driver=bridge)").short('f'),
        Flag::text("format", super::FORMAT_HELP),
        Flag::switch("no-trunc", "Show ids in full"),
        Flag::switch("quiet", "Only show ids").short('q'),
    ]],
    words: Words::None,
    stops: false,
    run: list,
};

pub(super) const REMOVE: Command = Command {
    names: &["network rm", "network remove"],
    usage: "NETWORK [NETWORK...]",
    about: "Remove one or more networks that no container is in",
    flags: &[&[Flag::switch("force", "Say nothing of networks that are not there").short('f')]],
    words: Words::AtLeast(1),
    stops: false,
    run: |cli, matches| {
        let force = matches.on("force");
        cli.each(&matches.words, |name| {
            match cli.client()?.delete(format!("/networks/{}", escape(name))) {
                Err(error) if force && error.is_not_found() => return Ok(()),
                removed => removed?,
            };
            cli.say(name)
        })
    },
};

pub(super) const PRUNE: Command = Command {
    names: &["network prune"],
    usage: "[OPTIONS]",
    about: "Remove all unused networks",
    flags: &[&[
        Flag::filter("Which ones (e.g. until=<timestamp>)"),
        Flag::switch("force", "Do not ask").short('f'),
    ]],
    words: Words::None,
    stops: false,
    run: prune,
};

const HEADS: Heads = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

fn create(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let from = matches.text("config-from").to_owned();
    let changed = |flag: &'static str| matches.changed(flag).then(|| matches.on(flag));
    let request = CreateNetwork {
        name: matches.words[0].clone(),
        driver: matches.text("driver").to_owned(),
        scope: matches.text("scope").to_owned(),
        enable_ipv4: changed("ipv4"),
        enable_ipv6: changed("ipv6"),
        ipam: Some(Ipam {
            driver: matches.text("ipam-driver").to_owned(),
            options: Some(pairs(matches.list("ipam-opt").into_iter())),
            config: Some(subnets(matches).map_err(Failure::Invalid)?),
        }),
        internal: matches.on("internal"),
        attachable: matches.on("attachable"),
        ingress: matches.on("ingress"),
        config_only: matches.on("config-only"),
        config_from: Some(ConfigReference { network: from })
            .filter(|from| !from.network.is_empty()),
        options: Some(pairs(matches.list("opt").into_iter())),
        labels: Some(labels(&[], &matches.list("label"))?),
    };
    let made = cli.client()?.post_json("/networks/create", &document(&request)?)?;
    for warning in made.text("Warning").lines() {
        cli.warn(&format!("WARNING: {warning}"));
    }
    cli.say(made.text("Id"))?;
    Ok(0)
}

/// Each subnet with what else was said of it, told by which subnet it is in.
fn subnets(matches: &Matches) -> Result<Vec<IpamConfig>, String> {
    let lists = ["ip-range", "gateway"].map(|flag| matches.list(flag));
    let mut configs: Vec<IpamConfig> = Vec::new();
    for subnet in matches.list("subnet") {
        let (first, _) = cidr(subnet)?;
        let overlaps = |other: &IpamConfig| {
            let first_of = cidr(&other.subnet).map(|(first, _)| first);
            contains(&other.subnet, first) || first_of.is_ok_and(|first| contains(subnet, first))
        };
        if configs.iter().any(overlaps) {
            return Err("multiple overlapping subnet configuration is not supported".to_owned());
        }
        configs.push(IpamConfig { subnet: subnet.to_owned(), ..IpamConfig::default() });
    }
    if lists.iter().any(|list| list.len() > configs.len()) {
        return Err("every ip-range or gateway must have a corresponding subnet".to_owned());
    }
    for range in &lists[0] {
        let (first, _) = cidr(range)?;
        let config =
            of(&mut configs, first).ok_or(format!("no matching subnet for range {range}"))?;
        let subnet = config.subnet.clone();
        set(&mut config.ip_range, range, "ranges", "on", &subnet)?;
    }
    for gateway in &lists[1] {
        let missing = || format!("no matching subnet for gateway {gateway}");
        let address = gateway.parse().map_err(|_| missing())?;
        let config = of(&mut configs, address).ok_or_else(missing)?;
        let subnet = config.subnet.clone();
        set(&mut config.gateway, gateway, "gateways", "for", &subnet)?;
    }
    for (name, text) in pairs(matches.list("aux-address").into_iter()) {
        let missing = || format!("no matching subnet for aux-address {text}");
        let address = text.parse().map_err(|_| missing())?;
        of(&mut configs, address).ok_or_else(missing)?.aux_addresses.insert(name, text.clone());
    }
    Ok(configs)
}

/// Takes a value of which there can be one.
fn set(
    place: &mut String,
    value: &str,
    what: &str,
    word: &str,
    subnet: &str,
) -> Result<(), String> {
    if !place.is_empty() {
        return Err(format!(
            "cannot configure multiple {what} ({value}, {place}) {word} the same subnet ({subnet})"
        ));
    }
    value.clone_into(place);
    Ok(())
}

fn of(configs: &mut [IpamConfig], address: IpAddr) -> Option<&mut IpamConfig> {
    configs.iter_mut().find(|config| contains(&config.subnet, address))
}

fn cidr(text: &str) -> Result<(IpAddr, u32), String> {
    let parsed = text.split_once('/').and_then(|(address, prefix)| {
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv6() { 128 } else { 32 };
        Some((address, prefix.parse().ok().filter(|prefix| *prefix <= most)?))
    });
    parsed.ok_or_else(|| format!("invalid CIDR address: {text}"))
}

fn contains(subnet: &str, address: IpAddr) -> bool {
    let Ok((first, prefix)) = cidr(subnet) else { return false };
    let kept = |bits: u128, width: u32| match width - prefix {
        shift if shift >= 128 => 0,
        shift => bits >> shift,
    };
    match (first, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            kept(a.to_bits().into(), 32) == kept(b.to_bits().into(), 32)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => kept(a.to_bits(), 128) == kept(b.to_bits(), 128),
        _ => false,
    }
}

fn connect(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let texts = |flag| matches.list(flag).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let some = |list: Vec<String>| Some(list).filter(|list| !list.is_empty());
    let ipam = EndpointIpam {
        ipv4_address: matches.text("ip").to_owned(),
        ipv6_address: matches.text("ip6").to_owned(),
        link_local_ips: texts("link-local-ip"),
    };
    let options = pairs(matches.list("driver-opt").into_iter());
    let endpoint = EndpointSettings {
        ipam: Some(ipam),
        links: some(texts("link")),
        aliases: some(texts("alias")),
        driver_opts: Some(options).filter(|options| !options.is_empty()),
        gw_priority: matches.int("gw-priority"),
        ..EndpointSettings::default()
    };
    let request = ConnectNetwork { container: matches.words[1].clone(), endpoint: Some(endpoint) };
    let network = escape(&matches.words[0]);
    cli.client()?.post_json(format!("/networks/{network}/connect"), &document(&request)?)?;
    Ok(0)
}

fn list(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let quiet = matches.on("quiet");
    let format = match matches.text("format") {
        "" if !quiet => cli.config()?.text("networksFormat").to_owned(),
        format => format.to_owned(),
    };
    let format = match format.as_str() {
        "" | "table" if quiet => "{{.ID}}",
        "" | "table" => "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
        format => format,
    };
    let answer = cli.client()?.get(format!("/networks{}", query(filters(matches))))?;
    let mut networks: Vec<_> = answer.items().iter().collect();
    networks.sort_by_key(|network| network.text("Name"));
    let whole = matches.on("no-trunc");
    let rows = networks.into_iter().map(|network| {
        let id = network.text("Id");
        let yes = |key: &str| network.on(key).to_string();
        Row::default()
            .with("ID", if whole { id } else { short_id(id) })
            .with("Name", network.text("Name"))
            .with("Driver", network.text("Driver"))
            .with("Scope", network.text("Scope"))
            .with("IPv4", yes("EnableIPv4"))
            .with("IPv6", yes("EnableIPv6"))
            .with("Internal", yes("Internal"))
            .with("CreatedAt", network.text("Created"))
            .labels(network.get("Labels"))
    });
    cli.print(&render(format, HEADS, rows.collect())?)?;
    Ok(0)
}

fn prune(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let warning =
        "WARNING! This will remove all custom networks not used by at least one container.";
    if !matches.on("force") && !confirm(cli, warning)? {
        return Err(Failure::invalid("network prune has been cancelled"));
    }
    let text = filters_json(matches).encode();
    let filters = Some(("filters", text)).filter(|(_, text)| !text.is_empty());
    let answer = cli.client()?.post(format!("/networks/prune{}", query(filters)))?;
    let deleted = answer.texts("NetworksDeleted");
    if !deleted.is_empty() {
        cli.say(&format!("Deleted Networks:\n{}\n", deleted.join("\n")))?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_contain_addresses() {
        let within = |subnet: &str, address: &str| contains(subnet, address.parse().unwrap());
        assert!(within("10.0.0.0/8", "10.255.0.1") && !within("10.0.0.0/8", "11.0.0.1"));
        assert!(within("fd00::/64", "fd00::1") && !within("fd00::/64", "fd00:0:0:1::1"));
        assert!(within("0.0.0.0/0", "1.2.3.4") && within("::/0", "::1"));
        assert!(!within("0.0.0.0/0", "::1"));
        assert_eq!(cidr("10.0.0.0/33").unwrap_err(), "invalid CIDR address: 10.0.0.0/33");
    }
}
