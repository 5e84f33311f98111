//! The client against registries that behave, and against registries that do not.
//!
//! Every server is in this process, on loopback, on a port that the kernel picks; names lead where
//! [`support::Names`] says. `debian` alone starts a program: the registry that Debian packages.

mod auth;
mod debian;
mod lists;
mod memory;
mod mirrors;
mod program;
mod proxies;
mod pull;
mod push;
mod server;
mod support;
mod tls;
