//! `resume`: lets the processes of a paused container go on.

use super::arguments::{Arguments, one_container};
use super::help::Help;
use super::{Command, Context, Failure};

pub(super) const COMMAND: Command = Command { name: "resume", help: &HELP, failure: 1, run };

const HELP: Help = Help {
    usage: "CONTAINER",
    about: "Lets the processes of a paused container go on.",
    topics: &[],
};

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    context.container(&one_container(arguments)?)?.resume()?;
    Ok(0)
}
