//! What a registry has under a name, without taking it.

use dhow_distribution::Found as FoundRepository;
use dhow_spec::image::{CONFIG_BYTES_MAX, Descriptor, Document, ImageConfig};
use dhow_spec::{Platform, Reference, Repository, Tag};

use super::error::PullError;
use super::options::ImageEngine;

impl ImageEngine {
    /// What a name leads to in its registry, and which platforms it has.
    pub async fn remote(
        &self,
        reference: &Reference,
    ) -> Result<(Descriptor, Vec<Platform>), PullError> {
        let client = self.client();
        let found = client.manifest(reference, &()).await?;
        let platforms = match &found.document {
            Document::Index(index) => {
                index.manifests.iter().filter_map(|entry| entry.platform.clone()).collect()
            }
            Document::Manifest(manifest) => {
                let config = manifest.config.clone();
                let bytes =
                    client.fetch_bytes(reference.repository(), &config, CONFIG_BYTES_MAX, &());
                // What is no image has no platform.
                let config = ImageConfig::parse(&bytes.await?);
                config.map(|config| config.platform()).into_iter().collect()
            }
        };
        Ok((found.descriptor, platforms))
    }

    /// Up to `limit` repositories of a registry that have to do with `term`.
    pub async fn search(
        &self,
        registry: &str,
        term: &str,
        limit: usize,
    ) -> Result<Vec<FoundRepository>, PullError> {
        Ok(self.client().search(registry, term, limit, &()).await?)
    }

    /// The tags that a repository has in its registry.
    pub async fn remote_tags(&self, repository: &Repository) -> Result<Vec<Tag>, PullError> {
        let tags = self.client().tags(repository, &()).await?;
        Ok(tags.iter().filter_map(|tag| Tag::parse(tag)).collect())
    }
}
