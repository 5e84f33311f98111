//! Fresh network namespaces.
//!
//! Each is made by a thread that lives for nothing else: it enters the new namespace and ends, so no
//! thread of the caller is ever anywhere but at home, whatever fails.
//! Absent on purpose: used namespaces; a fresh one is cheaper than being sure of an old one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use dhow_sys::Namespaces;
use rustix::fs::{Mode, OFlags};

use crate::error::NetworkError;
use crate::link::Links;

/// A namespace by what holds it, and a socket that speaks for the devices in it.
#[derive(Debug)]
pub(crate) struct Namespace {
    fd: OwnedFd,
    links: Links,
}

impl Namespace {
    /// Makes one, with its loopback device up.
    pub(crate) fn make() -> Result<Self, NetworkError> {
        thread::scope(|scope| {
            let maker = thread::Builder::new().name("netns".to_owned());
            let maker = maker.spawn_scoped(scope, || {
                dhow_sys::unshare(Namespaces::NETWORK)
                    .map_err(NetworkError::netlink("make a network namespace"))?;
                Self::here()
            });
            let maker =
                maker.map_err(NetworkError::io("start a thread for", "network namespaces"))?;
            maker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The calling thread's.
    fn here() -> Result<Self, NetworkError> {
        dhow_sys::loopback_up().map_err(NetworkError::netlink("bring up a loopback device"))?;
        let links = Links::open().map_err(NetworkError::netlink("open a netlink socket"))?;
        const PATH: &str = "/proc/thread-self/ns/net";
        let fd = rustix::fs::open(PATH, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(NetworkError::io("open", PATH))?;
        Ok(Self { fd, links })
    }

    /// The devices in it.
    pub(crate) fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
