//! Indexes and manifests, and telling them apart.
//!
//! Invariant: a document that two readers could take for two different images is refused; both
//! what points to it and what it says itself must agree with its members.
//! Absent on purpose: following descriptors, and how deep indexes may nest.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::MANIFEST_BYTES_MAX;
use super::descriptor::Descriptor;
use super::error::{ImageError, LayerFault};
use super::media_type::{Compression, Family, MediaType};
use crate::json;
use crate::platform_match::PlatformMatcher;

const SCHEMA_VERSION: u32 = 2;

/// What a reference can lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and taken apart at once")]
pub enum Document {
    /// A list of manifests.
    Index(Index),
    /// One image.
    Manifest(Manifest),
}

/// A list of manifests, by platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    schema_version: u32,
    /// What it says to be; OCI documents need not say it.
    #[serde(default, deserialize_with = "json::word", skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// What it is, if not images.
    #[serde(default, deserialize_with = "json::word", skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<MediaType>,
    /// The manifests, in the writer's order of preference.
    #[serde(default, deserialize_with = "json::nullable")]
    pub manifests: Vec<Descriptor>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free notes.
    #[serde(
        default,
        deserialize_with = "json::nullable_values",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// One image: configuration and layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u32,
    /// What it says to be; OCI documents need not say it.
    #[serde(default, deserialize_with = "json::word", skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// What it is, if not an image.
    #[serde(default, deserialize_with = "json::word", skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<MediaType>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default, deserialize_with = "json::nullable")]
    pub layers: Vec<Descriptor>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free notes.
    #[serde(
        default,
        deserialize_with = "json::nullable_values",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// Only what tells the kinds apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: u32,
    #[serde(default, deserialize_with = "json::word")]
    media_type: Option<MediaType>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

impl Document {
    /// Reads an index or a manifest; `declared` is what the pointer to it (a descriptor, a
    /// response's content type) says it is, if it says anything.
    pub fn parse(bytes: &[u8], declared: Option<&MediaType>) -> Result<Self, ImageError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ImageError::TooLarge { size: bytes.len(), max: MANIFEST_BYTES_MAX });
        }
        let shape: Shape = json::parse(bytes)?;
        if shape.kind(declared)? {
            Ok(Self::Index(json::parse(bytes)?))
        } else {
            Ok(Self::Manifest(json::parse(bytes)?))
        }
    }
}

impl Shape {
    /// Whether it is an index.
    fn kind(&self, declared: Option<&MediaType>) -> Result<bool, ImageError> {
        let own = self.media_type.as_ref();
        if self.is_legacy(declared) {
            return Err(ImageError::Legacy);
        }
        if self.schema_version != SCHEMA_VERSION {
            return Err(ImageError::SchemaVersion { version: self.schema_version });
        }
        if let (Some(declared), Some(actual)) = (declared, own)
            && declared != actual
        {
            let (declared, actual) = (declared.clone(), actual.clone());
            return Err(ImageError::Mismatch { declared, actual });
        }
        let has = [
            ("manifests", self.manifests.is_some()),
            ("config", self.config.is_some()),
            ("layers", self.layers.is_some()),
        ];
        let is_index = match declared.or(own) {
            Some(MediaType::Index(_)) => true,
            Some(MediaType::Manifest(_)) => false,
            None if has.iter().any(|(_, there)| *there) => self.manifests.is_some(),
            other => return Err(ImageError::NotAnImage { media_type: other.cloned() }),
        };
        let (kind, foreign) =
            if is_index { ("an index", &has[1..]) } else { ("a manifest", &has[..1]) };
        match foreign.iter().find(|(_, there)| *there) {
            Some(&(member, _)) => Err(ImageError::Mixed { kind, member }),
            None => Ok(is_index),
        }
    }

