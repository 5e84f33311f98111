//! nftables over netlink: tables, chains, sets and rules as requests, and batches that are carried out as
//! a whole or not at all.
//!
//! Everything is of the family `inet`, and of one table. Numbers are the kernel's (`nf_tables.h`); those
//! in attributes go big end first, those in registers as the machine has them.
//! Absent on purpose: text. What this makes, `nft list ruleset` shows, for which sets carry the type
//! numbers of that program.

mod conntrack;
mod expression;
mod text;

use dhow_sys::{Errno, NetlinkError, NetlinkRequest, NetlinkSocket, netlink_attributes};
use rustix::net::netlink::NETFILTER;

pub(crate) use conntrack::Conntrack;
pub(crate) use expression::{CtKey, Expression, Meta, Reg, Verdict};

/// A protocol and a port behind an address, four bytes each.
const PROTOCOL_PORT_BYTES: usize = 8;
/// A port behind an address.
const PORT_BYTES: usize = 4;
/// A device's name, filled up with zeros.
pub(crate) const NAME_BYTES: usize = 16;
/// The elements of one request, so that its attribute stays below 64 KiB.
const ELEMENTS_MAX: usize = 1000;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFPROTO_UNSPEC: u8 = 0;
const NFPROTO_INET: u8 = 1;

const NLM_F_DUMP: i32 = 0x300;
const NLM_F_CREATE: i32 = 0x400;
const NLM_F_APPEND: i32 = 0x800;

const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_MSG_NEWSET: u16 = 9;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_GETSETELEM: u16 = 13;
const NFT_MSG_DELSETELEM: u16 = 14;

const NFT_MSG_DESTROYTABLE: u16 = 26;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFT_TABLE_F_OWNER: u32 = 2;
const NFT_TABLE_F_PERSIST: u32 = 4;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_DATA_TYPE: u16 = 6;
const NFTA_SET_DATA_LEN: u16 = 7;
const NFTA_SET_DESC: u16 = 9;
const NFTA_SET_ID: u16 = 10;
const NFTA_SET_USERDATA: u16 = 13;
const NFTA_SET_DESC_CONCAT: u16 = 2;
const NFTA_SET_FIELD_LEN: u16 = 1;
const NFT_SET_INTERVAL: u32 = 4;
const NFT_SET_MAP: u32 = 8;
const NFT_SET_CONCAT: u32 = 0x80;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFTA_DATA_VALUE: u16 = 1;

// What the program `nft` calls these; each takes six bits of a joined type.
const TYPE_IPADDR: u32 = 7;
const TYPE_IP6ADDR: u32 = 8;
const TYPE_INET_PROTOCOL: u32 = 12;
const TYPE_INET_SERVICE: u32 = 13;
const TYPE_IFNAME: u32 = 41;

/// Where packets meet a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Prerouting,
    Forward,
    Output,
    Postrouting,
}

impl Hook {
    fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }
}

/// Whose a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// Its maker's: who flushes all rules, as reloading a firewall does, does not flush these. It stays
    /// when its maker is gone, and anybody may take it over then. From Linux 6.9 on.
    Owned,
    /// Anybody's.
    Open,
}

/// What a set holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SetKind {
    /// Devices, by name.
    Names,
    /// Pairs of them.
    NamePairs,
    /// Ranges of addresses, each with a device.
    SubnetsWithNames(Ip),
    /// Published ports, with where each leads.
    Ports(Ip),
    /// Ports of addresses.
    Places(Ip),
}

/// Which addresses a set is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ip {
    V4,
    V6,
}

impl Ip {
    fn bytes(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    fn kind(self) -> u32 {
        match self {
            Self::V4 => TYPE_IPADDR,
            Self::V6 => TYPE_IP6ADDR,
        }
    }
}

/// An element of a set.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Element<'a> {
    Key(&'a [u8]),
    /// The key and what the map has for it.
    Pair(&'a [u8], &'a [u8]),
    /// The first and the last key.
    Range(&'a [u8], &'a [u8]),
}

/// A chain that is not ours, and lets nothing pass that it does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dropping {
    pub(crate) family: &'static str,
    pub(crate) table: String,
    pub(crate) chain: String,
}

