//! What images there are, and what each is: the answers to listing, inspecting and history.
//!
//! Invariant: an image whose content is damaged or partly missing is listed all the same, with less to tell.
//! Absent on purpose: how many containers use an image, which whoever has the containers counts.

use std::collections::{BTreeMap, BTreeSet};

use dhow_spec::image::{Descriptor, ImageConfig};
use dhow_spec::{Digest, Platform, Reference};
use dhow_store::{ChainId, Image, ManifestKind, SnapshotState};

use super::error::ImagesError;
use super::options::ImageEngine;
use super::wanted::ImageFilters;

/// One image of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRow {
    /// What its names point to; the digest is its id.
    pub target: Descriptor,
    /// What it is called, as people write it.
    pub tags: Vec<String>,
    /// Where it can be had exactly so.
    pub digests: Vec<String>,
    /// When it was made, in seconds since 1970.
    pub created_s: i64,
    /// When one of its names last came to point to it, in milliseconds since 1970.
    pub tagged_ms: i64,
    /// What it takes: its blobs and what of them is unpacked.
    pub size_bytes: u64,
    /// Its notes.
    pub labels: BTreeMap<String, String>,
    /// What it has, platform by platform.
    pub manifests: Vec<ManifestRow>,
}

/// One manifest of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestRow {
    /// Where it is.
    pub descriptor: Descriptor,
    /// What it is.
    pub kind: ManifestRowKind,
    /// Whether all of it is here.
    pub available: bool,
    /// Bytes of its blobs that are here.
    pub content_bytes: u64,
    /// Bytes of its unpacked layers.
    pub unpacked_bytes: u64,
}

/// What a manifest is of.
#[derive(Debug, Clone, PartialEq)]
pub enum ManifestRowKind {
    /// An image for a platform.
    Image(Option<Platform>),
    /// Statements about an image of the same index.
    Attestation,
    /// Something else.
    Other,
}

/// Everything about an image, for one platform.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageDetails {
    /// What a list tells of it.
    pub row: ImageRow,
    /// The platform's manifest.
    pub manifest: Descriptor,
    /// Its configuration.
    pub config: ImageConfig,
}

/// One step of how an image came to be, the last one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// The image's id, for the step that it ended with.
    pub id: Option<String>,
    /// When, in seconds since 1970.
    pub created_s: Option<i64>,
    /// By which command.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// Bytes that it added, unpacked.
    pub size_bytes: u64,
    /// What the image is called, for the step that it ended with.
    pub tags: Vec<String>,
}

/// What unpacked layers take, by their chains.
type Unpacked = BTreeMap<ChainId, u64>;

/// Something that takes room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Blob(Digest),
    Layer(ChainId),
}

/// What takes how much.
type Parts = BTreeMap<Part, u64>;

/// Of each, the bytes of what others have, too.
fn shared(all: &[Parts]) -> Vec<u64> {
    let mut owners: BTreeMap<Part, usize> = BTreeMap::new();
    for part in all.iter().flat_map(BTreeMap::keys) {
        *owners.entry(*part).or_default() += 1;
    }
    let of = |parts: &Parts| {
        parts.iter().filter(|(part, _)| owners[part] > 1).map(|(_, size)| size).sum()
    };
    all.iter().map(of).collect()
}

impl ImageEngine {
    /// The images that fit, the newest first.
    pub async fn list(&self, filters: &ImageFilters) -> Result<Vec<ImageRow>, ImagesError> {
        let (engine, filters) = (self.clone(), filters.clone());
        self.wait(move || {
            let unpacked = engine.unpacked()?;
            let filters = filters.resolve(&engine)?;
            let mut rows: Vec<_> = engine
                .store
                .images()
                .list()?
                .iter()
                .map(|image| engine.row(image, &unpacked))
                .filter(|row| filters.fit(row))
                .map(|row| filters.narrow(row))
                .collect();
            rows.sort_by(|a, b| {
                b.created_s.cmp(&a.created_s).then_with(|| a.target.digest.cmp(&b.target.digest))
            });
            Ok(rows)
        })
        .await
    }

    /// The image of that name or id, for that platform or the best for this one.
    pub async fn inspect(
        &self,
        query: &str,
        platform: Option<Platform>,
    ) -> Result<ImageDetails, ImagesError> {
        let (engine, query) = (self.clone(), query.to_owned());
        self.wait(move || {
            let image = engine.store.images().find(&query)?;
            let platform = platform.unwrap_or_else(Platform::of_build);
            let selected = engine.store.images().select(&image, &platform)?;
            Ok(ImageDetails {
                row: engine.row(&image, &engine.unpacked()?),
                manifest: selected.descriptor,
                config: selected.config,
            })
        })
        .await
    }

    /// How the image came to be, the last step first.
    pub async fn history(
        &self,
        query: &str,
        platform: Option<Platform>,
    ) -> Result<Vec<HistoryRow>, ImagesError> {
        let (engine, query) = (self.clone(), query.to_owned());
        self.wait(move || {
            let image = engine.store.images().find(&query)?;
            let platform = platform.unwrap_or_else(Platform::of_build);
            let steps = engine.store.images().select(&image, &platform)?.history();
            let unpacked = engine.unpacked()?;
            let mut rows: Vec<_> = steps
                .into_iter()
                .map(|step| HistoryRow {
                    id: None,
                    created_s: step.created.map(|created| created.unix_seconds()),
                    created_by: step.created_by,
                    comment: step.comment,
                    size_bytes: step
                        .layer
                        .and_then(|(_, chain)| unpacked.get(&chain).copied())
                        .unwrap_or(0),
                    tags: Vec::new(),
                })
                .collect();
            if let Some(last) = rows.first_mut() {
                last.id = Some(image.target.digest.to_string());
                last.tags = tags(&image);
            }
            Ok(rows)
        })
        .await
    }

