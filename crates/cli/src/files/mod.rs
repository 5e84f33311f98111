//! Files of this machine as archives, for `cp`: packed and unpacked.
//!
//! Invariant: what is unpacked comes from a container that nobody trusts: no entry leads out of the directory that
//! it is unpacked into, by name or by link. Absent on purpose: owners: what is copied here is the caller's.

mod pack;
mod path;
mod unpack;

pub(crate) use pack::pack;
pub(crate) use path::{clean, is_asserted_directory, split};
pub(crate) use unpack::{Rename, unpack};
