//! From images to an archive.
//!
//! Invariant: what is written is what the blobs' names say, hashed once more on the way; the same
//! images give the same bytes.

use std::collections::BTreeMap;
use std::io::Write;

use dhow_archive::hash::Hasher;
use dhow_archive::tar::{Content as Body, Entry, Kind, Metadata, Writer};
use dhow_spec::image::{Descriptor, Index, Layout, annotation};
use dhow_spec::{Algorithm, Digest, Platform, PlatformMatcher, Reference};

use super::docker::Item;
use super::error::SaveError;
use super::{INDEX, MANIFEST};
use crate::content::ContentError;
use crate::image::{Image, Place, StoreImageError, Walked, WalkedManifest, walk};
use crate::store::Store;

const BUFFER: usize = 256 << 10;

/// An image to write.
#[derive(Debug, Clone)]
pub struct SaveItem {
    /// The image.
    pub image: Image,
    /// The names to write with it; it is loaded without any if there are none.
    pub names: Vec<Reference>,
}

/// What goes into the archive, in order.
#[derive(Default)]
struct Plan {
    entries: Vec<Descriptor>,
    items: Vec<Item>,
    blobs: Vec<Digest>,
    /// Sizes as the pointers tell them.
    sizes: BTreeMap<Digest, u64>,
}

type Result<T> = std::result::Result<T, SaveError>;

impl Store {
    /// Writes images with all that is here of them, or with one platform only. A platform that is
    /// not here stays named in its index, and can be fetched by whoever loads the archive.
    pub fn save<W: Write>(
        &self,
        items: &[SaveItem],
        platform: Option<&Platform>,
        sink: W,
    ) -> Result<W> {
        let mut plan = Plan::default();
        for item in items {
            self.plan(item, platform, &mut plan)?;
        }
        let mut writer = Writer::new(sink);
        // Lists first: who reads the stream knows what comes.
        write_text(&mut writer, Layout::FILE, &Layout::default().to_json())?;
        write_text(&mut writer, INDEX, &Index::new(plan.entries).to_json())?;
        let list = serde_json::to_string(&plan.items).expect("texts print");
        write_text(&mut writer, MANIFEST, &list)?;
        write_directories(&mut writer, &plan.blobs)?;
        let mut buffer = vec![0; BUFFER];
        for digest in &plan.blobs {
            self.write_blob(&mut writer, digest, plan.sizes[digest], &mut buffer)?;
        }
        Ok(writer.finish()?)
    }

    fn plan(&self, item: &SaveItem, platform: Option<&Platform>, plan: &mut Plan) -> Result<()> {
        let target = match platform {
            Some(platform) => self.images().select(&item.image, platform)?.descriptor,
            None => item.image.target.clone(),
        };
        let Walked { manifests, blobs, .. } = walk(self.content(), &target)?;
        let digests: Vec<_> = blobs.iter().map(|blob| blob.digest).collect();
        let present = self.db().present(&digests)?;
        let missing = |found: &WalkedManifest| match &found.manifest {
            None => Some(found.descriptor.digest),
            Some(manifest) => std::iter::once(&manifest.config)
                .chain(&manifest.layers)
                .map(|pointer| pointer.digest)
                .find(|digest| !present.contains(digest)),
        };
        let images = || manifests.iter().filter(|found| !found.descriptor.is_attestation());
        let whole: Vec<_> = images().filter(|found| missing(found).is_none()).collect();
        if whole.is_empty() {
            let first = images().find_map(missing).unwrap_or(target.digest);
            let (image, missing) = (Box::new(target.digest), Box::new(first));
            return Err(SaveError::Incomplete { image, missing });
        }
        // Programs that read Docker's list know one platform.
        if let Some(best) = best(&whole, &Platform::of_build()) {
            plan.items.extend(docker_item(best, &item.names));
        }
        plan.entries.extend(named(&target, &item.names));
        for blob in blobs.iter().filter(|blob| present.contains(&blob.digest)) {
            if plan.sizes.insert(blob.digest, blob.size).is_none() {
                plan.blobs.push(blob.digest);
            }
        }
        Ok(())
    }

