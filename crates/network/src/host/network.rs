//! Networks coming into being: the default one when it is first needed, others when users make them, and all
//! of them again when they are needed after a restart of the engine or of the machine.
//!
//! Invariant: rules are in force before anything is turned on that needs them: the way to loopback
//! addresses, and forwarding.

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::address::Subnet;
use crate::bridge::{self, Device};
use crate::config::{Kind, NetworkConfig};
use crate::error::NetworkError;
use crate::firewall::Firewall;
use crate::link::Links;
use crate::pool::{Pool, Refusal};
use crate::ready::{Ready, ReadyPool};
use crate::sandbox::{DEFAULT_NETWORK, Sandbox};

use super::rules::{opens_of, rules_of};
use super::{Host, lock};

/// Of so many namespaces that are kept ready for the default network, one is kept for each other one.
const OTHERS_PART: usize = 4;

/// A network that is there.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) device: Device,
    pub(super) ready: ReadyPool<Ready>,
    pools: Mutex<Pools>,
}

#[derive(Debug)]
struct Pools {
    /// Of both kinds, those that are looked at first before the others.
    all: Vec<Pool>,
    last: LastGiven,
}

/// The address that was given last, in a file: the next engine goes on behind it. The device that had an
/// address answers for it until the kernel gets round to its end, an engine's restart later, too.
#[derive(Debug)]
struct LastGiven {
    file: File,
    path: PathBuf,
}

impl LastGiven {
    const BYTES: usize = 16;

    fn open(path: PathBuf) -> Result<(Self, Option<IpAddr>), NetworkError> {
        let dir = path.parent().unwrap_or(&path);
        fs::create_dir_all(dir).map_err(NetworkError::io("create", dir))?;
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(NetworkError::io("open", &path))?;
        let mut bytes = [0; Self::BYTES];
        let length = file.read_at(&mut bytes, 0).map_err(NetworkError::io("read", &path))?;
        let text = std::str::from_utf8(&bytes[..length]).unwrap_or_default();
        Ok((Self { file, path }, text.trim().parse().ok()))
    }

    fn set(&self, address: IpAddr) -> Result<(), NetworkError> {
        // Always as long, so that one write is all.
        let text = format!("{:<width$}\n", address.to_string(), width = Self::BYTES - 1);
        self.file.write_all_at(text.as_bytes(), 0).map_err(NetworkError::io("write", &self.path))
    }
}

impl Network {
    pub(super) fn config(&self) -> &NetworkConfig {
        &self.device.config
    }

    fn of(device: Device, exec_root: &Path, ready_max: usize) -> Result<Self, NetworkError> {
        let config = &device.config;
        let pool = |addresses: &crate::config::Addresses| {
            Pool::of(addresses.subnet, addresses.range, addresses.reserved())
        };
        let name = match config.is_default() {
            true => "last-given".to_owned(),
            false => format!("last-given-{}", config.key.get(..12).unwrap_or(&config.key)),
        };
        let (last, given) = LastGiven::open(exec_root.join("network").join(name))?;
        let mut all: Vec<_> = config.addresses().map(pool).collect();
        if let Some(given) = given {
            all.iter_mut().for_each(|pool| pool.pass(given));
        }
        Ok(Self {
            device,
            ready: ReadyPool::new(ready_max),
            pools: Mutex::new(Pools { all, last }),
        })
    }

