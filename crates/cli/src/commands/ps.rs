//! `ps`: the list of containers.

use super::filters;
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::query;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::format::{Format, FormatError, Heads, Row, ellipsis, quoted, render, short_id};
use crate::json::{Json, object};
use crate::tree::{Command, Words};
use crate::units::{human_duration, human_size};

pub(super) const PS: Command = Command {
    names: &["container ls", "container list", "container ps", "ps"],
    usage: "[OPTIONS]",
    about: "List containers",
    flags: &[&[
        Flag::switch("all", "Show all containers, not only those that run").short('a'),
        Flag::filter("Show only containers that match").short('f'),
        Flag::text("format", super::FORMAT_HELP),
        Flag::int("last", "Show the last n containers that were created").short('n').default("-1"),
        Flag::switch("latest", "Show the container that was created last").short('l'),
        Flag::switch("no-trunc", "Do not shorten anything"),
        Flag::switch("quiet", "Only show IDs").short('q'),
        Flag::switch("size", "Show sizes of files").short('s'),
    ]],
    words: Words::None,
    stops: false,
    run: ps,
};

const TABLE: &str =
    "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

const HEADS: Heads = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

fn ps(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let quiet = matches.on("quiet");
    let given = match matches.text("format") {
        "" => cli.config()?.text("psFormat").to_owned(),
        format => {
            if quiet {
                cli.warn(
                    "WARNING: Ignoring custom format, because both --format and --quiet are set.",
                );
            }
            // A template that cannot be read needs no engine to say so.
            if format != "json" {
                check(format.strip_prefix("table").unwrap_or(format))?;
            }
            format.to_owned()
        }
    };
    let wants_size = given.contains(".Size") && !quiet && !matches.changed("size");
    let size = matches.on("size") || wants_size;
    let format = match given.as_str() {
        _ if quiet => "{{.ID}}".to_owned(),
        "" | "table" if size => format!("{TABLE}\t{{{{.Size}}}}"),
        "" | "table" => TABLE.to_owned(),
        format => format.to_owned(),
    };
    let limit = match matches.int("last") {
        -1 if matches.on("latest") => 1,
        last => last,
    };
    let mut pairs = Vec::new();
    if matches.on("all") {
        pairs.push(("all", "1".to_owned()));
    }
    if limit > 0 {
        pairs.push(("limit", limit.to_string()));
    }
    if size {
        pairs.push(("size", "1".to_owned()));
    }
    pairs.extend(filters(matches));
    let containers = cli.client()?.get(format!("/containers/json{}", query(pairs)))?;
    let trunc = !matches.on("no-trunc");
    let zone = cli.zone();
    let rows = containers.items().iter().map(|container| {
        let created = Moment { seconds: container.int("Created"), nanoseconds: 0 };
        row(container, trunc, &created.go(&zone), &age(created))
    });
    cli.print(&render(&format, HEADS, rows.collect())?)?;
    Ok(0)
}

/// Finds mistakes in a template without asking the engine.
fn check(source: &str) -> Result<(), Failure> {
    let wrong = |what: &str, error: FormatError| {
        Failure::Invalid(format!("failed to {what} template: {}", error.reason()))
    };
    let template = Format::header(source).map_err(|error| wrong("parse", error))?;
    let names = HEADS.iter().map(|(name, head)| (*name, *head));
    template.fill(&object(names)).map(drop).map_err(|error| wrong("execute", error))
}

/// `5 minutes ago`, by our clock.
pub(super) fn age(then: Moment) -> String {
    let seconds = u64::try_from(Moment::now().seconds - then.seconds).unwrap_or(0);
    format!("{} ago", human_duration(std::time::Duration::from_secs(seconds)))
}

fn row(container: &Json, trunc: bool, created: &str, age: &str) -> Row {
    let id = container.text("Id");
    let command = container.text("Command");
    let command = if trunc { ellipsis(command, 20) } else { command.to_owned() };
    let mounts = container.get("Mounts").items();
    let local = mounts.iter().filter(|mount| mount.text("Driver") == "local").count();
    let networks = container.get("NetworkSettings").get("Networks").fields();
    let networks: Vec<_> = networks.iter().map(|(name, _)| name.as_str()).collect();
    Row::default()
        .with("ID", if trunc { short_id(id) } else { id })
        .with("Names", names(&container.texts("Names"), trunc))
        .with("Image", image(container, trunc))
        .with("Command", quoted(&command))
        .with("CreatedAt", created)
        .with("RunningFor", age)
        .with("Ports", ports(container.get("Ports").items()))
        .with("State", container.text("State"))
        .with("Status", container.text("Status"))
        .with("Size", size(container))
        .with("Mounts", mount_names(mounts, trunc))
        .with("LocalVolumes", local.to_string())
        .with("Networks", networks.join(","))
        .with("Platform", platform(container))
        .labels(container.get("Labels"))
}

