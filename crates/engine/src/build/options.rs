//! What a client says about a build beside the file.
//!
//! Invariant: nothing here is in a step's key unless the builder puts it there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use dhow_spec::{Platform, Reference};

use crate::Credentials;
use crate::containers::request::{ExtraHost, NetworkMode, Resources};

/// How a build is to be.
#[derive(Clone, Default)]
pub struct BuildOptions {
    /// Where in the context the file is.
    pub dockerfile: String,
    /// The file itself, where it did not come with the context.
    pub inline: Option<String>,
    /// What the image is to be called.
    pub tags: Vec<Reference>,
    /// Other contexts by name.
    pub contexts: BTreeMap<String, ContextSource>,
    /// Which stage; the last one where absent.
    pub target: Option<String>,
    /// What variables are.
    pub args: BTreeMap<String, String>,
    /// Notes for the image.
    pub labels: Vec<(String, String)>,
    /// For which platforms; this machine's where there is none.
    pub platforms: Vec<Platform>,
    /// Nothing that was done before counts.
    pub no_cache: bool,
    /// The same for these stages.
    pub no_cache_stages: BTreeSet<String>,
    /// Bases are asked for at their registries even if they are here.
    pub pull: bool,
    /// Nothing is built: the file is only looked at.
    pub only_lint: bool,
    /// The image is given away, and not kept here.
    pub discard: bool,
    /// What is given away beside the image.
    pub outputs: Vec<OutputKind>,
    /// Free notes on the documents.
    pub annotations: Vec<Annotation>,
    /// What a command that failed left is kept as an image.
    pub keep_failed: bool,
    /// Directories of what was sent that hold exported caches.
    pub cache_sent: Vec<String>,
    /// Images at registries that tell what was done for them.
    pub cache_from: Vec<Reference>,
    /// What was done here counts only where one of these images has it, as in Docker's classic builder.
    pub cache_strict: bool,
    /// The image tells what was done for it.
    pub cache_inline: bool,
    /// Everything that was done is told, not only what led to the image.
    pub cache_all: bool,
    /// A name at a registry that the cache is pushed to.
    pub cache_to: Vec<Reference>,
    /// A cache that cannot be read or pushed is no failure.
    pub cache_lenient: bool,
    /// The layers above the base become one.
    pub squash: bool,
    /// Commands may have all rights.
    pub insecure: bool,
    /// The network of commands.
    pub network: NetworkMode,
    /// Names that commands know.
    pub extra_hosts: Vec<ExtraHost>,
    /// Limits of commands.
    pub resources: Resources,
    /// Bytes of their `/dev/shm`; the engine's choice where zero.
    pub shm_size: i64,
    /// Secrets by id.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Where agents for ssh listen on this machine, by their ids.
    pub agents: BTreeMap<String, PathBuf>,
    /// Who the client is at registries, by their names.
    pub credentials: BTreeMap<String, Credentials>,
}

/// Where another context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextSource {
    /// It is an image.
    Image(String),
    /// At an address.
    Remote(String),
    /// In that directory of what was sent.
    Sent(String),
}

/// What a build gives away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// The files of the image, as a tar; one for each platform.
    Root,
    /// The image as an archive.
    Archive,
    /// What was done, for later builds elsewhere, as an archive.
    Cache,
}

/// A free note on a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// On which.
    pub at: AnnotationPlace,
    /// Its name.
    pub name: String,
    /// What it says.
    pub value: String,
}

/// Where a note stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnotationPlace {
    /// In each manifest.
    Manifest,
    /// In the index.
    Index,
    /// In what the index says of each manifest.
    ManifestDescriptor,
}
