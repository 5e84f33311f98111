//! What the builder asks for, done by this engine.
//!
//! Invariant: everything that a build made or stands on is kept by its lease; the lease ends with the build.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dhow_builder::{Base, Fault, Files, Layer, Once, Ran, Record, RunStep, WorkError, Worker};
use dhow_spec::image::Timestamp;
use dhow_spec::{Digest, Platform, Reference};
use dhow_store::{Image, LeaseId, RootView, StoreImageError, View};
use tokio::runtime::Handle;

use super::cancel::Cancel;
use super::files::RootFiles;
use super::layers::{failed, top};
use super::options::BuildOptions;
use crate::engine::Shared;
use crate::error::{Error, ErrorClass};
use crate::images::PullRequest;
use crate::plan::resolve_user_in;

/// One build's way to the engine.
pub(super) struct EngineWorker {
    pub(super) shared: Arc<Shared>,
    pub(super) runtime: Handle,
    pub(super) options: Arc<BuildOptions>,
    pub(super) cancel: Cancel,
    lease: LeaseId,
    /// What keeps the bases.
    others: Mutex<Vec<LeaseId>>,
    bases: Mutex<BTreeMap<String, Base>>,
}

impl EngineWorker {
    pub(super) async fn begin(
        shared: Arc<Shared>,
        runtime: Handle,
        options: Arc<BuildOptions>,
        cancel: Cancel,
    ) -> Result<Self, Error> {
        let lease = shared.images.begin_lease().await;
        let lease = lease.map_err(|error| Error::Monitor { message: error.to_string() })?;
        let (others, bases) = (Mutex::default(), Mutex::default());
        Ok(Self { shared, runtime, options, cancel, lease, others, bases })
    }

    pub(super) fn lease(&self) -> &LeaseId {
        &self.lease
    }

    /// Lets go of everything.
    pub(super) async fn end(&self) -> Result<(), Error> {
        let others =
            std::mem::take(&mut *self.others.lock().unwrap_or_else(PoisonError::into_inner));
        for lease in others.iter().chain([&self.lease]) {
            let done = self.shared.images.done_with(lease).await;
            done.map_err(|error| Error::Monitor { message: error.to_string() })?;
        }
        Ok(())
    }

    /// A root without mounting it.
    pub(super) fn root(&self, layers: &[Layer]) -> Result<Option<RootView>, Error> {
        let Some(top) = top(layers) else { return Ok(None) };
        let mounts = self.shared.snapshots.mounts_of_committed(&top, &View::READ)?;
        let root = RootView::open(&mounts);
        root.map(Some).map_err(|error| Error::Root { message: error.to_string() })
    }

    async fn find_base(&self, text: &str, platform: &Platform) -> Result<Base, WorkError> {
        let reference = Reference::parse(text)
            .map_err(|error| WorkError::Invalid { message: error.to_string() })?;
        let image = match self.find_image(text)? {
            Some(image) if !self.options.pull => image,
            found => {
                self.pull(&reference, platform).await?;
                match self.find_image(text)?.or(found) {
                    Some(image) => image,
                    None => return Err(not_found(text)),
                }
            }
        };
        let images = &self.shared.images;
        let ready = match images.ready(&image, platform, Arc::new(())).await {
            Ok(ready) => ready,
            // Here for another platform: the registry may have ours.
            Err(error) if error.class() == ErrorClass::NotFound && !self.options.pull => {
                self.pull(&reference, platform).await?;
                let image = self.find_image(text)?.ok_or_else(|| not_found(text))?;
                images.ready(&image, platform, Arc::new(())).await.map_err(pulled)?
            }
            Err(error) => return Err(pulled(error)),
        };
        self.others.lock().unwrap_or_else(PoisonError::into_inner).push(ready.lease);
        let selected = ready.selected;
        let diff_ids = selected.config.rootfs.diff_ids.iter();
        let layers = selected.manifest.layers.iter().zip(diff_ids);
        let layers =
            layers.map(|(blob, diff_id)| Layer { diff_id: *diff_id, blob: blob.clone() }).collect();
        Ok(Base { digest: image.target.digest, config: selected.config, layers })
    }

