//! Records of what a registry serves: repositories, their blobs, manifests and tags.
//!
//! Invariant: a tag points to a manifest of its repository; a manifest was recorded together with all
//! that it points to; what no repository names any more is garbage of the store.
//! Absent on purpose: who may do what, and what a manifest's bytes say.

mod prune;
mod read;
mod write;

use std::collections::BTreeMap;
use std::fmt;

use dhow_spec::image::MediaType;
use dhow_spec::{Digest, RepositoryPath, Tag};

use super::{Db, DbError};

pub use prune::{PruneOptions, Pruned};

/// The repositories of a registry; cloned freely.
#[derive(Debug, Clone)]
pub struct Repositories {
    db: Db,
}

/// A manifest as a repository has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it was pushed as.
    pub media_type: MediaType,
    /// What it is, if not an image.
    pub artifact_type: Option<String>,
    /// What it is about.
    pub subject: Option<Digest>,
    /// Free notes, as a list of referrers repeats them.
    pub annotations: BTreeMap<String, String>,
}

/// A manifest that is to be recorded.
#[derive(Debug, Clone)]
pub struct NewManifest {
    /// What will be said of it.
    pub manifest: RepositoryManifest,
    /// Blobs that the repository must have.
    pub blobs: Vec<Digest>,
    /// Manifests that it lists; they need not be there.
    pub manifests: Vec<Digest>,
    /// Whether it is an index.
    pub is_index: bool,
}

/// What holds for a push.
#[derive(Debug, Clone, Copy, Default)]
pub struct PushRules {
    /// Most bytes of the repository.
    pub bytes_max: Option<u64>,
    /// Tags that are there stay where they point.
    pub immutable: bool,
    /// Blobs that are pointed to may be absent: a mirror fetches them when somebody asks.
    pub sparse: bool,
}

/// A tag and where it points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryTag {
    /// The tag.
    pub name: Tag,
    /// The manifest.
    pub digest: Digest,
    /// When it was last pointed elsewhere, in milliseconds since 1970.
    pub changed_ms: i64,
    /// When a mirror last asked its upstream.
    pub checked_ms: i64,
}

/// A repository and what it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryUsage {
    /// Its name.
    pub name: String,
    /// Bytes of its blobs and manifests.
    pub bytes: u64,
    /// How many tags it has.
    pub tags: u64,
}

/// Why a repository stays as it is.
#[derive(Debug)]
pub enum RepositoryError {
    /// The manifest points to what the repository does not have.
    Missing {
        /// What that is.
        digest: Digest,
    },
    /// The bytes that are to be recorded are not in the store.
    NoBlob {
        /// Their digest.
        digest: Digest,
    },
    /// The tag is there, and stays where it points.
    Immutable {
        /// The tag.
        tag: Tag,
    },
    /// It would hold more than it may.
    OverQuota {
        /// What it may hold.
        max: u64,
    },
    /// The database.
    Db(DbError),
}

impl Repositories {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }
}

impl From<DbError> for RepositoryError {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl fmt::Display for RepositoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { digest } => write!(f, "the repository has no {digest}"),
            Self::NoBlob { digest } => write!(f, "no blob {digest}"),
            Self::Immutable { tag } => write!(f, "tag {tag} is there and stays as it is"),
            Self::OverQuota { max } => write!(f, "the repository would hold more than {max} bytes"),
            Self::Db(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RepositoryError {}

fn text(path: &RepositoryPath) -> String {
    path.as_str().to_owned()
}