    /// Bytes of all blobs and unpacked layers, whoever they belong to.
    pub async fn taken_bytes(&self) -> Result<u64, ImagesError> {
        let engine = self.clone();
        self.wait(move || {
            let usage = engine.store.usage()?;
            Ok(usage.blob_bytes + usage.snapshot_bytes)
        })
        .await
    }

    /// Bytes of each image that another image has, too, by the images' ids.
    pub async fn shared_bytes(&self) -> Result<BTreeMap<Digest, u64>, ImagesError> {
        let engine = self.clone();
        self.wait(move || {
            let unpacked = engine.unpacked()?;
            let images = engine.store.images().list()?;
            let parts: Vec<_> = images.iter().map(|image| engine.parts(image, &unpacked)).collect();
            let ids = images.iter().map(|image| image.target.digest);
            Ok(ids.zip(shared(&parts)).collect())
        })
        .await
    }

    /// What an image takes, piece by piece. What cannot be read is told of where the image is used.
    fn parts(&self, image: &Image, unpacked: &Unpacked) -> Parts {
        let images = self.store.images();
        let blobs = images.blobs(image).unwrap_or_default();
        let mut parts: Parts =
            blobs.into_iter().map(|blob| (Part::Blob(blob.digest), blob.size)).collect();
        for manifest in images.manifests(image).unwrap_or_default() {
            for digest in manifest.missing {
                parts.remove(&Part::Blob(digest));
            }
            if let ManifestKind::Image { chain, .. } = manifest.kind {
                let here = chain.into_iter().filter_map(|name| Some((name, *unpacked.get(&name)?)));
                parts.extend(here.map(|(name, size)| (Part::Layer(name), size)));
            }
        }
        parts
    }

    pub(super) fn unpacked(&self) -> Result<Unpacked, ImagesError> {
        let records = self.snapshots.list().map_err(ImagesError::Snapshots)?;
        let committed = records.into_iter().filter_map(|record| match record.state {
            SnapshotState::Committed { name, usage } => Some((name, usage.size_bytes)),
            SnapshotState::Active(_) => None,
        });
        Ok(committed.collect())
    }

    pub(super) fn row(&self, image: &Image, unpacked: &Unpacked) -> ImageRow {
        // What cannot be read is told of where the image is used.
        let found = self.store.images().manifests(image).unwrap_or_default();
        let own = Platform::of_build();
        let best = self.store.images().select(image, &own).map(|selected| selected.config).ok();
        let any = || {
            found.iter().find_map(|manifest| match &manifest.kind {
                ManifestKind::Image { config, .. } => config.clone(),
                _ => None,
            })
        };
        let config = best.or_else(any);
        let mut chains = BTreeSet::new();
        let mut content = 0;
        let mut manifests = Vec::new();
        for manifest in found {
            let (kind, chain) = match manifest.kind {
                ManifestKind::Image { platform, chain, .. } => {
                    (ManifestRowKind::Image(platform), chain)
                }
                ManifestKind::Attestation => (ManifestRowKind::Attestation, Vec::new()),
                ManifestKind::Other => (ManifestRowKind::Other, Vec::new()),
            };
            content += manifest.content_bytes;
            // Layers that were discarded once they were unpacked are no loss.
            let is_unpacked =
                !chain.is_empty() && chain.iter().all(|chain| unpacked.contains_key(chain));
            manifests.push(ManifestRow {
                descriptor: manifest.descriptor,
                kind,
                available: manifest.missing.is_empty() || is_unpacked,
                content_bytes: manifest.content_bytes,
                unpacked_bytes: chain.iter().filter_map(|chain| unpacked.get(chain)).sum(),
            });
            chains.extend(chain);
        }
        let unpacked: u64 = chains.iter().filter_map(|chain| unpacked.get(chain)).sum();
        let run = config.as_ref().and_then(|config| config.config.as_ref());
        ImageRow {
            tags: tags(image),
            digests: digests(image),
            created_s: config
                .as_ref()
                .and_then(|config| config.created.as_ref())
                .map_or(0, dhow_spec::image::Timestamp::unix_seconds),
            tagged_ms: image.updated_ms,
            size_bytes: content + unpacked,
            labels: run.map(|run| run.labels.clone()).unwrap_or_default(),
            manifests,
            target: image.target.clone(),
        }
    }
}

/// What an image is called, as people write it.
pub(super) fn tags(image: &Image) -> Vec<String> {
    let tagged = image.names.iter().filter(|name| name.tag().is_some());
    tagged.map(|name| without_digest(name).familiar()).collect()
}

/// Where an image can be had exactly so: once for each repository.
fn digests(image: &Image) -> Vec<String> {
    let repositories = image.names.iter().map(Reference::repository);
    let pinned = repositories
        .map(|repository| Reference::pinned(repository.clone(), image.target.digest).familiar());
    let unique: BTreeSet<_> = pinned.collect();
    unique.into_iter().collect()
}

fn without_digest(name: &Reference) -> Reference {
    match name.tag() {
        Some(tag) => Reference::tagged(name.repository().clone(), tag.clone()),
        None => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_have_is_shared() {
        let part = |digit: &str| {
            let digest = Digest::parse(&format!("sha256:{}", digit.repeat(64)));
            Part::Blob(digest.expect("a digest"))
        };
        let parts = |sizes: &[(&str, u64)]| {
            sizes.iter().map(|(digit, size)| (part(digit), *size)).collect::<Parts>()
        };
        let all = [parts(&[("a", 5), ("b", 7)]), parts(&[("a", 5), ("c", 2)]), parts(&[("d", 1)])];
        assert_eq!(shared(&all), [5, 5, 0]);
    }
}
