//! Snapshots by key and name: a driver's files and the records of them, kept together.
//!
//! Invariant: what is recorded as committed is whole and on disk before it is recorded. A crash between a
//! record and its files is put right by [`Store::recover_snapshots`](crate::Store::recover_snapshots):
//! files without a record go, and so does the record of an active snapshot without files.
//! Absent on purpose: removing what is committed, which is garbage collection's.

use std::fmt;
use std::io::Read;

use super::contract::{PrepareOptions, Snapshotter};
use super::error::SnapshotError;
use super::mounts::{Mounts, View};
use crate::db::{
    ChainId, Db, Labels, LeaseId, SnapshotKey, SnapshotNumber, SnapshotRecord, SnapshotRecordError,
    SnapshotRecords, SnapshotState, SnapshotUsage,
};
use crate::layer::{Applied, ApplyOptions, DiffOptions, DiffSink};

/// One driver's snapshots. Calls on different snapshots may run at the same time; calls on one are the
/// caller's to put in order.
pub struct Snapshots {
    records: SnapshotRecords,
    driver: Box<dyn Snapshotter>,
}

/// Why a snapshot is not as it was wanted.
#[derive(Debug)]
pub enum SnapshotsError {
    /// The driver's own word.
    Driver(SnapshotError),
    /// What is on record does not allow it.
    Record(SnapshotRecordError),
}

type Result<T> = std::result::Result<T, SnapshotsError>;

impl Snapshots {
    /// The snapshots that `driver` has and `db` knows.
    pub fn new(db: &Db, driver: Box<dyn Snapshotter>) -> Self {
        Self { records: db.snapshots(driver.name()), driver }
    }

    /// The driver itself, for those who tidy.
    pub fn driver(&self) -> &dyn Snapshotter {
        &*self.driver
    }

    /// See [`Snapshotter::rebases`].
    pub fn rebases(&self) -> bool {
        self.driver.rebases()
    }

