//! Lists of manifests that users put together out of what registries have.
//!
//! Invariant: a list is written last: a registry never holds one whose manifests are not in its repository.
//! Absent on purpose: manifests of other registries than the list's, whose content would have to travel.

use std::io;

use bytes::Bytes;
use dhow_distribution::Source;
use dhow_spec::image::{CONFIG_BYTES_MAX, Descriptor, Document, ImageConfig, MediaType};
use dhow_spec::{Digest, Platform, Reference, Repository};

use super::error::PullError;
use super::options::ImageEngine;

/// What a registry has under a name.
#[derive(Debug, Clone)]
pub struct RemoteManifest {
    /// Its media type, digest and size.
    pub descriptor: Descriptor,
    /// Whose it is, if it is one image and says so.
    pub platform: Option<Platform>,
    /// Its very bytes.
    pub bytes: Bytes,
}

impl ImageEngine {
    /// Reads what a registry has under a name.
    pub async fn remote_manifest(
        &self,
        reference: &Reference,
    ) -> Result<RemoteManifest, PullError> {
        let client = self.client();
        let found = client.manifest(reference, &()).await?;
        let platform = match &found.document {
            Document::Index(_) => None,
            Document::Manifest(manifest) => {
                let repository = reference.repository();
                let bytes = client.fetch_bytes(repository, &manifest.config, CONFIG_BYTES_MAX, &());
                // What is no image has no platform.
                ImageConfig::parse(&bytes.await?).ok().map(|config| config.platform())
            }
        };
        Ok(RemoteManifest { descriptor: found.descriptor, platform, bytes: found.bytes })
    }

    /// Writes a list under a name; `sources` are the repositories of the same registry that its manifests come from.
    pub async fn push_list(
        &self,
        name: &Reference,
        media_type: &MediaType,
        list: Bytes,
        sources: Vec<(Digest, Repository)>,
    ) -> Result<Descriptor, PullError> {
        let client = self.client();
        let target = name.repository();
        for (digest, from) in sources.into_iter().filter(|(_, from)| from != target) {
            let found = client.manifest(&Reference::pinned(from.clone(), digest), &()).await?;
            if let Document::Manifest(manifest) = &found.document {
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    client.push(target, blob, Some(&from), &mut Elsewhere, &()).await?;
                }
            }
            let own = Reference::pinned(target.clone(), digest);
            let media_type = &found.descriptor.media_type;
            client.push_manifest(&own, media_type, found.bytes, &()).await?;
        }
        Ok(client.push_manifest(name, media_type, list, &()).await?)
    }
}

/// A blob that only the registry has.
struct Elsewhere;

impl Source for Elsewhere {
    async fn open(&mut self, _offset: u64) -> io::Result<()> {
        Err(io::Error::other("the registry does not take content over from its other repository"))
    }

    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        Ok(None)
    }
}
