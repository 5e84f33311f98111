//! What a layer's entries mean: changes to the layers below, as plain values.
//!
//! A layer is a tar whose names are relative to a root and in which some names are words: `.wh.x`
//! removes `x` of the layers below, `.wh..wh..opq` removes all that they have in its directory.
//! [`Item::of`] reads an [`Entry`](crate::tar::Entry) so, [`Change::into_entry`] writes one; what
//! happens where several entries meet on one name is [`settle`].
//!
//! Invariant: a [`LayerPath`] has no `..`, no `.`, no empty component, and does not begin with a
//! slash; nothing here can name what is outside the root. Symbolic links on the way are not this
//! module's matter: who applies a change walks through directory file descriptors.
//! Absent on purpose: touching files, and the forms that drivers give whiteouts on disk.

mod change;
mod error;
mod path;
mod settle;

pub use change::{Change, Item, LinkTarget, Node};
pub use error::{LayerError, LayerFault};
pub use path::LayerPath;
pub use settle::{Incoming, Present, Settlement, settle};
