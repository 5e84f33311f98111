//! Everything that a start needs, made ready: network, files, specification, the message to the monitor.
//!
//! Invariant: what is made here is made anew by every start, and given back by every end.

use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dhow_monitor::{Launch, NetworkPlace, RootMount, Runtime, Upper, VERSION};
use dhow_network::{Forward, NamesConfig, RESOLVER};
use dhow_store::{Mounts, RootView, Snapshots, View as SnapshotView};
use rustix::mount::{MountFlags, UnmountFlags};
use tokio::task::spawn_blocking;

use super::Task;
use super::start::restart_policy;
use crate::containers::document::{Document, Places, snapshot_key};
use crate::containers::request::{IpcMode, NetworkMode, PidMode};
use crate::containers::state::EndpointDetails;
use crate::engine::Shared;
use crate::error::{Error, ErrorClass};
use crate::networks::Linked;
use crate::plan::{
    self, FilePaths, Found, HostFacts, MountKind, Plan, StartFacts, hostname_file, hosts_file,
    look_up, resolv_conf, resolve_user_in,
};
use crate::shipping::Destination;

/// What became ready.
struct Prepared {
    launch: Launch,
    endpoints: Vec<EndpointDetails>,
    sandbox: Option<PathBuf>,
}

/// What the work of a thread needs of the container.
struct Facts {
    shared: Arc<Shared>,
    id: Arc<str>,
    name: String,
    document: Arc<Document>,
    places: Places,
    restarts: u32,
    size: Option<(u16, u16)>,
}

/// The network of one start.
#[derive(Default)]
struct Network {
    path: Option<PathBuf>,
    endpoints: Vec<EndpointDetails>,
    forwards: Vec<Forward>,
    /// Whose generated files are used: another container's, where its network is.
    files_of: Option<Places>,
}

impl Task {
    pub(super) async fn prepare(
        &mut self,
        restarts: u32,
        size: Option<(u16, u16)>,
    ) -> Result<Launch, Error> {
        let log = &self.document.request.host.log;
        if let Some(destination) = Destination::parse(&log.driver, &log.options)? {
            destination.probe().await.map_err(|error| Error::LogDestination {
                driver: log.driver.clone(),
                message: error.to_string(),
            })?;
        }
        let facts = Facts {
            shared: self.shared.clone(),
            id: self.id.clone(),
            name: self.name.clone(),
            document: self.document.clone(),
            places: self.places.clone(),
            restarts,
            size,
        };
        self.holds = true;
        let prepared = spawn_blocking(move || facts.prepare()).await??;
        self.standing.endpoints = prepared.endpoints;
        self.standing.sandbox = prepared.sandbox;
        self.joined = self.network_events("connect");
        Ok(prepared.launch)
    }
}

impl Facts {
    fn prepare(&self) -> Result<Prepared, Error> {
        self.make_directories()?;
        let host = self.shared.host_facts();
        let (request, points) = (&self.document.request, &self.document.points);
        let mut found = look_up(request, points)?;
        self.find_images(&mut found)?;
        let mounts = self.shared.snapshots.mounts(&snapshot_key(&self.id), &SnapshotView::WRITE)?;
        let root =
            RootView::open(&mounts).map_err(|error| Error::Root { message: error.to_string() })?;
        let user = resolve_user_in(&root, &request.config.user, &request.host.group_add)?;
        self.shared.fill_volumes(points, &root)?;
        // Whoever it is linked to must run, or nothing is made.
        let linked = self.shared.linked(&self.name, request)?;
        let network = self.network()?;
        let files = self.write_files(&host, &network, &linked)?;
        let served = self.write_network(&host, &network)?;
        let start = StartFacts {
            id: self.id.to_string(),
            name: self.name.clone(),
            image_id: self.document.image.to_string(),
            user,
            network: network.path.clone(),
            ipc_of: match &request.host.ipc {
                IpcMode::Container(other) => Some(self.other(other, "join IPC of")?),
                _ => None,
            },
            pid_of: match &request.host.pid {
                PidMode::Container(other) => Some(self.other(other, "join PID of")?),
                _ => None,
            },
            shm: self.shared_memory(&host)?,
            linked_env: linked.iter().flat_map(Linked::environment).collect(),
            files,
            found,
        };
        let plan = plan::plan(request, points, &start, &host, &self.places.data)?;
        let config = self.places.run.join("config.json");
        std::fs::write(&config, plan.spec.to_json())
            .map_err(|error| Error::io("write", &config, error))?;
        let sandbox = network.path.filter(|_| request.host.network.is_private());
        let mut launch = self.launch(plan, &host, mounts);
        launch.network = served;
        Ok(Prepared { launch, endpoints: network.endpoints, sandbox })
    }

