//! Devices, addresses and routes, by rtnetlink: what networks are made of.
//!
//! A [`Links`] speaks for the namespace in which its socket was opened. Several requests travel in one
//! message where they belong together; the kernel carries them out in order, and stops at none.
//! Nothing here takes a device away on the way of a request: that costs tens of milliseconds, which
//! dropping the last reference of its namespace does not.
//! Absent on purpose: addresses of IPv6 that devices give themselves: ours have what their network gives
//! them, and say nothing otherwise.

mod addressing;
mod shape;

use std::os::fd::{AsRawFd, BorrowedFd};

use dhow_sys::{Errno, NetlinkError, NetlinkRequest, NetlinkSocket, netlink_attributes};

use crate::address::Mac;
use crate::config::Kind;
use crate::options::{Ipvlan, Macvlan};

pub(crate) use addressing::{Addressing, Gateway};

const NLM_F_EXCL: i32 = 0x200;
const NLM_F_CREATE: i32 = 0x400;
const NLM_F_DUMP: i32 = 0x300;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IF_OPER_UP: u8 = 6;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_VLAN_ID: u16 = 1;
const BR_STATE_FORWARDING: u8 = 3;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;

const AF_INET6: u16 = 10;
const IFF_UP: u32 = 1;

const LINK_HEADER_BYTES: usize = 16;

/// The devices of one namespace.
#[derive(Debug)]
pub(crate) struct Links {
    socket: NetlinkSocket,
}

/// A device as found by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// What its maker wrote on it.
    pub(crate) alias: String,
    /// What it is: `bridge`, `veth`; nothing for hardware.
    pub(crate) kind: String,
    /// The largest packet.
    pub(crate) mtu: u32,
}

/// What a new pair of devices is to be.
#[derive(Debug)]
pub(crate) struct NewVeth<'a> {
    /// The end that stays.
    pub(crate) name: &'a str,
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    /// It exchanges nothing with others of its kind.
    pub(crate) isolated: bool,
    /// Where the other end goes.
    pub(crate) namespace: BorrowedFd<'a>,
    /// What it is called there.
    pub(crate) inside: &'a str,
}

/// What a device beside one of the host's is to be.
#[derive(Debug)]
pub(crate) struct NewBeside<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) parent: u32,
    pub(crate) mtu: u32,
    pub(crate) namespace: BorrowedFd<'a>,
    pub(crate) inside: &'a str,
}

impl Links {
    /// Those of the calling thread's namespace.
    pub(crate) fn open() -> Result<Self, Errno> {
        Ok(Self { socket: NetlinkSocket::open(None)? })
    }

    /// The device of this name, if there is one.
    pub(crate) fn find(&mut self, name: &str) -> Result<Option<Found>, NetlinkError> {
        let request = || NetlinkRequest::new(RTM_GETLINK, 0, &link(0, Up::AsIs)).named(name);
        match self.socket.ask(request, found) {
            Err(error) if error.errno == Errno::NODEV => Ok(None),
            answer => Ok(answer?.pop()),
        }
    }

    /// All devices.
    pub(crate) fn all(&mut self) -> Result<Vec<Found>, NetlinkError> {
        self.socket.ask(|| NetlinkRequest::new(RTM_GETLINK, NLM_F_DUMP, &link(0, Up::AsIs)), found)
    }

