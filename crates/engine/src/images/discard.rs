//! Layers that are not kept once they are unpacked, and their way back for whoever wants their bytes.
//!
//! Invariant: what is discarded is on record with a repository that has served it. Only where the settings ask
//! for it does anything go; what went comes back whatever they say now.

use std::sync::Arc;

use dhow_spec::Repository;
use dhow_spec::image::Descriptor;
use dhow_store::{Image, ImageName, LeaseId};
use tokio::runtime::Handle;
use tokio::task::{JoinSet, spawn_blocking};

use super::error::{LayerFault, PullError};
use super::fetch::Fetch;
use super::options::ImageEngine;
use super::part::Part;
use super::progress::Transfers;
use super::pull::{CancelOnDrop, blocking};

impl ImageEngine {
    /// Gives the space of unpacked layers back, if the settings want that.
    pub(super) async fn discard_unpacked(&self) -> Result<(), PullError> {
        if !self.options.discard_unpacked_layers {
            return Ok(());
        }
        let store = self.store.clone();
        let discarded = blocking(move || store.discard_unpacked()).await?;
        discarded.map(drop).map_err(|error| PullError::Whole(Box::new(error)))
    }

    /// Has all blobs of these images here that were here before; a lease keeps them.
    pub(crate) async fn bring_back(
        &self,
        images: &[Image],
        lease: &LeaseId,
    ) -> Result<(), PullError> {
        for image in images {
            let (store, of, by) = (self.store.clone(), image.clone(), lease.clone());
            let gone = blocking(move || -> Result<_, PullError> {
                let mut gone = Vec::new();
                for blob in store.images().blobs(&of)? {
                    if store.content().keep(&by, &blob.digest)?.is_none()
                        && let Some(source) = store.content().sources(&blob.digest)?.pop()
                    {
                        gone.push((blob, source));
                    }
                }
                Ok(gone)
            });
            self.fetch_again(image, gone.await??, lease).await?;
        }
        Ok(())
    }

    async fn fetch_again(
        &self,
        image: &Image,
        gone: Vec<(Descriptor, Repository)>,
        lease: &LeaseId,
    ) -> Result<(), PullError> {
        let name = match image.names.first() {
            Some(reference) => ImageName::Reference(reference.clone()),
            None => ImageName::Unnamed(image.target.digest),
        };
        let cancel = Arc::default();
        let _cancel = CancelOnDrop(Arc::clone(&cancel));
        let mut tasks = JoinSet::new();
        for (blob, source) in gone {
            let fetch = Fetch {
                client: self.client(),
                content: self.store.content().clone(),
                lease: lease.clone(),
                repository: Some(source),
                watcher: Transfers(Arc::new(())),
                by: format!("the return of layers of {name}"),
                cancel: Arc::clone(&cancel),
            };
            let downloads = self.downloads();
            tasks.spawn(async move {
                let turn = downloads.acquire_owned().await;
                let (runtime, layer) = (Handle::current(), blob.digest);
                let fetched = spawn_blocking(move || {
                    let _turn = turn;
                    fetch.blob(&runtime, &blob, &Arc::<Part>::default())
                });
                (layer, fetched.await)
            });
        }
        while let Some(joined) = tasks.join_next().await {
            let (layer, fetched) = joined.map_err(|_| PullError::Ended)?;
            fetched.map_err(|_| PullError::Ended)?.map_err(|fault| PullError::Layer {
                image: Box::new(name.clone()),
                layer: Box::new(layer),
                fault: LayerFault::Blob(fault),
            })?;
        }
        Ok(())
    }
}
