//! Why there is no image, and what can be done about it.

use std::fmt;

use dhow_builder::dockerfile::ParseError;
use dhow_builder::{BuildError, ContextError, Fault, WorkError};

use crate::error::{Error, ErrorClass};

/// Why there is no build.
#[derive(Debug)]
pub enum BuildFault {
    /// What was sent.
    Context(ContextError),
    /// It could not be fetched.
    Remote {
        /// From where.
        remote: String,
        /// Why.
        error: WorkError,
    },
    /// There is no such file in it.
    NoDockerfile {
        /// Its path.
        path: String,
    },
    /// The file is empty.
    EmptyDockerfile {
        /// Its path.
        path: String,
    },
    /// The file.
    Parse(ParseError),
    /// The file breaks rules that it wants to be held.
    Lint {
        /// Their names.
        rules: String,
    },
    /// What was asked for makes no sense.
    Options {
        /// What.
        what: &'static str,
        /// What it says.
        value: String,
    },
    /// The build.
    Build {
        /// Why.
        error: Box<BuildError>,
        /// The image of what the step that failed had done by then, where that was to be kept.
        kept: Option<String>,
    },
    /// Whoever was to take what was made takes nothing.
    Outlet(std::io::Error),
    /// The engine.
    Engine(Error),
}

impl BuildFault {
    /// What can be done about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoDockerfile { .. } => ErrorClass::Internal,
            Self::Remote { error: WorkError::NotFound { .. }, .. } => ErrorClass::NotFound,
            Self::Remote { error: WorkError::Invalid { .. }, .. } => ErrorClass::Invalid,
            Self::Remote { .. } | Self::Outlet(_) => ErrorClass::Internal,
            Self::Context(ContextError::Io(_)) => ErrorClass::Internal,
            Self::Context(_)
            | Self::EmptyDockerfile { .. }
            | Self::Parse(_)
            | Self::Lint { .. }
            | Self::Options { .. } => ErrorClass::Invalid,
            Self::Build { error, .. } if error.fault.is_parse() => ErrorClass::Invalid,
            Self::Build { .. } => ErrorClass::Internal,
            Self::Engine(error) => error.class(),
        }
    }

    /// The exit code of the command that failed, if that is what happened.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Build { error, .. } => match &error.fault {
                Fault::Command { code, .. } => Some(*code),
                _ => None,
            },
            _ => None,
        }
    }

    /// The line of the file that it is about.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Parse(error) => Some(error.line).filter(|line| *line > 0),
            Self::Build { error, .. } => error.line,
            _ => None,
        }
    }
}

impl fmt::Display for BuildFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Context(error) => error.fmt(f),
            Self::Remote { remote, error } => {
                write!(f, "unable to prepare context: {remote}: {error}")
            }
            Self::NoDockerfile { path } => {
                write!(f, "Cannot locate specified Dockerfile: {path}")
            }
            Self::EmptyDockerfile { path } => {
                write!(f, "the Dockerfile ({path}) cannot be empty")
            }
            Self::Parse(error) => error.fmt(f),
            Self::Lint { rules } => write!(f, "lint violation found for rules: {rules}"),
            Self::Options { what, value } => write!(f, "invalid {what}: {value}"),
            Self::Build { error, kept } => {
                error.fmt(f)?;
                match kept {
                    Some(id) => {
                        let short = id.strip_prefix("sha256:").unwrap_or(id);
                        let short = short.get(..12).unwrap_or(short);
                        write!(f, "; what it left is the image {short}")
                    }
                    None => Ok(()),
                }
            }
            Self::Outlet(error) => write!(f, "give what was built away: {error}"),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BuildFault {}
