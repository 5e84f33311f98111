//! Everything that lies below the data root and outlives a process: content, snapshots, metadata.
//!
//! Invariant: what a record names is whole and on disk before the record is; only garbage collection
//! removes bytes.
//! Absent on purpose: HTTP, registries, processes, and mounting: a driver describes mounts, others make them.

mod class;
mod clock;
mod content;
mod db;
mod files;
mod image;
mod layer;
mod snapshot;
mod steps;
mod store;
mod tarball;
#[cfg(test)]
mod testing;

pub use class::Class;
pub use clock::Clock;
pub use content::{
    Begun, Blob, BlobReader, Content, ContentError, Expected, Ingest, IngestId, PartialIngest,
    Stored, measure,
};
pub use db::{
    BuildRow, BuildRowKind, ChainId, ContainerChange, ContainerRecordError, ContainerRow, Db,
    DbError, Durability, EventRow, Labels, Lease, LeaseId, NetworkRow, NewManifest, PruneOptions,
    Pruned, PushRules, Repositories, RepositoryError, RepositoryManifest, RepositoryTag,
    RepositoryUsage, SnapshotKey, SnapshotKeyError, SnapshotNumber, SnapshotRecord,
    SnapshotRecordError, SnapshotRecords, SnapshotState, SnapshotUsage, VolumeRow,
};
pub use files::{FilesError, LiveRoot, PathStat, UnpackOptions};
pub use image::{
    HistoryStep, Image, ImageManifest, ImageName, Images, ManifestKind, Place, Selected,
    StoreImageError, chain_ids,
};
pub use layer::{
    Applied, ApplyError, ApplyFault, ApplyOptions, ChangeKind, CopiedUp, DiffError, DiffOptions,
    DiffSink, IdRange, LayerWriter, Owners, RootEntry, RootView, TreeError, Unmakeable,
};
pub use snapshot::{
    Btrfs, Mounts, Overlay2, PrepareOptions, SnapshotError, Snapshots, SnapshotsError, Snapshotter,
    Upper, Vfs, View,
};
pub use steps::Steps;
pub use store::{
    CheckReport, CollectOptions, Collected, DiskUsage, Finding, Recovered, Store, StoreError,
    StoreOptions, take_lock,
};
pub use tarball::{
    Changes, CommitError, EntryFault, Import, LoadError, LoadLimits, Loaded, SaveError, SaveItem,
};
