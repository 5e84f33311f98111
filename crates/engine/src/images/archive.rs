//! Names for images, and images as archives.
//!
//! Invariant: what an archive brought is kept by a lease until it has its names.

use std::io::{Read, Write};

use dhow_archive::compress::Limits;
use dhow_spec::image::Descriptor;
use dhow_spec::{Platform, Reference};
use dhow_store::{Image, ImageName, Images, LoadLimits, Loaded, SaveItem, StoreImageError};

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
        let pull = |error| ImagesError::Pull(Box::new(error));
        let lease = self.begin_lease().await.map_err(pull)?;
        let images: Vec<Image> = items.0.iter().map(|item| item.image.clone()).collect();
        let back = self.bring_back(&images, &lease).await.map_err(pull);
        let engine = self.clone();
        let saved = self.wait(move || {
            let saved = back.and_then(|()| {
                let saved = engine.store.save(&items.0, platform.as_ref(), sink);
                saved.map(drop).map_err(ImagesError::Save)
            });
            engine.store.end_lease(&lease)?;
            saved
        });
        saved.await?;
        self.discard_unpacked().await.map_err(pull)
    }

    /// Reads images from an archive; with a platform, only that platform's image of each.
    pub async fn load(
        &self,
        source: impl Read + Send + 'static,
        platform: Option<Platform>,
    ) -> Result<Vec<LoadedImage>, ImagesError> {
        let lease = self.begin_lease().await.map_err(|error| ImagesError::Pull(Box::new(error)))?;
        let engine = self.clone();
        self.wait(move || {
            let limits = LoadLimits { bytes_max: u64::MAX, compression: Limits::NONE };
            let loaded = engine.store.load(&lease, source, limits).map_err(ImagesError::Load);
            let loaded = loaded.and_then(|all| {
                let one = |loaded: Loaded| engine.narrowed(loaded, platform.as_ref());
                all.into_iter().map(one).collect::<Result<Vec<_>, _>>()
            });
            engine.store.end_lease(&lease)?;
            let loaded = loaded?.into_iter().map(|loaded| LoadedImage {
                name: loaded.name.map(|name| name.familiar()),
                id: loaded.target.digest.to_string(),
            });
            Ok(loaded.collect())
        })
        .await
    }
}

impl ImageEngine {
    /// The same of one platform alone; what has nothing for it goes again.
    fn narrowed(&self, loaded: Loaded, platform: Option<&Platform>) -> Result<Loaded, ImagesError> {
        let Some(platform) = platform else { return Ok(loaded) };
        let images = self.store.images();
        let Some(image) = images.by_digest(&loaded.target.digest)? else { return Ok(loaded) };
        let forget = |image: Image| match images.by_digest(&image.target.digest)? {
            Some(image) if image.names.is_empty() => images.remove(&image),
            _ => Ok(()),
        };
        let selected = match images.select(&image, platform) {
            Ok(selected) => selected.descriptor,
            Err(error) => {
                if let Some(name) = &loaded.name {
                    images.untag(name)?;
                }
                forget(image)?;
                return Err(error.into());
            }
        };
        if selected.digest == loaded.target.digest {
            return Ok(loaded);
        }
        let target = Descriptor { platform: None, ..selected };
        let name = match &loaded.name {
            Some(name) => ImageName::Reference(name.clone()),
            None => ImageName::Unnamed(target.digest),
        };
        images.put(&name, &target)?;
        forget(image)?;
        Ok(Loaded { target, ..loaded })
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
