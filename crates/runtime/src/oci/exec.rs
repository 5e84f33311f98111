//! `exec`: one more process in a container.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use dhow_spec::runtime::Process;
use dhow_sys::Errno;

use super::arguments::{Arg, Arguments, CONTAINER, UsageError, name, unexpected};
use super::help::{Help, Topic};
use super::{Command, Context, Failure};
use crate::container::{ExecFlags, ExecOptions, ExecProcess};
use crate::error::Error;
use crate::selfexe;

/// 255 keeps our own failures apart from the program's.
pub(super) const COMMAND: Command = Command { name: "exec", help: &HELP, failure: 255, run };

const HELP: Help = Help {
    usage: "[OPTIONS] CONTAINER [--] PROGRAM [ARGUMENTS]\n   or: exec [OPTIONS] --process FILE CONTAINER",
    about: "Runs one more process in a container. Exits as the process does, or with 255.",
    topics: &[
        Topic {
            title: "THE PROCESS",
            entries: &[
                ("-p, --process FILE", "a process document, instead of the options below"),
                ("-t, --tty", "give it a terminal"),
                ("-u, --user UID[:GID]", "run it as this user and group"),
                ("-g, --additional-gids GID", "add a group; may be repeated"),
                ("--cwd DIR", "working directory"),
                ("-e, --env NAME=VALUE", "add to the environment; may be repeated"),
                ("-c, --cap NAME", "add a capability; may be repeated"),
                ("--no-new-privs", "let it gain nothing from set-uid programs"),
                ("--apparmor PROFILE", "AppArmor profile"),
                ("--process-label LABEL", "SELinux label"),
            ],
        },
        Topic {
            title: "HOW IT IS RUN",
            entries: &[
                ("-d, --detach", "return as soon as the program runs"),
                ("--console-socket FILE", "unix socket that takes the terminal's master"),
                ("--pid-file FILE", "write the process's pid to FILE"),
                ("--pidfd-socket FILE", "unix socket that takes the process's pidfd"),
                ("--preserve-fds N", "let the program have N descriptors from 3 on"),
                (
                    "--cgroup [CONTROLLER[,...]:]PATH",
                    "join a cgroup below the container's; may be repeated",
                ),
                ("--ignore-paused", "do so in a paused container: it starts when that is resumed"),
                ("--no-subreaper", "do not adopt the process's orphans"),
            ],
        },
    ],
};

#[derive(Debug)]
struct Exec {
    id: String,
    /// Whose process document stands in place of the flags.
    document: Option<PathBuf>,
    flags: ExecFlags,
    options: ExecOptions,
}

fn parse(mut arguments: Arguments) -> Result<Exec, UsageError> {
    let (mut id, mut document) = (None, None);
    let mut flags = ExecFlags::default();
    let mut options = ExecOptions {
        process: ExecProcess::Flags(Box::default()),
        console_socket: None,
        pid_file: None,
        pidfd_socket: None,
        detach: false,
        preserve_fds: 0,
        ignore_paused: false,
        cgroup: Vec::new(),
        no_subreaper: false,
    };
    // The last option that a process document rules out.
    let mut spoken_for = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Short('p') | Arg::Long("process") => document = Some(arguments.path()?),
            Arg::Short('t') | Arg::Long("tty") => flags.tty = arguments.switch()?,
            Arg::Short('u') | Arg::Long("user") => {
                flags.user = Some(arguments.chosen("UID or UID:GID", user)?);
                spoken_for = Some("--user");
            }
            Arg::Short('g') | Arg::Long("additional-gids") => {
                flags.additional_gids.push(arguments.parsed("a group's number")?);
                spoken_for = Some("--additional-gids");
            }
            Arg::Long("cwd") => {
                flags.cwd = Some(arguments.text()?);
                spoken_for = Some("--cwd");
            }
            Arg::Short('e') | Arg::Long("env") => {
                flags.env.push(arguments.text()?);
                spoken_for = Some("--env");
            }
            Arg::Short('c') | Arg::Long("cap") => {
                flags.capabilities.push(arguments.text()?);
                spoken_for = Some("--cap");
            }
            Arg::Long("no-new-privs") => {
                flags.no_new_privileges = arguments.switch()?;
                spoken_for = Some("--no-new-privs");
            }
            Arg::Long("apparmor") => {
                flags.apparmor = Some(arguments.text()?);
                spoken_for = Some("--apparmor");
            }
            Arg::Long("process-label") => {
                flags.process_label = Some(arguments.text()?);
                spoken_for = Some("--process-label");
            }
            Arg::Short('d') | Arg::Long("detach") => options.detach = arguments.switch()?,
            Arg::Long("console-socket") => options.console_socket = Some(arguments.path()?),
            Arg::Long("pid-file") => options.pid_file = Some(arguments.path()?),
            Arg::Long("pidfd-socket") => options.pidfd_socket = Some(arguments.path()?),
            Arg::Long("preserve-fds") => options.preserve_fds = arguments.parsed("a number")?,
            Arg::Long("cgroup") => options.cgroup.push(arguments.text()?),
            Arg::Long("ignore-paused") => options.ignore_paused = arguments.switch()?,
            Arg::Long("no-subreaper") => options.no_subreaper = arguments.switch()?,
            Arg::Value(value) if id.is_none() => id = Some(name(value, CONTAINER)?),
            Arg::Value(value) if document.is_none() => {
                flags.args = program(value, arguments.rest()?)?;
                break;
            }
            other => return Err(unexpected(other)),
        }
    }
    let id = id.ok_or(UsageError::Missing { what: CONTAINER })?;
    match (&document, spoken_for) {
        (Some(_), Some(option)) => {
            let reason = "the file of --process has the last word on that";
            return Err(UsageError::Refused { option, reason });
        }
        (None, _) if flags.args.is_empty() => {
            return Err(UsageError::Missing { what: "the program" });
        }
        _ => {}
    }
    Ok(Exec { id, document, flags, options })
}

