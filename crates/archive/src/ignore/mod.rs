//! `.dockerignore` patterns: which paths of a build's context are left out.
//!
//! The rules are Docker's: patterns as Go's `filepath.Match` has them, `**` for any number of
//! directories, `!` for an exception, the last pattern that matches decides, and a pattern that
//! matches a directory matches all that is in it.
//!
//! Invariant: a check takes time in proportion to pattern × path, whatever either is.
//! Absent on purpose: reading files and walking directories; [`Patterns::check`] is made to be
//! called on the way down, [`Patterns::may_except_below`] tells which ignored directories need no
//! look.

mod file;
mod glob;
mod patterns;

pub use patterns::{PatternError, PatternFault, Patterns, Seen};
