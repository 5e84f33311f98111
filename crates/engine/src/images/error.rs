//! What can go wrong between a registry and the store.
//!
//! Invariant: a message names image, layer and, where there is one, the entry.

use std::fmt;
use std::io;

use dhow_spec::image::ImageError;
use dhow_spec::{Digest, Reference};
use dhow_store::{
    ContentError, DbError, ImageName, LoadError, SaveError, SnapshotsError, StoreError,
    StoreImageError,
};

use super::part::Interruption;

/// An image that could not be pulled.
#[derive(Debug)]
pub enum PullError {
    /// The registry, or the way to it.
    Registry(Box<dhow_distribution::Error>),
    /// What the registry has is no image that can be run.
    Image {
        /// The image.
        image: Box<ImageName>,
        /// What is wrong with it.
        fault: ImageError,
    },
    /// One of its layers.
    Layer {
        /// The image.
        image: Box<ImageName>,
        /// The layer's blob.
        layer: Box<Digest>,
        /// What is wrong with it.
        fault: LayerFault,
    },
    /// The store's content.
    Content(ContentError),
    /// The store's images.
    Store(StoreImageError),
    /// The store's database.
    Db(DbError),
    /// The store as a whole.
    Whole(Box<StoreError>),
    /// The pull was ended from outside.
    Ended,
}

/// What is wrong with a layer.
#[derive(Debug)]
pub enum LayerFault {
    /// It did not come.
    Blob(BlobFault),
    /// Somebody gave up on it.
    Interrupted(Interruption),
    /// Its compression.
    Stream(io::Error),
    /// It is not what the image's configuration says.
    DiffId {
        /// What the configuration says.
        expected: Box<Digest>,
        /// What it is.
        actual: Box<Digest>,
    },
    /// Its unpacking.
    Snapshot(SnapshotsError),
    /// A layer below it.
    Below,
    /// A thread of ours died.
    Lost,
}

/// What kept a blob from coming.
#[derive(Debug)]
pub enum BlobFault {
    /// The registry, or the way to it.
    Registry(Box<dhow_distribution::Error>),
    /// The store.
    Content(ContentError),
    /// Nobody wants it any more.
    Unwanted,
}

/// An image that could not be pushed.
#[derive(Debug)]
pub enum PushError {
    /// There is no image of that name here.
    NoImage {
        /// The name.
        reference: Box<Reference>,
    },
    /// A part of the image is not here.
    Incomplete {
        /// The image's id.
        image: Box<Digest>,
        /// What is missing.
        blob: Box<Digest>,
    },
    /// The registry, or the way to it.
    Registry(Box<dhow_distribution::Error>),
    /// A layer that was discarded once it was unpacked.
    Discarded(Box<PullError>),
    /// The store's content.
    Content(ContentError),
    /// The store's images.
    Store(StoreImageError),
    /// The push was ended from outside.
    Ended,
}

/// What was asked about images that are here, and not done.
#[derive(Debug)]
pub enum ImagesError {
    /// The store's images.
    Store(StoreImageError),
    /// Containers or names are in the way of an image's removal.
    InUse {
        /// The image.
        image: Digest,
        /// What is in the way.
        conflict: ImageConflict,
    },
    /// A container is in the way of taking an image's last name.
    NameInUse {
        /// The name, as people write it.
        name: String,
        /// The container.
        container: String,
        /// The image.
        image: Digest,
    },
    /// A new name cannot say what it points to.
    TagWithDigest,
    /// An archive that cannot be written.
    Save(SaveError),
    /// An archive that cannot be read.
    Load(LoadError),
    /// What images are unpacked to.
    Snapshots(SnapshotsError),
    /// The store as a whole.
    Whole(Box<StoreError>),
    /// The store's database.
    Db(DbError),
    /// What pulls and loads have in common.
    Pull(Box<PullError>),
    /// The engine is going down.
    Ended,
    /// A change of the configuration that cannot be made.
    Instruction(super::instructions::InstructionError),
}

/// What keeps an image from being removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageConflict {
    /// A container of it runs.
    Running {
        /// The container.
        container: String,
    },
    /// A container of it is there.
    Stopped {
        /// The container.
        container: String,
    },
    /// It has names in more than one repository.
    Repositories,
}

impl LayerFault {
    /// The interruption behind it, if that is what it is.
    pub(super) fn interruption(&self) -> Option<Interruption> {
        match self {
            Self::Interrupted(interruption) => Some(*interruption),
            Self::Stream(error) => Interruption::of(error),
            _ => None,
        }
    }

    /// Whether something else must have gone wrong for this to happen.
    pub(super) fn is_consequence(&self) -> bool {
        matches!(self, Self::Below | Self::Blob(BlobFault::Unwanted))
            || self.interruption() == Some(Interruption::Abandoned)
    }
}