    /// An address for an endpoint: the one that is asked for, or the next. None, if the network has none of
    /// its kind.
    pub(super) fn take_address(
        &self,
        is_ipv6: bool,
        wanted: Option<IpAddr>,
    ) -> Result<Option<IpAddr>, NetworkError> {
        let mut pools = lock(&self.pools);
        let Pools { all, last } = &mut *pools;
        let mut of_kind: Vec<_> = all.iter_mut().filter(|pool| pool.is_ipv6() == is_ipv6).collect();
        if of_kind.is_empty() {
            return match wanted {
                Some(address) => Err(NetworkError::NoSuchKind { address }),
                None => Ok(None),
            };
        }
        let Some(address) = wanted else {
            let network = self.config().name.clone();
            let address = of_kind.iter_mut().find_map(|pool| pool.take());
            let address = address.ok_or(NetworkError::NoAddress { network, is_ipv6 })?;
            let noted = if is_ipv6 { Ok(()) } else { last.set(address) };
            if noted.is_err() {
                of_kind.iter_mut().for_each(|pool| pool.give_back(address));
            }
            return noted.map(|()| Some(address));
        };
        let tries = of_kind.iter_mut().map(|pool| pool.take_this(address));
        let mut refused = tries.filter(|taken| *taken != Err(Refusal::Outside));
        match refused.next() {
            Some(Ok(())) => Ok(Some(address)),
            Some(Err(Refusal::Taken)) => Err(NetworkError::AddressTaken { address }),
            None | Some(Err(Refusal::Outside)) => Err(NetworkError::AddressOutside { address }),
        }
    }

    pub(super) fn give_back(&self, address: IpAddr) {
        lock(&self.pools).all.iter_mut().for_each(|pool| pool.give_back(address));
    }
}

impl Host {
    /// A network, made if need be.
    pub(super) fn network(&self, key: &str) -> Result<Arc<Network>, NetworkError> {
        if let Some(network) = lock(&self.networks).get(key) {
            return Ok(network.clone());
        }
        // One after the other: who comes second finds it made.
        let _turn = lock(&self.making);
        if let Some(network) = lock(&self.networks).get(key) {
            return Ok(network.clone());
        }
        match key {
            DEFAULT_NETWORK if self.options.default.is_absent => {
                Err(NetworkError::UnknownNetwork { name: key.to_owned() })
            }
            DEFAULT_NETWORK => self.make_default(None),
            key => {
                let config = lock(&self.known).get(key).cloned();
                let unknown = || NetworkError::UnknownNetwork { name: key.to_owned() };
                self.make_network(&config.ok_or_else(unknown)?)
            }
        }
    }

    /// What the sandboxes that were found need. Without any, rules that a killed engine left must not send
    /// connections to where nobody is.
    pub(super) fn recover_networks(&self, whole: &[Sandbox]) -> Result<(), NetworkError> {
        let mut endpoints = whole.iter().flat_map(|sandbox| &sandbox.endpoints).peekable();
        if endpoints.peek().is_none() {
            // Nothing is found where there is no nftables, and nothing has to be.
            if self.with_firewall(Firewall::is_there).unwrap_or(false) {
                self.with_firewall(Firewall::assert)?;
            }
            return Ok(());
        }
        for endpoint in endpoints {
            let is_made = lock(&self.networks).contains_key(&endpoint.network);
            if !is_made && endpoint.network == DEFAULT_NETWORK {
                let around = |address| Subnet::around(address, endpoint.prefix);
                self.make_default(endpoint.ipv4.and_then(around))?;
            }
            // One that is not on record any more leaves its sandboxes what they have.
            let Ok(network) = self.network(&endpoint.network) else { continue };
            for address in [endpoint.address(false), endpoint.address(true)].into_iter().flatten() {
                // Two of one address cannot be: the one that is there has it.
                let _ = network.take_address(address.is_ipv6(), Some(address));
            }
        }
        let networks = lock(&self.networks).clone();
        self.with_firewall(|firewall| {
            for sandbox in whole {
                for (published, target) in rules_of(sandbox, &networks) {
                    firewall.remember(published, target);
                }
                for open in opens_of(sandbox, &networks) {
                    firewall.remember_open(open);
                }
            }
            firewall.assert()
        })
    }

    /// `used` is the subnet that sandboxes have addresses of: then it is no other, whatever is set.
    fn make_default(&self, used: Option<Subnet>) -> Result<Arc<Network>, NetworkError> {
        self.options.steps.at("bridge")?;
        let _turn = bridge::lock(&self.options.lock)?;
        let mut links = open_links()?;
        let choice = bridge::Choice {
            settings: &self.options.default,
            instance: self.options.instance,
            others: &self.subnets(),
            pools: &self.options.pools,
        };
        let config = choice.settle(&mut links, used)?;
        self.bring_up(&mut links, &config)
    }

