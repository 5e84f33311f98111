//! Why an image's document was refused.

use std::fmt;

use super::media_type::MediaType;
use crate::digest::Digest;
use crate::json::JsonError;

/// A document that was refused.
#[derive(Debug)]
pub enum ImageError {
    /// Not JSON, or not of the form.
    Json(JsonError),
    /// More bytes than anybody should have to read.
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// Docker's schema 1, whose support ended everywhere.
    Legacy,
    /// Neither 1 nor 2.
    SchemaVersion {
        /// What it says.
        version: u32,
    },
    /// It says to be something else than who pointed to it said.
    Mismatch {
        /// What the pointer said.
        declared: MediaType,
        /// What it says itself.
        actual: MediaType,
    },
    /// Neither an index nor a manifest.
    NotAnImage {
        /// What it is; absent if it does not say.
        media_type: Option<MediaType>,
    },
    /// A member that its kind does not have: two readers could see two images in it.
    Mixed {
        /// The kind.
        kind: &'static str,
        /// The member.
        member: &'static str,
    },
    /// A layer that we cannot unpack.
    Layer {
        /// The layer.
        digest: Digest,
        /// What it claims to be.
        media_type: MediaType,
        /// What is in the way.
        fault: LayerFault,
    },
    /// Manifest and configuration disagree.
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
}

/// Why a layer cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerFault {
    /// It must be decrypted first.
    Encrypted,
    /// Its owner does not let registries hold it.
    NonDistributable,
    /// It is no layer that we know.
    Unknown,
}

impl From<JsonError> for ImageError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => error.fmt(f),
            Self::TooLarge { size, max } => {
                write!(f, "{size} bytes are more than the {max} that are allowed")
            }
            Self::Legacy => f.write_str("docker manifest schema 1 is no longer supported"),
            Self::SchemaVersion { version } => write!(f, "unknown schema version {version}"),
            Self::Mismatch { declared, actual } => {
                write!(f, "declared as {declared}, but says to be {actual}")
            }
            Self::NotAnImage { media_type: Some(media_type) } => {
                write!(f, "{media_type} is neither an index nor a manifest")
            }
            Self::NotAnImage { media_type: None } => f.write_str("neither an index nor a manifest"),
            Self::Mixed { kind, member } => write!(f, "{kind} with the member {member:?}"),
            Self::Layer { digest, media_type, fault } => {
                write!(f, "layer {digest} ({media_type}) {fault}")
            }
            Self::LayerCount { layers, diff_ids } => {
                write!(f, "{layers} layers in the manifest, {diff_ids} in the configuration")
            }
        }
    }
}

impl fmt::Display for LayerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encrypted => "is encrypted, which is not supported",
            Self::NonDistributable => "is not distributable, which is not supported",
            Self::Unknown => "is of no known layer type",
        })
    }
}

impl std::error::Error for ImageError {}
