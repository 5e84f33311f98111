//! The networks of one engine on one host: what the engine talks to.
//!
//! One `Host` per engine. Nothing is made before the first sandbox needs it. Every call waits for the
//! kernel at most, and calls for different sandboxes go side by side.
//! Invariant: a sandbox that was given is whole; one that failed has left nothing; giving back twice is
//! no error.
//! Absent on purpose: `host` and `container:<id>`, which are no sandboxes of their own: the engine names
//! the other's [`Sandbox::path`](crate::Sandbox), or none.

mod attach;
mod connect;
mod create;
mod make;
mod network;
mod rules;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bridge;
use crate::config::{AddressPool, DefaultNetwork, Kind, NetworkConfig};
use crate::error::NetworkError;
use crate::firewall::{Firewall, Obstacle, Published};
use crate::instance::Instance;
use crate::namespace::Namespace;
use crate::pins::Pins;
use crate::ports::{Held, Ports};
use crate::ready::ReadyPool;
use crate::records::Records;
use crate::sandbox::{Sandbox, SandboxId, SandboxRequest};
use crate::steps::Steps;

use network::Network;
use rules::{opens_of, published};

/// Of so many namespaces that are kept ready one more is kept without a device.
const BARE_PART: usize = 4;

/// How an engine's networks are to be.
#[derive(Debug)]
pub struct HostOptions {
    /// The engine's run directory; namespaces are mounted in `netns` below it, records kept in `network`.
    pub exec_root: PathBuf,
    /// The mark on bridges and rules.
    pub instance: Instance,
    /// The network that every engine has.
    pub default: DefaultNetwork,
    /// Where subnets come from that nobody chose; Docker's, and of IPv6 the engine's own, where nothing is
    /// said of a kind.
    pub pools: Vec<AddressPool>,
    /// The networks that users made, as the engine has them on record.
    pub networks: Vec<NetworkConfig>,
    /// A file that all engines of the host lock while they look for free addresses.
    pub lock: PathBuf,
    /// How many namespaces with a place on the bridge are kept ready once one was needed, and a quarter as
    /// many without; eight are plenty.
    pub ready_max: usize,
    /// Whether the host may be made to forward packets, if it does not (`--ip-forward`). It still does
    /// not forward between its pieces of hardware then.
    pub forwarding: bool,
    /// Where tests fail or kill.
    pub steps: Steps,
}

/// An engine's networks on this host.
#[derive(Debug)]
pub struct Host {
    options: HostOptions,
    pins: Pins,
    records: Records,
    ports: Ports,
    bare: ReadyPool<Namespace>,
    sandboxes: Mutex<HashMap<SandboxId, Place>>,
    /// Networks of users, there or not.
    known: Mutex<BTreeMap<String, NetworkConfig>>,
    /// Networks that are there.
    networks: Mutex<HashMap<String, Arc<Network>>>,
    /// Whoever makes a network has it.
    making: Mutex<()>,
    firewall: Mutex<Option<Firewall>>,
}

/// A sandbox in its life.
#[derive(Debug)]
enum Place {
    /// Somebody is at work on it.
    Busy,
    Whole(Whole),
}

/// A sandbox with what is held for it.
#[derive(Debug)]
struct Whole {
    sandbox: Sandbox,
    ports: Vec<(Published, Held)>,
}

impl Host {
    /// Reads what an earlier engine left. What of it is whole goes on as it is, with its addresses, ports
    /// and rules; the rest is removed.
    pub fn open(options: HostOptions) -> Result<Self, NetworkError> {
        let host = Self {
            pins: Pins::of(options.exec_root.join("netns")),
            records: Records::of(options.exec_root.join("network/sandboxes")),
            ports: Ports::new(),
            bare: ReadyPool::new(options.ready_max / BARE_PART),
            sandboxes: Mutex::default(),
            known: Mutex::new(
                options.networks.iter().map(|one| (one.key.clone(), one.clone())).collect(),
            ),
            networks: Mutex::default(),
            making: Mutex::default(),
            firewall: Mutex::default(),
            options,
        };
        host.recover()?;
        Ok(host)
    }