impl fmt::Display for PullError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(error) => error.fmt(f),
            Self::Image { image, fault } => write!(f, "image {image}: {fault}"),
            // The registry's words name the blob already.
            Self::Layer { fault: LayerFault::Blob(BlobFault::Registry(error)), .. } => error.fmt(f),
            Self::Layer { image, layer, fault } => {
                write!(f, "image {image}: layer {layer}: {fault}")
            }
            Self::Content(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Db(error) => error.fmt(f),
            Self::Whole(error) => error.fmt(f),
            Self::Ended => f.write_str("the pull was interrupted; pulling again continues it"),
        }
    }
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoImage { reference } => write!(
                f,
                "An image does not exist locally with the tag: {}",
                reference.repository()
            ),
            Self::Incomplete { image, blob } => write!(
                f,
                "push {image}: {blob} is not here; pull the image again to have all of it"
            ),
            Self::Registry(error) => error.fmt(f),
            Self::Discarded(error) => error.fmt(f),
            Self::Content(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Ended => f.write_str("the push was interrupted; pushing again continues it"),
        }
    }
}

impl fmt::Display for LayerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(BlobFault::Registry(error)) => error.fmt(f),
            Self::Blob(BlobFault::Content(error)) => error.fmt(f),
            Self::Blob(BlobFault::Unwanted) => f.write_str("nobody wants it any more"),
            Self::Interrupted(interruption) => interruption.fmt(f),
            Self::Stream(error) => error.fmt(f),
            Self::DiffId { expected, actual } => {
                write!(f, "it unpacks to {actual}, but the image's configuration says {expected}")
            }
            Self::Snapshot(error) => error.fmt(f),
            Self::Below => f.write_str("a layer below it failed"),
            Self::Lost => f.write_str("its thread died"),
        }
    }
}

impl fmt::Display for ImagesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(StoreImageError::NotFound { text }) => write!(f, "No such image: {text}"),
            Self::Store(error) => error.fmt(f),
            Self::Instruction(error) => error.fmt(f),
            Self::InUse { image, conflict } => {
                let forced = match conflict {
                    ImageConflict::Running { .. } => "cannot be forced",
                    _ => "must be forced",
                };
                let id = image.hex();
                let image = short(&id);
                write!(f, "conflict: unable to delete {image} ({forced}) - image is {conflict}")
            }
            Self::NameInUse { name, container, image } => write!(
                f,
                "conflict: unable to remove repository reference \"{name}\" (must force) - container \
                 {} is using its referenced image {}",
                short(container),
                short(&image.hex())
            ),
            Self::TagWithDigest => f.write_str("refusing to create a tag with a digest reference"),
            Self::Save(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
            Self::Snapshots(error) => error.fmt(f),
            Self::Whole(error) => error.fmt(f),
            Self::Db(error) => error.fmt(f),
            Self::Pull(error) => error.fmt(f),
            Self::Ended => f.write_str("the engine is going down"),
        }
    }
}

impl fmt::Display for ImageConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running { container } => {
                write!(f, "being used by running container {}", short(container))
            }
            Self::Stopped { container } => {
                write!(f, "being used by stopped container {}", short(container))
            }
            Self::Repositories => f.write_str("referenced in multiple repositories"),
        }
    }
}

/// An id as people see it.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

impl std::error::Error for ImagesError {}

impl From<StoreImageError> for ImagesError {
    fn from(error: StoreImageError) -> Self {
        Self::Store(error)
    }
}

impl From<StoreError> for ImagesError {
    fn from(error: StoreError) -> Self {
        Self::Whole(Box::new(error))
    }
}

impl From<DbError> for ImagesError {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl std::error::Error for PullError {}

impl std::error::Error for PushError {}

impl From<dhow_distribution::Error> for PushError {
    fn from(error: dhow_distribution::Error) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<ContentError> for PushError {
    fn from(error: ContentError) -> Self {
        Self::Content(error)
    }
}

impl From<StoreImageError> for PushError {
    fn from(error: StoreImageError) -> Self {
        Self::Store(error)
    }
}

impl std::error::Error for LayerFault {}

impl From<dhow_distribution::Error> for BlobFault {
    fn from(error: dhow_distribution::Error) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<ContentError> for BlobFault {
    fn from(error: ContentError) -> Self {
        Self::Content(error)
    }
}

impl From<BlobFault> for PullError {
    fn from(fault: BlobFault) -> Self {
        match fault {
            BlobFault::Registry(error) => Self::Registry(error),
            BlobFault::Content(error) => Self::Content(error),
            BlobFault::Unwanted => Self::Ended,
        }
    }
}

impl From<dhow_distribution::Error> for PullError {
    fn from(error: dhow_distribution::Error) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<ContentError> for PullError {
    fn from(error: ContentError) -> Self {
        Self::Content(error)
    }
}

impl From<StoreImageError> for PullError {
    fn from(error: StoreImageError) -> Self {
        Self::Store(error)
    }
}

impl From<DbError> for PullError {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}
