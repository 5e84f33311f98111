//! What a registry has under a name, without taking it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use dhow_distribution::{
    Action, Error, Fault, Found as FoundRepository, Page, PageError, Sink, Subject, Verifier,
};
use dhow_spec::image::{CONFIG_BYTES_MAX, Descriptor, Document, ImageConfig, Manifest};
use dhow_spec::{Platform, PlatformMatcher, Reference, Repository, Tag};

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

    /// What a registry says of an image for a platform, without its layers.
    pub(crate) async fn documents(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<(Manifest, ImageConfig), PullError> {
        let matcher = PlatformMatcher::compatible(platform);
        let found = self.client().image(reference, &matcher, platform, &()).await?;
        let (repository, config) = (reference.repository(), &found.manifest.config);
        let bytes = self.client().fetch_bytes(repository, config, CONFIG_BYTES_MAX, &()).await?;
        let config = ImageConfig::parse(&bytes).map_err(|error| Error {
            action: Action::Pull,
            subject: Subject::Reference(reference.clone()),
            fault: Fault::Document(error),
        })?;
        Ok((found.manifest, config))
    }

    /// Brings a blob into a file, from its beginning.
    pub(crate) async fn blob_to(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        file: File,
    ) -> Result<(), PullError> {
        let mut sink = FileSink { file, offset: 0 };
        Ok(self.client().fetch(repository, descriptor, &mut sink, &()).await?)
    }

    /// What an address that is no registry's has; every piece goes to `sink`.
    pub(crate) async fn page(
        &self,
        url: &str,
        sink: impl FnMut(Bytes) -> io::Result<()>,
    ) -> Result<Page, PageError> {
        self.client().page(url, sink).await
    }

    /// The tags that a repository has in its registry.
    pub async fn remote_tags(&self, repository: &Repository) -> Result<Vec<Tag>, PullError> {
        let tags = self.client().tags(repository, &()).await?;
        Ok(tags.iter().filter_map(|tag| Tag::parse(tag)).collect())
    }
}

/// A file that takes a blob; what went wrong is written over.
struct FileSink {
    file: File,
    offset: u64,
}

impl Sink for FileSink {
    async fn begin(&mut self, _: &mut Verifier) -> io::Result<()> {
        self.rewind().await
    }

    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.file.write_all_at(&bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    async fn rewind(&mut self) -> io::Result<()> {
        self.offset = 0;
        self.file.set_len(0)
    }

    async fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}
