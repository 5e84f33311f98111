//! What has to be mounted to see a snapshot, as plain values.

use std::path::PathBuf;

use crate::layer::Owners;

/// How somebody wants to see a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Nothing can be written. The only way to see a committed snapshot.
    pub readonly: bool,
    /// Owners as they shall be seen, if that is not how they are on disk.
    pub idmap: Option<Owners>,
}

impl View {
    /// As it is, to be written.
    pub const WRITE: Self = Self { readonly: false, idmap: None };
    /// As it is, to be read.
    pub const READ: Self = Self { readonly: true, idmap: None };
}

/// The one mount that shows a snapshot. Whoever makes it uses the new mount API: an overlay's layers are
/// given to it one by one, each as a path of its own, so that no limit on the length of options holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mounts {
    /// A directory that is what it shows.
    Bind {
        /// Where it lies.
        source: PathBuf,
        /// Nothing can be written.
        readonly: bool,
        /// The mount is to be id-mapped so.
        idmap: Option<Owners>,
    },
    /// An overlay.
    Overlay {
        /// What is read, the topmost first; never empty.
        lowers: Vec<PathBuf>,
        /// What is written; without it, the overlay is read-only.
        upper: Option<Upper>,
        /// Its marks are attributes of users (`userxattr`).
        user_xattrs: bool,
        /// Every layer is to be an id-mapped mount of its own; the overlay itself cannot be one.
        idmap: Option<Owners>,
    },
}

/// What an overlay writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The changes.
    pub upper: PathBuf,
    /// Where overlay prepares them.
    pub work: PathBuf,
}