/// A conversation with nftables.
#[derive(Debug)]
pub(crate) struct Nft {
    socket: NetlinkSocket,
}

impl Nft {
    /// One about the calling thread's network namespace.
    pub(crate) fn open() -> Result<Self, Errno> {
        Ok(Self { socket: NetlinkSocket::open(Some(NETFILTER))? })
    }

    /// Carries out all of a batch or nothing.
    pub(crate) fn commit(&mut self, batch: Batch) -> Result<(), NetlinkError> {
        let mark = |kind| {
            let header = header(NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES);
            NetlinkRequest::new(kind, 0, &header).unanswered()
        };
        let begin = std::iter::once(mark(NFNL_MSG_BATCH_BEGIN));
        let end = std::iter::once(mark(NFNL_MSG_BATCH_END));
        self.socket.tell(begin.chain(batch.requests).chain(end))
    }

    /// Whether there is a table of this name.
    pub(crate) fn has_table(&mut self, table: &str) -> Result<bool, NetlinkError> {
        let ask = || request(NFT_MSG_GETTABLE, 0).text(NFTA_TABLE_NAME, table);
        match self.socket.ask(ask, |_| Some(())) {
            Err(error) if error.errno == Errno::NOENT => Ok(false),
            answer => answer.map(|_| true),
        }
    }

    /// The keys of a set.
    pub(crate) fn keys(&mut self, table: &str, set: &str) -> Result<Vec<Vec<u8>>, NetlinkError> {
        let ask = || {
            request(NFT_MSG_GETSETELEM, NLM_F_DUMP)
                .text(NFTA_SET_ELEM_LIST_TABLE, table)
                .text(NFTA_SET_ELEM_LIST_SET, set)
        };
        let parts = self.socket.ask(ask, |body| {
            let elements = value(body.get(4..)?, NFTA_SET_ELEM_LIST_ELEMENTS)?;
            let key = |(_, element)| value(value(element, NFTA_SET_ELEM_KEY)?, NFTA_DATA_VALUE);
            Some(netlink_attributes(elements).filter_map(key).map(<[u8]>::to_vec).collect())
        })?;
        let parts: Vec<Vec<Vec<u8>>> = parts;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Chains of others that drop forwarded packets unless a rule lets them pass.
    pub(crate) fn dropping(&mut self, own: &str) -> Result<Vec<Dropping>, NetlinkError> {
        let ask = || {
            let header = header(NFPROTO_UNSPEC, 0);
            NetlinkRequest::new(kind(NFT_MSG_GETCHAIN), NLM_F_DUMP, &header)
        };
        let all = self.socket.ask(ask, dropping)?;
        Ok(all.into_iter().filter(|chain| chain.table != own).collect())
    }
}

/// Changes of one table that belong together.
#[derive(Debug)]
pub(crate) struct Batch {
    table: String,
    requests: Vec<NetlinkRequest>,
    sets: u32,
    /// Its rules in words, where somebody wants them.
    told: Option<Vec<String>>,
}

impl Batch {
    /// None so far.
    pub(crate) fn of(table: &str) -> Self {
        Self { table: table.to_owned(), requests: Vec::new(), sets: 0, told: None }
    }

    /// None so far, for whoever wants its rules in words.
    pub(crate) fn in_words(table: &str) -> Self {
        Self { told: Some(Vec::new()), ..Self::of(table) }
    }

    /// What rules there are, each with its chain before it.
    pub(crate) fn words(self) -> Vec<String> {
        self.told.unwrap_or_default()
    }

    /// The table goes, with all that is in it; it need not be there.
    pub(crate) fn remove_table(mut self, keeping: Keeping) -> Self {
        let remove = |message| request(message, 0).text(NFTA_TABLE_NAME, &self.table);
        match keeping {
            Keeping::Owned => self.requests.push(remove(NFT_MSG_DESTROYTABLE)),
            Keeping::Open => {
                // Adding one that is there changes nothing; removing one that is not there is an error.
                let remove = remove(NFT_MSG_DELTABLE);
                self = self.table(keeping);
                self.requests.push(remove);
            }
        }
        self
    }

