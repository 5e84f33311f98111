//! The program as a new user meets it: an engine of its own process, the command line, the socket, containers that
//! outlive both.
//!
//! Absent on purpose: what the crates' own tests know already; here only the whole way is walked.
#![allow(clippy::disallowed_methods, reason = "tests start the program that they judge")]

mod api;
mod builds;
mod crowd;
mod deliver;
mod elsewhere;
mod files;
mod life;
mod logs;
mod names;
mod networks;
mod registries;
#[path = "../../../distribution/tests/registry/program.rs"]
mod registry;
mod shown;
mod together;
mod whole;
