//! The Docker Engine API over the engine.
//!
//! `http` is HTTP as Docker's clients speak it; `routes` has one file for each group of the API, which turns
//! messages into the engine's words and back; `convert` is
//! between Docker's words and the engine's; `compat` is what older versions of the API have otherwise; `listen` and `serve` are sockets and connections.
//!
//! Invariant: it decides nothing and keeps nothing: what a request does is the engine's. What is not built is
//! refused by name, never ignored.
//! Absent on purpose: state, and what TLS certificates are read from.

mod app;
mod compat;
mod convert;
mod http;
mod listen;
mod routes;
mod serve;

pub use http::api_version::InvalidVersion;
pub use listen::{Address, ListenError, Listener, TlsIdentity};
pub use serve::{Activity, Server, ServerOptions};
