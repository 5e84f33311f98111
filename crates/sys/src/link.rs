//! Network devices and their addresses, by rtnetlink.
//!
//! A [`Links`] speaks for the network namespace in which it was opened. Devices are named by index, which
//! stays theirs through a renaming, but may change with a move to another namespace.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::netlink::{NetlinkError, NetlinkRequest, NetlinkSocket, attributes, u32_at};

/// `struct ifinfomsg`: family, type, index, flags and the flags that are meant.
const LINK_HEADER_BYTES: usize = 16;
/// `struct ifaddrmsg`: family, length of the prefix, flags, scope, index.
const ADDRESS_HEADER_BYTES: usize = 8;

const IFLA_IFNAME: u16 = libc::IFLA_IFNAME;
const IFLA_NET_NS_FD: u16 = libc::IFLA_NET_NS_FD;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;

const IFA_F_NODAD: u32 = 0x02;
const IFA_F_HOMEADDRESS: u32 = 0x10;
const IFA_F_PERMANENT: u32 = 0x80;
const IFA_F_MANAGETEMPADDR: u32 = 0x100;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
const IFA_F_MCAUTOJOIN: u32 = 0x400;
/// What was asked for when the address was added; the other flags tell what became of it.
const IFA_F_ASKED: u32 =
    IFA_F_NODAD | IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN;

/// A device as the kernel tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: CString,
    /// Whether it is up.
    pub is_up: bool,
}

/// An address of a device, as it may be added to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkAddress {
    family: u8,
    prefix_bits: u8,
    flags: u32,
    scope: u8,
    /// The attributes that make it up, with their kinds.
    parts: Vec<(u16, Vec<u8>)>,
}

impl LinkAddress {
    /// Whether somebody set it to stay: it has no lifetime.
    pub fn is_permanent(&self) -> bool {
        self.flags & IFA_F_PERMANENT != 0
    }

    /// Whether it is meant for the whole network, not for this link or host alone.
    pub fn is_global(&self) -> bool {
        self.scope == libc::RT_SCOPE_UNIVERSE
    }
}

/// The network devices of one namespace.
#[derive(Debug)]
pub struct Links {
    socket: NetlinkSocket,
}

impl Links {
    /// Those of the caller's network namespace.
    pub fn open() -> Result<Self, Errno> {
        // NETLINK_ROUTE is 0, which is what no protocol means as well.
        Ok(Self { socket: NetlinkSocket::open(None)? })
    }

    /// The device of this name; `ENODEV` if there is none.
    pub fn find(&mut self, name: &CStr) -> Result<Link, NetlinkError> {
        let request = || link_request(libc::RTM_GETLINK, 0, 0, 0, 0).named(name);
        self.socket.ask(request, link)?.pop().ok_or(Errno::NODEV.into())
    }

    /// All devices.
    pub fn list(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let request = || link_request(libc::RTM_GETLINK, libc::NLM_F_DUMP, 0, 0, 0);
        self.socket.ask(request, link)
    }

