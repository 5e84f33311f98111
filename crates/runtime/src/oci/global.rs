//! The options before the command.
//!
//! They are runc's and crun's; where the two differ in a word, both are taken.

use std::path::{Path, PathBuf};

use super::Environment;
use super::arguments::{Arg, Arguments, UsageError, name, unexpected};
use super::help::{Help, Topic};
use super::log::Format;
use crate::container::CgroupManager;

/// What holds for every command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Global {
    pub(super) root: Option<PathBuf>,
    pub(super) log: Option<PathBuf>,
    pub(super) log_format: Format,
    pub(super) debug: bool,
    pub(super) manager: CgroupManager,
    /// The CRIU program, for checkpoint and restore.
    pub(super) criu: Option<PathBuf>,
}

/// What comes after the options.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A command; its words are still to be read.
    Command(String),
    /// Help on all of it.
    Help,
    /// The version.
    Version,
}

/// The options, for `--help`.
pub(super) const HELP: Help = Help {
    usage: "[GLOBAL OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]",
    about: "Runs containers from OCI bundles. Takes the command lines of runc and crun.",
    topics: &[Topic {
        title: "GLOBAL OPTIONS",
        entries: &[
            ("--root DIR", "directory of the containers' states, best on a tmpfs"),
            ("--log FILE", "append messages to FILE rather than print them"),
            ("--log-format text|json", "form of those messages"),
            ("--debug", "say more"),
            ("--systemd-cgroup", "same as --cgroup-manager systemd"),
            ("--cgroup-manager cgroupfs|systemd|disabled", "who makes the containers' cgroups"),
            (
                "--rootless auto|true|false",
                "for compatibility; what this user may do is found out by doing it",
            ),
            ("--criu FILE", "the CRIU program"),
            ("-v, --version", "print the version"),
            ("-h, --help", "print this help"),
        ],
    }],
};

/// Reads up to the command's name.
pub(super) fn parse(arguments: &mut Arguments) -> Result<(Global, Wanted), UsageError> {
    let mut global = Global {
        root: None,
        log: None,
        log_format: Format::Text,
        debug: false,
        manager: CgroupManager::Cgroupfs,
        criu: None,
    };
    loop {
        let Some(argument) = arguments.next()? else { return Ok((global, Wanted::Help)) };
        match argument {
            Arg::Long("root") => global.root = Some(arguments.path()?),
            Arg::Long("log") => global.log = Some(log_file(arguments)?),
            Arg::Long("log-format") => global.log_format = log_format(arguments)?,
            Arg::Long("debug") => global.debug = arguments.switch()?,
            Arg::Long("systemd-cgroup") => {
                if arguments.switch()? {
                    global.manager = CgroupManager::Systemd;
                }
            }
            Arg::Long("cgroup-manager") => global.manager = manager(arguments)?,
            Arg::Long("rootless") => {
                arguments.chosen("auto, true or false", |word| {
                    ["auto", "true", "false"].contains(&word).then_some(())
                })?;
            }
            Arg::Long("criu") => global.criu = Some(arguments.path()?),
            Arg::Long("version") | Arg::Short('v' | 'V') => return Ok((global, Wanted::Version)),
            Arg::Value(word) => return Ok((global, Wanted::Command(name(word, "the command")?))),
            other => return Err(unexpected(other)),
        }
    }
}

/// crun lets a log's path say what it leads to; only files are to be had.
fn log_file(arguments: &mut Arguments) -> Result<PathBuf, UsageError> {
    let path = arguments.path()?;
    let Some(text) = path.to_str() else { return Ok(path) };
    if text.starts_with("journald:") || text.starts_with("syslog:") {
        return Err(UsageError::Refused { option: "--log", reason: "messages go to files only" });
    }
    Ok(text.strip_prefix("file:").map_or_else(|| path.clone(), PathBuf::from))
}

fn log_format(arguments: &mut Arguments) -> Result<Format, UsageError> {
    arguments.chosen("text or json", |word| match word {
        "text" => Some(Format::Text),
        "json" => Some(Format::Json),
        _ => None,
    })
}

fn manager(arguments: &mut Arguments) -> Result<CgroupManager, UsageError> {
    arguments.chosen("cgroupfs, systemd or disabled", |word| match word {
        "cgroupfs" => Some(CgroupManager::Cgroupfs),
        "systemd" => Some(CgroupManager::Systemd),
        "disabled" => Some(CgroupManager::Disabled),
        _ => None,
    })
}

impl Global {
    /// Where the containers' states are.
    pub(super) fn root(&self, environment: &Environment) -> PathBuf {
        const NAME: &str = "dhow-oci";
        if let Some(root) = &self.root {
            return root.clone();
        }
        let uid = rustix::process::geteuid();
        match &environment.runtime_dir {
            Some(dir) if !uid.is_root() || in_user_namespace() => dir.join(NAME),
            None if !uid.is_root() => {
                Path::new("/run/user").join(uid.as_raw().to_string()).join(NAME)
            }
            _ => Path::new("/run").join(NAME),
        }
    }
}

/// Whether root is not the host's: then its runtime directory is that of the user who became it.
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && map.split_whitespace().ne(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::super::arguments::words;
    use super::*;

    fn parsed(line: &str) -> (Global, Wanted) {
        parse(&mut words(line)).unwrap()
    }

    #[test]
    fn every_option_is_read() {
        let (global, wanted) = parsed(
            "--root /r --log /l --log-format json --debug --systemd-cgroup --rootless=auto \
             --criu /usr/sbin/criu state c1",
        );
        let expected = Global {
            root: Some("/r".into()),
            log: Some("/l".into()),
            log_format: Format::Json,
            debug: true,
            manager: CgroupManager::Systemd,
            criu: Some("/usr/sbin/criu".into()),
        };
        assert_eq!((global, wanted), (expected, Wanted::Command("state".to_owned())));
        let managers = [
            ("cgroupfs", CgroupManager::Cgroupfs),
            ("systemd", CgroupManager::Systemd),
            ("disabled", CgroupManager::Disabled),
        ];
        for (word, manager) in managers {
            assert_eq!(parsed(&format!("--cgroup-manager={word} list")).0.manager, manager);
        }
        assert_eq!(parsed("--log=file:/l list").0.log, Some("/l".into()));
        assert_eq!(parsed("--systemd-cgroup=false list").0.manager, CgroupManager::Cgroupfs);
        assert_eq!(parsed("-v").1, Wanted::Version);
        assert_eq!(parsed("--version list").1, Wanted::Version);
        assert_eq!(parsed("--debug").1, Wanted::Help);
    }

    #[test]
    fn mistakes_are_named() {
        let lines = [
            ("--bogus list", "unknown option --bogus"),
            ("--log-format xml list", "--log-format: \"xml\" is not text or json"),
            ("--rootless maybe list", "--rootless: \"maybe\" is not auto, true or false"),
            ("--cgroup-manager x", "--cgroup-manager: \"x\" is not cgroupfs, systemd or disabled"),
            ("--log journald:x list", "--log: messages go to files only"),
            ("--root", "--root needs a value"),
        ];
        for (line, message) in lines {
            assert_eq!(parse(&mut words(line)).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_state_root_is_as_asked_for() {
        let environment = Environment { runtime_dir: Some("/x".into()), ..Environment::default() };
        let root = parsed("--root /r list").0.root(&environment);
        assert_eq!(root, Path::new("/r"));
        let root = parsed("list").0.root(&Environment::default());
        assert!(root.starts_with("/run") && root.ends_with("dhow-oci"), "{}", root.display());
    }
}
