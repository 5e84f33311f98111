//! Where a sandbox's processes ask for names: 127.0.0.11, of which the port is not ours to take.
//!
//! Whoever watches over a container listens at a high port of that address; one rule inside sends questions
//! there, so that a container may have a server of its own at port 53.
//! Invariant: the port is one that no service is assigned and that the kernel gives to nobody.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::error::NetworkError;
use crate::nft::{Batch, Expression, Hook, Keeping, Meta, Nft, Reg};

/// Where processes ask.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// Where their questions arrive, of UDP and of TCP.
pub const RESOLVER_SOCKET: SocketAddrV4 = SocketAddrV4::new(RESOLVER, 20011);

const TABLE: &str = "dhow-names";
const DESTINATION_NAT: i32 = -100;
const NFPROTO_IPV4: u8 = 2;
const QUESTIONS: [u8; 2] = 53u16.to_be_bytes();

/// Sends what the calling thread's namespace asks at 127.0.0.11 to the port where somebody listens. To be
/// said again is no error.
pub(crate) fn redirect() -> Result<(), NetworkError> {
    let mut nft = Nft::open().map_err(NetworkError::netlink("open a netlink socket"))?;
    let address = RESOLVER.octets();
    let [high, low] = RESOLVER_SOCKET.port().to_be_bytes();
    let port = [high, low, 0, 0];
    let rule = [
        Expression::Meta(Reg(0), Meta::Family),
        Expression::Is(Reg(0), &[NFPROTO_IPV4]),
        Expression::Header(Reg(0), 16, 4),
        Expression::Is(Reg(0), &address),
        Expression::DestinationPort(Reg(0)),
        Expression::Is(Reg(0), &QUESTIONS),
        Expression::Load(Reg(0), &address),
        Expression::Load(Reg(1), &port),
        Expression::Redirect(Reg(0), Reg(1)),
    ];
    let batch = Batch::of(TABLE)
        .remove_table(Keeping::Open)
        .table(Keeping::Open)
        .base_chain("output", "nat", Hook::Output, DESTINATION_NAT)
        .rule("output", &rule);
    nft.commit(batch).map_err(NetworkError::netlink("redirect questions for names"))
}