/// From its first word on, everything is the program's.
fn program(first: OsString, rest: Vec<OsString>) -> Result<Vec<String>, UsageError> {
    std::iter::once(first).chain(rest).map(|word| name(word, "an argument")).collect()
}

/// `UID` or `UID:GID`.
fn user(word: &str) -> Option<(u32, Option<u32>)> {
    match word.split_once(':') {
        None => Some((word.parse().ok()?, None)),
        Some((uid, gid)) => Some((uid.parse().ok()?, Some(gid.parse().ok()?))),
    }
}

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let Exec { id, document, flags, mut options } = parse(arguments)?;
    selfexe::protect()?;
    let container = context.container(&id)?;
    options.process = match &document {
        None => ExecProcess::Flags(Box::new(flags)),
        Some(path) => {
            let mut process = read(path)?;
            process.terminal |= flags.tty;
            ExecProcess::Document(Box::new(process))
        }
    };
    Ok(container.exec(&options)?.status())
}

fn read(path: &Path) -> Result<Process, Error> {
    let bytes = std::fs::read(path).map_err(|error| {
        Error::file("read", path, Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })?;
    Process::parse(&bytes)
        .map_err(|source| Error::Document { path: path.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::super::arguments::words;
    use super::*;

    fn parsed(line: &str) -> Exec {
        parse(words(line)).unwrap()
    }

    fn refused(line: &str) -> String {
        parse(words(line)).unwrap_err().to_string()
    }

    #[test]
    fn every_option_is_read_before_and_after_the_container() {
        let options = "-t -d --user 5:6 --cwd /w --env A=1 -e B=2 --pid-file /p --pidfd-socket /q --cap CAP_KILL \
                       --console-socket /s -c CAP_CHOWN --no-new-privs --apparmor a \
                       --process-label l --preserve-fds 2 --additional-gids 7 -g 8 \
                       --ignore-paused --cgroup x --cgroup cpu:y --no-subreaper";
        for line in [format!("{options} c1 ls -l"), format!("c1 {options} -- ls -l")] {
            let Exec { id, document, flags, options } = parsed(&line);
            assert_eq!((id.as_str(), document), ("c1", None));
            assert_eq!(flags.args, ["ls", "-l"]);
            assert_eq!(flags.user, Some((5, Some(6))));
            assert_eq!(flags.cwd.as_deref(), Some("/w"));
            assert_eq!(flags.env, ["A=1", "B=2"]);
            assert_eq!(flags.capabilities, ["CAP_KILL", "CAP_CHOWN"]);
            assert_eq!(flags.additional_gids, [7, 8]);
            assert!(flags.tty && flags.no_new_privileges);
            assert_eq!(flags.apparmor.as_deref(), Some("a"));
            assert_eq!(flags.process_label.as_deref(), Some("l"));
            assert_eq!(options.pid_file, Some("/p".into()));
            assert_eq!(options.pidfd_socket, Some("/q".into()));
            assert_eq!(options.console_socket, Some("/s".into()));
            assert!(options.detach && options.ignore_paused && options.no_subreaper);
            assert_eq!(options.preserve_fds, 2);
            assert_eq!(options.cgroup, ["x", "cpu:y"]);
        }
        assert_eq!(parsed("-u 5 c1 id").flags.user, Some((5, None)));
        assert!(parsed("--tty=true --detach c1 id").flags.tty);
    }

    #[test]
    fn the_program_keeps_its_own_options() {
        let exec = parsed("c1 sh -c -t --help -- x");
        assert_eq!(exec.flags.args, ["sh", "-c", "-t", "--help", "--", "x"]);
        assert!(!exec.flags.tty);
    }

    #[test]
    fn a_process_document_takes_the_place_of_options() {
        let exec = parsed("--process /f -t -d --pid-file /p c1");
        assert_eq!(exec.document, Some("/f".into()));
        assert!(exec.flags.tty && exec.options.detach);
        assert_eq!(parsed("c1 -p /f").document, Some("/f".into()));
        assert_eq!(refused("-p /f c1 ls"), "unexpected argument \"ls\"");
        assert_eq!(
            refused("--cwd / -p /f c1"),
            "--cwd: the file of --process has the last word on that"
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(refused("c1"), "the program is missing");
        assert_eq!(refused("-t"), "the container's id is missing");
        assert_eq!(refused("-u root c1 id"), "-u: \"root\" is not UID or UID:GID");
        assert_eq!(refused("-g x c1 id"), "-g: \"x\" is not a group's number");
        assert_eq!(refused("--keep c1 id"), "unknown option --keep");
    }
}
