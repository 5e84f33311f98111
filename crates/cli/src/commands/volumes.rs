//! `volume create`, `ls`, `rm` and `prune`.

use dhow_wire::CreateVolume;

use super::exec::document;
use super::{confirm, filters, filters_json};
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{escape, query};
use crate::create::{check_label, labels, pairs};
use crate::failure::Failure;
use crate::format::{Heads, Row, render};
use crate::tree::{Command, Words};
use crate::units::human_size;

/// Flags of cluster volumes, which belong to swarm.
pub(super) const CLUSTER: &[Flag] = &[
    Flag::text("availability", "").hidden(),
    Flag::text("group", "").hidden(),
    Flag::bytes("limit-bytes", "").hidden(),
    Flag::bytes("required-bytes", "").hidden(),
    Flag::text("scope", "").hidden(),
    Flag::map("secret", "").hidden(),
    Flag::text("sharing", "").hidden(),
    Flag::list("topology-preferred", "").hidden(),
    Flag::list("topology-required", "").hidden(),
    Flag::text("type", "").hidden(),
];

pub(super) const CREATE: Command = Command {
    names: &["volume create"],
    usage: "[OPTIONS] [VOLUME]",
    about: "Create a volume",
    flags: &[
        &[
            Flag::text("driver", "Driver of the volume").short('d').default("local"),
            Flag::list("label", "Label of the volume").checked(check_label),
            Flag::text("name", "").hidden(),
            Flag::map("opt", "Option of the driver").short('o'),
        ],
        CLUSTER,
    ],
    words: Words::AtMost(1),
    stops: false,
    run: create,
};

pub(super) const LIST: Command = Command {
    names: &["volume ls", "volume list"],
    usage: "[OPTIONS]",
    about: "List volumes",
    flags: &[&[
        Flag::switch("cluster", "").hidden(),
        Flag::filter("Show only volumes that match (e.g. dangling=true)").short('f'),
        Flag::text("format", super::FORMAT_HELP),
        Flag::switch("quiet", "Only show names").short('q'),
    ]],
    words: Words::None,
    stops: false,
    run: list,
};

pub(super) const REMOVE: Command = Command {
    names: &["volume rm", "volume remove"],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Remove one or more volumes that no container uses",
    flags: &[&[Flag::switch("force", "Remove it whatever its driver says").short('f')]],
    words: Words::AtLeast(1),
    stops: false,
    run: |cli, matches| {
        let force = Some(("force", "1".to_owned())).filter(|_| matches.on("force"));
        let query = query(force);
        cli.each(&matches.words, |name| {
            cli.client()?.delete(format!("/volumes/{}{query}", escape(name)))?;
            cli.say(name)
        })
    },
};

pub(super) const PRUNE: Command = Command {
    names: &["volume prune"],
    usage: "[OPTIONS]",
    about: "Remove unused local volumes",
    flags: &[&[
        Flag::switch("all", "Remove named ones as well").short('a'),
        Flag::filter("Which ones (e.g. label=<label>)"),
        Flag::switch("force", "Do not ask").short('f'),
    ]],
    words: Words::None,
    stops: false,
    run: prune,
};

const HEADS: Heads = &[
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Group", "GROUP"),
    ("Availability", "AVAILABILITY"),
    ("Status", "STATUS"),
];

fn create(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    if let Some(flag) = CLUSTER.iter().find(|flag| matches.changed(flag.long)) {
        return Err(Failure::NotBuilt { what: format!("--{} (cluster volumes)", flag.long) });
    }
    let name = match (matches.some("name"), matches.words.first()) {
        (Some(_), Some(_)) => {
            return Err(Failure::invalid(
                "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
            ));
        }
        (Some(name), None) => name.to_owned(),
        (None, name) => name.cloned().unwrap_or_default(),
    };
    let request = CreateVolume {
        name,
        driver: matches.text("driver").to_owned(),
        driver_opts: pairs(matches.list("opt").into_iter()),
        labels: labels(&[], &matches.list("label"))?,
        ..CreateVolume::default()
    };
    let volume = cli.client()?.post_json("/volumes/create", &document(&request)?)?;
    cli.say(volume.text("Name"))?;
    Ok(0)
}

fn list(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    if matches.on("cluster") {
        return Err(Failure::NotBuilt { what: "--cluster".to_owned() });
    }
    let quiet = matches.on("quiet");
    let format = match matches.text("format") {
        "" if !quiet => cli.config()?.text("volumesFormat").to_owned(),
        format => format.to_owned(),
    };
    let format = match format.as_str() {
        "" | "table" if quiet => "{{.Name}}",
        "" | "table" => "table {{.Driver}}\t{{.Name}}",
        format => format,
    };
    let answer = cli.client()?.get(format!("/volumes{}", query(filters(matches))))?;
    let mut volumes: Vec<_> = answer.get("Volumes").items().iter().collect();
    volumes.sort_by_key(|volume| volume.text("Name"));
    let rows = volumes.into_iter().map(|volume| {
        let usage = volume.get("UsageData");
        let (links, size) = match usage.is_null() {
            true => ("N/A".to_owned(), "N/A".to_owned()),
            false => (usage.int("RefCount").to_string(), human_size(usage.number("Size"), 4)),
        };
        Row::default()
            .with("Name", volume.text("Name"))
            .with("Driver", volume.text("Driver"))
            .with("Scope", volume.text("Scope"))
            .with("Mountpoint", volume.text("Mountpoint"))
            .with("Links", links)
            .with("Size", size)
            .with("Group", "N/A")
            .with("Availability", "N/A")
            .with("Status", "N/A")
            .labels(volume.get("Labels"))
    });
    cli.print(&render(format, HEADS, rows.collect())?)?;
    Ok(0)
}

fn prune(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let all = matches.on("all");
    let warning = if all {
        "WARNING! This will remove all local volumes not used by at least one container."
    } else {
        "WARNING! This will remove anonymous local volumes not used by at least one container."
    };
    if !matches.on("force") && !confirm(cli, warning)? {
        return Err(Failure::invalid("volume prune has been cancelled"));
    }
    let mut filters = filters_json(matches);
    if all {
        filters.add("all", "true");
    }
    let text = filters.encode();
    let filters = Some(("filters", text)).filter(|(_, text)| !text.is_empty());
    let answer = cli.client()?.post(format!("/volumes/prune{}", query(filters)))?;
    let deleted = answer.texts("VolumesDeleted");
    let mut space = 0.0;
    if !deleted.is_empty() {
        cli.say(&format!("Deleted Volumes:\n{}\n", deleted.join("\n")))?;
        space = answer.number("SpaceReclaimed");
    }
    cli.say(&format!("Total reclaimed space: {}", human_size(space, 4)))?;
    Ok(0)
}
