//! What a failure of the store means for whoever decides what follows.
//!
//! One place for all errors of the crate, so that the same fault has the same class whichever way it comes.
//! Invariant: an error that carries another has that one's class, unless it says more itself.

use std::io;

use rustix::io::Errno;

use crate::content::ContentError;
use crate::db::{ContainerRecordError, DbError, RepositoryError, SnapshotRecordError};
use crate::image::StoreImageError;
use crate::layer::{ApplyError, ApplyFault, DiffError};
use crate::snapshot::{SnapshotError, SnapshotsError};
use crate::store::StoreError;
use crate::tarball::{EntryFault, LoadError, SaveError};

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It is not there.
    NotFound,
    /// Something else is there, or stands on it.
    Conflict,
    /// It can never work: what was given is wrong.
    Invalid,
    /// The disk is full, or the share of it that was granted.
    NoSpace,
    /// What is kept is damaged, or what came is not what was promised.
    Corrupt,
    /// Not now; somebody else has it, or somebody wanted no more.
    Unavailable,
    /// Not with this driver, file system or user, or not with this version of the program.
    Unsupported,
    /// Everything else that the system may say.
    Internal,
}

impl Class {
    fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::ReadOnlyFilesystem => Self::Unsupported,
            _ => Self::Internal,
        }
    }
}

impl DbError {
    /// What it means.
    pub fn class(&self) -> Class {
        match self {
            Self::Newer { .. } | Self::Foreign { .. } | Self::ReadOnly { .. } => Class::Unsupported,
            Self::Corrupt { .. } => Class::Corrupt,
            Self::Locked { .. } | Self::Closed { .. } | Self::Lost { .. } => Class::Unavailable,
            Self::NoSpace { .. } => Class::NoSpace,
            Self::Io { source, .. } => Class::of_io(source),
            Self::Sql { .. } => Class::Internal,
        }
    }
}

impl ContainerRecordError {
    /// What it means.
    pub fn class(&self) -> Class {
        match self {
            Self::NameTaken { .. } => Class::Conflict,
            Self::NotFound { .. } => Class::NotFound,
            Self::Db(error) => error.class(),
        }
    }
}

impl SnapshotRecordError {
    /// What it means.
    pub fn class(&self) -> Class {
        match self {
            Self::Exists { .. } | Self::HasChildren { .. } | Self::ParentDiffers { .. } => {
                Class::Conflict
            }
            Self::NotFound { .. } | Self::NoLease { .. } => Class::NotFound,
            Self::Db(error) => error.class(),
        }
    }
}

impl ContentError {
    /// What it means.
    pub fn class(&self) -> Class {
        match self {
            Self::NotFound { .. } | Self::NoLease { .. } => Class::NotFound,
            Self::Busy { .. } => Class::Unavailable,
            Self::Corrupt { .. } | Self::Size { .. } => Class::Corrupt,
            Self::TooLarge { .. } => Class::Invalid,
            Self::NoSpace { .. } | Self::OverQuota { .. } => Class::NoSpace,
            Self::Io { source, .. } => Class::of_io(source),
            Self::Db(error) => error.class(),
        }
    }
}

impl RepositoryError {
    /// What it means.
    pub fn class(&self) -> Class {
        match self {
            Self::Missing { .. } | Self::NoBlob { .. } => Class::NotFound,
            Self::Immutable { .. } => Class::Conflict,
            Self::OverQuota { .. } => Class::NoSpace,
            Self::Db(error) => error.class(),
        }
    }
}

impl StoreImageError {
    /// What it means.
    pub fn class(&self) -> Class {
        match self {
            Self::NotFound { .. } | Self::MissingContent(_) | Self::NoPlatform { .. } => {
                Class::NotFound
            }
            Self::Ambiguous(_)
            | Self::Reference(_)
            | Self::Document { .. }
            | Self::SizeDiffers { .. }
            | Self::TwoKinds { .. }
            | Self::TooMany { .. }
            | Self::NotAnImage { .. } => Class::Invalid,
            Self::Content(error) => error.class(),
            Self::Db(error) => error.class(),
        }
    }
}

impl ApplyFault {
    /// What it means.
    pub fn class(&self) -> Class {
        match self {
            _ if self.is_no_space() => Class::NoSpace,
            Self::Through
            | Self::OwnWhiteout
            | Self::LinkTarget { .. }
            | Self::LinkMissing { .. }
            | Self::ReservedXattr { .. }
            | Self::Device
            | Self::Bytes { .. }
            | Self::Entries { .. } => Class::Invalid,
            Self::Xattr { .. } | Self::Owner { .. } => Class::Unsupported,
            Self::Kernel { errno: Errno::ROFS, .. } => Class::Unsupported,
            Self::Kernel { .. } => Class::Internal,
        }
    }
}

