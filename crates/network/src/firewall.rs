//! The rules of one engine: one table, the same few rules for every network, and one element of one map
//! for each published port.
//!
//! | chain | does |
//! | --- | --- |
//! | `loopback` | drops what a bridge sends to 127.0.0.0/8 |
//! | `prerouting`, `output` | send what is for an address of the host through `publish` |
//! | `publish` | one look for the address itself, one for all addresses |
//! | `postrouting` | gives the host's address to what leaves the networks, comes from the host's loopback, or goes back to where it came from |
//! | `forward` | lets containers out, answers and published ports in, nothing else |
//!
//! Invariant: what is in the table is what this value holds, or less, if somebody took some of it away;
//! the next change then brings all of it back. Networks and ports are elements: rules never grow.
//! A chain of another table can still drop what ours lets pass, which is told ([`Obstacle`]), not
//! circumvented: nothing of others is changed.
//! Absent on purpose: IPv6.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use dhow_sys::{Errno, NetlinkError};

use crate::address::Subnet;
use crate::error::NetworkError;
use crate::nft::{
    ADDRESS_BYTES, Batch, Conntrack, CtKey, DATA_BYTES, Dropping, Element, Expression, Hook,
    KEY_BYTES, Keeping, Meta, NAME_BYTES, Nft, Reg, SetKind, Verdict, name_key,
};
use crate::sandbox::Protocol;

const BRIDGES: &str = "bridges";
const WITHIN: &str = "within";
const MASQUERADED: &str = "masqueraded";
const HAIRPIN: &str = "hairpin";
const PORTS: &str = "ports";

const RAW: i32 = -300;
const DESTINATION_NAT: i32 = -100;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

const NFPROTO_IPV4: u8 = 2;
const RTN_LOCAL: u32 = 2;
const STATE_ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const STATUS_REDIRECTED: u32 = 0x20;
const SOURCE: (u32, u32) = (12, 4);
const DESTINATION: (u32, u32) = (16, 4);

/// How long and in what steps the table's last owner is given to die.
const OWNER_WAIT: Duration = Duration::from_millis(5);
const OWNER_WAIT_MAX: Duration = Duration::from_secs(2);

/// A port of the host: where a connection goes to before it is redirected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Published {
    /// `0.0.0.0` for each of the host's.
    pub(crate) address: Ipv4Addr,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// Where a connection goes to instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
}

/// A chain of somebody else's that drops what is forwarded unless one of its own rules lets it pass.
///
/// Nothing outside that table can let it pass, so containers have no connections until somebody adds the
/// rules that its text names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    chain: Dropping,
    bridge: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dropping { family, table, chain } = &self.chain;
        let bridge = &self.bridge;
        write!(
            f,
            "the chain {family} {table} {chain} drops what it does not know; these let containers pass: \
             nft insert rule {family} {table} {chain} iifname {bridge} accept; \
             nft insert rule {family} {table} {chain} oifname {bridge} accept"
        )
    }
}

/// All rules of one engine.
#[derive(Debug)]
pub(crate) struct Firewall {
    nft: Nft,
    table: String,
    keeping: Keeping,
    bridge: String,
    /// The bridge's addresses, once they are known.
    subnet: Option<Subnet>,
    /// Whether the host forwards packets only because of us: then it stays no router for others.
    guards: bool,
    ports: HashMap<Published, Target>,
}

impl Firewall {
    /// The rules of an engine with this table and this bridge; none is in force yet.
    pub(crate) fn new(table: String, bridge: String, guards: bool) -> Result<Self, NetworkError> {
        let nft = Nft::open().map_err(NetworkError::netlink("open a netlink socket"))?;
        Ok(Self {
            nft,
            table,
            keeping: Keeping::Owned,
            bridge,
            subnet: None,
            guards,
            ports: HashMap::new(),
        })
    }

    /// Whether anything of them is in force, from whatever life of the engine.
    pub(crate) fn is_there(&mut self) -> Result<bool, NetworkError> {
        let table = &self.table;
        self.nft.has_table(table).map_err(NetworkError::netlink(format!("look for table {table}")))
    }

    /// From now on the host stays no router for others.
    pub(crate) fn guard(&mut self) {
        self.guards = true;
    }

    /// The bridge has these addresses.
    pub(crate) fn serve(&mut self, subnet: Subnet) {
        self.subnet = Some(subnet);
    }

    /// Remembers a port, for the next [`assert`](Self::assert).
    pub(crate) fn remember(&mut self, published: Published, target: Target) {
        self.ports.insert(published, target);
    }

