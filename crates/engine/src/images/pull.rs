//! From a reference to an image that can be run.
//!
//! The way: what the reference points to (one or more documents) → the configuration → all layers side by side,
//! each downloaded, hashed, inflated and unpacked at the same time → snapshots committed from the lowest up →
//! the name. All of it happens under a lease; the name is the last thing that is written, so an image that has
//! a name is whole.
//!
//! Invariant: a pull that fails or is given up leaves no snapshot, and blobs only for as long as its lease has
//! left: done again within that time, it goes on where it stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dhow_distribution::FetchedImage;
use dhow_spec::image::{CONFIG_BYTES_MAX, Descriptor, ImageConfig, ImageError};
use dhow_spec::{Digest, Platform, PlatformMatcher, Reference};
use dhow_store::{ChainId, ImageName, LeaseId, SnapshotKey, chain_ids};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};

use super::error::{LayerFault, PullError};
use super::fetch::Fetch;
use super::options::ImageEngine;
use super::part::Part;
use super::progress::{Progress, Step, Transfers, Watcher};
use super::unpack::Unpack;

/// How long the blobs of a pull that broke off are kept for the next one.
const KEPT_MS: i64 = 24 * 3600 * 1000;

/// What is to be pulled.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// What, and from where.
    pub reference: Reference,
    /// For which platform; the best for this one if absent.
    pub platform: Option<Platform>,
}

/// What a pull has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// What the name points to now.
    pub target: Descriptor,
    /// Whether it pointed there before.
    pub unchanged: bool,
}

/// One layer on its way.
#[derive(Clone)]
pub(super) struct Layer {
    descriptor: Descriptor,
    diff_id: Digest,
    chain: ChainId,
    parent: Option<ChainId>,
    key: SnapshotKey,
}

/// What all layers of a pull have in common.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) engine: ImageEngine,
    pub(super) fetch: Fetch,
}

/// Whether what is below a layer is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    Pending,
    Committed,
}

impl ImageEngine {
    /// Pulls an image, unless what is here is what the registry has.
    pub async fn pull(
        &self,
        request: &PullRequest,
        watcher: Arc<dyn Watcher>,
    ) -> Result<Pulled, PullError> {
        let transfers = Transfers(watcher);
        let platform = request.platform.clone().unwrap_or_else(Platform::of_build);
        if let Some(pulled) = self.is_current(request, &platform, &transfers).await? {
            transfers.progress(&Progress::Resolved { target: &pulled.target, layers: &[] });
            return Ok(pulled);
        }
        let matcher = PlatformMatcher::compatible(&platform);
        let found =
            self.client().image(&request.reference, &matcher, &platform, &transfers).await?;
        let lease = self.begin_lease().await?;
        let work = Work {
            engine: self.clone(),
            fetch: Fetch {
                client: self.client(),
                content: self.store.content().clone(),
                lease: lease.clone(),
                repository: Some(request.reference.repository().clone()),
                watcher: transfers,
                by: format!("the pull of {}", request.reference),
                cancel: Arc::default(),
            },
        };
        // Whoever gives up on this future must not leave threads at work.
        let _cancel = CancelOnDrop(work.fetch.cancel.clone());
        let pulled = work.bring(request, &found).await?;
        let store = self.store.clone();
        blocking(move || store.end_lease(&lease)).await??;
        self.discard_unpacked().await?;
        Ok(pulled)
    }

    /// Asks the registry only whether the name still points to what is here, if that is whole.
    async fn is_current(
        &self,
        request: &PullRequest,
        platform: &Platform,
        transfers: &Transfers,
    ) -> Result<Option<Pulled>, PullError> {
        let (store, snapshots) = (self.store.clone(), self.snapshots.clone());
        let (reference, platform) = (request.reference.clone(), platform.clone());
        let discards = self.options.discard_unpacked_layers;
        let whole = blocking(move || {
            let image = store.images().by_name(&reference).ok()??;
            let selected = store.images().select(&image, &platform).ok()?;
            let unpacked = match selected.chain.last() {
                Some(top) => snapshots.contains(top).ok()?,
                None => true,
            };
            let mut blobs = selected.manifest.layers.iter().map(|layer| layer.digest);
            let here =
                discards || blobs.all(|blob| store.content().contains(&blob).unwrap_or(false));
            (unpacked && here).then_some(image.target)
        });
        let Some(target) = whole.await? else { return Ok(None) };
        let now = match request.reference.digest() {
            Some(digest) => *digest,
            None => self.client().resolve(&request.reference, transfers).await?.digest,
        };
        Ok((now == target.digest).then_some(Pulled { target, unchanged: true }))
    }

    pub(crate) async fn begin_lease(&self) -> Result<LeaseId, PullError> {
        let store = self.store.clone();
        blocking(move || {
            let mut random = [0; 8];
            rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
                .map_err(|_| PullError::Ended)?;
            let id = LeaseId::parse(&format!("transfer-{:016x}", u64::from_ne_bytes(random)));
            let id = id.ok_or(PullError::Ended)?;
            store.lease(&id, Some(store.now_ms() + KEPT_MS))?;
            Ok(id)
        })
        .await?
    }
}

