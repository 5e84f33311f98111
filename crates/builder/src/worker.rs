//! What a build needs of whoever carries it out.
//!
//! # A worked example
//!
//! ```text
//! base(debian)  → configuration and layers
//! once(key of RUN) → not done before → run([layers], step) → one more layer → remembered
//! files([layers]) → what COPY --from reads
//! layer([layers], write) → what COPY makes: a tar, unpacked and kept as it is written
//! ```
//!
//! # Promises
//!
//! - All calls may be made from several threads at once. Each waits until it is done.
//! - What a call gave stays there until the build is over, whatever others remove.
//! - After a cancellation, every call ends soon, with [`WorkError::Cancelled`].
//! - A layer is whole and on disk before [`Worker::once`] remembers it.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::Write;

use dhow_spec::image::{Descriptor, ImageConfig, Timestamp};
use dhow_spec::{Digest, Platform};

use crate::dockerfile::{Network, Sharing};
use crate::error::Fault;
use crate::files::Files;
use crate::git::GitSource;
use crate::observer::OutputStream;

/// One layer of a file system in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of its tar.
    pub diff_id: Digest,
    /// Its blob.
    pub blob: Descriptor,
}

/// What a stage stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// What identifies the image, for messages.
    pub digest: Digest,
    /// Its configuration.
    pub config: ImageConfig,
    /// Its layers, lowest first, as many as the configuration says.
    pub layers: Vec<Layer>,
}

/// What is remembered of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was done.
    pub created: Timestamp,
    /// The layer that it made, if it made one.
    pub layer: Option<Layer>,
}

/// What came of asking for a step once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// What it came to.
    pub record: Record,
    /// It had been done before.
    pub cached: bool,
}

/// A command and everything that it may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStep {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Its variables.
    pub env: Vec<String>,
    /// As whom.
    pub user: String,
    /// Where.
    pub cwd: String,
    /// Which network.
    pub network: Network,
    /// With all rights.
    pub privileged: bool,
    /// For which platform.
    pub platform: Platform,
    /// Files of others.
    pub binds: Vec<Bind>,
    /// Directories that later builds find again.
    pub caches: Vec<CacheMount>,
    /// Memory.
    pub tmpfs: Vec<TmpfsMount>,
    /// Secrets.
    pub secrets: Vec<SecretMount>,
    /// Ways to agents.
    pub agents: Vec<AgentMount>,
    /// No time in the layer is later, in seconds since 1970.
    pub epoch: Option<i64>,
}

/// Files of another root, seen by a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Where.
    pub target: String,
    /// Whose: a whole root, or one layer upon nothing.
    pub layers: Vec<Layer>,
    /// Which of that one layer's files, without links; empty for all.
    pub path: Vec<u8>,
    /// Whether the command may write; what it writes is thrown away.
    pub writable: bool,
}

/// A directory that later builds find again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMount {
    /// Where.
    pub target: String,
    /// By which name.
    pub id: String,
    /// How it is shared.
    pub sharing: Sharing,
    /// Whether the command may write.
    pub writable: bool,
    /// What is in it at first.
    pub seed: Option<Bind>,
    /// Its mode, owner and group, when it is made.
    pub owner: (u32, u32, u32),
}

/// Memory, seen by a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TmpfsMount {
    /// Where.
    pub target: String,
    /// Most bytes of it.
    pub size: Option<u64>,
}

/// A secret, seen by a command.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretMount {
    /// Where.
    pub target: String,
    /// What it is.
    pub bytes: Vec<u8>,
    /// Its mode, owner and group.
    pub owner: (u32, u32, u32),
}

/// The way to an agent for ssh, seen by a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentMount {
    /// Where its socket is.
    pub target: String,
    /// Which agent.
    pub id: String,
    /// The socket's mode, owner and group.
    pub owner: (u32, u32, u32),
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran {
    /// It succeeded; with what it changed.
    Layer(Layer),
    /// It failed.
    Failed {
        /// Its exit code.
        code: i32,
        /// What it had changed by then, where whoever carries it out was told to keep that.
        layer: Option<Layer>,
    },
}

