//! From a target descriptor to everything behind it that is there.
//!
//! Invariant: every document is read as what its pointer says, once; sizes agree with the
//! pointers; depth, number and size of what is read are bounded whatever the documents say.
//! Documents that are not there end the walk at their place: an index names platforms that nobody
//! has asked for.
//! Absent on purpose: fetching.

use std::collections::{HashMap, VecDeque};

use dhow_spec::Digest;
use dhow_spec::image::{
    CONFIG_BYTES_MAX, Descriptor, Document, ImageConfig, Index, MANIFEST_BYTES_MAX, Manifest,
    MediaType,
};

use super::chain::chain_ids;
use super::error::{Place, StoreImageError};
use crate::content::{Content, ContentError};
use crate::db::{DocumentKind, DocumentRecord};

/// Indexes within indexes; one level is what people make.
const DEPTH_MAX: usize = 8;
/// Documents behind one target; the largest index in use has some dozens.
const DOCUMENTS_MAX: usize = 4096;
/// Bytes of all documents behind one target.
const BYTES_MAX: u64 = 64 << 20;
/// Everything that one target points to, layers too.
const LINKS_MAX: usize = 100_000;

/// What is behind a target.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// The manifests in the order of the indexes, each once.
    pub(crate) manifests: Vec<WalkedManifest>,
    /// All that was read, for the records.
    pub(crate) documents: Vec<DocumentRecord>,
    /// Every blob that is pointed to, the target first, and what it is said to be.
    pub(crate) blobs: Vec<Descriptor>,
}

/// One entry that says, or is said, to be a manifest.
#[derive(Debug)]
pub(crate) struct WalkedManifest {
    pub(crate) descriptor: Descriptor,
    /// Absent if it is not there.
    pub(crate) manifest: Option<Manifest>,
    /// Absent if it is not there, or if it is no image's.
    pub(crate) config: Option<ImageConfig>,
}

struct Walk<'a> {
    content: &'a Content,
    image: Digest,
    seen: HashMap<Digest, MediaType>,
    bytes: u64,
    found: Walked,
}

type Result<T> = std::result::Result<T, StoreImageError>;

/// Reads everything behind `target`, which itself must be there.
pub(crate) fn walk(content: &Content, target: &Descriptor) -> Result<Walked> {
    let (seen, found) = (HashMap::new(), Walked::default());
    let mut walk = Walk { content, image: target.digest, seen, bytes: 0, found };
    let mut queue = VecDeque::from([(target.clone(), 0)]);
    walk.point_to(target)?;
    while let Some((descriptor, depth)) = queue.pop_front() {
        let Some(bytes) = walk.read(&descriptor, MANIFEST_BYTES_MAX)? else {
            if descriptor.digest == target.digest {
                let place = Place::new(target.digest, target.digest);
                return Err(StoreImageError::MissingContent(place));
            }
            let (manifest, config) = (None, None);
            if matches!(descriptor.media_type, MediaType::Manifest(_)) {
                walk.found.manifests.push(WalkedManifest { descriptor, manifest, config });
            }
            continue;
        };
        let document = Document::parse(&bytes, Some(&descriptor.media_type))
            .map_err(|error| walk.refused(descriptor.digest, error))?;
        match document {
            Document::Index(index) => walk.index(&descriptor, index, depth, &mut queue)?,
            Document::Manifest(manifest) => walk.manifest(descriptor, manifest)?,
        }
    }
    Ok(walk.found)
}

