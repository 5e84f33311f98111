//! What a task may fail with, and the folders that all tasks share.

use std::fmt;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why a task did not come to a good end.
#[derive(Debug)]
pub(crate) enum TaskError {
    /// The command line made no sense.
    Usage(lexopt::Error),
    /// A file or a program could not be used.
    Io { doing: &'static str, object: PathBuf, source: io::Error },
    /// A program that the task depends on failed.
    Program { line: String, code: Option<i32> },
    /// Something must be installed first.
    Absent { what: &'static str, remedy: &'static str },
    /// The exit code of what the task ran is the task's own.
    Code(i32),
    /// The task ran, and what it looked at is not in order; it has said how.
    Bad,
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskError::Usage(error) => write!(f, "{error}"),
            TaskError::Io { doing, object, source } => {
                write!(f, "{doing} {}: {source}", object.display())
            }
            TaskError::Program { line, code: Some(code) } => write!(f, "{line}: exit code {code}"),
            TaskError::Program { line, code: None } => write!(f, "{line}: killed"),
            TaskError::Absent { what, remedy } => write!(f, "{what} is not there: {remedy}"),
            TaskError::Code(code) => write!(f, "exit code {code}"),
            TaskError::Bad => f.write_str("not in order"),
        }
    }
}

impl From<lexopt::Error> for TaskError {
    fn from(error: lexopt::Error) -> TaskError {
        TaskError::Usage(error)
    }
}

/// Gives an I/O error its object.
pub(crate) trait At<T> {
    /// `doing` is a verb, `object` what it was done to.
    fn at(self, doing: &'static str, object: impl AsRef<Path>) -> Result<T, TaskError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, doing: &'static str, object: impl AsRef<Path>) -> Result<T, TaskError> {
        self.map_err(|error| TaskError::Io {
            doing,
            object: object.as_ref().to_owned(),
            source: error.into(),
        })
    }
}

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// `target/<name>`, made if it is not there.
pub(crate) fn scratch(name: &str) -> Result<PathBuf, TaskError> {
    let path = workspace().join("target").join(name);
    std::fs::create_dir_all(&path).at("create", &path)?;
    Ok(path)
}

/// Where `cargo build --release` puts the workspace's programs: beside the folder of this one.
pub(crate) fn release_dir() -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    this.ancestors().nth(2).map(|target| target.join("release")).unwrap_or_default()
}

/// Where `name` is on the `PATH`, with the folders that a user's `PATH` lacks.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"])
        .map(|dir| Path::new(dir).join(name))
        .find(|candidate| candidate.is_file())
}

/// Runs a command whose output is for the reader, and wants it to succeed.
pub(crate) fn run(command: &mut Command) -> Result<(), TaskError> {
    let line = spell(command);
    let status = command.status().at("start", command.get_program())?;
    if status.success() {
        return Ok(());
    }
    Err(TaskError::Program { line, code: status.code() })
}

/// Runs a command for what it prints, and wants it to succeed.
pub(crate) fn read(command: &mut Command) -> Result<String, TaskError> {
    let line = spell(command);
    let output = command.stderr(std::process::Stdio::inherit()).output();
    let output = output.at("start", command.get_program())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(TaskError::Program { line, code: output.status.code() })
}

fn spell(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Says on a terminal what is going on now, in place of what it said before; `""` clears it.
pub(crate) fn progress(what: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{what}");
    }
}