    fn make_network(&self, config: &NetworkConfig) -> Result<Arc<Network>, NetworkError> {
        self.options.steps.at("network")?;
        self.bring_up(&mut open_links()?, config)
    }

    /// Makes a network's device and puts its rules in force.
    pub(super) fn bring_up(
        &self,
        links: &mut Links,
        config: &NetworkConfig,
    ) -> Result<Arc<Network>, NetworkError> {
        let steps = &self.options.steps;
        let is_bridge = matches!(config.kind, Kind::Bridge);
        let device = Device::ensure(links, self.options.instance, config)?;
        steps.at("last given")?;
        let part = if config.is_default() { 1 } else { OTHERS_PART };
        let ready_max = if is_bridge { self.options.ready_max / part } else { 0 };
        let network = Network::of(device.clone(), &self.options.exec_root, ready_max)?;
        if is_bridge {
            self.allow(&device)?;
        }
        network.ready.serve(move || Ready::make(&device));
        let network = Arc::new(network);
        lock(&self.networks).insert(config.key.clone(), network.clone());
        Ok(network)
    }

    /// Rules first, then what they make harmless.
    fn allow(&self, device: &Device) -> Result<(), NetworkError> {
        let (steps, config) = (&self.options.steps, &device.config);
        let forward = self.options.forwarding && !bridge::forwards()?;
        let forward6 = self.options.forwarding && config.ipv6.is_some() && !bridge::forwards6();
        if forward || forward6 {
            steps.at("mark forwarding")?;
            self.mark_guards(forward, forward6)?;
        }
        steps.at("rules")?;
        self.with_firewall(|firewall| {
            firewall.serve(config);
            firewall.assert()
        })?;
        steps.at("route loopback")?;
        device.route_loopback()?;
        if forward {
            steps.at("forward")?;
            bridge::forward(true)?;
        }
        if forward6 {
            steps.at("forward IPv6")?;
            bridge::forward6(true)?;
        }
        Ok(())
    }

    /// The subnets of all networks that the engine knows.
    pub(super) fn subnets(&self) -> Vec<Subnet> {
        let known = lock(&self.known);
        let mut all: Vec<_> =
            known.values().flat_map(|config| config.addresses().map(|one| one.subnet)).collect();
        let made = lock(&self.networks);
        all.extend(made.values().flat_map(|one| one.config().addresses().map(|one| one.subnet)));
        all
    }

    pub(super) fn with_firewall<T>(
        &self,
        work: impl FnOnce(&mut Firewall) -> Result<T, NetworkError>,
    ) -> Result<T, NetworkError> {
        let mut firewall = lock(&self.firewall);
        let firewall = match &mut *firewall {
            Some(firewall) => firewall,
            none => {
                let (guards, guards6) = self.guards();
                none.insert(Firewall::new(self.options.instance.table(), guards, guards6)?)
            }
        };
        work(firewall)
    }

    /// Whether the host forwards packets of IPv4, and of IPv6, because of this engine, in this life or an
    /// earlier one. The marks last as long as the host's settings do: until it starts anew.
    pub(super) fn guards(&self) -> (bool, bool) {
        (self.guard_mark("forwarding").exists(), self.guard_mark("forwarding6").exists())
    }

    pub(super) fn guard_mark(&self, name: &str) -> PathBuf {
        self.options.exec_root.join("network").join(name)
    }

    fn mark_guards(&self, ipv4: bool, ipv6: bool) -> Result<(), NetworkError> {
        for name in [ipv4.then_some("forwarding"), ipv6.then_some("forwarding6")] {
            let Some(name) = name else { continue };
            let mark = self.guard_mark(name);
            let dir = mark.parent().unwrap_or(&mark);
            fs::create_dir_all(dir).map_err(NetworkError::io("create", dir))?;
            fs::write(&mark, "").map_err(NetworkError::io("write", &mark))?;
        }
        self.with_firewall(|firewall| {
            firewall.guard(ipv4, ipv6);
            Ok(())
        })
    }
}

pub(super) fn open_links() -> Result<Links, NetworkError> {
    Links::open().map_err(NetworkError::netlink("open a netlink socket"))
}
