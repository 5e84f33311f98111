//! Media types: what the bytes behind a digest claim to be.
//!
//! Invariant: a [`MediaType`] prints exactly as it was read, whether we know it or not.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::excerpt;

/// Whose documents: they differ in names only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// The OCI's.
    Oci,
    /// Docker's, version 2 schema 2.
    Docker,
}

/// How a layer's tar is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
    /// By zstd.
    Zstd,
}

/// What a layer claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerType {
    /// Whose.
    pub family: Family,
    /// How it is packed.
    pub compression: Compression,
    /// Whether registries may hold it; others are fetched from where their owner puts them.
    pub distributable: bool,
    /// Whether it must be decrypted first.
    pub encrypted: bool,
}

/// What the bytes behind a digest claim to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaType {
    /// A list of manifests, by platform.
    Index(Family),
    /// One image.
    Manifest(Family),
    /// An image's configuration.
    Config(Family),
    /// A layer of a root file system.
    Layer(LayerType),
    /// The two bytes `{}`, where there is nothing to say.
    Empty,
    /// Docker's schema 1, which nobody should serve any more.
    Legacy {
        /// Whether it carries a signature.
        signed: bool,
    },
    /// Something else, well-formed.
    Other(Box<str>),
}

/// A text that is no media type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaTypeError {
    /// The beginning of the text.
    pub text: String,
}

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LEGACY: &str = "application/vnd.docker.distribution.manifest.v1+json";
const LEGACY_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
const ENCRYPTED: &str = "+encrypted";

/// Stem, family, and whether it is distributable; behind it, the compression.
const LAYERS: &[(&str, Family, bool)] = &[
    ("application/vnd.oci.image.layer.v1.tar", Family::Oci, true),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar", Family::Oci, false),
    ("application/vnd.docker.image.rootfs.diff.tar", Family::Docker, true),
    ("application/vnd.docker.image.rootfs.foreign.diff.tar", Family::Docker, false),
];

impl MediaType {
    /// Reads a media type without parameters.
    pub fn parse(text: &str) -> Result<Self, MediaTypeError> {
        Ok(match text {
            OCI_INDEX => Self::Index(Family::Oci),
            OCI_MANIFEST => Self::Manifest(Family::Oci),
            OCI_CONFIG => Self::Config(Family::Oci),
            OCI_EMPTY => Self::Empty,
            DOCKER_INDEX => Self::Index(Family::Docker),
            DOCKER_MANIFEST => Self::Manifest(Family::Docker),
            DOCKER_CONFIG => Self::Config(Family::Docker),
            LEGACY => Self::Legacy { signed: false },
            LEGACY_SIGNED => Self::Legacy { signed: true },
            _ if !is_media_type(text) => return Err(MediaTypeError { text: excerpt(text) }),
            _ => LayerType::parse(text).map_or_else(|| Self::Other(text.into()), Self::Layer),
        })
    }

    /// A layer that we write: distributable and readable.
    pub const fn layer(family: Family, compression: Compression) -> Self {
        Self::Layer(LayerType { family, compression, distributable: true, encrypted: false })
    }

    /// The text.
    pub fn as_str(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Index(Family::Oci) => OCI_INDEX,
            Self::Index(Family::Docker) => DOCKER_INDEX,
            Self::Manifest(Family::Oci) => OCI_MANIFEST,
            Self::Manifest(Family::Docker) => DOCKER_MANIFEST,
            Self::Config(Family::Oci) => OCI_CONFIG,
            Self::Config(Family::Docker) => DOCKER_CONFIG,
            Self::Layer(layer) => return Cow::Owned(layer.to_string()),
            Self::Empty => OCI_EMPTY,
            Self::Legacy { signed: false } => LEGACY,
            Self::Legacy { signed: true } => LEGACY_SIGNED,
            Self::Other(text) => text,
        })
    }
}