impl Work {
    /// Everything behind a reference, then its name.
    async fn bring(
        &self,
        request: &PullRequest,
        found: &FetchedImage,
    ) -> Result<Pulled, PullError> {
        let name = ImageName::Reference(request.reference.clone());
        let wrong = |fault| PullError::Image { image: Box::new(name.clone()), fault };
        let layers = found.manifest.unpackable_layers().map_err(wrong)?;
        let layers: Vec<&Descriptor> = layers.into_iter().map(|(layer, _)| layer).collect();
        self.fetch
            .watcher
            .progress(&Progress::Resolved { target: found.target(), layers: &layers });
        self.keep_documents(found).await?;
        let config = self.config(&name, &found.manifest.config).await?;
        config.check_layers(layers.len()).map_err(wrong)?;
        self.layers(&name, plan(&layers, &config, &self.fetch.lease)).await?;
        let (store, target) = (self.engine.store.clone(), found.target().clone());
        let (before, target) =
            blocking(move || store.images().put(&name, &target).map(|before| (before, target)))
                .await??;
        Ok(Pulled { unchanged: before == Some(target.digest), target })
    }

    async fn keep_documents(&self, found: &FetchedImage) -> Result<(), PullError> {
        let documents: Vec<_> = found.path.iter().map(|one| one.bytes.clone()).collect();
        let fetch = self.fetch.clone();
        blocking(move || {
            for bytes in documents {
                fetch.content.put(&fetch.lease, &bytes, &fetch.by)?;
            }
            Ok(())
        })
        .await?
    }

    async fn config(
        &self,
        name: &ImageName,
        descriptor: &Descriptor,
    ) -> Result<ImageConfig, PullError> {
        if descriptor.size > CONFIG_BYTES_MAX as u64 {
            let size = usize::try_from(descriptor.size).unwrap_or(usize::MAX);
            let fault = ImageError::TooLarge { size, max: CONFIG_BYTES_MAX };
            return Err(PullError::Image { image: Box::new(name.clone()), fault });
        }
        let (fetch, descriptor, runtime) =
            (self.fetch.clone(), descriptor.clone(), Handle::current());
        let bytes = blocking(move || {
            fetch.blob(&runtime, &descriptor, &Arc::default())?;
            Ok::<_, PullError>(fetch.content.read(&descriptor.digest, CONFIG_BYTES_MAX as u64)?)
        });
        let bytes = bytes.await??;
        ImageConfig::parse(&bytes)
            .map_err(|fault| PullError::Image { image: Box::new(name.clone()), fault })
    }

    /// All layers side by side; the first failure ends the others, and is told.
    pub(super) async fn layers(
        &self,
        name: &ImageName,
        layers: Vec<Layer>,
    ) -> Result<(), PullError> {
        let mut tasks = JoinSet::new();
        let (_bottom, mut below) = watch::channel(Below::Committed);
        for layer in layers {
            let (done, next) = watch::channel(Below::Pending);
            let (work, below) = (self.clone(), std::mem::replace(&mut below, next));
            tasks.spawn(async move {
                let digest = layer.descriptor.digest;
                (digest, work.layer(layer, below, &done).await)
            });
        }
        let mut first: Option<(Digest, LayerFault)> = None;
        while let Some(joined) = tasks.join_next().await {
            let Ok((layer, result)) = joined else {
                // The runtime is going down.
                self.fetch.cancel.store(true, Ordering::Relaxed);
                return Err(PullError::Ended);
            };
            let Err(fault) = result else { continue };
            self.fetch.cancel.store(true, Ordering::Relaxed);
            let told = first.as_ref();
            if told.is_none_or(|(_, told)| told.is_consequence() && !fault.is_consequence()) {
                first = Some((layer, fault));
            }
        }
        match first {
            None => Ok(()),
            Some((layer, fault)) => {
                let (image, layer) = (Box::new(name.clone()), Box::new(layer));
                Err(PullError::Layer { image, layer, fault })
            }
        }
    }

    async fn layer(
        self,
        layer: Layer,
        below: watch::Receiver<Below>,
        done: &watch::Sender<Below>,
    ) -> Result<(), LayerFault> {
        let digest = layer.descriptor.digest;
        let tell = |step| self.fetch.watcher.progress(&Progress::Layer { digest, step });
        tell(Step::Waiting);
        let turn = self.engine.downloads().acquire_owned().await;
        let turn = turn.map_err(|_| LayerFault::Below)?;
        let part = Arc::<Part>::default();
        let (fetch, descriptor, runtime, written) =
            (self.fetch.clone(), layer.descriptor.clone(), Handle::current(), part.clone());
        let download = spawn_blocking(move || {
            let _turn = turn;
            fetch.blob(&runtime, &descriptor, &written).map_err(LayerFault::Blob)
        });
        let unpacked = self.unpack(&layer, &part, below.clone()).await;
        if unpacked.is_err() {
            // A blob whose contents are wrong need not come any further.
            self.fetch.cancel.store(true, Ordering::Relaxed);
        }
        let downloaded = download.await.unwrap_or(Err(LayerFault::Lost));
        match (downloaded, unpacked) {
            (Ok(()), Ok(true)) => tell(Step::Downloaded),
            (Ok(()), Ok(false)) => {
                tell(Step::Exists);
                done.send_replace(Below::Committed);
                return Ok(());
            }
            (Err(fault), Ok(_)) => {
                self.discard(&layer).await;
                return Err(fault);
            }
            (Ok(()), Err(fault)) => return Err(fault),
            (Err(blob), Err(unpack)) if unpack.is_consequence() => return Err(blob),
            (Err(_), Err(unpack)) => return Err(unpack),
        }
        self.commit(&layer, below).await?;
        done.send_replace(Below::Committed);
        tell(Step::Done);
        Ok(())
    }