    fn make_directories(&self) -> Result<(), Error> {
        for directory in [&self.places.run, &self.places.run.join("rootfs")] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(|error| Error::io("make", directory, error))?;
        }
        Ok(())
    }

    fn launch(&self, plan: Plan, host: &HostFacts, mounts: Mounts) -> Launch {
        let (request, places) = (&self.document.request, &self.places);
        Launch {
            version: VERSION,
            id: self.id.to_string(),
            bundle: places.run.clone(),
            state_root: self.shared.state_root(),
            socket: places.socket(),
            journal: places.journal(),
            root: self.shared.stand_in.below(mounts),
            runtime: match plan.runtime {
                None => Runtime::Builtin,
                Some(program) => Runtime::Foreign {
                    program,
                    args: Vec::new(),
                    root: self.shared.exec_root.join("runtimes"),
                },
            },
            terminal: request.config.tty,
            terminal_size: self.size.or(request.host.console_size),
            open_stdin: request.config.open_stdin,
            stdin_once: request.config.stdin_once,
            log: plan.log,
            restart: restart_policy(request.host.restart),
            health: plan.health,
            stop_signal: plan.stop_signal,
            stop_timeout_s: Some(plan.stop_timeout_s),
            cgroup_systemd: host.cgroup.systemd,
            restart_count: self.restarts,
            tied: false,
            network: None,
        }
    }

    /// The network namespace: made, the host's, or another container's.
    fn network(&self) -> Result<Network, Error> {
        let request = &self.document.request;
        match &request.host.network {
            NetworkMode::Host => Ok(Network::default()),
            NetworkMode::Container(other) => {
                let view = self.shared.table.find(other)?.view();
                let pid = self.other(other, "join network of")?;
                let own = view.standing.sandbox.clone();
                let path = own.unwrap_or_else(|| format!("/proc/{pid}/ns/net").into());
                let of = Places::of(&self.shared.data_root, &self.shared.exec_root, &view.id);
                Ok(Network { path: Some(path), files_of: Some(of), ..Network::default() })
            }
            _ => {
                let (made, endpoints) = self.shared.make_sandbox(&self.id, &self.name, request)?;
                let forwards = made.forwards();
                Ok(Network { path: Some(made.path), endpoints, forwards, files_of: None })
            }
        }
    }

    /// The first process of another container, which must run.
    fn other(&self, query: &str, doing: &'static str) -> Result<u32, Error> {
        let entry = self.shared.table.find(query).map_err(|_| Error::Dependency {
            message: format!("No such container: {query}"),
            class: ErrorClass::NotFound,
        })?;
        let view = entry.view();
        view.standing.state.run().map(|run| run.pid).ok_or_else(|| Error::Dependency {
            message: format!("cannot {doing} a non running container: {}", view.id),
            class: ErrorClass::Conflict,
        })
    }

    /// Hostname, hosts and resolv.conf, written anew.
    fn write_files(
        &self,
        host: &HostFacts,
        network: &Network,
        linked: &[Linked],
    ) -> Result<FilePaths, Error> {
        let request = &self.document.request;
        if let Some(places) = &network.files_of {
            let path = |name| Some(places.data.join(name)).filter(|path: &PathBuf| path.exists());
            return Ok(FilePaths {
                hostname: path("hostname"),
                hosts: path("hosts"),
                resolv_conf: path("resolv.conf"),
            });
        }
        let addresses: Vec<IpAddr> =
            network.endpoints.iter().flat_map(EndpointDetails::addresses).collect();
        let host = &with_gateway(host, self.shared.host_gateway(&network.endpoints));
        let resolver = self.shared.resolver_of(request, &network.endpoints, host);
        let server = resolver.map(|_| IpAddr::V4(RESOLVER));
        let write = |name: &str, text: String| {
            let path = self.places.data.join(name);
            std::fs::write(&path, text).map_err(|error| Error::io("write", &path, error))?;
            Ok::<_, Error>(Some(path))
        };
        let mut hosts = hosts_file(request, &self.id, host, &addresses)?;
        hosts.extend(linked.iter().map(Linked::lines));
        Ok(FilePaths {
            hostname: write("hostname", hostname_file(request, &self.id, host))?,
            hosts: write("hosts", hosts)?,
            resolv_conf: write("resolv.conf", resolv_conf(request, host, server))?,
        })
    }

    /// What its monitor does for its network, if that is its own.
    fn write_network(
        &self,
        host: &HostFacts,
        network: &Network,
    ) -> Result<Option<NetworkPlace>, Error> {
        let request = &self.document.request;
        let (Some(namespace), None) = (&network.path, &network.files_of) else { return Ok(None) };
        let place = network_place(&self.places, namespace);
        let names = self.shared.resolver_of(request, &network.endpoints, host);
        write_network_files(&place, names.as_ref(), &network.forwards)?;
        Ok(Some(place))
    }

    /// The memory that others may join: ours or another container's, mounted where both can name it.
    fn shared_memory(&self, host: &HostFacts) -> Result<Option<PathBuf>, Error> {
        let request = &self.document.request;
        match &request.host.ipc {
            IpcMode::Shareable => {
                let path = self.places.run.join("shm");
                let failed = |error| Error::io("mount shared memory at", &path, error);
                unmount_shared_memory(&self.places);
                std::fs::create_dir_all(&path).map_err(failed)?;
                let size = match request.host.shm_size {
                    0 => host.defaults.shm_size,
                    size => size,
                };
                let flags = MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV;
                let data = std::ffi::CString::new(format!("mode=1777,size={size}"))
                    .map_err(|error| failed(error.into()))?;
                rustix::mount::mount("shm", &path, "tmpfs", flags, Some(data.as_c_str()))
                    .map_err(|errno| failed(errno.into()))?;
                Ok(Some(path))
            }
            IpcMode::Container(other) => {
                let view = self.shared.table.find(other)?.view();
                let places = Places::of(&self.shared.data_root, &self.shared.exec_root, &view.id);
                Ok(Some(places.run.join("shm")).filter(|path| path.exists()))
            }
            _ => Ok(None),
        }
    }

    /// Layers of images that are mounted.
    fn find_images(&self, found: &mut Found) -> Result<(), Error> {
        let images = self.document.points.iter().filter(|point| point.kind == MountKind::Image);
        for point in images {
            let layers = image_layers(&self.shared.snapshots, &self.shared, &point.source)?;
            found.images.insert(point.destination.clone(), layers);
        }
        Ok(())
    }
}