    /// Makes a bridge. One that is there already is an error.
    pub(crate) fn make_bridge(
        &mut self,
        name: &str,
        alias: &str,
        mac: Mac,
        mtu: u32,
    ) -> Result<u32, NetlinkError> {
        let make = NetlinkRequest::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link(0, Up::AsIs))
            .named(name)
            .attribute(IFLA_ADDRESS, &mac.octets())
            .attribute(IFLA_MTU, &mtu.to_ne_bytes())
            .nested(IFLA_LINKINFO, |info| info.attribute(IFLA_INFO_KIND, b"bridge"));
        let request = |up| NetlinkRequest::new(RTM_NEWLINK, 0, &link(0, up)).named(name);
        let marked = request(Up::AsIs).attribute(IFLA_IFALIAS, alias.as_bytes());
        self.socket.tell([make, marked.silent_in_ipv6(), request(Up::Yes)])?;
        Ok(self.find(name)?.ok_or(Errno::NODEV)?.index)
    }

    /// Makes a parent for devices where the host has none: nothing behind it, or a VLAN of another device.
    pub(crate) fn make_parent(
        &mut self,
        name: &str,
        alias: &str,
        vlan: Option<(u32, u16)>,
    ) -> Result<u32, NetlinkError> {
        let make = NetlinkRequest::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link(0, Up::AsIs));
        let make = match vlan {
            None => make
                .named(name)
                .nested(IFLA_LINKINFO, |info| info.attribute(IFLA_INFO_KIND, b"dummy")),
            Some((parent, id)) => make
                .named(name)
                .attribute(IFLA_LINK, &parent.to_ne_bytes())
                .nested(IFLA_LINKINFO, |info| {
                    info.attribute(IFLA_INFO_KIND, b"vlan").nested(IFLA_INFO_DATA, |data| {
                        data.attribute(IFLA_VLAN_ID, &id.to_ne_bytes())
                    })
                }),
        };
        let request = |up| NetlinkRequest::new(RTM_NEWLINK, 0, &link(0, up)).named(name);
        let marked = request(Up::AsIs).attribute(IFLA_IFALIAS, alias.as_bytes());
        self.socket.tell([make, marked.silent_in_ipv6(), request(Up::Yes)])?;
        Ok(self.find(name)?.ok_or(Errno::NODEV)?.index)
    }

    /// Makes a device beside one of the host's, in a namespace; it is down.
    pub(crate) fn make_beside(&mut self, new: &NewBeside<'_>) -> Result<(), NetlinkError> {
        let make = NetlinkRequest::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link(0, Up::AsIs))
            .named(new.inside)
            .attribute(IFLA_MTU, &new.mtu.to_ne_bytes())
            .attribute(IFLA_LINK, &new.parent.to_ne_bytes())
            .attribute(IFLA_NET_NS_FD, &new.namespace.as_raw_fd().to_ne_bytes())
            .nested(IFLA_LINKINFO, |info| match new.kind {
                Kind::Ipvlan { mode, .. } => {
                    let mode: u16 = match mode {
                        Ipvlan::L2 => 0,
                        Ipvlan::L3 => 1,
                        Ipvlan::L3s => 2,
                    };
                    info.attribute(IFLA_INFO_KIND, b"ipvlan").nested(IFLA_INFO_DATA, |data| {
                        data.attribute(IFLA_IPVLAN_MODE, &mode.to_ne_bytes())
                    })
                }
                kind => {
                    let mode: u32 = match kind {
                        Kind::Macvlan { mode: Macvlan::Private, .. } => 1,
                        Kind::Macvlan { mode: Macvlan::Vepa, .. } => 2,
                        Kind::Macvlan { mode: Macvlan::Passthru, .. } => 8,
                        _ => 4,
                    };
                    info.attribute(IFLA_INFO_KIND, b"macvlan").nested(IFLA_INFO_DATA, |data| {
                        data.attribute(IFLA_MACVLAN_MODE, &mode.to_ne_bytes())
                    })
                }
            });
        self.socket.tell([make])
    }

    /// Makes a pair of devices, one end on a bridge, the other in a namespace; both are down.
    ///
    /// The end inside is to come up first: then the other has a carrier from the beginning, and the bridge
    /// passes its packets on at once.
    pub(crate) fn make_veth(&mut self, veth: &NewVeth<'_>) -> Result<(), NetlinkError> {
        let mtu = veth.mtu.to_ne_bytes();
        let peer = |info: NetlinkRequest| {
            info.raw(&link(0, Up::AsIs))
                .named(veth.inside)
                .attribute(IFLA_MTU, &mtu)
                .attribute(IFLA_NET_NS_FD, &veth.namespace.as_raw_fd().to_ne_bytes())
        };
        let make = NetlinkRequest::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link(0, Up::AsIs))
            .named(veth.name)
            .attribute(IFLA_MTU, &mtu)
            .attribute(IFLA_MASTER, &veth.bridge.to_ne_bytes())
            .nested(IFLA_LINKINFO, |info| {
                info.attribute(IFLA_INFO_KIND, b"veth")
                    .nested(IFLA_INFO_DATA, |data| data.nested(VETH_INFO_PEER, peer))
            });
        let request = NetlinkRequest::new(RTM_NEWLINK, 0, &link(0, Up::AsIs)).named(veth.name);
        // Packets may go back to where they come from: a container that asks for a port of the host which
        // is its own, on a host that filters what bridges pass on.
        let port = request.silent_in_ipv6().nested(IFLA_LINKINFO, |info| {
            info.attribute(IFLA_INFO_SLAVE_KIND, b"bridge").nested(IFLA_INFO_SLAVE_DATA, |port| {
                let port = port.attribute(IFLA_BRPORT_MODE, &[1]);
                match veth.isolated {
                    true => port.attribute(IFLA_BRPORT_ISOLATED, &[1]),
                    false => port,
                }
            })
        });
        self.socket.tell([make, port])
    }

    /// Gives a device another largest packet.
    pub(crate) fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<(), NetlinkError> {
        let request = NetlinkRequest::new(RTM_NEWLINK, 0, &link(index, Up::AsIs));
        self.socket.tell([request.attribute(IFLA_MTU, &mtu.to_ne_bytes())])
    }

    /// Brings a device up, without an address of any kind.
    pub(crate) fn bring_up(&mut self, index: u32) -> Result<(), NetlinkError> {
        let request = |up| NetlinkRequest::new(RTM_NEWLINK, 0, &link(index, up));
        self.socket.tell([request(Up::AsIs).silent_in_ipv6(), request(Up::Yes)])
    }

    /// Brings a device up.
    pub(crate) fn bring_up_port(&mut self, name: &str) -> Result<(), NetlinkError> {
        self.socket.tell([NetlinkRequest::new(RTM_NEWLINK, 0, &link(0, Up::Yes)).named(name)])
    }

    /// Whether a device sends: one that came up before its other end does once the kernel has looked at it
    /// again, and loses every packet before that, whoever sent it a second. Asking makes the kernel look,
    /// from Linux 6.9 on.
    pub(crate) fn is_sending(&mut self, name: &str) -> Result<bool, NetlinkError> {
        let states = self.told(name, &[], IFLA_OPERSTATE)?;
        Ok(states == Some(IF_OPER_UP))
    }

    /// The other end of a pair, as its own namespace numbers it.
    pub(crate) fn peer_of(&mut self, index: u32) -> Result<Option<u32>, NetlinkError> {
        let request = || NetlinkRequest::new(RTM_GETLINK, 0, &link(index, Up::AsIs));
        let peers = self.socket.ask(request, |body| {
            let (_, peer) = attributes(body, LINK_HEADER_BYTES).find(|a| a.0 == IFLA_LINK)?;
            Some(u32::from_ne_bytes(peer.try_into().ok()?))
        })?;
        Ok(peers.first().copied())
    }

    /// Whether a bridge passes on what comes from its device of this name.
    pub(crate) fn is_forwarding(&mut self, name: &str) -> Result<bool, NetlinkError> {
        let inside = [IFLA_LINKINFO, IFLA_INFO_SLAVE_DATA];
        Ok(self.told(name, &inside, IFLA_BRPORT_STATE)? == Some(BR_STATE_FORWARDING))
    }

    /// A byte that the kernel tells of a device, in an attribute within others.
    fn told(&mut self, name: &str, within: &[u16], kind: u16) -> Result<Option<u8>, NetlinkError> {
        let request = || NetlinkRequest::new(RTM_GETLINK, 0, &link(0, Up::AsIs)).named(name);
        let bytes = self.socket.ask(request, |body| {
            let mut inside = attributes(body, LINK_HEADER_BYTES);
            for outer in within {
                let (_, found) = inside.find(|a| a.0 == *outer)?;
                inside = attributes(found, 0);
            }
            inside.find(|a| a.0 == kind)?.1.first().copied()
        })?;
        Ok(bytes.first().copied())
    }

    /// Removes a device, which takes its time.
    pub(crate) fn remove(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.socket.tell([NetlinkRequest::new(RTM_DELLINK, 0, &link(index, Up::AsIs))])
    }
}

