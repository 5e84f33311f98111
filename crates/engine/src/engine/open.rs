//! From two directories to an engine that has found everything again.
//!
//! Invariant: one engine per data root and per exec root; who comes second is told whose it is, and changes
//! nothing. A socket or a number of a process that has died is no obstacle.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dhow_distribution::Client;
use dhow_network::{AddressPool, DefaultNetwork, Host, HostOptions, Instance, NetworkError};
use dhow_store::{
    Btrfs, Clock, Overlay2, SnapshotError, Snapshots, Snapshotter, Steps, Store, StoreError,
    StoreOptions, Vfs,
};
use tokio::task::spawn_blocking;

use super::{Engine, Shared, Told};
use crate::build::Contexts;
use crate::containers::recover;
use crate::containers::stand_in::StandIn;
use crate::error::Error;
use crate::events::Hub;
use crate::images::{ImageEngine, ImageEngineOptions};
use crate::networks::{Names, Networks};
use crate::plan::{Defaults, survey};
use crate::volumes::Volumes;

/// How often, and at which distance, is looked whether all tasks have ended.
const CLOSE_LOOKS: u32 = 500;
const CLOSE_PAUSE: Duration = Duration::from_millis(10);

/// How an engine is to be.
#[derive(Clone)]
pub struct EngineOptions {
    /// What outlives a reboot; absolute.
    pub data_root: PathBuf,
    /// What does not; absolute.
    pub exec_root: PathBuf,
    /// `overlay2`, `vfs` or `btrfs`; the first that works here if absent.
    pub storage_driver: Option<String>,
    /// The way to registries.
    pub client: Client,
    /// The network that every engine has.
    pub default_network: DefaultNetwork,
    /// Where networks get subnets from that nobody chose; Docker's pools where there is none.
    pub address_pools: Vec<AddressPool>,
    /// Options of networks to be made, by driver, unless whoever makes one says otherwise.
    pub network_options: BTreeMap<String, BTreeMap<String, String>>,
    /// Whether the host may be made to forward packets.
    pub forwarding: bool,
    /// A file that all engines of the host lock while they look for free addresses.
    pub network_lock: PathBuf,
    /// What containers get unless they say otherwise.
    pub defaults: Defaults,
    /// systemd makes the cgroups.
    pub systemd_cgroups: bool,
    /// What is told to whoever asks.
    pub told: Told,
    /// Layers that are downloaded at a time; Docker's number if absent.
    pub downloads_max: Option<usize>,
    /// Layers that are unpacked are not kept as blobs if a registry can serve them again.
    pub discard_unpacked_layers: bool,
    /// Blobs that are uploaded at a time; Docker's number if absent.
    pub uploads_max: Option<usize>,
}

/// Why there is no engine.
#[derive(Debug)]
pub enum OpenError {
    /// Another engine has the exec root.
    InUse {
        /// The exec root.
        exec_root: PathBuf,
        /// The other's process, as far as it said.
        pid: String,
    },
    /// No storage driver is called so.
    NoDriver {
        /// What was asked for.
        name: String,
    },
    /// The store does not open.
    Store(StoreError),
    /// The storage driver does not work here.
    Driver(SnapshotError),
    /// The networks of the host.
    Network(NetworkError),
    /// The containers of an earlier engine.
    Containers(Error),
    /// A file or directory.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Engine {
    /// Takes the roots, finds what an earlier engine left, and puts every container's task to work.
    pub async fn open(options: EngineOptions) -> Result<Self, OpenError> {
        let opened = spawn_blocking(move || open(options)).await;
        let (shared, found) = opened.map_err(|_| OpenError::Containers(Error::Closing))??;
        let shared = Arc::new(shared);
        recover::resume(&shared, found);
        Ok(Self { shared })
    }

    /// Lets go of everything: containers go on, and the roots are free for the next engine. Says whether that is
    /// so: whoever has a clone, or a stream, keeps them.
    pub async fn close(self) -> bool {
        let shared = self.shared;
        shared.table.clear();
        for _ in 0..CLOSE_LOOKS {
            if Arc::strong_count(&shared) == 1 {
                return spawn_blocking(move || drop(shared)).await.is_ok();
            }
            tokio::time::sleep(CLOSE_PAUSE).await;
        }
        false
    }
}

