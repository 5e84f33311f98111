//! What `build` does beside its flags: what is asked (`query`), what is sent (`input`, `send`), what comes back (`stream`),
//! where that goes (`output`), and how it looks (`view`, `plain`, `screen`, `check`).
//!
//! Absent on purpose: building.

mod check;
mod input;
mod output;
mod plain;
mod query;
mod screen;
mod send;
mod stream;
mod view;

pub(crate) use check::show as show_lint;
pub(crate) use input::Input;
pub(crate) use output::Outputs;
pub(crate) use query::{Pairs, agents, options, secrets};
pub(crate) use send::send;
pub(crate) use stream::{Built, follow};
pub(crate) use view::{Mode, View};
