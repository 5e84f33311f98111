//! The process beside each container, and what an engine needs to talk to it.
//!
//! A monitor is the parent of its container's first process. It holds the streams, writes the local log, sees
//! the exit status, serves attach and exec sessions, probes health and restarts by itself: an engine may come
//! and go. What happens is in the [`journal`] before anybody is told.
//! One thread, one poll loop, no async runtime. Nothing here knows HTTP, images or the engine's database.

mod clock;
mod connection;
pub mod journal;
pub mod log;
mod process;
mod protocol;
mod reaper;
mod spawn;

pub use connection::{Connection, ConnectionError, listen};
pub use dhow_spec::runtime::{ConsoleSize, Process};
pub use dhow_sys::{Child, Exit};
pub use process::{RootError, main, mount_root};
pub use protocol::*;
pub use reaper::init_main;
pub use spawn::{StartError, Started, start};
