//! What was done, told to builds elsewhere; and what others tell.
//!
//! A cache travels as an image: its layers are those that steps made, and a note on its manifest says which step
//! made which. So whatever carries images carries caches. An image that was built may tell of itself in the same
//! way (`inline`). Invariants: a layer counts only if its bytes are what the configuration says; a cache that cannot
//! be read is no failure of the build.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::sync::{Arc, PoisonError};

use dhow_archive::compress::{Decoder, Limits};
use dhow_builder::{Built, Context, Event, Fault, Layer, Observer, Record};
use dhow_spec::image::{
    CONFIG_BYTES_MAX, Descriptor, Document, Family, ImageConfig, Index, Manifest, MediaType,
    RootFs, Timestamp,
};
use dhow_spec::{Digest, Platform, Reference};
use dhow_store::{Image, ManifestKind};
use serde::{Deserialize, Serialize};

use super::Build;
use super::commit::give_archive;
use super::fault::BuildFault;
use super::options::{BuildOptions, OutputKind};
use super::outlet::Outlet;
use super::worker::EngineWorker;
use crate::engine::Shared;
use crate::error::Error;
use crate::images::PullError;

/// The note on a manifest.
const NOTE: &str = "dev.dhow.build.steps";

/// One step, as it is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Told {
    key: String,
    created: String,
    about: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layer: Option<Digest>,
}

/// A step of this build.
#[derive(Debug, Clone)]
pub(super) struct Used {
    pub(super) about: String,
    pub(super) record: Record,
}

/// A step that others have done.
#[derive(Debug, Clone)]
pub(super) struct Imported {
    created: Timestamp,
    layer: Option<Elsewhere>,
}

/// A layer that is not in any snapshot here.
#[derive(Debug, Clone)]
struct Elsewhere {
    diff_id: Digest,
    blob: Descriptor,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Sent(Arc<Context>),
    Registry(Box<Reference>),
    Here,
}

/// A manifest with its configuration, and where its blobs are.
struct Source {
    manifest: Manifest,
    config: ImageConfig,
    place: Place,
}

impl Build {
    /// Hears what others tell; what cannot be read is warned of.
    pub(super) fn import(
        &self,
        worker: &EngineWorker,
        observer: &dyn Observer,
    ) -> Result<(), BuildFault> {
        let warn = |what: &str, why: String| {
            let text = format!("[Warning] no cache is taken from {what}: {why}\n");
            observer.event(&Event::Warning { stage: 0, text: &text });
        };
        for cache in &self.caches {
            match sent(cache) {
                Ok(source) => worker.hear(source),
                Err(why) => warn("the directory that was sent", why),
            }
        }
        for reference in &self.options.cache_from {
            if worker.cancel.is_cancelled() {
                return Ok(());
            }
            // The classic builder asks no registry for a cache, and says nothing of one that is not here.
            if self.options.cache_strict {
                worker.here(reference).into_iter().for_each(|source| worker.hear(source));
                continue;
            }
            match worker.at_name(reference) {
                Ok(source) => worker.hear(source),
                Err(why) => warn(&reference.familiar(), why),
            }
        }
        Ok(())
    }

    /// Tells what was done, to whom it was asked for.
    pub(super) fn export(
        &self,
        worker: &EngineWorker,
        built: &[(Platform, Built)],
        outlet: &mut dyn Outlet,
        observer: &dyn Observer,
    ) -> Result<(), BuildFault> {
        let options = &self.options;
        let give = options.outputs.contains(&OutputKind::Cache);
        if !give && options.cache_to.is_empty() {
            return Ok(());
        }
        let target = worker.cache_image(built, options.cache_all).map_err(BuildFault::Engine)?;
        if give {
            give_archive(worker, &target, &[], OutputKind::Cache, outlet)?;
        }
        for reference in &options.cache_to {
            match worker.push_cache(&target, reference) {
                Ok(()) => {}
                Err(error) if options.cache_lenient => {
                    let name = reference.familiar();
                    let text = format!("[Warning] the cache is not pushed to {name}: {error}\n");
                    observer.event(&Event::Warning { stage: 0, text: &text });
                }
                Err(error) => return Err(BuildFault::Engine(error)),
            }
        }
        Ok(())
    }
}