    /// Puts exactly these rules in force, whatever was there. Connections go on.
    pub(crate) fn assert(&mut self) -> Result<(), NetworkError> {
        let doing = format!("replace table {}", self.table);
        self.replace().map_err(NetworkError::netlink(doing))
    }

    fn replace(&mut self) -> Result<(), NetlinkError> {
        let begin = Instant::now();
        loop {
            let batch = self.everything(self.keeping);
            let Err(error) = self.nft.commit(batch) else { return Ok(()) };
            match error.errno {
                Errno::OPNOTSUPP | Errno::INVAL if self.keeping == Keeping::Owned => {
                    self.keeping = Keeping::Open;
                }
                // An engine that was killed a moment ago is not through with closing what it had.
                Errno::PERM if begin.elapsed() < OWNER_WAIT_MAX => thread::sleep(OWNER_WAIT),
                _ => return Err(error),
            }
        }
    }

    /// Publishes ports, all or none.
    pub(crate) fn publish(&mut self, ports: &[(Published, Target)]) -> Result<(), NetworkError> {
        if ports.is_empty() {
            return Ok(());
        }
        let elements: Vec<_> = ports.iter().map(|(key, to)| (key.bytes(), to.bytes())).collect();
        let pairs = elements.iter().map(|(key, data)| Element::Pair(key, data));
        let added = self.nft.commit(Batch::of(&self.table).add(PORTS, pairs));
        self.ports.extend(ports.iter().copied());
        let added = self.or_everything(added);
        if added.is_ok() {
            forget(ports.iter().copied());
        } else {
            self.ports.retain(|key, _| ports.iter().all(|(published, _)| published != key));
        }
        added.map_err(NetworkError::netlink(format!("publish ports in table {}", self.table)))
    }

    /// Takes ports back, whether they are published or not.
    pub(crate) fn unpublish(&mut self, ports: &[Published]) -> Result<(), NetworkError> {
        let known = |key: &&Published| self.ports.contains_key(*key);
        let keys: Vec<_> = ports.iter().filter(known).map(|key| key.bytes()).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let removed =
            self.nft.commit(Batch::of(&self.table).remove(PORTS, keys.iter().map(|key| &key[..])));
        let targets: Vec<_> =
            ports.iter().filter_map(|port| self.ports.remove_entry(port)).collect();
        let removed = self.or_everything(removed);
        forget(targets.into_iter());
        removed.map_err(NetworkError::netlink(format!("unpublish ports in table {}", self.table)))
    }

    /// Whether all that is published is in force.
    pub(crate) fn is_whole(&mut self) -> bool {
        let keys = self.nft.keys(&self.table, PORTS).unwrap_or_default();
        keys.len() == self.ports.len() && self.nft.has_table(&self.table).unwrap_or(false)
    }

    /// Takes all of them away.
    pub(crate) fn remove(&mut self) -> Result<(), NetworkError> {
        let doing = format!("remove table {}", self.table);
        let batch = Batch::of(&self.table).remove_table(self.keeping);
        self.nft.commit(batch).map_err(NetworkError::netlink(doing))
    }

    /// What of others keeps containers from the world.
    pub(crate) fn obstacles(&mut self) -> Result<Vec<Obstacle>, NetworkError> {
        let chains = self.nft.dropping(&self.table);
        let chains = chains.map_err(NetworkError::netlink("list nftables' chains"))?;
        let obstacle = |chain| Obstacle { chain, bridge: self.bridge.clone() };
        Ok(chains.into_iter().map(obstacle).collect())
    }

    /// Where somebody took rules of ours away, brings all back instead.
    fn or_everything(&mut self, changed: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
        match changed {
            Err(error) if error.errno == Errno::NOENT => self.replace(),
            changed => changed,
        }
    }

    fn everything(&self, keeping: Keeping) -> Batch {
        let name = name_key(&self.bridge);
        let mut pair = [0; 2 * NAME_BYTES];
        pair[..NAME_BYTES].copy_from_slice(&name);
        pair[NAME_BYTES..].copy_from_slice(&name);
        let ports: Vec<_> = self.ports.iter().map(|(key, to)| (key.bytes(), to.bytes())).collect();
        let ports = ports.iter().map(|(key, data)| Element::Pair(key, data));
        let one = |key| std::iter::once(Element::Key(key));
        let subnet = self.subnet.map(|subnet| {
            let key = |address: Ipv4Addr| [&address.octets()[..], &name].concat();
            (key(subnet.first()), key(subnet.last()))
        });
        let batch = Batch::of(&self.table)
            .remove_table(keeping)
            .table(keeping)
            .set(BRIDGES, SetKind::Names)
            .set(WITHIN, SetKind::NamePairs)
            .set(MASQUERADED, SetKind::Names)
            .set(HAIRPIN, SetKind::SubnetsWithNames)
            .set(PORTS, SetKind::Ports)
            .add(BRIDGES, one(&name[..]))
            .add(WITHIN, one(&pair[..]))
            .add(MASQUERADED, one(&name[..]))
            .add(HAIRPIN, subnet.iter().map(|(first, last)| Element::Range(first, last)))
            .add(PORTS, ports);
        forward(redirects(loopback(batch)), self.guards)
    }
}

