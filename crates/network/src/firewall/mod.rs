//! The rules of one engine: one table, the same few rules for every network, and one element of one map
//! for each published port.
//!
//! | chain | does |
//! | --- | --- |
//! | `loopback` | drops what a bridge sends to 127.0.0.0/8 |
//! | `prerouting`, `output` | send what is for an address of the host through `publish`, or `publish6` |
//! | `publish`, `publish6` | one look for the address itself, one for all addresses |
//! | `postrouting` | gives the host's address to what leaves the networks, comes from the host's loopback, or goes back to where it came from |
//! | `forward` | lets containers out, answers and published ports in, nothing else |
//!
//! Invariant: what is in the table is what this value holds, or less, if somebody took some of it away;
//! the next change then brings all of it back. Networks and ports are elements: rules never grow.
//! A chain of another table can still drop what ours lets pass, which is told ([`Obstacle`]), not
//! circumvented: nothing of others is changed. One such table is made for users, once ([`USERS`]).
//! Absent on purpose: [::1], which no rule can redirect.

mod rules;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use dhow_sys::{Errno, NetlinkError};

use crate::address::Subnet;
use crate::config::{GatewayMode, NetworkConfig};
use crate::error::NetworkError;
use crate::nft::{Batch, Conntrack, Dropping, Element, Hook, Keeping, Nft, name_key};
use crate::sandbox::Protocol;
use rules::{
    BRIDGES, HAIRPIN, HAIRPIN6, INTERNAL, MASQUERADED, MASQUERADED6, OPEN, OPEN6, PORTS, PORTS6,
    UNPROTECTED, UNPROTECTED6, USERS_PRIORITY, WITHIN,
};

/// How long and in what steps the table's last owner is given to die.
const OWNER_WAIT: Duration = Duration::from_millis(5);
const OWNER_WAIT_MAX: Duration = Duration::from_secs(2);

/// The table that users write their own rules for containers into; what its chain drops is dropped before
/// ours is asked. It is made where it is not there, and never touched again.
const USERS: &str = "dhow-user";
/// The chain in it.
const USERS_CHAIN: &str = "forward";

/// A port of the host: where a connection goes to before it is redirected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Published {
    /// `0.0.0.0` or `::` for each of the host's.
    pub(crate) address: IpAddr,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// Where a connection goes to instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
}

/// A port of a container that is open at its own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Open {
    pub(crate) address: IpAddr,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// A chain of somebody else's that drops what is forwarded unless one of its own rules lets it pass.
///
/// Nothing outside that table can let it pass, so containers have no connections until somebody adds the
/// rules that its text names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    chain: Dropping,
    bridges: Vec<String>,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dropping { family, table, chain } = &self.chain;
        let bridges = match &self.bridges[..] {
            [one] => one.clone(),
            many => format!("{{ {} }}", many.join(", ")),
        };
        write!(
            f,
            "the chain {family} {table} {chain} drops what it does not know; these let containers pass: \
             nft insert rule {family} {table} {chain} iifname {bridges} accept; \
             nft insert rule {family} {table} {chain} oifname {bridges} accept"
        )
    }
}

/// All rules of one engine.
#[derive(Debug)]
pub(crate) struct Firewall {
    nft: Nft,
    table: String,
    keeping: Keeping,
    /// Bridges that are there, by their networks' keys.
    networks: BTreeMap<String, NetworkConfig>,
    /// Whether the host forwards packets only because of us, of IPv4 and of IPv6: then it stays no router
    /// for others.
    guards: (bool, bool),
    ports: HashMap<Published, Target>,
    open: HashSet<Open>,
}

/// An element of one of our sets.
struct Member {
    set: &'static str,
    first: Vec<u8>,
    /// The last key of a range.
    last: Option<Vec<u8>>,
    /// The same for people.
    words: String,
}

impl Member {
    fn element(&self) -> Element<'_> {
        match &self.last {
            Some(last) => Element::Range(&self.first, last),
            None => Element::Key(&self.first),
        }
    }
}

impl Firewall {
    /// The rules of an engine with this table; none is in force yet.
    pub(crate) fn new(table: String, guards: bool, guards6: bool) -> Result<Self, NetworkError> {
        let nft = Nft::open().map_err(NetworkError::netlink("open a netlink socket"))?;
        Ok(Self {
            nft,
            table,
            keeping: Keeping::Owned,
            networks: BTreeMap::new(),
            guards: (guards, guards6),
            ports: HashMap::new(),
            open: HashSet::new(),
        })
    }

    /// Whether anything of them is in force, from whatever life of the engine.
    pub(crate) fn is_there(&mut self) -> Result<bool, NetworkError> {
        let table = &self.table;
        self.nft.has_table(table).map_err(NetworkError::netlink(format!("look for table {table}")))
    }