impl Walk<'_> {
    fn index(
        &mut self,
        descriptor: &Descriptor,
        index: Index,
        depth: usize,
        queue: &mut VecDeque<(Descriptor, usize)>,
    ) -> Result<()> {
        if depth >= DEPTH_MAX {
            return Err(self.too_many("levels of indexes", DEPTH_MAX));
        }
        let links = index.manifests.iter().map(|entry| entry.digest).collect();
        self.record(descriptor.digest, DocumentKind::Index, links, Vec::new())?;
        for entry in index.manifests {
            if self.point_to(&entry)? && is_document(&entry.media_type) {
                queue.push_back((entry, depth + 1));
            }
        }
        Ok(())
    }

    fn manifest(&mut self, descriptor: Descriptor, manifest: Manifest) -> Result<()> {
        let pointers = || std::iter::once(&manifest.config).chain(&manifest.layers);
        let links = pointers().map(|pointer| pointer.digest).collect();
        self.record(descriptor.digest, DocumentKind::Manifest, links, Vec::new())?;
        for pointer in pointers() {
            self.point_to(pointer)?;
        }
        let config = if manifest.is_image() { self.config(&manifest)? } else { None };
        let manifest = Some(manifest);
        self.found.manifests.push(WalkedManifest { descriptor, manifest, config });
        Ok(())
    }

    fn config(&mut self, manifest: &Manifest) -> Result<Option<ImageConfig>> {
        let digest = manifest.config.digest;
        let Some(bytes) = self.read(&manifest.config, CONFIG_BYTES_MAX)? else { return Ok(None) };
        let config = ImageConfig::parse(&bytes).map_err(|error| self.refused(digest, error))?;
        config.check_layers(manifest.layers.len()).map_err(|error| self.refused(digest, error))?;
        let known = |record: &DocumentRecord| record.digest == digest;
        if !self.found.documents.iter().any(known) {
            let chain = chain_ids(&config.rootfs.diff_ids);
            self.record(digest, DocumentKind::Config, Vec::new(), chain)?;
        }
        Ok(Some(config))
    }

    /// Notes a pointer; says whether it is the first to that blob.
    fn point_to(&mut self, pointer: &Descriptor) -> Result<bool> {
        if let Some(first) = self.seen.get(&pointer.digest) {
            let differs = *first != pointer.media_type;
            // Two layer types of one blob are a matter of taste; a document is one thing only.
            if differs && (is_known_document(first) || is_known_document(&pointer.media_type)) {
                return Err(StoreImageError::TwoKinds {
                    place: Place::new(self.image, pointer.digest),
                    first: first.clone(),
                    second: pointer.media_type.clone(),
                });
            }
            return Ok(false);
        }
        if self.seen.len() >= LINKS_MAX {
            return Err(self.too_many("blobs", LINKS_MAX));
        }
        self.seen.insert(pointer.digest, pointer.media_type.clone());
        self.found.blobs.push(pointer.clone());
        Ok(true)
    }

    /// The bytes of a document, if it is there.
    fn read(&mut self, pointer: &Descriptor, size_max: usize) -> Result<Option<Vec<u8>>> {
        let bytes = match self.content.read(&pointer.digest, size_max as u64) {
            Ok(bytes) => bytes,
            Err(ContentError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (expected, actual) = (pointer.size, bytes.len() as u64);
        if expected != actual {
            let place = Place::new(self.image, pointer.digest);
            return Err(StoreImageError::SizeDiffers { place, expected, actual });
        }
        self.bytes += actual;
        if self.bytes > BYTES_MAX {
            return Err(self.too_many("bytes of documents", BYTES_MAX as usize));
        }
        Ok(Some(bytes))
    }

    fn record(
        &mut self,
        digest: Digest,
        kind: DocumentKind,
        links: Vec<Digest>,
        chain: Vec<crate::db::ChainId>,
    ) -> Result<()> {
        if self.found.documents.len() >= DOCUMENTS_MAX {
            return Err(self.too_many("documents", DOCUMENTS_MAX));
        }
        self.found.documents.push(DocumentRecord { digest, kind, links, chain });
        Ok(())
    }

    fn refused(&self, digest: Digest, source: dhow_spec::image::ImageError) -> StoreImageError {
        StoreImageError::Document { place: Place::new(self.image, digest), source }
    }

    fn too_many(&self, what: &'static str, max: usize) -> StoreImageError {
        StoreImageError::TooMany { image: self.image, what, max }
    }
}

/// What is read on; other entries of an index are kept and not looked into.
fn is_document(media_type: &MediaType) -> bool {
    matches!(media_type, MediaType::Index(_) | MediaType::Manifest(_))
}

fn is_known_document(media_type: &MediaType) -> bool {
    is_document(media_type) || matches!(media_type, MediaType::Config(_))
}
