//! The registry from outside: over sockets, by the official conformance suite, and by whoever means no good.

mod access;
mod conformance;
mod crash;
mod hostile;
mod http;
mod keeping;
mod mirror;
mod pushes;
mod server;
mod transfer;
mod web;
