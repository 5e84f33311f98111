//! The Dockerfile language: from bytes to typed instructions.
//!
//! The way: [`directive`] (what the first comments say) → [`lines`] (continuations, comments, here-documents) →
//! [`node`] (words, as Docker's own parser prints them) → [`typed`] (flags and forms of each instruction) →
//! [`stage`] (what belongs to which `FROM`). [`expand`] replaces variables when a stage is built.
//!
//! Invariant: every error knows its line. Absent on purpose: what any instruction does.

mod directive;
mod error;
mod expand;
mod flags;
mod heredoc;
mod instruction;
mod lines;
mod mount;
mod node;
mod pattern;
mod stage;
mod typed;
mod words;

pub use directive::{Check, Directives};
pub use error::{ParseError, ParseFault};
pub use expand::{ExpandError, Expanded, Expander};
pub use heredoc::Heredoc;
pub use instruction::{
    Arg, Command, Copy, CopySource, From, HealthCheck, Instruction, Kind, Network, Pair, Run,
    Security,
};
pub use mount::{Mount, MountKind, Sharing};
pub use node::{Node, Parsed, parse};
pub use stage::{Dockerfile, Stage};
pub(crate) use typed::distance;
pub use typed::instruction_of;
