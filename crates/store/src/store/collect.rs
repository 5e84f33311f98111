//! Garbage collection: what nothing keeps goes.
//!
//! Invariant: records go first, in one transaction that survives a power cut, then files. It may
//! run beside anything: a blob that is being named is not taken, and one that is being taken is
//! not named before it is gone.

use super::{Store, StoreError};
use crate::db::{Forgotten, SnapshotRecord};
use crate::snapshot::Snapshotter;

/// What may go beside what nothing keeps.
#[derive(Debug, Clone, Copy)]
pub struct CollectOptions {
    /// Ingests that nobody has written to for so long are given up; zero means all.
    pub ingest_age_ms_max: i64,
}

/// What went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Ingests.
    pub ingests: u64,
    /// Their bytes.
    pub ingest_bytes: u64,
}

impl Store {
    /// Removes what nothing keeps. `drivers` are all whose snapshots are on record; one that is
    /// not among them leaves its directories to its next recovery. Goes on after an error, and
    /// tells the first.
    pub fn collect(
        &self,
        options: CollectOptions,
        drivers: &[&dyn Snapshotter],
    ) -> Result<Collected, StoreError> {
        self.steps.at("collect.forget").map_err(|error| self.interrupted(error))?;
        let Forgotten { blobs, blob_bytes, snapshots } = self.db.sweep(self.content.names())?;
        let mut collected = Collected {
            blobs: blobs.digests().len() as u64,
            blob_bytes,
            snapshots: snapshots.len() as u64,
            ..Collected::default()
        };
        let mut first = None;
        let mut keep_first = |error: StoreError| {
            first.get_or_insert(error);
        };
        for digest in blobs.digests() {
            self.content.unlink_blob(digest).unwrap_or_else(|error| keep_first(error.into()));
        }
        drop(blobs);
        for record in &snapshots {
            let Some(driver) = drivers.iter().find(|driver| driver.name() == record.driver) else {
                continue;
            };
            self.remove_snapshot(*driver, record).unwrap_or_else(&mut keep_first);
        }
        self.discard_ingests(options, &mut collected).unwrap_or_else(keep_first);
        self.db.fill_reserve();
        first.map_or(Ok(collected), Err)
    }

    /// Removes the blobs of layers that are unpacked and that a repository has served; gives how many.
    pub fn discard_unpacked(&self) -> Result<u64, StoreError> {
        let departure = self.db.forget_unpacked(self.content.names())?;
        for digest in departure.digests() {
            self.content.unlink_blob(digest)?;
        }
        Ok(departure.digests().len() as u64)
    }

    fn discard_ingests(
        &self,
        options: CollectOptions,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        let now = self.db.clock().now_ms();
        for ingest in self.content.partial_ingests()? {
            if now.saturating_sub(ingest.written_ms) >= options.ingest_age_ms_max {
                self.content.discard(&ingest.id)?;
                collected.ingests += 1;
                collected.ingest_bytes += ingest.size_bytes;
            }
        }
        Ok(())
    }

    fn remove_snapshot(
        &self,
        driver: &dyn Snapshotter,
        record: &SnapshotRecord,
    ) -> Result<(), StoreError> {
        self.steps.at("snapshot.remove").map_err(|error| self.interrupted(error))?;
        driver.release(record.number)?;
        Ok(driver.remove(record.number)?)
    }

    fn interrupted(&self, source: std::io::Error) -> StoreError {
        StoreError::Io { doing: "collect garbage below", path: self.root().to_owned(), source }
    }
}
