//! From what was built to an image: its documents, its names, and what is given away of it.
//!
//! Invariant: names are given last, when everything else went well.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};

use dhow_archive::tar::Writer;
use dhow_builder::{Built, Observer};
use dhow_spec::image::{Descriptor, Family, Index, Manifest, MediaType};
use dhow_spec::{Digest, Platform, Reference};
use dhow_store::{DiffOptions, Image, ImageName, LayerWriter, SaveItem};

use super::fault::BuildFault;
use super::layers::top;
use super::options::{AnnotationPlace, OutputKind};
use super::outlet::{Outlet, Pipe};
use super::worker::EngineWorker;
use super::{Build, BuiltImage};
use crate::error::Error;

const BY: &str = "a build";
/// Bytes that are given away at once.
const PIECE_BYTES: usize = 256 << 10;

fn engine(error: impl Into<Error>) -> BuildFault {
    BuildFault::Engine(error.into())
}

impl Build {
    pub(super) fn commit(
        &self,
        worker: &EngineWorker,
        mut built: Vec<(Platform, Built)>,
        mut outlet: Box<dyn Outlet>,
        observer: &dyn Observer,
    ) -> Result<BuiltImage, BuildFault> {
        let options = &self.options;
        if options.squash {
            for (_, built) in &mut built {
                *built = worker.squash(built.clone()).map_err(BuildFault::Engine)?;
            }
        }
        let (target, config) = self.put_all(worker, &built)?;
        for kind in options.outputs.iter().filter(|kind| **kind != OutputKind::Cache) {
            match kind {
                OutputKind::Root => give_roots(worker, &built, &mut *outlet)?,
                _ => give_archive(worker, &target, &options.tags, *kind, &mut *outlet)?,
            }
        }
        self.export(worker, &built, &mut *outlet, observer)?;
        if !options.discard {
            let images = self.engine.shared.store.images();
            if options.tags.is_empty() {
                images.put(&ImageName::Unnamed(target.digest), &target).map_err(engine)?;
            }
            for tag in &options.tags {
                images.put(&ImageName::Reference(tag.clone()), &target).map_err(engine)?;
            }
        }
        Ok(BuiltImage {
            id: target.digest.to_string(),
            names: options.tags.iter().map(Reference::familiar).collect(),
            descriptor: target,
            config,
            lint: self.lint(),
        })
    }

    /// One manifest, or an index of several; and the first configuration.
    fn put_all(
        &self,
        worker: &EngineWorker,
        all: &[(Platform, Built)],
    ) -> Result<(Descriptor, Digest), BuildFault> {
        let mut manifests = Vec::new();
        for (platform, built) in all {
            let mut annotations = self.annotations(AnnotationPlace::Manifest);
            let inline = self.options.args.get("BUILDKIT_INLINE_CACHE");
            if self.options.cache_inline || inline.is_some_and(|said| said == "1") {
                annotations.extend(worker.told(Some(built)));
            }
            let (mut target, config) = self.put_image(worker, built, &annotations)?;
            target.platform = Some(platform.clone());
            target.annotations = self.annotations(AnnotationPlace::ManifestDescriptor);
            manifests.push((target, config));
        }
        let config = manifests[0].1;
        let of_index = self.annotations(AnnotationPlace::Index);
        if manifests.len() == 1 {
            let (mut target, config) = manifests.remove(0);
            let of_entry = std::mem::take(&mut target.annotations);
            if let Some(name) = of_index.keys().chain(of_entry.keys()).next() {
                let what = "annotation, for an image of one platform has no index";
                return Err(BuildFault::Options { what, value: name.clone() });
            }
            target.platform = None;
            return Ok((target, config));
        }
        let mut index = Index::new(manifests.into_iter().map(|(target, _)| target).collect());
        index.annotations = of_index;
        let put = worker.put(&index.to_json()).map_err(BuildFault::Engine)?;
        Ok((Descriptor::new(MediaType::Index(Family::Oci), put.digest, put.size), config))
    }

