//! Networks that users make, and take away.
//!
//! Invariant: of a network that could not be made nothing is left; one with endpoints is not taken away.
//! Absent on purpose: the record of it, which is the engine's; without one, the next engine removes what is
//! left here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::network::open_links;
use super::{Host, Place, lock};
use crate::address::Subnet;
use crate::bridge;
use crate::config::{Addresses, Kind, NetworkConfig, NetworkRequest, PoolRequest};
use crate::error::NetworkError;
use crate::instance::Instance;
use crate::link::Links;
use crate::options::Settings;

impl Host {
    /// Makes a network; what nobody said about it is settled here.
    pub fn create_network(&self, request: &NetworkRequest) -> Result<NetworkConfig, NetworkError> {
        let settings = Settings::read(&request.driver, &request.options)?;
        let wants = Wants::of(request, &settings)?;
        let _making = lock(&self.making);
        // Others who look for free addresses wait until ours are seen on the bridge.
        let _turn = bridge::lock(&self.options.lock)?;
        let mut links = open_links()?;
        let others = self.subnets();
        let config = self.settle(request, settings, wants, &mut links, &others)?;
        self.options.steps.at("create network")?;
        if let Err(error) = self.bring_up(&mut links, &config) {
            self.forget(&config)?;
            return Err(error);
        }
        lock(&self.known).insert(config.key.clone(), config.clone());
        Ok(config)
    }

    /// Takes a network away that has no endpoints.
    pub fn remove_network(&self, key: &str) -> Result<(), NetworkError> {
        let _making = lock(&self.making);
        let Some(config) = lock(&self.known).get(key).cloned() else { return Ok(()) };
        if self.is_in_use(key) {
            return Err(NetworkError::InUse { name: config.name, key: config.key });
        }
        self.options.steps.at("remove network")?;
        self.forget(&config)?;
        lock(&self.known).remove(key);
        Ok(())
    }

    /// Whether a sandbox has a place in a network; one that is being changed may.
    fn is_in_use(&self, key: &str) -> bool {
        self.sandboxes().values().any(|place| match place {
            Place::Busy => false,
            Place::Whole(whole) => whole.sandbox.endpoints.iter().any(|one| one.network == key),
        })
    }

    fn forget(&self, config: &NetworkConfig) -> Result<(), NetworkError> {
        let network = lock(&self.networks).remove(&config.key);
        // What is ready is on the bridge.
        drop(network);
        self.with_firewall(|firewall| firewall.forget_network(&config.key))?;
        self.options.steps.at("remove device")?;
        if !config.is_foreign {
            bridge::remove(self.options.instance, config)?;
        }
        let name = format!("last-given-{}", config.key.get(..12).unwrap_or(&config.key));
        let _ = std::fs::remove_file(self.options.exec_root.join("network").join(name));
        Ok(())
    }

    fn settle(
        &self,
        request: &NetworkRequest,
        settings: Settings,
        wants: Wants,
        links: &mut Links,
        others: &[Subnet],
    ) -> Result<NetworkConfig, NetworkError> {
        let overlapping = |subnet: &Subnet| others.iter().any(|other| other.overlaps(*subnet));
        let mut own: Vec<Subnet> = Vec::new();
        for subnet in wants.all().filter_map(|pool| pool.subnet) {
            let twice = own.iter().any(|other| other.overlaps(subnet));
            if overlapping(&subnet) || twice {
                return Err(NetworkError::Overlap { subnet });
            }
            own.push(subnet);
        }
        // The first subnet is the default network's, whether that is there already or not.
        let default = &self.options.default;
        let chosen = default.is_absent || default.address.is_some() || default.range.is_some();
        let (skip, pools) = (usize::from(!chosen), &self.options.pools);
        let ipv4 = match wants.ipv4 {
            Some(pool) => {
                let subnet = match pool.subnet {
                    Some(subnet) => subnet,
                    None => bridge::free_subnet(links, others, pools, skip)?,
                };
                Some(pool.settle(subnet)?)
            }
            None => None,
        };
        let ipv6 = match wants.ipv6 {
            Some(pool) => {
                let subnet = match pool.subnet {
                    Some(subnet) => subnet,
                    None => bridge::free_subnet6(links, others, pools, self.options.instance)?,
                };
                Some(pool.settle(subnet)?)
            }
            None => None,
        };
        let settle = |pool: Wanted| pool.subnet.map(|subnet| pool.settle(subnet)).transpose();
        let more = wants.more.into_iter().filter_map(|pool| settle(pool).transpose());
        let more = more.collect::<Result<_, _>>()?;
        let instance = self.options.instance;
        let (interface, is_foreign) = device_of(request, &settings, links, instance)?;
        Ok(NetworkConfig {
            key: request.key.clone(),
            name: request.name.clone(),
            kind: settings.kind,
            interface,
            is_foreign,
            mtu: settings.mtu,
            ipv4,
            ipv6,
            more,
            internal: request.internal,
            icc: settings.icc,
            masquerade: settings.masquerade,
            mode4: settings.mode4,
            mode6: settings.mode6,
            binding: settings.binding,
            inhibit_ipv4: settings.inhibit_ipv4,
            interface_prefix: settings.interface_prefix,
            rate: settings.rate,
        })
    }
}