    /// Unpacks a layer unless that has been done; whether it did.
    async fn unpack(
        &self,
        layer: &Layer,
        part: &Arc<Part>,
        below: watch::Receiver<Below>,
    ) -> Result<bool, LayerFault> {
        let (snapshots, chain) = (self.engine.snapshots.clone(), layer.chain);
        let lease = self.fetch.lease.clone();
        if blocking_layer(move || Ok(snapshots.keep(&chain, &lease)?)).await? {
            return Ok(false);
        }
        // Those who wait for the layers below must not keep these from their turn.
        if !self.engine.snapshots.rebases() {
            wait_for(below).await?;
        }
        let turn = self.engine.unpacks.clone().acquire_owned().await;
        let turn = turn.map_err(|_| LayerFault::Below)?;
        let (work, layer, part) = (self.clone(), layer.clone(), part.clone());
        blocking_layer(move || {
            let _turn = turn;
            let engine = &work.engine;
            let parent = layer.parent.as_ref().filter(|_| !engine.snapshots.rebases());
            let unpack = Unpack {
                snapshots: &engine.snapshots,
                options: &engine.options,
                lease: &work.fetch.lease,
                key: &layer.key,
                diff_id: layer.diff_id,
                cancel: &work.fetch.cancel,
            };
            let (digest, size) = (layer.descriptor.digest, layer.descriptor.size);
            let tell = |done| {
                let step = Step::Unpacking { done, size };
                work.fetch.watcher.progress(&Progress::Layer { digest, step });
            };
            unpack.run(&part, parent, &tell)
        })
        .await?;
        Ok(true)
    }

    /// Makes a layer's snapshot one that others can stand on, once that is true of the one below.
    async fn commit(&self, layer: &Layer, below: watch::Receiver<Below>) -> Result<(), LayerFault> {
        if let Err(fault) = wait_for(below).await {
            self.discard(layer).await;
            return Err(fault);
        }
        let (snapshots, layer) = (self.engine.snapshots.clone(), layer.clone());
        let lease = self.fetch.lease.clone();
        blocking_layer(move || {
            let committed = snapshots.commit(&layer.key, &layer.chain, layer.parent.as_ref());
            if committed.is_err() {
                let there = snapshots.keep(&layer.chain, &lease)?;
                snapshots.remove(&layer.key)?;
                // Somebody else pulled the same, and was first.
                if there {
                    return Ok(());
                }
            }
            committed?;
            Ok(())
        })
        .await
    }

    async fn discard(&self, layer: &Layer) {
        let (snapshots, key) = (self.engine.snapshots.clone(), layer.key.clone());
        // What cannot be removed now ends with the lease.
        let _ = blocking(move || snapshots.remove(&key)).await;
    }
}

/// Each layer with the names that it will have.
pub(super) fn plan(layers: &[&Descriptor], config: &ImageConfig, lease: &LeaseId) -> Vec<Layer> {
    let diff_ids = &config.rootfs.diff_ids;
    let chain = chain_ids(diff_ids);
    let parents = std::iter::once(None).chain(chain.iter().copied().map(Some));
    let names = diff_ids.iter().zip(&chain).zip(parents);
    let numbered = layers.iter().zip(names).enumerate();
    numbered
        .filter_map(|(number, (descriptor, ((diff_id, chain), parent)))| {
            let key = SnapshotKey::parse(&format!("{}-{number}", lease.as_str())).ok()?;
            let descriptor = (*descriptor).clone();
            Some(Layer { descriptor, diff_id: *diff_id, chain: *chain, parent, key })
        })
        .collect()
}

async fn wait_for(mut below: watch::Receiver<Below>) -> Result<(), LayerFault> {
    let committed = below.wait_for(|state| *state == Below::Committed).await;
    committed.map(drop).map_err(|_| LayerFault::Below)
}

pub(super) struct CancelOnDrop(pub(super) Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs what blocks where that harms nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PullError> {
    spawn_blocking(work).await.map_err(|_| PullError::Ended)
}

async fn blocking_layer<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LayerFault> + Send + 'static,
) -> Result<T, LayerFault> {
    spawn_blocking(work).await.unwrap_or(Err(LayerFault::Lost))
}