    /// From now on the host stays no router for others, of these kinds.
    pub(crate) fn guard(&mut self, ipv4: bool, ipv6: bool) {
        self.guards = (self.guards.0 || ipv4, self.guards.1 || ipv6);
    }

    /// A network is there, for the next [`assert`](Self::assert).
    pub(crate) fn serve(&mut self, network: &NetworkConfig) {
        self.networks.insert(network.key.clone(), network.clone());
    }

    /// A network is gone, and its rules are.
    pub(crate) fn forget_network(&mut self, key: &str) -> Result<(), NetworkError> {
        let Some(network) = self.networks.remove(key) else { return Ok(()) };
        let members = members(&network);
        let batch = members.iter().fold(Batch::of(&self.table), |batch, member| {
            batch.remove(member.set, std::iter::once(member.element()))
        });
        let removed = self.nft.commit(batch);
        let removed = self.or_everything(removed);
        removed.map_err(NetworkError::netlink(format!(
            "forget {} in table {}",
            network.interface, self.table
        )))
    }

    /// Remembers a port, for the next [`assert`](Self::assert).
    pub(crate) fn remember(&mut self, published: Published, target: Target) {
        self.ports.insert(published, target);
    }

    /// Remembers an open port, for the next [`assert`](Self::assert).
    pub(crate) fn remember_open(&mut self, open: Open) {
        self.open.insert(open);
    }

    /// Puts exactly these rules in force, whatever was there. Connections go on.
    pub(crate) fn assert(&mut self) -> Result<(), NetworkError> {
        let doing = format!("replace table {}", self.table);
        self.replace().map_err(NetworkError::netlink(doing))?;
        self.offer().map_err(NetworkError::netlink(format!("make table {USERS}")))
    }

    /// Makes the users' table, where there is something that they may want to say something about.
    fn offer(&mut self) -> Result<(), NetlinkError> {
        if self.networks.is_empty() || self.nft.has_table(USERS)? {
            return Ok(());
        }
        let batch = Batch::of(USERS).table(Keeping::Open);
        self.nft.commit(batch.base_chain(USERS_CHAIN, "filter", Hook::Forward, USERS_PRIORITY))
    }

    /// What is in force of a network, in nftables' words: the elements that are the network's own, then the
    /// rules that all networks have. Nothing, where the table is gone.
    pub(crate) fn tell(&mut self, network: &NetworkConfig) -> Result<Vec<String>, NetworkError> {
        let listing =
            || NetworkError::netlink::<NetlinkError>(format!("list table {}", self.table));
        let fault = listing();
        if !self.nft.has_table(&self.table).map_err(fault)? {
            return Ok(Vec::new());
        }
        let mut lines = vec![format!("table inet {}", self.table)];
        for member in members(network) {
            let keys = self.nft.keys(&self.table, member.set).unwrap_or_default();
            if keys.contains(&member.first) {
                lines.push(format!("set {}: {}", member.set, member.words));
            }
        }
        let is_ours = |target: &Target| {
            network.addresses().any(|addresses| addresses.subnet.contains(target.address))
        };
        let mut ports: Vec<_> = self.ports.iter().filter(|(_, target)| is_ours(target)).collect();
        ports.sort_by_key(|(from, _)| (from.protocol, from.port, from.address));
        let mut keys = self.nft.keys(&self.table, PORTS).unwrap_or_default();
        keys.extend(self.nft.keys(&self.table, PORTS6).unwrap_or_default());
        let keys: HashSet<_> = keys.into_iter().collect();
        for (from, to) in ports.into_iter().filter(|(from, _)| keys.contains(&from.bytes())) {
            let set = if from.address.is_ipv6() { PORTS6 } else { PORTS };
            lines.push(format!(
                "map {set}: {} . {} . {} : {} . {}",
                from.address, from.protocol, from.port, to.address, to.port
            ));
        }
        let told = rules::rules(Batch::in_words(&self.table), self.guards).words();
        lines.extend(told.into_iter().map(|rule| format!("chain {rule}")));
        Ok(lines)
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
        let again: Vec<_> =
            ports.iter().map(|(key, _)| *key).filter(|key| self.ports.contains_key(key)).collect();
        let batch = without(Batch::of(&self.table), &again);
        let added = self.nft.commit(with(batch, ports.iter().map(|(key, to)| (key, to))));
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
        let keys: Vec<_> = ports.iter().filter(known).copied().collect();
        if keys.is_empty() {
            return Ok(());
        }
        let removed = self.nft.commit(without(Batch::of(&self.table), &keys));
        let targets: Vec<_> =
            ports.iter().filter_map(|port| self.ports.remove_entry(port)).collect();
        let removed = self.or_everything(removed);
        forget(targets.into_iter());
        removed.map_err(NetworkError::netlink(format!("unpublish ports in table {}", self.table)))
    }

