//! Builds: from a Dockerfile and what was sent with it to an image in the store.
//!
//! The crate `builder` decides what is done in which order; `worker` does it: bases are pulled, commands run below
//! a monitor of their own (`run`), layers go into snapshot and store in one pass (`layers`), what was done is
//! remembered (`cache`), told to builds elsewhere and taken over from them (`told`). `begin` takes what was sent
//! (`contexts` keeps it for the next time), `commit` makes the image's documents and gives away what is wanted. Invariant: everything on the way is held by
//! one lease; a build that ends, however it does, leaves what is remembered and nothing else.
//! Absent on purpose: the language, the API.

mod begin;
mod cache;
mod cancel;
mod commit;
mod contexts;
mod fault;
mod files;
mod foreign;
mod frames;
mod git;
mod layers;
mod options;
mod outlet;
mod pulling;
mod relay;
mod remote;
mod run;
mod stubs;
mod told;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;

use dhow_builder::dockerfile::{Dockerfile, Kind};
use dhow_builder::{
    Ask, BuildError, Built, Context, ContextLimits, Event, Fault, Lint, Named, Observer,
};
use dhow_spec::image::Descriptor;
use dhow_spec::{Digest, Platform};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::engine::Engine;
use crate::error::Error;
use worker::EngineWorker;

pub use begin::Begun;
pub(crate) use cache::Builds;
pub use cache::{BuildCacheRow, CachePrune, CachePruned};
pub use cancel::Cancel;
pub use contexts::ContextKey;
pub(crate) use contexts::Contexts;
pub use fault::BuildFault;
pub(crate) use git::PLACE as SCRATCH;
pub use options::{Annotation, AnnotationPlace, BuildOptions, ContextSource, OutputKind};
pub use outlet::Outlet;
pub(crate) use worker::end_leases;

/// What was sent may have no more entries.
const CONTEXT_LIMITS: ContextLimits = ContextLimits { bytes_max: u64::MAX, entries_max: 4_000_000 };

/// A build whose file and context are here and make sense.
pub struct Build {
    engine: Engine,
    file: Dockerfile,
    /// The file as it was sent.
    source: Vec<u8>,
    context: Context,
    contexts: BTreeMap<String, Named>,
    /// Caches that were sent.
    caches: Vec<Arc<Context>>,
    options: Arc<BuildOptions>,
}

/// What came of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// The image's id.
    pub id: String,
    /// Its names.
    pub names: Vec<String>,
    /// What the names point to.
    pub descriptor: Descriptor,
    /// The configuration of the first platform.
    pub config: Digest,
    /// What could be better in the file.
    pub lint: Lint,
}

/// A stage as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildStage {
    /// Its name, or its number in a file of several.
    pub name: Option<String>,
    /// For which platform, where there are several.
    pub platform: Option<String>,
    /// Its steps that do something, `FROM` counted.
    pub steps: usize,
}

impl Build {
    /// The stages as events number them: all of the file, once for each platform.
    pub fn stages(&self) -> Vec<BuildStage> {
        let platforms = &self.options.platforms;
        let several = self.file.stages.len() > 1;
        let one = |platform: Option<String>| {
            self.file.stages.iter().enumerate().map(move |(number, stage)| BuildStage {
                name: match &stage.from.name {
                    None if several => Some(format!("stage-{number}")),
                    name => name.clone(),
                },
                platform: platform.clone(),
                steps: 1 + stage.instructions.iter().filter(|one| does(&one.kind)).count(),
            })
        };
        match platforms.len() {
            0 | 1 => one(None).collect(),
            _ => platforms.iter().flat_map(|platform| one(Some(platform.to_string()))).collect(),
        }
    }

