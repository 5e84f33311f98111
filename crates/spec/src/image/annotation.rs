//! Annotation keys that have a meaning; all others are carried along unread.

/// When the image was made.
pub const CREATED: &str = "org.opencontainers.image.created";
/// Who is responsible for it.
pub const AUTHORS: &str = "org.opencontainers.image.authors";
/// Where to read more.
pub const URL: &str = "org.opencontainers.image.url";
/// Where its documentation is.
pub const DOCUMENTATION: &str = "org.opencontainers.image.documentation";
/// Where its source is.
pub const SOURCE: &str = "org.opencontainers.image.source";
/// Version of what it packs.
pub const VERSION: &str = "org.opencontainers.image.version";
/// Revision of its source.
pub const REVISION: &str = "org.opencontainers.image.revision";
/// Who distributes it.
pub const VENDOR: &str = "org.opencontainers.image.vendor";
/// Licences as an SPDX expression.
pub const LICENSES: &str = "org.opencontainers.image.licenses";
/// Name of the target in a layout: a tag, or a whole reference.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Title for people.
pub const TITLE: &str = "org.opencontainers.image.title";
/// Description for people.
pub const DESCRIPTION: &str = "org.opencontainers.image.description";
/// Digest of the image that it was made from.
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
/// Reference of the image that it was made from.
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// Whole reference of the target in a layout, as containerd and Docker write it.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// What an index entry is about another; [`ATTESTATION`] is the one value in use.
pub const DOCKER_REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// Digest of that other entry.
pub const DOCKER_REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// Says of an index entry that it holds statements about an image, not an image.
pub const ATTESTATION: &str = "attestation-manifest";