/// The network's device, and whether it is there already.
fn device_of(
    request: &NetworkRequest,
    settings: &Settings,
    links: &mut Links,
    instance: Instance,
) -> Result<(String, bool), NetworkError> {
    let short = request.key.get(..12).unwrap_or(&request.key);
    let (name, is_bridge) = match &settings.kind {
        Kind::Bridge => (settings.interface.clone().unwrap_or(format!("br-{short}")), true),
        Kind::Macvlan { parent, .. } if parent.is_empty() => (format!("dm-{short}"), false),
        Kind::Ipvlan { parent, .. } if parent.is_empty() => (format!("di-{short}"), false),
        Kind::Macvlan { parent, .. } | Kind::Ipvlan { parent, .. } => (parent.clone(), false),
    };
    let looking = NetworkError::netlink::<dhow_sys::NetlinkError>(format!("look at {name}"));
    let found = links.find(&name).map_err(looking)?;
    if is_bridge && name == instance.bridge() {
        return Err(NetworkError::NoBridge { interface: name });
    }
    Ok((name, found.is_some()))
}

/// What is wanted of a network's addresses, understood.
struct Wants {
    ipv4: Option<Wanted>,
    ipv6: Option<Wanted>,
    more: Vec<Wanted>,
}

/// One kind of them.
#[derive(Default, Clone)]
struct Wanted {
    subnet: Option<Subnet>,
    range: Option<Subnet>,
    gateway: Option<IpAddr>,
    auxiliary: BTreeMap<String, IpAddr>,
}

impl Wants {
    fn of(request: &NetworkRequest, settings: &Settings) -> Result<Self, NetworkError> {
        let mut faults = Vec::new();
        let (mut ipv4, mut ipv6, mut more) = (None, None, Vec::new());
        for pool in &request.pools {
            let wanted = Wanted::read(pool, &mut faults);
            let is_ipv6 = wanted.subnet.is_some_and(Subnet::is_ipv6)
                || wanted.subnet.is_none() && wanted.gateway.is_some_and(|one| one.is_ipv6());
            let place = if is_ipv6 { &mut ipv6 } else { &mut ipv4 };
            match place {
                None => *place = Some(wanted),
                Some(_) => more.push(wanted),
            }
        }
        if !faults.is_empty() {
            let words = format!("invalid network config:\n{}", faults.join("\n"));
            return Err(NetworkError::InvalidAddresses { words });
        }
        if !more.is_empty() && settings.kind == Kind::Bridge {
            return Err(NetworkError::SeveralSubnets);
        }
        let has4 = request.ipv4.or(settings.ipv4).unwrap_or(true);
        let has6 = request.ipv6.or(settings.ipv6).unwrap_or(ipv6.is_some());
        if !has4 && !has6 {
            return Err(NetworkError::NoAddresses);
        }
        more.retain(|one| one.subnet.is_some_and(|one| if one.is_ipv6() { has6 } else { has4 }));
        Ok(Self {
            ipv4: has4.then(|| ipv4.unwrap_or_default()),
            ipv6: has6.then(|| ipv6.unwrap_or_default()),
            more,
        })
    }

    fn all(&self) -> impl Iterator<Item = &Wanted> {
        self.ipv4.iter().chain(&self.ipv6).chain(&self.more)
    }
}

