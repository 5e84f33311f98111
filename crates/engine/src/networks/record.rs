//! A network as it is recorded, and as it is told.
//!
//! Invariant: what a user wrote is given back as it was written. Fields that an older program does not know are
//! skipped by it; a newer version is refused.

use std::collections::BTreeMap;

use dhow_network::{Addresses, NetworkConfig, PoolRequest};
use dhow_store::NetworkRow;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The version that we write.
const VERSION: u32 = 1;

/// A network to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewNetwork {
    /// What it is to be called.
    pub name: String,
    /// Its driver; `bridge` where empty.
    pub driver: String,
    /// Whether it has IPv4; it has unless that is denied.
    pub ipv4: Option<bool>,
    /// Whether it has IPv6; it has where a subnet says so.
    pub ipv6: Option<bool>,
    /// Nothing in it has a way to anywhere else.
    pub internal: bool,
    /// Told again, and means nothing on one machine.
    pub attachable: bool,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// Free notes.
    pub labels: BTreeMap<String, String>,
    /// Options of who gives addresses out, told again.
    pub ipam_options: BTreeMap<String, String>,
    /// Its subnets.
    pub pools: Vec<NetworkPool>,
    /// It is no network, but what others can be made by.
    pub config_only: bool,
    /// The one of that kind that it is made by.
    pub config_from: String,
}

/// A subnet of a network, in words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkPool {
    /// The subnet.
    pub subnet: String,
    /// The part of it that addresses come from.
    pub range: String,
    /// The host's address.
    pub gateway: String,
    /// Addresses that no container gets, by what they are for.
    pub auxiliary: BTreeMap<String, String>,
}

/// A network, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made, in milliseconds since 1970; of those that every engine has, the epoch.
    pub created_ms: i64,
    /// `bridge`, `macvlan`, `ipvlan`, `host` or `null`.
    pub driver: String,
    /// It has IPv4.
    pub ipv4: bool,
    /// It has IPv6.
    pub ipv6: bool,
    /// Nothing in it has a way to anywhere else.
    pub internal: bool,
    /// As it was asked for.
    pub attachable: bool,
    /// As they were asked for.
    pub options: BTreeMap<String, String>,
    /// Free notes.
    pub labels: BTreeMap<String, String>,
    /// As they were asked for.
    pub ipam_options: BTreeMap<String, String>,
    /// Its subnets.
    pub pools: Vec<NetworkPool>,
    /// It is no network, but what others can be made by.
    pub config_only: bool,
    /// The one of that kind that it was made by.
    pub config_from: String,
}

/// What is kept of a network that is only a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Template {
    id: String,
    name: String,
    #[serde(default)]
    ipv4: Option<bool>,
    #[serde(default)]
    ipv6: Option<bool>,
    #[serde(default)]
    pools: Vec<NetworkPool>,
}

/// What a record is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Body {
    /// A network of the host.
    Config(Box<NetworkConfig>),
    /// None.
    Template(Template),
}

/// A network on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    #[serde(default)]
    created_ms: i64,
    #[serde(flatten)]
    body: Body,
    /// As it was asked for.
    driver: String,
    /// The configuration that it was made by.
    #[serde(default)]
    config_from: String,
    #[serde(default)]
    attachable: bool,
    #[serde(default)]
    options: BTreeMap<String, String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    ipam_options: BTreeMap<String, String>,
    /// Users chose the subnets of IPv4, and of IPv6, so that they may choose addresses as well.
    #[serde(default)]
    pub(crate) chosen: (bool, bool),
}

impl Record {
    /// Of a network that is only a configuration.
    pub(super) fn template(id: String, new: NewNetwork, created_ms: i64) -> Self {
        Self {
            version: VERSION,
            created_ms,
            body: Body::Template(Template {
                id,
                name: new.name,
                ipv4: new.ipv4,
                ipv6: new.ipv6,
                pools: new.pools,
            }),
            // Docker's word for the driver of what is no network.
            driver: "null".to_owned(),
            config_from: String::new(),
            attachable: false,
            options: new.options,
            labels: new.labels,
            ipam_options: new.ipam_options,
            chosen: (false, false),
        }
    }

    /// What a network is to be that is made by this one; nothing, if this is a network itself.
    pub(super) fn apply(&self, new: NewNetwork) -> Option<NewNetwork> {
        let Body::Template(template) = &self.body else { return None };
        Some(NewNetwork {
            ipv4: template.ipv4,
            ipv6: template.ipv6,
            pools: template.pools.clone(),
            options: self.options.clone(),
            labels: self.labels.clone(),
            ipam_options: self.ipam_options.clone(),
            ..new
        })
    }

    /// What the host knows of it.
    pub(super) fn config(&self) -> Option<&NetworkConfig> {
        match &self.body {
            Body::Config(config) => Some(config),
            Body::Template(_) => None,
        }
    }

    /// Whether it was made by a configuration.
    pub(super) fn is_from(&self, name: &str) -> bool {
        self.config_from == name
    }

    pub(super) fn new(config: NetworkConfig, new: NewNetwork, created_ms: i64) -> Self {
        let chosen = |is_ipv6: bool| {
            new.pools
                .iter()
                .any(|pool| !pool.subnet.is_empty() && pool.subnet.contains(':') == is_ipv6)
        };
        Self {
            version: VERSION,
            created_ms,
            body: Body::Config(Box::new(config)),
            config_from: new.config_from,
            driver: match new.driver.as_str() {
                "" => "bridge".to_owned(),
                driver => driver.to_owned(),
            },
            attachable: new.attachable,
            chosen: (chosen(false), chosen(true)),
            options: new.options,
            labels: new.labels,
            ipam_options: new.ipam_options,
        }
    }

