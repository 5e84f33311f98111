//! Names for images, and images as archives.
//!
//! Invariant: what an archive brought is kept by a lease until it has its names.

use std::io::{Read, Write};

use dhow_archive::compress::Limits;
use dhow_spec::{Platform, Reference};
use dhow_store::{Images, LoadLimits, SaveItem, StoreImageError};

use super::error::ImagesError;
use super::options::ImageEngine;

/// Images that go into one archive, with their names.
#[derive(Debug, Clone)]
pub struct Saveable(Vec<SaveItem>);

/// An image that came out of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// Its name as people write it, if the archive has one.
    pub name: Option<String>,
    /// Its id.
    pub id: String,
}

impl ImageEngine {
    /// Calls the image of that name or id by one more name; gives its id.
    pub async fn tag(&self, query: &str, name: Reference) -> Result<String, ImagesError> {
        let (engine, query) = (self.clone(), query.to_owned());
        self.wait(move || {
            let image = engine.store.images().find(&query)?;
            if name.digest().is_some() {
                return Err(ImagesError::TagWithDigest);
            }
            engine.store.images().tag(&image, &name)?;
            Ok(image.target.digest.to_string())
        })
        .await
    }

    /// Looks up what is to be saved: an image by its id has no name in the archive, a repository all of its own.
    pub async fn saveable(&self, queries: Vec<String>) -> Result<Saveable, ImagesError> {
        let engine = self.clone();
        self.wait(move || {
            let mut items = Vec::new();
            for query in &queries {
                items.extend(items_of(engine.store.images(), query)?);
            }
            Ok(Saveable(items))
        })
        .await
    }

    /// Writes images as an archive; waits for whoever takes it.
    pub async fn save(
        &self,
        items: Saveable,
        platform: Option<Platform>,
        sink: impl Write + Send + 'static,
    ) -> Result<(), ImagesError> {
        let engine = self.clone();
        self.wait(move || {
            engine.store.save(&items.0, platform.as_ref(), sink).map_err(ImagesError::Save)?;
            Ok(())
        })
        .await
    }

    /// Reads images from an archive.
    pub async fn load(
        &self,
        source: impl Read + Send + 'static,
    ) -> Result<Vec<LoadedImage>, ImagesError> {
        let lease = self.begin_lease().await.map_err(|error| ImagesError::Pull(Box::new(error)))?;
        let engine = self.clone();
        self.wait(move || {
            let limits = LoadLimits { bytes_max: u64::MAX, compression: Limits::NONE };
            let loaded = engine.store.load(&lease, source, limits);
            engine.store.end_lease(&lease)?;
            let loaded = loaded.map_err(ImagesError::Load)?.into_iter().map(|loaded| LoadedImage {
                name: loaded.name.map(|name| name.familiar()),
                id: loaded.target.digest.to_string(),
            });
            Ok(loaded.collect())
        })
        .await
    }
}

fn items_of(images: &Images, query: &str) -> Result<Vec<SaveItem>, StoreImageError> {
    if let Ok((repository, None, None)) = Reference::split(query) {
        let items = images.list()?.into_iter().filter_map(|image| {
            let of_it = |name: &&Reference| *name.repository() == repository;
            let names: Vec<_> = image.names.iter().filter(of_it).cloned().collect();
            (!names.is_empty()).then_some(SaveItem { image, names })
        });
        let items: Vec<_> = items.collect();
        if !items.is_empty() {
            return Ok(items);
        }
    }
    let image = images.find(query)?;
    let asked = Reference::parse(query).ok();
    let names = image.names.iter().filter(|name| Some(*name) == asked.as_ref()).cloned().collect();
    Ok(vec![SaveItem { image, names }])
}