    /// Opens ports of containers, or closes them.
    pub(crate) fn open(&mut self, ports: &[Open], yes: bool) -> Result<(), NetworkError> {
        let changes = |port: &&Open| self.open.contains(*port) != yes;
        let ports: Vec<_> = ports.iter().filter(changes).copied().collect();
        if ports.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = ports.iter().map(|port| (port.address, port.bytes())).collect();
        let of = |is_ipv6: bool| {
            let keys = keys.iter().filter(move |(address, _)| address.is_ipv6() == is_ipv6);
            keys.map(|(_, key)| Element::Key(key))
        };
        let batch = Batch::of(&self.table);
        let batch = match yes {
            true => batch.add(OPEN, of(false)).add(OPEN6, of(true)),
            false => batch.remove(OPEN, of(false)).remove(OPEN6, of(true)),
        };
        let changed = self.nft.commit(batch);
        for port in ports {
            let _ = if yes { self.open.insert(port) } else { self.open.remove(&port) };
        }
        let changed = self.or_everything(changed);
        changed.map_err(NetworkError::netlink(format!("open ports in table {}", self.table)))
    }

    /// Whether all that is published is in force, and all networks are known.
    pub(crate) fn is_whole(&mut self) -> bool {
        let mut count = |set| self.nft.keys(&self.table, set).unwrap_or_default().len();
        count(PORTS) + count(PORTS6) == self.ports.len()
            && count(BRIDGES) == self.networks.len()
            && self.nft.has_table(&self.table).unwrap_or(false)
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
        if self.networks.is_empty() {
            return Ok(Vec::new());
        }
        let bridges: Vec<_> = self.networks.values().map(|one| one.interface.clone()).collect();
        let obstacle = |chain| Obstacle { chain, bridges: bridges.clone() };
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
        let batch = rules::sets(Batch::of(&self.table).remove_table(keeping).table(keeping));
        let batch = self.networks.values().fold(batch, |batch, network| {
            members(network).iter().fold(batch, |batch, member| {
                batch.add(member.set, std::iter::once(member.element()))
            })
        });
        let batch = with(batch, self.ports.iter());
        let open: Vec<_> = self.open.iter().map(|port| (port.address, port.bytes())).collect();
        let of = |is_ipv6: bool| {
            let keys = open.iter().filter(move |(address, _)| address.is_ipv6() == is_ipv6);
            keys.map(|(_, key)| Element::Key(key))
        };
        rules::rules(batch.add(OPEN, of(false)).add(OPEN6, of(true)), self.guards)
    }
}

/// What a network is in our sets.
fn members(network: &NetworkConfig) -> Vec<Member> {
    let name = name_key(&network.interface);
    let mut members = Vec::new();
    let called = &network.interface;
    let mut add = |set, first: Vec<u8>, last, words: String| {
        members.push(Member { set, first, last, words });
    };
    add(BRIDGES, name.to_vec(), None, called.clone());
    if network.internal {
        add(INTERNAL, name.to_vec(), None, called.clone());
    }
    if network.icc {
        add(WITHIN, [name, name].concat(), None, format!("{called} . {called}"));
    }
    let kinds = [
        (&network.ipv4, network.mode4, MASQUERADED, HAIRPIN, UNPROTECTED),
        (&network.ipv6, network.mode6, MASQUERADED6, HAIRPIN6, UNPROTECTED6),
    ];
    for (addresses, mode, masqueraded, hairpin, unprotected) in kinds {
        let Some(addresses) = addresses else { continue };
        let nat = matches!(mode, GatewayMode::Nat | GatewayMode::NatUnprotected);
        if network.masquerade && nat && !network.internal {
            add(masqueraded, name.to_vec(), None, called.clone());
        }
        if mode == GatewayMode::NatUnprotected {
            add(unprotected, name.to_vec(), None, called.clone());
        }
        let key = |address: IpAddr| [octets(address), name.to_vec()].concat();
        let subnet: Subnet = addresses.subnet;
        let words = format!("{subnet} . {called}");
        add(hairpin, key(subnet.first()), Some(key(subnet.last())), words);
    }
    members
}

fn with<'p>(batch: Batch, ports: impl Iterator<Item = (&'p Published, &'p Target)>) -> Batch {
    let pairs: Vec<_> = ports
        .filter(|(key, to)| key.address.is_ipv6() == to.address.is_ipv6())
        .map(|(key, to)| (key.address, key.bytes(), to.bytes()))
        .collect();
    let of = |is_ipv6: bool| {
        let pairs = pairs.iter().filter(move |(address, ..)| address.is_ipv6() == is_ipv6);
        pairs.map(|(_, key, data)| Element::Pair(key, data))
    };
    batch.add(PORTS, of(false)).add(PORTS6, of(true))
}

