//! Why files could not be copied out of or into a root.

use std::fmt;
use std::io;

use dhow_archive::tar::TarError;
use rustix::io::Errno;

use crate::class::Class;
use crate::layer::DiffError;

/// A copy that came to nothing, or not to its end.
#[derive(Debug)]
pub enum FilesError {
    /// Nothing is there.
    NotFound {
        /// Where, as asked.
        path: String,
    },
    /// It is no directory, or leads through something that is none.
    NotDirectory {
        /// Where, as asked.
        path: String,
    },
    /// A directory stands where the archive has something else.
    OverDirectory {
        /// Where.
        path: Vec<u8>,
    },
    /// Something else stands where the archive has a directory.
    OverOther {
        /// Where.
        path: Vec<u8>,
    },
    /// An entry whose name leads out of where it is unpacked.
    Outside {
        /// Its name.
        path: Vec<u8>,
    },
    /// The archive's compression.
    Compression(io::Error),
    /// The archive.
    Tar(TarError),
    /// A tree could not be read, or what was read not be given on.
    Read(DiffError),
    /// What was read could not be given on.
    Write(TarError),
    /// A call of the kernel's.
    Kernel {
        /// What was being done.
        doing: &'static str,
        /// To what, below the root.
        path: Vec<u8>,
        /// What it said.
        errno: Errno,
    },
}

impl FilesError {
    /// What it means.
    pub fn class(&self) -> Class {
        match self {
            Self::NotFound { .. } => Class::NotFound,
            Self::NotDirectory { .. }
            | Self::OverDirectory { .. }
            | Self::OverOther { .. }
            | Self::Outside { .. }
            | Self::Compression(_)
            | Self::Tar(_) => Class::Invalid,
            Self::Kernel { errno: Errno::NOSPC | Errno::DQUOT, .. } => Class::NoSpace,
            Self::Kernel { errno: Errno::LOOP | Errno::NAMETOOLONG, .. } => Class::Invalid,
            Self::Read(error) => error.class(),
            Self::Write(_) | Self::Kernel { .. } => Class::Internal,
        }
    }

    /// Whether it is because nothing can be written there.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::Kernel { errno: Errno::ROFS, .. })
    }
}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        match self {
            Self::NotFound { path } => write!(f, "no such file or directory: {path}"),
            Self::NotDirectory { path } => write!(f, "not a directory: {path}"),
            Self::OverDirectory { path } => {
                write!(f, "cannot overwrite directory {:?} with non-directory", text(path))
            }
            Self::OverOther { path } => {
                write!(f, "cannot overwrite non-directory {:?} with directory", text(path))
            }
            Self::Outside { path } => {
                write!(f, "{:?} is outside of where it is unpacked", text(path))
            }
            Self::Compression(error) => write!(f, "decompress archive: {error}"),
            Self::Tar(error) | Self::Write(error) => error.fmt(f),
            Self::Read(error) => error.fmt(f),
            Self::Kernel { doing, path, errno } => {
                write!(f, "{doing} /{}: {}", text(path), io::Error::from(*errno))
            }
        }
    }
}

impl std::error::Error for FilesError {}
