//! What a client says about a build beside the file.
//!
//! Invariant: nothing here is in a step's key unless the builder puts it there.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Other contexts by name: images.
    pub contexts: BTreeMap<String, String>,
    /// Which stage; the last one where absent.
    pub target: Option<String>,
    /// What variables are.
    pub args: BTreeMap<String, String>,
    /// Notes for the image.
    pub labels: Vec<(String, String)>,
    /// For which platform; this machine's where absent.
    pub platform: Option<Platform>,
    /// Nothing that was done before counts.
    pub no_cache: bool,
    /// The same for these stages.
    pub no_cache_stages: BTreeSet<String>,
    /// Bases are asked for at their registries even if they are here.
    pub pull: bool,
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
    /// Who the client is at registries, by their names.
    pub credentials: BTreeMap<String, Credentials>,
}
