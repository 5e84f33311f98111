//! What the table says, rule by rule. Networks and ports are members of its sets.
//!
//! Invariant: no rule names a network, an address or a port of anybody's.

use crate::nft::{Batch, CtKey, Expression, Hook, Ip, Meta, NAME_BYTES, Reg, SetKind, Verdict};

/// Bridges.
pub(super) const BRIDGES: &str = "bridges";
/// Bridges of which nothing gets out, and into which nothing gets.
pub(super) const INTERNAL: &str = "internal";
/// Bridges, twice each, whose containers reach each other.
pub(super) const WITHIN: &str = "within";
/// Bridges behind the host's address.
pub(super) const MASQUERADED: &str = "masqueraded";
pub(super) const MASQUERADED6: &str = "masqueraded6";
/// Addresses of networks, each with its bridge.
pub(super) const HAIRPIN: &str = "hairpin";
pub(super) const HAIRPIN6: &str = "hairpin6";
/// Published ports, and where each leads.
pub(super) const PORTS: &str = "ports";
pub(super) const PORTS6: &str = "ports6";
/// Ports that are open at a container's own address.
pub(super) const OPEN: &str = "open";
pub(super) const OPEN6: &str = "open6";
/// Bridges that whoever routes to them gets into.
pub(super) const UNPROTECTED: &str = "unprotected";
pub(super) const UNPROTECTED6: &str = "unprotected6";

const RAW: i32 = -300;
const DESTINATION_NAT: i32 = -100;
const FILTER: i32 = 0;
/// Before ours: what users drop never gets there.
pub(super) const USERS_PRIORITY: i32 = FILTER - 1;
const SOURCE_NAT: i32 = 100;

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const RTN_LOCAL: u32 = 2;
const STATE_ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const STATUS_REDIRECTED: u32 = 0x20;
const SOURCE: (u32, u32) = (12, 4);
const DESTINATION: (u32, u32) = (16, 4);
const SOURCE6: (u32, u32) = (8, 16);
const DESTINATION6: (u32, u32) = (24, 16);

/// The sets, empty.
pub(super) fn sets(batch: Batch) -> Batch {
    batch
        .set(BRIDGES, SetKind::Names)
        .set(INTERNAL, SetKind::Names)
        .set(WITHIN, SetKind::NamePairs)
        .set(MASQUERADED, SetKind::Names)
        .set(MASQUERADED6, SetKind::Names)
        .set(HAIRPIN, SetKind::SubnetsWithNames(Ip::V4))
        .set(HAIRPIN6, SetKind::SubnetsWithNames(Ip::V6))
        .set(PORTS, SetKind::Ports(Ip::V4))
        .set(PORTS6, SetKind::Ports(Ip::V6))
        .set(OPEN, SetKind::Places(Ip::V4))
        .set(OPEN6, SetKind::Places(Ip::V6))
        .set(UNPROTECTED, SetKind::Names)
        .set(UNPROTECTED6, SetKind::Names)
}

/// All chains and rules.
pub(super) fn rules(batch: Batch, guards: (bool, bool)) -> Batch {
    forward(postrouting(redirects(loopback(batch))), guards)
}

/// Bridges may route to 127.0.0.0/8, so that answers find the way back to the host's own programs; this
/// keeps containers from using it. Answers still have the gateway's address where this looks.
fn loopback(batch: Batch) -> Batch {
    let batch = batch.base_chain("loopback", "filter", Hook::Prerouting, RAW);
    let rule = [
        &[Expression::Meta(Reg(0), Meta::InputName), Expression::In(Reg(0), BRIDGES)][..],
        &IPV4,
        &to_loopback(DESTINATION),
        &[Expression::Is(Reg(0), &LOOPBACK), Expression::Then(Verdict::Drop)],
    ];
    batch.rule("loopback", &rule.concat())
}

