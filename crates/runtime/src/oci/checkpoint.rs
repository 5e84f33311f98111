//! `checkpoint`: saves a container's processes as files.

use super::arguments::{Arg, Arguments, CONTAINER, UsageError, name, unexpected};
use super::criu;
use super::help::{Help, Topic};
use super::{Command, Context, Failure};
use crate::container::CheckpointOptions;
use crate::error::Error;

pub(super) const COMMAND: Command = Command { name: "checkpoint", help: &HELP, failure: 1, run };

const HELP: Help = Help {
    usage: "[OPTIONS] CONTAINER",
    about: "Saves the processes of a container as files, by CRIU, and deletes the container.",
    topics: &[
        Topic {
            title: "OPTIONS",
            entries: &[
                ("--leave-running", "let the container go on instead"),
                ("--pre-dump", "save memory only, and let the container go on"),
                ("--parent-path DIR", "build on such a saving; DIR is relative to the images"),
                ("--page-server ADDRESS:PORT", "send the memory to a page server"),
                ("--status-fd N", "descriptor to tell when pages can be fetched"),
            ],
        },
        criu::OPTIONS,
    ],
};

#[derive(Debug)]
struct Checkpoint {
    id: String,
    options: CheckpointOptions,
}

fn parse(context: &Context<'_>, mut arguments: Arguments) -> Result<Checkpoint, UsageError> {
    let mut id = None;
    let mut options = CheckpointOptions {
        criu: criu::defaults(context),
        parent: None,
        leave_running: false,
        pre_dump: false,
        status_fd: None,
        page_server: None,
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("leave-running") => options.leave_running = arguments.switch()?,
            Arg::Long("pre-dump") => options.pre_dump = arguments.switch()?,
            Arg::Long("parent-path") => options.parent = Some(arguments.path()?),
            Arg::Long("page-server") => {
                options.page_server = Some(arguments.chosen("ADDRESS:PORT", server)?);
            }
            Arg::Long("status-fd") => {
                let number: i32 = arguments.parsed("a descriptor's number")?;
                // runc's way to say that there is none.
                options.status_fd = (number >= 0).then_some(number);
            }
            Arg::Value(value) if id.is_none() => id = Some(name(value, CONTAINER)?),
            other => {
                let option = criu::long(&other).ok_or_else(|| unexpected(other))?;
                if !criu::read(&option, &mut options.criu, &mut arguments)? {
                    return Err(unexpected(Arg::Long(&option)));
                }
            }
        }
    }
    let id = id.ok_or(UsageError::Missing { what: CONTAINER })?;
    match &options.parent {
        Some(parent) if parent.is_absolute() => Err(UsageError::Refused {
            option: "--parent-path",
            reason: "has to be relative to --image-path",
        }),
        _ => Ok(Checkpoint { id, options }),
    }
}

fn server(word: &str) -> Option<(String, u16)> {
    let (address, port) = word.rsplit_once(':')?;
    Some((address.to_owned(), port.parse().ok()?)).filter(|_| !address.is_empty())
}

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let Checkpoint { id, options } = parse(context, arguments)?;
    if let Some(parent) = options.parent.as_ref().map(|dir| options.criu.images.join(dir))
        && !parent.is_dir()
    {
        let (value, reason) = (parent.display().to_string(), "there is no such directory");
        return Err(Error::Refused { field: "--parent-path", value, reason }.into());
    }
    context.container(&id)?.checkpoint(&context.state_root()?, &options)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::super::arguments::words;
    use super::super::{Environment, global};
    use super::*;

    fn parsed(line: &str) -> Result<Checkpoint, String> {
        let (global, _) = global::parse(&mut words("--criu /criu checkpoint")).unwrap();
        let context = Context { global: &global, environment: &Environment::default() };
        parse(&context, words(line)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_option_is_read_before_and_after_the_container() {
        let own =
            "--leave-running --pre-dump --parent-path ../p --page-server ::1:27 --status-fd 4";
        for line in [format!("{own} {} c1", criu::EVERY), format!("{} c1 {own}", criu::EVERY)] {
            let Checkpoint { id, options } = parsed(&line).unwrap();
            assert_eq!(id, "c1");
            criu::assert_every(&options.criu);
            assert!(options.leave_running && options.pre_dump);
            assert_eq!(options.parent, Some("../p".into()));
            assert_eq!(options.page_server, Some(("::1".to_owned(), 27)));
            assert_eq!(options.status_fd, Some(4));
        }
        let options = parsed("c1 --status-fd -1").unwrap().options;
        assert_eq!(options.status_fd, None);
        assert_eq!(options.criu.images, std::path::PathBuf::from("checkpoint"));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, message) in [
            ("", "the container's id is missing"),
            ("--bogus c1", "unknown option --bogus"),
            ("-x c1", "unknown option -x"),
            ("a b", "unexpected argument \"b\""),
            ("--parent-path /p c1", "--parent-path: has to be relative to --image-path"),
            ("--empty-ns pid c1", "--empty-ns: \"pid\" is not network"),
            ("--page-server x c1", "--page-server: \"x\" is not ADDRESS:PORT"),
            (
                "--manage-cgroups-mode x c1",
                "--manage-cgroups-mode: \"x\" is not soft, full, strict or ignore",
            ),
        ] {
            assert_eq!(parsed(line).unwrap_err(), message);
        }
    }
}