    pub(super) fn id(&self) -> &str {
        match &self.body {
            Body::Config(config) => &config.key,
            Body::Template(template) => &template.id,
        }
    }

    pub(super) fn name(&self) -> &str {
        match &self.body {
            Body::Config(config) => &config.name,
            Body::Template(template) => &template.name,
        }
    }

    pub(super) fn row(&self) -> NetworkRow {
        NetworkRow {
            id: self.id().to_owned(),
            name: self.name().to_owned(),
            created_ms: self.created_ms,
            document: serde_json::to_string(self).expect("a record prints"),
        }
    }

    pub(super) fn read(row: &NetworkRow) -> Result<Self, Error> {
        let unreadable = |reason: String| Error::Record { id: row.id.clone(), reason };
        let record: Self =
            serde_json::from_str(&row.document).map_err(|error| unreadable(error.to_string()))?;
        if record.version > VERSION {
            return Err(unreadable(format!("version {} is newer than {VERSION}", record.version)));
        }
        Ok(record)
    }

    pub(super) fn tell(&self) -> Network {
        Network {
            driver: self.driver.clone(),
            attachable: self.attachable,
            created_ms: self.created_ms,
            options: self.options.clone(),
            labels: self.labels.clone(),
            ipam_options: self.ipam_options.clone(),
            config_from: self.config_from.clone(),
            ..match &self.body {
                Body::Config(config) => tell(config, config.key.clone()),
                Body::Template(template) => tell_template(template),
            }
        }
    }
}

/// The default network, whose options nobody chose.
pub(super) fn tell_default(config: NetworkConfig, id: String) -> Network {
    let option = |name: &str, value: String| (format!("com.docker.network.{name}"), value);
    let options = BTreeMap::from([
        option("bridge.default_bridge", "true".to_owned()),
        option("bridge.enable_icc", config.icc.to_string()),
        option("bridge.enable_ip_masquerade", config.masquerade.to_string()),
        option(
            "bridge.host_binding_ipv4",
            config.binding.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED).to_string(),
        ),
        option("bridge.name", config.interface.clone()),
        option("driver.mtu", config.mtu.to_string()),
    ]);
    Network { driver: "bridge".to_owned(), options, ..tell(&config, id) }
}

fn tell_template(template: &Template) -> Network {
    Network {
        id: template.id.clone(),
        name: template.name.clone(),
        ipv4: template.ipv4.unwrap_or(true),
        ipv6: template.ipv6.unwrap_or(false),
        pools: template.pools.clone(),
        config_only: true,
        ..Network::default()
    }
}

fn tell(config: &NetworkConfig, id: String) -> Network {
    Network {
        id,
        name: config.name.clone(),
        ipv4: config.ipv4.is_some(),
        ipv6: config.ipv6.is_some(),
        internal: config.internal,
        pools: config.addresses().map(NetworkPool::of).collect(),
        ..Network::default()
    }
}

impl NetworkPool {
    fn of(addresses: &Addresses) -> Self {
        let text = |value: Option<String>| value.unwrap_or_default();
        let auxiliary = addresses.auxiliary.iter();
        Self {
            subnet: addresses.subnet.to_string(),
            range: text(addresses.range.map(|range| range.to_string())),
            gateway: text(addresses.gateway.map(|gateway| gateway.to_string())),
            auxiliary: auxiliary.map(|(name, one)| (name.clone(), one.to_string())).collect(),
        }
    }

    pub(super) fn to_request(&self) -> PoolRequest {
        PoolRequest {
            subnet: self.subnet.clone(),
            range: self.range.clone(),
            gateway: self.gateway.clone(),
            auxiliary: self.auxiliary.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_networks_and_of_configurations_are_read_back() {
        let new = NewNetwork {
            name: "settings".to_owned(),
            pools: vec![NetworkPool { subnet: "10.0.0.0/24".to_owned(), ..NetworkPool::default() }],
            options: BTreeMap::from([("parent".to_owned(), "eth0".to_owned())]),
            config_only: true,
            ..NewNetwork::default()
        };
        let record = Record::template("1".repeat(64), new, 7);
        assert_eq!(Record::read(&record.row()).unwrap(), record);
        let told = record.tell();
        assert!(told.config_only && told.driver == "null" && told.pools.len() == 1);
        let wanted = NewNetwork { name: "lan".to_owned(), ..NewNetwork::default() };
        let made = record.apply(wanted).unwrap();
        assert_eq!((made.name.as_str(), made.options["parent"].as_str()), ("lan", "eth0"));
        assert!(record.config().is_none());
        // As records were before there were any of the other kind.
        let document = r#"{"version":1,"driver":"bridge","config":{"driver":"bridge","key":"k",
            "name":"n","kind":{"driver":"bridge"},"interface":"br0","mtu":1500,"ipv4":null,
            "ipv6":null,"icc":true,"masquerade":true,"interface_prefix":"eth"}}"#;
        let row = NetworkRow {
            id: "k".to_owned(),
            name: "n".to_owned(),
            created_ms: 0,
            document: document.to_owned(),
        };
        assert_eq!(Record::read(&row).unwrap().name(), "n");
    }
}
