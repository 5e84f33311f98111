//! What the builder asks for, done by this engine.
//!
//! Invariant: everything that a build made or stands on is kept by its lease; the lease ends with the build.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dhow_builder::{
    Base, Checkout, Fault, Fetched, Files, GitSource, Layer, Once, OutputStream, Ran, Record,
    RunStep, WorkError, Worker,
};
use dhow_spec::image::Timestamp;
use dhow_spec::{Digest, Platform, Reference};
use dhow_store::{Image, LeaseId, RootView, Store, StoreImageError, View};
use tokio::runtime::Handle;

use super::cancel::Cancel;
use super::files::RootFiles;
use super::layers::{failed, top};
use super::options::BuildOptions;
use super::pulling::Lines;
use super::told::{Imported, Used};
use crate::engine::{Engine, Shared};
use crate::error::{Error, ErrorClass};
use crate::images::{ImageEngine, PullError, PullRequest};
use crate::plan::resolve_user_in;

/// One build's way to the engine.
pub(super) struct EngineWorker {
    pub(super) shared: Arc<Shared>,
    pub(super) runtime: Handle,
    pub(super) options: Arc<BuildOptions>,
    pub(super) cancel: Cancel,
    lease: LeaseId,
    bases: Mutex<BTreeMap<String, Base>>,
    /// The steps of this build.
    pub(super) used: Mutex<BTreeMap<String, Used>>,
    /// Layers of the images that the cache is to be taken from, where nothing else is to be; by their chains.
    pub(super) only: Option<HashSet<String>>,
    /// What others have done.
    pub(super) imported: Mutex<BTreeMap<String, Imported>>,
}

impl EngineWorker {
    pub(super) fn begin(
        shared: Arc<Shared>,
        runtime: Handle,
        options: Arc<BuildOptions>,
        cancel: Cancel,
    ) -> Result<Self, Error> {
        let lease = begin_lease(&shared)?;
        let only = options.cache_strict.then(|| super::told::layers_of(&shared, &options));
        Ok(Self {
            only,
            shared,
            runtime,
            options,
            cancel,
            lease,
            bases: Mutex::default(),
            used: Mutex::default(),
            imported: Mutex::default(),
        })
    }

    pub(super) fn lease(&self) -> &LeaseId {
        &self.lease
    }

    /// Lets go of everything.
    pub(super) fn end(&self) -> Result<(), Error> {
        Ok(self.shared.store.end_lease(&self.lease)?)
    }

    /// Keeps an image that is ready; whoever made it so lets go of it.
    fn keep_base(&self, layers: &[Layer]) -> Result<(), Error> {
        for (number, layer) in layers.iter().enumerate() {
            let kept = self.shared.store.content().keep(&self.lease, &layer.blob.digest);
            // A blob that is not here can be had again; the files are.
            kept.map_err(super::layers::content)?;
            if let Some(chain) = top(&layers[..=number]) {
                self.shared.snapshots.keep(&chain, &self.lease)?;
            }
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

    async fn find_base(
        &self,
        text: &str,
        platform: &Platform,
        say: &mut dyn FnMut(&str),
    ) -> Result<Base, WorkError> {
        let reference = Reference::parse(text)
            .map_err(|error| WorkError::Invalid { message: error.to_string() })?;
        let image = match self.find_image(text)? {
            Some(image) if !self.options.pull => image,
            found => {
                self.pull(&reference, platform, say).await?;
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
                self.pull(&reference, platform, say).await?;
                let image = self.find_image(text)?.ok_or_else(|| not_found(text))?;
                images.ready(&image, platform, Arc::new(())).await.map_err(pulled)?
            }
            Err(error) => return Err(pulled(error)),
        };
        let selected = ready.selected;
        let diff_ids = selected.config.rootfs.diff_ids.iter();
        let layers = selected.manifest.layers.iter().zip(diff_ids);
        let layers: Vec<Layer> =
            layers.map(|(blob, diff_id)| Layer { diff_id: *diff_id, blob: blob.clone() }).collect();
        let kept = self.keep_base(&layers).map_err(failed);
        images.done_with(&ready.lease).await.map_err(pulled)?;
        kept?;
        Ok(Base { digest: image.target.digest, config: selected.config, layers })
    }

    fn find_image(&self, text: &str) -> Result<Option<Image>, WorkError> {
        match self.shared.store.images().find(text) {
            Ok(image) => Ok(Some(image)),
            Err(StoreImageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// The way to a registry, for the client's user there.
    pub(super) fn images_for(&self, reference: &Reference) -> ImageEngine {
        let registry = reference.repository().domain();
        match self.options.credentials.get(registry) {
            Some(own) => self.shared.images.with_credentials(registry, own.clone()),
            None => self.shared.images.clone(),
        }
    }

    /// Has all of an image's blobs here, for as long as the build's lease.
    pub(super) fn bring_back(&self, image: &Image) -> Result<(), PullError> {
        let images = std::slice::from_ref(image);
        self.runtime.block_on(self.shared.images.bring_back(images, &self.lease))
    }

    async fn pull(
        &self,
        reference: &Reference,
        platform: &Platform,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), WorkError> {
        let images = self.images_for(reference);
        let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
        say(&format!("pulling {}\n", reference.familiar()));
        let request =
            PullRequest { reference: reference.clone(), platform: Some(platform.clone()) };
        let pull = images.pull(&request, Arc::new(Lines::new(sender)));
        tokio::pin!(pull);
        let pulled = loop {
            tokio::select! {
                // What was said before the end is told before it.
                biased;
                Some(line) = lines.recv() => say(&line),
                pulled = &mut pull => break pulled.map(drop).map_err(self::pulled),
                () = self.cancel.said() => break Err(WorkError::Cancelled),
            }
        };
        while let Ok(line) = lines.try_recv() {
            say(&line);
        }
        pulled
    }
}

/// What the lease of a build is called.
const LEASE: &str = "build-";

fn begin_lease(shared: &Shared) -> Result<LeaseId, Error> {
    let id = crate::containers::new_id()?;
    let lease = LeaseId::parse(&format!("{LEASE}{}", &id[..24])).expect("a word");
    shared.store.lease(&lease, None)?;
    Ok(lease)
}

/// Lets go of what builds of an engine that is gone have kept: no build outlives its engine.
pub(crate) fn end_leases(store: &Store) -> Result<(), Error> {
    for lease in store.leases()? {
        if lease.id.as_str().starts_with(LEASE) {
            store.end_lease(&lease.id)?;
        }
    }
    Ok(())
}

fn not_found(text: &str) -> WorkError {
    WorkError::NotFound { message: format!("No such image: {text}") }
}

fn pulled(error: PullError) -> WorkError {
    match error.class() {
        ErrorClass::NotFound => WorkError::NotFound { message: error.to_string() },
        _ => WorkError::Failed(Box::new(error)),
    }
}

impl Worker for EngineWorker {
    fn base(
        &self,
        reference: &str,
        platform: &Platform,
        say: &mut dyn FnMut(&str),
    ) -> Result<Base, WorkError> {
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
        let base = self.runtime.block_on(self.find_base(reference, platform, say))?;
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
        output: &mut dyn FnMut(OutputStream, &[u8]),
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

    fn fetch(&self, url: &str) -> Result<Fetched, WorkError> {
        Engine { shared: self.shared.clone() }.fetch(&self.runtime, url, &self.cancel)
    }

    fn git(&self, source: &GitSource, keep_git_dir: bool) -> Result<Checkout, WorkError> {
        let root = &self.shared.data_root;
        super::git::checkout(root, &self.options, &self.cancel, source, keep_git_dir)
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
