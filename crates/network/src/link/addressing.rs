//! Addresses of devices, and ways out of namespaces.
//!
//! Invariant: an address is in force when it is given: nobody looks whether somebody else has it.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use dhow_sys::{Errno, NetlinkError, NetlinkRequest};

use super::{
    IFLA_ADDRESS, Links, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, RTM_NEWLINK, Up, attributes, link,
};
use crate::address::{Mac, Subnet};

/// How long and in what steps a device that has ended is given to be gone.
const END_WAIT: Duration = Duration::from_millis(5);
const END_WAIT_MAX: Duration = Duration::from_secs(3);

const NLM_F_REPLACE: i32 = 0x100;

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_F_NODAD: u8 = 2;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

const ADDRESS_HEADER_BYTES: usize = 8;
const ROUTE_HEADER_BYTES: usize = 12;

/// What makes the device of a sandbox an endpoint.
#[derive(Debug)]
pub(crate) struct Addressing {
    /// Nothing where the device has another's.
    pub(crate) mac: Option<Mac>,
    pub(crate) addresses: Vec<(IpAddr, Subnet)>,
    /// Where everything else is.
    pub(crate) gateways: Vec<Gateway>,
}

/// The way to everything else, of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gateway {
    By(IpAddr),
    /// By the device itself, for IPv6 or not.
    Device {
        is_ipv6: bool,
    },
}

impl Links {
    /// Gives a device that is up its addresses, and the namespace its way out.
    pub(crate) fn give_address(&mut self, index: u32, to: &Addressing) -> Result<(), NetlinkError> {
        let mac = to.mac.map(|mac| link_address(index, mac));
        let addresses = to.addresses.iter().map(|(one, subnet)| address(index, *one, *subnet));
        let routes = to.gateways.iter().map(|gateway| route(index, *gateway));
        self.socket.tell(mac.into_iter().chain(addresses).chain(routes))
    }

    /// The same beside a device of the host's: an address there, or a link's, is another's until the kernel has
    /// got round to the other's end, which is waited for.
    pub(crate) fn give_address_beside(
        &mut self,
        index: u32,
        to: &Addressing,
    ) -> Result<(), NetlinkError> {
        let begin = Instant::now();
        let mut tell = |request: &dyn Fn() -> NetlinkRequest| loop {
            match self.socket.tell([request()]) {
                Err(error) if error.errno == Errno::ADDRINUSE && begin.elapsed() < END_WAIT_MAX => {
                    thread::sleep(END_WAIT);
                }
                told => return told,
            }
        };
        if let Some(mac) = to.mac {
            tell(&|| link_address(index, mac))?;
        }
        for (one, subnet) in &to.addresses {
            tell(&|| address(index, *one, *subnet))?;
        }
        for gateway in &to.gateways {
            tell(&|| route(index, *gateway))?;
        }
        Ok(())
    }

    /// Gives a device one more address; one that it has is no error.
    pub(crate) fn add_address(
        &mut self,
        index: u32,
        one: IpAddr,
        subnet: Subnet,
    ) -> Result<(), NetlinkError> {
        match self.socket.tell([address(index, one, subnet)]) {
            Err(error) if error.errno == Errno::EXIST => Ok(()),
            added => added,
        }
    }

    /// Makes this the namespace's way out.
    pub(crate) fn set_gateway(&mut self, index: u32, gateway: Gateway) -> Result<(), NetlinkError> {
        self.socket.tell([route(index, gateway)])
    }

    /// Takes the namespace's way out away, if it has one.
    pub(crate) fn clear_gateway(&mut self, is_ipv6: bool) -> Result<(), NetlinkError> {
        let request = NetlinkRequest::new(RTM_DELROUTE, 0, &route_header(is_ipv6, 0));
        match self.socket.tell([request]) {
            Err(error) if error.errno == Errno::SRCH => Ok(()),
            removed => removed,
        }
    }