impl EngineWorker {
    /// Notes a step of this build.
    pub(super) fn note_used(&self, key: &str, about: &str, record: &Record) {
        let used = Used { about: about.to_owned(), record: record.clone() };
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), used);
    }

    fn used(&self) -> BTreeMap<String, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The note: of all steps, or of those that led to an image.
    pub(super) fn told(&self, built: Option<&Built>) -> BTreeMap<String, String> {
        let leads = |layer: &Layer| built.is_none_or(|built| built.layers.contains(layer));
        let used = self.used().into_iter();
        let told = used.filter(|(_, used)| used.record.layer.as_ref().is_none_or(leads));
        let told: Vec<Told> = told
            .map(|(key, used)| Told {
                key,
                about: used.about,
                created: used.record.created.as_str().to_owned(),
                layer: used.record.layer.map(|layer| layer.diff_id),
            })
            .collect();
        let text = serde_json::to_string(&told).expect("texts print");
        BTreeMap::from([(NOTE.to_owned(), text)])
    }

    /// An image of all layers that steps made, or of those that led to what was built.
    fn cache_image(&self, built: &[(Platform, Built)], all: bool) -> Result<Descriptor, Error> {
        let leads =
            |layer: &Layer| all || built.iter().any(|(_, built)| built.layers.contains(layer));
        let mut layers: Vec<Layer> = Vec::new();
        for used in self.used().into_values() {
            if let Some(layer) = used.record.layer.filter(leads)
                && !layers.contains(&layer)
            {
                layers.push(layer);
            }
        }
        let platform = built.first().map_or_else(Platform::of_build, |(one, _)| one.clone());
        let mut config = ImageConfig::new(&platform);
        config.rootfs = RootFs::new(layers.iter().map(|layer| layer.diff_id).collect());
        let config = self.put(&config.to_json())?;
        let config = Descriptor::new(MediaType::Config(Family::Oci), config.digest, config.size);
        let blobs = layers.into_iter().map(|layer| layer.blob).collect();
        let mut manifest = Manifest::new(config, blobs);
        manifest.annotations = match (all, built) {
            (false, [(_, built)]) => self.told(Some(built)),
            _ => self.told(None),
        };
        let put = self.put(&manifest.to_json())?;
        Ok(Descriptor::new(MediaType::Manifest(Family::Oci), put.digest, put.size))
    }

    fn push_cache(&self, target: &Descriptor, reference: &Reference) -> Result<(), Error> {
        let now = self.shared.store.now_ms();
        let target = target.clone();
        let image = Image { target, names: Vec::new(), created_ms: now, updated_ms: now };
        let images = self.images_for(reference);
        let pushed = self.runtime.block_on(async {
            tokio::select! {
                pushed = images.push_image(image, reference, Arc::new(()), self.lease()) => {
                    Some(pushed)
                }
                () = self.cancel.said() => None,
            }
        });
        let failed = |error: String| Error::io("push", "the cache", std::io::Error::other(error));
        let pushed = pushed.ok_or_else(|| failed("the build was cancelled".to_owned()))?;
        pushed.map(drop).map_err(|error| failed(error.to_string()))
    }

    fn first_platform(&self) -> Platform {
        self.options.platforms.first().cloned().unwrap_or_else(Platform::of_build)
    }

    /// What an image of that name that is here tells, if it does.
    fn here(&self, reference: &Reference) -> Option<Source> {
        let images = self.shared.store.images();
        let image = images.by_name(reference).ok()??;
        let selected = images.select(&image, &self.first_platform()).ok()?;
        let (manifest, config) = (selected.manifest, selected.config);
        let tells = manifest.annotations.contains_key(NOTE);
        tells.then_some(Source { manifest, config, place: Place::Here })
    }

    /// What an image of that name tells, here or else at its registry.
    fn at_name(&self, reference: &Reference) -> Result<Source, String> {
        if let Some(source) = self.here(reference) {
            return Ok(source);
        }
        let platform = self.first_platform();
        let images = self.images_for(reference);
        let found = self.runtime.block_on(async {
            tokio::select! {
                found = images.documents(reference, &platform) => Some(found),
                () = self.cancel.said() => None,
            }
        });
        let found = found.ok_or_else(|| "the build was cancelled".to_owned())?;
        let (manifest, config) = found.map_err(|error: PullError| error.to_string())?;
        Ok(Source { manifest, config, place: Place::Registry(Box::new(reference.clone())) })
    }

    /// Remembers for this build what a source tells.
    fn hear(&self, source: Source) {
        let Source { manifest, config, place } = source;
        let note = manifest.annotations.get(NOTE).map(String::as_str).unwrap_or("[]");
        // What is not understood is not known.
        let told: Vec<Told> = serde_json::from_str(note).unwrap_or_default();
        let layers = config.rootfs.diff_ids.iter().zip(&manifest.layers);
        let blobs: BTreeMap<String, &Descriptor> =
            layers.map(|(diff_id, blob)| (diff_id.to_string(), blob)).collect();
        let mut imported = self.imported.lock().unwrap_or_else(PoisonError::into_inner);
        for told in told {
            let Ok(created) = Timestamp::parse(&told.created) else { continue };
            let layer = match told.layer {
                None => None,
                Some(diff_id) => match blobs.get(&diff_id.to_string()) {
                    None => continue,
                    Some(blob) => {
                        Some(Elsewhere { diff_id, blob: (*blob).clone(), place: place.clone() })
                    }
                },
            };
            imported.insert(told.key, Imported { created, layer });
        }
    }

    /// What others have made of a step; nothing where they have not, or it cannot be had.
    pub(super) fn recall_told(&self, key: &str, below: &[Layer]) -> Result<Option<Record>, Fault> {
        let imported = self.imported.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Imported { created, layer }) = imported.get(key).cloned() else {
            return Ok(None);
        };
        drop(imported);
        let Some(elsewhere) = layer else { return Ok(Some(Record { created, layer: None })) };
        let made = self.make_layer(below, &mut |sink| {
            let source = self.open(&elsewhere)?;
            let mut tar = Decoder::new(source, Limits::NONE)?;
            std::io::copy(&mut tar, sink)?;
            Ok(())
        });
        match made {
            Ok(layer) if layer.diff_id == elsewhere.diff_id => {
                Ok(Some(Record { created, layer: Some(layer) }))
            }
            Err(fault) if fault.is_cancelled() => Err(fault),
            // Not what it should be, or not there: the step is done here.
            Ok(_) | Err(_) => Ok(None),
        }
    }

    fn open<'a>(&self, layer: &'a Elsewhere) -> Result<Box<dyn Read + 'a>, Fault> {
        match &layer.place {
            Place::Sent(context) => {
                use dhow_builder::Files;
                let path = format!("blobs/{}", layer.blob.digest.to_string().replace(':', "/"));
                Ok(Files::open(&**context, path.as_bytes())?)
            }
            Place::Here => {
                let blob = self.shared.store.content().open_blob(&layer.blob.digest);
                let blob = blob.map_err(std::io::Error::other)?;
                Ok(Box::new(std::io::BufReader::new(Positioned(blob.into_file(), 0))))
            }
            Place::Registry(reference) => {
                let shared = crate::engine::Engine { shared: self.shared.clone() };
                let file = shared.scratch_file().map_err(std::io::Error::other)?;
                let copy = file.try_clone()?;
                let images = self.images_for(reference);
                let fetched = self.runtime.block_on(async {
                    tokio::select! {
                        fetched = images.blob_to(reference.repository(), &layer.blob, copy) => {
                            fetched.map_err(std::io::Error::other)
                        }
                        () = self.cancel.said() => {
                            Err(std::io::Error::other("the build was cancelled"))
                        }
                    }
                });
                fetched?;
                Ok(Box::new(Positioned(file, 0)))
            }
        }
    }
}

