//! From an archive to images.
//!
//! Invariant: all images of an archive are checked before the first is recorded.

use std::io::Read;

use dhow_archive::compress::{Decoder, Format, Limits};
use dhow_spec::image::{
    CONFIG_BYTES_MAX, Compression, Descriptor, Family, ImageConfig, Index, Manifest, MediaType,
    annotation,
};
use dhow_spec::{Digest, Reference};

use super::contents::{self, Contents};
use super::docker::Item;
use super::error::{EntryFault, LoadError};
use super::{INDEX, MANIFEST};
use crate::db::LeaseId;
use crate::image::{ImageName, StoreImageError, walk};
use crate::store::Store;

/// What an archive may take.
#[derive(Debug, Clone, Copy)]
pub struct LoadLimits {
    /// Most bytes of all entries.
    pub bytes_max: u64,
    /// What the compression around the archive may do.
    pub compression: Limits,
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its name, if the archive has one.
    pub name: Option<Reference>,
    /// What it points to.
    pub target: Descriptor,
    /// What the name pointed to before.
    pub replaced: Option<Digest>,
}

type Result<T> = std::result::Result<T, LoadError>;

impl Store {
    /// Loads the images of an archive, compressed or not. Blobs are kept by the lease, which the
    /// caller ends afterwards; images by their names, or without.
    pub fn load(
        &self,
        lease: &LeaseId,
        source: impl Read,
        limits: LoadLimits,
    ) -> Result<Vec<Loaded>> {
        let source = Decoder::new(source, limits.compression).map_err(LoadError::Compression)?;
        let contents = contents::read(self.content(), lease, source, limits)?;
        let targets = if let Some(bytes) = &contents.index {
            layout_targets(bytes)?
        } else if let Some(bytes) = &contents.manifest {
            self.docker_targets(lease, bytes, &contents)?
        } else {
            return Err(LoadError::NotImages);
        };
        for (name, target) in &targets {
            walk(self.content(), target).map_err(|source| refused(name, target, source))?;
        }
        targets.into_iter().map(|(name, target)| self.record(name, target)).collect()
    }

    pub(super) fn record(&self, name: Option<Reference>, target: Descriptor) -> Result<Loaded> {
        let image_name = match &name {
            Some(name) => ImageName::Reference(name.clone()),
            None => ImageName::Unnamed(target.digest),
        };
        // What has a name already needs none of its own.
        let is_known = name.is_none()
            && (self.images().by_digest(&target.digest))
                .map_err(|source| refused(&name, &target, source))?
                .is_some_and(|image| image.target.digest == target.digest);
        let replaced = if is_known {
            None
        } else {
            let put = self.images().put(&image_name, &target);
            put.map_err(|source| refused(&name, &target, source))?
        };
        Ok(Loaded { name, target, replaced })
    }

    /// Makes a manifest for each image of Docker's list, which has none.
    fn docker_targets(
        &self,
        lease: &LeaseId,
        bytes: &[u8],
        contents: &Contents,
    ) -> Result<Vec<(Option<Reference>, Descriptor)>> {
        let items: Vec<Item> = serde_json::from_slice(bytes)
            .map_err(|error| LoadError::entry(MANIFEST.to_owned(), EntryFault::Json(error)))?;
        let mut targets = Vec::new();
        for item in items {
            let target = self.docker_target(lease, &item, contents)?;
            let tags = item.repo_tags.unwrap_or_default();
            if tags.is_empty() {
                targets.push((None, target.clone()));
            }
            for tag in tags {
                let name = Reference::parse(&tag);
                let name = name.map_err(|source| LoadError::Name { entry: MANIFEST, source })?;
                targets.push((Some(name), target.clone()));
            }
        }
        Ok(targets)
    }

    fn docker_target(
        &self,
        lease: &LeaseId,
        item: &Item,
        contents: &Contents,
    ) -> Result<Descriptor> {
        let tags = item.repo_tags.as_deref().unwrap_or_default();
        let image = || tags.first().unwrap_or(&item.config).clone();
        let find = |entry: &String| {
            contents
                .blob(entry)
                .ok_or_else(|| LoadError::NoEntry { image: image(), entry: entry.clone() })
        };
        let kept =
            |entry: &str, error| LoadError::entry(entry.to_owned(), EntryFault::Content(error));
        let (stored, _) = find(&item.config)?;
        let bytes = self.content().read(&stored.digest, CONFIG_BYTES_MAX as u64);
        let bytes = bytes.map_err(|error| kept(&item.config, error))?;
        let entries = item.layers.as_deref().unwrap_or_default();
        let config = ImageConfig::parse(&bytes).and_then(|config| {
            config.check_layers(entries.len())?;
            Ok(config)
        });
        let config = config.map_err(|source| LoadError::Config {
            image: image(),
            entry: item.config.clone(),
            source: Box::new(source),
        })?;
        let mut layers = Vec::with_capacity(entries.len());
        for (entry, diff_id) in entries.iter().zip(&config.rootfs.diff_ids) {
            let (layer, format) = find(entry)?;
            let compression = match format {
                Format::Readable(compression) => compression,
                Format::Bzip2 | Format::Xz | Format::Unreadable(_) => {
                    let format = format.name();
                    let (entry, fault) = (entry.clone(), EntryFault::Compression { format });
                    return Err(LoadError::entry(entry, fault));
                }
            };
            if compression == Compression::None && layer.digest != *diff_id {
                return Err(LoadError::Layer {
                    image: image(),
                    entry: entry.clone(),
                    expected: Box::new(*diff_id),
                    actual: Box::new(layer.digest),
                });
            }
            let media_type = MediaType::layer(Family::Oci, compression);
            layers.push(Descriptor::new(media_type, layer.digest, layer.size));
        }
        let pointer = Descriptor::new(MediaType::Config(Family::Oci), stored.digest, stored.size);
        let manifest = Manifest::new(pointer, layers).to_json();
        let put = self.content().put(lease, manifest.as_bytes(), "loading an archive");
        let stored = put.map_err(|error| kept(MANIFEST, error))?;
        Ok(Descriptor::new(MediaType::Manifest(Family::Oci), stored.digest, stored.size))
    }
}

fn refused(name: &Option<Reference>, target: &Descriptor, source: StoreImageError) -> LoadError {
    let image = match name {
        Some(name) => name.familiar(),
        None => target.digest.to_string(),
    };
    LoadError::Image { image, source: Box::new(source) }
}

/// The targets of a layout's index, under the names that its annotations give.
fn layout_targets(bytes: &[u8]) -> Result<Vec<(Option<Reference>, Descriptor)>> {
    let index = Index::parse(bytes)
        .map_err(|error| LoadError::entry(INDEX.to_owned(), EntryFault::Document(error)))?;
    let named = |mut target: Descriptor| {
        let whole = target.annotations.remove(annotation::CONTAINERD_NAME);
        let short = target.annotations.remove(annotation::REF_NAME);
        // A bare tag is no name; some programs write a whole one there.
        let text = whole.or(short.filter(|text| text.contains(['/', ':'])));
        let name = text.map(|text| Reference::parse(&text)).transpose();
        let name = name.map_err(|source| LoadError::Name { entry: INDEX, source })?;
        Ok((name, target))
    };
    index.manifests.into_iter().map(named).collect()
}
