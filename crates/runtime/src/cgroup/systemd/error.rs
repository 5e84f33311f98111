//! What can go wrong in talking to systemd.

use std::fmt;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::text::ErrnoWords;

/// Why systemd did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BusError {
    /// Nobody listens.
    Connect { path: PathBuf, errno: Errno },
    /// The other end does not believe that we are who we are.
    Refused { path: PathBuf, answer: String },
    /// The connection broke.
    Io(Errno),
    /// The other end closed the connection.
    Closed,
    /// No answer came in time.
    Late,
    /// What came is no message of the protocol.
    Malformed,
    /// systemd says no.
    Answer { member: String, name: String, text: String },
    /// The process that a scope is to be made around could not be opened.
    Process { pid: i32, errno: Errno },
    /// A job came to another end than a good one.
    Job { unit: String, result: String },
    /// An annotation's value is none that a property could have.
    Annotation { name: String, value: String },
}

impl BusError {
    /// Whether systemd answered with the error of this name.
    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(self, BusError::Answer { name, .. } if name == wanted)
    }
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BusError::Connect { path, errno } => {
                write!(f, "connect to systemd at {}: {}", path.display(), ErrnoWords(*errno))
            }
            BusError::Refused { path, answer } => {
                write!(f, "introduce ourselves to systemd at {}: {answer:?}", path.display())
            }
            BusError::Io(errno) => write!(f, "talk to systemd: {}", ErrnoWords(*errno)),
            BusError::Closed => f.write_str("talk to systemd: it closed the connection"),
            BusError::Late => f.write_str("talk to systemd: no answer in 30 seconds"),
            BusError::Malformed => {
                f.write_str("talk to systemd: an answer that is no D-Bus message")
            }
            BusError::Answer { member, name, text } => {
                write!(f, "ask systemd for {member}: {text} ({name})")
            }
            BusError::Process { pid, errno } => {
                write!(f, "open process {pid}: {}", ErrnoWords(*errno))
            }
            BusError::Job { unit, result } => {
                write!(f, "wait for systemd to start {unit}: the job ended with {result:?}")
            }
            BusError::Annotation { name, value } => {
                write!(f, "annotation {name:?}: {value:?} is no value of a systemd property")
            }
        }
    }
}

impl std::error::Error for BusError {}
