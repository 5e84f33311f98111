//! The container's first process: its program as data, and the interpreter that carries it out.
//!
//! The parent writes a list of [`Step`]s ([`crate::plan`]), clones, and the child works it off. What the
//! child says back is a [`Report`].

mod beneath;
mod child;
mod copy_up;
mod identity;
mod mounts;
mod report;
mod step;
mod terminal;

pub(crate) use beneath::{Kind, open as open_beneath};
pub(crate) use child::run;
pub(crate) use mounts::READ_ONLY;
pub(crate) use report::{At, Fault, Report, SyncPoint};
pub(crate) use step::{Link, Listing, MountStep, Node, Program, Source, Step};
pub(crate) use terminal::{receive_descriptor, send_descriptor};
