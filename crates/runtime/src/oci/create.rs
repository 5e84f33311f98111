//! `create`: a container that waits for `start`.

use super::arguments::Arguments;
use super::help::Help;
use super::launch::{self, Kind};
use super::{Command, Context, Failure};
use crate::container::{self, ContainerId};
use crate::selfexe;

pub(super) const COMMAND: Command = Command { name: "create", help: &HELP, failure: 1, run };

const HELP: Help = Help {
    usage: "[OPTIONS] CONTAINER",
    about: "Makes a container from a bundle. Its program waits for the start command.",
    topics: &[launch::OPTIONS],
};

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let launch = launch::parse(context, Kind::Create, arguments)?;
    selfexe::protect()?;
    let id = ContainerId::parse(&launch.id)?;
    container::create(&context.state_root()?, &id, &launch.options)?;
    Ok(0)
}
