//! Devices, addresses and routes, by rtnetlink: what the default network is made of.
//!
//! A [`Links`] speaks for the namespace in which its socket was opened. Several requests travel in one
//! message where they belong together; the kernel carries them out in order, and stops at none.
//! Nothing here takes a device away on the way of a request: that costs tens of milliseconds, which
//! dropping the last reference of its namespace does not.
//! Absent on purpose: IPv6, which no device of ours speaks until a network asks for it: they get no
//! address of that kind by themselves, and say nothing.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use dhow_sys::{Errno, NetlinkError, NetlinkRequest, NetlinkSocket, netlink_attributes};

use crate::address::{Mac, Subnet};

/// The only device of a sandbox, besides its loopback.
pub(crate) const INSIDE: &str = "eth0";

const NLM_F_EXCL: i32 = 0x200;
const NLM_F_CREATE: i32 = 0x400;
const NLM_F_DUMP: i32 = 0x300;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IF_OPER_UP: u8 = 6;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const BR_STATE_FORWARDING: u8 = 3;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;

const AF_INET: u8 = 2;
const AF_INET6: u16 = 10;
const IFF_UP: u32 = 1;

const LINK_HEADER_BYTES: usize = 16;
const ADDRESS_HEADER_BYTES: usize = 8;
const ROUTE_HEADER_BYTES: usize = 12;

/// The devices of one namespace.
#[derive(Debug)]
pub(crate) struct Links {
    socket: NetlinkSocket,
}

/// A device as found by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) index: u32,
    /// What it is: `bridge`, `veth`; nothing for hardware.
    pub(crate) kind: String,
}

/// What a new bridge is to be.
#[derive(Debug)]
pub(crate) struct NewBridge<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: Mac,
    pub(crate) mtu: u32,
    pub(crate) address: Ipv4Addr,
    pub(crate) subnet: Subnet,
}

/// What a new pair of devices is to be.
#[derive(Debug)]
pub(crate) struct NewVeth<'a> {
    /// The end that stays.
    pub(crate) name: &'a str,
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    /// Where the other end goes, as [`INSIDE`].
    pub(crate) namespace: BorrowedFd<'a>,
}

/// What makes the device of a sandbox an endpoint.
#[derive(Debug)]
pub(crate) struct Addressing {
    pub(crate) mac: Mac,
    pub(crate) address: Ipv4Addr,
    pub(crate) subnet: Subnet,
    pub(crate) gateway: Ipv4Addr,
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

