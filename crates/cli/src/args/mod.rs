//! The words of a command line, read by tables of flags.
//!
//! A table is a constant; reading costs one pass over the words that were given. Absent on purpose:
//! any command.

mod flag;
mod number;
mod parse;

pub(crate) use flag::Flag;
pub(crate) use number::{bytes_or_unlimited, cpus, parse_bool, uint16, uint64};
pub(crate) use parse::{Matches, parse};
