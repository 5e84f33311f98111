//! The host's ports that sandboxes have.
//!
//! Invariant: a port is one sandbox's, in our own books, before anything of it is made; and while this
//! process lives and has descriptors to spare, a bound socket keeps every other program from it. That
//! socket is never reached: the rules send connections past it. What an earlier engine published stays
//! published, whether or not its port can be bound again.
//! Absent on purpose: copying bytes. Where rules cannot redirect ([::1], and IPv6 for a container that has
//! none), a container's monitor listens at a port that is taken here.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use rustix::process::{Resource, getrlimit};

use crate::error::{NetworkError, PortFault};
use crate::firewall::Published;
use crate::sandbox::{PortMapping, Protocol};

/// Where free ports are looked for that the kernel cannot choose: those that no service is assigned.
const FREE_FIRST: u16 = 49152;
/// How often the kernel is asked for a port until it names one that is in no book of ours.
const CHOICES_MAX: usize = 64;

/// The books of one engine.
#[derive(Debug)]
pub(crate) struct Ports {
    books: Mutex<Books>,
    /// How many sockets may be held: the rest of the engine needs descriptors, too.
    held_max: usize,
}

#[derive(Debug, Default)]
struct Books {
    /// At which addresses a port is taken; almost always at one.
    taken: HashMap<(Protocol, u16), Vec<IpAddr>>,
    held: usize,
    next_free: u16,
}

/// A port that is somebody's until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    ports: &'a Ports,
    published: Published,
    /// Nothing, where there is no such protocol, no descriptor to spare, or somebody was quicker.
    socket: Option<OwnedFd>,
    kept: bool,
}

/// The socket of a port that outlives its [`Taken`]; given back with [`Ports::give_back`].
pub(crate) type Held = Option<OwnedFd>;

impl Ports {
    /// Empty books.
    pub(crate) fn new() -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let held_max = usize::try_from(limit / 2).unwrap_or(usize::MAX);
        let books = Books { next_free: FREE_FIRST, ..Books::default() };
        Self { books: Mutex::new(books), held_max }
    }

    /// Takes what a mapping asks for, at each of these addresses the same; `target` is where it will lead,
    /// for the words of an error.
    pub(crate) fn take(
        &self,
        mapping: &PortMapping,
        addresses: &[IpAddr],
        target: IpAddr,
    ) -> Result<Vec<Taken<'_>>, PortFault> {
        let Some((first, last)) = mapping.host_port else {
            return self.take_any(mapping, addresses, target);
        };
        let mut fault = PortFault::NoneFree;
        for port in first..=last {
            match self.take_all(addresses, mapping.protocol, port) {
                Ok(taken) => return Ok(taken),
                Err((published, found)) => fault = found.fault(published, mapping, target),
            }
        }
        Err(if first == last { fault } else { PortFault::NoneFree })
    }

    /// One port at several addresses, or at none of them. Where the host has no IPv6, it needs none.
    fn take_all(
        &self,
        addresses: &[IpAddr],
        protocol: Protocol,
        port: u16,
    ) -> Result<Vec<Taken<'_>>, (Published, Found)> {
        let mut all = Vec::new();
        for address in addresses {
            let published = Published { address: *address, protocol, port };
            match self.take_this(published) {
                Ok(taken) => all.push(taken),
                Err(Found::Refused(error)) if is_without_ipv6(*address, &error) => {}
                Err(found) => return Err((published, found)),
            }
        }
        Ok(all)
    }

    /// Writes a port down that an earlier engine published, and binds it again if it can be.
    pub(crate) fn take_again(&self, published: Published) -> Held {
        self.books().reserve(published);
        let held = bind(published).ok().flatten();
        self.books().hold(held, self.held_max)
    }

    /// Makes a port free again.
    pub(crate) fn give_back(&self, published: Published, held: Held) {
        let mut books = self.books();
        books.held -= usize::from(held.is_some());
        books.release(published);
    }

    fn take_this(&self, published: Published) -> Result<Taken<'_>, Found> {
        if !self.books().reserve(published) {
            return Err(Found::InOurBooks);
        }
        match bind(published) {
            Ok(socket) => Ok(self.taken(published, socket)),
            Err(error) => {
                self.books().release(published);
                Err(Found::Refused(error))
            }
        }
    }

    /// The kernel knows best which port is free, where it knows the protocol.
    fn take_any(
        &self,
        mapping: &PortMapping,
        addresses: &[IpAddr],
        target: IpAddr,
    ) -> Result<Vec<Taken<'_>>, PortFault> {
        let Some((address, others)) = addresses.split_first() else { return Ok(Vec::new()) };
        let protocol = mapping.protocol;
        for _ in 0..CHOICES_MAX {
            let any = Published { address: *address, protocol, port: 0 };
            let socket = match bind(any) {
                Ok(Some(socket)) => socket,
                Ok(None) => break,
                Err(source) => return Err(Found::Refused(source).fault(any, mapping, target)),
            };
            let Some(port) = bound_port(&socket) else { break };
            let published = Published { port, ..any };
            if !self.books().reserve(published) {
                continue;
            }
            let first = self.taken(published, Some(socket));
            if let Ok(more) = self.take_all(others, protocol, port) {
                let mut all = vec![first];
                all.extend(more);
                return Ok(all);
            }
        }
        for _ in FREE_FIRST..=u16::MAX {
            let port = self.books().next_free();
            if let Ok(taken) = self.take_all(addresses, protocol, port) {
                return Ok(taken);
            }
        }
        Err(PortFault::NoneFree)
    }

    fn taken(&self, published: Published, socket: Option<OwnedFd>) -> Taken<'_> {
        let socket = self.books().hold(socket, self.held_max);
        Taken { ports: self, published, socket, kept: false }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken<'_> {
    /// Which it is.
    pub(crate) fn published(&self) -> Published {
        self.published
    }

    /// Lets it be taken until it is given back.
    pub(crate) fn keep(mut self) -> Held {
        self.kept = true;
        self.socket.take()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.ports.give_back(self.published, self.socket.take());
        }
    }
}

