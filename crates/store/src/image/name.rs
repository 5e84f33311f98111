//! Names of images.

use std::fmt;

use dhow_spec::{Digest, Reference, ReferenceError};

/// Under what an image is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ImageName {
    /// What somebody called it.
    Reference(Reference),
    /// Nobody calls it anything any more (or yet): the target's digest.
    Unnamed(Digest),
}

impl ImageName {
    pub(crate) fn parse(text: &str) -> Result<Self, ReferenceError> {
        match Digest::parse(text) {
            Ok(digest) => Ok(Self::Unnamed(digest)),
            Err(_) => Reference::parse(text).map(Self::Reference),
        }
    }

    /// The reference, if it has one.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Reference(reference) => Some(reference),
            Self::Unnamed(_) => None,
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference(reference) => reference.fmt(f),
            Self::Unnamed(digest) => digest.fmt(f),
        }
    }
}