impl ApplyError {
    /// What it means.
    pub fn class(&self) -> Class {
        match self {
            Self::Tar(error) => error.io().map_or(Class::Invalid, Class::of_io),
            Self::Layer { .. } => Class::Invalid,
            Self::Entry { fault, .. } | Self::Finish { fault, .. } => fault.class(),
            Self::Cancelled => Class::Unavailable,
        }
    }
}

impl DiffError {
    /// What it means.
    pub fn class(&self) -> Class {
        match self {
            Self::Tree(error) => error.fault.class(),
            Self::Layer(_) => Class::Invalid,
            Self::Tar(error) => error.io().map_or(Class::Internal, Class::of_io),
            Self::Sink(error) => Class::of_io(error),
        }
    }
}

impl SnapshotError {
    /// What it means.
    pub fn class(&self) -> Class {
        match self {
            Self::Exists { .. } | Self::Committed { .. } | Self::ParentsDiffer { .. } => {
                Class::Conflict
            }
            Self::NotFound { .. } => Class::NotFound,
            Self::Apply(error) => error.class(),
            Self::Tree { error, .. } => error.fault.class(),
            Self::Diff { error, .. } => error.class(),
            Self::NoSizeLimit { .. } | Self::Unusable { .. } => Class::Unsupported,
            Self::Io { source, .. } => Class::of_io(source),
        }
    }
}

impl SnapshotsError {
    /// What it means.
    pub fn class(&self) -> Class {
        match self {
            Self::Driver(error) => error.class(),
            Self::Record(error) => error.class(),
        }
    }
}

impl StoreError {
    /// What it means.
    pub fn class(&self) -> Class {
        match self {
            Self::InUse { .. } => Class::Unavailable,
            Self::NewerLayout { .. } | Self::ReadOnly { .. } => Class::Unsupported,
            Self::Io { source, .. } => Class::of_io(source),
            Self::Content(error) => error.class(),
            Self::SnapshotRecord(error) => error.class(),
            Self::Snapshot(error) => error.class(),
            Self::Db(error) => error.class(),
        }
    }
}

impl LoadError {
    /// What it means.
    pub fn class(&self) -> Class {
        match self {
            Self::Tar(error) => error.io().map_or(Class::Invalid, Class::of_io),
            Self::Entry { fault, .. } => match &**fault {
                EntryFault::Content(error) => error.class(),
                _ => Class::Invalid,
            },
            Self::Compression(_)
            | Self::NotImages
            | Self::Name { .. }
            | Self::NoEntry { .. }
            | Self::Config { .. } => Class::Invalid,
            Self::Layer { .. } => Class::Corrupt,
            Self::Image { source, .. } => source.class(),
            Self::Content(error) => error.class(),
            Self::Db(error) => error.class(),
        }
    }
}

impl SaveError {
    /// What it means.
    pub fn class(&self) -> Class {
        match self {
            Self::Image(error) => error.class(),
            Self::Incomplete { .. } => Class::NotFound,
            Self::Content(error) => error.class(),
            Self::Read { source, .. } => Class::of_io(source),
            Self::Tar(error) => error.io().map_or(Class::Internal, Class::of_io),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_one_whichever_way_it_comes() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let fault = ApplyFault::Kernel { doing: "write to", errno: Errno::NOSPC };
        let apply = ApplyError::Entry { index: 1, path: b"f".to_vec(), fault };
        let snapshot = SnapshotError::Apply(Box::new(apply));
        assert_eq!(SnapshotsError::Driver(snapshot).class(), Class::NoSpace);
        let content = ContentError::Io { doing: "write", path: "blobs".into(), source: full() };
        assert_eq!(StoreError::Content(content).class(), Class::NoSpace);
        let db = DbError::NoSpace { path: "dhow.db".into() };
        assert_eq!(StoreImageError::Db(db).class(), Class::NoSpace);
        assert_eq!(DiffError::Sink(full()).class(), Class::NoSpace);
    }

    #[test]
    fn what_was_given_is_told_from_what_happened() {
        let through = ApplyFault::Through;
        assert_eq!(through.class(), Class::Invalid);
        let other = ApplyFault::Kernel { doing: "open", errno: Errno::IO };
        assert_eq!(other.class(), Class::Internal);
        assert_eq!(LoadError::NotImages.class(), Class::Invalid);
        let place = std::path::PathBuf::from("dhow.db");
        assert_eq!(DbError::Locked { path: place }.class(), Class::Unavailable);
    }
}
