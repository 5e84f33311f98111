//! The store looked through: every blob hashed, every record held against the disk.
//!
//! Invariant: a repair takes away only what is wrong and can be had again, and never what an
//! intact record names.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use dhow_archive::hash::Hasher;
use dhow_spec::Digest;

use super::{Store, StoreError};
use crate::content::{ContentError, Stored};
use crate::db::{ChainId, SnapshotNumber, SnapshotRecord, SnapshotState};
use crate::image::walk;
use crate::snapshot::Snapshotter;

/// What was looked at and found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Blobs that were hashed.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Snapshots whose records were compared.
    pub snapshots: u64,
    /// What is wrong, and whether it was repaired.
    pub findings: Vec<(Finding, bool)>,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// SQLite says so.
    Database {
        /// What it says.
        detail: String,
    },
    /// A record without a file. Repaired by forgetting it: a pull can bring it again.
    BlobMissing {
        /// The blob.
        digest: Digest,
    },
    /// A file with other bytes. Repaired by removing it: a pull can bring it again.
    BlobCorrupt {
        /// The blob.
        digest: Digest,
        /// What its bytes are.
        actual: Digest,
    },
    /// A file without a record. Repaired by removing it.
    BlobUnrecorded {
        /// The blob.
        digest: Digest,
    },
    /// Something that is not ours. Left alone.
    Stranger {
        /// Where, below the data root.
        path: PathBuf,
    },
    /// An image whose documents cannot be followed. Left alone, for its name may be wanted.
    Image {
        /// Its name.
        name: String,
        /// What is in the way.
        detail: String,
    },
    /// A committed snapshot without its files. Repaired by forgetting it, if nothing stands on it:
    /// it can be unpacked again.
    SnapshotMissing {
        /// The driver.
        driver: String,
        /// Its name.
        name: ChainId,
    },
    /// Files without a record. Repaired by removing them.
    SnapshotUnrecorded {
        /// The driver.
        driver: String,
        /// Its number.
        number: SnapshotNumber,
    },
}

impl Store {
    /// Looks through everything; with `repair`, puts right what can be. May run beside pulls; the
    /// snapshots of `drivers` are compared too.
    pub fn check(
        &self,
        repair: bool,
        drivers: &[&dyn Snapshotter],
    ) -> Result<CheckReport, StoreError> {
        let mut report = CheckReport::default();
        for detail in self.db.integrity()? {
            report.findings.push((Finding::Database { detail }, false));
        }
        for blob in self.db.blobs()? {
            report.blobs += 1;
            report.blob_bytes += blob.size;
            if let Some(finding) = self.check_blob(&blob)? {
                let repaired = repair && self.forget_blob(&blob)?;
                report.findings.push((finding, repaired));
            }
        }
        self.check_files(repair, &mut report)?;
        self.check_images(&mut report)?;
        for driver in drivers {
            self.check_snapshots(repair, *driver, &mut report)?;
        }
        Ok(report)
    }

    fn check_blob(&self, expected: &Stored) -> Result<Option<Finding>, StoreError> {
        let digest = expected.digest;
        let blob = match self.content.open_blob(&digest) {
            Ok(blob) => blob,
            // Garbage collection may have taken both since we listed them.
            Err(ContentError::NotFound { .. }) if self.db.has_blob(&digest)? => {
                return Ok(Some(Finding::BlobMissing { digest }));
            }
            Err(ContentError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut hasher = Hasher::new(digest.algorithm());
        let (mut reader, mut buffer) = (blob.reader(), vec![0; 1 << 20]);
        loop {
            // A sector that cannot be read is as good as wrong bytes.
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(&buffer[..count]),
                Err(_) => break,
            }
        }
        let actual = hasher.finish().digest;
        Ok((actual != digest).then_some(Finding::BlobCorrupt { digest, actual }))
    }

    /// Says whether it did: a blob that was or is being written anew is left alone.
    fn forget_blob(&self, blob: &Stored) -> Result<bool, StoreError> {
        let departure = self.content.names().leave(vec![blob.digest]);
        if departure.digests().is_empty() || self.check_blob(blob)?.is_none() {
            return Ok(false);
        }
        self.db.forget_blob(&blob.digest)?;
        self.content.unlink_blob(&blob.digest)?;
        Ok(true)
    }

    fn check_files(&self, repair: bool, report: &mut CheckReport) -> Result<(), StoreError> {
        let (files, strangers) = self.content.files()?;
        for digest in files {
            // Held against the name, a blob between its name and its record is left alone.
            let departure = self.content.names().leave(vec![digest]);
            if departure.digests().is_empty() || self.db.has_blob(&digest)? {
                continue;
            }
            if repair {
                self.content.unlink_blob(&digest)?;
            }
            report.findings.push((Finding::BlobUnrecorded { digest }, repair));
        }
        for path in strangers {
            report.findings.push((Finding::Stranger { path }, false));
        }
        Ok(())
    }

    fn check_images(&self, report: &mut CheckReport) -> Result<(), StoreError> {
        for record in self.db.images()? {
            if let Err(error) = walk(&self.content, &record.target) {
                let (name, detail) = (record.name.to_string(), error.to_string());
                report.findings.push((Finding::Image { name, detail }, false));
            }
        }
        Ok(())
    }

    fn check_snapshots(
        &self,
        repair: bool,
        driver: &dyn Snapshotter,
        report: &mut CheckReport,
    ) -> Result<(), StoreError> {
        let records = self.db.snapshots(driver.name());
        let name_of_driver = || driver.name().to_owned();
        // Records before and after: what is being prepared or removed meanwhile is in one of them.
        let before = records.list()?;
        let present: BTreeSet<_> = driver.walk()?.into_iter().collect();
        let numbers: BTreeSet<_> = records.list()?.iter().map(|record| record.number).collect();
        report.snapshots += numbers.len() as u64;
        let is_missing = |record: &&SnapshotRecord| {
            !present.contains(&record.number) && numbers.contains(&record.number)
        };
        // Children come after their parents, so that a chain of missing ones goes from its top.
        for record in before.iter().rev().filter(is_missing) {
            let SnapshotState::Committed { name, .. } = record.state else { continue };
            let repaired = repair && records.remove_committed(&name).is_ok();
            report
                .findings
                .push((Finding::SnapshotMissing { driver: name_of_driver(), name }, repaired));
        }
        for number in present.difference(&numbers) {
            if repair {
                driver.remove(*number)?;
            }
            let finding = Finding::SnapshotUnrecorded { driver: name_of_driver(), number: *number };
            report.findings.push((finding, repair));
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database { detail } => write!(f, "database: {detail}"),
            Self::BlobMissing { digest } => write!(f, "blob {digest} has no file"),
            Self::BlobCorrupt { digest, actual } => {
                write!(f, "blob {digest}: its bytes are those of {actual}")
            }
            Self::BlobUnrecorded { digest } => write!(f, "blob {digest} has no record"),
            Self::Stranger { path } => write!(f, "{} is not ours", path.display()),
            Self::Image { name, detail } => write!(f, "image {name}: {detail}"),
            Self::SnapshotMissing { driver, name } => {
                write!(f, "{driver} snapshot {name} has no files")
            }
            Self::SnapshotUnrecorded { driver, number } => {
                write!(f, "{driver} snapshot {number} has no record")
            }
        }
    }
}
