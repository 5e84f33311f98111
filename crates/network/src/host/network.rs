//! The default network's coming into being, once per engine, and again after each restart that finds
//! sandboxes in it.
//!
//! Invariant: rules are in force before anything is turned on that needs them: the way to loopback
//! addresses, and forwarding.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::address::Subnet;
use crate::bridge::{self, Bridge, BridgeOptions};
use crate::error::NetworkError;
use crate::firewall::Firewall;
use crate::pool::{Pool, Refusal};
use crate::ready::Ready;
use crate::sandbox::{DEFAULT_NETWORK, Sandbox};

use super::{Host, lock, rules_of};

/// A network that is there.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) bridge: Bridge,
    pool: Pool,
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

    fn open(path: PathBuf) -> Result<(Self, Option<Ipv4Addr>), NetworkError> {
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

    fn set(&self, address: Ipv4Addr) -> Result<(), NetworkError> {
        // Always as long, so that one write is all.
        let text = format!("{address:<width$}\n", width = Self::BYTES - 1);
        self.file.write_all_at(text.as_bytes(), 0).map_err(NetworkError::io("write", &self.path))
    }
}

impl Host {
    /// The bridge, made if need be.
    pub(super) fn bridge(&self) -> Result<Bridge, NetworkError> {
        let mut network = lock(&self.network);
        if let Some(network) = &*network {
            return Ok(network.bridge.clone());
        }
        let made = self.make_network(self.options.pool, true)?;
        let bridge = made.bridge.clone();
        *network = Some(made);
        Ok(bridge)
    }

    /// What the sandboxes that were found need. Without any, rules that a killed engine left must not send
    /// connections to where nobody is.
    pub(super) fn recover_network(&self, whole: &[Sandbox]) -> Result<(), NetworkError> {
        let Some(endpoint) = whole.iter().flat_map(|sandbox| &sandbox.endpoints).next() else {
            // Nothing is found where there is no nftables, and nothing has to be.
            if self.with_firewall(Firewall::is_there).unwrap_or(false) {
                self.with_firewall(Firewall::assert)?;
            }
            return Ok(());
        };
        self.with_firewall(|firewall| {
            for (published, target) in whole.iter().flat_map(rules_of) {
                firewall.remember(published, target);
            }
            Ok(())
        })?;
        let subnet = Subnet::around(endpoint.ipv4, endpoint.prefix);
        let mut made = self.make_network(subnet, false)?;
        for endpoint in whole.iter().flat_map(|sandbox| &sandbox.endpoints) {
            // Two of one address cannot be: the one that is there has it.
            let _ = made.pool.take_this(endpoint.ipv4);
        }
        *lock(&self.network) = Some(made);
        Ok(())
    }

    fn make_network(
        &self,
        subnet: Option<Subnet>,
        may_replace: bool,
    ) -> Result<Network, NetworkError> {
        let steps = &self.options.steps;
        steps.at("bridge")?;
        let options = BridgeOptions {
            instance: self.options.instance,
            pool: subnet,
            lock: self.options.lock.clone(),
            may_replace,
        };
        let bridge = Bridge::ensure(&options)?;
        let subnet = bridge.subnet;
        let mut pool = Pool::of(subnet).ok_or(NetworkError::SubnetTooSmall { subnet })?;
        let (last, given) = LastGiven::open(self.options.exec_root.join("network/last-given"))?;
        given.iter().for_each(|address| pool.pass(*address));
        let forward = self.options.forwarding && !bridge::forwards()?;
        if forward {
            steps.at("mark forwarding")?;
            self.mark_guard()?;
        }
        steps.at("rules")?;
        self.with_firewall(|firewall| {
            firewall.serve(subnet);
            firewall.assert()
        })?;
        steps.at("route loopback")?;
        bridge.route_loopback()?;
        if forward {
            steps.at("forward")?;
            bridge::forward()?;
        }
        let served = bridge.clone();
        self.ready.serve(move || Ready::make(&served));
        Ok(Network { bridge, pool, last })
    }

    /// An address for an endpoint: the one that is asked for, or the next.
    pub(super) fn take_address(&self, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr, NetworkError> {
        let mut network = lock(&self.network);
        let no_address = || NetworkError::NoAddress { network: DEFAULT_NETWORK.to_owned() };
        let network = network.as_mut().ok_or_else(no_address)?;
        let Some(address) = wanted else {
            let address = network.pool.take().ok_or_else(no_address)?;
            let noted = network.last.set(address);
            if noted.is_err() {
                network.pool.give_back(address);
            }
            return noted.map(|()| address);
        };
        match network.pool.take_this(address) {
            Ok(()) => Ok(address),
            Err(Refusal::Taken) => Err(NetworkError::AddressTaken { address }),
            Err(Refusal::Outside) => Err(NetworkError::AddressOutside { address }),
        }
    }

    pub(super) fn give_back(&self, address: Ipv4Addr) {
        if let Some(network) = &mut *lock(&self.network) {
            network.pool.give_back(address);
        }
    }

    pub(super) fn with_firewall<T>(
        &self,
        work: impl FnOnce(&mut Firewall) -> Result<T, NetworkError>,
    ) -> Result<T, NetworkError> {
        let mut firewall = lock(&self.firewall);
        let firewall = match &mut *firewall {
            Some(firewall) => firewall,
            none => {
                let instance = self.options.instance;
                none.insert(Firewall::new(instance.table(), instance.bridge(), self.guards())?)
            }
        };
        work(firewall)
    }

    /// Whether the host forwards packets because of this engine, in this life or an earlier one. The mark
    /// lasts as long as the host's setting does: until it starts anew.
    pub(super) fn guards(&self) -> bool {
        self.guard_mark().exists()
    }

    pub(super) fn guard_mark(&self) -> PathBuf {
        self.options.exec_root.join("network/forwarding")
    }

    fn mark_guard(&self) -> Result<(), NetworkError> {
        let mark = self.guard_mark();
        let dir = mark.parent().unwrap_or(&mark);
        fs::create_dir_all(dir).map_err(NetworkError::io("create", dir))?;
        fs::write(&mark, "").map_err(NetworkError::io("write", &mark))?;
        self.with_firewall(|firewall| {
            firewall.guard();
            Ok(())
        })
    }
}
