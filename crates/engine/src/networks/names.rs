//! Who is called what in each network: the tables that containers' monitors answer from.
//!
//! Invariant: a table on disk is what the containers that run are; whoever comes is in it before its first
//! process begins.
//! Absent on purpose: answering; monitors do, whether an engine is there or not.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dhow_network::{DEFAULT_NETWORK, Member, NamesConfig, Table};

use crate::containers::request::CreateRequest;
use crate::containers::state::EndpointDetails;
use crate::error::Error;

/// The name of the host in every network that knows names.
const HOST_NAME: &str = "host.docker.internal";
const DNS_PORT: u16 = 53;

/// All tables.
#[derive(Debug)]
pub(crate) struct Names {
    directory: PathBuf,
    tables: Mutex<HashMap<String, Table>>,
    /// Some container is, or was, linked to another in the default network: only then are others looked at.
    pub(crate) any_links: AtomicBool,
}

impl Names {
    /// Those below a run directory; none is known yet.
    pub(crate) fn of(exec_root: &Path) -> Self {
        Self {
            directory: exec_root.join("network/names"),
            tables: Mutex::default(),
            any_links: AtomicBool::new(false),
        }
    }

    /// Where a network's is.
    pub(crate) fn path(&self, network_id: &str) -> PathBuf {
        self.directory.join(network_id)
    }

    /// A container's places in networks are these, and no others.
    pub(crate) fn set(&self, container: &str, endpoints: &[EndpointDetails]) -> Result<(), Error> {
        let mut tables = self.tables();
        let stays = |id: &str| endpoints.iter().any(|one| one.network_id == id);
        for (id, table) in tables.iter_mut() {
            if !stays(id) && table.members.remove(container).is_some() {
                self.write(id, table)?;
            }
        }
        for endpoint in endpoints.iter().filter(|one| one.network != DEFAULT_NETWORK) {
            let table = tables
                .entry(endpoint.network_id.clone())
                .or_insert_with(|| Table { network: endpoint.network.clone(), ..Table::default() });
            let member = Member { addresses: endpoint.addresses(), names: endpoint.names.clone() };
            if table.members.get(container) != Some(&member) {
                table.members.insert(container.to_owned(), member);
                self.write(&endpoint.network_id, table)?;
            }
        }
        Ok(())
    }

    /// A network is gone.
    pub(crate) fn forget(&self, network_id: &str) {
        self.tables().remove(network_id);
        // One that stays says nothing to anybody: nobody is in the network.
        let _ = std::fs::remove_file(self.path(network_id));
    }

    /// Removes tables of networks that are not known.
    pub(crate) fn keep(&self, known: impl Fn(&str) -> bool) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return };
        for entry in entries.flatten() {
            if !entry.file_name().to_str().is_some_and(&known) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    fn write(&self, id: &str, table: &Table) -> Result<(), Error> {
        let path = self.path(id);
        table.write(&path).map_err(|error| Error::io("write", &path, error))
    }

    fn tables(&self) -> MutexGuard<'_, HashMap<String, Table>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a container's questions are answered; nothing, if none of its networks knows names.
pub(crate) fn resolver_config(
    names: &Names,
    request: &CreateRequest,
    endpoints: &[EndpointDetails],
    default_servers: &[IpAddr],
) -> Option<NamesConfig> {
    let knowing: Vec<_> = endpoints.iter().filter(|one| one.network != DEFAULT_NETWORK).collect();
    if knowing.is_empty() {
        return None;
    }
    let mut links = BTreeMap::new();
    for endpoint in &knowing {
        let asked = request.endpoints.get(&endpoint.network);
        for link in asked.into_iter().flat_map(|asked| &asked.links) {
            let (other, own) = link.split_once(':').unwrap_or((link, link));
            links.insert(own.to_owned(), other.to_owned());
        }
    }
    // The way out of the container is the host; without one, its first network's address of the host.
    let hosts = endpoints
        .iter()
        .find(|one| !one.gateway.is_empty())
        .or_else(|| endpoints.iter().find(|one| !one.host_address.is_empty()));
    let host = hosts.and_then(|one| match one.gateway.is_empty() {
        false => one.gateway.parse().ok(),
        true => one.host_address.parse().ok(),
    });
    let hosts = host.map(|host: IpAddr| (HOST_NAME.to_owned(), vec![host]));
    let asked = if request.host.dns.is_empty() { default_servers } else { &request.host.dns };
    Some(NamesConfig {
        tables: knowing.iter().map(|one| names.path(&one.network_id)).collect(),
        links,
        hosts: hosts.into_iter().collect(),
        servers: asked.iter().map(|server| SocketAddr::new(*server, DNS_PORT)).collect(),
        resolv_conf: "/etc/resolv.conf".into(),
        is_internal: endpoints.iter().all(|one| one.gateway.is_empty() && one.gateway6.is_empty()),
    })
}