fn image_layers(
    snapshots: &Snapshots,
    shared: &Shared,
    image: &str,
) -> Result<Vec<PathBuf>, Error> {
    let images = shared.store.images();
    let image = images.find(image)?;
    let selected = images.select(&image, &dhow_spec::Platform::of_build())?;
    let Some(top) = selected.chain.last() else { return Ok(Vec::new()) };
    Ok(match snapshots.mounts_of_committed(top, &SnapshotView::READ)? {
        Mounts::Bind { source, .. } => vec![source],
        Mounts::Overlay { lowers, .. } => lowers,
    })
}

/// The files by which a container's monitor serves its network.
pub(crate) fn network_place(places: &Places, namespace: &Path) -> NetworkPlace {
    NetworkPlace {
        namespace: namespace.to_owned(),
        names: places.run.join("names.json"),
        forwards: places.run.join("forwards.json"),
    }
}

/// Writes them; what there is nothing to be said of is not there.
pub(crate) fn write_network_files(
    place: &NetworkPlace,
    names: Option<&NamesConfig>,
    forwards: &[Forward],
) -> Result<(), Error> {
    let names = match names {
        Some(names) => names.write(&place.names),
        None => match std::fs::remove_file(&place.names) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        },
    };
    names.map_err(|error| Error::io("write", &place.names, error))?;
    Forward::write(&place.forwards, forwards)
        .map_err(|error| Error::io("write", &place.forwards, error))
}

/// What `host-gateway` means, unless the engine's settings say it.
pub(crate) fn with_gateway(host: &HostFacts, gateway: Option<IpAddr>) -> HostFacts {
    let mut host = host.clone();
    host.defaults.host_gateway = host.defaults.host_gateway.or(gateway);
    host
}

/// Takes the memory away that others could join; that there is none is no error.
pub(super) fn unmount_shared_memory(places: &Places) {
    let path: &Path = &places.run.join("shm");
    if path.exists() {
        // Those who have joined keep what they see.
        let _ = rustix::mount::unmount(path, UnmountFlags::DETACH);
    }
}

/// A snapshot's mount in the monitor's words.
pub(crate) fn root_mount(mounts: Mounts) -> RootMount {
    match mounts {
        Mounts::Bind { source, readonly, .. } => RootMount::Bind { source, readonly, owners: None },
        Mounts::Overlay { lowers, upper, user_xattrs, .. } => RootMount::Overlay {
            lowers,
            upper: upper.map(|upper| Upper { upper: upper.upper, work: upper.work }),
            user_xattrs,
            owners: None,
        },
    }
}
