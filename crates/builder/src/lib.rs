//! From a Dockerfile to an image: the language, the stages, the cache keys.
//!
//! The way: [`dockerfile`] reads the file; [`build`] walks the stages that the target needs, each in a thread of
//! its own, and asks a [`Worker`] for bases, layers and commands; [`Context`] holds the files that were sent.
//! Invariant: nothing here touches a process, a registry or the store; whoever builds brings them as a [`Worker`].
//! A step's key holds what its result depends on and nothing else.
//! Absent on purpose: the store's layout, the API, async code.

mod build;
mod context;
mod copy;
pub mod dockerfile;
mod error;
mod files;
mod git;
mod lint;
mod observer;
mod reads;
mod worker;

pub use build::{Ask, Built, Named, build};
pub use context::{Context, ContextError, ContextLimits, Data, Known};
pub use error::{BuildError, Fault};
pub use files::{FileInfo, FileKind, Files, FilesError};
pub use git::{GitSource, GitSourceError};
pub use lint::{Lint, LintAsk, LintWarning, Rule, lint};
pub use observer::{Event, Observer, OutputStream};
pub use reads::Reads;
pub use worker::{
    AgentMount, Base, Bind, CacheMount, Checkout, Fetched, Layer, Once, Ran, Record, RunStep,
    SecretMount, TmpfsMount, WorkError, Worker,
};
