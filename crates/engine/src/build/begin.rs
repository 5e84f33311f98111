//! A build before it begins: the context is taken to its end, the Dockerfile found, read and judged.
//!
//! Invariant: what can be known to be wrong is told here, before anything is done.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use dhow_builder::dockerfile::Dockerfile;
use dhow_builder::{Context, ContextError, Lint, LintAsk, Named, lint};
use dhow_spec::Platform;
use rustix::fs::{Mode, OFlags};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::cancel::Cancel;
use super::fault::BuildFault;
use super::options::{BuildOptions, ContextSource};
use super::remote::context_from;
use super::{Build, CONTEXT_LIMITS};
use crate::engine::Engine;
use crate::error::Error;

impl Engine {
    /// Takes what was sent, to its end, and reads the Dockerfile in it.
    pub async fn begin_build(
        &self,
        source: impl Read + Send + 'static,
        options: BuildOptions,
        cancel: Cancel,
    ) -> Result<Build, BuildFault> {
        let (engine, runtime) = (self.clone(), Handle::current());
        let begun = spawn_blocking(move || {
            let data = engine.scratch_file().map_err(BuildFault::Engine)?;
            let context = Context::read(source, data, CONTEXT_LIMITS);
            ready(engine, &runtime, context.map_err(BuildFault::Context)?, options, &cancel)
        });
        begun.await.map_err(|_| BuildFault::Engine(Error::Closing))?
    }

    /// Fetches a context from where it is, and reads the Dockerfile in it.
    pub async fn begin_build_from(
        &self,
        remote: String,
        mut options: BuildOptions,
        cancel: Cancel,
    ) -> Result<Build, BuildFault> {
        let (engine, runtime) = (self.clone(), Handle::current());
        let begun = spawn_blocking(move || {
            let (context, alone) = context_from(&engine, &runtime, &remote, &options, &cancel)?;
            if alone {
                super::remote::ALONE.clone_into(&mut options.dockerfile);
            }
            ready(engine, &runtime, context, options, &cancel)
        });
        begun.await.map_err(|_| BuildFault::Engine(Error::Closing))?
    }

    /// A file without a name, on the disk that images are on.
    pub(super) fn scratch_file(&self) -> Result<File, Error> {
        let root = &self.shared.data_root;
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let opened: Result<OwnedFd, _> = rustix::fs::open(root, flags, Mode::RUSR | Mode::WUSR);
        opened.map(File::from).map_err(|errno| Error::io("make a file in", root, errno.into()))
    }
}

fn ready(
    engine: Engine,
    runtime: &Handle,
    mut context: Context,
    options: BuildOptions,
    cancel: &Cancel,
) -> Result<Build, BuildFault> {
    let path = options.dockerfile.clone();
    let contexts = contexts(&engine, runtime, &mut context, &options, cancel)?;
    let mut caches = Vec::new();
    for directory in &options.cache_sent {
        caches.push(Arc::new(context.split_off(directory).map_err(BuildFault::Context)?));
    }
    let read = |context: &Context, path: &str| {
        context
            .file(path)
            .map_err(|error| BuildFault::Context(ContextError::Io(std::io::Error::other(error))))
    };
    let bytes = match &options.inline {
        Some(text) => Some(text.clone().into_bytes()),
        None => read(&context, &path)?,
    };
    let Some(source) = bytes else { return Err(BuildFault::NoDockerfile { path }) };
    if source.is_empty() {
        return Err(BuildFault::EmptyDockerfile { path });
    }
    let file = Dockerfile::parse(&source).map_err(BuildFault::Parse)?;
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
    let options = Arc::new(options);
    let build = Build { engine, file, source, context, contexts, caches, options };
    let lint = build.lint();
    match lint.error && !build.options.only_lint {
        true => Err(BuildFault::Lint { rules: lint.rules() }),
        false => Ok(build),
    }
}

/// The contexts beside the main one, fetched or taken out of what was sent.
fn contexts(
    engine: &Engine,
    runtime: &Handle,
    sent: &mut Context,
    options: &BuildOptions,
    cancel: &Cancel,
) -> Result<BTreeMap<String, Named>, BuildFault> {
    let mut found = BTreeMap::new();
    for (name, source) in &options.contexts {
        let named = match source {
            ContextSource::Image(image) => Named::Image(image.clone()),
            ContextSource::Sent(directory) => {
                let part = sent.split_off(directory).map_err(BuildFault::Context)?;
                Named::Files(part)
            }
            ContextSource::Remote(remote) => {
                Named::Files(context_from(engine, runtime, remote, options, cancel)?.0)
            }
        };
        found.insert(name.clone(), named);
    }
    Ok(found)
}

impl Build {
    /// What could be better in the file; variables of bases that are not here count as known.
    pub fn lint(&self) -> Lint {
        lint(&LintAsk {
            file: &self.file,
            args: &self.options.args,
            is_ignored: &|path| self.context.is_ignored(path),
            env_of: &|image| self.env_of(image),
        })
    }

    /// The Dockerfile as it was sent.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    fn env_of(&self, image: &str) -> Option<Vec<String>> {
        let image = match self.contexts.get(image) {
            Some(Named::Image(other)) => other,
            Some(Named::Files(_)) => return None,
            None => image,
        };
        let images = self.engine.shared.store.images();
        let found = images.find(image).ok()?;
        let platforms = self.options.platforms.first().cloned();
        let platform = platforms.unwrap_or_else(Platform::of_build);
        let selected = images.select(&found, &platform).ok()?;
        Some(selected.config.config.unwrap_or_default().env)
    }
}