    /// Whether there is a committed snapshot of that name.
    pub fn contains(&self, name: &ChainId) -> Result<bool> {
        match self.records.committed(name) {
            Ok(_) => Ok(true),
            Err(SnapshotRecordError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets a lease keep a committed snapshot; says whether it is there. Who relies on one that somebody else
    /// made must ask so: garbage collection may take one that was only looked at.
    pub fn keep(&self, name: &ChainId, lease: &LeaseId) -> Result<bool> {
        Ok(self.records.keep(name, lease.as_str())?)
    }

    /// Begins a writable snapshot; with a lease it ends when the lease does.
    pub fn prepare(
        &self,
        key: &SnapshotKey,
        parent: Option<&ChainId>,
        lease: Option<&LeaseId>,
        options: &PrepareOptions,
    ) -> Result<()> {
        let lease = lease.map(LeaseId::as_str);
        let record = self.records.create(key, parent, &Labels::default(), lease)?;
        let prepared = self
            .ancestors(&record)
            .and_then(|parents| Ok(self.driver.prepare(record.number, &parents, options)?));
        if prepared.is_err() {
            self.remove(key)?;
        }
        prepared
    }

    /// Unpacks a layer into a fresh active snapshot.
    pub fn apply(
        &self,
        key: &SnapshotKey,
        layer: &mut dyn Read,
        options: &ApplyOptions<'_>,
    ) -> Result<Applied> {
        let record = self.records.active(key)?;
        Ok(self.driver.apply(record.number, layer, options)?)
    }

    /// Makes an active snapshot one of a stack, under the stack's name; `parent` may differ from what it was
    /// prepared on only if that was nothing and the driver rebases.
    pub fn commit(
        &self,
        key: &SnapshotKey,
        name: &ChainId,
        parent: Option<&ChainId>,
    ) -> Result<SnapshotUsage> {
        let record = self.records.active(key)?;
        let parents = match parent {
            None => Vec::new(),
            Some(parent) => {
                let below = self.records.committed(parent)?;
                let mut parents = vec![below.number];
                parents.extend(self.ancestors(&below)?);
                parents
            }
        };
        self.driver.commit(record.number, &parents)?;
        let usage = self.driver.usage(record.number, &parents)?;
        self.records.commit(key, name, parent, usage)?;
        Ok(usage)
    }

    /// What to mount to see an active snapshot.
    pub fn mounts(&self, key: &SnapshotKey, view: &View) -> Result<Mounts> {
        self.mounts_of(&self.records.active(key)?, view)
    }

    /// What to mount to read a committed one.
    pub fn mounts_of_committed(&self, name: &ChainId, view: &View) -> Result<Mounts> {
        self.mounts_of(&self.records.committed(name)?, view)
    }

    fn mounts_of(&self, record: &SnapshotRecord, view: &View) -> Result<Mounts> {
        let parents = self.ancestors(record)?;
        Ok(self.driver.mounts(record.number, &parents, view)?)
    }

    /// Tells what is otherwise in an active snapshot than below it.
    pub fn diff(
        &self,
        key: &SnapshotKey,
        options: &DiffOptions<'_>,
        sink: &mut dyn DiffSink,
    ) -> Result<()> {
        self.diff_of(&self.records.active(key)?, options, sink)
    }

    /// Tells what is otherwise in a committed snapshot than below it.
    pub fn diff_of_committed(
        &self,
        name: &ChainId,
        options: &DiffOptions<'_>,
        sink: &mut dyn DiffSink,
    ) -> Result<()> {
        self.diff_of(&self.records.committed(name)?, options, sink)
    }

    /// Tells all that an active snapshot shows, as one layer upon nothing: written down by a
    /// [`LayerWriter`](crate::LayerWriter), the tar of a root file system.
    pub fn export(
        &self,
        key: &SnapshotKey,
        options: &DiffOptions<'_>,
        sink: &mut dyn DiffSink,
    ) -> Result<()> {
        self.export_of(&self.records.active(key)?, options, sink)
    }

    /// The same of a committed one.
    pub fn export_of_committed(
        &self,
        name: &ChainId,
        options: &DiffOptions<'_>,
        sink: &mut dyn DiffSink,
    ) -> Result<()> {
        self.export_of(&self.records.committed(name)?, options, sink)
    }

    fn export_of(
        &self,
        record: &SnapshotRecord,
        options: &DiffOptions<'_>,
        sink: &mut dyn DiffSink,
    ) -> Result<()> {
        let parents = self.ancestors(record)?;
        Ok(self.driver.export(record.number, &parents, options, sink)?)
    }

    fn diff_of(
        &self,
        record: &SnapshotRecord,
        options: &DiffOptions<'_>,
        sink: &mut dyn DiffSink,
    ) -> Result<()> {
        let parents = self.ancestors(record)?;
        Ok(self.driver.diff(record.number, &parents, options, sink)?)
    }

    /// What an active snapshot takes now, beyond what it stands on.
    pub fn usage(&self, key: &SnapshotKey) -> Result<SnapshotUsage> {
        let record = self.records.active(key)?;
        let parents = self.ancestors(&record)?;
        Ok(self.driver.usage(record.number, &parents)?)
    }

    /// Gives back what `mounts` made ready for an active snapshot.
    pub fn release(&self, key: &SnapshotKey) -> Result<()> {
        let record = self.records.active(key)?;
        Ok(self.driver.release(record.number)?)
    }

    /// Removes an active snapshot with all that was written; one that is not there is no error.
    pub fn remove(&self, key: &SnapshotKey) -> Result<()> {
        let record = match self.records.remove_active(key) {
            Ok(record) => record,
            Err(SnapshotRecordError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.driver.release(record.number)?;
        Ok(self.driver.remove(record.number)?)
    }

    fn ancestors(&self, record: &SnapshotRecord) -> Result<Vec<SnapshotNumber>> {
        let ancestors = self.records.ancestors(record.number)?;
        Ok(ancestors.into_iter().map(|below| below.number).collect())
    }

    /// Everything that is on record.
    pub fn list(&self) -> Result<Vec<SnapshotRecord>> {
        Ok(self.records.list()?)
    }

    /// Removes every active snapshot that the caller does not know any more.
    pub fn remove_unknown(&self, is_known: impl Fn(&SnapshotKey) -> bool) -> Result<()> {
        for record in self.list()? {
            if let SnapshotState::Active(key) = &record.state
                && !is_known(key)
            {
                self.remove(key)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("driver", &self.driver.name()).finish_non_exhaustive()
    }
}

impl fmt::Display for SnapshotsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver(error) => error.fmt(f),
            Self::Record(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SnapshotsError {}

impl From<SnapshotError> for SnapshotsError {
    fn from(error: SnapshotError) -> Self {
        Self::Driver(error)
    }
}

impl From<SnapshotRecordError> for SnapshotsError {
    fn from(error: SnapshotRecordError) -> Self {
        Self::Record(error)
    }
}
