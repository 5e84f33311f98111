//! Networks that users make: a record each, beside the three that every engine has.
//!
//! Making one has the host make it first, then records it; what a killed engine made and did not record, the
//! next one removes. Removing goes the same way.
//! Invariant: names and ids are each one network's. A network that containers are in is not removed.
//! Absent on purpose: which containers those are, which whoever asks must say; sandboxes and rules, which are
//! the network crate's.

mod endpoint;
mod links;
mod names;
mod record;
mod select;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dhow_network::{DEFAULT_NETWORK, Host, NetworkConfig, NetworkRequest};
use dhow_store::Db;

use crate::containers::new_id;
use crate::error::{Error, ErrorClass};

pub(crate) use endpoint::{digest_of, endpoint_request, mapping, port_mappings, protocol};
pub(crate) use links::{Linked, parse as parse_link, sorted as sorted_ports};
pub(crate) use names::{Names, resolver_config};
pub(crate) use record::Record;
pub use record::{Network, NetworkPool, NewNetwork};
pub(crate) use select::{prunable, select};

/// All networks of an engine.
#[derive(Debug)]
pub(crate) struct Networks {
    db: Db,
    records: Mutex<BTreeMap<String, Record>>,
    /// Making and removing look before they act.
    turn: Mutex<()>,
    /// Options by driver, unless whoever makes a network says otherwise.
    options: BTreeMap<String, BTreeMap<String, String>>,
}

impl Networks {
    /// Those on record. Waits for the disk.
    pub(crate) fn open(
        db: Db,
        options: BTreeMap<String, BTreeMap<String, String>>,
    ) -> Result<Self, Error> {
        let mut records = BTreeMap::new();
        for row in db.networks()? {
            let record = Record::read(&row)?;
            records.insert(record.id().to_owned(), record);
        }
        Ok(Self { db, records: Mutex::new(records), turn: Mutex::default(), options })
    }

    /// What the host has to know of them.
    pub(crate) fn configs(&self) -> Vec<NetworkConfig> {
        self.records().values().filter_map(Record::config).cloned().collect()
    }

    /// All of them, the three that every engine has first.
    pub(crate) fn all(&self, host: &Host) -> Vec<Network> {
        let mut all = predefined(host);
        all.extend(self.records().values().map(Record::tell));
        all
    }

    /// One by its id, its name, or the beginning of its id, in this order, as Docker looks.
    pub(crate) fn find(&self, host: &Host, query: &str) -> Result<Network, Error> {
        let mut all = self.all(host);
        let whole = |one: &Network| one.id == query || one.name == query;
        if let Some(at) = all.iter().position(whole) {
            return Ok(all.swap_remove(at));
        }
        let mut begins: Vec<_> =
            all.into_iter().filter(|one| !query.is_empty() && one.id.starts_with(query)).collect();
        match begins.len() {
            0 => Err(not_found(query)),
            1 => Ok(begins.remove(0)),
            count => {
                let message =
                    format!("network {query} is ambiguous ({count} matches found on ID prefix)");
                Err(Error::Invalid { message })
            }
        }
    }

    /// The record of one that somebody made.
    pub(crate) fn record(&self, id: &str) -> Option<Record> {
        self.records().get(id).cloned()
    }

    /// Makes a network.
    pub(crate) fn create(
        &self,
        host: &Host,
        mut new: NewNetwork,
        now_ms: i64,
    ) -> Result<Network, Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(host, &new)?;
        if new.config_only {
            let record = Record::template(new_id()?, new, now_ms);
            return self.keep(record);
        }
        if !new.config_from.is_empty() {
            new = self.by_configuration(new)?;
        }
        let driver = if new.driver.is_empty() { "bridge" } else { &new.driver };
        for (name, value) in self.options.get(driver).into_iter().flatten() {
            new.options.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let id = new_id()?;
        let config = host.create_network(&NetworkRequest {
            key: id.clone(),
            name: new.name.clone(),
            driver: new.driver.clone(),
            options: new.options.clone(),
            ipv4: new.ipv4,
            ipv6: new.ipv6,
            internal: new.internal,
            pools: new.pools.iter().map(NetworkPool::to_request).collect(),
        })?;
        let kept = self.keep(Record::new(config, new, now_ms));
        if kept.is_err() {
            host.remove_network(&id)?;
        }
        kept
    }

    fn keep(&self, record: Record) -> Result<Network, Error> {
        if !self.db.insert_network(record.row())? {
            return Err(exists(record.name()));
        }
        let network = record.tell();
        self.records().insert(record.id().to_owned(), record);
        Ok(network)
    }

