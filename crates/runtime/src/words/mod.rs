//! The specification's words and what the kernel calls them.
//!
//! Every table here is pure: a word goes in, a number comes out, nothing is read or done. A word
//! that no table knows is an error that names it; none is skipped in silence (mount options are
//! the one exception, where an unknown word is data for the file system). Whether the running
//! kernel has what a word asks for is not decided here.

mod capability;
mod cpulist;
mod ioprio;
mod mempolicy;
mod mount_options;
mod personality;
mod rlimit;
mod sched;
mod signal;

use std::fmt;

pub use capability::capability_names;
pub(crate) use capability::{CapSet, Capability};
pub(crate) use cpulist::parse_cpu_list;
pub(crate) use ioprio::io_priority;
pub(crate) use mempolicy::{MemoryPolicy, NodeMask};
pub(crate) use mount_options::{IdmapOption, MountOptions, attr, ms};
pub(crate) use personality::personality;
pub(crate) use rlimit::{rlimit_resource, rlimit_word};
pub(crate) use sched::{SchedulerWords, scheduler};
pub(crate) use signal::{Signal, fault_of_signal};

/// Why a word, or words together, mean nothing to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WordError {
    /// The word stands in no table of its kind.
    Unknown { kind: &'static str, word: String },
    /// The number lies outside what the kernel takes.
    Range { kind: &'static str, value: i64, min: i64, max: i64 },
    /// The text is no list such as `0-3,5`.
    List { kind: &'static str, text: String },
    /// `field` says something, but has no meaning beside `beside`.
    Senseless { field: &'static str, beside: &'static str },
    /// `field` has to say something beside `beside`.
    Missing { field: &'static str, beside: &'static str },
}

impl fmt::Display for WordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { kind, word } => write!(f, "unknown {kind} {word:?}"),
            Self::Range { kind, value, min, max } => {
                write!(f, "{kind} {value} is not within {min} to {max}")
            }
            Self::List { kind, text } => write!(f, "{kind} {text:?} is not a list like \"0-3,5\""),
            Self::Senseless { field, beside } => write!(f, "{field} has no meaning with {beside}"),
            Self::Missing { field, beside } => write!(f, "{beside} needs {field}"),
        }
    }
}

impl std::error::Error for WordError {}

impl WordError {
    /// The error for a word that `kind`'s table does not have.
    fn unknown(kind: &'static str, word: &str) -> Self {
        Self::Unknown { kind, word: word.to_owned() }
    }
}

/// Looks `word` up in `table`; tables are short, so they are in the order that reads best.
fn look_up<T: Copy>(
    kind: &'static str,
    table: &[(&'static str, T)],
    word: &str,
) -> Result<T, WordError> {
    table
        .iter()
        .find(|(name, _)| *name == word)
        .map(|&(_, value)| value)
        .ok_or_else(|| WordError::unknown(kind, word))
}