    fn write_blob<W: Write>(
        &self,
        writer: &mut Writer<W>,
        digest: &Digest,
        size: u64,
        buffer: &mut [u8],
    ) -> Result<()> {
        let blob = self.content().open_blob(digest)?;
        if blob.size() != size {
            let (expected, actual) = (size, blob.size());
            let place = Place { image: *digest, digest: *digest };
            let place = Box::new(place);
            return Err(StoreImageError::SizeDiffers { place, expected, actual }.into());
        }
        writer.begin(&file(&blob_path(digest), size))?;
        let (mut hasher, mut offset) = (Hasher::new(digest.algorithm()), 0);
        loop {
            let count = blob
                .read_at(buffer, offset)
                .map_err(|source| SaveError::Read { digest: Box::new(*digest), source })?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            write_all(writer, &blob_path(digest), &buffer[..count])?;
            offset += count as u64;
        }
        let actual = hasher.finish().digest;
        if actual != *digest {
            let (expected, actual) = (Box::new(*digest), Box::new(actual));
            return Err(ContentError::Corrupt { expected, actual }.into());
        }
        Ok(())
    }
}

/// The one for the platform, else the first.
fn best<'a>(whole: &[&'a WalkedManifest], platform: &Platform) -> Option<&'a WalkedManifest> {
    let matcher = PlatformMatcher::compatible(platform);
    let rank = |found: &WalkedManifest| {
        let said = found.descriptor.platform.clone();
        let its = said.or_else(|| found.config.as_ref().map(|config| config.platform()));
        its.and_then(|its| matcher.rank(&its)).unwrap_or(usize::MAX)
    };
    whole.iter().copied().filter(|found| found.config.is_some()).min_by_key(|found| rank(found))
}

fn docker_item(found: &WalkedManifest, names: &[Reference]) -> Option<Item> {
    let manifest = found.manifest.as_ref()?;
    let layers = manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
    let tags = names.iter().filter(|name| name.tag().is_some()).map(Reference::familiar);
    Some(Item {
        config: blob_path(&manifest.config.digest),
        repo_tags: Some(tags.collect()),
        layers: Some(layers),
    })
}

/// The target once for each name, or once without.
fn named(target: &Descriptor, names: &[Reference]) -> Vec<Descriptor> {
    if names.is_empty() {
        return vec![target.clone()];
    }
    let entry = |name: &Reference| {
        let mut entry = target.clone();
        entry.annotations.insert(annotation::CONTAINERD_NAME.to_owned(), name.to_string());
        if let Some(tag) = name.tag() {
            entry.annotations.insert(annotation::REF_NAME.to_owned(), tag.to_string());
        }
        entry
    };
    names.iter().map(entry).collect()
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn file(path: &str, size: u64) -> Entry {
    let metadata = Metadata { mode: 0o644, ..Metadata::default() };
    Entry { path: path.into(), kind: Kind::File(Body::plain(size)), metadata }
}

fn write_text<W: Write>(writer: &mut Writer<W>, path: &str, text: &str) -> Result<()> {
    Ok(writer.append(&file(path, text.len() as u64), text.as_bytes())?)
}

fn write_directories<W: Write>(writer: &mut Writer<W>, blobs: &[Digest]) -> Result<()> {
    let mut paths = vec!["blobs/".to_owned()];
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        if blobs.iter().any(|digest| digest.algorithm() == algorithm) {
            paths.push(format!("blobs/{algorithm}/"));
        }
    }
    for path in paths {
        let metadata = Metadata { mode: 0o755, ..Metadata::default() };
        writer.begin(&Entry { path: path.into(), kind: Kind::Directory, metadata })?;
    }
    Ok(())
}

fn write_all<W: Write>(writer: &mut Writer<W>, path: &str, bytes: &[u8]) -> Result<()> {
    writer.write_all(bytes).map_err(|error| {
        SaveError::Tar(dhow_archive::tar::TarError {
            index: 0,
            path: Some(path.as_bytes().to_vec()),
            fault: error.into(),
        })
    })
}
