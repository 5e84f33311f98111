//! The harness: what a scenario is given, what is checked around it, and who runs it.
//!
//! One process per scenario and runtime, in a mount and a pid namespace of its own, with a tmpfs for
//! all its files, a state root, ids and cgroup names of its own, a time limit, and a leak check after.
//! Nothing outside is changed but cgroups under those names, which are removed again.

mod case;
mod cgroup;
mod config;
mod container;
mod host;
mod lists;
mod process;
mod runner;
mod runtime;
mod socket;
mod solo;
mod table;
mod verdict;

pub(crate) use case::Case;
pub(crate) use cgroup::{CgroupLayout, has_controller};
pub(crate) use config::Config;
pub(crate) use container::Container;
pub(crate) use host::{Holder, cgroups_named, live_processes, remove_cgroups};
pub(crate) use process::{Call, Done};
pub(crate) use socket::receive_fd;
pub(crate) use verdict::{Outcome, Stop, check, check_eq, check_errno, check_ok, fail, skip};

pub use lists::{AllowedSkips, KnownFaults};
pub use runner::Contest;
pub use runtime::Runtime;
pub use solo::{Order, run_case};
pub use table::{heading, print_reasons, row};
pub use verdict::{Cell, Verdict};
