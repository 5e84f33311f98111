//! Everything that lies below the data root and outlives a process: content, snapshots, metadata.
//!
//! Invariant: what a record names is whole and on disk before the record is; only garbage collection
//! removes bytes.
//! Absent on purpose: HTTP, registries, processes, and mounting: a driver describes mounts, others make them.

mod clock;
mod content;
mod db;
mod image;
mod layer;
mod snapshot;
#[cfg(test)]
mod testing;

pub use clock::Clock;
pub use db::{
    ChainId, Db, DbError, Durability, Labels, SnapshotKey, SnapshotKeyError, SnapshotNumber,
    SnapshotRecord, SnapshotRecordError, SnapshotRecords, SnapshotState, SnapshotUsage,
};
