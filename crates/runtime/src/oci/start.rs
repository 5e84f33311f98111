//! `start`: lets the program of a created container go.

use dhow_spec::runtime::HookKind;

use super::arguments::{Arguments, one_container};
use super::help::Help;
use super::{Command, Context, Failure};
use crate::selfexe;

pub(super) const COMMAND: Command = Command { name: "start", help: &HELP, failure: 1, run };

const HELP: Help =
    Help { usage: "CONTAINER", about: "Starts the program of a created container.", topics: &[] };

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let mut container = context.container(&one_container(arguments)?)?;
    let hooks = container.spec().hooks.as_ref();
    if hooks.is_some_and(|hooks| !hooks.of(HookKind::StartContainer).is_empty()) {
        // They are executed in the container, and are what its root file system says they are.
        selfexe::protect()?;
    }
    container.start()?;
    Ok(0)
}
