//! The expressions that rules are made of, each as its attributes.
//!
//! A rule's expressions are carried out in turn; the first that does not hold ends the rule. They hand
//! values on in registers of four bytes.

use dhow_sys::NetlinkRequest;

use super::Attributes;

const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
const NFT_REG_VERDICT: u32 = 0;
const NFT_REG32_00: u32 = 8;

/// A register; wider values take those behind it as well.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reg(pub(crate) u32);

impl Reg {
    fn number(self) -> u32 {
        NFT_REG32_00 + self.0
    }
}

/// What is known of a packet besides its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Meta {
    /// The device that it came in by, 16 bytes.
    InputName,
    /// The device that it goes out by, 16 bytes.
    OutputName,
    /// IPv4 or IPv6, one byte.
    Family,
    /// The protocol above IP, one byte.
    Protocol,
    /// The kind of the device that it came in by, 16 bytes; the rule ends if that is hardware.
    InputKind,
    /// The kind of the device that it goes out by, likewise.
    OutputKind,
}

impl Meta {
    fn number(self) -> u32 {
        match self {
            Self::InputName => 6,
            Self::OutputName => 7,
            Self::Family => 15,
            Self::Protocol => 16,
            Self::InputKind => 26,
            Self::OutputKind => 27,
        }
    }
}

/// What is known of a packet's connection; four bytes of flags each.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CtKey {
    /// How far it is.
    State,
    /// What was done to it.
    Status,
}

impl CtKey {
    fn number(self) -> u32 {
        match self {
            Self::State => 0,
            Self::Status => 2,
        }
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verdict<'a> {
    Accept,
    Drop,
    /// It meets another chain, and comes back if nothing there decides.
    Jump(&'a str),
}

/// One step of a rule.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expression<'a> {
    /// Loads what is known of the packet.
    Meta(Reg, Meta),
    /// Loads bytes of the packet's IP header: offset and length.
    Header(Reg, u32, u32),
    /// Loads the port that the packet is for; TCP, UDP and SCTP have it in the same place.
    DestinationPort(Reg),
    /// Loads what is known of the connection.
    Ct(Reg, CtKey),
    /// Loads whether the destination is local, as `RTN_LOCAL`.
    DestinationKind(Reg),
    /// Loads a value.
    Load(Reg, &'a [u8]),
    /// Keeps some bits.
    And(Reg, &'a [u8]),
    /// Goes on if the register has this value.
    Is(Reg, &'a [u8]),
    /// Goes on if it has another.
    IsNot(Reg, &'a [u8]),
    /// Goes on if the set has what begins in the register.
    In(Reg, &'a str),
    /// Goes on if it has not.
    NotIn(Reg, &'a str),
    /// Goes on if the map has what begins in the register; loads what it has for it.
    Map(Reg, &'a str, Reg),
    /// Sends the connection to the IPv4 address and port in the registers.
    Redirect(Reg, Reg),
    /// The same for IPv6.
    Redirect6(Reg, Reg),
    /// Lets the connection come from this host.
    Masquerade,
    /// Decides.
    Then(Verdict<'a>),
}

impl Expression<'_> {
    /// Adds name and data.
    pub(super) fn write(&self, to: NetlinkRequest) -> NetlinkRequest {
        to.text(NFTA_EXPR_NAME, self.name()).nested(NFTA_EXPR_DATA, |data| self.write_data(data))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Meta(..) => "meta",
            Self::Header(..) | Self::DestinationPort(_) => "payload",
            Self::Ct(..) => "ct",
            Self::DestinationKind(_) => "fib",
            Self::Load(..) | Self::Then(_) => "immediate",
            Self::And(..) => "bitwise",
            Self::Is(..) | Self::IsNot(..) => "cmp",
            Self::In(..) | Self::NotIn(..) | Self::Map(..) => "lookup",
            Self::Redirect(..) | Self::Redirect6(..) => "nat",
            Self::Masquerade => "masq",
        }
    }

    fn write_data(&self, to: NetlinkRequest) -> NetlinkRequest {
        match *self {
            // NFTA_META_DREG, _KEY
            Self::Meta(reg, what) => to.number(1, reg.number()).number(2, what.number()),
            Self::Header(reg, offset, length) => payload(to, reg, 1, offset, length),
            Self::DestinationPort(reg) => payload(to, reg, 2, 2, 2),
            // NFTA_CT_DREG, _KEY
            Self::Ct(reg, what) => to.number(1, reg.number()).number(2, what.number()),
            // NFTA_FIB_DREG, _RESULT (ADDRTYPE), _FLAGS (DADDR)
            Self::DestinationKind(reg) => to.number(1, reg.number()).number(2, 3).number(3, 2),
            // NFTA_IMMEDIATE_DREG, _DATA
            Self::Load(reg, bytes) => data(to.number(1, reg.number()), 2, bytes),
            // NFTA_BITWISE_SREG, _DREG, _LEN, _MASK, _XOR
            Self::And(reg, mask) => {
                let to = to.number(1, reg.number()).number(2, reg.number());
                let to = data(to.number(3, mask.len() as u32), 4, mask);
                data(to, 5, &vec![0; mask.len()])
            }
            // NFTA_CMP_SREG, _OP (EQ, NEQ), _DATA
            Self::Is(reg, bytes) => data(to.number(1, reg.number()).number(2, 0), 3, bytes),
            Self::IsNot(reg, bytes) => data(to.number(1, reg.number()).number(2, 1), 3, bytes),
            // NFTA_LOOKUP_SET, _SREG, _DREG, _FLAGS (INV)
            Self::In(reg, set) => to.text(1, set).number(2, reg.number()),
            Self::NotIn(reg, set) => to.text(1, set).number(2, reg.number()).number(5, 1),
            Self::Map(reg, set, into) => {
                to.text(1, set).number(2, reg.number()).number(3, into.number())
            }
            // NFTA_NAT_TYPE (DNAT), _FAMILY (IPV4), _REG_ADDR_MIN, _REG_PROTO_MIN
            Self::Redirect(address, port) => {
                to.number(1, 1).number(2, 2).number(3, address.number()).number(5, port.number())
            }
            Self::Redirect6(address, port) => {
                to.number(1, 1).number(2, 10).number(3, address.number()).number(5, port.number())
            }
            Self::Masquerade => to,
            // NFTA_IMMEDIATE_DREG, _DATA
            Self::Then(verdict) => to
                .number(1, NFT_REG_VERDICT)
                .nested(2, |data| data.nested(NFTA_DATA_VERDICT, |to| verdict.write(to))),
        }
    }
}

impl Verdict<'_> {
    fn write(self, to: NetlinkRequest) -> NetlinkRequest {
        match self {
            Self::Drop => to.number(NFTA_VERDICT_CODE, 0),
            Self::Accept => to.number(NFTA_VERDICT_CODE, 1),
            Self::Jump(chain) => {
                to.number(NFTA_VERDICT_CODE, -3i32 as u32).text(NFTA_VERDICT_CHAIN, chain)
            }
        }
    }
}

/// NFTA_PAYLOAD_DREG, _BASE, _OFFSET, _LEN
fn payload(to: NetlinkRequest, reg: Reg, base: u32, offset: u32, length: u32) -> NetlinkRequest {
    to.number(1, reg.number()).number(2, base).number(3, offset).number(4, length)
}

fn data(to: NetlinkRequest, kind: u16, bytes: &[u8]) -> NetlinkRequest {
    to.nested(kind, |value| value.attribute(NFTA_DATA_VALUE, bytes))
}
