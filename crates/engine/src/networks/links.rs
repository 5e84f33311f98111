//! Links of the default network: a container that knows another by a name of its own.
//!
//! Invariant: a link is kept as the other's id and the name, so that it stays what it is when either is renamed.
//! Absent on purpose: links in networks of users' own, where names are answered for and not written down.

use std::fmt::Write;
use std::net::IpAddr;

use crate::containers::request::{Port, Protocol};

/// A container that another one is linked to, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Linked {
    /// What it is called in the other.
    pub(crate) alias: String,
    /// The other's name.
    pub(crate) parent: String,
    /// Its own name.
    pub(crate) name: String,
    /// What it calls itself.
    pub(crate) hostname: String,
    /// Where it is in the default network.
    pub(crate) addresses: Vec<IpAddr>,
    /// Its ports, sorted.
    pub(crate) ports: Vec<Port>,
    /// Its own environment.
    pub(crate) env: Vec<String>,
}

/// Reads `NAME[:ALIAS]`, or what is told of a link that is there (`/NAME:/PARENT/ALIAS`): who, and by which name.
pub(crate) fn parse(text: &str) -> Option<(&str, &str)> {
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    let alias = match name.starts_with('/') {
        true => alias.rsplit_once('/').map_or(alias, |(_, alias)| alias),
        false => alias,
    };
    let name = name.strip_prefix('/').unwrap_or(name);
    (!name.is_empty() && !alias.is_empty() && !alias.contains(':')).then_some((name, alias))
}

impl Linked {
    /// What Docker's links say in the environment: `DB_PORT_5432_TCP_ADDR` and the like.
    pub(crate) fn environment(&self) -> Vec<String> {
        let alias = self.alias.to_uppercase().replace('-', "_");
        let mut env = Vec::new();
        if let Some(address) = self.addresses.iter().find(|address| address.is_ipv4()) {
            self.port_variables(&alias, *address, &mut env);
        }
        env.push(format!("{alias}_NAME=/{}/{}", self.parent, self.alias));
        for variable in &self.env {
            // Those that every image has say nothing about this one.
            if let Some((name, value)) = variable.split_once('=')
                && !matches!(name, "HOME" | "PATH")
            {
                env.push(format!("{alias}_ENV_{name}={value}"));
            }
        }
        env
    }

    fn port_variables(&self, alias: &str, address: IpAddr, env: &mut Vec<String>) {
        let url = |port: &Port| format!("{}://{address}:{}", port.protocol, port.number);
        let prefix = |port: &Port| {
            format!("{alias}_PORT_{}_{}", port.number, port.protocol.as_str().to_uppercase())
        };
        env.extend(self.ports.first().map(|port| format!("{alias}_PORT={}", url(port))));
        for (first, last) in self.runs() {
            let begin = prefix(first);
            env.push(format!("{begin}_START={}", url(first)));
            env.push(format!("{begin}_ADDR={address}"));
            env.push(format!("{begin}_PROTO={}", first.protocol));
            env.push(format!("{begin}_PORT_START={}", first.number));
            env.push(format!("{}_END={}", prefix(last), url(last)));
            env.push(format!("{begin}_PORT_END={}", last.number));
        }
        for port in &self.ports {
            let prefix = prefix(port);
            env.push(format!("{prefix}={}", url(port)));
            env.push(format!("{prefix}_ADDR={address}"));
            env.push(format!("{prefix}_PORT={}", port.number));
            env.push(format!("{prefix}_PROTO={}", port.protocol));
        }
    }

    /// The first and last of ports that follow each other, where there is more than one.
    fn runs(&self) -> Vec<(&Port, &Port)> {
        let follows = |a: &Port, b: &Port| {
            a.protocol == b.protocol && a.number.checked_add(1) == Some(b.number)
        };
        let runs = self.ports.chunk_by(follows).filter(|run| run.len() > 1);
        runs.filter_map(|run| Some((run.first()?, run.last()?))).collect()
    }

    /// What it is called in the other's `/etc/hosts`.
    pub(crate) fn names(&self) -> String {
        let mut names = self.alias.clone();
        let _ = write!(names, " {}", self.hostname);
        if self.alias != self.name {
            let _ = write!(names, " {}", self.name);
        }
        names
    }

    /// Whether these names are of a line of its own, from before it was renamed perhaps.
    pub(crate) fn has_line(&self, names: &str) -> bool {
        let mut names = names.split(' ');
        names.next() == Some(&self.alias) && names.next() == Some(&self.hostname)
    }

    /// Its lines there, one for each address.
    pub(crate) fn lines(&self) -> String {
        let names = self.names();
        self.addresses.iter().map(|address| format!("{address}\t{names}\n")).collect()
    }
}

/// Ports in the order in which links name them.
pub(crate) fn sorted(ports: impl Iterator<Item = Port>) -> Vec<Port> {
    let mut ports: Vec<_> = ports.collect();
    ports.sort_by_key(|port| (port.number, port.protocol != Protocol::Tcp, port.protocol));
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked(ports: &[&str]) -> Linked {
        Linked {
            alias: "my-db".to_owned(),
            parent: "web".to_owned(),
            name: "db".to_owned(),
            hostname: "0123456789ab".to_owned(),
            addresses: vec!["172.17.0.2".parse().unwrap()],
            ports: sorted(ports.iter().map(|port| port.parse().unwrap())),
            env: ["PATH=/bin", "USER=root", "odd"].map(str::to_owned).to_vec(),
        }
    }

    #[test]
    fn links_are_read_in_both_forms() {
        assert_eq!(parse("db"), Some(("db", "db")));
        assert_eq!(parse("db:sql"), Some(("db", "sql")));
        assert_eq!(parse("/db:/web/sql"), Some(("db", "sql")));
        for bad in ["", ":", "db:", ":sql", "a:b:c"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_environment_says_what_docker_s_does() {
        assert_eq!(
            linked(&["5432/tcp"]).environment(),
            [
                "MY_DB_PORT=tcp://172.17.0.2:5432",
                "MY_DB_PORT_5432_TCP=tcp://172.17.0.2:5432",
                "MY_DB_PORT_5432_TCP_ADDR=172.17.0.2",
                "MY_DB_PORT_5432_TCP_PORT=5432",
                "MY_DB_PORT_5432_TCP_PROTO=tcp",
                "MY_DB_NAME=/web/my-db",
                "MY_DB_ENV_USER=root",
            ]
        );
        let several = linked(&["81/tcp", "80/udp", "80/tcp", "82/tcp"]).environment();
        assert_eq!(several[0], "MY_DB_PORT=tcp://172.17.0.2:80");
        assert!(several.contains(&"MY_DB_PORT_81_TCP_START=tcp://172.17.0.2:81".to_owned()));
        assert!(several.contains(&"MY_DB_PORT_82_TCP_END=tcp://172.17.0.2:82".to_owned()));
        assert!(several.contains(&"MY_DB_PORT_81_TCP_PORT_END=82".to_owned()));
        assert_eq!(linked(&[]).environment().len(), 2);
    }

    #[test]
    fn a_line_has_all_names_once() {
        assert_eq!(linked(&[]).lines(), "172.17.0.2\tmy-db 0123456789ab db\n");
        let same = Linked { alias: "db".to_owned(), ..linked(&[]) };
        assert_eq!(same.names(), "db 0123456789ab");
        assert!(linked(&[]).has_line("my-db 0123456789ab older") && !same.has_line("db"));
    }
}
