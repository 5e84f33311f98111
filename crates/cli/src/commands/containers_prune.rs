//! `container prune`.

use super::{confirm, filters};
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::query;
use crate::failure::Failure;
use crate::tree::{Command, Words};
use crate::units::human_size;

pub(super) const PRUNE: Command = Command {
    names: &["container prune"],
    usage: "[OPTIONS]",
    about: "Remove all stopped containers",
    flags: &[&[
        Flag::filter("Which ones (until=<timestamp>, label=<key>)"),
        Flag::switch("force", "Do not ask").short('f'),
    ]],
    words: Words::None,
    stops: false,
    run: prune,
};

fn prune(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let warning = "WARNING! This will remove all stopped containers.";
    if !matches.on("force") && !confirm(cli, warning)? {
        return Err(Failure::invalid("container prune has been cancelled"));
    }
    let answer = cli.client()?.post(format!("/containers/prune{}", query(filters(matches))))?;
    let deleted = answer.texts("ContainersDeleted");
    let mut space = 0.0;
    if !deleted.is_empty() {
        cli.say(&format!("Deleted Containers:\n{}\n", deleted.join("\n")))?;
        space = answer.number("SpaceReclaimed");
    }
    cli.say(&format!("Total reclaimed space: {}", human_size(space, 4)))?;
    Ok(0)
}