fn platform(container: &Json) -> Json {
    let platform = container.get("ImageManifestDescriptor").get("platform");
    if platform.is_null() {
        return Json::Null;
    }
    let parts = ["os", "architecture", "variant"].map(|key| platform.text(key));
    Json::from(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"))
}

/// Names lose their slash; the short form is the one that is no name of a link.
fn names(names: &[&str], trunc: bool) -> String {
    let bare: Vec<&str> = names.iter().map(|name| name.get(1..).unwrap_or_default()).collect();
    let own = bare.iter().find(|name| !name.contains('/')).filter(|_| trunc);
    match own {
        Some(own) => (*own).to_owned(),
        None => bare.join(","),
    }
}

fn image(container: &Json, trunc: bool) -> String {
    let image = container.text("Image");
    if image.is_empty() {
        return "<no image>".to_owned();
    }
    if !trunc {
        return image.to_owned();
    }
    if short_id(container.text("ImageID")) == short_id(image) {
        return short_id(image).to_owned();
    }
    // The digest behind a name is left out.
    match image.split_once('@') {
        Some((name, _)) if dhow_spec::Reference::parse(image).is_ok() => name.to_owned(),
        _ => image.to_owned(),
    }
}

fn size(container: &Json) -> String {
    let written = human_size(container.number("SizeRw"), 3);
    match container.number("SizeRootFs") {
        all if all > 0.0 => format!("{written} (virtual {})", human_size(all, 3)),
        _ => written,
    }
}

fn mount_names(mounts: &[Json], trunc: bool) -> String {
    let name = |mount: &Json| {
        let name = match mount.text("Name") {
            "" => mount.text("Source"),
            name => name,
        };
        if trunc { ellipsis(name, 15) } else { name.to_owned() }
    };
    mounts.iter().map(name).collect::<Vec<_>>().join(",")
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`; ports in a row on their own number are one range.
fn ports(ports: &[Json]) -> String {
    let mut sorted: Vec<&Json> = ports.iter().collect();
    sorted.sort_by_key(|port| {
        (port.int("PrivatePort"), port.text("IP"), port.int("PublicPort"), port.text("Type"))
    });
    let mut groups: Vec<(String, i64, i64)> = Vec::new();
    let (mut done, mut mapped) = (Vec::new(), Vec::new());
    for port in sorted {
        let (private, public) = (port.int("PrivatePort"), port.int("PublicPort"));
        let (ip, kind) = (port.text("IP"), port.text("Type"));
        if !ip.is_empty() && public != private {
            mapped.push(format!("{}->{private}/{kind}", join_port(ip, &public.to_string())));
            continue;
        }
        let key = format!("{ip}/{kind}");
        match groups.iter_mut().find(|(known, ..)| *known == key) {
            None => groups.push((key, private, private)),
            Some((_, _, last)) if private == *last + 1 => *last = private,
            Some((_, first, last)) => {
                done.push(group(&key, *first, *last));
                (*first, *last) = (private, private);
            }
        }
    }
    done.extend(groups.iter().map(|(key, first, last)| group(key, *first, *last)));
    done.extend(mapped);
    done.join(", ")
}

fn group(key: &str, first: i64, last: i64) -> String {
    let (ip, kind) = key.split_once('/').unwrap_or(("", key));
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    match ip {
        "" => format!("{range}/{kind}"),
        ip => format!("{}->{range}/{kind}", join_port(ip, &range)),
    }
}

fn join_port(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_as_docker_groups_them() {
        let list = Json::parse(
            br#"[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
                 {"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
                 {"PrivatePort":443,"Type":"tcp"},{"PrivatePort":444,"Type":"tcp"},
                 {"IP":"0.0.0.0","PrivatePort":90,"PublicPort":90,"Type":"udp"}]"#,
        )
        .unwrap();
        assert_eq!(
            ports(list.items()),
            "0.0.0.0:90->90/udp, 443-444/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
        );
    }

    #[test]
    fn names_and_images_short_and_whole() {
        assert_eq!(names(&["/other/alias", "/web"], true), "web");
        assert_eq!(names(&["/other/alias", "/web"], false), "other/alias,web");
        let of = |image: &str| {
            let json =
                crate::json::object([("Image", image), ("ImageID", "sha256:0123456789abcdef")]);
            super::image(&json, true)
        };
        assert_eq!(of("debian:bookworm"), "debian:bookworm");
        assert_eq!(of("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(of(""), "<no image>");
    }
}
