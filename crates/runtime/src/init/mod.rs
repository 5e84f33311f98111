//! The container's first process: its program as data, and the interpreter that carries it out.
//!
//! The parent writes a list of [`Step`]s ([`crate::plan`]), clones, and the child works it off. What the
//! child says back is a [`Report`].

mod attributes;
mod beneath;
mod child;
mod copy_up;
mod identity;
#[cfg(test)]
mod listing;
mod mounts;
mod report;
mod step;
mod terminal;

pub(crate) use attributes::READ_ONLY;
pub(crate) use beneath::open as open_beneath;
pub(crate) use child::run;
#[cfg(test)]
pub(crate) use listing::Listing;
pub(crate) use mounts::open_tree_of;
pub(crate) use report::{At, Fault, Report, SyncPoint};
pub(crate) use step::{IdMap, Link, MountStep, Node, Program, Source, Step, Target, Tree};
pub(crate) use terminal::{receive_descriptor, send_descriptor};
