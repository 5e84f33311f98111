//! The engine: what server and tests talk to.
//!
//! One file per family of calls: `open` (from two directories to an engine), `calls` (containers), `exec`,
//! `streams` (logs, attach, events), `facts` (what it is and runs on), `files` (copied in and out), `commit`,
//! `network` (a container's), `links` (in the default one), `networks` (users'), `upkeep` (of the host's rules),
//! `volumes`, `volume_data` (what they hold).
//!
//! Invariant: a listing waits for no container; what an engine acknowledges survives it.
//! Absent on purpose: HTTP, Docker's JSON, and state of containers: that is each container's task's.

mod calls;
mod commit;
mod exec;
mod facts;
mod files;
mod links;
mod logs;
mod network;
mod networks;
mod open;
mod streams;
mod upkeep;
mod volume_data;
mod volumes;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use dhow_network::Host;
use dhow_store::{Snapshots, Store};

use crate::build::{Builds, Contexts};
use crate::containers::asks::ExecDetails;
use crate::containers::stand_in::StandIn;
use crate::containers::table::Table;
use crate::events::Hub;
use crate::images::ImageEngine;
use crate::networks::{Names, Networks};
use crate::plan::HostFacts;
use crate::volumes::Volumes;

pub use calls::Wait;
pub use commit::CommitRequest;
pub use facts::{EngineFacts, ImageCount, Reload, Told};
pub use files::UnpackRequest;
pub use logs::{LogLine, LogStream};
pub(crate) use network::names_of;
pub use networks::NetworkMember;
pub(crate) use networks::event as network_event;
pub use open::{EngineOptions, OpenError};
pub use upkeep::Upkeep;

/// What runs containers where nobody chose: ourselves.
pub(crate) const RUNTIME: &str = "dhow";

/// An engine; cloned freely.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// What all tasks have in common.
pub(crate) struct Shared {
    pub(crate) data_root: PathBuf,
    pub(crate) exec_root: PathBuf,
    /// Our own binary, for monitors.
    pub(crate) program: PathBuf,
    pub(crate) store: Arc<Store>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) images: ImageEngine,
    pub(crate) network: Host,
    /// What users made of networks.
    pub(crate) networks: Networks,
    /// Who is called what in them.
    pub(crate) names: Names,
    pub(crate) hub: Hub,
    pub(crate) table: Table,
    /// Whose an exec is.
    pub(crate) execs: Mutex<HashMap<String, Arc<str>>>,
    pub(crate) volumes: Volumes,
    pub(crate) stand_in: StandIn,
    pub(crate) builds: Builds,
    /// What was sent for earlier builds.
    pub(crate) contexts: Contexts,
    /// What planning knows of the machine.
    pub(crate) host: Mutex<HostFacts>,
    /// The machine has booted since the last engine.
    pub(crate) rebooted: bool,
    pub(crate) told: Mutex<Told>,
    /// Held until the end: a second engine with this exec root is refused.
    _exec_lock: std::fs::File,
}

impl Shared {
    /// Where the runtime keeps its records.
    pub(crate) fn state_root(&self) -> PathBuf {
        self.exec_root.join("oci")
    }

    /// What planning must know, as it is now.
    pub(crate) fn host_facts(&self) -> HostFacts {
        let mut facts = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        facts.refresh();
        facts.clone()
    }

    pub(crate) fn remember_execs(&self, of: &Arc<str>, execs: &BTreeMap<String, ExecDetails>) {
        let mut known = self.execs.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(execs.keys().map(|id| (id.clone(), of.clone())));
    }

    pub(crate) fn forget_exec(&self, id: &str) {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    pub(crate) fn forget_execs(&self, execs: &BTreeMap<String, ExecDetails>) {
        let mut known = self.execs.lock().unwrap_or_else(PoisonError::into_inner);
        for id in execs.keys() {
            known.remove(id);
        }
    }
}

impl Engine {
    /// Its images: pulls, pushes.
    pub fn images(&self) -> &ImageEngine {
        &self.shared.images
    }

    /// Its store: image names, content, disk usage.
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    /// Its snapshots.
    pub fn snapshots(&self) -> &Arc<Snapshots> {
        &self.shared.snapshots
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("data_root", &self.shared.data_root).finish_non_exhaustive()
    }
}