    fn recover(&self) -> Result<(), NetworkError> {
        let mut whole = Vec::new();
        for sandbox in self.records.load()? {
            match self.pins.open(&sandbox.id)? {
                Some(_) => whole.push(sandbox),
                None => self.records.remove(&sandbox.id)?,
            }
        }
        let ids: HashSet<_> = whole.iter().map(|sandbox| sandbox.id.clone()).collect();
        for id in self.pins.list()?.iter().filter(|id| !ids.contains(id)) {
            self.pins.remove(id)?;
        }
        self.records.remove_marks_but(&ids)?;
        for sandbox in &mut whole {
            if let Some(interface) = self.records.mark(&sandbox.id)? {
                self.tidy(sandbox, &interface)?;
                self.records.remove_mark(&sandbox.id)?;
            }
        }
        let is_known = |key: &str| lock(&self.known).contains_key(key);
        bridge::remove_strangers(self.options.instance, |key| {
            key == crate::sandbox::DEFAULT_NETWORK || is_known(key)
        })?;
        self.recover_networks(&whole)?;
        for sandbox in whole {
            let places = published(&sandbox.endpoints);
            let again = places.map(|place| (place, self.ports.take_again(place)));
            let ports = again.collect();
            let id = sandbox.id.clone();
            self.sandboxes().insert(id, Place::Whole(Whole { sandbox, ports }));
        }
        Ok(())
    }

    /// Makes a sandbox. Ports are taken before anything else, so one in use is an error while nothing has
    /// happened yet.
    pub fn sandbox(&self, request: &SandboxRequest) -> Result<Sandbox, NetworkError> {
        let id = &request.id;
        {
            let mut sandboxes = self.sandboxes();
            if sandboxes.contains_key(id) {
                return Err(NetworkError::SandboxExists { id: id.clone() });
            }
            sandboxes.insert(id.clone(), Place::Busy);
        }
        let made = self.make(request);
        let mut sandboxes = self.sandboxes();
        match made {
            Ok(whole) => {
                let sandbox = whole.sandbox.clone();
                sandboxes.insert(id.clone(), Place::Whole(whole));
                Ok(sandbox)
            }
            Err(error) => {
                sandboxes.remove(id);
                Err(error)
            }
        }
    }

    /// A sandbox that is whole, whoever made it: after an engine's restart it is found here as it was, and
    /// its processes have noticed nothing.
    pub fn adopt(&self, id: &SandboxId) -> Result<Sandbox, NetworkError> {
        match self.sandboxes().get(id) {
            Some(Place::Whole(whole)) => Ok(whole.sandbox.clone()),
            _ => Err(NetworkError::UnknownSandbox { id: id.clone() }),
        }
    }

    /// Gives a sandbox back, whether it is there or not; after an error, it can be tried again. Its device
    /// vanishes a moment after the last process in it, and its address rests before it is given again.
    pub fn release(&self, id: &SandboxId) -> Result<(), NetworkError> {
        let place = match self.sandboxes().insert(id.clone(), Place::Busy) {
            Some(Place::Busy) => return Err(NetworkError::Busy { id: id.clone() }),
            Some(Place::Whole(whole)) => Some(whole),
            None => None,
        };
        let result = self.take_away(id, place.as_ref());
        let mut sandboxes = self.sandboxes();
        match (&result, place) {
            (Err(_), Some(whole)) => drop(sandboxes.insert(id.clone(), Place::Whole(whole))),
            (_, place) => {
                sandboxes.remove(id);
                self.make_free(place);
            }
        }
        result
    }

    /// Gives back all sandboxes but those that are `known`, and returns their names.
    pub fn prune(&self, known: &HashSet<SandboxId>) -> Result<Vec<SandboxId>, NetworkError> {
        let whole = |place: &Place| matches!(place, Place::Whole(_));
        let ids: Vec<_> = self
            .sandboxes()
            .iter()
            .filter(|(id, place)| whole(place) && !known.contains(id))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &ids {
            self.release(id)?;
        }
        Ok(ids)
    }

    /// Whether there is a default network at all.
    pub fn has_default(&self) -> bool {
        !self.options.default.is_absent
    }

    /// The default network, once it has been needed.
    pub fn default_network(&self) -> Option<NetworkConfig> {
        let networks = lock(&self.networks);
        networks.get(crate::sandbox::DEFAULT_NETWORK).map(|network| network.config().clone())
    }