    /// The table itself.
    pub(crate) fn table(mut self, keeping: Keeping) -> Self {
        let table = request(NFT_MSG_NEWTABLE, NLM_F_CREATE).text(NFTA_TABLE_NAME, &self.table);
        self.requests.push(match keeping {
            Keeping::Owned => {
                table.number(NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST)
            }
            Keeping::Open => table,
        });
        self
    }

    /// An empty set.
    pub(crate) fn set(mut self, name: &str, holds: SetKind) -> Self {
        let (kind, length) = match holds {
            SetKind::Names => (TYPE_IFNAME, NAME_BYTES),
            SetKind::NamePairs => (joined(&[TYPE_IFNAME, TYPE_IFNAME]), 2 * NAME_BYTES),
            SetKind::SubnetsWithNames(ip) => {
                (joined(&[ip.kind(), TYPE_IFNAME]), ip.bytes() + NAME_BYTES)
            }
            SetKind::Ports(ip) | SetKind::Places(ip) => (
                joined(&[ip.kind(), TYPE_INET_PROTOCOL, TYPE_INET_SERVICE]),
                ip.bytes() + PROTOCOL_PORT_BYTES,
            ),
        };
        self.sets += 1;
        let set = request(NFT_MSG_NEWSET, NLM_F_CREATE)
            .text(NFTA_SET_TABLE, &self.table)
            .text(NFTA_SET_NAME, name)
            .number(NFTA_SET_KEY_TYPE, kind)
            .number(NFTA_SET_KEY_LEN, length as u32)
            .number(NFTA_SET_ID, self.sets);
        let set = match holds {
            SetKind::NamePairs | SetKind::Places(_) => set,
            // Says to the program `nft` that names are not to be turned around.
            SetKind::Names => set.attribute(NFTA_SET_USERDATA, &[0, 4, 1, 0, 0, 0]),
            SetKind::SubnetsWithNames(ip) => set
                .number(NFTA_SET_FLAGS, NFT_SET_INTERVAL | NFT_SET_CONCAT)
                .nested(NFTA_SET_DESC, |desc| {
                    desc.nested(NFTA_SET_DESC_CONCAT, |fields| {
                        [ip.bytes(), NAME_BYTES].into_iter().fold(fields, |fields, length| {
                            fields.nested(NFTA_LIST_ELEM, |field| {
                                field.number(NFTA_SET_FIELD_LEN, length as u32)
                            })
                        })
                    })
                }),
            SetKind::Ports(ip) => set
                .number(NFTA_SET_FLAGS, NFT_SET_MAP)
                .number(NFTA_SET_DATA_TYPE, joined(&[ip.kind(), TYPE_INET_SERVICE]))
                .number(NFTA_SET_DATA_LEN, (ip.bytes() + PORT_BYTES) as u32),
        };
        self.requests.push(set);
        self
    }

