//! Builds: from a Dockerfile and what was sent with it to an image in the store.
//!
//! The crate `builder` decides what is done in which order; `worker` does it: bases are pulled, commands run below
//! a monitor of their own (`run`), layers go into snapshot and store in one pass (`layers`), what was done is
//! remembered (`cache`). Invariant: everything on the way is held by one lease; a build that ends, however it does,
//! leaves what is remembered and nothing else.
//! Absent on purpose: the language, the API.

mod cache;
mod cancel;
mod files;
mod layers;
mod options;
mod run;
mod stubs;
mod worker;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use dhow_builder::dockerfile::{Dockerfile, ParseError};
use dhow_builder::{Ask, BuildError, Built, Context, ContextError, ContextLimits, Observer};
use dhow_spec::image::{Descriptor, Family, Manifest, MediaType};
use dhow_spec::{Platform, Reference};
use dhow_store::ImageName;
use rustix::fs::{Mode, OFlags};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::engine::Engine;
use crate::error::Error;
use worker::EngineWorker;

pub(crate) use cache::Builds;
pub use cache::{BuildCacheRow, CachePrune, CachePruned};
pub use cancel::Cancel;
pub use options::BuildOptions;

/// What was sent may have no more entries.
const CONTEXT_ENTRIES_MAX: usize = 4_000_000;

/// A build whose file and context are here and make sense.
pub struct Build {
    engine: Engine,
    file: Dockerfile,
    context: Context,
    options: Arc<BuildOptions>,
}

/// What came of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// The image's id.
    pub id: String,
    /// Its names.
    pub names: Vec<String>,
}

/// Why there is no build.
#[derive(Debug)]
pub enum BuildFault {
    /// What was sent.
    Context(ContextError),
    /// There is no such file in it.
    NoDockerfile {
        /// Its path.
        path: String,
    },
    /// The file is empty.
    EmptyDockerfile {
        /// Its path.
        path: String,
    },
    /// The file.
    Parse(ParseError),
    /// The build.
    Build(BuildError),
    /// The engine.
    Engine(Error),
}

impl Engine {
    /// Takes what was sent, to its end, and reads the Dockerfile in it.
    pub async fn begin_build(
        &self,
        source: impl Read + Send + 'static,
        options: BuildOptions,
    ) -> Result<Build, BuildFault> {
        let engine = self.clone();
        let begun = spawn_blocking(move || begin(engine, source, options)).await;
        begun.map_err(|_| BuildFault::Engine(Error::Closing))?
    }

    /// Reads the Dockerfile that was sent alone.
    pub async fn begin_build_of(
        &self,
        dockerfile: Vec<u8>,
        options: BuildOptions,
    ) -> Result<Build, BuildFault> {
        let engine = self.clone();
        let begun = spawn_blocking(move || {
            let mut context = Context::empty(engine.scratch_file()?);
            context.put(&options.dockerfile, &dockerfile).map_err(BuildFault::Context)?;
            ready(engine, context, options)
        });
        begun.await.map_err(|_| BuildFault::Engine(Error::Closing))?
    }

    /// A file without a name, on the disk that images are on.
    fn scratch_file(&self) -> Result<File, BuildFault> {
        let root = &self.shared.data_root;
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let opened: Result<OwnedFd, _> = rustix::fs::open(root, flags, Mode::RUSR | Mode::WUSR);
        opened
            .map(File::from)
            .map_err(|errno| BuildFault::Engine(Error::io("make a file in", root, errno.into())))
    }
}

fn begin(engine: Engine, source: impl Read, options: BuildOptions) -> Result<Build, BuildFault> {
    let limits = ContextLimits { bytes_max: u64::MAX, entries_max: CONTEXT_ENTRIES_MAX };
    let context = Context::read(source, engine.scratch_file()?, limits);
    ready(engine, context.map_err(BuildFault::Context)?, options)
}

fn ready(engine: Engine, mut context: Context, options: BuildOptions) -> Result<Build, BuildFault> {
    let path = options.dockerfile.clone();
    let read = |context: &Context, path: &str| {
        context
            .file(path)
            .map_err(|error| BuildFault::Context(ContextError::Io(std::io::Error::other(error))))
    };
    let bytes = match &options.inline {
        Some(text) => Some(text.clone().into_bytes()),
        None => read(&context, &path)?,
    };
    let Some(bytes) = bytes else { return Err(BuildFault::NoDockerfile { path }) };
    if bytes.is_empty() {
        return Err(BuildFault::EmptyDockerfile { path });
    }
    let file = Dockerfile::parse(&bytes).map_err(BuildFault::Parse)?;
    // The file's own list goes before that of the whole context.
    let ignore = match read(&context, &format!("{path}.dockerignore"))? {
        Some(own) => Some(own),
        None => read(&context, ".dockerignore")?,
    };
    if let Some(ignore) = ignore {
        context.ignore(&ignore).map_err(BuildFault::Context)?;
    }
    // One that came from outside the context under a name of the client's.
    if path.starts_with(".dockerfile.") {
        context.remove(&path);
    }
    Ok(Build { engine, file, context, options: Arc::new(options) })
}

