//! What `create` and `run` have in common on the command line.

use std::path::PathBuf;

use super::Context;
use super::arguments::{Arg, Arguments, CONTAINER, UsageError, name, unexpected};
use super::help::Topic;
use crate::container::CreateOptions;

/// The options of both.
pub(super) const OPTIONS: Topic = Topic {
    title: "CONTAINER OPTIONS",
    entries: &[
        ("-b, --bundle DIR", "directory of the configuration; the current one if absent"),
        ("-f, --config FILE", "the configuration; config.json if absent"),
        ("--console-socket FILE", "unix socket that takes the terminal's master"),
        ("--pid-file FILE", "write the container's pid to FILE"),
        ("--pidfd-socket FILE", "unix socket that takes the container's pidfd"),
        ("--no-pivot", "move the root file system instead of pivoting to it (for a ramdisk)"),
        ("--no-new-keyring", "stay in the caller's session keyring"),
        ("--preserve-fds N", "let the program have N descriptors from 3 on"),
        ("--no-subreaper", "do not adopt the container's orphans"),
    ],
};

/// A command line that makes a container.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) id: String,
    pub(super) options: CreateOptions,
    pub(super) detach: bool,
    pub(super) keep: bool,
}

/// Whether the container is also to be run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    Run,
}

/// Before anything is read.
pub(super) fn defaults(context: &Context<'_>) -> CreateOptions {
    CreateOptions {
        bundle: PathBuf::from("."),
        config: PathBuf::from("config.json"),
        console_socket: None,
        pid_file: None,
        pidfd_socket: None,
        preserve_fds: 0,
        no_pivot: false,
        no_new_keyring: false,
        cgroup_manager: context.global.manager,
        no_subreaper: false,
        notify_socket: context.environment.notify_socket.clone(),
        listen_fds: context.environment.listen_fds,
    }
}

pub(super) fn parse(
    context: &Context<'_>,
    kind: Kind,
    mut arguments: Arguments,
) -> Result<Launch, UsageError> {
    let mut id = None;
    let mut options = defaults(context);
    let (mut detach, mut keep) = (false, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Short('b') | Arg::Long("bundle") => options.bundle = arguments.path()?,
            Arg::Short('f') | Arg::Long("config") => options.config = arguments.path()?,
            Arg::Long("console-socket") => options.console_socket = Some(arguments.path()?),
            Arg::Long("pid-file") => options.pid_file = Some(arguments.path()?),
            Arg::Long("pidfd-socket") => options.pidfd_socket = Some(arguments.path()?),
            Arg::Long("preserve-fds") => options.preserve_fds = arguments.parsed("a number")?,
            Arg::Long("no-pivot") => options.no_pivot = arguments.switch()?,
            Arg::Long("no-new-keyring") => options.no_new_keyring = arguments.switch()?,
            Arg::Long("no-subreaper") => options.no_subreaper = arguments.switch()?,
            Arg::Short('d') | Arg::Long("detach") if kind == Kind::Run => {
                detach = arguments.switch()?;
            }
            Arg::Long("keep") if kind == Kind::Run => keep = arguments.switch()?,
            Arg::Value(value) if id.is_none() => id = Some(name(value, CONTAINER)?),
            other => return Err(unexpected(other)),
        }
    }
    let id = id.ok_or(UsageError::Missing { what: CONTAINER })?;
    options.preserve_fds = options.preserve_fds.saturating_add(options.listen_fds);
    Ok(Launch { id, options, detach, keep })
}

#[cfg(test)]
mod tests {
    use super::super::Environment;
    use super::super::arguments::words;
    use super::super::global;
    use super::*;
    use crate::container::CgroupManager;

    fn parsed(kind: Kind, line: &str) -> Result<Launch, String> {
        let (global, _) = global::parse(&mut words("--systemd-cgroup create")).unwrap();
        let environment =
            Environment { notify_socket: Some("/n".into()), listen_fds: 2, ..Default::default() };
        let context = Context { global: &global, environment: &environment };
        parse(&context, kind, words(line)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_option_is_read_before_and_after_the_container() {
        let options = "-b /b -f x.json --pidfd-socket /q --console-socket /c --pid-file /p --preserve-fds 3 --no-pivot \
                       --no-new-keyring --no-subreaper -d --keep";
        let both = [format!("{options} c1"), format!("c1 {options}")];
        for line in both {
            let launch = parsed(Kind::Run, &line).unwrap();
            assert_eq!((launch.id.as_str(), launch.detach, launch.keep), ("c1", true, true));
            let options = launch.options;
            assert_eq!(options.bundle, PathBuf::from("/b"));
            assert_eq!(options.config, PathBuf::from("x.json"));
            assert_eq!(options.pidfd_socket, Some("/q".into()));
            assert_eq!(options.console_socket, Some("/c".into()));
            assert_eq!(options.pid_file, Some("/p".into()));
            assert!(options.no_pivot && options.no_new_keyring && options.no_subreaper);
            assert_eq!(options.cgroup_manager, CgroupManager::Systemd);
            assert_eq!(options.notify_socket, Some("/n".into()));
            // Those of socket activation come first and count.
            assert_eq!((options.preserve_fds, options.listen_fds), (5, 2));
        }
        let launch = parsed(Kind::Create, "--bundle=/b c1").unwrap();
        assert_eq!(launch.options.bundle, PathBuf::from("/b"));
        assert_eq!(parsed(Kind::Create, "c1").unwrap().options.bundle, PathBuf::from("."));
        assert!(parsed(Kind::Run, "--detach c1").unwrap().detach);
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |kind, line: &str| parsed(kind, line).unwrap_err();
        assert_eq!(refused(Kind::Create, "--keep c1"), "unknown option --keep");
        assert_eq!(refused(Kind::Create, "-d c1"), "unknown option -d");
        assert_eq!(refused(Kind::Run, ""), "the container's id is missing");
        assert_eq!(refused(Kind::Run, "a b"), "unexpected argument \"b\"");
        assert_eq!(
            refused(Kind::Run, "--preserve-fds x a"),
            "--preserve-fds: \"x\" is not a number"
        );
    }
}
