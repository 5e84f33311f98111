//! Snapshots: file systems that layers add up to, and the drivers that keep them.
//!
//! The contract is the text of [`contract`]; each driver is a file; all of them run one suite of tests.

mod btrfs;
#[cfg(test)]
mod conformance;
mod contract;
mod directory;
mod error;
mod mounts;
mod overlay2;
mod quota;
mod snapshots;
mod vfs;
mod whole;

pub use btrfs::Btrfs;
pub use contract::{PrepareOptions, Snapshotter};
pub use error::SnapshotError;
pub use mounts::{Mounts, Upper, View};
pub use overlay2::Overlay2;
pub use snapshots::{Snapshots, SnapshotsError};
pub use vfs::Vfs;
