//! Why the store does not open, or could not be tidied.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::content::ContentError;
use crate::db::{DbError, SnapshotRecordError};
use crate::snapshot::SnapshotError;

/// The store as a whole.
#[derive(Debug)]
pub enum StoreError {
    /// Another process has it open.
    InUse {
        /// The data root.
        root: PathBuf,
        /// That process, as it put itself down.
        pid: String,
    },
    /// A newer program laid it out; nothing was changed.
    NewerLayout {
        /// The data root.
        root: PathBuf,
        /// Its layout.
        found: String,
        /// The newest layout that we know.
        known: u32,
    },
    /// It cannot be written; nothing was changed.
    ReadOnly {
        /// The data root.
        root: PathBuf,
    },
    /// The file system.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Its content.
    Content(ContentError),
    /// Its snapshots' records.
    SnapshotRecord(SnapshotRecordError),
    /// A storage driver.
    Snapshot(SnapshotError),
    /// Its database.
    Db(DbError),
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl From<ContentError> for StoreError {
    fn from(error: ContentError) -> Self {
        Self::Content(error)
    }
}

impl From<SnapshotRecordError> for StoreError {
    fn from(error: SnapshotRecordError) -> Self {
        Self::SnapshotRecord(error)
    }
}

impl From<SnapshotError> for StoreError {
    fn from(error: SnapshotError) -> Self {
        Self::Snapshot(error)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { root, pid } => write!(
                f,
                "data root {} is in use by process {pid}: end that one, or choose another root",
                root.display()
            ),
            Self::NewerLayout { root, found, known } => write!(
                f,
                "data root {} has layout {found}, this program knows up to {known}: \
                 use the newer program",
                root.display()
            ),
            Self::ReadOnly { root } => write!(
                f,
                "data root {} cannot be written: make it writable, or choose another root",
                root.display()
            ),
            Self::Io { doing, path, source } => write!(f, "{doing} {}: {source}", path.display()),
            Self::Content(error) => error.fmt(f),
            Self::SnapshotRecord(error) => error.fmt(f),
            Self::Snapshot(error) => error.fmt(f),
            Self::Db(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StoreError {}