impl Build {
    /// Builds, and calls the image what it is to be called.
    pub async fn run(
        self,
        observer: Arc<dyn Observer>,
        cancel: Cancel,
    ) -> Result<BuiltImage, BuildFault> {
        let runtime = Handle::current();
        let worker =
            EngineWorker::begin(self.engine.shared.clone(), runtime, self.options.clone(), cancel)
                .await
                .map_err(BuildFault::Engine)?;
        let worker = Arc::new(worker);
        let own = worker.clone();
        let done = spawn_blocking(move || {
            let built = self.build(&own, &*observer);
            built.and_then(|built| self.commit(&own, built))
        });
        let done = done.await.unwrap_or(Err(BuildFault::Engine(Error::Closing)));
        worker.end().await.map_err(BuildFault::Engine)?;
        done
    }

    fn build(&self, worker: &EngineWorker, observer: &dyn Observer) -> Result<Built, BuildFault> {
        let options = &self.options;
        let host = Platform::of_build();
        let ask = Ask {
            file: &self.file,
            context: &self.context,
            contexts: options.contexts.clone(),
            target: options.target.clone(),
            args: options.args.clone(),
            labels: options.labels.clone(),
            platform: options.platform.clone().unwrap_or_else(|| host.clone()),
            build_platform: host,
            no_cache: options.no_cache,
            no_cache_stages: options.no_cache_stages.clone(),
            secrets: options.secrets.clone(),
            insecure: options.insecure,
            host_network: true,
            worker,
            observer,
        };
        dhow_builder::build(&ask).map_err(BuildFault::Build)
    }

    /// Makes the image's documents, and gives it its names.
    fn commit(&self, worker: &EngineWorker, built: Built) -> Result<BuiltImage, BuildFault> {
        const BY: &str = "a build";
        let failed = |error: Error| BuildFault::Engine(error);
        let built = match self.options.squash {
            true => worker.squash(built).map_err(failed)?,
            false => built,
        };
        let store = &self.engine.shared.store;
        let put = |bytes: &str| {
            store.content().put(worker.lease(), bytes.as_bytes(), BY).map_err(|error| {
                failed(Error::io("keep", "an image", std::io::Error::other(error)))
            })
        };
        let config = put(&built.config.to_json())?;
        let config = Descriptor::new(MediaType::Config(Family::Oci), config.digest, config.size);
        let layers = built.layers.into_iter().map(|layer| layer.blob).collect();
        let manifest = put(&Manifest::new(config, layers).to_json())?;
        let target =
            Descriptor::new(MediaType::Manifest(Family::Oci), manifest.digest, manifest.size);
        let images = store.images();
        let kept = |error: dhow_store::StoreImageError| failed(error.into());
        if self.options.tags.is_empty() {
            images.put(&ImageName::Unnamed(target.digest), &target).map_err(kept)?;
        }
        for tag in &self.options.tags {
            images.put(&ImageName::Reference(tag.clone()), &target).map_err(kept)?;
        }
        let names = self.options.tags.iter().map(Reference::familiar).collect();
        Ok(BuiltImage { id: target.digest.to_string(), names })
    }
}

impl std::fmt::Display for BuildFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Context(error) => error.fmt(f),
            Self::NoDockerfile { path } => {
                write!(f, "Cannot locate specified Dockerfile: {path}")
            }
            Self::EmptyDockerfile { path } => {
                write!(f, "the Dockerfile ({path}) cannot be empty")
            }
            Self::Parse(error) => error.fmt(f),
            Self::Build(error) => error.fmt(f),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BuildFault {}

impl BuildFault {
    /// What can be done about it.
    pub fn class(&self) -> crate::error::ErrorClass {
        use crate::error::ErrorClass;
        match self {
            Self::NoDockerfile { .. } => ErrorClass::Internal,
            Self::Context(ContextError::Io(_)) => ErrorClass::Internal,
            Self::Context(_) | Self::EmptyDockerfile { .. } | Self::Parse(_) => ErrorClass::Invalid,
            Self::Build(error) if error.fault.is_parse() => ErrorClass::Invalid,
            Self::Build(_) => ErrorClass::Internal,
            Self::Engine(error) => error.class(),
        }
    }

    /// The exit code of the command that failed, if that is what happened.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Build(BuildError {
                fault: dhow_builder::Fault::Command { code, .. }, ..
            }) => Some(*code),
            _ => None,
        }
    }
}