    /// Chains of others that keep containers from the world, as far as nftables knows of them.
    pub fn obstacles(&self) -> Result<Vec<Obstacle>, NetworkError> {
        if lock(&self.networks).is_empty() {
            return Ok(Vec::new());
        }
        self.with_firewall(Firewall::obstacles)
    }

    /// What is in force of a network, in nftables' words, a rule or element a line; nothing of one that has
    /// no rules, or that nobody needed so far.
    pub fn rules(&self, key: &str) -> Result<Vec<String>, NetworkError> {
        let network = lock(&self.networks).get(key).cloned();
        let bridge = |network: &Arc<Network>| matches!(network.config().kind, Kind::Bridge);
        match network.filter(bridge) {
            Some(network) => self.with_firewall(|firewall| firewall.tell(network.config())),
            None => Ok(Vec::new()),
        }
    }

    /// Brings the rules back if somebody took them away; says whether that was so. For a clock, or for
    /// whoever watches the host's rules.
    pub fn repair(&self) -> Result<bool, NetworkError> {
        if lock(&self.networks).is_empty() {
            return Ok(false);
        }
        self.with_firewall(|firewall| {
            let is_whole = firewall.is_whole();
            if !is_whole {
                firewall.assert()?;
            }
            Ok(!is_whole)
        })
    }

    /// Takes everything of this engine away: sandboxes, rules, the bridge, and forwarding if it was turned
    /// on here. For whoever will not come back.
    pub fn dismantle(self) -> Result<(), NetworkError> {
        self.prune(&HashSet::new())?;
        let (guards, guards6) = self.guards();
        if guards {
            bridge::forward(false)?;
        }
        if guards6 {
            bridge::forward6(false)?;
        }
        if self.with_firewall(Firewall::is_there)? {
            self.with_firewall(Firewall::remove)?;
        }
        let instance = self.options.instance;
        let is_foreign = self.options.default.interface.is_some();
        let marks = [("forwarding", guards), ("forwarding6", guards6)];
        let marks: Vec<_> =
            marks.iter().filter(|(_, made)| *made).map(|(name, _)| self.guard_mark(name)).collect();
        let configs: Vec<_> =
            lock(&self.networks).values().map(|network| network.config().clone()).collect();
        // What is ready is on the bridges.
        drop(self);
        for mark in marks {
            std::fs::remove_file(&mark).map_err(NetworkError::io("remove", mark))?;
        }
        for config in configs.iter().filter(|config| !config.is_foreign) {
            bridge::remove(instance, config)?;
        }
        if !is_foreign {
            bridge::remove_default(instance)?;
        }
        bridge::remove_strangers(instance, |_| false)
    }

    /// What must go before anything of a sandbox may be another's.
    fn take_away(&self, id: &SandboxId, whole: Option<&Whole>) -> Result<(), NetworkError> {
        let steps = &self.options.steps;
        steps.at("forget")?;
        self.records.remove(id)?;
        let ports = whole.map_or(&[][..], |whole| &whole.ports);
        if !ports.is_empty() {
            steps.at("unpublish")?;
            let ports: Vec<_> = ports.iter().map(|(published, _)| *published).collect();
            self.with_firewall(|firewall| firewall.unpublish(&ports))?;
        }
        if let Some(whole) = whole {
            let open = opens_of(&whole.sandbox, &lock(&self.networks));
            self.with_open(&open)?;
        }
        steps.at("unpin")?;
        self.pins.remove(id)
    }

    fn make_free(&self, place: Option<Whole>) {
        let Some(whole) = place else { return };
        for (published, held) in whole.ports {
            self.ports.give_back(published, held);
        }
        let networks = lock(&self.networks);
        for endpoint in &whole.sandbox.endpoints {
            let Some(network) = networks.get(&endpoint.network) else { continue };
            let both = [endpoint.address(false), endpoint.address(true)];
            both.into_iter().flatten().for_each(|address| network.give_back(address));
        }
    }

    /// Closes what was open, if anything was.
    fn with_open(&self, open: &[crate::firewall::Open]) -> Result<(), NetworkError> {
        if open.is_empty() {
            return Ok(());
        }
        self.with_firewall(|firewall| firewall.open(open, false))
    }

    fn sandboxes(&self) -> MutexGuard<'_, HashMap<SandboxId, Place>> {
        lock(&self.sandboxes)
    }
}

/// A panic elsewhere leaves nothing half done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