fn redirects(batch: Batch) -> Batch {
    const LOCAL: [u8; 4] = RTN_LOCAL.to_ne_bytes();
    let for_us = |chain| {
        [
            Expression::DestinationKind(Reg(0)),
            Expression::Is(Reg(0), &LOCAL),
            Expression::Then(Verdict::Jump(chain)),
        ]
    };
    // Nobody but the host itself may mean 127.0.0.1, and the host's own packets are not seen here.
    let not_loopback =
        [&to_loopback(DESTINATION)[..], &[Expression::IsNot(Reg(0), &LOOPBACK)]].concat();
    // What is for ::1 never leaves the loopback device: a container's monitor answers there.
    let not_loopback6 = [
        Expression::Header(Reg(0), DESTINATION6.0, DESTINATION6.1),
        Expression::IsNot(Reg(0), &LOOPBACK6),
    ];
    let address = [Expression::Header(Reg(0), DESTINATION.0, DESTINATION.1)];
    let address6 = [Expression::Header(Reg(0), DESTINATION6.0, DESTINATION6.1)];
    let look = [
        Expression::Meta(Reg(1), Meta::Protocol),
        Expression::DestinationPort(Reg(2)),
        Expression::Map(Reg(0), PORTS, Reg(4)),
        Expression::Redirect(Reg(4), Reg(5)),
    ];
    let look6 = [
        Expression::Meta(Reg(4), Meta::Protocol),
        Expression::DestinationPort(Reg(5)),
        Expression::Map(Reg(0), PORTS6, Reg(8)),
        Expression::Redirect6(Reg(8), Reg(12)),
    ];
    batch
        .chain("publish")
        .rule("publish", &[&address[..], &look].concat())
        .rule("publish", &[&[Expression::Load(Reg(0), &[0; 4])][..], &look].concat())
        .chain("publish6")
        .rule("publish6", &[&address6[..], &look6].concat())
        .rule("publish6", &[&[Expression::Load(Reg(0), &[0; 16])][..], &look6].concat())
        .base_chain("prerouting", "nat", Hook::Prerouting, DESTINATION_NAT)
        .rule("prerouting", &[&IPV4[..], &not_loopback, &for_us("publish")].concat())
        .rule("prerouting", &[&IPV6[..], &for_us("publish6")].concat())
        .base_chain("output", "nat", Hook::Output, DESTINATION_NAT)
        .rule("output", &[&IPV4[..], &for_us("publish")].concat())
        .rule("output", &[&IPV6[..], &not_loopback6, &for_us("publish6")].concat())
}

/// What goes to the network that it comes from is told by its address: where the host filters what bridges
/// pass on (`br_netfilter`), redirected packets never leave the bridge and have come in by no device.
fn postrouting(batch: Batch) -> Batch {
    let to = [Expression::Meta(Reg(0), Meta::OutputName), Expression::In(Reg(0), BRIDGES)];
    let from = |set| [Expression::Meta(Reg(0), Meta::InputName), Expression::In(Reg(0), set)];
    let outward = [Expression::Meta(Reg(0), Meta::OutputName), Expression::NotIn(Reg(0), BRIDGES)];
    let from_loopback = [&to_loopback(SOURCE)[..], &[Expression::Is(Reg(0), &LOOPBACK)]].concat();
    let masquerade = [Expression::Masquerade];
    let back = |header: (u32, u32), set| {
        [
            Expression::Header(Reg(0), header.0, header.1),
            Expression::Meta(Reg(header.1 / 4), Meta::OutputName),
            Expression::In(Reg(0), set),
        ]
    };
    batch
        .base_chain("postrouting", "nat", Hook::Postrouting, SOURCE_NAT)
        .rule("postrouting", &[&IPV4[..], &from_loopback, &to, &masquerade].concat())
        .rule(
            "postrouting",
            &[&IPV4[..], &back(SOURCE, HAIRPIN), &REDIRECTED, &masquerade].concat(),
        )
        .rule(
            "postrouting",
            &[&IPV6[..], &back(SOURCE6, HAIRPIN6), &REDIRECTED, &masquerade].concat(),
        )
        .rule("postrouting", &[&IPV4[..], &from(MASQUERADED), &outward, &masquerade].concat())
        .rule("postrouting", &[&IPV6[..], &from(MASQUERADED6), &outward, &masquerade].concat())
}