/// What becomes of a device besides the rest.
#[derive(Debug, Clone, Copy)]
enum Up {
    AsIs,
    Yes,
}

/// `struct ifinfomsg`
fn link(index: u32, up: Up) -> [u8; LINK_HEADER_BYTES] {
    let mut header = [0; LINK_HEADER_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if let Up::Yes = up {
        header[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
        header[12..].copy_from_slice(&IFF_UP.to_ne_bytes());
    }
    header
}

/// What link requests have in common.
trait LinkAttributes {
    fn named(self, name: &str) -> Self;
    fn silent_in_ipv6(self) -> Self;
}

impl LinkAttributes for NetlinkRequest {
    fn named(self, name: &str) -> Self {
        let mut bytes = name.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(IFLA_IFNAME, &bytes)
    }

    /// No address by itself when it comes up. It must be said before, hence in a request of its own.
    fn silent_in_ipv6(self) -> Self {
        self.nested(IFLA_AF_SPEC, |families| {
            families.nested(AF_INET6, |inet6| {
                inet6.attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE])
            })
        })
    }
}

fn found(body: &[u8]) -> Option<Found> {
    let index = u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?);
    let value = |kind| attributes(body, LINK_HEADER_BYTES).find(|a| a.0 == kind).map(|a| a.1);
    let kind = value(IFLA_LINKINFO).and_then(|info| {
        netlink_attributes(info).find(|a| a.0 == IFLA_INFO_KIND).map(|a| text(a.1))
    });
    let name = value(IFLA_IFNAME).map(text).unwrap_or_default();
    let alias = value(IFLA_IFALIAS).map(text).unwrap_or_default();
    let mtu = value(IFLA_MTU).and_then(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?)));
    let (kind, mtu) = (kind.unwrap_or_default(), mtu.unwrap_or_default());
    Some(Found { index, name, alias, kind, mtu })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

/// The attributes behind a header; none, if it is cut off.
fn attributes(body: &[u8], header: usize) -> impl Iterator<Item = (u16, &[u8])> {
    netlink_attributes(body.get(header..).unwrap_or_default())
}
