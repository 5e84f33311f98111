//! `system prune` and `system dial-stdio`.

use std::io::{self, Read, Write};

use super::{confirm, filters_json};
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::query;
use crate::failure::Failure;
use crate::json::Json;
use crate::tree::{Command, Words};
use crate::units::human_size;

pub(super) const PRUNE: Command = Command {
    names: &["system prune"],
    usage: "[OPTIONS]",
    about: "Remove unused data",
    flags: &[&[
        Flag::switch("all", "Remove all unused images, not only untagged ones").short('a'),
        Flag::filter("Which ones (e.g. label=<key>=<value>)"),
        Flag::switch("force", "Do not ask").short('f'),
        Flag::switch("volumes", "Remove anonymous volumes as well"),
    ]],
    words: Words::None,
    stops: false,
    run: prune,
};

pub(super) const DIAL: Command = Command {
    names: &["system dial-stdio"],
    usage: "",
    about: "Connect standard input and output to the engine",
    flags: &[],
    words: Words::None,
    stops: false,
    run: dial,
};

/// What is pruned: the path, the answer's key, and its heading.
type Kind = (&'static str, &'static str, &'static str);

const CONTAINERS: Kind = ("containers", "ContainersDeleted", "Deleted Containers:");
const NETWORKS: Kind = ("networks", "NetworksDeleted", "Deleted Networks:");
const VOLUMES: Kind = ("volumes", "VolumesDeleted", "Deleted Volumes:");
const IMAGES: Kind = ("images", "ImagesDeleted", "Deleted Images:");
const CACHE: Kind = ("build", "CachesDeleted", "Deleted build cache objects:");

fn prune(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let (all, volumes) = (matches.on("all"), matches.on("volumes"));
    let filters = filters_json(matches);
    if volumes && filters.contains("until") {
        return Err(Failure::invalid(
            "ERROR: The \"until\" filter is not supported with \"--volumes\"",
        ));
    }
    if !matches.on("force") && !confirm(cli, &warning(all, volumes, matches))? {
        return Err(Failure::invalid("system prune has been cancelled"));
    }
    let mut kinds = vec![CONTAINERS, NETWORKS];
    if volumes {
        kinds.push(VOLUMES);
    }
    kinds.extend([IMAGES, CACHE]);
    let mut space = 0.0;
    for kind in kinds {
        let mut filters = filters.clone();
        let mut pairs = Vec::new();
        match kind.0 {
            "images" => filters.add("dangling", if all { "false" } else { "true" }),
            "build" if all => pairs.push(("all", "1".to_owned())),
            _ => {}
        }
        let text = filters.encode();
        if !text.is_empty() {
            pairs.push(("filters", text));
        }
        let answer = match cli.client()?.post(format!("/{}/prune{}", kind.0, query(pairs))) {
            // An engine that cannot have any of these has none to remove.
            Err(Failure::Refused { status: 501, .. }) => continue,
            answer => answer?,
        };
        space += answer.number("SpaceReclaimed");
        tell(cli, kind, &answer)?;
    }
    cli.say(&format!("Total reclaimed space: {}", human_size(space, 4)))?;
    Ok(0)
}

fn tell(cli: &Cli, (kind, key, title): Kind, answer: &Json) -> Result<(), Failure> {
    let deleted = answer.get(key).items();
    if deleted.is_empty() {
        return Ok(());
    }
    cli.say(title)?;
    for item in deleted {
        match (kind, item.text("Untagged")) {
            ("images", "") => cli.say(&format!("deleted: {}", item.text("Deleted")))?,
            ("images", name) => cli.say(&format!("untagged: {name}"))?,
            _ => cli.say(item.as_str())?,
        }
    }
    cli.say("")
}

fn warning(all: bool, volumes: bool, matches: &Matches) -> String {
    let mut lines =
        vec!["all stopped containers", "all networks not used by at least one container"];
    if volumes {
        lines.push("all anonymous volumes not used by at least one container");
    }
    if all {
        lines.extend([
            "all images without at least one container associated to them",
            "all build cache",
        ]);
    } else {
        lines.extend(["all dangling images", "unused build cache"]);
    }
    let mut text = "WARNING! This will remove:\n".to_owned();
    for line in lines {
        text.push_str(&format!("  - {line}\n"));
    }
    let filters = matches.list("filter");
    if !filters.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        for filter in filters {
            text.push_str(&format!("  - {filter}\n"));
        }
    }
    text
}

/// What `ssh://` hosts run at their other end.
fn dial(cli: &Cli, _: &Matches) -> Result<u8, Failure> {
    let stream = cli.client()?.dial()?;
    let mut sender = stream.try_clone().map_err(Failure::io("share", "the connection"))?;
    let mut receiver = stream;
    // Ends with the program, however long standard input stays open.
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        let mut input = io::stdin();
        while let Ok(count @ 1..) = input.read(&mut buffer) {
            if sender.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
        // Nothing is to come; the engine may still have something to say.
        let _ = sender.close_write();
    });
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = receiver.read(&mut buffer).map_err(Failure::io("read", "the connection"))?;
        if count == 0 {
            return Ok(0);
        }
        let mut out = io::stdout().lock();
        let written = out.write_all(&buffer[..count]).and_then(|()| out.flush());
        written.map_err(Failure::io("write", "output"))?;
    }
}
