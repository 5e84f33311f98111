//! Who is called what in a network, and how a container's questions are answered: two kinds of files.
//!
//! A [`Table`] is of a network: the engine replaces it whenever somebody comes or goes. A [`NamesConfig`] is of
//! a container: which tables it sees, and who is asked for everything else. Whoever answers reads both at
//! each question, so that nothing has to be told and nobody has to be there.
//! Invariant: files appear as a whole. Names are compared without case.
//! Absent on purpose: what questions and answers look like ([`crate::dns`]).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Who is in a network, by whatever tells them apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// The network's name: what comes behind a dot in full names.
    pub network: String,
    /// Its members.
    pub members: BTreeMap<String, Member>,
}

/// Somebody in a network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Member {
    /// Where it is reached.
    pub addresses: Vec<IpAddr>,
    /// What it is called, its own name first.
    pub names: Vec<String>,
}

/// How a container's questions for names are answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamesConfig {
    /// The tables of its networks, looked at in this order.
    pub tables: Vec<PathBuf>,
    /// Names of its own for others: the other's name.
    pub links: BTreeMap<String, String>,
    /// Names of its own for addresses.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// Who is asked for everything else, from inside; the host's servers, from the host, if there is nobody.
    pub servers: Vec<SocketAddr>,
    /// Where the host names its servers.
    pub resolv_conf: PathBuf,
    /// Nobody else is asked: none of its networks leads anywhere.
    pub is_internal: bool,
}

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Somebody here is called so; the addresses, of both kinds.
    Here(Vec<IpAddr>),
    /// Nobody here is.
    No,
}

impl Table {
    /// As a file has it: the network's name, then a line for each member.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.network);
        for member in self.members.values() {
            let addresses: Vec<_> = member.addresses.iter().map(IpAddr::to_string).collect();
            let _ = writeln!(text, "{} {}", addresses.join(","), member.names.join(" "));
        }
        text
    }

    /// Replaces a file by this.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        replace(path, self.to_text().as_bytes())
    }
}

impl NamesConfig {
    /// Reads a container's file.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    /// Replaces a file by this.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        replace(path, &serde_json::to_vec(self)?)
    }

    /// Looks for a name, which has no dot at its end.
    pub fn look_up(&self, name: &str) -> Known {
        if let Some((_, addresses)) =
            self.hosts.iter().find(|(own, _)| own.eq_ignore_ascii_case(name))
        {
            return Known::Here(addresses.clone());
        }
        let link = self.links.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        let name = link.map_or(name, |(_, other)| other.as_str());
        for table in self.tables.iter().filter_map(|path| fs::read_to_string(path).ok()) {
            let found = look_up_in(&table, name);
            if !found.is_empty() {
                return Known::Here(found);
            }
        }
        Known::No
    }

    /// The full name of whoever has an address.
    pub fn look_up_address(&self, address: IpAddr) -> Option<String> {
        self.tables.iter().find_map(|path| {
            let table = fs::read_to_string(path).ok()?;
            let mut lines = table.lines();
            let network = lines.next()?;
            let line = lines.find(|line| addresses_of(line).any(|one| one == address))?;
            let own = line.split(' ').nth(1)?;
            Some(format!("{own}.{network}"))
        })
    }

    /// Who is asked for what nobody here is called, and whether from inside.
    pub fn upstreams(&self) -> (Vec<SocketAddr>, bool) {
        if self.is_internal {
            return (Vec::new(), false);
        }
        if !self.servers.is_empty() {
            return (self.servers.clone(), true);
        }
        let text = fs::read_to_string(&self.resolv_conf).unwrap_or_default();
        let server = |line: &str| {
            let mut words = line.split_whitespace();
            let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
            // A zone is of the host's devices, which addresses of our own sockets do not need.
            let address = address.split('%').next()?.parse().ok()?;
            Some(SocketAddr::new(address, DNS_PORT))
        };
        (text.lines().filter_map(server).collect(), false)
    }
}

const DNS_PORT: u16 = 53;

fn look_up_in(table: &str, name: &str) -> Vec<IpAddr> {
    let mut lines = table.lines();
    let network = lines.next().unwrap_or_default();
    // A full name: its own, a dot, the network's.
    let short = name
        .len()
        .checked_sub(network.len() + 1)
        .filter(|at| name.is_char_boundary(*at) && name[*at..].starts_with('.'))
        .filter(|at| name[at + 1..].eq_ignore_ascii_case(network))
        .map(|at| &name[..at]);
    let is_it = |word: &str| {
        word.eq_ignore_ascii_case(name)
            || short.is_some_and(|short| word.eq_ignore_ascii_case(short))
    };
    lines
        .filter(|line| line.split(' ').skip(1).any(is_it))
        .flat_map(|line| addresses_of(line).collect::<Vec<_>>())
        .collect()
}

fn addresses_of(line: &str) -> impl Iterator<Item = IpAddr> {
    let addresses = line.split(' ').next().unwrap_or_default();
    addresses.split(',').filter_map(|one| one.parse().ok())
}

/// Nobody reads half of a file, or none.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    match fs::write(&fresh, bytes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(path))?;
            fs::write(&fresh, bytes)?;
        }
        written => written?,
    }
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_alone_and_in_full() {
        let member = |address: &str, names: &[&str]| Member {
            addresses: vec![address.parse().unwrap()],
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let table = Table {
            network: "front.end".to_owned(),
            members: BTreeMap::from([
                ("1".to_owned(), member("10.0.0.2", &["web1", "web"])),
                ("2".to_owned(), member("10.0.0.3", &["web2", "Web"])),
            ]),
        };
        let dir = std::env::temp_dir().join(format!("dhow-names-{}", std::process::id()));
        let path = dir.join("deep/table");
        table.write(&path).unwrap();
        let config = NamesConfig {
            tables: vec![path],
            links: BTreeMap::from([("db".to_owned(), "web2".to_owned())]),
            hosts: BTreeMap::from([("up".to_owned(), vec!["10.0.0.1".parse().unwrap()])]),
            ..NamesConfig::default()
        };
        let check = |name: &str, expected: &[&str]| {
            let found = match config.look_up(name) {
                Known::Here(found) => found,
                Known::No => Vec::new(),
            };
            let expected: Vec<IpAddr> = expected.iter().map(|one| one.parse().unwrap()).collect();
            assert_eq!(found, expected, "{name}");
        };
        check("WEB", &["10.0.0.2", "10.0.0.3"]);
        check("web1.front.end", &["10.0.0.2"]);
        check("db", &["10.0.0.3"]);
        check("up", &["10.0.0.1"]);
        check("end", &[]);
        check(".front.end", &[]);
        let reverse = config.look_up_address("10.0.0.3".parse().unwrap());
        assert_eq!(reverse.as_deref(), Some("web2.front.end"));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn others_are_asked_as_the_host_does() {
        let path = std::env::temp_dir().join(format!("dhow-resolv-{}", std::process::id()));
        fs::write(&path, "nameserver 192.0.2.1\n# nameserver 1.1.1.1\nnameserver fe80::1%eth0\n")
            .unwrap();
        let config = NamesConfig { resolv_conf: path.clone(), ..NamesConfig::default() };
        let (servers, inside) = config.upstreams();
        assert_eq!(servers.len(), 2);
        assert_eq!((servers[0].to_string().as_str(), inside), ("192.0.2.1:53", false));
        let internal = NamesConfig { is_internal: true, ..config };
        assert!(internal.upstreams().0.is_empty());
        fs::remove_file(path).unwrap();
    }
}