impl LayerType {
    fn parse(text: &str) -> Option<Self> {
        let (plain, encrypted) = match text.strip_suffix(ENCRYPTED) {
            Some(plain) => (plain, true),
            None => (text, false),
        };
        LAYERS.iter().find_map(|&(stem, family, distributable)| {
            let suffix = plain.strip_prefix(stem)?;
            let compression = Compression::ALL
                .into_iter()
                .find(|compression| compression.suffix(family) == suffix)?;
            Some(Self { family, compression, distributable, encrypted })
        })
    }

    fn stem(self) -> &'static str {
        let fits = |&&(_, family, distributable): &&(&str, Family, bool)| {
            (family, distributable) == (self.family, self.distributable)
        };
        LAYERS.iter().find(fits).expect("the table has all four").0
    }
}

impl Compression {
    const ALL: [Self; 3] = [Self::None, Self::Gzip, Self::Zstd];

    const fn suffix(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::None, _) => "",
            (Self::Gzip, Family::Oci) => "+gzip",
            (Self::Gzip, Family::Docker) => ".gzip",
            (Self::Zstd, Family::Oci) => "+zstd",
            (Self::Zstd, Family::Docker) => ".zstd",
        }
    }
}

/// Type and subtype, each of a letter or digit and up to 126 more of RFC 6838's characters.
fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        first && name.len() <= 127 && name.bytes().all(known)
    };
    text.split_once('/').is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
}

impl fmt::Display for LayerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.stem())?;
        f.write_str(self.compression.suffix(self.family))?;
        f.write_str(if self.encrypted { ENCRYPTED } else { "" })
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str())
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, printer: S) -> Result<S::Ok, S::Error> {
        printer.serialize_str(&self.as_str())
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(reader)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for MediaTypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a media type", self.text)
    }
}

impl std::error::Error for MediaTypeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_type_comes_back() {
        let mut known = vec![
            MediaType::Empty,
            MediaType::Legacy { signed: false },
            MediaType::Legacy { signed: true },
        ];
        for family in [Family::Oci, Family::Docker] {
            known.extend([
                MediaType::Index(family),
                MediaType::Manifest(family),
                MediaType::Config(family),
            ]);
            for compression in Compression::ALL {
                for (distributable, encrypted) in
                    [(true, true), (true, false), (false, true), (false, false)]
                {
                    known.push(MediaType::Layer(LayerType {
                        family,
                        compression,
                        distributable,
                        encrypted,
                    }));
                }
            }
        }
        for media_type in known {
            assert_eq!(MediaType::parse(&media_type.as_str()), Ok(media_type));
        }
    }

    #[test]
    fn layers_by_name() {
        let check = |text: &str, compression, distributable, encrypted| {
            let Ok(MediaType::Layer(layer)) = MediaType::parse(text) else { panic!("{text}") };
            let expected = (compression, distributable, encrypted);
            assert_eq!((layer.compression, layer.distributable, layer.encrypted), expected);
            assert_eq!(layer.to_string(), text);
        };
        use Compression::{Gzip, None, Zstd};
        check("application/vnd.oci.image.layer.v1.tar", None, true, false);
        check("application/vnd.oci.image.layer.v1.tar+zstd", Zstd, true, false);
        check("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", Gzip, true, true);
        check("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Gzip, false, false);
        check("application/vnd.docker.image.rootfs.diff.tar.gzip", Gzip, true, false);
        check("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Gzip, false, false);
    }

    #[test]
    fn unknown_types_are_kept_and_bad_ones_refused() {
        for text in ["text/plain", "application/vnd.oci.image.layer.v1.tar+lz4", "a/b"] {
            let media_type = MediaType::parse(text).expect(text);
            assert_eq!(media_type, MediaType::Other(text.into()));
            assert_eq!(media_type.to_string(), text);
        }
        let long = format!("a/{}", "b".repeat(128));
        for text in ["", "a", "/", "a/", "/b", "a/b/c", "a b/c", "a/b; c=d", "-a/b", &long] {
            assert!(MediaType::parse(text).is_err(), "{text}");
        }
    }
}
