//! Why an archive was not loaded, or not written.

use std::fmt;
use std::io;

use dhow_archive::tar::TarError;
use dhow_spec::image::ImageError;
use dhow_spec::{Digest, ReferenceError};

use crate::content::ContentError;
use crate::db::DbError;
use crate::image::StoreImageError;

/// An archive that was not loaded; no image of it was recorded.
#[derive(Debug)]
pub enum LoadError {
    /// The tar itself.
    Tar(TarError),
    /// The compression around it.
    Compression(io::Error),
    /// An entry.
    Entry {
        /// Its path.
        entry: String,
        /// What is wrong with it.
        fault: Box<EntryFault>,
    },
    /// It has neither of the lists of images.
    NotImages,
    /// An image's name.
    Name {
        /// The entry that has it.
        entry: &'static str,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// An image speaks of an entry that is not there.
    NoEntry {
        /// The image.
        image: String,
        /// The entry.
        entry: String,
    },
    /// An image's configuration.
    Config {
        /// The image.
        image: String,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        source: Box<ImageError>,
    },
    /// A layer's bytes are not those that the configuration tells.
    Layer {
        /// The image.
        image: String,
        /// The entry.
        entry: String,
        /// What the configuration tells.
        expected: Box<Digest>,
        /// What it is.
        actual: Box<Digest>,
    },
    /// An image's documents.
    Image {
        /// Its name.
        image: String,
        /// What is wrong with them.
        source: Box<StoreImageError>,
    },
    /// What was made of it could not be kept.
    Content(Box<ContentError>),
    /// The database.
    Db(DbError),
}

/// What is wrong with an entry.
#[derive(Debug)]
pub enum EntryFault {
    /// There was one of that name before.
    Twice,
    /// Its path, or its target's, leads out of the archive.
    Path,
    /// No file, directory or link.
    Kind,
    /// More entries than any archive of images has.
    TooMany {
        /// The limit.
        max: usize,
    },
    /// More bytes than the caller allows.
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// Not the document that stands under that name.
    Document(ImageError),
    /// Not the JSON that stands under that name.
    Json(serde_json::Error),
    /// A layer that is compressed in a way that we only know by name.
    Compression {
        /// The name.
        format: &'static str,
    },
    /// Its bytes could not be kept.
    Content(ContentError),
}

/// An archive that was not written to its end.
#[derive(Debug)]
pub enum SaveError {
    /// An image that cannot be followed.
    Image(StoreImageError),
    /// No platform of an image is here as a whole.
    Incomplete {
        /// The image's target.
        image: Box<Digest>,
        /// The first blob that is not here.
        missing: Box<Digest>,
    },
    /// A blob that is not what it should be.
    Content(ContentError),
    /// Reading a blob.
    Read {
        /// The blob.
        digest: Box<Digest>,
        /// What the file system said.
        source: io::Error,
    },
    /// Writing.
    Tar(TarError),
}

impl LoadError {
    pub(super) fn entry(entry: impl Into<String>, fault: EntryFault) -> Self {
        Self::Entry { entry: entry.into(), fault: Box::new(fault) }
    }
}

impl From<TarError> for LoadError {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}

impl From<DbError> for LoadError {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl From<ContentError> for LoadError {
    fn from(error: ContentError) -> Self {
        Self::Content(Box::new(error))
    }
}

impl From<StoreImageError> for SaveError {
    fn from(error: StoreImageError) -> Self {
        Self::Image(error)
    }
}

impl From<ContentError> for SaveError {
    fn from(error: ContentError) -> Self {
        Self::Content(error)
    }
}

impl From<DbError> for SaveError {
    fn from(error: DbError) -> Self {
        Self::Image(StoreImageError::Db(error))
    }
}

impl From<TarError> for SaveError {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tar(error) => error.fmt(f),
            Self::Compression(error) => write!(f, "decompress the archive: {error}"),
            Self::Entry { entry, fault } => write!(f, "entry {entry:?}: {fault}"),
            Self::NotImages => {
                f.write_str("the archive holds no images: neither manifest.json nor index.json")
            }
            Self::Name { entry, source } => write!(f, "entry {entry:?}: {source}"),
            Self::NoEntry { image, entry } => {
                write!(f, "image {image}: the archive has no entry {entry:?}")
            }
            Self::Config { image, entry, source } => {
                write!(f, "image {image}: entry {entry:?}: {source}")
            }
            Self::Layer { image, entry, expected, actual } => {
                write!(f, "image {image}: layer {entry:?} is {actual} instead of {expected}")
            }
            Self::Image { image, source } => write!(f, "image {image}: {source}"),
            Self::Content(error) => error.fmt(f),
            Self::Db(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

impl fmt::Display for EntryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice => f.write_str("there are two of that name"),
            Self::Path => f.write_str("leads out of the archive"),
            Self::Kind => f.write_str("neither file, directory nor link"),
            Self::TooMany { max } => write!(f, "more than {max} entries"),
            Self::TooLarge { max } => write!(f, "more than {max} bytes"),
            Self::Document(error) => error.fmt(f),
            Self::Json(error) => error.fmt(f),
            Self::Compression { format } => write!(f, "{format} compression is not supported"),
            Self::Content(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => error.fmt(f),
            Self::Incomplete { image, missing } => {
                write!(f, "image {image}: no platform is here as a whole: {missing} is missing")
            }
            Self::Content(error) => error.fmt(f),
            Self::Read { digest, source } => write!(f, "read blob {digest}: {source}"),
            Self::Tar(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SaveError {}