impl EngineWorker {
    /// Whether the cache is to be taken from images alone, and none of them is here.
    pub(super) fn knows_no_cache(&self) -> bool {
        self.only.as_ref().is_some_and(HashSet::is_empty)
    }
}

/// The layers of the images that a cache is to be taken from, as far as they are here, by their chains.
pub(super) fn layers_of(shared: &Shared, options: &BuildOptions) -> HashSet<String> {
    let images = shared.store.images();
    let found = options.cache_from.iter().filter_map(|name| images.by_name(name).ok().flatten());
    let manifests = found.flat_map(|image| images.manifests(&image).unwrap_or_default());
    let chains = manifests.filter_map(|manifest| match manifest.kind {
        ManifestKind::Image { chain, .. } => Some(chain),
        _ => None,
    });
    chains.flatten().map(|chain| chain.to_string()).collect()
}

/// A file from its beginning, wherever others read it.
struct Positioned(File, u64);

impl Read for Positioned {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = std::os::unix::fs::FileExt::read_at(&self.0, buffer, self.1)?;
        self.1 += count as u64;
        Ok(count)
    }
}

/// What a directory in the form of an OCI layout tells.
fn sent(context: &Arc<Context>) -> Result<Source, String> {
    let read = |path: &str| {
        let bytes = context.file(path).map_err(|error| error.to_string())?;
        let bytes = bytes.ok_or_else(|| format!("{path} is not there"))?;
        match bytes.len() > CONFIG_BYTES_MAX {
            true => Err(format!("{path} is too large")),
            false => Ok(bytes),
        }
    };
    let blob = |descriptor: &Descriptor| {
        read(&format!("blobs/{}", descriptor.digest.to_string().replace(':', "/")))
    };
    let index = Index::parse(&read("index.json")?).map_err(|error| error.to_string())?;
    let first = index.manifests.first().ok_or("there is nothing in its index.json")?;
    let document = Document::parse(&blob(first)?, None).map_err(|error| error.to_string())?;
    let Document::Manifest(manifest) = document else {
        return Err("its first entry is no manifest".to_owned());
    };
    let config = ImageConfig::parse(&blob(&manifest.config)?).map_err(|error| error.to_string())?;
    Ok(Source { manifest, config, place: Place::Sent(context.clone()) })
}
