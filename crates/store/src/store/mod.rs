//! The store: a data root with its database, content, images and snapshots.
//!
//! Invariant: whatever moment a process was killed at, opening the root again finds everything
//! that was acknowledged, and gives back what was half done, but for ingests, which can be
//! continued.
//! Absent on purpose: snapshot drivers, which are opened beside it with [`Store::db`].

mod check;
mod collect;
mod error;
mod lock;
mod root;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::content::Content;
use crate::db::{Db, DbError, Lease, LeaseId, Repositories, SnapshotNumber, SnapshotState};
use crate::image::Images;
use crate::snapshot::Snapshotter;
use crate::steps::Steps;

pub use check::{CheckReport, Finding};
pub use collect::{CollectOptions, Collected};
pub use error::StoreError;
pub use lock::take_lock;

use root::Root;

/// How to open a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The data root.
    pub root: PathBuf,
    /// What time it is.
    pub clock: Clock,
    /// For tests; [`Steps::unwatched`] otherwise.
    pub steps: Steps,
}

/// The one owner of a data root.
#[derive(Debug)]
pub struct Store {
    db: Db,
    content: Content,
    images: Images,
    steps: Steps,
    /// Last, so that nobody else gets in before all else is closed.
    root: Root,
}

/// What the store takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Bytes of blobs that garbage collection would take now.
    pub unkept_blob_bytes: u64,
    /// Bytes of what was begun and not ended.
    pub ingest_bytes: u64,
    /// Committed snapshots.
    pub snapshots: u64,
    /// Their bytes, each counted without its parents.
    pub snapshot_bytes: u64,
}

/// What was found half done after a crash, and tidied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Directories without a record, removed.
    pub directories: Vec<SnapshotNumber>,
    /// Active snapshots without a directory, forgotten.
    pub records: Vec<SnapshotNumber>,
    /// Active snapshots that were made under a lease, removed: whoever made them has died, and what
    /// was being unpacked can only be unpacked again.
    pub unfinished: Vec<SnapshotNumber>,
    /// Committed snapshots without a directory: damage, which [`Store::check`] repairs.
    pub missing: Vec<SnapshotNumber>,
}

impl Store {
    /// Opens a data root, made if it is missing, and tidies what a killed process left.
    pub fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let StoreOptions { root, clock, steps } = options;
        let root = Root::open(&root)?;
        let db = Db::open(&root.path().join("dhow.db"), clock)?;
        let content = Content::open(std::os::fd::AsFd::as_fd(&root), db.clone(), steps.clone())?;
        let images = Images::new(db.clone(), content.clone());
        let store = Self { db, content, images, steps, root };
        store.remove_unrecorded_blobs()?;
        Ok(store)
    }

    /// The data root.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Where the storage driver of that name has its snapshots: what it is to be opened with.
    pub fn driver_dir(&self, driver: &str) -> Result<PathBuf, StoreError> {
        self.root.driver_dir(driver)
    }

    /// What time it is here, in milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.db.clock().now_ms()
    }

    /// Blobs.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Images.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// Repositories, for a registry.
    pub fn repositories(&self) -> Repositories {
        Repositories::new(self.db.clone())
    }

    /// Records, for snapshot drivers.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Makes a lease, or gives one that exists a new end.
    pub fn lease(&self, id: &LeaseId, expires_ms: Option<i64>) -> Result<Lease, DbError> {
        self.db.lease(id, expires_ms)
    }

    /// Ends a lease: what nothing else keeps is garbage from now on.
    pub fn end_lease(&self, id: &LeaseId) -> Result<(), DbError> {
        self.db.end_lease(id)
    }

    /// Leases that have not ended.
    pub fn leases(&self) -> Result<Vec<Lease>, DbError> {
        self.db.leases()
    }

    /// What it takes.
    pub fn usage(&self) -> Result<DiskUsage, StoreError> {
        let blobs = self.db.blobs()?;
        let (snapshots, snapshot_bytes) = self.db.count_snapshots()?;
        let ingests = self.content.partial_ingests()?;
        Ok(DiskUsage {
            blobs: blobs.len() as u64,
            blob_bytes: blobs.iter().map(|blob| blob.size).sum(),
            unkept_blob_bytes: self.db.unkept_blobs()?.iter().map(|(_, size)| size).sum(),
            ingest_bytes: ingests.iter().map(|ingest| ingest.size_bytes).sum(),
            snapshots,
            snapshot_bytes,
        })
    }

    /// Brings a driver's records and directories together after a crash. To be called once, after
    /// the driver was opened and before anybody uses it.
    pub fn recover_snapshots(&self, driver: &dyn Snapshotter) -> Result<Recovered, StoreError> {
        let records = self.db.snapshots(driver.name());
        let present: BTreeSet<_> = driver.walk()?.into_iter().collect();
        let mut recovered = Recovered::default();
        let mut known = BTreeSet::new();
        for record in records.list()? {
            known.insert(record.number);
            let is_present = present.contains(&record.number);
            match record.state {
                SnapshotState::Active(key) if record.leased && is_present => {
                    records.remove_active(&key)?;
                    driver.release(record.number)?;
                    driver.remove(record.number)?;
                    recovered.unfinished.push(record.number);
                }
                _ if is_present => {}
                SnapshotState::Active(key) => {
                    records.remove_active(&key)?;
                    recovered.records.push(record.number);
                }
                SnapshotState::Committed { .. } => recovered.missing.push(record.number),
            }
        }
        for number in present.difference(&known) {
            driver.remove(*number)?;
            recovered.directories.push(*number);
        }
        Ok(recovered)
    }

    /// A blob that got its name and not its record was never acknowledged; one that lost its
    /// record was on its way out.
    fn remove_unrecorded_blobs(&self) -> Result<(), StoreError> {
        let recorded: BTreeSet<_> = self.db.blobs()?.into_iter().map(|blob| blob.digest).collect();
        let (files, _) = self.content.files()?;
        for digest in files.iter().filter(|digest| !recorded.contains(digest)) {
            self.content.unlink_blob(digest)?;
        }
        Ok(())
    }
}