    /// Moves a device to another network namespace under a name, in which `%d` stands for a number that
    /// is free there. The kernel takes it down and drops its addresses.
    pub fn move_to(
        &mut self,
        index: u32,
        namespace: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<(), NetlinkError> {
        let namespace = namespace.as_raw_fd().to_ne_bytes();
        let request = || {
            link_request(libc::RTM_NEWLINK, 0, index, 0, 0)
                .named(name)
                .attribute(IFLA_NET_NS_FD, &namespace)
        };
        self.socket.ask(request, |_| None::<()>).map(drop)
    }

    /// Brings a device up.
    pub fn set_up(&mut self, index: u32) -> Result<(), NetlinkError> {
        let up = libc::IFF_UP as u32;
        let request = || link_request(libc::RTM_NEWLINK, 0, index, up, up);
        self.socket.ask(request, |_| None::<()>).map(drop)
    }

    /// The addresses of a device, in the order in which they were added.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<LinkAddress>, NetlinkError> {
        let header = address_header(0, 0, 0, index);
        let request = || NetlinkRequest::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &header);
        // An older kernel tells those of every device.
        self.socket
            .ask(request, |body| address(body).filter(|(of, _)| *of == index).map(|all| all.1))
    }

    /// Gives a device an address that another one had.
    pub fn add_address(&mut self, index: u32, address: &LinkAddress) -> Result<(), NetlinkError> {
        let header = address_header(address.family, address.prefix_bits, address.scope, index);
        let flags = (address.flags & IFA_F_ASKED).to_ne_bytes();
        let request = || {
            let flagged = NetlinkRequest::new(
                libc::RTM_NEWADDR,
                libc::NLM_F_CREATE | libc::NLM_F_EXCL,
                &header,
            )
            .attribute(IFA_FLAGS, &flags);
            address
                .parts
                .iter()
                .fold(flagged, |request, (kind, value)| request.attribute(*kind, value))
        };
        self.socket.ask(request, |_| None::<()>).map(drop)
    }
}

impl NetlinkRequest {
    fn named(self, name: &CStr) -> Self {
        self.attribute(IFLA_IFNAME, name.to_bytes_with_nul())
    }
}

fn link_request(kind: u16, how: libc::c_int, index: u32, flags: u32, meant: u32) -> NetlinkRequest {
    let mut header = [0; LINK_HEADER_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&meant.to_ne_bytes());
    NetlinkRequest::new(kind, how, &header)
}

fn address_header(family: u8, prefix: u8, scope: u8, index: u32) -> [u8; ADDRESS_HEADER_BYTES] {
    let mut header = [family, prefix, 0, scope, 0, 0, 0, 0];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    header
}

fn link(body: &[u8]) -> Option<Link> {
    let (_, name) =
        attributes(body.get(LINK_HEADER_BYTES..)?).find(|(kind, _)| *kind == IFLA_IFNAME)?;
    Some(Link {
        index: u32_at(body, 4)?,
        name: CStr::from_bytes_until_nul(name).ok()?.to_owned(),
        is_up: u32_at(body, 8)? & libc::IFF_UP as u32 != 0,
    })
}

/// An address and the index of its device.
fn address(body: &[u8]) -> Option<(u32, LinkAddress)> {
    let header = body.get(..ADDRESS_HEADER_BYTES)?;
    let mut address = LinkAddress {
        family: header[0],
        prefix_bits: header[1],
        flags: u32::from(header[2]),
        scope: header[3],
        parts: Vec::new(),
    };
    for (kind, value) in attributes(body.get(ADDRESS_HEADER_BYTES..)?) {
        match kind {
            // Wider than the header's.
            IFA_FLAGS => address.flags = u32_at(value, 0)?,
            // The label is left behind: it must begin with the device's name, which may change.
            IFA_ADDRESS | IFA_LOCAL | IFA_BROADCAST | IFA_RT_PRIORITY => {
                address.parts.push((kind, value.to_vec()));
            }
            _ => {}
        }
    }
    Some((u32_at(header, 4)?, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_always_there() {
        let mut links = Links::open().unwrap();
        let lo = links.find(c"lo").unwrap();
        assert_eq!(lo.index, 1);
        assert!(links.list().unwrap().contains(&lo));
        if lo.is_up {
            let addresses = links.addresses(lo.index).unwrap();
            assert!(addresses.iter().any(|one| one.is_permanent() && !one.is_global()));
        }
    }

    #[test]
    fn a_missing_device_is_no_device() {
        let mut links = Links::open().unwrap();
        assert_eq!(links.find(c"no-such-device").unwrap_err().errno, Errno::NODEV);
        assert_eq!(links.addresses(u32::MAX / 2).unwrap_or_default(), []);
        // The socket goes on after an error.
        assert_eq!(links.find(c"lo").unwrap().name.as_c_str(), c"lo");
    }
}
