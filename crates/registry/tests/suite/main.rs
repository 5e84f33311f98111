//! The registry from outside: over sockets, by the official conformance suite, and by whoever means no good.

mod access;
mod conformance;
mod hostile;
mod http;
mod keeping;
mod pushes;
mod server;
mod transfer;