/// Lets the kernel forget who sent to ports of UDP before they changed hands. Whatever it still knows
/// afterwards ends when nobody has sent for a while.
fn forget(ports: impl Iterator<Item = (Published, Target)>) {
    let udp: Vec<_> = ports.filter(|(port, _)| port.protocol == Protocol::Udp).collect();
    let Some((_, target)) = udp.first() else { return };
    let ports = udp.iter().map(|(published, _)| published.port).collect();
    let _ = Conntrack::open()
        .map_err(NetlinkError::from)
        .and_then(|mut conntrack| conntrack.forget(&ports, target.address));
}

impl Published {
    fn bytes(self) -> [u8; KEY_BYTES] {
        let [a, b, c, d] = self.address.octets();
        let [high, low] = self.port.to_be_bytes();
        [a, b, c, d, self.protocol.number(), 0, 0, 0, high, low, 0, 0]
    }
}

impl Target {
    fn bytes(self) -> [u8; DATA_BYTES] {
        let [a, b, c, d] = self.address.octets();
        let [high, low] = self.port.to_be_bytes();
        [a, b, c, d, high, low, 0, 0]
    }
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
    let for_us = [
        Expression::DestinationKind(Reg(0)),
        Expression::Is(Reg(0), &LOCAL),
        Expression::Then(Verdict::Jump("publish")),
    ];
    // Nobody but the host itself may mean 127.0.0.1, and the host's own packets are not seen here.
    let not_loopback =
        [&to_loopback(DESTINATION)[..], &[Expression::IsNot(Reg(0), &LOOPBACK)]].concat();
    let (offset, length) = DESTINATION;
    let look = [
        Expression::Meta(Reg(1), Meta::Protocol),
        Expression::DestinationPort(Reg(2)),
        Expression::Map(Reg(0), PORTS, Reg(4)),
        Expression::Redirect(Reg(4), Reg(5)),
    ];
    batch
        .chain("publish")
        .rule("publish", &[&[Expression::Header(Reg(0), offset, length)], &look[..]].concat())
        .rule("publish", &[&[Expression::Load(Reg(0), &[0; 4])], &look[..]].concat())
        .base_chain("prerouting", "nat", Hook::Prerouting, DESTINATION_NAT)
        .rule("prerouting", &[&IPV4[..], &not_loopback, &for_us].concat())
        .base_chain("output", "nat", Hook::Output, DESTINATION_NAT)
        .rule("output", &[&IPV4[..], &for_us].concat())
}

fn forward(batch: Batch, guards: bool) -> Batch {
    let accept = Expression::Then(Verdict::Accept);
    let from = [Expression::Meta(Reg(0), Meta::InputName), Expression::In(Reg(0), BRIDGES)];
    let to = [Expression::Meta(Reg(0), Meta::OutputName), Expression::In(Reg(0), BRIDGES)];
    let from_masqueraded =
        [Expression::Meta(Reg(0), Meta::InputName), Expression::In(Reg(0), MASQUERADED)];
    let outward = [Expression::Meta(Reg(0), Meta::OutputName), Expression::NotIn(Reg(0), BRIDGES)];
    let from_loopback = [&to_loopback(SOURCE)[..], &[Expression::Is(Reg(0), &LOOPBACK)]].concat();
    let masquerade = [Expression::Masquerade];
    let batch = batch
        .base_chain("postrouting", "nat", Hook::Postrouting, SOURCE_NAT)
        .rule("postrouting", &[&IPV4[..], &from_loopback, &to, &masquerade].concat())
        .rule("postrouting", &[&IPV4[..], &BACK, &REDIRECTED, &masquerade].concat())
        .rule("postrouting", &[&IPV4[..], &from_masqueraded, &outward, &masquerade].concat())
        .base_chain("forward", "filter", Hook::Forward, FILTER)
        .rule("forward", &[&to[..], &KNOWN, &[accept]].concat())
        .rule("forward", &[&to[..], &REDIRECTED, &[accept]].concat())
        .rule("forward", &[&SAME_NETWORK[..], &[accept]].concat())
        .rule("forward", &[&to[..], &[Expression::Then(Verdict::Drop)]].concat())
        .rule("forward", &[&from[..], &[accept]].concat());
    if guards { between_hardware(batch) } else { batch }
}

