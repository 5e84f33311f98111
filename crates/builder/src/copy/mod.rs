//! `COPY` and `ADD`: which files, what identifies them, and the layer that they make.
//!
//! The way: [`pick`] finds what the words mean and measures it; its digest is part of the step's key; [`write()`] makes
//! the layer's tar of it, below the places that the destination's links lead to.
//! Invariant: the same files at the same place make the same bytes. Absent on purpose: where files come from.

mod mode;
mod pick;
mod write;

pub(crate) use mode::Mode;
pub(crate) use pick::{Kept, Picked, Picking, add_to_key, matching, pick};
pub(crate) use write::{Target, write};
