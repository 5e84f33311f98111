//! A build before it begins: the context is taken to its end, or as much of it as is wanted, the Dockerfile found, read and judged.
//!
//! Invariant: what can be known to be wrong is told here, before anything is done.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use dhow_builder::dockerfile::Dockerfile;
use dhow_builder::{Context, ContextError, Lint, LintAsk, Named, Reads, lint};
use dhow_spec::Platform;
use rustix::fs::{Mode, OFlags};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::cancel::Cancel;
use super::contexts::ContextKey;
use super::fault::BuildFault;
use super::options::{BuildOptions, ContextSource};
use super::remote::context_from;
use super::{Build, CONTEXT_LIMITS};
use crate::engine::Engine;
use crate::error::Error;

/// What came of a context that was told of.
pub enum Begun {
    /// All of it is here.
    Build(Box<Build>),
    /// These are wanted too: their numbers in the listing, in order.
    Wanted(Vec<u32>),
}

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

    /// Takes a listing, and behind it an archive of what was wanted, if anything was; reads the Dockerfile in it.
    pub async fn begin_build_listed(
        &self,
        key: ContextKey,
        source: impl Read + Send + 'static,
        options: BuildOptions,
        cancel: Cancel,
    ) -> Result<Begun, BuildFault> {
        let (engine, runtime) = (self.clone(), Handle::current());
        let begun = spawn_blocking(move || {
            let source = BufReader::with_capacity(64 << 10, source);
            let (context, absent) = take_listed(&engine, &key, source, &options)?;
            if !absent.is_empty() {
                return Ok(Begun::Wanted(absent));
            }
            let build = ready(engine, &runtime, context, options, &cancel)?;
            Ok(Begun::Build(Box::new(build)))
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

/// The context as far as it is here, and what of it is not and may be read.
fn take_listed(
    engine: &Engine,
    key: &ContextKey,
    mut source: impl BufRead,
    options: &BuildOptions,
) -> Result<(Context, Vec<u32>), BuildFault> {
    let contexts = &engine.shared.contexts;
    let io = |error| BuildFault::Context(ContextError::Io(error));
    let (data, known) = contexts.take(key).map_err(BuildFault::Engine)?;
    let context = Context::listed(&mut source, data, &known, CONTEXT_LIMITS);
    let mut context = context.map_err(BuildFault::Context)?;
    let has_files = !source.fill_buf().map_err(io)?.is_empty();
    let filled = match has_files {
        true => context.fill(&mut source).map_err(BuildFault::Context),
        false => Ok(()),
    };
    // What came of files before something went wrong need not come again.
    let now = context.known();
    let kept = match (has_files || now.len() != known.len(), now.is_empty()) {
        (true, false) => contexts.keep(key, &now).and_then(|()| contexts.limit()),
        _ => {
            contexts.note_used(key);
            Ok(())
        }
    };
    kept.map_err(BuildFault::Engine)?;
    filled?;
    // Whoever sends more than an archive is heard out.
    io::copy(&mut source, &mut io::sink()).map_err(io)?;
    let absent = match context.absent(&own_files(&context, options)) {
        own if own.is_empty() => context.absent(&reads(engine, &context, options)),
        own => own,
    };
    Ok((context, absent))
}

/// The files that decide what is read.
fn own_files(context: &Context, options: &BuildOptions) -> Reads {
    let own_ignore = format!("{}.dockerignore", options.dockerfile);
    Reads::files(context, &[&options.dockerfile, &own_ignore, ".dockerignore"])
}

/// What the build may read.
fn reads(engine: &Engine, context: &Context, options: &BuildOptions) -> Reads {
    let nothing = || Reads::files(context, &[]);
    let bytes = context.file(&options.dockerfile).ok().flatten().unwrap_or_default();
    let Ok(file) = Dockerfile::parse(&bytes) else {
        // What is wrong with it is told where it is read for good.
        return nothing();
    };
    if options.only_lint {
        return nothing();
    }
    let target = options.target.as_deref();
    let mut reads = Reads::of(&file, target, context, &|base| may_trigger(engine, options, base));
    for source in options.contexts.values() {
        if let ContextSource::Sent(directory) = source {
            reads.add(directory);
        }
    }
    for directory in &options.cache_sent {
        reads.add(directory);
    }
    reads
}

/// Whether a base may bring instructions of its own: what is not here may.
fn may_trigger(engine: &Engine, options: &BuildOptions, base: &str) -> bool {
    let base = match options.contexts.get(base) {
        Some(ContextSource::Image(image)) => image,
        Some(ContextSource::Sent(_) | ContextSource::Remote(_)) => return false,
        None => base,
    };
    let images = engine.shared.store.images();
    let Ok(found) = images.find(base) else { return true };
    let own = [Platform::of_build()];
    let platforms = match options.platforms.as_slice() {
        [] => &own[..],
        platforms => platforms,
    };
    options.pull
        || platforms.iter().any(|platform| match images.select(&found, platform) {
            Ok(selected) => selected.config.config.is_some_and(|run| !run.on_build.is_empty()),
            Err(_) => true,
        })
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
        caches.push(Arc::new(context.split_off(directory)));
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
            ContextSource::Sent(directory) => Named::Files(sent.split_off(directory)),
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