impl Books {
    /// Whether the port was free, and is taken now. All addresses and any one are in each other's way.
    fn reserve(&mut self, Published { address, protocol, port }: Published) -> bool {
        let addresses = self.taken.entry((protocol, port)).or_default();
        let is_taken = match address.is_unspecified() {
            true => addresses.iter().any(|one| one.is_ipv6() == address.is_ipv6()),
            false => addresses.iter().any(|one| {
                one.is_unspecified() && one.is_ipv6() == address.is_ipv6() || *one == address
            }),
        };
        if !is_taken {
            addresses.push(address);
        }
        !is_taken
    }

    fn release(&mut self, Published { address, protocol, port }: Published) {
        if let Some(addresses) = self.taken.get_mut(&(protocol, port)) {
            addresses.retain(|one| *one != address);
            if addresses.is_empty() {
                self.taken.remove(&(protocol, port));
            }
        }
    }

    /// Keeps a socket, if it is not one too many.
    fn hold(&mut self, socket: Held, max: usize) -> Held {
        let socket = socket.filter(|_| self.held < max);
        self.held += usize::from(socket.is_some());
        socket
    }

    fn next_free(&mut self) -> u16 {
        let port = self.next_free;
        self.next_free = port.checked_add(1).unwrap_or(FREE_FIRST);
        port
    }
}

/// Why a port is not to be had.
enum Found {
    InOurBooks,
    Refused(io::Error),
}

impl Found {
    fn fault(self, at: Published, mapping: &PortMapping, target: IpAddr) -> PortFault {
        let (address, port) = (at.address, at.port);
        match self {
            Self::InOurBooks => PortFault::Allocated { address, port },
            Self::Refused(source) => PortFault::Bind {
                address,
                port,
                target,
                target_port: mapping.container_port,
                protocol: mapping.protocol,
                source,
            },
        }
    }
}

