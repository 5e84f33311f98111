//! The OCI runtime contest: many small scenarios that run the same against any OCI runtime.
//!
//! `dhow-contest` runs each scenario in a process, a mount namespace and a pid namespace of its own
//! and prints the runtimes' results side by side; what passes with Debian's crun and runc is a fair
//! test of ours. `payload` is the program inside the containers. This library holds what the two
//! share: the report from inside, the harness, the scenarios.
//!
//! Deliberately absent: any knowledge of dhow's crates. A runtime is a path and a command line.
#![allow(
    clippy::disallowed_methods,
    reason = "these are the tests: they start runtimes and read their own environment"
)]

mod contest;
mod inside;
mod machine;
mod scenarios;

pub use contest::{
    AllowedSkips, Cell, Contest, KnownFaults, Order, Runtime, Verdict, heading, print_reasons, row,
    run_case,
};
pub use inside::{Attempt, Mount, Report, attempt, gather, parse_mountinfo};
pub use scenarios::{Scenario, find, matching};
