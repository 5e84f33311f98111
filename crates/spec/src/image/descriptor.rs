//! Descriptors: what, how many bytes, under which digest.
//!
//! Absent on purpose: fetching, and decoding the embedded data; both are for who holds the bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::annotation;
use super::media_type::MediaType;
use crate::digest::Digest;
use crate::json;
use crate::platform::Platform;

/// A pointer to content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it claims to be.
    pub media_type: MediaType,
    /// Its hash.
    pub digest: Digest,
    /// Its size in bytes.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// Where else it may be had.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free notes.
    #[serde(
        default,
        deserialize_with = "json::nullable_values",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The content itself, in base64.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What it is made for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What it is, if not an image.
    #[serde(default, deserialize_with = "json::word", skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<MediaType>,
}

/// Go's sizes are signed, so nobody could fetch more.
fn size<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<u64, D::Error> {
    let size = u64::deserialize(reader)?;
    if i64::try_from(size).is_err() {
        return Err(serde::de::Error::custom(format_args!("a size of {size} bytes is too large")));
    }
    Ok(size)
}

impl Descriptor {
    /// A bare pointer.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
            artifact_type: None,
        }
    }

    /// Whether this index entry holds statements about an image (provenance, bill of materials)
    /// instead of one.
    pub fn is_attestation(&self) -> bool {
        let kind = self.annotations.get(annotation::DOCKER_REFERENCE_TYPE);
        kind.is_some_and(|kind| kind == annotation::ATTESTATION)
    }
}
