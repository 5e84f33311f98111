//! An OCI registry over the content store.
//!
//! `http` is HTTP as registries speak it; `routes` has one file for each group of the protocol; `access`
//! decides who may do what; `uploads` are blobs on their way; `serve` is sockets and connections; `registry`
//! brings them together; `hooks` tell others what changed.
//!
//! Invariant: what was acknowledged is on record, and what is on record is whole; what a client does takes
//! bounded memory. A name, a tag or a digest is parsed before anything is done with it.
//! Absent on purpose: how content is kept (the store's), and containers.

mod access;
mod app;
mod audit;
mod config;
mod hooks;
mod http;
mod layout;
mod log;
mod metrics;
mod mirror;
mod page;
mod pattern;
mod registry;
mod routes;
mod secret;
mod serve;
mod tls;
mod uploads;

pub use config::{
    AccessConfig, Action, CollectConfig, Config, ConfigError, HookConfig, HookEvent, Limits,
    LogConfig, MirrorConfig, RepositoryConfig, RuleConfig, Size, Span, TlsConfig, TokenConfig,
};
pub use layout::Moved;
pub use log::Log;
pub use pattern::Pattern;
pub use registry::{Options, Place, Registry, RegistryError, Swept};
