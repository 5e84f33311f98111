//! Images: names, what they point to, and what they hold of other content.
//!
//! An image is a name and a target descriptor: an index, kept whole with all platforms that it
//! names, or a manifest. Its id is the target's digest.
//!
//! Invariant: an image that is recorded has its target; every document behind it that was there
//! when it was recorded has been read and found to be what its pointers say.
//! Absent on purpose: fetching what is missing, unpacking, and formats of the API.

mod chain;
mod error;
mod history;
mod name;
mod walk;

use std::collections::BTreeSet;

use dhow_spec::image::{Descriptor, ImageConfig, Manifest};
use dhow_spec::{Digest, Platform, PlatformMatcher, Query, Reference};

use crate::content::Content;
use crate::db::{ChainId, Db, ImageRecord};

pub use chain::chain_ids;
pub use error::{Place, StoreImageError};
pub use history::HistoryStep;
pub use name::ImageName;
pub(crate) use walk::{Walked, WalkedManifest, walk};

/// The store's images; cloned freely.
#[derive(Debug, Clone)]
pub struct Images {
    db: Db,
    content: Content,
}

/// An image: a target and all that it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What the names point to; its digest is the image's id.
    pub target: Descriptor,
    /// What it is called; empty if it has lost its last name.
    pub names: Vec<Reference>,
    /// When it came here, in milliseconds since 1970.
    pub created_ms: i64,
    /// When one of its names last came to point to it.
    pub updated_ms: i64,
}

/// What an image has for one platform, or beside the platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageManifest {
    /// The manifest.
    pub descriptor: Descriptor,
    /// What it is.
    pub kind: ManifestKind,
    /// What it points to that is not here; itself if that is so. Empty means that it is whole.
    pub missing: Vec<Digest>,
    /// Bytes of its blobs that are here, itself included.
    pub content_bytes: u64,
}

/// What a manifest is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all are images")]
pub enum ManifestKind {
    /// An image, or what will be one once its configuration is here.
    Image {
        /// What it is made for, as far as anybody says.
        platform: Option<Platform>,
        /// Its configuration, if it is here.
        config: Option<ImageConfig>,
        /// The snapshots that its layers unpack to, lowest first; empty without the configuration.
        chain: Vec<ChainId>,
    },
    /// Statements about an image of the same index.
    Attestation,
    /// Something else that registries keep, or not here and not said.
    Other,
}

/// One platform's image, whose manifest and configuration are here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
    /// The snapshots that its layers unpack to, lowest first.
    pub chain: Vec<ChainId>,
}

type Result<T> = std::result::Result<T, StoreImageError>;

impl Images {
    pub(crate) fn new(db: Db, content: Content) -> Self {
        Self { db, content }
    }

    /// Records that `name` points to `target`, whose blob and whatever else is to be kept must be
    /// here, under a lease. Everything behind it that is here is read and checked. What the name
    /// pointed to before stays, without a name if that was its last.
    ///
    /// To be called again when more of it has come.
    pub fn put(&self, name: &ImageName, target: &Descriptor) -> Result<Option<Digest>> {
        let Walked { documents, .. } = walk(&self.content, target)?;
        self.db.put_image(name, target, documents)
    }

    /// Calls an image by one more name; gives what that pointed to before.
    pub fn tag(&self, image: &Image, name: &Reference) -> Result<Option<Digest>> {
        self.put(&ImageName::Reference(name.clone()), &image.target)
    }

    /// Takes a name away; the image stays without one if that was its last.
    pub fn untag(&self, name: &Reference) -> Result<()> {
        self.remove_name(name, true)
    }

    /// Takes a name away; if that was its last, the image goes with it.
    pub fn remove_name(&self, name: &Reference, keep: bool) -> Result<()> {
        let removed = self.db.remove_names(&[ImageName::Reference(name.clone())], keep)?;
        if removed == 0 {
            return Err(StoreImageError::NotFound { text: name.familiar() });
        }
        Ok(())
    }

    /// Takes all names of an image away, and so the image. Its bytes are garbage collection's.
    pub fn remove(&self, image: &Image) -> Result<()> {
        let names = self.db.images_of(&image.target.digest)?;
        let names: Vec<_> = names.into_iter().map(|record| record.name).collect();
        self.db.remove_names(&names, false)?;
        Ok(())
    }

    /// All images, by their ids.
    pub fn list(&self) -> Result<Vec<Image>> {
        let mut records = self.db.images()?;
        records.sort_by_key(|record| record.target.digest);
        Ok(records.chunk_by(|a, b| a.target.digest == b.target.digest).filter_map(gather).collect())
    }

    /// The image of that name, id, beginning of an id, or digest of a manifest or configuration.
    pub fn find(&self, text: &str) -> Result<Image> {
        let not_found = || StoreImageError::NotFound { text: text.to_owned() };
        let found = match Query::parse(text)? {
            Query::Id(digest) => self.by_digest(&digest)?,
            Query::Name { reference, id } => match (self.by_name(&reference)?, id) {
                (None, Some(prefix)) => {
                    let ids = self.db.images()?.into_iter().map(|record| record.target.digest);
                    match prefix.pick(ids)? {
                        Some(digest) => self.by_digest(&digest)?,
                        None => match prefix.pick(self.db.documents()?)? {
                            Some(digest) => self.by_digest(&digest)?,
                            None => None,
                        },
                    }
                }
                (found, _) => found,
            },
        };
        found.ok_or_else(not_found)
    }