fn open(options: EngineOptions) -> Result<(Shared, Vec<recover::Found>), OpenError> {
    let steps = Steps::unwatched();
    let EngineOptions { data_root, exec_root, .. } = options;
    let lock = take_exec_root(&exec_root)?;
    let store =
        Store::open(StoreOptions { root: data_root.clone(), clock: Clock::system(), steps })?;
    let store = Arc::new(store);
    let driver = open_driver(&store, options.storage_driver.as_deref())?;
    store.recover_snapshots(&*driver)?;
    let snapshots = Arc::new(Snapshots::new(store.db(), driver));
    let processors = std::thread::available_parallelism().map_or(1, Into::into);
    let mut transfers = ImageEngineOptions::standard(processors);
    transfers.downloads_max = options.downloads_max.unwrap_or(transfers.downloads_max);
    transfers.discard_unpacked_layers = options.discard_unpacked_layers;
    transfers.uploads_max = options.uploads_max.unwrap_or(transfers.uploads_max);
    let images = ImageEngine::new(store.clone(), snapshots.clone(), options.client, transfers);
    let networks = Networks::open(store.db().clone(), options.network_options)
        .map_err(OpenError::Containers)?;
    let network = Host::open(HostOptions {
        exec_root: exec_root.clone(),
        instance: Instance::of(&data_root),
        default: options.default_network,
        pools: options.address_pools,
        networks: networks.configs(),
        lock: options.network_lock,
        ready_max: 8,
        forwarding: options.forwarding,
        steps: dhow_network::Steps::unwatched(),
    })?;
    let volumes = Volumes::open(&data_root, store.db().clone())
        .map_err(|error| OpenError::Containers(error.into()))?;
    let stand_in = StandIn::open(&data_root).map_err(|source| OpenError::Io {
        doing: "make the stand-in layer below",
        path: data_root.clone(),
        source,
    })?;
    let rebooted = note_boot(&data_root)?;
    // What builds had laid out when the last engine ended.
    crate::containers::task::remove_tree(&data_root.join(crate::build::SCRATCH))
        .map_err(OpenError::Containers)?;
    crate::build::end_leases(&store).map_err(OpenError::Containers)?;
    let contexts = Contexts::open(&data_root, rebooted).map_err(OpenError::Containers)?;
    let hub = Hub::new(store.db().clone());
    let names = Names::of(&exec_root);
    names.keep(|id| networks.record(id).is_some());
    let shared = Shared {
        data_root,
        exec_root,
        program: options.defaults.program.clone(),
        store,
        snapshots,
        images,
        volumes,
        stand_in,
        builds: Default::default(),
        contexts,
        network,
        networks,
        names,
        hub,
        table: Default::default(),
        execs: Default::default(),
        host: Mutex::new(survey(options.defaults, options.systemd_cgroups)),
        rebooted,
        told: Mutex::new(options.told),
        _exec_lock: lock,
    };
    let found = recover::find(&shared).map_err(OpenError::Containers)?;
    let known: HashSet<_> = found.iter().filter_map(recover::Found::sandbox).collect();
    shared.network.prune(&known)?;
    for found in &found {
        found.restore_names(&shared).map_err(OpenError::Containers)?;
    }
    Ok((shared, found))
}

/// The driver that was asked for; else the best one that works.
fn open_driver(store: &Store, name: Option<&str>) -> Result<Box<dyn Snapshotter>, OpenError> {
    let place = |name| store.driver_dir(name).map_err(OpenError::Store);
    match name.filter(|name| !name.is_empty()) {
        Some("overlay2") => Ok(Box::new(Overlay2::open(&place("overlay2")?, false)?)),
        Some("vfs") => Ok(Box::new(Vfs::open(&place("vfs")?, false)?)),
        Some("btrfs") => Ok(Box::new(Btrfs::open(&place("btrfs")?, false)?)),
        Some(other) => Err(OpenError::NoDriver { name: other.to_owned() }),
        None => match Overlay2::open(&place("overlay2")?, false) {
            Ok(driver) => Ok(Box::new(driver)),
            Err(SnapshotError::Unusable { .. }) => Ok(Box::new(Vfs::open(&place("vfs")?, false)?)),
            Err(error) => Err(error.into()),
        },
    }
}

/// Locks the exec root and writes our number into it; what a dead engine left there means nothing.
fn take_exec_root(exec_root: &Path) -> Result<File, OpenError> {
    let failed = |doing| move |source| OpenError::Io { doing, path: exec_root.to_owned(), source };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(exec_root)
        .map_err(failed("make"))?;
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(exec_root.join("engine.pid"))
        .map_err(failed("open the lock in"))?;
    let taken = dhow_store::take_lock(file).map_err(failed("take the lock in"))?;
    taken.map_err(|pid| OpenError::InUse { exec_root: exec_root.to_owned(), pid })
}

/// Says whether the machine has booted since the last engine, and writes down when it last did.
fn note_boot(data_root: &Path) -> Result<bool, OpenError> {
    let path = data_root.join("boot");
    let failed = |doing| {
        let path = path.clone();
        move |source| OpenError::Io { doing, path, source }
    };
    let now = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let before = match std::fs::read_to_string(&path) {
        Ok(before) => Some(before),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read")(error)),
    };
    if before.as_deref() != Some(now.as_str()) {
        std::fs::write(&path, &now).map_err(failed("write"))?;
    }
    Ok(before.is_some_and(|before| before != now))
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { exec_root, pid } => write!(
                f,
                "exec root {} is in use by process {pid}: end that one, or choose another",
                exec_root.display()
            ),
            Self::NoDriver { name } => write!(f, "no storage driver is called {name:?}"),
            Self::Store(error) => error.fmt(f),
            Self::Driver(error) => error.fmt(f),
            Self::Network(error) => error.fmt(f),
            Self::Containers(error) => error.fmt(f),
            Self::Io { doing, path, source } => write!(f, "{doing} {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<SnapshotError> for OpenError {
    fn from(error: SnapshotError) -> Self {
        Self::Driver(error)
    }
}

impl From<NetworkError> for OpenError {
    fn from(error: NetworkError) -> Self {
        Self::Network(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn a_second_engine_is_told_whose_it_is() {
        let scratch = Scratch::new();
        let root = scratch.path().join("run");
        let first = take_exec_root(&root).expect("ours");
        let error = take_exec_root(&root).expect_err("taken").to_string();
        let expected = format!("is in use by process {}: end that one", std::process::id());
        assert!(error.contains(&expected), "{error}");
        drop(first);
        take_exec_root(&root).expect("what is left is no obstacle");
    }

    #[test]
    fn a_boot_is_noticed_once() {
        let scratch = Scratch::new();
        assert!(!note_boot(scratch.path()).expect("the first"));
        assert!(!note_boot(scratch.path()).expect("the same boot"));
        std::fs::write(scratch.path().join("boot"), "another\n").expect("written");
        assert!(note_boot(scratch.path()).expect("another boot"));
        assert!(!note_boot(scratch.path()).expect("noted"));
    }
}
