//! What can go wrong with a volume.

use std::fmt;
use std::io;
use std::path::PathBuf;

use dhow_store::{DbError, TreeError};

use crate::error::ErrorClass;
use crate::request::RequestError;

/// A volume that is not as it must be.
#[derive(Debug)]
pub enum VolumeError {
    /// No volume has that name.
    NotFound {
        /// The name.
        name: String,
    },
    /// Nothing can be called so.
    Name(RequestError),
    /// Another volume is called so.
    Exists {
        /// The name.
        name: String,
    },
    /// Containers have it.
    InUse {
        /// The volume.
        name: String,
        /// The containers' ids.
        by: Vec<String>,
    },
    /// Another driver's.
    Driver {
        /// The driver.
        driver: String,
    },
    /// An option that the driver does not have.
    Option {
        /// The volume.
        name: String,
        /// The option.
        option: String,
    },
    /// An option without which others say nothing.
    Missing {
        /// The volume.
        name: String,
        /// The option.
        option: &'static str,
    },
    /// An option that is understood and not built.
    Unsupported {
        /// The option and its value.
        what: String,
    },
    /// The image has a file where a volume is to be.
    OverFile {
        /// Where.
        destination: String,
    },
    /// The image's content could not be copied.
    Copy {
        /// The volume.
        name: String,
        /// What went wrong, and where.
        error: TreeError,
    },
    /// A record that cannot be read.
    Record {
        /// The volume.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A directory of the volumes.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The store's database.
    Db(DbError),
}

impl VolumeError {
    pub(crate) fn io(doing: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }

    /// What can be done about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } | Self::Driver { .. } => ErrorClass::NotFound,
            Self::Name(_) | Self::Option { .. } | Self::Missing { .. } | Self::OverFile { .. } => {
                ErrorClass::Invalid
            }
            Self::InUse { .. } | Self::Exists { .. } => ErrorClass::Conflict,
            Self::Unsupported { .. } => ErrorClass::Unsupported,
            Self::Copy { .. } | Self::Record { .. } | Self::Io { .. } | Self::Db(_) => {
                ErrorClass::Internal
            }
        }
    }
}

impl From<DbError> for VolumeError {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { name } => write!(f, "get {name}: no such volume"),
            Self::Name(error) => error.fmt(f),
            Self::Exists { name } => write!(f, "a volume named {name} already exists"),
            Self::InUse { name, by } => {
                write!(f, "remove {name}: volume is in use - [{}]", by.join(", "))
            }
            Self::Driver { driver } => {
                write!(f, "error looking up volume plugin {driver}: plugin {driver:?} not found")
            }
            Self::Option { name, option } => write!(f, "create {name}: invalid option: {option:?}"),
            Self::Missing { name, option } => {
                write!(f, "create {name}: missing required option: {option:?}")
            }
            Self::Unsupported { what } => write!(f, "volumes with {what} are not supported"),
            Self::OverFile { destination } => {
                write!(f, "cannot mount volume over existing file, file exists {destination}")
            }
            Self::Copy { name, error } => {
                write!(f, "copy the image's content into volume {name}: {error}")
            }
            Self::Record { name, reason } => write!(f, "the record of volume {name}: {reason}"),
            Self::Io { doing, path, source } => write!(f, "{doing} {}: {source}", path.display()),
            Self::Db(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for VolumeError {}