    /// Elements come into a set; the same ones again are no error.
    pub(crate) fn add<'e>(self, set: &str, elements: impl Iterator<Item = Element<'e>>) -> Self {
        self.elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, set, elements)
    }

    /// Elements leave a set; one that is not there is an error.
    pub(crate) fn remove<'e>(self, set: &str, keys: impl Iterator<Item = Element<'e>>) -> Self {
        self.elements(NFT_MSG_DELSETELEM, 0, set, keys)
    }

    fn elements<'e>(
        mut self,
        message: u16,
        flags: i32,
        set: &str,
        elements: impl Iterator<Item = Element<'e>>,
    ) -> Self {
        let mut elements = elements.peekable();
        while elements.peek().is_some() {
            let part = elements.by_ref().take(ELEMENTS_MAX);
            let request = request(message, flags)
                .text(NFTA_SET_ELEM_LIST_TABLE, &self.table)
                .text(NFTA_SET_ELEM_LIST_SET, set)
                .nested(NFTA_SET_ELEM_LIST_ELEMENTS, |list| part.fold(list, element));
            self.requests.push(request);
        }
        self
    }

    /// A chain that packets meet at a hook. What no rule of it says something of passes.
    pub(crate) fn base_chain(self, name: &str, kind: &str, hook: Hook, priority: i32) -> Self {
        self.chain_with(name, |chain| {
            chain.text(NFTA_CHAIN_TYPE, kind).nested(NFTA_CHAIN_HOOK, |place| {
                place
                    .number(NFTA_HOOK_HOOKNUM, hook.number())
                    .number(NFTA_HOOK_PRIORITY, priority as u32)
            })
        })
    }

    /// A chain that rules jump to.
    pub(crate) fn chain(self, name: &str) -> Self {
        self.chain_with(name, |chain| chain)
    }

    fn chain_with(
        mut self,
        name: &str,
        more: impl FnOnce(NetlinkRequest) -> NetlinkRequest,
    ) -> Self {
        let chain = request(NFT_MSG_NEWCHAIN, NLM_F_CREATE)
            .text(NFTA_CHAIN_TABLE, &self.table)
            .text(NFTA_CHAIN_NAME, name);
        self.requests.push(more(chain));
        self
    }

    /// A rule at the end of a chain.
    pub(crate) fn rule(mut self, chain: &str, expressions: &[Expression<'_>]) -> Self {
        if let Some(told) = &mut self.told {
            told.push(format!("{chain}: {}", text::rule(expressions)));
        }
        let rule = request(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND)
            .text(NFTA_RULE_TABLE, &self.table)
            .text(NFTA_RULE_CHAIN, chain)
            .nested(NFTA_RULE_EXPRESSIONS, |list| {
                expressions.iter().fold(list, |list, expression| {
                    list.nested(NFTA_LIST_ELEM, |one| expression.write(one))
                })
            });
        self.requests.push(rule);
        self
    }
}

fn element(list: NetlinkRequest, element: Element<'_>) -> NetlinkRequest {
    let (Element::Key(key) | Element::Pair(key, _) | Element::Range(key, _)) = element;
    let value = |to: NetlinkRequest, kind, bytes| {
        to.nested(kind, |value| value.attribute(NFTA_DATA_VALUE, bytes))
    };
    list.nested(NFTA_LIST_ELEM, |to| {
        let to = value(to, NFTA_SET_ELEM_KEY, key);
        match element {
            Element::Key(_) => to,
            Element::Pair(_, data) => value(to, NFTA_SET_ELEM_DATA, data),
            Element::Range(_, end) => value(to, NFTA_SET_ELEM_KEY_END, end),
        }
    })
}

/// A device's name as a set has it.
pub(crate) fn name_key(name: &str) -> [u8; NAME_BYTES] {
    let mut key = [0; NAME_BYTES];
    let bytes = &name.as_bytes()[..name.len().min(NAME_BYTES - 1)];
    key[..bytes.len()].copy_from_slice(bytes);
    key
}

fn joined(types: &[u32]) -> u32 {
    types.iter().fold(0, |all, one| all << 6 | one)
}

fn kind(message: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | message
}

/// `struct nfgenmsg`
fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn request(message: u16, flags: i32) -> NetlinkRequest {
    NetlinkRequest::new(kind(message), flags, &header(NFPROTO_INET, 0))
}

/// The values that nftables' attributes have.
trait Attributes {
    fn text(self, kind: u16, text: &str) -> Self;
    fn number(self, kind: u16, number: u32) -> Self;
}

