//! Why a layer could not be applied, or a tree not be read.

use std::fmt;

use dhow_archive::layer::LayerError;
use dhow_archive::tar::TarError;
use dhow_sys::Errno;

/// A layer that could not be applied; what there is of it can only be removed.
#[derive(Debug)]
pub enum ApplyError {
    /// It is no archive that everybody reads alike, or its bytes could not be had.
    Tar(TarError),
    /// An entry that no layer may have.
    Layer {
        /// Which entry, counted from one.
        index: u64,
        /// What is wrong with it.
        error: LayerError,
    },
    /// An entry that this layer, this disk or these limits do not allow.
    Entry {
        /// Which entry, counted from one.
        index: u64,
        /// Its path below the root.
        path: Vec<u8>,
        /// What is wrong.
        fault: ApplyFault,
    },
    /// Something that is done when all entries are there.
    Finish {
        /// Of which path below the root.
        path: Vec<u8>,
        /// What is wrong.
        fault: ApplyFault,
    },
    /// The caller wanted no more.
    Cancelled,
}

/// What kept an entry from being applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyFault {
    /// Its path leads through something that this layer made, and that is no directory. Docker and
    /// containerd would follow a symbolic link there, overlay would not.
    Through,
    /// A whiteout of what this layer itself has put there.
    OwnWhiteout,
    /// A hard link to a directory or to what this layer removes.
    LinkTarget {
        /// Where it points to.
        target: Vec<u8>,
    },
    /// A hard link to what neither this layer nor those below have.
    LinkMissing {
        /// Where it points to.
        target: Vec<u8>,
    },
    /// A device, where devices are refused.
    Device,
    /// An attribute that this file system or this user cannot store.
    Xattr {
        /// Its name.
        name: Vec<u8>,
        /// What the kernel says.
        errno: Errno,
    },
    /// An attribute by which the store itself remembers something.
    ReservedXattr {
        /// Its name.
        name: Vec<u8>,
    },
    /// An owner or group that has no place on disk.
    Owner {
        /// The user's or group's number.
        id: u32,
    },
    /// More data than a layer may have.
    Bytes {
        /// How much it may have.
        max: u64,
    },
    /// More entries than a layer may have.
    Entries {
        /// How many it may have.
        max: u64,
    },
    /// The kernel refused.
    Kernel {
        /// What was asked of it.
        doing: &'static str,
        /// What it said.
        errno: Errno,
    },
}

impl ApplyFault {
    /// For `map_err`: what was asked of the kernel.
    pub(crate) fn kernel(doing: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Kernel { doing, errno }
    }

    /// Whether the disk is full, or the space that was granted.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Kernel { errno: Errno::NOSPC | Errno::DQUOT, .. })
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tar(error) => error.fmt(f),
            Self::Layer { index, error } => write!(f, "entry {index}: {error}"),
            Self::Entry { index, path, fault } => {
                write!(f, "entry {index}: layer entry {}: {fault}", Path(path))
            }
            Self::Finish { path, fault } => write!(f, "layer entry {}: {fault}", Path(path)),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl fmt::Display for ApplyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Through => f.write_str("its path leads through something that is no directory"),
            Self::OwnWhiteout => f.write_str("a whiteout of what this layer has put there"),
            Self::LinkTarget { target } => {
                write!(f, "a hard link to {}, which is no file", Path(target))
            }
            Self::LinkMissing { target } => {
                write!(f, "a hard link to {}, which is not there", Path(target))
            }
            Self::Device => f.write_str("device nodes are not allowed here"),
            Self::Xattr { name, errno } => {
                write!(f, "extended attribute {}: {}", Path(name), Words(*errno))
            }
            Self::ReservedXattr { name } => {
                write!(f, "extended attribute {}: the name is reserved", Path(name))
            }
            Self::Owner { id } => write!(f, "owner {id} is outside of the ids that are mapped"),
            Self::Bytes { max } => write!(f, "the layer has more than {max} bytes of data"),
            Self::Entries { max } => write!(f, "the layer has more than {max} entries"),
            Self::Kernel { doing, errno } => write!(f, "{doing}: {}", Words(*errno)),
        }
    }
}

impl std::error::Error for ApplyError {}

/// Bytes from outside, in quotes and not endless.
pub(crate) struct Path<'a>(pub(crate) &'a [u8]);

const SHOWN_BYTES_MAX: usize = 200;

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(SHOWN_BYTES_MAX)];
        let more = if shown.len() < self.0.len() { "…" } else { "" };
        write!(f, "\"{}{more}\"", shown.escape_ascii())
    }
}

/// An error number in lower case, as our messages are.
pub(crate) struct Words(pub(crate) Errno);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from(self.0).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        let mut chars = text.chars();
        match chars.next() {
            Some(first) => write!(f, "{}{}", first.to_lowercase(), chars.as_str()),
            None => Ok(()),
        }
    }
}