    fn find_image(&self, text: &str) -> Result<Option<Image>, WorkError> {
        match self.shared.store.images().find(text) {
            Ok(image) => Ok(Some(image)),
            Err(StoreImageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    async fn pull(&self, reference: &Reference, platform: &Platform) -> Result<(), WorkError> {
        let registry = reference.repository().domain();
        let mut images = self.shared.images.clone();
        if let Some(credentials) = self.options.credentials.get(registry) {
            images = images.with_credentials(registry, credentials.clone());
        }
        let request =
            PullRequest { reference: reference.clone(), platform: Some(platform.clone()) };
        tokio::select! {
            pulled = images.pull(&request, Arc::new(())) => {
                pulled.map(drop).map_err(self::pulled)
            }
            () = self.cancel.said() => Err(WorkError::Cancelled),
        }
    }
}

fn not_found(text: &str) -> WorkError {
    WorkError::NotFound { message: format!("No such image: {text}") }
}

fn pulled(error: crate::images::PullError) -> WorkError {
    match error.class() {
        ErrorClass::NotFound => WorkError::NotFound { message: error.to_string() },
        _ => WorkError::Failed(Box::new(error)),
    }
}

impl Worker for EngineWorker {
    fn base(&self, reference: &str, platform: &Platform) -> Result<Base, WorkError> {
        let key = format!("{reference} {platform:?}");
        let known = || self.bases.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(base) = known() {
            return Ok(base);
        }
        let cancelled = || self.cancel.is_cancelled();
        // Stages that stand on the same image look for it once.
        let name = format!("base {key} {}", self.lease.as_str());
        let Some(_claim) = self.shared.builds.claim(&name, &cancelled) else {
            return Err(WorkError::Cancelled);
        };
        if let Some(base) = known() {
            return Ok(base);
        }
        let base = self.runtime.block_on(self.find_base(reference, platform))?;
        self.bases.lock().unwrap_or_else(PoisonError::into_inner).insert(key, base.clone());
        Ok(base)
    }

    fn files(&self, layers: &[Layer]) -> Result<Box<dyn Files>, WorkError> {
        Ok(Box::new(RootFiles(self.root(layers).map_err(failed)?)))
    }

    fn layer(
        &self,
        below: &[Layer],
        write: &mut dyn FnMut(&mut dyn Write) -> Result<(), Fault>,
    ) -> Result<Layer, Fault> {
        self.make_layer(below, write)
    }

    fn stack(&self, below: &[Layer], layer: &Layer) -> Result<(), WorkError> {
        self.stack_layer(below, layer).map_err(failed)
    }

    fn run(
        &self,
        below: &[Layer],
        step: &RunStep,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Ran, WorkError> {
        self.run_step(below, step, output)
    }

    fn once(
        &self,
        key: &Digest,
        below: &[Layer],
        about: &str,
        fresh: bool,
        make: &mut dyn FnMut() -> Result<Record, Fault>,
    ) -> Result<Once, Fault> {
        self.do_once(key, below, about, fresh, make)
    }

    fn owner(&self, layers: &[Layer], text: &str) -> Result<(u32, u32), WorkError> {
        if let Ok(number) = text.parse::<u32>() {
            // A number alone is the group's as well.
            return Ok((number, number));
        }
        if let Some((user, group)) = text.split_once(':')
            && let (Ok(user), Ok(group)) = (user.parse(), group.parse())
        {
            return Ok((user, group));
        }
        let invalid = |message: String| WorkError::Invalid { message };
        let Some(root) = self.root(layers).map_err(failed)? else {
            return Err(invalid(format!("unable to find user {text}: there are no files")));
        };
        let user = resolve_user_in(&root, text, &[]).map_err(|error| invalid(error.to_string()))?;
        Ok((user.uid, user.gid))
    }

    fn fetch(&self, url: &str) -> Result<Box<dyn Read>, WorkError> {
        let message = format!("{url}: files from other hosts cannot be fetched by this engine");
        Err(WorkError::Invalid { message })
    }

    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or_default();
        Timestamp::from_unix(seconds, since.subsec_nanos()).expect("a time of this age")
    }

    fn stop(&self) {
        self.cancel.cancel();
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}
