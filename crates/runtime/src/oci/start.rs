//! `start`: lets the program of a created container go.

use super::arguments::{Arguments, one_container};
use super::help::Help;
use super::{Command, Context, Failure};

pub(super) const COMMAND: Command = Command { name: "start", help: &HELP, failure: 1, run };

const HELP: Help =
    Help { usage: "CONTAINER", about: "Starts the program of a created container.", topics: &[] };

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let mut container = context.container(&one_container(arguments)?)?;
    container.start()?;
    Ok(0)
}