/// A file from elsewhere.
#[derive(Debug)]
pub struct Fetched {
    /// What its server calls it.
    pub name: Option<String>,
    /// When it was changed, in seconds since 1970.
    pub modified_s: Option<i64>,
    /// What it is, as its server says.
    pub media_type: Option<String>,
    /// Its bytes, in a file without a name.
    pub file: File,
}

/// A repository's files; they are there as long as this is.
pub struct Checkout {
    /// The commit, in full.
    pub commit: String,
    /// The files.
    pub files: Box<dyn Files>,
}

/// Something that the worker could not do.
#[derive(Debug)]
pub enum WorkError {
    /// Nobody wants it any more.
    Cancelled,
    /// What was named is not there.
    NotFound {
        /// In the worker's words.
        message: String,
    },
    /// What was asked for makes no sense.
    Invalid {
        /// In the worker's words.
        message: String,
    },
    /// The worker's own error.
    Failed(Box<dyn Error + Send + Sync>),
}

/// Whoever carries builds out; the module's text is the contract.
pub trait Worker: Send + Sync {
    /// The image of that name for a platform, its layers ready to stand on; `say` hears how that goes, if it takes
    /// a while.
    fn base(
        &self,
        reference: &str,
        platform: &Platform,
        say: &mut dyn FnMut(&str),
    ) -> Result<Base, WorkError>;

    /// What a file system of these layers shows.
    fn files(&self, layers: &[Layer]) -> Result<Box<dyn Files>, WorkError>;

    /// Makes a layer on `below` of the tar that `write` writes.
    fn layer(
        &self,
        below: &[Layer],
        write: &mut dyn FnMut(&mut dyn Write) -> Result<(), Fault>,
    ) -> Result<Layer, Fault>;

    /// Puts a layer that was made elsewhere onto `below`.
    fn stack(&self, below: &[Layer], layer: &Layer) -> Result<(), WorkError>;

    /// Runs a command on `below`; `output` hears what it says.
    fn run(
        &self,
        below: &[Layer],
        step: &RunStep,
        output: &mut dyn FnMut(OutputStream, &[u8]),
    ) -> Result<Ran, WorkError>;

    /// Gives what a key's step came to on `below`: what is remembered, unless it is to be `fresh`, or what
    /// `make` makes. Whoever asks for the same key meanwhile waits, and gets the same. `about` says what
    /// the step is, for people.
    fn once(
        &self,
        key: &Digest,
        below: &[Layer],
        about: &str,
        fresh: bool,
        make: &mut dyn FnMut() -> Result<Record, Fault>,
    ) -> Result<Once, Fault>;

    /// The numbers that a user and group of a root have.
    fn owner(&self, layers: &[Layer], text: &str) -> Result<(u32, u32), WorkError>;

    /// What an address has, all of it.
    fn fetch(&self, url: &str) -> Result<Fetched, WorkError>;

    /// What a repository has; `.git` stays away unless it is to be kept.
    fn git(&self, source: &GitSource, keep_git_dir: bool) -> Result<Checkout, WorkError>;

    /// What time it is.
    fn now(&self) -> Timestamp;

    /// Ends what is under way: the build has failed elsewhere.
    fn stop(&self);

    /// Whether nobody wants the build any more.
    fn is_cancelled(&self) -> bool;
}

impl fmt::Debug for Checkout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkout").field("commit", &self.commit).finish_non_exhaustive()
    }
}

impl fmt::Debug for SecretMount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretMount").field("target", &self.target).finish_non_exhaustive()
    }
}

impl fmt::Display for WorkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("the build was cancelled"),
            Self::NotFound { message } | Self::Invalid { message } => f.write_str(message),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl Error for WorkError {}
