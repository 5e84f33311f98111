//! `kill`: a signal for a container.

use super::arguments::{Arg, Arguments, CONTAINER, UsageError, name, unexpected};
use super::help::{Help, Topic};
use super::{Command, Context, Failure};
use crate::words::Signal;

pub(super) const COMMAND: Command = Command { name: "kill", help: &HELP, failure: 1, run };

const HELP: Help = Help {
    usage: "[OPTIONS] CONTAINER [SIGNAL]",
    about: "Sends a signal to a container's first process: TERM, or the one named or numbered.",
    topics: &[Topic {
        title: "OPTIONS",
        entries: &[("-a, --all", "send it to every process of the container")],
    }],
};

#[derive(Debug, PartialEq, Eq)]
struct Kill {
    id: String,
    signal: i32,
    all: bool,
}

fn parse(mut arguments: Arguments) -> Result<Kill, UsageError> {
    let (mut id, mut signal, mut all) = (None, None, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Short('a') | Arg::Long("all") => all = arguments.switch()?,
            Arg::Short('r') | Arg::Long("regex") => {
                return Err(UsageError::Refused {
                    option: "--regex",
                    reason: "name each container: a pattern that fits too much cannot be undone",
                });
            }
            Arg::Value(value) if id.is_none() => id = Some(name(value, CONTAINER)?),
            Arg::Value(value) if signal.is_none() => {
                signal = Some(number(&name(value, "the signal")?)?)
            }
            other => return Err(unexpected(other)),
        }
    }
    let id = id.ok_or(UsageError::Missing { what: CONTAINER })?;
    Ok(Kill { id, signal: signal.unwrap_or(Signal::TERM.number()), all })
}

/// A signal's number; 0 asks only whether there is somebody to signal.
fn number(word: &str) -> Result<i32, UsageError> {
    match Signal::parse(word) {
        Ok(signal) => Ok(signal.number()),
        Err(_) if word == "0" => Ok(0),
        Err(_) => Err(UsageError::Value {
            option: "signal".to_owned(),
            value: word.to_owned(),
            expected: "a signal's name or number",
        }),
    }
}

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let Kill { id, signal, all } = parse(arguments)?;
    context.container(&id)?.kill(signal, all)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::super::arguments::words;
    use super::*;

    #[test]
    fn signals_are_names_or_numbers_in_any_place() {
        for (line, signal, all) in [
            ("c1", 15, false),
            ("c1 KILL", 9, false),
            ("c1 SIGUSR1", 10, false),
            ("c1 9", 9, false),
            ("c1 0", 0, false),
            ("c1 sigrtmin+1", 35, false),
            ("-a c1 9", 9, true),
            ("c1 9 --all", 9, true),
            ("c1 --all=false 9", 9, false),
        ] {
            let expected = Kill { id: "c1".to_owned(), signal, all };
            assert_eq!(parse(words(line)).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (line, message) in [
            ("", "the container's id is missing"),
            ("c1 FOO", "signal: \"FOO\" is not a signal's name or number"),
            ("c1 99", "signal: \"99\" is not a signal's name or number"),
            ("c1 9 x", "unexpected argument \"x\""),
            ("--force c1", "unknown option --force"),
        ] {
            assert_eq!(parse(words(line)).unwrap_err().to_string(), message);
        }
        assert!(parse(words("--regex c.* 9")).unwrap_err().to_string().starts_with("--regex: "));
    }
}