    /// What a network that names a configuration is to be.
    fn by_configuration(&self, new: NewNetwork) -> Result<NewNetwork, Error> {
        let name = new.config_from.clone();
        let records = self.records();
        let found = records.values().find(|record| record.name() == name);
        found.and_then(|record| record.apply(new)).ok_or_else(|| Error::Network {
            message: format!("configuration network {name:?} not found"),
            class: ErrorClass::NotFound,
        })
    }

    fn check(&self, host: &Host, new: &NewNetwork) -> Result<(), Error> {
        let forbidden =
            |message: String| Err(Error::Network { message, class: ErrorClass::Forbidden });
        if new.name.trim().is_empty() || new.name.contains(['/', '\0', '\n']) {
            let message = format!("invalid network name: {:?}", new.name);
            return Err(Error::Invalid { message });
        }
        if matches!(new.driver.as_str(), "host" | "null") {
            return forbidden(format!("only one instance of {:?} network is allowed", new.driver));
        }
        if matches!(new.name.as_str(), "bridge" | "host" | "none" | "default") {
            let message = format!("operation is not permitted on predefined {} network", new.name);
            return forbidden(message);
        }
        check_configuration(new).map_or(Ok(()), |message| forbidden(message.to_owned()))?;
        match self.all(host).iter().any(|network| network.name == new.name) {
            true => Err(exists(&new.name)),
            false => Ok(()),
        }
    }

    /// Removes a network; `members` are the names and ids of the containers that are in it.
    pub(crate) fn remove(
        &self,
        host: &Host,
        network: &Network,
        members: &[(String, String)],
    ) -> Result<(), Error> {
        let forbidden =
            |message: String| Err(Error::Network { message, class: ErrorClass::Forbidden });
        let Network { id, name, .. } = network;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.record(id).is_none() {
            return forbidden(format!("{name} is a pre-defined network and cannot be removed"));
        }
        if !members.is_empty() {
            let word = |(name, id): &(String, String)| {
                format!("name:{name:?} id:{:?}", id.get(..12).unwrap_or(id))
            };
            let members: Vec<_> = members.iter().map(word).collect();
            return forbidden(format!(
                "error while removing network: network {name} has active endpoints ({})",
                members.join(", ")
            ));
        }
        if network.config_only && self.records().values().any(|record| record.is_from(name)) {
            return forbidden(format!("configuration network {name:?} is in use"));
        }
        host.remove_network(id)?;
        self.db.remove_network(id)?;
        self.records().remove(id);
        Ok(())
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is wrong with a configuration for others, or with what is said beside one; in Docker's words.
fn check_configuration(new: &NewNetwork) -> Option<&'static str> {
    let said = new.ipv4.is_some()
        || new.ipv6.is_some()
        || !new.pools.is_empty()
        || !new.options.is_empty()
        || !new.labels.is_empty()
        || !new.ipam_options.is_empty();
    match (new.config_only, new.config_from.is_empty()) {
        (true, false) => {
            Some("a configuration network cannot depend on another configuration network")
        }
        (true, true) if new.internal || new.attachable => Some(
            "configuration network can only contain network specific fields. Network operator \
             fields like [ ingress | internal | attachable | scope ] are not supported.",
        ),
        (false, false) if said => Some(
            "user specified configurations are not supported if the network depends on a \
             configuration network",
        ),
        _ => None,
    }
}

/// What the host calls a network: the default one has no id of its own there.
pub(crate) fn key_of(network: &Network) -> &str {
    if network.name == DEFAULT_NETWORK { DEFAULT_NETWORK } else { &network.id }
}

pub(crate) fn not_found(query: &str) -> Error {
    Error::Network { message: format!("network {query} not found"), class: ErrorClass::NotFound }
}

fn exists(name: &str) -> Error {
    Error::Conflict { message: format!("network with name {name} already exists") }
}

/// The three that every engine has.
fn predefined(host: &Host) -> Vec<Network> {
    let all = [("bridge", "bridge"), ("host", "host"), ("none", "null")];
    let networks = all.into_iter().filter(|(name, _)| *name != "bridge" || host.has_default());
    let tell = |(name, driver): (&str, &str)| {
        let id = digest_of(&["network", name]);
        match host.default_network().filter(|_| name == DEFAULT_NETWORK) {
            Some(config) => record::tell_default(config, id),
            None => Network {
                id,
                name: name.to_owned(),
                driver: driver.to_owned(),
                ipv4: true,
                ..Network::default()
            },
        }
    };
    networks.map(tell).collect()
}
