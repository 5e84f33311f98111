//! Layers on disk: unpacking one, and finding out what one would have to say.
//!
//! Invariant: everything is reached through directory descriptors, one name at a time or by `openat2` through
//! directories alone; memory and descriptors do not grow with depth or size of a tree.
//! Absent on purpose: which snapshot stands on which, and whether anything of it is still wanted.

mod apply;
mod copy;
mod diff;
mod error;
mod form;
mod list;
mod merge;
mod metadata;
mod owners;
mod pending;
mod remove;
mod root;
mod settle;
mod trail;
mod tree;
mod usage;
mod view;
mod walk;

pub(crate) use apply::apply;
pub(crate) use apply::write as write_at;
pub use apply::{Applied, ApplyOptions, Unmakeable};
pub(crate) use copy::{How, copy_tree};
pub(crate) use diff::{Body, diff};
pub use diff::{ChangeKind, DiffError, DiffOptions, DiffSink, LayerWriter};
pub use error::{ApplyError, ApplyFault};
pub(crate) use form::{Form, Mark};
pub(crate) use list::Listing;
pub(crate) use merge::merge;
pub(crate) use metadata::{
    Target, copy as copy_metadata, read as read_metadata, set_xattrs, timestamps,
};
pub use owners::{IdRange, Owners};
pub(crate) use pending::Pending;
pub(crate) use remove::remove_tree;
pub use root::{CopiedUp, RootEntry, RootView};
pub(crate) use settle::settle;
pub(crate) use trail::{Trail, open_dir};
pub use tree::TreeError;
pub(crate) use usage::usage;
pub(crate) use view::View;
pub(crate) use walk::open_dir_path;
