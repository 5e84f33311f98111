//! Why there is no image: which instruction, and what is wrong with it.
//!
//! Invariant: a build that was cancelled says so, and nothing else; what failed first is told.

use std::fmt;

use dhow_archive::ignore::PatternError;
use dhow_archive::tar::TarError;

use crate::build::Built;
use crate::dockerfile::{ExpandError, ParseError, ParseFault};
use crate::files::FilesError;
use crate::worker::WorkError;

/// A build that failed.
#[derive(Debug)]
pub struct BuildError {
    /// The instruction's line, if it was one.
    pub line: Option<usize>,
    /// The instruction.
    pub text: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a step.
#[derive(Debug)]
pub enum Fault {
    /// The file itself.
    Parse(ParseError),
    /// An instruction that a base had put off.
    OnBuild(ParseFault),
    /// A variable.
    Expand(ExpandError),
    /// There is no stage of that name.
    NoTarget {
        /// The name.
        target: String,
    },
    /// `FROM` nothing.
    NoBase,
    /// A platform that makes no sense.
    Platform {
        /// What was said.
        text: String,
    },
    /// A command failed.
    Command {
        /// The command.
        command: String,
        /// Its exit code.
        code: i32,
        /// The stage with what the command had changed by then, where that was to be kept.
        kept: Option<Box<Built>>,
    },
    /// A source of `COPY` is not there.
    NoSource {
        /// What was asked for.
        path: String,
        /// The pattern matches nothing, or the file is not there.
        ignored: bool,
    },
    /// Several sources, one file to copy to.
    ToDirectory,
    /// A directory is to be copied onto a file.
    NotADirectory {
        /// Where.
        path: String,
    },
    /// A name that layers cannot have.
    Name {
        /// Which.
        path: String,
    },
    /// A word of an instruction that makes no sense.
    Value {
        /// What it is.
        what: &'static str,
        /// What it says.
        value: String,
    },
    /// A form that is not built.
    Unsupported {
        /// Which.
        what: String,
    },
    /// A secret or an agent that the build was not given.
    Missing {
        /// `secret` or `ssh`.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// A download is not what was promised.
    Checksum {
        /// What it should be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// A right that the build was not given.
    Forbidden {
        /// Which.
        what: &'static str,
    },
    /// Patterns of `--exclude`.
    Pattern(PatternError),
    /// Files.
    Files(FilesError),
    /// An archive.
    Tar(TarError),
    /// Writing a layer.
    Io(std::io::Error),
    /// The worker.
    Work(WorkError),
}

impl Fault {
    /// Whether it is only that nobody wants the build any more.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Work(WorkError::Cancelled))
    }

    /// Whether the file or the request is wrong, so that nothing needs to be tried.
    pub fn is_parse(&self) -> bool {
        matches!(self, Self::Parse(_) | Self::NoTarget { .. })
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.fault, self.line) {
            (Fault::Parse(_) | Fault::Command { .. } | Fault::Work(WorkError::Cancelled), _)
            | (_, None) => self.fault.fmt(f),
            (fault, Some(line)) => {
                let word = self.text.split_whitespace().next().unwrap_or_default();
                write!(f, "{} failed on line {line}: {fault}", word.to_uppercase())
            }
        }
    }
}

impl std::error::Error for BuildError {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse(error) => error.fmt(f),
            Self::OnBuild(fault) => write!(f, "an ONBUILD trigger of the base: {fault}"),
            Self::Expand(error) => write!(f, "failed to process the word: {error}"),
            Self::NoTarget { target } => {
                write!(f, "target stage \"{target}\" could not be found")
            }
            Self::NoBase => f.write_str("base name should not be blank"),
            Self::Platform { text } => write!(f, "{text:?} is no platform"),
            Self::Command { command, code, .. } => {
                write!(f, "The command '{command}' returned a non-zero code: {code}")
            }
            Self::NoSource { path, ignored: false } => write!(
                f,
                "file not found in build context or excluded by .dockerignore: stat {path}: file does not exist"
            ),
            Self::NoSource { path, ignored: true } => write!(f, "no source files were specified: {path} matches nothing"),
            Self::ToDirectory => f.write_str(
                "When using COPY with more than one source file, the destination must be a directory and end with a /",
            ),
            Self::NotADirectory { path } => {
                write!(f, "cannot copy to non-directory: {path}")
            }
            Self::Name { path } => {
                write!(f, "{path}: a layer can have no file of that name")
            }
            Self::Value { what, value } => write!(f, "invalid {what}: {value}"),
            Self::Unsupported { what } => write!(f, "{what} is not supported by this builder"),
            Self::Missing { what, id } => write!(f, "{what} {id}: not found"),
            Self::Checksum { expected, actual } => {
                write!(f, "digest mismatch {actual}: {expected}")
            }
            Self::Forbidden { what } => write!(f, "granting entitlement {what} is not allowed by build request"),
            Self::Pattern(error) => error.fmt(f),
            Self::Files(error) => error.fmt(f),
            Self::Tar(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Work(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Fault {}

impl From<ExpandError> for Fault {
    fn from(error: ExpandError) -> Self {
        Self::Expand(error)
    }
}

impl From<FilesError> for Fault {
    fn from(error: FilesError) -> Self {
        Self::Files(error)
    }
}

impl From<TarError> for Fault {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<WorkError> for Fault {
    fn from(error: WorkError) -> Self {
        Self::Work(error)
    }
}

impl From<PatternError> for Fault {
    fn from(error: PatternError) -> Self {
        Self::Pattern(error)
    }
}