    /// Makes a bridge with an address. One that is there already is an error.
    pub(crate) fn make_bridge(&mut self, bridge: &NewBridge<'_>) -> Result<u32, NetlinkError> {
        let make = NetlinkRequest::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link(0, Up::AsIs))
            .named(bridge.name)
            .attribute(IFLA_ADDRESS, &bridge.mac.octets())
            .attribute(IFLA_MTU, &bridge.mtu.to_ne_bytes())
            .nested(IFLA_LINKINFO, |info| info.attribute(IFLA_INFO_KIND, b"bridge"));
        let request = |up| NetlinkRequest::new(RTM_NEWLINK, 0, &link(0, up)).named(bridge.name);
        self.socket.tell([make, request(Up::AsIs).silent_in_ipv6(), request(Up::Yes)])?;
        let index = self.find(bridge.name)?.ok_or(Errno::NODEV)?.index;
        self.socket.tell([address(index, bridge.address, bridge.subnet)])?;
        Ok(index)
    }

    /// Makes a pair of devices, one end on a bridge, the other in a namespace; both are down.
    ///
    /// The end inside is to come up first: then the other has a carrier from the beginning, and the bridge
    /// passes its packets on at once.
    pub(crate) fn make_veth(&mut self, veth: &NewVeth<'_>) -> Result<(), NetlinkError> {
        let mtu = veth.mtu.to_ne_bytes();
        let peer = |info: NetlinkRequest| {
            info.raw(&link(0, Up::AsIs))
                .named(INSIDE)
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
            info.attribute(IFLA_INFO_SLAVE_KIND, b"bridge")
                .nested(IFLA_INFO_SLAVE_DATA, |port| port.attribute(IFLA_BRPORT_MODE, &[1]))
        });
        self.socket.tell([make, port])
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

    /// Gives a device that is up its addresses, and the namespace its way out.
    pub(crate) fn give_address(&mut self, index: u32, to: &Addressing) -> Result<(), NetlinkError> {
        let mac = NetlinkRequest::new(RTM_NEWLINK, 0, &link(index, Up::AsIs))
            .attribute(IFLA_ADDRESS, &to.mac.octets());
        let mut header = [0; ROUTE_HEADER_BYTES];
        header[0] = AF_INET;
        header[4] = RT_TABLE_MAIN;
        header[5] = RTPROT_BOOT;
        header[7] = RTN_UNICAST;
        let route = NetlinkRequest::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &header)
            .attribute(RTA_GATEWAY, &to.gateway.octets())
            .attribute(RTA_OIF, &index.to_ne_bytes());
        self.socket.tell([mac, address(index, to.address, to.subnet), route])
    }

    /// Removes a device, which takes its time.
    pub(crate) fn remove(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.socket.tell([NetlinkRequest::new(RTM_DELLINK, 0, &link(index, Up::AsIs))])
    }

    /// The addresses of a device, with the networks that they are in.
    pub(crate) fn addresses(
        &mut self,
        index: u32,
    ) -> Result<Vec<(Ipv4Addr, Subnet)>, NetlinkError> {
        let mut header = [AF_INET, 0, 0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&index.to_ne_bytes());
        let request = || NetlinkRequest::new(RTM_GETADDR, NLM_F_DUMP, &header);
        self.socket.ask(request, |body| {
            let of = u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?);
            let (_, local) = attributes(body, ADDRESS_HEADER_BYTES).find(|a| a.0 == IFA_LOCAL)?;
            let address = ipv4(local)?;
            (of == index).then_some((address, Subnet::around(address, *body.get(1)?)?))
        })
    }

    /// The networks that the host has a way to, but for the ways to everywhere and to its halves.
    pub(crate) fn routed(&mut self) -> Result<Vec<Subnet>, NetlinkError> {
        let mut header = [0; ROUTE_HEADER_BYTES];
        header[0] = AF_INET;
        let request = || NetlinkRequest::new(RTM_GETROUTE, NLM_F_DUMP, &header);
        self.socket.ask(request, |body| {
            let prefix = body.get(1).copied().filter(|prefix| *prefix > 1)?;
            let (_, to) = attributes(body, ROUTE_HEADER_BYTES).find(|a| a.0 == RTA_DST)?;
            Subnet::around(ipv4(to)?, prefix)
        })
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

/// The request that adds an address.
fn address(index: u32, address: Ipv4Addr, subnet: Subnet) -> NetlinkRequest {
    let mut header = [AF_INET, subnet.prefix(), 0, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    NetlinkRequest::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &header)
        .attribute(IFA_LOCAL, &address.octets())
        .attribute(IFA_ADDRESS, &address.octets())
        .attribute(IFA_BROADCAST, &subnet.last().octets())
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
    let info = attributes(body, LINK_HEADER_BYTES).find(|a| a.0 == IFLA_LINKINFO);
    let kind = info.and_then(|(_, info)| {
        let (_, kind) = netlink_attributes(info).find(|a| a.0 == IFLA_INFO_KIND)?;
        let kind = kind.strip_suffix(&[0]).unwrap_or(kind);
        String::from_utf8(kind.to_vec()).ok()
    });
    Some(Found { index, kind: kind.unwrap_or_default() })
}

/// The attributes behind a header; none, if it is cut off.
fn attributes(body: &[u8], header: usize) -> impl Iterator<Item = (u16, &[u8])> {
    netlink_attributes(body.get(header..).unwrap_or_default())
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))
}
