//! Why the database does not answer: by what can be done about it.
//!
//! Invariant: every error names the file, and where a person has to act, says how.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

/// The database refused, or could not do, what was asked.
///
/// Cloned freely: when a group of transactions is lost, all of its members are told.
#[derive(Debug, Clone)]
pub enum DbError {
    /// A newer program wrote it; nothing was changed.
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema that we know.
        known: u32,
    },
    /// Its bytes make no sense; nothing was changed.
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite met.
        detail: String,
        /// The newest copy from before a migration, if there is one.
        backup: Option<PathBuf>,
    },
    /// It is some other program's.
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Another process writes it.
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It, or where it lies, cannot be written.
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// The disk is full; the transaction was taken back.
    NoSpace {
        /// The file.
        path: PathBuf,
    },
    /// A transaction that was to be committed together with this one took it down.
    Lost {
        /// The file.
        path: PathBuf,
    },
    /// Something else that the file system says.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What it said.
        source: Arc<io::Error>,
    },
    /// Something else that SQLite says.
    Sql {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: Arc<rusqlite::Error>,
    },
    /// The writing thread has ended.
    Closed {
        /// The file.
        path: PathBuf,
    },
}

impl DbError {
    /// Sorts what SQLite said by what can be done about it.
    pub(super) fn sql(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                let (detail, backup) = (error.to_string(), super::schema::newest_backup(&path));
                Self::Corrupt { path, detail, backup }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path },
            Some(ErrorCode::DiskFull) => Self::NoSpace { path },
            _ => Self::Sql { path, source: Arc::new(error) },
        }
    }

    pub(super) fn io(doing: &'static str, path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            _ => Self::Io { doing, path, source: Arc::new(error) },
        }
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { path, found, known } => write!(
                f,
                "database {} has schema {found}, this program knows up to {known}: \
                 use the newer program, or the backup that it made before it migrated",
                path.display()
            ),
            Self::Corrupt { path, detail, backup } => {
                write!(f, "database {} is damaged: {detail}: ", path.display())?;
                match backup {
                    Some(backup) => write!(f, "put back {}, or move it away", backup.display()),
                    None => f.write_str("move it away to begin with an empty one"),
                }
            }
            Self::Foreign { path } => write!(
                f,
                "{} is another program's database: move it away, or choose another data root",
                path.display()
            ),
            Self::Locked { path } => write!(
                f,
                "database {} is locked by another process: end that one, then try again",
                path.display()
            ),
            Self::ReadOnly { path } => write!(
                f,
                "database {} cannot be written: make it and its directory writable",
                path.display()
            ),
            Self::NoSpace { path } => {
                write!(f, "write database {}: no space left on device", path.display())
            }
            Self::Lost { path } => write!(
                f,
                "database {}: disk or memory ran out and nothing was written: try again",
                path.display()
            ),
            Self::Io { doing, path, source } => {
                write!(f, "{doing} {}: {source}", path.display())
            }
            Self::Sql { path, source } => write!(f, "database {}: {source}", path.display()),
            Self::Closed { path } => write!(f, "database {} is closed", path.display()),
        }
    }
}

impl std::error::Error for DbError {}
