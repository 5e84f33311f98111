//! Everything that can go wrong between a bundle and its container, worded in one place.

use std::fmt;
use std::path::PathBuf;

use dhow_spec::runtime::{SpecError, Status};
use dhow_sys::Errno;

use crate::cgroup::CgroupError;
use crate::foreground::ForegroundError;
use crate::hooks::HookError;
use crate::init::{At, Fault};
use crate::seccomp::SeccompError;
use crate::text::ErrnoWords;
use crate::words::WordError;

/// Why an operation on a container failed.
#[derive(Debug)]
pub enum Error {
    /// The container's name cannot be one.
    InvalidId {
        /// What was given.
        id: String,
    },
    /// A container of that name is there already.
    Exists {
        /// Its name.
        id: String,
    },
    /// No container of that name is there.
    NotFound {
        /// What was asked for.
        id: String,
    },
    /// The container is in a state that does not allow it.
    WrongStatus {
        /// Its name.
        id: String,
        /// What was to be done, as a verb.
        doing: &'static str,
        /// The state it is in.
        status: Status,
    },
    /// A document does not parse.
    Document {
        /// The document's file.
        path: PathBuf,
        /// Where in it and why.
        source: Box<SpecError>,
    },
    /// A word of the document has no meaning.
    Word {
        /// The field, as a path into the document.
        field: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The document asks for something that cannot be done.
    Refused {
        /// The field, as a path into the document.
        field: &'static str,
        /// What it says.
        value: String,
        /// Why not.
        reason: &'static str,
    },
    /// An operation on a file failed.
    File {
        /// What was to be done, as a verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// A system call on no file failed.
    Call {
        /// What was to be done.
        doing: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// A program that the runtime needed failed.
    Program {
        /// Its name.
        name: &'static str,
        /// What it said, or how it ended.
        said: String,
    },
    /// A step of the container's first process failed.
    Step(StepError),
    /// A network device could not be moved into the container.
    Device {
        /// Its name on the host.
        name: String,
        /// What was to be done.
        doing: &'static str,
        /// What the kernel said.
        errno: Errno,
        /// And what it said of it in words, often nothing.
        said: String,
    },
    /// The kernel refused a share of caches or memory bandwidth.
    Schemata {
        /// The group's file.
        path: PathBuf,
        /// What was written.
        text: String,
        /// What the kernel said.
        errno: Errno,
        /// And what it said of it in words.
        said: String,
    },
    /// A cgroup of version 2 takes no processes of its own.
    CgroupRefuses {
        /// Its directory.
        dir: PathBuf,
        /// `EBUSY` or `EOPNOTSUPP`.
        errno: Errno,
    },
    /// The container's first process died before it got to its program.
    Died {
        /// By which signal, if by one.
        signal: Option<i32>,
    },
    /// Something about its cgroup.
    Cgroup(Box<CgroupFailure>),
    /// Staying in front of a process failed.
    Foreground(Box<ForegroundFailure>),
    /// A hook failed.
    Hook(Box<HookFailure>),
}

/// A cgroup's error; its parts are the runtime's own.
#[derive(Debug)]
pub struct CgroupFailure(pub(crate) CgroupError);

/// A hook's error; its parts are the runtime's own.
#[derive(Debug)]
pub struct HookFailure(pub(crate) HookError);

/// An error in front of a process; its parts are the runtime's own.
#[derive(Debug)]
pub struct ForegroundFailure(pub(crate) ForegroundError);

/// Why the container's first process could not become its program.
#[derive(Debug)]
pub struct StepError {
    pub(crate) step: String,
    pub(crate) at: At,
    pub(crate) errno: Errno,
    /// What kind of failure a caller can tell apart.
    pub(crate) kind: StepKind,
}

/// What a caller can tell apart about a failed step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepKind {
    /// Setting the container up failed.
    Setup,
    /// The program is not there.
    ProgramNotFound,
    /// The program is there, but cannot be executed.
    ProgramNotExecutable,
}

impl Error {
    /// What kind of failure of the first process this is, if it is one.
    pub fn step_kind(&self) -> Option<StepKind> {
        match self {
            Self::Step(step) => Some(step.kind),
            Self::Refused { field: "exec", .. } => Some(StepKind::ProgramNotFound),
            _ => None,
        }
    }

    pub(crate) fn file(
        doing: &'static str,
        path: impl Into<PathBuf>,
        errno: impl Into<Errno>,
    ) -> Self {
        Self::File { doing, path: path.into(), errno: errno.into() }
    }

    pub(crate) fn call(doing: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Call { doing, errno }
    }

    pub(crate) fn word(field: impl Into<String>) -> impl FnOnce(WordError) -> Self {
        let field = field.into();
        move |source| Self::Word { field, source: Box::new(source) }
    }
}

impl From<CgroupError> for Error {
    fn from(error: CgroupError) -> Self {
        Self::Cgroup(Box::new(CgroupFailure(error)))
    }
}

impl From<HookError> for Error {
    fn from(error: HookError) -> Self {
        Self::Hook(Box::new(HookFailure(error)))
    }
}

impl From<ForegroundError> for Error {
    fn from(error: ForegroundError) -> Self {
        Self::Foreground(Box::new(ForegroundFailure(error)))
    }
}

impl From<SeccompError> for Error {
    fn from(error: SeccompError) -> Self {
        Self::Word { field: "linux.seccomp".to_owned(), source: Box::new(error) }
    }
}

impl StepError {
    /// The words for a fault in `step`.
    pub(crate) fn new(step: String, kind: StepKind, fault: Fault) -> Self {
        Self { step, at: fault.at, errno: fault.errno, kind }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.step)?;
        if self.at == At::Outside {
            // The words of runc, which engines know.
            return write!(
                f,
                "current working directory is outside of container mount namespace root -- possible container breakout detected"
            );
        }
        if self.at != At::Itself {
            write!(f, "{}: ", self.at.words())?;
        }
        write!(f, "{}", ErrnoWords(self.errno))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidId { id } => write!(
                f,
                "invalid container id {id:?}: use letters, digits, '_', '+', '-', '.' and at most 1024 of them"
            ),
            Self::Exists { id } => write!(f, "container with given ID already exists: {id}"),
            Self::NotFound { id } => write!(f, "container does not exist: {id}"),
            // The words of runc where engines look for them.
            Self::WrongStatus { id, doing, status: Status::Stopped } => {
                write!(f, "cannot {doing} container {id}: container not running")
            }
            Self::WrongStatus { doing: "exec in", status: Status::Paused, .. } => {
                write!(f, "cannot exec in a paused container (use --ignore-paused to override)")
            }
            Self::WrongStatus { id, doing, status } => {
                write!(f, "cannot {doing} container {id}: it is {status}")
            }
            Self::Document { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Word { field, source } => write!(f, "{field}: {source}"),
            Self::Refused { field, value, reason } if value.is_empty() => {
                write!(f, "{field}: {reason}")
            }
            Self::Refused { field, value, reason } => write!(f, "{field}: {value:?}: {reason}"),
            Self::File { doing, path, errno } => {
                write!(f, "{doing} {}: {}", path.display(), ErrnoWords(*errno))
            }
            Self::Call { doing, errno } => write!(f, "{doing}: {}", ErrnoWords(*errno)),
            Self::Program { name, said } => write!(f, "{name}: {said}"),
            Self::Step(step) => step.fmt(f),
            Self::Device { name, doing, errno, said } => {
                write!(f, "network device {name}: {doing}: {}", ErrnoWords(*errno))?;
                if said.is_empty() { Ok(()) } else { write!(f, " ({said})") }
            }
            Self::Schemata { path, text, errno, said } => {
                write!(f, "write {text:?} to {}: {} ({said})", path.display(), ErrnoWords(*errno))
            }
            Self::CgroupRefuses { dir, errno } => {
                let reason = match *errno {
                    Errno::BUSY => "it has controllers on for the cgroups below it",
                    _ => "it is below a threaded one",
                };
                write!(f, "enter cgroup {}: {reason} and takes no processes", dir.display())
            }
            Self::Died { signal: Some(signal) } => {
                write!(
                    f,
                    "the container's first process was killed by signal {signal} while it was set up"
                )
            }
            Self::Died { signal: None } => {
                write!(f, "the container's first process ended while it was set up")
            }
            Self::Cgroup(failure) => failure.0.fmt(f),
            Self::Foreground(failure) => failure.0.fmt(f),
            Self::Hook(failure) => failure.0.fmt(f),
        }
    }
}

impl std::error::Error for Error {}
