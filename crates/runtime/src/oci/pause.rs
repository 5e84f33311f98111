//! `pause`: stops every process of a container where it is.

use super::arguments::{Arguments, one_container};
use super::help::Help;
use super::{Command, Context, Failure};

pub(super) const COMMAND: Command = Command { name: "pause", help: &HELP, failure: 1, run };

const HELP: Help = Help {
    usage: "CONTAINER",
    about: "Stops every process of a container where it is.",
    topics: &[],
};

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    context.container(&one_container(arguments)?)?.pause()?;
    Ok(0)
}