/// Where a mapping's ports are to be: at the address that it names, or at all of the host's.
pub(crate) fn addresses_of(mapping: &PortMapping, binding: Option<Ipv4Addr>) -> Vec<IpAddr> {
    let all = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    match (mapping.host_ip, binding) {
        (Some(address), _) => vec![address],
        (None, Some(binding)) => vec![binding.into()],
        (None, None) => all.into(),
    }
}

fn is_without_ipv6(address: IpAddr, error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    address == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        && matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

/// Mappings that cannot be.
pub(crate) fn check(mappings: &[PortMapping]) -> Result<(), NetworkError> {
    for mapping in mappings {
        if let Some((first, last)) = mapping.host_port.filter(|(a, b)| a > b || *a == 0) {
            return Err(NetworkError::InvalidPorts { first, last });
        }
        if mapping.container_port == 0 {
            return Err(NetworkError::InvalidPorts { first: 0, last: 0 });
        }
    }
    Ok(())
}

/// A socket that has the port; nothing, if the kernel has no such protocol or no descriptor is left.
fn bind(published: Published) -> io::Result<Held> {
    let (kind, protocol) = match published.protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let is_ipv6 = published.address.is_ipv6();
    let family = if is_ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol));
    let socket = match socket {
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT | Errno::NFILE | Errno::MFILE) => {
            return Ok(None);
        }
        socket => socket?,
    };
    let address = SocketAddr::new(published.address, published.port);
    if is_ipv6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
        return bind_beside(socket, address, published.protocol);
    }
    match rustix::net::bind(&socket, &address) {
        // Connections of an earlier owner that are over, but not forgotten, are nobody's. A socket that
        // overlooks them is in the way of others that do so only if it listens.
        Err(Errno::ADDRINUSE) if published.protocol != Protocol::Udp => {
            sockopt::set_socket_reuseaddr(&socket, true)?;
            rustix::net::bind(&socket, &address)?;
            rustix::net::listen(&socket, 0)?;
        }
        bound => bound?,
    }
    Ok(Some(socket))
}

/// A port of IPv6, at which the container's monitor may listen, too: kept so that it can, if that can be.
fn bind_beside(socket: OwnedFd, address: SocketAddr, protocol: Protocol) -> io::Result<Held> {
    let shares = protocol == Protocol::Tcp;
    sockopt::set_socket_reuseaddr(&socket, shares)?;
    rustix::net::bind(&socket, &address)?;
    Ok((shares || address.port() == 0).then_some(socket))
}

fn bound_port(socket: &OwnedFd) -> Option<u16> {
    let address = rustix::net::getsockname(socket).ok()?;
    SocketAddr::try_from(address).ok().map(|address| address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: [u8; 4], port: u16) -> Published {
        Published { address: IpAddr::from(address), protocol: Protocol::Tcp, port }
    }

    #[test]
    fn all_addresses_and_any_one_are_in_each_other_s_way() {
        let mut books = Books::default();
        assert!(books.reserve(at([127, 0, 0, 1], 80)));
        assert!(books.reserve(at([10, 0, 0, 1], 80)));
        assert!(!books.reserve(at([10, 0, 0, 1], 80)));
        assert!(!books.reserve(at([0; 4], 80)));
        assert!(books.reserve(Published { protocol: Protocol::Udp, ..at([0; 4], 80) }));
        books.release(at([127, 0, 0, 1], 80));
        books.release(at([10, 0, 0, 1], 80));
        assert!(books.reserve(at([0; 4], 80)));
        assert!(!books.reserve(at([127, 0, 0, 1], 80)));
    }

    #[test]
    fn mappings_that_cannot_be_are_refused() {
        let good = PortMapping {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: None,
            host_port: Some((8000, 8001)),
        };
        assert!(check(&[good]).is_ok());
        let ranges = [Some((2, 1)), Some((0, 1))];
        for host_port in ranges {
            assert!(check(&[PortMapping { host_port, ..good }]).is_err());
        }
        assert!(check(&[PortMapping { container_port: 0, ..good }]).is_err());
        assert!(check(&[PortMapping { host_ip: Some("::1".parse().unwrap()), ..good }]).is_ok());
    }
}