impl Attributes for NetlinkRequest {
    fn text(self, kind: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    fn number(self, kind: u16, number: u32) -> Self {
        self.attribute(kind, &number.to_be_bytes())
    }
}

fn value(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    netlink_attributes(attributes).find(|one| one.0 == kind).map(|one| one.1)
}

fn dropping(body: &[u8]) -> Option<Dropping> {
    let attributes = body.get(4..)?;
    let number = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?));
    let text = |kind| {
        let bytes = value(attributes, kind)?;
        String::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes).to_vec()).ok()
    };
    let hook = value(attributes, NFTA_CHAIN_HOOK)?;
    let is_forward = number(value(hook, NFTA_HOOK_HOOKNUM)?)? == Hook::Forward.number();
    let drops = number(value(attributes, NFTA_CHAIN_POLICY)?)? == 0;
    // Bridges and devices have other hooks.
    let family = match body.first()? {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => return None,
    };
    (is_forward && drops).then_some(Dropping {
        family,
        table: text(NFTA_CHAIN_TABLE)?,
        chain: text(NFTA_CHAIN_NAME)?,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Runs `work` in a network namespace of its own, which only root can make.
    pub(crate) fn alone(work: impl FnOnce(&mut Nft) + Send + 'static) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let thread = std::thread::spawn(|| {
            dhow_sys::unshare(dhow_sys::Namespaces::NETWORK).expect("a namespace");
            work(&mut Nft::open().expect("a socket"));
        });
        thread.join().expect("no panic");
    }

    #[test]
    fn only_chains_of_others_that_drop_what_is_forwarded_are_in_the_way() {
        alone(|nft| {
            assert!(!nft.has_table("theirs").expect("an answer"));
            assert_eq!(nft.dropping("ours").expect("an answer"), []);
            for table in ["theirs", "ours"] {
                let batch = Batch::of(table).table(Keeping::Open).base_chain(
                    "kind",
                    "filter",
                    Hook::Forward,
                    0,
                );
                let batch = batch.chain_with("strict", |chain| {
                    let chain = chain.text(NFTA_CHAIN_TYPE, "filter").number(NFTA_CHAIN_POLICY, 0);
                    chain.nested(NFTA_CHAIN_HOOK, |place| {
                        let place = place.number(NFTA_HOOK_HOOKNUM, Hook::Forward.number());
                        place.number(NFTA_HOOK_PRIORITY, 0)
                    })
                });
                nft.commit(batch).expect("a table");
            }
            let found = nft.dropping("ours").expect("an answer");
            let (family, table, chain) = ("inet", "theirs".to_owned(), "strict".to_owned());
            assert_eq!(found, [Dropping { family, table, chain }]);
            assert!(nft.has_table("theirs").expect("an answer"));
            nft.commit(Batch::of("theirs").remove_table(Keeping::Open)).expect("an end");
            nft.commit(Batch::of("theirs").remove_table(Keeping::Open)).expect("no error");
            assert!(!nft.has_table("theirs").expect("an answer"));
        });
    }

    #[test]
    fn a_table_is_its_owner_s_while_that_lives() {
        alone(|nft| {
            let owned = || Batch::of("t").remove_table(Keeping::Owned).table(Keeping::Owned);
            let made = nft.commit(owned());
            if made.is_err_and(|error| matches!(error.errno, Errno::INVAL | Errno::OPNOTSUPP)) {
                return;
            }
            let mut other = Nft::open().expect("a socket");
            let refused = other.commit(Batch::of("t").remove_table(Keeping::Owned));
            assert_eq!(refused.expect_err("not its own").errno, Errno::PERM);
            *nft = Nft::open().expect("another socket");
            assert!(other.has_table("t").expect("an answer"));
            other.commit(owned()).expect("nobody's any more");
        });
    }

    #[test]
    fn a_batch_is_all_or_nothing() {
        alone(|nft| {
            let key = [1; NAME_BYTES];
            let one = || std::iter::once(Element::Key(&key));
            let bad =
                Batch::of("t").table(Keeping::Open).set("s", SetKind::Names).add("none", one());
            assert_eq!(nft.commit(bad).expect_err("no such set").errno, Errno::NOENT);
            assert!(!nft.has_table("t").expect("an answer"));
            let good = Batch::of("t").table(Keeping::Open).set("s", SetKind::Names).add("s", one());
            nft.commit(good).expect("a table");
            assert_eq!(nft.keys("t", "s").expect("keys"), [key.to_vec()]);
        });
    }
}
