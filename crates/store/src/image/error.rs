//! Why an image is not found, or not taken.

use std::fmt;

use dhow_spec::image::{ImageError, MediaType};
use dhow_spec::{AmbiguousId, Digest, Platform, ReferenceError};

use crate::content::ContentError;
use crate::db::DbError;

/// An image that was not found, or whose documents were refused.
#[derive(Debug)]
pub enum StoreImageError {
    /// No image is called so.
    NotFound {
        /// What was asked for.
        text: String,
    },
    /// More than one id begins so.
    Ambiguous(AmbiguousId),
    /// What was asked for is no name.
    Reference(ReferenceError),
    /// Something that must be there is not.
    MissingContent(Box<Place>),
    /// A document is not what it should be.
    Document {
        /// The document.
        place: Box<Place>,
        /// What is wrong with it.
        source: ImageError,
    },
    /// A descriptor and what it points to disagree on the size.
    SizeDiffers {
        /// What is pointed to.
        place: Box<Place>,
        /// What the pointer says.
        expected: u64,
        /// What it is.
        actual: u64,
    },
    /// One blob is pointed to as two different things.
    TwoKinds {
        /// The blob.
        place: Box<Place>,
        /// What one says.
        first: MediaType,
        /// What another says.
        second: MediaType,
    },
    /// More documents, or deeper ones, than any image has.
    TooMany {
        /// The image's target.
        image: Digest,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// It has nothing for the platform.
    NoPlatform {
        /// The image's target.
        image: Digest,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What it has.
        offered: Vec<Platform>,
    },
    /// It is no image, but something else that registries keep.
    NotAnImage {
        /// The manifest.
        digest: Digest,
        /// What its configuration claims to be.
        media_type: MediaType,
    },
    /// Its content.
    Content(ContentError),
    /// The database.
    Db(DbError),
}

/// A blob behind an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The image's target.
    pub image: Digest,
    /// The blob.
    pub digest: Digest,
}

impl Place {
    pub(super) fn new(image: Digest, digest: Digest) -> Box<Self> {
        Box::new(Self { image, digest })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "image {}", self.image)?;
        if self.image == self.digest { Ok(()) } else { write!(f, ": {}", self.digest) }
    }
}

impl From<DbError> for StoreImageError {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl From<ContentError> for StoreImageError {
    fn from(error: ContentError) -> Self {
        Self::Content(error)
    }
}

impl From<ReferenceError> for StoreImageError {
    fn from(error: ReferenceError) -> Self {
        Self::Reference(error)
    }
}

impl From<AmbiguousId> for StoreImageError {
    fn from(error: AmbiguousId) -> Self {
        Self::Ambiguous(error)
    }
}

impl fmt::Display for StoreImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { text } => write!(f, "no such image: {text}"),
            Self::Ambiguous(error) => error.fmt(f),
            Self::Reference(error) => error.fmt(f),
            Self::MissingContent(place) => write!(f, "{place} is not there"),
            Self::Document { place, source } => write!(f, "{place}: {source}"),
            Self::SizeDiffers { place, expected, actual } => {
                write!(f, "{place} is {actual} bytes long instead of {expected}")
            }
            Self::TwoKinds { place, first, second } => {
                write!(f, "{place} is said to be {first}, and to be {second}")
            }
            Self::TooMany { image, what, max } => {
                write!(f, "image {image}: more than {max} {what}")
            }
            Self::NoPlatform { image, wanted, offered } => {
                write!(f, "image {image} has nothing for {wanted}")?;
                for (index, platform) in offered.iter().enumerate() {
                    let separator = if index == 0 { ", only for " } else { ", " };
                    write!(f, "{separator}{platform}")?;
                }
                Ok(())
            }
            Self::NotAnImage { digest, media_type } => {
                write!(f, "{digest} is no image: its configuration is {media_type}")
            }
            Self::Content(error) => error.fmt(f),
            Self::Db(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StoreImageError {}