impl Wanted {
    /// Understands what users wrote; what is wrong with it is added to the faults, in Docker's words.
    fn read(pool: &PoolRequest, faults: &mut Vec<String>) -> Self {
        let mut wanted = Self::default();
        let cidr = |what: &str, text: &str, faults: &mut Vec<String>| -> Option<Subnet> {
            let parsed = text.parse::<Subnet>();
            let Ok(subnet) = parsed else {
                faults.push(format!("invalid {what} {text}: invalid CIDR block notation"));
                return None;
            };
            if !text.starts_with(&format!("{}/", subnet.first())) {
                faults.push(format!("invalid {what} {text}: it should be {subnet}"));
            }
            Some(subnet)
        };
        if !pool.subnet.is_empty() {
            wanted.subnet = cidr("subnet", &pool.subnet, faults);
        } else if !pool.range.is_empty() || !pool.gateway.is_empty() || !pool.auxiliary.is_empty() {
            faults.push("invalid subnet : invalid CIDR block notation".to_owned());
        }
        let Some(subnet) = wanted.subnet else { return wanted };
        let block = if subnet.is_ipv6() { "IPv6" } else { "IPv4" };
        if !pool.range.is_empty()
            && let Some(range) = cidr("ip-range", &pool.range, faults)
        {
            let what = format!("invalid ip-range {}", pool.range);
            if range.is_ipv6() != subnet.is_ipv6() {
                faults.push(format!("{what}: parent subnet is an {block} block"));
            } else if range.prefix() < subnet.prefix() {
                faults
                    .push(format!("{what}: CIDR block is bigger than its parent subnet {subnet}"));
            } else if !subnet.covers(range) {
                faults.push(format!("{what}: parent subnet {subnet} doesn't contain ip-range"));
            }
            wanted.range = Some(range);
        }
        let address = |what: String, text: &str, faults: &mut Vec<String>| -> Option<IpAddr> {
            let Ok(address) = text.parse::<IpAddr>() else {
                faults.push(format!("{what}: invalid address"));
                return None;
            };
            if address.is_ipv6() != subnet.is_ipv6() {
                faults.push(format!("{what}: parent subnet is an {block} block"));
            } else if !subnet.contains(address) {
                faults.push(format!("{what}: parent subnet {subnet} doesn't contain this address"));
            }
            Some(address)
        };
        if !pool.gateway.is_empty() {
            let what = format!("invalid gateway {}", pool.gateway);
            wanted.gateway = address(what, &pool.gateway, faults);
        }
        for (name, text) in &pool.auxiliary {
            let found = address(format!("invalid auxiliary address {name}"), text, faults);
            wanted.auxiliary.extend(found.map(|found| (name.clone(), found)));
        }
        wanted
    }

    /// With a gateway: the first address of the range, or of all, that is nobody's.
    fn settle(self, subnet: Subnet) -> Result<Addresses, NetworkError> {
        let Self { range, gateway, auxiliary, .. } = self;
        let mut pool = crate::pool::Pool::of(subnet, range, auxiliary.values().copied());
        let gateway = match gateway {
            Some(gateway) => Some(gateway),
            None => pool.take(),
        };
        if gateway.is_none() {
            return Err(NetworkError::SubnetTooSmall { subnet });
        }
        Ok(Addresses { subnet, range, gateway, host: None, auxiliary })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(subnet: &str, range: &str, gateway: &str) -> Vec<String> {
        let pool = PoolRequest {
            subnet: subnet.to_owned(),
            range: range.to_owned(),
            gateway: gateway.to_owned(),
            auxiliary: BTreeMap::new(),
        };
        let mut faults = Vec::new();
        Wanted::read(&pool, &mut faults);
        faults
    }

    #[test]
    fn bad_addresses_are_told_in_docker_s_words() {
        let none: [String; 0] = [];
        assert_eq!(faults("10.0.0.0/16", "10.0.5.0/24", "10.0.0.9"), none);
        assert_eq!(
            faults("10.0.0.0", "", ""),
            ["invalid subnet 10.0.0.0: invalid CIDR block notation"]
        );
        assert_eq!(
            faults("10.0.0.1/24", "", ""),
            ["invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"]
        );
        assert_eq!(
            faults("10.0.0.0/24", "10.0.0.0/16", ""),
            [
                "invalid ip-range 10.0.0.0/16: CIDR block is bigger than its parent subnet 10.0.0.0/24"
            ]
        );
        assert_eq!(
            faults("10.0.0.0/24", "10.1.0.0/25", "fd00::1"),
            [
                "invalid ip-range 10.1.0.0/25: parent subnet 10.0.0.0/24 doesn't contain ip-range",
                "invalid gateway fd00::1: parent subnet is an IPv4 block",
            ]
        );
        assert_eq!(
            faults("10.0.0.0/24", "", "10.0.1.1"),
            ["invalid gateway 10.0.1.1: parent subnet 10.0.0.0/24 doesn't contain this address"]
        );
    }

    #[test]
    fn the_gateway_is_the_first_of_what_may_be_chosen() {
        let subnet: Subnet = "10.0.0.0/16".parse().unwrap();
        let gateway = |wanted: Wanted| wanted.settle(subnet).unwrap().gateway.unwrap().to_string();
        assert_eq!(gateway(Wanted::default()), "10.0.0.1");
        let range = "10.0.5.0/24".parse().ok();
        assert_eq!(gateway(Wanted { range, ..Wanted::default() }), "10.0.5.0");
        let auxiliary = BTreeMap::from([("x".to_owned(), "10.0.0.1".parse().unwrap())]);
        assert_eq!(gateway(Wanted { auxiliary, ..Wanted::default() }), "10.0.0.2");
    }
}