/// Drops what comes in by one piece of hardware and leaves by another: the host did not forward it before
/// we came. Bridges, tunnels and virtual machines have devices of some kind, and are somebody's intent.
fn between_hardware(batch: Batch) -> Batch {
    let virtual_device = |kind| {
        [
            Expression::Meta(Reg(0), kind),
            Expression::IsNot(Reg(0), &[0; NAME_BYTES]),
            Expression::Then(Verdict::Accept),
        ]
    };
    batch
        .rule("forward", &virtual_device(Meta::InputKind))
        .rule("forward", &virtual_device(Meta::OutputKind))
        .rule("forward", &[Expression::Then(Verdict::Drop)])
}

const LOOPBACK: [u8; 4] = [127, 0, 0, 0];
const LOOPBACK_MASK: [u8; 4] = [255, 0, 0, 0];
const IPV4: [Expression<'static>; 2] =
    [Expression::Meta(Reg(0), Meta::Family), Expression::Is(Reg(0), &[NFPROTO_IPV4])];
const SAME_NETWORK: [Expression<'static>; 3] = [
    Expression::Meta(Reg(0), Meta::InputName),
    Expression::Meta(Reg(4), Meta::OutputName),
    Expression::In(Reg(0), WITHIN),
];
/// What goes to the network that it comes from, told by its address: where the host filters what bridges
/// pass on (`br_netfilter`), redirected packets never leave the bridge and have come in by no device.
const BACK: [Expression<'static>; 3] = [
    Expression::Header(Reg(0), SOURCE.0, SOURCE.1),
    Expression::Meta(Reg((ADDRESS_BYTES / 4) as u32), Meta::OutputName),
    Expression::In(Reg(0), HAIRPIN),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_owner_is_given_time_to_die() {
        crate::nft::tests::alone(|_| {
            let firewall = || Firewall::new("t".to_owned(), "b".to_owned(), false);
            let mut old = firewall().expect("a socket");
            old.assert().expect("rules");
            let dying = thread::spawn(move || {
                thread::sleep(10 * OWNER_WAIT);
                drop(old);
            });
            let mut new = firewall().expect("a socket");
            new.assert().expect("rules");
            assert!(new.is_whole());
            dying.join().expect("an end");
        });
    }

    #[test]
    fn a_published_port_is_one_element() {
        let address = Ipv4Addr::new(127, 0, 0, 1);
        let published = Published { address, protocol: Protocol::Udp, port: 0x1234 };
        assert_eq!(published.bytes(), [127, 0, 0, 1, 17, 0, 0, 0, 0x12, 0x34, 0, 0]);
        let target = Target { address: Ipv4Addr::new(172, 17, 0, 2), port: 80 };
        assert_eq!(target.bytes(), [172, 17, 0, 2, 0, 80, 0, 0]);
    }

    #[test]
    fn rules_that_somebody_took_away_come_back() {
        crate::nft::tests::alone(|other| {
            let new = Firewall::new("t".to_owned(), "b".to_owned(), false);
            let mut firewall = new.expect("a socket");
            firewall.keeping = Keeping::Open;
            firewall.assert().expect("rules");
            let mut flush =
                || other.commit(Batch::of("t").remove_table(Keeping::Open)).expect("none");
            let port = |port| {
                let address = Ipv4Addr::UNSPECIFIED;
                let target = Target { address: Ipv4Addr::new(172, 17, 0, 2), port };
                (Published { address, protocol: Protocol::Tcp, port }, target)
            };
            firewall.publish(&[port(1), port(2)]).expect("ports");
            assert!(firewall.is_whole());
            flush();
            assert!(!firewall.is_whole());
            firewall.publish(&[port(3)]).expect("a port");
            assert_eq!(firewall.nft.keys("t", PORTS).expect("keys").len(), 3);
            flush();
            firewall.unpublish(&[port(1).0, port(3).0]).expect("ports");
            assert_eq!(firewall.nft.keys("t", PORTS).expect("keys"), [port(2).0.bytes().to_vec()]);
            // What is not published is taken back as well.
            firewall.unpublish(&[port(1).0]).expect("no error");
            firewall.remove().expect("an end");
            assert!(!firewall.is_there().expect("an answer"));
        });
    }
}
