//! Descriptors that the async runtime watches.
//!
//! Invariant: what is watched owns its descriptor and keeps it open as long as it is watched.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::unix::AsyncFd;

/// Has the runtime that this is called in watch a descriptor.
#[expect(
    deprecated,
    reason = "its successor is unsafe; `AsFd` and ownership are what it wants to be told"
)]
pub(crate) fn watch<T: AsFd + AsRawFd + 'static>(descriptor: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::new(descriptor)
}
