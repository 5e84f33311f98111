//! `ps`: the processes of a container, by their pids on the host.
//!
//! The table is that of the host's own `ps`, called with the options that follow the container's id, cut
//! to the container's processes.

use std::ffi::OsString;

use super::arguments::{Arg, Arguments, CONTAINER, UsageError, name, unexpected};
use super::help::{Help, Topic};
use super::{Command, Context, Failure, print};
use crate::error::Error;
use crate::external;

pub(super) const COMMAND: Command = Command { name: "ps", help: &HELP, failure: 1, run };

const HELP: Help = Help {
    usage: "[OPTIONS] CONTAINER [PS OPTIONS]",
    about: "Lists the processes of a container.",
    topics: &[Topic {
        title: "OPTIONS",
        entries: &[
            ("-f, --format table|json", "ps's table (with its options), or the pids as JSON"),
            ("PS OPTIONS", "for ps itself; -ef if absent"),
        ],
    }],
};

#[derive(Debug, PartialEq, Eq)]
struct Ps {
    id: String,
    json: bool,
    options: Vec<OsString>,
}

fn parse(mut arguments: Arguments) -> Result<Ps, UsageError> {
    let mut json = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Short('f') | Arg::Long("format") => {
                json = arguments.chosen("table or json", |word| match word {
                    "table" => Some(false),
                    "json" => Some(true),
                    _ => None,
                })?;
            }
            Arg::Value(value) => {
                let id = name(value, CONTAINER)?;
                return Ok(Ps { id, json, options: arguments.rest()? });
            }
            other => return Err(unexpected(other)),
        }
    }
    Err(UsageError::Missing { what: CONTAINER })
}

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let mut ps = parse(arguments)?;
    let pids = context.container(&ps.id)?.pids()?;
    let pids: Vec<i32> = pids.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    if ps.json {
        // Numbers always print.
        print(&(serde_json::to_string(&pids).unwrap_or_default() + "\n"))?;
        return Ok(0);
    }
    if ps.options.is_empty() {
        ps.options.push("-ef".into());
    }
    print(&rows_of(&external::list_processes(&ps.options)?, &pids)?)?;
    Ok(0)
}

/// The title and the rows of `pids` from ps's `table`.
fn rows_of(table: &str, pids: &[i32]) -> Result<String, Error> {
    let title = table.lines().next().unwrap_or_default();
    let Some(column) = title.split_whitespace().position(|word| word == "PID") else {
        let said = "its table has no column PID".to_owned();
        return Err(Error::Program { name: "ps", said });
    };
    let wanted = |row: &&str| {
        let word = row.split_whitespace().nth(column);
        word.and_then(|word| word.parse().ok()).is_some_and(|pid| pids.contains(&pid))
    };
    let rows = table.lines().skip(1).filter(wanted);
    Ok(std::iter::once(title).chain(rows).map(|row| format!("{row}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::super::arguments::words;
    use super::*;

    #[test]
    fn what_follows_the_container_is_for_ps() {
        for (line, json, options) in [
            ("c1", false, &[][..]),
            ("-f json c1", true, &[]),
            ("--format table c1", false, &[]),
            ("c1 -f", false, &["-f"]),
            ("--format=json c1 -e -o pid,comm --help", true, &["-e", "-o", "pid,comm", "--help"]),
        ] {
            let options = options.iter().map(OsString::from).collect();
            let expected = Ps { id: "c1".to_owned(), json, options };
            assert_eq!(parse(words(line)).unwrap(), expected, "{line}");
        }
        for line in ["", "-x c1", "-f xml c1"] {
            assert!(parse(words(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn rows_are_chosen_by_their_pid() {
        let table =
            "UID        PID  PPID CMD\nroot         1     0 init\nroot        12     1 sh 7\n";
        let rows = rows_of(table, &[12, 7]).unwrap();
        assert_eq!(rows, "UID        PID  PPID CMD\nroot        12     1 sh 7\n");
        let error = rows_of("COMMAND\nsh\n", &[1]).unwrap_err();
        assert_eq!(error.to_string(), "ps: its table has no column PID");
    }
}