fn without(batch: Batch, ports: &[Published]) -> Batch {
    let keys: Vec<_> = ports.iter().map(|key| (key.address, key.bytes())).collect();
    let of = |is_ipv6: bool| {
        let keys = keys.iter().filter(move |(address, _)| address.is_ipv6() == is_ipv6);
        keys.map(|(_, key)| Element::Key(key))
    };
    batch.remove(PORTS, of(false)).remove(PORTS6, of(true))
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
    fn bytes(self) -> Vec<u8> {
        place(self.address, self.protocol, self.port)
    }
}

impl Open {
    fn bytes(self) -> Vec<u8> {
        place(self.address, self.protocol, self.port)
    }
}

impl Target {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = octets(self.address);
        bytes.extend(self.port.to_be_bytes());
        bytes.extend([0, 0]);
        bytes
    }
}

/// Address, protocol, port, each filled up to four bytes.
fn place(address: IpAddr, protocol: Protocol, port: u16) -> Vec<u8> {
    let mut bytes = octets(address);
    bytes.extend([protocol.number(), 0, 0, 0]);
    bytes.extend(port.to_be_bytes());
    bytes.extend([0, 0]);
    bytes
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::DefaultNetwork;

    #[test]
    fn the_last_owner_is_given_time_to_die() {
        crate::nft::tests::alone(|_| {
            let firewall = || Firewall::new("t".to_owned(), false, false);
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
        let address = Ipv4Addr::new(127, 0, 0, 1).into();
        let published = Published { address, protocol: Protocol::Udp, port: 0x1234 };
        assert_eq!(published.bytes(), [127, 0, 0, 1, 17, 0, 0, 0, 0x12, 0x34, 0, 0]);
        let target = Target { address: Ipv4Addr::new(172, 17, 0, 2).into(), port: 80 };
        assert_eq!(target.bytes(), [172, 17, 0, 2, 0, 80, 0, 0]);
    }

    #[test]
    fn what_users_wrote_into_their_table_stays() {
        crate::nft::tests::alone(|other| {
            let subnet: Subnet = "172.17.0.0/16".parse().expect("a subnet");
            let addresses = DefaultNetwork::standard()
                .addresses("172.17.0.1/16".parse().expect("an address"))
                .expect("addresses");
            let settings = DefaultNetwork::standard();
            let network = NetworkConfig::default("br0".to_owned(), &settings, addresses, None);
            let mut firewall = Firewall::new("t".to_owned(), false, false).expect("a socket");
            firewall.assert().expect("rules");
            assert!(!other.has_table(USERS).expect("an answer"), "without a network for nobody");
            firewall.serve(&network);
            firewall.assert().expect("rules");
            let own = Batch::of(USERS).set("mine", crate::nft::SetKind::Names);
            other.commit(own).expect("the table is the users'");
            drop(firewall);
            let mut next = Firewall::new("t".to_owned(), false, false).expect("a socket");
            next.serve(&network);
            next.assert().expect("rules");
            assert_eq!(other.keys(USERS, "mine").expect("still there").len(), 0);
            let target = Target { address: subnet.nth(2).expect("an address"), port: 80 };
            let address = Ipv4Addr::UNSPECIFIED.into();
            let port = Published { address, protocol: Protocol::Tcp, port: 8080 };
            next.publish(&[(port, target)]).expect("a port");
            let told = next.tell(&network).expect("rules");
            for line in [
                "table inet t",
                "set bridges: br0",
                "set hairpin: 172.17.0.0/16 . br0",
                "map ports: 0.0.0.0 . tcp . 8080 : 172.17.0.2 . 80",
                "chain forward: iifname @bridges accept",
            ] {
                assert!(told.iter().any(|one| one == line), "{line} in {told:#?}");
            }
            next.remove().expect("an end");
            assert_eq!(next.tell(&network).expect("no rules"), [""; 0]);
        });
    }

    #[test]
    fn rules_that_somebody_took_away_come_back() {
        crate::nft::tests::alone(|other| {
            let new = Firewall::new("t".to_owned(), false, false);
            let mut firewall = new.expect("a socket");
            firewall.keeping = Keeping::Open;
            firewall.assert().expect("rules");
            let mut flush =
                || other.commit(Batch::of("t").remove_table(Keeping::Open)).expect("none");
            let port = |port| {
                let address = Ipv4Addr::UNSPECIFIED.into();
                let target = Target { address: Ipv4Addr::new(172, 17, 0, 2).into(), port };
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
