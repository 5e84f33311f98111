//! What went wrong, and the one place that words it and picks the exit code.
//!
//! The words are Docker's where scripts look for them, with what to do next behind. Absent on purpose:
//! printing, which is done once, at the end of [`crate::main`].

use std::io;
use std::path::PathBuf;

use crate::client::{Endpoint, EndpointError};
use crate::format::FormatError;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line cannot be taken; the text is whole, usage and all.
    Usage { text: String, code: u8 },
    /// A value is wrong; said in Docker's words.
    Invalid(String),
    /// An error of `run` and its like: shown with a pointer to the help of `command`.
    Run { program: &'static str, command: &'static str, text: String, code: u8 },
    /// A flag or command of Docker's that is not built.
    NotBuilt { what: String },
    /// The engine said no.
    Refused { status: u16, message: String },
    /// Nobody answers.
    Unreachable { endpoint: Endpoint, source: io::Error },
    /// The connection broke.
    Lost { endpoint: Endpoint, source: io::Error },
    /// The engine's answer is not what it should be.
    Answer { source: serde_json::Error },
    /// The engine's address is none.
    Endpoint(EndpointError),
    /// A file of the TLS set-up.
    Tls { path: PathBuf, why: String },
    /// Something of this machine.
    Io { doing: &'static str, object: String, source: io::Error },
    /// The engine could not be started; its last words.
    EngineStart { why: String },
    /// A template.
    Format { error: FormatError, code: u8 },
    /// An error that a stream carried.
    Stream { message: String, code: u8 },
    /// Everything has been said; this is the code.
    Exit(u8),
}

impl Failure {
    /// A mistake of the user's in `what`.
    pub(crate) fn invalid(text: impl Into<String>) -> Failure {
        Failure::Invalid(text.into())
    }

    /// `doing object` failed.
    pub(crate) fn io(
        doing: &'static str,
        object: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> Failure {
        let object = object.into();
        move |source| Failure::Io { doing, object, source }
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::Usage { code, .. }
            | Failure::Run { code, .. }
            | Failure::Format { code, .. }
            | Failure::Stream { code, .. }
            | Failure::Exit(code) => *code,
            _ => 1,
        }
    }

    /// Whether the engine does not know the object.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Failure::Refused { status: 404, .. })
    }
}

impl From<FormatError> for Failure {
    fn from(error: FormatError) -> Failure {
        Failure::Format { error, code: 1 }
    }
}

impl From<EndpointError> for Failure {
    fn from(error: EndpointError) -> Failure {
        Failure::Endpoint(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Usage { text, .. } | Failure::Invalid(text) => out.write_str(text),
            Failure::Run { program, command, text, .. } => {
                write!(
                    out,
                    "{program}: {text}\n\nRun '{program} {command} --help' for more information"
                )
            }
            Failure::NotBuilt { what } => write!(out, "{what} is not built yet"),
            Failure::Refused { message, .. } => {
                write!(out, "Error response from daemon: {message}")
            }
            Failure::Unreachable { endpoint, source } => unreachable(out, endpoint, source),
            Failure::Lost { endpoint, source } => {
                write!(
                    out,
                    "error during connect: the engine at {endpoint} went away: {}",
                    bare(source)
                )
            }
            Failure::Answer { source } => {
                write!(out, "the engine's answer makes no sense: {source}")
            }
            Failure::Endpoint(error) => {
                write!(out, "Failed to initialize: unable to resolve docker endpoint: {error}")
            }
            Failure::Tls { path, why } => {
                write!(out, "Failed to initialize: TLS file {}: {why}", path.display())
            }
            Failure::Io { doing, object, source } => {
                write!(out, "{doing} {object}: {}", bare(source))
            }
            Failure::EngineStart { why } => write!(out, "cannot start the engine: {why}"),
            Failure::Format { error, .. } => write!(out, "{error}"),
            Failure::Stream { message, .. } => out.write_str(message),
            Failure::Exit(_) => Ok(()),
        }
    }
}

fn unreachable(
    out: &mut std::fmt::Formatter<'_>,
    endpoint: &Endpoint,
    source: &io::Error,
) -> std::fmt::Result {
    match source.kind() {
        io::ErrorKind::PermissionDenied => write!(
            out,
            "permission denied while trying to connect to the Docker daemon socket at {endpoint}: \
             use sudo, or join the group that owns the socket"
        ),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => write!(
            out,
            "Cannot connect to the Docker daemon at {endpoint}. Is the docker daemon running?"
        ),
        _ => write!(out, "Cannot connect to the Docker daemon at {endpoint}: {}", bare(source)),
    }
}

/// The error as Go words it: lowercase, without the number.
fn bare(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}