    fn annotations(&self, at: AnnotationPlace) -> BTreeMap<String, String> {
        let own = self.options.annotations.iter().filter(|one| one.at == at);
        own.map(|one| (one.name.clone(), one.value.clone())).collect()
    }

    /// The documents of one platform: the manifest's descriptor, and the configuration's digest.
    pub(super) fn put_image(
        &self,
        worker: &EngineWorker,
        built: &Built,
        annotations: &BTreeMap<String, String>,
    ) -> Result<(Descriptor, Digest), BuildFault> {
        let config = worker.put(&built.config.to_json()).map_err(BuildFault::Engine)?;
        let config = Descriptor::new(MediaType::Config(Family::Oci), config.digest, config.size);
        let digest = config.digest;
        let layers = built.layers.iter().map(|layer| layer.blob.clone()).collect();
        let mut manifest = Manifest::new(config, layers);
        manifest.annotations.clone_from(annotations);
        let put = worker.put(&manifest.to_json()).map_err(BuildFault::Engine)?;
        Ok((Descriptor::new(MediaType::Manifest(Family::Oci), put.digest, put.size), digest))
    }
}

impl EngineWorker {
    /// Keeps a document.
    pub(super) fn put(&self, text: &str) -> Result<dhow_store::Stored, Error> {
        let put = self.shared.store.content().put(self.lease(), text.as_bytes(), BY);
        put.map_err(|error| Error::io("keep", "an image", std::io::Error::other(error)))
    }
}

/// The files of each platform.
fn give_roots(
    worker: &EngineWorker,
    all: &[(Platform, Built)],
    outlet: &mut dyn Outlet,
) -> Result<(), BuildFault> {
    for (platform, built) in all {
        let name = (all.len() > 1).then(|| platform.to_string().replace('/', "_"));
        outlet.begin(OutputKind::Root, name.as_deref()).map_err(BuildFault::Outlet)?;
        let mut pipe = BufWriter::with_capacity(PIECE_BYTES, Pipe(outlet));
        match top(&built.layers) {
            // An image of nothing has an archive of nothing.
            None => drop(Writer::new(&mut pipe).finish().map_err(outlet_tar)?),
            Some(chain) => {
                let mut writer = LayerWriter::new(&mut pipe);
                let snapshots = &worker.shared.snapshots;
                snapshots
                    .export_of_committed(&chain, &DiffOptions::LAYER, &mut writer)
                    .map_err(engine)?;
                let ended = writer.finish().map(drop);
                ended.map_err(|error| {
                    BuildFault::Outlet(std::io::Error::other(error.to_string()))
                })?;
            }
        }
        pipe.flush().map_err(BuildFault::Outlet)?;
        drop(pipe);
        outlet.end().map_err(BuildFault::Outlet)?;
    }
    Ok(())
}

fn outlet_tar(error: dhow_archive::tar::TarError) -> BuildFault {
    BuildFault::Outlet(std::io::Error::other(error))
}

/// An image as `docker load` and others take it.
pub(super) fn give_archive(
    worker: &EngineWorker,
    target: &Descriptor,
    names: &[Reference],
    kind: OutputKind,
    outlet: &mut dyn Outlet,
) -> Result<(), BuildFault> {
    let now = worker.shared.store.now_ms();
    let target = target.clone();
    let image = Image { target, names: Vec::new(), created_ms: now, updated_ms: now };
    let back = worker.bring_back(&image);
    back.map_err(|error| BuildFault::Outlet(std::io::Error::other(error)))?;
    let item = SaveItem { image, names: names.to_vec() };
    outlet.begin(kind, None).map_err(BuildFault::Outlet)?;
    let pipe = BufWriter::with_capacity(PIECE_BYTES, Pipe(outlet));
    let saved = worker.shared.store.save(&[item], None, pipe);
    let saved = saved.map_err(|error| BuildFault::Outlet(std::io::Error::other(error)));
    saved?.flush().map_err(BuildFault::Outlet)?;
    outlet.end().map_err(BuildFault::Outlet)
}
