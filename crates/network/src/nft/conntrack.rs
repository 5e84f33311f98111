//! Connections that the kernel remembers, for those that must forget theirs.
//!
//! A rule that redirects is looked at once for each connection, and what UDP has for connections lasts as
//! long as somebody sends: a client that goes on sending goes on being sent to where nobody is, or not
//! being redirected at all. So those of a port are forgotten when it is published and when it is taken
//! back. Connections of TCP end by themselves.

use std::collections::HashSet;
use std::net::IpAddr;

use dhow_sys::{Errno, NetlinkError, NetlinkRequest, NetlinkSocket, netlink_attributes};
use rustix::net::netlink::NETFILTER;

use super::value;

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_GET: u16 = 1;
const IPCTNL_MSG_CT_DELETE: u16 = 2;
const NLM_F_DUMP: i32 = 0x300;
/// `struct nfgenmsg` of IPv4 and of IPv6.
const HEADERS: [[u8; 4]; 2] = [[2, 0, 0, 0], [10, 0, 0, 0]];

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// The kernel's number of what a filter looks at, which its headers do not tell.
const LOOK_AT_PROTOCOL: u32 = 1 << 3;

const UDP: u8 = 17;

/// What is remembered of UDP in one namespace.
#[derive(Debug)]
pub(crate) struct Conntrack {
    socket: NetlinkSocket,
}

impl Conntrack {
    /// That of the calling thread's.
    pub(crate) fn open() -> Result<Self, Errno> {
        Ok(Self { socket: NetlinkSocket::open(Some(NETFILTER))? })
    }

    /// Forgets who sends to one of these ports, of whatever address, and who was redirected to `target`:
    /// one look through all that there is of UDP, which the kernel picks out (Linux 5.8), however many the
    /// ports are.
    pub(crate) fn forget(
        &mut self,
        ports: &HashSet<u16>,
        target: IpAddr,
    ) -> Result<(), NetlinkError> {
        let (header, address, kind_of_source) = match target {
            IpAddr::V4(target) => (HEADERS[0], target.octets().to_vec(), CTA_IP_V4_SRC),
            IpAddr::V6(target) => (HEADERS[1], target.octets().to_vec(), CTA_IP_V6_SRC),
        };
        let ask = || {
            NetlinkRequest::new(kind(IPCTNL_MSG_CT_GET), NLM_F_DUMP, &header)
                .nested(CTA_TUPLE_ORIG, |tuple| {
                    tuple.nested(CTA_TUPLE_PROTO, |proto| proto.attribute(CTA_PROTO_NUM, &[UDP]))
                })
                .nested(CTA_FILTER, |filter| {
                    filter
                        .attribute(CTA_FILTER_ORIG_FLAGS, &LOOK_AT_PROTOCOL.to_ne_bytes())
                        .attribute(CTA_FILTER_REPLY_FLAGS, &[0; 4])
                })
        };
        let found = self.socket.ask(ask, |body| {
            let attributes = body.get(header.len()..)?;
            let (orig, reply) =
                (value(attributes, CTA_TUPLE_ORIG)?, value(attributes, CTA_TUPLE_REPLY)?);
            let port = value(value(orig, CTA_TUPLE_PROTO)?, CTA_PROTO_DST_PORT)?;
            let answers = value(value(reply, CTA_TUPLE_IP)?, kind_of_source)?;
            let port = u16::from_be_bytes(port.try_into().ok()?);
            (ports.contains(&port) || answers == address).then(|| forgetting(header, attributes))
        })?;
        // One that was forgotten meanwhile keeps none of the others from it.
        match self.socket.tell(found) {
            Err(error) if error.errno == Errno::NOENT => Ok(()),
            result => result,
        }
    }
}

/// The request that forgets a connection of which this was told.
fn forgetting(header: [u8; 4], attributes: &[u8]) -> NetlinkRequest {
    let request = NetlinkRequest::new(kind(IPCTNL_MSG_CT_DELETE), 0, &header);
    netlink_attributes(attributes)
        .filter(|(kind, _)| [CTA_TUPLE_ORIG, CTA_ID, CTA_ZONE].contains(kind))
        .fold(request, |request, (kind, value)| request.attribute(kind, value))
}

fn kind(message: u16) -> u16 {
    NFNL_SUBSYS_CTNETLINK << 8 | message
}