    /// The addresses of a device, with the networks that they are in.
    pub(crate) fn addresses(&mut self, index: u32) -> Result<Vec<(IpAddr, Subnet)>, NetlinkError> {
        let mut all = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let mut header = [family, 0, 0, 0, 0, 0, 0, 0];
            header[4..].copy_from_slice(&index.to_ne_bytes());
            let request = || NetlinkRequest::new(RTM_GETADDR, NLM_F_DUMP, &header);
            let found = self.socket.ask(request, |body| {
                let of = u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?);
                let value = |kind| attributes(body, ADDRESS_HEADER_BYTES).find(|a| a.0 == kind);
                let (_, local) = value(IFA_LOCAL).or_else(|| value(IFA_ADDRESS))?;
                let one = ip(local)?;
                let is_ours = of == index && one.is_ipv6() == (family == AF_INET6);
                is_ours.then_some((one, Subnet::around(one, *body.get(1)?)?))
            });
            match found {
                // A kernel without IPv6 has no such addresses.
                Err(_) if family == AF_INET6 => {}
                found => all.extend(found?),
            }
        }
        Ok(all)
    }

    /// The networks that the host has a way to, but for the ways to everywhere and to its halves.
    pub(crate) fn routed(&mut self) -> Result<Vec<Subnet>, NetlinkError> {
        let mut all = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let mut header = [0; ROUTE_HEADER_BYTES];
            header[0] = family;
            let request = || NetlinkRequest::new(RTM_GETROUTE, NLM_F_DUMP, &header);
            let found = self.socket.ask(request, |body| {
                let prefix = body.get(1).copied().filter(|prefix| *prefix > 1)?;
                let (_, to) = attributes(body, ROUTE_HEADER_BYTES).find(|a| a.0 == RTA_DST)?;
                Subnet::around(ip(to)?, prefix)
            });
            match found {
                Err(_) if family == AF_INET6 => {}
                found => all.extend(found?),
            }
        }
        Ok(all)
    }
}

/// The request that gives a link another address of its own.
fn link_address(index: u32, mac: Mac) -> NetlinkRequest {
    NetlinkRequest::new(RTM_NEWLINK, 0, &link(index, Up::AsIs))
        .attribute(IFLA_ADDRESS, &mac.octets())
}

/// The request that adds an address.
fn address(index: u32, address: IpAddr, subnet: Subnet) -> NetlinkRequest {
    let (family, flags) = if address.is_ipv6() { (AF_INET6, IFA_F_NODAD) } else { (AF_INET, 0) };
    let mut header = [family, subnet.prefix(), flags, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    let bytes = octets(address);
    let request = NetlinkRequest::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &header)
        .attribute(IFA_LOCAL, &bytes)
        .attribute(IFA_ADDRESS, &bytes);
    match address {
        IpAddr::V4(_) => request.attribute(IFA_BROADCAST, &octets(subnet.last())),
        IpAddr::V6(_) => request,
    }
}

fn route(index: u32, gateway: Gateway) -> NetlinkRequest {
    let (is_ipv6, scope) = match gateway {
        Gateway::By(address) => (address.is_ipv6(), 0),
        Gateway::Device { is_ipv6 } => (is_ipv6, if is_ipv6 { 0 } else { RT_SCOPE_LINK }),
    };
    let header = route_header(is_ipv6, scope);
    let request = NetlinkRequest::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &header);
    let request = match gateway {
        Gateway::By(address) => request.attribute(RTA_GATEWAY, &octets(address)),
        Gateway::Device { .. } => request,
    };
    request.attribute(RTA_OIF, &index.to_ne_bytes())
}

/// `struct rtmsg`, of the way to everywhere.
fn route_header(is_ipv6: bool, scope: u8) -> [u8; ROUTE_HEADER_BYTES] {
    let mut header = [0; ROUTE_HEADER_BYTES];
    header[0] = if is_ipv6 { AF_INET6 } else { AF_INET };
    header[4] = RT_TABLE_MAIN;
    header[5] = RTPROT_BOOT;
    header[6] = scope;
    header[7] = RTN_UNICAST;
    header
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}
