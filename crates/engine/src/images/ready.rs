//! From an image that is here to snapshots that a container can stand on.
//!
//! The same way as a pull's second half: what is unpacked already is taken as it is, what is not is unpacked
//! from its blob, and a blob that is missing is fetched again where the image or the blob came from.

use std::sync::Arc;

use dhow_spec::image::{Descriptor, ImageError};
use dhow_spec::{Platform, Repository};
use dhow_store::{Image, ImageName, LeaseId, Selected};

use super::error::PullError;
use super::fetch::Fetch;
use super::options::ImageEngine;
use super::progress::{Transfers, Watcher};
use super::pull::{CancelOnDrop, Work, blocking, plan};

/// An image whose layers are unpacked.
#[derive(Debug, Clone)]
pub struct Ready {
    /// What it has for the platform: the last of its chain is what a container stands on.
    pub selected: Selected,
    /// Keeps the snapshots until [`ImageEngine::done_with`], should the image be removed meanwhile.
    pub lease: LeaseId,
}

impl ImageEngine {
    /// What an image has for the platform, if all of it is unpacked already. Nothing is kept: whoever stands on it
    /// finds out whether it still is there by doing so.
    pub(crate) async fn select_unpacked(
        &self,
        image: &Image,
        platform: &Platform,
    ) -> Result<Option<Selected>, PullError> {
        let (engine, wanted, of) = (self.clone(), image.clone(), platform.clone());
        blocking(move || {
            let selected = engine.store.images().select(&wanted, &of)?;
            // What is there has all below it. A store that cannot say is asked again by `ready`, which tells why.
            let is_there = match selected.chain.last() {
                Some(top) => engine.snapshots.contains(top).unwrap_or(false),
                None => true,
            };
            Ok(is_there.then_some(selected))
        })
        .await?
    }

    /// Unpacks what of an image is not unpacked yet.
    pub async fn ready(
        &self,
        image: &Image,
        platform: &Platform,
        watcher: Arc<dyn Watcher>,
    ) -> Result<Ready, PullError> {
        let name = match image.names.first() {
            Some(reference) => ImageName::Reference(reference.clone()),
            None => ImageName::Unnamed(image.target.digest),
        };
        let (store, wanted, of) = (self.store.clone(), image.clone(), platform.clone());
        let selected = blocking(move || store.images().select(&wanted, &of)).await??;
        let lease = self.begin_lease().await?;
        let unpacked = self.unpack_all(&name, &selected, &lease, watcher).await;
        if unpacked.is_err() {
            self.done_with(&lease).await?;
        }
        unpacked.map(|()| Ready { selected, lease })
    }

    /// Ends the lease of a [`Ready`].
    pub async fn done_with(&self, lease: &LeaseId) -> Result<(), PullError> {
        let (store, lease) = (self.store.clone(), lease.clone());
        Ok(blocking(move || store.end_lease(&lease)).await??)
    }

    async fn unpack_all(
        &self,
        name: &ImageName,
        selected: &Selected,
        lease: &LeaseId,
        watcher: Arc<dyn Watcher>,
    ) -> Result<(), PullError> {
        let wrong = |fault: ImageError| PullError::Image { image: Box::new(name.clone()), fault };
        let layers = selected.manifest.unpackable_layers().map_err(wrong)?;
        let layers: Vec<&Descriptor> = layers.into_iter().map(|(layer, _)| layer).collect();
        selected.config.check_layers(layers.len()).map_err(wrong)?;
        let work = Work {
            engine: self.clone(),
            fetch: Fetch {
                client: self.client(),
                content: self.store.content().clone(),
                lease: lease.clone(),
                repository: self.origin(name, &layers).await?,
                watcher: Transfers(watcher),
                by: format!("the unpacking of {name}"),
                cancel: Arc::default(),
            },
        };
        let _cancel = CancelOnDrop(work.fetch.cancel.clone());
        work.layers(name, plan(&layers, &selected.config, lease)).await
    }

    /// Where layers that are missing can be had: where one of them came from, else where the name says.
    async fn origin(
        &self,
        name: &ImageName,
        layers: &[&Descriptor],
    ) -> Result<Option<Repository>, PullError> {
        let (store, digests) = (self.store.clone(), layers.iter().map(|layer| layer.digest));
        let digests: Vec<_> = digests.collect();
        let recorded = blocking(move || {
            for digest in &digests {
                if let Some(source) = store.content().sources(digest)?.into_iter().next() {
                    return Ok(Some(source));
                }
            }
            Ok::<_, PullError>(None)
        });
        let named = || name.reference().map(|reference| reference.repository().clone());
        Ok(recorded.await??.or_else(named))
    }
}