    /// The image that the name points to.
    pub fn by_name(&self, name: &Reference) -> Result<Option<Image>> {
        if let Some(record) = self.db.image(&ImageName::Reference(name.clone()))? {
            return self.by_digest(&record.target.digest);
        }
        let Some(digest) = name.digest() else { return Ok(None) };
        // A digest decides alone; the repository must be one that the image was called by.
        let image = self.by_digest(digest)?;
        let of_repository = |known: &Reference| known.repository() == name.repository();
        Ok(image.filter(|image| image.names.iter().any(of_repository)))
    }

    /// The image of that id, or the one that holds the manifest or configuration of that digest.
    pub fn by_digest(&self, digest: &Digest) -> Result<Option<Image>> {
        let direct = self.db.images_of(digest)?;
        if let Some(image) = gather(&direct) {
            return Ok(Some(image));
        }
        // Of several, any is right: the lowest, so that it is always the same.
        match self.db.targets_above(digest)?.first() {
            Some(target) => Ok(gather(&self.db.images_of(target)?)),
            None => Ok(None),
        }
    }

    /// What the image has, platform by platform, with what is missing of each.
    pub fn manifests(&self, image: &Image) -> Result<Vec<ImageManifest>> {
        let walked = walk(&self.content, &image.target)?;
        let digests: Vec<_> = walked.blobs.iter().map(|blob| blob.digest).collect();
        let present = self.db.present(&digests)?;
        Ok(walked.manifests.into_iter().map(|manifest| describe(manifest, &present)).collect())
    }

    /// Everything behind the image, its target first: what a push or a save is about, what a pull
    /// has yet to fetch. Pointers behind documents that are missing are not known.
    pub fn blobs(&self, image: &Image) -> Result<Vec<Descriptor>> {
        Ok(walk(&self.content, &image.target)?.blobs)
    }

    /// The best that the image has for a platform, if its manifest and configuration are here.
    pub fn select(&self, image: &Image, platform: &Platform) -> Result<Selected> {
        let matcher = PlatformMatcher::compatible(platform);
        let target = image.target.digest;
        let mut offered = Vec::new();
        let mut other = None;
        let mut best: Option<(usize, walk::WalkedManifest)> = None;
        for found in walk(&self.content, &image.target)?.manifests {
            if found.descriptor.is_attestation() {
                continue;
            }
            let Some(its) = platform_of(&found) else {
                other = found.manifest.filter(|manifest| !manifest.is_image()).or(other);
                continue;
            };
            let rank = matcher.rank(&its);
            offered.push(its);
            if let Some(rank) = rank
                && best.as_ref().is_none_or(|(known, _)| rank < *known)
            {
                best = Some((rank, found));
            }
        }
        let Some((_, found)) = best else {
            if let (Some(manifest), true) = (other, offered.is_empty()) {
                let media_type = manifest.config.media_type;
                return Err(StoreImageError::NotAnImage { digest: target, media_type });
            }
            let wanted = Box::new(platform.clone());
            return Err(StoreImageError::NoPlatform { image: target, wanted, offered });
        };
        let digest = found.descriptor.digest;
        let Some(manifest) = found.manifest else {
            return Err(StoreImageError::MissingContent(Place::new(target, digest)));
        };
        if !manifest.is_image() {
            let media_type = manifest.config.media_type;
            return Err(StoreImageError::NotAnImage { digest, media_type });
        }
        let Some(config) = found.config else {
            let digest = manifest.config.digest;
            return Err(StoreImageError::MissingContent(Place::new(target, digest)));
        };
        let chain = chain_ids(&config.rootfs.diff_ids);
        Ok(Selected { descriptor: found.descriptor, manifest, config, chain })
    }
}

/// One image from its records, which all have the same target.
fn gather(records: &[ImageRecord]) -> Option<Image> {
    let first = records.first()?;
    let names = records.iter().filter_map(|record| record.name.reference().cloned()).collect();
    Some(Image {
        target: first.target.clone(),
        names,
        created_ms: records.iter().map(|record| record.created_ms).min()?,
        updated_ms: records.iter().map(|record| record.updated_ms).max()?,
    })
}

/// What it is made for: as its index says, else as its configuration does.
fn platform_of(found: &walk::WalkedManifest) -> Option<Platform> {
    let said = found.descriptor.platform.clone();
    said.or_else(|| found.config.as_ref().map(ImageConfig::platform))
}

fn describe(found: walk::WalkedManifest, present: &BTreeSet<Digest>) -> ImageManifest {
    let mut pointers = vec![&found.descriptor];
    if let Some(manifest) = &found.manifest {
        pointers.push(&manifest.config);
        pointers.extend(&manifest.layers);
    }
    let mut seen = BTreeSet::new();
    pointers.retain(|pointer| seen.insert(pointer.digest));
    let is_here = |pointer: &&&Descriptor| present.contains(&pointer.digest);
    let content_bytes = pointers.iter().filter(is_here).map(|pointer| pointer.size).sum();
    let missing = pointers.iter().filter(|pointer| !is_here(pointer));
    let missing = missing.map(|pointer| pointer.digest).collect();
    let platform = platform_of(&found);
    let is_image = match &found.manifest {
        Some(manifest) => manifest.is_image(),
        None => found.descriptor.platform.is_some(),
    };
    let kind = if found.descriptor.is_attestation() {
        ManifestKind::Attestation
    } else if is_image {
        let chain = found.config.as_ref().map(|config| chain_ids(&config.rootfs.diff_ids));
        ManifestKind::Image { platform, config: found.config, chain: chain.unwrap_or_default() }
    } else {
        ManifestKind::Other
    };
    ImageManifest { descriptor: found.descriptor, kind, missing, content_bytes }
}
