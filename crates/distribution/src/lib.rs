//! The registry protocol (distribution-spec 1.1), client side.
//!
//! Invariant: bytes come from and go to a source or sink that the caller gives; nothing that a
//! registry says is believed before its digest is right.
//! Absent on purpose: our disk layout, snapshots, configuration files and credential helpers.
//!
//! A pull, with memory in place of a store:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use dhow_distribution::{Client, Config, Error, SystemResolver};
//! # use dhow_spec::{Platform, PlatformMatcher, Reference};
//! # async fn pull(authorities: Vec<u8>) -> Result<(), Error> {
//! let config = Config::new("dhow/0.1", authorities);
//! let client = Client::new(config, Arc::new(SystemResolver)).expect("a plain configuration");
//! let reference = Reference::parse("alpine").expect("a good name");
//! let platform = Platform::of_build();
//! let matcher = PlatformMatcher::compatible(&platform);
//! let image = client.image(&reference, &matcher, &platform, &()).await?;
//! for layer in &image.manifest.layers {
//!     let mut bytes = Vec::new();
//!     client.fetch(reference.repository(), layer, &mut bytes, &()).await?;
//! }
//! # Ok(())
//! # }
//! ```

mod auth;
mod blob;
mod challenge;
mod client;
mod config;
mod credentials;
mod delete;
mod error;
mod exchange;
mod http;
mod list;
mod login;
mod manifest;
mod net;
mod observer;
mod page;
mod publish;
mod referrers;
mod retry;
mod round;
mod said;
mod search;
mod site;
mod upload;
mod url;
mod verifier;

pub use blob::Sink;
pub use challenge::Challenge;
pub use client::Client;
pub use config::{Config, ConfigError, Identity, Insecure, Limits, Mirror, RegistryConfig};
pub use credentials::{Credentials, Keyring};
pub use error::{Action, Class, Error, Fault, ProtocolFault, Subject};
pub use login::Login;
pub use manifest::{Fetched, FetchedImage};
pub use net::{Addresses, ConnectFault, Proxies, Resolver, SystemResolver, TlsFault, tls_config};
pub use observer::{Event, Observer};
pub use page::{Page, PageError, PageFault};
pub use said::{ApiError, RateLimit, Said};
pub use search::Found;
pub use upload::{InMemory, Pushed, Source};
pub use verifier::{Mismatch, Verifier};
