//! The command line of an OCI runtime, as engines call it and people type it: runc's and crun's.
//!
//! One file per command: what it takes, what its help says, what it does with a [`crate::Container`], what
//! it prints. Options and arguments come in any order; where a command line ends in a foreign one (`exec`,
//! `ps`), that is left alone.
//!
//! Exit statuses, found by experiment (runc 1.1.5, crun 1.8.1):
//!
//! | case                                      | runc      | crun      | here      |
//! |-------------------------------------------|-----------|-----------|-----------|
//! | `run`, `exec`: the program exits with N   | N         | N         | N         |
//! | `run`, `exec`: signal N ends the program  | 128 + N   | 128 + N   | 128 + N   |
//! | `run`: program not there, not executable  | 1         | 1         | 1         |
//! | `exec`: the same                          | 255       | 255       | 255       |
//! | `exec`: bad user, file, paused container  | 255       | 1 or 255  | 255       |
//! | any other failure                         | 1         | 1         | 1         |
//! | unknown option, argument missing          | 1         | 64 or 1   | 1         |
//! | unknown command                           | 3         | 1         | 1         |
//! | `delete --force` of what is not there     | 0         | 0         | 0         |
//! | `kill` of a stopped container             | 1         | 1         | 1         |
//!
//! Absent on purpose: everything that is true of containers whoever asks. This module decides nothing
//! about them, and nothing else in the crate prints.

mod arguments;
mod checkpoint;
mod create;
mod criu;
mod delete;
mod document;
mod events;
mod exec;
mod features;
mod global;
mod help;
mod kill;
mod launch;
mod list;
mod log;
mod pause;
mod ps;
mod restore;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use arguments::{Arguments, UsageError};
use global::{Global, Wanted};
use help::Help;
use log::{detail, warn};

use crate::container::{Container, ContainerId, StateRoot};
use crate::error::Error;

/// What the caller's environment says; read once, by `main`.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `XDG_RUNTIME_DIR`: where a user's own states are kept.
    pub runtime_dir: Option<PathBuf>,
    /// `NOTIFY_SOCKET`: the service manager's socket, for the container.
    pub notify_socket: Option<PathBuf>,
    /// `LISTEN_FDS`, if `LISTEN_PID` means this process: descriptors of socket activation.
    pub listen_fds: u32,
}

/// What a command is called with.
struct Context<'a> {
    global: &'a Global,
    environment: &'a Environment,
}

/// One command.
struct Command {
    name: &'static str,
    help: &'static Help,
    /// The exit status of a failure.
    failure: u8,
    /// Gives the exit status.
    run: fn(&Context<'_>, Arguments) -> Result<u8, Failure>,
}

/// All commands, in the order of a container's life.
const COMMANDS: &[Command] = &[
    create::COMMAND,
    start::COMMAND,
    run::COMMAND,
    exec::COMMAND,
    kill::COMMAND,
    delete::COMMAND,
    state::COMMAND,
    list::COMMAND,
    ps::COMMAND,
    pause::COMMAND,
    resume::COMMAND,
    update::COMMAND,
    events::COMMAND,
    checkpoint::COMMAND,
    restore::COMMAND,
    spec::COMMAND,
    features::COMMAND,
];

/// Why a command ended without success.
#[derive(Debug)]
enum Failure {
    /// The command line means nothing.
    Usage(UsageError),
    /// What it means could not be done.
    Runtime(Error),
    /// The answer could not be printed.
    Print(std::io::Error),
}

/// Runs the command line `words` of the program called `name`; gives the exit status.
pub fn main(
    name: &str,
    environment: &Environment,
    words: impl IntoIterator<Item = OsString>,
) -> u8 {
    let mut arguments = Arguments::new(words);
    let (global, wanted) = match global::parse(&mut arguments) {
        Ok(parsed) => parsed,
        Err(UsageError::HelpWanted) => return succeed(&overview(name)),
        Err(error) => return fail_usage(name, &error),
    };
    log::start(log::Log {
        file: global.log.clone(),
        format: global.log_format,
        debug: global.debug,
    });
    crate::on_notice(warn);
    crate::notice::on_detail(detail);
    match wanted {
        Wanted::Help => succeed(&overview(name)),
        Wanted::Version => succeed(&version()),
        Wanted::Command(word) if matches!(word.as_str(), "help" | "h") => {
            help_on(name, &mut arguments)
        }
        Wanted::Command(word) => match find(&word) {
            Some(command) => {
                run(name, command, &Context { global: &global, environment }, arguments)
            }
            None => fail_usage(name, &UsageError::UnknownCommand { name: word }),
        },
    }
}

fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

fn run(name: &str, command: &Command, context: &Context<'_>, arguments: Arguments) -> u8 {
    log::debug(|| format!("{} {}: {:?}", name, command.name, context.global));
    let name = format!("{name} {}", command.name);
    match (command.run)(context, arguments) {
        Ok(status) => {
            log::debug(|| format!("{name}: status {status}"));
            status
        }
        Err(Failure::Usage(UsageError::HelpWanted)) => succeed(&command.help.text(&name)),
        Err(Failure::Usage(error)) => fail_usage(&name, &error),
        // Who asked for the answer has gone.
        Err(Failure::Print(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => 1,
        Err(failure) => {
            log::error(&failure.to_string());
            command.failure
        }
    }
}

/// Answers `help` and `help COMMAND`.
fn help_on(name: &str, arguments: &mut Arguments) -> u8 {
    match arguments.next() {
        Ok(Some(arguments::Arg::Value(word))) => match word.to_str().and_then(find) {
            Some(command) => succeed(&command.help.text(&format!("{name} {}", command.name))),
            None => {
                let unknown = word.to_string_lossy().into_owned();
                fail_usage(name, &UsageError::UnknownCommand { name: unknown })
            }
        },
        Ok(Some(other)) => fail_usage(name, &arguments::unexpected(other)),
        Ok(None) | Err(UsageError::HelpWanted) => succeed(&overview(name)),
        Err(error) => fail_usage(name, &error),
    }
}

fn overview(name: &str) -> String {
    let commands: String = COMMANDS
        .iter()
        .map(|command| {
            let about = command.help.about;
            let sentence =
                about.split_once(". ").map_or(about.trim_end_matches('.'), |(one, _)| one);
            format!("  {:10}  {sentence}\n", command.name)
        })
        .collect();
    format!(
        "{}\nCOMMANDS:\n{commands}\nUse \"{name} COMMAND --help\" for more on one of them.\n",
        global::HELP.text(name)
    )
}

/// In the form that engines read: program, then what it speaks.
fn version() -> String {
    format!(
        "dhow-oci version {}\nspec: {}\n",
        env!("CARGO_PKG_VERSION"),
        dhow_spec::runtime::VERSION
    )
}

fn succeed(text: &str) -> u8 {
    match print(text) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn fail_usage(name: &str, error: &UsageError) -> u8 {
    log::error(&format!("{error} (see \"{name} --help\")"));
    1
}

/// The command's answer.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Print)
}

impl Context<'_> {
    fn state_root(&self) -> Result<StateRoot, Error> {
        StateRoot::open(&self.global.root(self.environment))
    }

    fn container(&self, id: &str) -> Result<Container, Error> {
        let id = ContainerId::parse(id)?;
        Container::load(&self.state_root()?, &id)
    }
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        Self::Usage(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Runtime(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) => error.fmt(f),
            Self::Runtime(error) => error.fmt(f),
            Self::Print(error) => write!(f, "print the answer: {error}"),
        }
    }
}