    fn is_legacy(&self, declared: Option<&MediaType>) -> bool {
        let says = [declared, self.media_type.as_ref()];
        let named = says.iter().any(|says| matches!(says, Some(MediaType::Legacy { .. })));
        named || self.schema_version == 1 || self.fs_layers.is_some()
    }
}

impl Index {
    /// An index of ours.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            media_type: Some(MediaType::Index(Family::Oci)),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads a layout's `index.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        match Document::parse(bytes, None)? {
            Document::Index(index) => Ok(index),
            Document::Manifest(manifest) => {
                Err(ImageError::NotAnImage { media_type: manifest.media_type })
            }
        }
    }

    /// What to try for a platform, best first; entries that do not say their platform come last,
    /// because only their configuration can tell.
    pub fn candidates(&self, matcher: &PlatformMatcher) -> Vec<&Descriptor> {
        let rank = |entry: &Descriptor| match &entry.platform {
            Some(platform) => matcher.rank(platform),
            None => Some(usize::MAX),
        };
        let mut ranked: Vec<_> = (self.manifests.iter())
            .filter(|entry| !entry.is_attestation())
            .filter_map(|entry| Some((rank(entry)?, entry)))
            .collect();
        // A stable sort: among equals the writer's order counts.
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, entry)| entry).collect()
    }

    /// Prints it in one line.
    pub fn to_json(&self) -> String {
        json::print(self)
    }
}

impl Manifest {
    /// A manifest of ours.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            media_type: Some(MediaType::Manifest(Family::Oci)),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Whether it is an image; other things are kept and copied, but not run.
    pub fn is_image(&self) -> bool {
        matches!(self.config.media_type, MediaType::Config(_))
    }

    /// The layers and how to unpack each, or the first that cannot be.
    pub fn unpackable_layers(&self) -> Result<Vec<(&Descriptor, Compression)>, ImageError> {
        let unpackable = |layer| Ok((layer, compression_of(layer)?));
        self.layers.iter().map(unpackable).collect()
    }

    /// Prints it in one line.
    pub fn to_json(&self) -> String {
        json::print(self)
    }
}