fn forward(batch: Batch, guards: (bool, bool)) -> Batch {
    let accept = [Expression::Then(Verdict::Accept)];
    let drop = [Expression::Then(Verdict::Drop)];
    let from = |set| [Expression::Meta(Reg(0), Meta::InputName), Expression::In(Reg(0), set)];
    let to = |set| [Expression::Meta(Reg(0), Meta::OutputName), Expression::In(Reg(0), set)];
    let open = |header: (u32, u32), set| {
        let behind = header.1 / 4;
        [
            Expression::Header(Reg(0), header.0, header.1),
            Expression::Meta(Reg(behind), Meta::Protocol),
            Expression::DestinationPort(Reg(behind + 1)),
            Expression::In(Reg(0), set),
        ]
    };
    let batch = batch
        .base_chain("forward", "filter", Hook::Forward, FILTER)
        .rule("forward", &[&to(BRIDGES)[..], &KNOWN, &accept].concat())
        .rule("forward", &[&SAME_NETWORK[..], &accept].concat())
        .rule("forward", &[&from(INTERNAL)[..], &drop].concat())
        .rule("forward", &[&to(INTERNAL)[..], &drop].concat())
        .rule("forward", &[&to(BRIDGES)[..], &REDIRECTED, &accept].concat())
        .rule("forward", &[&to(BRIDGES)[..], &IPV4, &open(DESTINATION, OPEN), &accept].concat())
        .rule("forward", &[&to(BRIDGES)[..], &IPV6, &open(DESTINATION6, OPEN6), &accept].concat())
        .rule("forward", &[&to(UNPROTECTED)[..], &IPV4, &accept].concat())
        .rule("forward", &[&to(UNPROTECTED6)[..], &IPV6, &accept].concat())
        .rule("forward", &[&to(BRIDGES)[..], &drop].concat())
        .rule("forward", &[&from(BRIDGES)[..], &accept].concat());
    let batch = if guards.0 { between_hardware(batch, &IPV4) } else { batch };
    if guards.1 { between_hardware(batch, &IPV6) } else { batch }
}

/// Drops what comes in by one piece of hardware and leaves by another: the host did not forward it before
/// we came. Bridges, tunnels and virtual machines have devices of some kind, and are somebody's intent.
fn between_hardware(batch: Batch, of: &[Expression<'static>]) -> Batch {
    let virtual_device = |kind| {
        let accept = [
            Expression::Meta(Reg(0), kind),
            Expression::IsNot(Reg(0), &[0; NAME_BYTES]),
            Expression::Then(Verdict::Accept),
        ];
        [of, &accept].concat()
    };
    batch
        .rule("forward", &virtual_device(Meta::InputKind))
        .rule("forward", &virtual_device(Meta::OutputKind))
        .rule("forward", &[of, &[Expression::Then(Verdict::Drop)]].concat())
}

const LOOPBACK: [u8; 4] = [127, 0, 0, 0];
const LOOPBACK_MASK: [u8; 4] = [255, 0, 0, 0];
const LOOPBACK6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const IPV6: [Expression<'static>; 2] =
    [Expression::Meta(Reg(0), Meta::Family), Expression::Is(Reg(0), &[NFPROTO_IPV6])];
const IPV4: [Expression<'static>; 2] =
    [Expression::Meta(Reg(0), Meta::Family), Expression::Is(Reg(0), &[NFPROTO_IPV4])];
const SAME_NETWORK: [Expression<'static>; 3] = [
    Expression::Meta(Reg(0), Meta::InputName),
    Expression::Meta(Reg(4), Meta::OutputName),
    Expression::In(Reg(0), WITHIN),
];
const REDIRECTED: [Expression<'static>; 3] = [
    Expression::Ct(Reg(0), CtKey::Status),
    Expression::And(Reg(0), &STATUS_REDIRECTED.to_ne_bytes()),
    Expression::IsNot(Reg(0), &[0; 4]),
];
const KNOWN: [Expression<'static>; 3] = [
    Expression::Ct(Reg(0), CtKey::State),
    Expression::And(Reg(0), &STATE_ESTABLISHED_OR_RELATED.to_ne_bytes()),
    Expression::IsNot(Reg(0), &[0; 4]),
];

/// Loads the first byte of an address, to be compared with [`LOOPBACK`].
fn to_loopback((offset, length): (u32, u32)) -> [Expression<'static>; 2] {
    [Expression::Header(Reg(0), offset, length), Expression::And(Reg(0), &LOOPBACK_MASK)]
}
