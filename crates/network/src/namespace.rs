//! Fresh network namespaces.
//!
//! Each is made, and entered, by a thread that lives for nothing else: it ends there, so no thread of the
//! caller is ever anywhere but at home, whatever fails.
//! Absent on purpose: used namespaces; a fresh one is cheaper than being sure of an old one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use dhow_sys::Namespaces;
use rustix::fs::{Mode, OFlags};

use crate::error::NetworkError;
use crate::link::Links;
use crate::resolver;

/// A namespace by what holds it, and a socket that speaks for the devices in it.
#[derive(Debug)]
pub(crate) struct Namespace {
    fd: OwnedFd,
    links: Links,
}

impl Namespace {
    /// Makes one, with its loopback device up; whether its processes may ask for names there.
    pub(crate) fn make(resolves: bool) -> Result<Self, NetworkError> {
        apart(|| {
            dhow_sys::unshare(Namespaces::NETWORK)
                .map_err(NetworkError::netlink("make a network namespace"))?;
            dhow_sys::loopback_up().map_err(NetworkError::netlink("bring up a loopback device"))?;
            if resolves {
                resolver::redirect()?;
            }
            Self::here()
        })
    }

    /// The one that a descriptor stands for.
    pub(crate) fn enter(namespace: BorrowedFd<'_>) -> Result<Self, NetworkError> {
        Self::inside(namespace, Self::here)
    }

    /// Does something in a namespace.
    pub(crate) fn inside<T: Send>(
        namespace: BorrowedFd<'_>,
        work: impl FnOnce() -> Result<T, NetworkError> + Send,
    ) -> Result<T, NetworkError> {
        apart(|| {
            dhow_sys::set_namespace(namespace, Namespaces::NETWORK)
                .map_err(NetworkError::netlink("enter a network namespace"))?;
            work()
        })
    }

    /// The calling thread's.
    fn here() -> Result<Self, NetworkError> {
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

/// Does something on a thread that lives for nothing else.
fn apart<T: Send>(
    work: impl FnOnce() -> Result<T, NetworkError> + Send,
) -> Result<T, NetworkError> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, work);
        let worker =
            worker.map_err(NetworkError::io("start a thread for", "network namespaces"))?;
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
