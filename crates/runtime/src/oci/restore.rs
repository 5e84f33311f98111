//! `restore`: brings a saved container back.

use super::arguments::{Arg, Arguments, CONTAINER, UsageError, name, unexpected};
use super::criu;
use super::help::{Help, Topic};
use super::launch;
use super::{Command, Context, Failure};
use crate::container::{self, ContainerId, CreateOptions, RestoreOptions};
use crate::selfexe;

pub(super) const COMMAND: Command = Command { name: "restore", help: &HELP, failure: 1, run };

const HELP: Help = Help {
    usage: "[OPTIONS] CONTAINER",
    about: "Brings a container back from saved processes and its bundle, by CRIU.",
    topics: &[
        Topic {
            title: "OPTIONS",
            entries: &[
                ("-d, --detach", "return as soon as it runs"),
                ("-b, --bundle DIR", "directory of the configuration; the current one if absent"),
                ("--console-socket FILE", "unix socket that takes the terminal's master"),
                ("--pid-file FILE", "write the container's pid to FILE"),
                ("--no-subreaper", "do not adopt the container's orphans"),
                ("--no-pivot", "for compatibility; the root is CRIU's to make"),
                ("--lsm-profile TYPE:NAME", "security profile to restore with"),
                ("--lsm-mount-context CONTEXT", "SELinux context of the mounts"),
            ],
        },
        criu::OPTIONS,
    ],
};

#[derive(Debug)]
struct Restore {
    id: String,
    options: CreateOptions,
    restore: RestoreOptions,
    detach: bool,
}

fn parse(context: &Context<'_>, mut arguments: Arguments) -> Result<Restore, UsageError> {
    let mut id = None;
    let mut options = launch::defaults(context);
    let mut restore = RestoreOptions {
        criu: criu::defaults(context),
        lsm_profile: None,
        lsm_mount_context: None,
    };
    let mut detach = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Short('d') | Arg::Long("detach") => detach = arguments.switch()?,
            Arg::Short('b') | Arg::Long("bundle") => options.bundle = arguments.path()?,
            Arg::Long("console-socket") => options.console_socket = Some(arguments.path()?),
            Arg::Long("pid-file") => options.pid_file = Some(arguments.path()?),
            Arg::Long("no-subreaper") => options.no_subreaper = arguments.switch()?,
            Arg::Long("no-pivot") => options.no_pivot = arguments.switch()?,
            Arg::Long("lsm-profile") => restore.lsm_profile = Some(arguments.text()?),
            Arg::Long("lsm-mount-context") => restore.lsm_mount_context = Some(arguments.text()?),
            Arg::Value(value) if id.is_none() => id = Some(name(value, CONTAINER)?),
            other => {
                let option = criu::long(&other).ok_or_else(|| unexpected(other))?;
                if !criu::read(&option, &mut restore.criu, &mut arguments)? {
                    return Err(unexpected(Arg::Long(&option)));
                }
            }
        }
    }
    let id = id.ok_or(UsageError::Missing { what: CONTAINER })?;
    Ok(Restore { id, options, restore, detach })
}

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let Restore { id, options, restore, detach } = parse(context, arguments)?;
    selfexe::protect()?;
    let id = ContainerId::parse(&id)?;
    let exit = container::restore(&context.state_root()?, &id, &options, &restore, detach)?;
    Ok(exit.status())
}

#[cfg(test)]
mod tests {
    use super::super::arguments::words;
    use super::super::{Environment, global};
    use super::*;

    fn parsed(line: &str) -> Result<Restore, String> {
        let (global, _) = global::parse(&mut words("--criu /criu restore")).unwrap();
        let context = Context { global: &global, environment: &Environment::default() };
        parse(&context, words(line)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_option_is_read_before_and_after_the_container() {
        let own = "-d -b /b --console-socket /c --pid-file /p --no-subreaper --no-pivot \
                   --lsm-profile apparmor:x --lsm-mount-context y";
        for line in [format!("{own} {} c1", criu::EVERY), format!("{} c1 {own}", criu::EVERY)] {
            let Restore { id, options, restore, detach } = parsed(&line).unwrap();
            assert_eq!((id.as_str(), detach), ("c1", true));
            criu::assert_every(&restore.criu);
            assert_eq!(restore.lsm_profile.as_deref(), Some("apparmor:x"));
            assert_eq!(restore.lsm_mount_context.as_deref(), Some("y"));
            assert_eq!(options.bundle, std::path::PathBuf::from("/b"));
            assert_eq!(options.console_socket, Some("/c".into()));
            assert_eq!(options.pid_file, Some("/p".into()));
            assert!(options.no_subreaper && options.no_pivot);
        }
        for line in ["", "a b", "--leave-running c1", "-x c1"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
