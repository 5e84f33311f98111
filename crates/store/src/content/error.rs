//! Why content stays where it is.

use std::fmt;
use std::io;
use std::path::PathBuf;

use dhow_spec::Digest;

use super::IngestId;
use crate::db::DbError;

/// Content that was not found, or could not be kept.
#[derive(Debug)]
pub enum ContentError {
    /// There is no such blob.
    NotFound {
        /// Its digest.
        digest: Digest,
    },
    /// Somebody else writes it.
    Busy {
        /// What is being written.
        ingest: IngestId,
        /// By whom, in that one's own words.
        by: String,
    },
    /// Bytes did not hash to their digest; nothing was kept of them.
    Corrupt {
        /// What was promised.
        expected: Box<Digest>,
        /// What they are.
        actual: Box<Digest>,
    },
    /// Not as many bytes as were promised.
    Size {
        /// What was being written.
        ingest: IngestId,
        /// What was promised.
        expected: u64,
        /// How many there are; the last ones may not have been looked at.
        actual: u64,
    },
    /// More bytes than the caller allows.
    TooLarge {
        /// What was being written or read.
        ingest: IngestId,
        /// The limit.
        max: u64,
    },
    /// The disk is full; what was written of it was given back.
    NoSpace {
        /// What was being written.
        ingest: IngestId,
    },
    /// The repository would hold more than it may; nothing was kept.
    OverQuota {
        /// Its name.
        repository: String,
        /// What it may hold.
        max: u64,
    },
    /// The lease has ended, or never was.
    NoLease {
        /// Its id.
        lease: String,
    },
    /// The file system.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file, below the data root.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The database.
    Db(DbError),
}

impl From<DbError> for ContentError {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { digest } => write!(f, "no blob {digest}"),
            Self::Busy { ingest, by } => write!(f, "{ingest} is being written by {by}"),
            Self::Corrupt { expected, actual } => {
                write!(f, "blob {expected}: its bytes are those of {actual}")
            }
            Self::Size { ingest, expected, actual } => {
                write!(f, "{ingest}: {actual} bytes instead of {expected}")
            }
            Self::TooLarge { ingest, max } => write!(f, "{ingest}: more than {max} bytes"),
            Self::NoSpace { ingest } => write!(f, "write {ingest}: no space left on device"),
            Self::OverQuota { repository, max } => {
                write!(f, "repository {repository} would hold more than {max} bytes")
            }
            Self::NoLease { lease } => write!(f, "no lease {lease}"),
            Self::Io { doing, path, source } => write!(f, "{doing} {}: {source}", path.display()),
            Self::Db(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ContentError {}
