//! Checkpoints: talking to CRIU, which takes containers apart and puts them together again.
//!
//! Here is the protocol and what of a container CRIU has to be told; `container` decides when, and keeps
//! the record. Nothing of CRIU is linked in: it is a program of the host, or is not there.

mod mounts;
mod options;
mod session;
mod wire;

pub(crate) use mounts::external;
pub use options::CgroupMode;
pub(crate) use options::{Options, Switch};
pub(crate) use session::{Notice, Request, Session, Start, failed};
