//! Why a driver did not do what it was asked to.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::db::SnapshotNumber;
use crate::layer::{ApplyError, DiffError, TreeError};

/// A driver's failure.
#[derive(Debug)]
pub enum SnapshotError {
    /// There is a snapshot of this number.
    Exists {
        /// Its number.
        number: SnapshotNumber,
    },
    /// There is no snapshot of this number.
    NotFound {
        /// Its number.
        number: SnapshotNumber,
    },
    /// It is committed, and can only be read.
    Committed {
        /// Its number.
        number: SnapshotNumber,
    },
    /// It was prepared on other parents than it is committed on.
    ParentsDiffer {
        /// Its number.
        number: SnapshotNumber,
    },
    /// The layer could not be unpacked; what there is of it can only be removed.
    Apply(Box<ApplyError>),
    /// A snapshot's own files.
    Tree {
        /// Which snapshot.
        number: SnapshotNumber,
        /// What, and where in it.
        error: TreeError,
    },
    /// Its changes could not be told.
    Diff {
        /// Which snapshot.
        number: SnapshotNumber,
        /// Why.
        error: Box<DiffError>,
    },
    /// A size limit, where neither driver nor file system can hold one.
    NoSizeLimit {
        /// Which driver.
        driver: &'static str,
        /// What it would need.
        needs: &'static str,
    },
    /// The driver cannot work on the file system that the data root is on.
    Unusable {
        /// Which driver.
        driver: &'static str,
        /// Where.
        path: PathBuf,
        /// What it would need.
        needs: &'static str,
    },
    /// The kernel or the disk.
    Io {
        /// What was asked.
        doing: &'static str,
        /// Of which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl SnapshotError {
    /// For `map_err`: what was asked, and of which file.
    pub(crate) fn io<E: Into<io::Error>>(
        doing: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { doing, path, source: error.into() }
    }

    pub(crate) fn tree(number: SnapshotNumber) -> impl FnOnce(TreeError) -> Self {
        move |error| Self::Tree { number, error }
    }
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists { number } => write!(f, "snapshot {number} is there already"),
            Self::NotFound { number } => write!(f, "snapshot {number} is not there"),
            Self::Committed { number } => {
                write!(f, "snapshot {number} is committed: it can only be read")
            }
            Self::ParentsDiffer { number } => {
                write!(f, "snapshot {number} was prepared on other parents")
            }
            Self::Apply(error) => error.fmt(f),
            Self::Tree { number, error } => write!(f, "snapshot {number}: {error}"),
            Self::Diff { number, error } => write!(f, "changes of snapshot {number}: {error}"),
            Self::NoSizeLimit { driver, needs } => {
                write!(f, "storage driver {driver} cannot limit sizes here: it needs {needs}")
            }
            Self::Unusable { driver, path, needs } => {
                write!(f, "storage driver {driver} cannot use {}: it needs {needs}", path.display())
            }
            Self::Io { doing, path, source } => write!(f, "{doing} {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl From<ApplyError> for SnapshotError {
    fn from(error: ApplyError) -> Self {
        Self::Apply(Box::new(error))
    }
}