    /// Builds, gives away what is wanted, and calls the image what it is to be called.
    pub async fn run(
        self,
        observer: Arc<dyn Observer>,
        cancel: Cancel,
        outlet: Box<dyn Outlet>,
    ) -> Result<BuiltImage, BuildFault> {
        let runtime = Handle::current();
        let worker =
            EngineWorker::begin(self.engine.shared.clone(), runtime, self.options.clone(), cancel)
                .map_err(BuildFault::Engine)?;
        let worker = Arc::new(worker);
        let own = worker.clone();
        let done = spawn_blocking(move || {
            self.import(&own, &*observer)?;
            let built = match self.build_all(&own, &*observer) {
                Ok(built) => built,
                Err(error) => return Err(self.keep_failed(&own, error)),
            };
            self.commit(&own, built, outlet, &*observer)
        });
        let done = done.await.unwrap_or(Err(BuildFault::Engine(Error::Closing)));
        worker.end().map_err(BuildFault::Engine)?;
        done
    }

    /// One platform after the other, each with its stages side by side.
    fn build_all(
        &self,
        worker: &EngineWorker,
        observer: &dyn Observer,
    ) -> Result<Vec<(Platform, Built)>, BuildError> {
        let host = Platform::of_build();
        let platforms = match self.options.platforms.as_slice() {
            [] => std::slice::from_ref(&host),
            platforms => platforms,
        };
        let mut all = Vec::new();
        for (number, platform) in platforms.iter().enumerate() {
            let shift = number * self.file.stages.len();
            let observer = Shifted { inner: observer, shift };
            all.push((platform.clone(), self.build(worker, &observer, platform, &host)?));
        }
        Ok(all)
    }

    fn build(
        &self,
        worker: &EngineWorker,
        observer: &dyn Observer,
        platform: &Platform,
        host: &Platform,
    ) -> Result<Built, BuildError> {
        let options = &self.options;
        let ask = Ask {
            file: &self.file,
            context: &self.context,
            contexts: &self.contexts,
            target: options.target.clone(),
            args: options.args.clone(),
            labels: options.labels.clone(),
            platform: platform.clone(),
            build_platform: host.clone(),
            no_cache: options.no_cache || worker.knows_no_cache(),
            no_cache_stages: options.no_cache_stages.clone(),
            secrets: options.secrets.clone(),
            agents: options.agents.keys().cloned().collect(),
            insecure: options.insecure,
            host_network: true,
            worker,
            observer,
        };
        dhow_builder::build(&ask)
    }

    /// What a command that failed left, as an image without a name.
    fn keep_failed(&self, worker: &EngineWorker, mut error: BuildError) -> BuildFault {
        let kept = match &mut error.fault {
            Fault::Command { kept, .. } => kept.take(),
            _ => None,
        };
        let kept = kept.and_then(|built| {
            // The command's failure is what is told, whatever becomes of this.
            let target = self.put_image(worker, &built, &BTreeMap::new()).ok()?.0;
            let name = dhow_store::ImageName::Unnamed(target.digest);
            self.engine.shared.store.images().put(&name, &target).ok()?;
            Some(target.digest.to_string())
        });
        BuildFault::Build { error: Box::new(error), kept }
    }
}

/// Whether an instruction does more than to change the configuration.
fn does(kind: &Kind) -> bool {
    matches!(kind, Kind::Run(_) | Kind::Copy(_) | Kind::Workdir(_))
}

/// Tells of stages by other numbers.
struct Shifted<'a> {
    inner: &'a dyn Observer,
    shift: usize,
}

impl Observer for Shifted<'_> {
    fn event(&self, event: &Event<'_>) {
        let at = |stage: usize| stage + self.shift;
        let shifted: Vec<usize>;
        let event = match *event {
            Event::Begin { stages } => {
                shifted = stages.iter().map(|stage| at(*stage)).collect();
                Event::Begin { stages: &shifted }
            }
            Event::Step { stage, step, total, text } => {
                Event::Step { stage: at(stage), step, total, text }
            }
            Event::Running { stage } => Event::Running { stage: at(stage) },
            Event::Output { stage, stream, bytes } => {
                Event::Output { stage: at(stage), stream, bytes }
            }
            Event::Warning { stage, text } => Event::Warning { stage: at(stage), text },
            Event::Done { stage, cached, ran, id } => {
                Event::Done { stage: at(stage), cached, ran, id }
            }
            Event::End { stage } => Event::End { stage: at(stage) },
        };
        self.inner.event(&event);
    }
}
