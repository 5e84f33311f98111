//! The registry from outside: over sockets, by the official conformance suite, and by whoever means no good.

mod access;
mod conformance;
mod crash;
mod disk;
mod hooks;
mod hostile;
mod http;
mod http2;
mod keeping;
mod mirror;
mod pushes;
mod server;
mod transfer;
mod web;
