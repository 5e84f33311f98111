//! `delete`: removes a container and all that belongs to it.

use super::arguments::{Arg, Arguments, CONTAINER, UsageError, name, unexpected};
use super::help::{Help, Topic};
use super::{Command, Context, Failure};
use crate::container::{self, Container, ContainerId};
use crate::error::Error;

pub(super) const COMMAND: Command = Command { name: "delete", help: &HELP, failure: 1, run };

const HELP: Help = Help {
    usage: "[OPTIONS] CONTAINER",
    about: "Deletes a container that does not run.",
    topics: &[Topic {
        title: "OPTIONS",
        entries: &[("-f, --force", "kill it first; be content if it is not there, or damaged")],
    }],
};

#[derive(Debug, PartialEq, Eq)]
struct Delete {
    id: String,
    force: bool,
}

fn parse(mut arguments: Arguments) -> Result<Delete, UsageError> {
    let (mut id, mut force) = (None, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Short('f') | Arg::Long("force") => force = arguments.switch()?,
            Arg::Short('r') | Arg::Long("regex") => {
                return Err(UsageError::Refused {
                    option: "--regex",
                    reason: "name each container: a pattern that fits too much cannot be undone",
                });
            }
            Arg::Value(value) if id.is_none() => id = Some(name(value, CONTAINER)?),
            other => return Err(unexpected(other)),
        }
    }
    let id = id.ok_or(UsageError::Missing { what: CONTAINER })?;
    Ok(Delete { id, force })
}

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let Delete { id, force } = parse(arguments)?;
    let id = ContainerId::parse(&id)?;
    let root = context.state_root()?;
    match Container::load(&root, &id) {
        Ok(container) => container.delete(&root, force)?,
        Err(_) if force => match container::delete_damaged(&root, &id) {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        },
        Err(error) => return Err(error.into()),
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::super::arguments::words;
    use super::*;

    #[test]
    fn every_option_is_read_before_and_after_the_container() {
        for (line, force) in
            [("c1", false), ("-f c1", true), ("c1 --force", true), ("--force=false c1", false)]
        {
            let expected = Delete { id: "c1".to_owned(), force };
            assert_eq!(parse(words(line)).unwrap(), expected, "{line}");
        }
        for line in ["", "a b", "--all a", "-r a"] {
            assert!(parse(words(line)).is_err(), "{line}");
        }
    }
}
