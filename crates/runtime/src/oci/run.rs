//! `run`: `create`, `start`, and in the foreground `delete`, in one.

use super::arguments::Arguments;
use super::help::{Help, Topic};
use super::launch::{self, Kind};
use super::{Command, Context, Failure};
use crate::container::{self, ContainerId};
use crate::selfexe;

pub(super) const COMMAND: Command = Command { name: "run", help: &HELP, failure: 1, run };

const HELP: Help = Help {
    usage: "[OPTIONS] CONTAINER",
    about: "Makes a container from a bundle and runs it. Exits as its program does.",
    topics: &[
        Topic {
            title: "OPTIONS",
            entries: &[
                ("-d, --detach", "return as soon as the program runs"),
                ("--keep", "do not delete the container when its program has ended"),
            ],
        },
        launch::OPTIONS,
    ],
};

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let launch = launch::parse(context, Kind::Run, arguments)?;
    selfexe::protect()?;
    let id = ContainerId::parse(&launch.id)?;
    let root = context.state_root()?;
    let exit = container::run(&root, &id, &launch.options, launch.detach, launch.keep)?;
    Ok(exit.status())
}
