//! The networks of one engine on one host: what the engine talks to.
//!
//! One `Host` per engine. Nothing is made before the first sandbox needs it. Every call waits for the
//! kernel at most, and calls for different sandboxes go side by side.
//! Invariant: a sandbox that was given is whole; one that failed has left nothing; giving back twice is
//! no error.
//! Absent on purpose: `host` and `container:<id>`, which are no sandboxes of their own: the engine names
//! the other's [`Sandbox::path`](crate::Sandbox), or none.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::address::Subnet;
use crate::error::NetworkError;
use crate::instance::Instance;
use crate::namespace::Namespace;
use crate::pins::Pins;
use crate::records::Records;
use crate::sandbox::{NetworkDetails, Sandbox, SandboxId, SandboxRequest};
use crate::steps::Steps;

/// How an engine's networks are to be.
#[derive(Debug)]
pub struct HostOptions {
    /// The engine's run directory; namespaces are mounted in `netns` below it, records kept in `network`.
    pub exec_root: PathBuf,
    /// The mark on bridges and rules.
    pub instance: Instance,
    /// The default network's addresses (`--bip`); otherwise the first of Docker's that are nobody's.
    pub pool: Option<Subnet>,
    /// A file that all engines of the host lock while they look for free addresses.
    pub lock: PathBuf,
    /// How many namespaces are kept ready.
    pub ready_max: usize,
    /// Whether the host may be made to forward packets, if it does not (`--ip-forward`).
    pub forwarding: bool,
    /// Where tests fail or kill.
    pub steps: Steps,
}

/// An engine's networks on this host.
#[derive(Debug)]
pub struct Host {
    pins: Pins,
    records: Records,
    steps: Steps,
    state: Mutex<State>,
}

/// What is known of what there is.
#[derive(Debug, Default)]
struct State {
    sandboxes: HashMap<SandboxId, Place>,
}

/// A sandbox in its life.
#[derive(Debug)]
enum Place {
    /// Somebody is at work on it.
    Busy,
    Whole(Sandbox),
}

impl Host {
    /// Reads what an earlier engine left, and removes what of it is not whole.
    pub fn open(options: HostOptions) -> Result<Self, NetworkError> {
        let pins = Pins::of(options.exec_root.join("netns"));
        let records = Records::of(options.exec_root.join("network"));
        let mut state = State::default();
        for sandbox in records.load()? {
            match pins.open(&sandbox.id)? {
                Some(_) => drop(state.sandboxes.insert(sandbox.id.clone(), Place::Whole(sandbox))),
                None => records.remove(&sandbox.id)?,
            }
        }
        for id in pins.list()?.iter().filter(|id| !state.sandboxes.contains_key(id)) {
            pins.remove(id)?;
        }
        Ok(Self { pins, records, steps: options.steps, state: Mutex::new(state) })
    }

    /// Makes a sandbox.
    pub fn sandbox(&self, request: &SandboxRequest) -> Result<Sandbox, NetworkError> {
        let id = &request.id;
        if let Some(endpoint) = &request.endpoint {
            return Err(NetworkError::UnknownNetwork { name: endpoint.network.clone() });
        }
        if self.state().sandboxes.contains_key(id) {
            return Err(NetworkError::SandboxExists { id: id.clone() });
        }
        self.state().sandboxes.insert(id.clone(), Place::Busy);
        let made = self.make(id);
        match &made {
            Ok(sandbox) => {
                self.state().sandboxes.insert(id.clone(), Place::Whole(sandbox.clone()));
            }
            Err(_) => {
                let _ = self.take_away(id);
                self.state().sandboxes.remove(id);
            }
        }
        made
    }

    fn make(&self, id: &SandboxId) -> Result<Sandbox, NetworkError> {
        let mut namespace = Namespace::make()?;
        namespace.links();
        self.steps.at("prepare the pin")?;
        self.pins.prepare(id)?;
        self.steps.at("pin")?;
        self.pins.hold(id, std::os::fd::AsFd::as_fd(&namespace))?;
        let sandbox = Sandbox { id: id.clone(), path: self.pins.path(id), endpoints: Vec::new() };
        self.steps.at("record")?;
        self.records.put(&sandbox)?;
        Ok(sandbox)
    }

    /// A sandbox that an earlier engine made, as it is: its processes notice nothing.
    pub fn adopt(&self, id: &SandboxId) -> Result<Sandbox, NetworkError> {
        match self.state().sandboxes.get(id) {
            Some(Place::Whole(sandbox)) => Ok(sandbox.clone()),
            _ => Err(NetworkError::UnknownSandbox { id: id.clone() }),
        }
    }

    /// Gives a sandbox back, whether it is there or not. Its links vanish a moment after the last process
    /// in it, and its address is not given to the next one.
    pub fn release(&self, id: &SandboxId) -> Result<(), NetworkError> {
        self.take_away(id)?;
        self.state().sandboxes.remove(id);
        Ok(())
    }

    /// Gives back all sandboxes but those that are `known`, and returns their names.
    pub fn prune(&self, known: &HashSet<SandboxId>) -> Result<Vec<SandboxId>, NetworkError> {
        let ids: Vec<_> = self.state().sandboxes.keys().cloned().collect();
        let unknown: Vec<_> = ids.into_iter().filter(|id| !known.contains(id)).collect();
        for id in &unknown {
            self.release(id)?;
        }
        Ok(unknown)
    }

    /// The networks that there are by now; the default one only once it has been needed.
    pub fn networks(&self) -> Vec<NetworkDetails> {
        Vec::new()
    }

    fn take_away(&self, id: &SandboxId) -> Result<(), NetworkError> {
        self.steps.at("forget")?;
        self.records.remove(id)?;
        self.steps.at("unpin")?;
        self.pins.remove(id)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