fn compression_of(layer: &Descriptor) -> Result<Compression, ImageError> {
    let fault = match &layer.media_type {
        MediaType::Layer(kind) if kind.encrypted => LayerFault::Encrypted,
        MediaType::Layer(kind) if !kind.distributable => LayerFault::NonDistributable,
        MediaType::Layer(kind) => return Ok(kind.compression),
        _ => LayerFault::Unknown,
    };
    let (digest, media_type) = (layer.digest, layer.media_type.clone());
    Err(ImageError::Layer { digest, media_type, fault })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Platform;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
    const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
    const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

    fn pointer(media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{HEX}","size":2}}"#)
    }

    fn parse(members: &str, declared: &str) -> Result<Document, ImageError> {
        let declared = MediaType::parse(declared).ok();
        Document::parse(format!("{{{members}}}").as_bytes(), declared.as_ref())
    }

    fn manifest(members: &str) -> String {
        let config = pointer("application/vnd.oci.image.config.v1+json");
        format!(r#""schemaVersion":2,"config":{config},"layers":[]{members}"#)
    }

    #[test]
    fn kinds_are_told_apart() {
        let check = |members: &str, declared: &str, is_index: bool| {
            let document = parse(members, declared).expect(members);
            assert_eq!(matches!(document, Document::Index(_)), is_index, "{members}");
        };
        check(&manifest(""), "", false);
        check(&manifest(""), OCI, false);
        check(&manifest(r#","manifests":null"#), "", false);
        check(&manifest(&format!(r#","mediaType":"{DOCKER}""#)), DOCKER, false);
        check(r#""schemaVersion":2,"manifests":[]"#, "", true);
        check(r#""schemaVersion":2,"manifests":null"#, LIST, true);
    }

    #[test]
    fn liars_are_refused() {
        let check = |members: &str, declared: &str, expected: &str| {
            let error = parse(members, declared).expect_err(members);
            assert_eq!(error.to_string(), expected, "{members}");
        };
        check(&manifest(r#","manifests":[]"#), OCI, r#"a manifest with the member "manifests""#);
        check(&manifest(r#","manifests":[]"#), "", r#"an index with the member "config""#);
        check(&manifest(""), LIST, r#"an index with the member "config""#);
        check(
            &manifest(&format!(r#","mediaType":"{OCI}""#)),
            DOCKER,
            &format!("declared as {DOCKER}, but says to be {OCI}"),
        );
        check(
            r#""schemaVersion":1,"fsLayers":[]"#,
            "",
            "docker manifest schema 1 is no longer supported",
        );
        check(r#""schemaVersion":3"#, "", "unknown schema version 3");
        check(r#""schemaVersion":2"#, "", "neither an index nor a manifest");
        check(&manifest(""), "text/plain", "text/plain is neither an index nor a manifest");
        let text = manifest(&format!(r#","subject":{}"#, pointer(OCI).replace("2}", "-2}")));
        check(
            &text,
            OCI,
            &format!(
                "subject.size: invalid value: integer `-2`, expected u64 at line 1 column {}",
                text.len()
            ),
        );
    }

    #[test]
    fn too_much_is_not_read() {
        let bytes = vec![b' '; MANIFEST_BYTES_MAX + 1];
        let error = Document::parse(&bytes, None).expect_err("too large");
        assert_eq!(error.to_string(), "4194305 bytes are more than the 4194304 that are allowed");
    }

    #[test]
    fn layers_that_cannot_be_unpacked_are_named() {
        let check = |media_type: &str, expected: Result<Compression, &str>| {
            let layer = pointer(media_type);
            let text = manifest("").replace(r#""layers":[]"#, &format!(r#""layers":[{layer}]"#));
            let Ok(Document::Manifest(manifest)) = parse(&text, "") else { panic!("{text}") };
            let ours = manifest.unpackable_layers().map(|layers| layers[0].1);
            match (ours, expected) {
                (Ok(ours), Ok(expected)) => assert_eq!(ours, expected),
                (Err(error), Err(expected)) => assert_eq!(
                    error.to_string(),
                    format!("layer sha256:{HEX} ({media_type}) {expected}")
                ),
                (ours, _) => panic!("{media_type}: {ours:?}"),
            }
        };
        let layer = "application/vnd.oci.image.layer.v1.tar";
        check(layer, Ok(Compression::None));
        check(&format!("{layer}+zstd"), Ok(Compression::Zstd));
        check(&format!("{layer}+zstd+encrypted"), Err("is encrypted, which is not supported"));
        check(
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            Err("is not distributable, which is not supported"),
        );
        check("text/plain", Err("is of no known layer type"));
    }

    #[test]
    fn candidates_come_in_the_machines_order() {
        let entry = |text: &str| {
            let mut entry = Descriptor::new(
                MediaType::Manifest(Family::Oci),
                crate::Digest::Sha256([text.len() as u8; 32]),
                1,
            );
            let host = Platform::new("linux", "amd64", "");
            entry.platform = Platform::parse(text, &host).ok();
            entry
        };
        let mut attestation = entry("linux/amd64");
        attestation.annotations.insert(
            super::super::annotation::DOCKER_REFERENCE_TYPE.to_owned(),
            super::super::annotation::ATTESTATION.to_owned(),
        );
        let index = Index::new(vec![
            entry("no platform"),
            attestation,
            entry("linux/arm/v5"),
            entry("linux/s390x"),
            entry("linux/arm64"),
            entry("linux/arm/v7"),
        ]);
        let matcher = PlatformMatcher::compatible(&Platform::new("linux", "arm64", ""));
        let texts: Vec<_> = (index.candidates(&matcher).iter())
            .map(|entry| entry.platform.as_ref().map(ToString::to_string).unwrap_or_default())
            .collect();
        assert_eq!(texts, ["linux/arm64", "linux/arm/v7", "linux/arm/v5", ""]);
    }
}
