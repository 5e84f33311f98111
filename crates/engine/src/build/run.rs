//! A command of a build: a container without a name, below a monitor that ends it when the engine goes.
//!
//! Its root is an active snapshot on the layers so far, planned like any container's. Invariants: whatever way it
//! ends, nothing of it stays but its snapshot's difference, and that only if it succeeded; what was made for mounts
//! is no part of that. Secrets are in memory alone.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use dhow_builder::dockerfile::{Network, Sharing};
use dhow_builder::{AgentMount, Bind, CacheMount, Layer, OutputStream, Ran, RunStep, WorkError};
use dhow_monitor::{
    AttachRequest, Event, Launch, LogConfig, LogDriver, NetworkPlace, Request, RestartPolicy,
    Runtime, VERSION,
};
use dhow_network::RESOLVER;
use dhow_spec::runtime::Mount;
use dhow_store::{
    ApplyOptions, BuildRow, BuildRowKind, Mounts, PrepareOptions, RootView, SnapshotKey, View,
};
use tokio::net::UnixStream;
use tokio::task::spawn_blocking;

use super::cache::{Claim, mount_key};
use super::frames::Frames;
use super::layers::{failed, top};
use super::relay::Relay;
use super::stubs::Stubs;
use super::worker::EngineWorker;
use crate::containers::document::Places;
use crate::containers::link::Link;
use crate::containers::new_id;
use crate::containers::request::{CreateRequest, IpcMode, NetworkMode};
use crate::containers::state::EndpointDetails;
use crate::containers::task::{
    network_place, reap, remove_tree, root_mount, with_gateway, write_network_files,
};
use crate::error::Error;
use crate::plan::{
    self, FilePaths, StartFacts, hostname_file, hosts_file, look_up, mount_points, resolv_conf,
    resolve_user_in, settle,
};

/// Bytes of output that are passed on at once.
const OUTPUT_BYTES: usize = 32 << 10;
/// The largest options that the kernel takes for a mount.
const OPTIONS_BYTES_MAX: usize = 4000;

/// Everything that a command gets and that is given back after it.
struct Step<'a> {
    worker: &'a EngineWorker,
    id: String,
    places: Places,
    /// Snapshots that end with the command.
    keys: Vec<SnapshotKey>,
    claims: Vec<Claim<'a>>,
    sandbox: bool,
    /// Memory that holds secrets, mounted for the moment.
    secrets: Option<PathBuf>,
    /// Ways to agents, which end with the command.
    agents: Vec<Relay>,
}

/// Where a command's packets go.
#[derive(Default)]
struct StepNetwork {
    /// Its namespace; the host's where there is none.
    path: Option<PathBuf>,
    endpoints: Vec<EndpointDetails>,
}

impl EngineWorker {
    /// See [`dhow_builder::Worker::run`].
    pub(super) fn run_step(
        &self,
        below: &[Layer],
        step: &RunStep,
        output: &mut dyn FnMut(OutputStream, &[u8]),
    ) -> Result<Ran, WorkError> {
        if self.cancel.is_cancelled() {
            return Err(WorkError::Cancelled);
        }
        super::foreign::check(&step.platform)?;
        let id = new_id().map_err(failed)?;
        let places = Places::of(&self.shared.data_root, &self.shared.exec_root, &id);
        let mut own = Step {
            worker: self,
            id,
            places,
            keys: Vec::new(),
            claims: Vec::new(),
            sandbox: false,
            secrets: None,
            agents: Vec::new(),
        };
        let ran = own.run(below, step, output);
        let given_back = own.give_back();
        let ran = match ran {
            Err(_) if self.cancel.is_cancelled() => return Err(WorkError::Cancelled),
            ran => ran?,
        };
        given_back.map_err(failed)?;
        Ok(ran)
    }
}

impl Step<'_> {
    fn run(
        &mut self,
        below: &[Layer],
        step: &RunStep,
        output: &mut dyn FnMut(OutputStream, &[u8]),
    ) -> Result<Ran, WorkError> {
        let snapshots = self.worker.shared.snapshots.clone();
        let key = self.prepare_snapshot(top(below).as_ref()).map_err(failed)?;
        let mounts = snapshots.mounts(&key, &View::WRITE).map_err(failed)?;
        let (launch, stubs) = self.launch(below, step, mounts.clone())?;
        let code = self.worker.runtime.block_on(self.supervise(launch, output)).map_err(failed)?;
        if self.worker.cancel.is_cancelled() {
            return Err(WorkError::Cancelled);
        }
        if code != 0 && !self.worker.options.keep_failed {
            return Ok(Ran::Failed { code, layer: None });
        }
        stubs
            .remove(&mounts)
            .map_err(|errno| failed(Error::io("tidy", "a snapshot", errno.into())))?;
        let layer = self.worker.keep_diff(&key, step.epoch).map_err(failed)?;
        if step.epoch.is_some() {
            // What is in the snapshot has other times than what is told of it.
            self.worker.stack_layer(below, &layer).map_err(failed)?;
        } else {
            self.worker.commit_snapshot(&key, below, &layer).map_err(failed)?;
            self.keys.retain(|own| *own != key);
        }
        if code != 0 {
            return Ok(Ran::Failed { code, layer: Some(layer) });
        }
        Ok(Ran::Layer(layer))
    }

    fn prepare_snapshot(
        &mut self,
        parent: Option<&dhow_store::ChainId>,
    ) -> Result<SnapshotKey, Error> {
        let key = self.worker.key()?;
        let unlimited = PrepareOptions::UNLIMITED;
        let lease = Some(self.worker.lease());
        self.worker.shared.snapshots.prepare(&key, parent, lease, &unlimited)?;
        self.keys.push(key.clone());
        Ok(key)
    }

    /// Everything that the command needs, as one message to its monitor.
    fn launch(
        &mut self,
        below: &[Layer],
        step: &RunStep,
        mounts: Mounts,
    ) -> Result<(Launch, Stubs), WorkError> {
        let shared = self.worker.shared.clone();
        let host = shared.host_facts();
        let mut request = self.request(step);
        settle(&mut request, &host).map_err(failed)?;
        let points = mount_points(&request, &Default::default(), String::new).map_err(failed)?;
        let found = look_up(&request, &points).map_err(failed)?;
        let root = RootView::open(&mounts)
            .map_err(|error| failed(Error::Root { message: error.to_string() }))?;
        let user = resolve_user_in(&root, &step.user, &[])
            .map_err(|error| WorkError::Invalid { message: error.to_string() })?;
        self.make_directories().map_err(failed)?;
        let network = self.network(&request).map_err(failed)?;
        let (files, served) = self.write_files(&request, &host, &network).map_err(failed)?;
        let start = StartFacts {
            id: self.id.clone(),
            user,
            network: network.path,
            files,
            found,
            ..StartFacts::default()
        };
        let mut plan =
            plan::plan(&request, &points, &start, &host, &self.places.data).map_err(failed)?;
        plan.spec.mounts.extend(self.mounts(step)?);
        let files = super::files::RootFiles(self.worker.root(below).map_err(failed)?);
        let places = plan.spec.mounts.iter().map(|mount| mount.destination.as_str());
        let stubs = Stubs::of(&files, places).map_err(|error| {
            failed(Error::io("look into", "a root", std::io::Error::other(error)))
        })?;
        let config = self.places.run.join("config.json");
        std::fs::write(&config, plan.spec.to_json())
            .map_err(|error| failed(Error::io("write", &config, error)))?;
        let launch = Launch {
            version: VERSION,
            id: self.id.clone(),
            bundle: self.places.run.clone(),
            state_root: shared.state_root(),
            socket: self.places.socket(),
            journal: self.places.journal(),
            root: root_mount(mounts),
            runtime: Runtime::Builtin,
            terminal: false,
            terminal_size: None,
            open_stdin: false,
            stdin_once: false,
            log: LogConfig { driver: LogDriver::None, ..plan.log },
            restart: RestartPolicy::No,
            health: None,
            stop_signal: plan.stop_signal,
            stop_timeout_s: Some(0),
            cgroup_systemd: host.cgroup.systemd,
            restart_count: 0,
            network: served,
            tied: true,
        };
        Ok((launch, stubs))
    }

    fn request(&self, step: &RunStep) -> CreateRequest {
        let options = &self.worker.options;
        let mut request = CreateRequest::default();
        let config = &mut request.config;
        config.image = "build".to_owned();
        config.user.clone_from(&step.user);
        config.env.clone_from(&step.env);
        config.cmd = Some(step.args.clone());
        config.working_dir.clone_from(&step.cwd);
        let host = &mut request.host;
        host.privileged = step.privileged;
        host.ipc = IpcMode::Private;
        host.resources = options.resources.clone();
        host.shm_size = options.shm_size;
        host.extra_hosts.clone_from(&options.extra_hosts);
        host.network = match step.network {
            Network::Default => options.network.clone(),
            Network::None => NetworkMode::None,
            Network::Host => NetworkMode::Host,
        };
        request
    }

    fn make_directories(&self) -> Result<(), Error> {
        let directories = [&self.places.run, &self.places.run.join("rootfs"), &self.places.data];
        for directory in directories {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(|error| Error::io("make", directory, error))?;
        }
        Ok(())
    }

    /// The network namespace, and the places in networks that it has.
    fn network(&mut self, request: &CreateRequest) -> Result<StepNetwork, Error> {
        let shared = &self.worker.shared;
        match &request.host.network {
            NetworkMode::Host => Ok(StepNetwork::default()),
            NetworkMode::Container(other) => {
                let view = shared.table.find(other)?.view();
                let own = view.standing.sandbox.clone();
                let pid = view.standing.state.run().map(|run| run.pid);
                let path = own.or_else(|| pid.map(|pid| format!("/proc/{pid}/ns/net").into()));
                let path =
                    path.ok_or_else(|| Error::NotRunning { doing: "", id: view.id.to_string() })?;
                Ok(StepNetwork { path: Some(path), ..StepNetwork::default() })
            }
            _ => {
                let name = format!("build-{}", &self.id[..12]);
                self.sandbox = true;
                let mut request = request.clone();
                let first = match &request.host.network {
                    NetworkMode::Named(name) => name.clone(),
                    _ => "bridge".to_owned(),
                };
                request.endpoints.entry(first).or_default();
                let (made, endpoints) = shared.make_sandbox(&self.id, &name, &request)?;
                Ok(StepNetwork { path: Some(made.path), endpoints })
            }
        }
    }

    fn write_files(
        &self,
        request: &CreateRequest,
        host: &plan::HostFacts,
        network: &StepNetwork,
    ) -> Result<(FilePaths, Option<NetworkPlace>), Error> {
        let StepNetwork { path, endpoints } = network;
        let addresses: Vec<_> = endpoints.iter().flat_map(|one| one.addresses()).collect();
        let shared = &self.worker.shared;
        let host = &with_gateway(host, shared.host_gateway(endpoints));
        let names = shared.resolver_of(request, endpoints, host);
        let server = names.as_ref().map(|_| std::net::IpAddr::V4(RESOLVER));
        // Whoever watches over the command answers for the names of its network.
        let served = match (path, &names) {
            (Some(path), Some(names)) => {
                let place = network_place(&self.places, path);
                write_network_files(&place, Some(names), &[])?;
                Some(place)
            }
            _ => None,
        };
        let write = |name: &str, text: String| {
            let path = self.places.data.join(name);
            std::fs::write(&path, text).map_err(|error| Error::io("write", &path, error))?;
            Ok::<_, Error>(Some(path))
        };
        let files = FilePaths {
            hostname: write("hostname", hostname_file(request, &self.id, host))?,
            hosts: write("hosts", hosts_file(request, &self.id, host, &addresses)?)?,
            resolv_conf: write("resolv.conf", resolv_conf(request, host, server))?,
        };
        Ok((files, served))
    }

    /// What the file wants mounted.
    fn mounts(&mut self, step: &RunStep) -> Result<Vec<Mount>, WorkError> {
        let mut mounts = Vec::new();
        for bind in &step.binds {
            mounts.push(self.bind(bind)?);
        }
        for cache in &step.caches {
            mounts.push(self.cache(cache)?);
        }
        for tmpfs in &step.tmpfs {
            let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), "mode=1777".to_owned()];
            options.extend(tmpfs.size.map(|size| format!("size={size}")));
            mounts.push(Mount {
                destination: tmpfs.target.clone(),
                kind: Some("tmpfs".to_owned()),
                source: Some("tmpfs".to_owned()),
                options,
                ..Mount::default()
            });
        }
        for (number, agent) in step.agents.iter().enumerate() {
            mounts.push(self.agent(number, agent).map_err(failed)?);
        }
        if !step.secrets.is_empty() {
            mounts.extend(self.secrets(step).map_err(failed)?);
        }
        Ok(mounts)
    }

    /// Files of another root: its directory as it is on disk, or an overlay of its layers.
    fn bind(&mut self, bind: &Bind) -> Result<Mount, WorkError> {
        let snapshots = self.worker.shared.snapshots.clone();
        let Some(top) = top(&bind.layers) else {
            let message = format!("{}: there are no files to mount", bind.target);
            return Err(WorkError::Invalid { message });
        };
        let path = String::from_utf8_lossy(&bind.path).into_owned();
        // One file that can be written to: no overlay shows that, so its layer is unpacked once more.
        if bind.writable && !path.is_empty() {
            let source = self.unpack_again(&bind.layers[0]).map_err(failed)?;
            return Ok(below(&source, &path, &bind.target, false));
        }
        // A snapshot of its own takes what is written, and goes with the command.
        let mounts = if bind.writable {
            let key = self.prepare_snapshot(Some(&top)).map_err(failed)?;
            snapshots.mounts(&key, &View::WRITE).map_err(failed)?
        } else {
            snapshots.mounts_of_committed(&top, &View::READ).map_err(failed)?
        };
        let readonly = !bind.writable;
        match mounts {
            Mounts::Bind { source, .. } => Ok(below(&source, &path, &bind.target, readonly)),
            Mounts::Overlay { lowers, upper: None, .. } if lowers.len() == 1 => {
                Ok(below(&lowers[0], &path, &bind.target, readonly))
            }
            // The builder lays parts of roots out as layers of their own.
            Mounts::Overlay { lowers, upper, .. } => overlay(&bind.target, &lowers, upper.as_ref()),
        }
    }

    /// A layer's files as a directory that goes with the command.
    fn unpack_again(&mut self, layer: &Layer) -> Result<PathBuf, Error> {
        let shared = self.worker.shared.clone();
        let key = self.prepare_snapshot(None)?;
        let blob = shared.store.content().open_blob(&layer.blob.digest);
        let blob = blob.map_err(super::layers::content)?;
        shared.snapshots.apply(&key, &mut blob.reader(), &ApplyOptions::EXACT)?;
        Ok(directory_of(shared.snapshots.mounts(&key, &View::WRITE)?))
    }

    /// A directory that later builds find again: an active snapshot under a name made of its id.
    fn cache(&mut self, cache: &CacheMount) -> Result<Mount, WorkError> {
        let shared = &self.worker.shared;
        let cancelled = || self.worker.cancel.is_cancelled();
        let mut name = format!("cache {}", cache.id);
        match cache.sharing {
            Sharing::Shared => {}
            Sharing::Locked => {
                let claim = shared.builds.claim(&name, &cancelled).ok_or(WorkError::Cancelled)?;
                self.claims.push(claim);
            }
            Sharing::Private => {
                // The first that nobody uses now.
                for number in 0.. {
                    let own = format!("cache {} {number}", cache.id);
                    if let Some(claim) = shared.builds.try_claim(&own) {
                        self.claims.push(claim);
                        name = own;
                        break;
                    }
                }
            }
        }
        let source = self.cache_directory(&name, cache).map_err(failed)?;
        Ok(below(&source, "", &cache.target, !cache.writable))
    }

    fn cache_directory(&self, name: &str, cache: &CacheMount) -> Result<PathBuf, Error> {
        let shared = &self.worker.shared;
        let making = format!("make {name}");
        let Some(_claim) = shared.builds.claim(&making, &|| self.worker.cancel.is_cancelled())
        else {
            return Err(Error::Closing);
        };
        let key = mount_key(name);
        let db = shared.store.db();
        if db.build(name)?.is_some() {
            if let Ok(mounts) = shared.snapshots.mounts(&key, &View::WRITE) {
                db.use_build(name)?;
                return Ok(directory_of(mounts));
            }
            db.forget_builds(vec![name.to_owned()])?;
        }
        shared.snapshots.remove(&key)?;
        shared.snapshots.prepare(&key, None, None, &PrepareOptions::UNLIMITED)?;
        let source = directory_of(shared.snapshots.mounts(&key, &View::WRITE)?);
        self.furnish(&source, cache)?;
        let now = shared.store.now_ms();
        db.put_build(BuildRow {
            key: name.to_owned(),
            kind: BuildRowKind::Mount,
            about: format!("cached mount {} from exec", cache.target),
            created_ms: now,
            used_ms: now,
            uses: 0,
            size: 0,
            blob: None,
            snapshot: None,
            document: String::new(),
        })?;
        Ok(source)
    }

    /// Owner and mode of a new cache, and what is in it at first.
    fn furnish(&self, source: &Path, cache: &CacheMount) -> Result<(), Error> {
        let failed = |errno: rustix::io::Errno| Error::io("furnish", source, errno.into());
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let directory: OwnedFd =
            rustix::fs::open(source, flags, rustix::fs::Mode::empty()).map_err(failed)?;
        if let Some(seed) = &cache.seed
            && let Some(root) = self.worker.root(&seed.layers)?
        {
            let path = String::from_utf8_lossy(&seed.path).into_owned();
            let to = directory.try_clone().map_err(|error| Error::io("open", source, error))?;
            root.copy_directory(&path, to)
                .map_err(|error| Error::Root { message: error.to_string() })?;
        }
        let (mode, uid, gid) = cache.owner;
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::fchown(&directory, Some(uid), Some(gid)).map_err(failed)?;
        rustix::fs::fchmod(&directory, rustix::fs::Mode::from_raw_mode(mode)).map_err(failed)
    }

    /// Secrets as files in memory that nothing else sees.
    fn secrets(&mut self, step: &RunStep) -> Result<Vec<Mount>, Error> {
        let place = self.places.run.join("secrets");
        let failed = |error| Error::io("mount memory at", &place, error);
        std::fs::DirBuilder::new().mode(0o700).create(&place).map_err(failed)?;
        let flags = rustix::mount::MountFlags::NOEXEC
            | rustix::mount::MountFlags::NOSUID
            | rustix::mount::MountFlags::NODEV;
        rustix::mount::mount("secrets", &place, "tmpfs", flags, Some(c"mode=0700"))
            .map_err(|errno| failed(errno.into()))?;
        self.secrets = Some(place.clone());
        let mut mounts = Vec::new();
        for (number, secret) in step.secrets.iter().enumerate() {
            let path = place.join(number.to_string());
            let failed = |error| Error::io("write", &path, error);
            let (mode, uid, gid) = secret.owner;
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(failed)?;
            file.write_all(&secret.bytes).map_err(failed)?;
            let errno = |errno: rustix::io::Errno| failed(errno.into());
            let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
            rustix::fs::fchown(&file, Some(uid), Some(gid)).map_err(errno)?;
            rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(mode)).map_err(errno)?;
            mounts.push(below(&path, "", &secret.target, true));
        }
        Ok(mounts)
    }

    /// A socket of our own that leads to the client's agent.
    fn agent(&mut self, number: usize, agent: &AgentMount) -> Result<Mount, Error> {
        let path = self.places.run.join(format!("agent-{number}"));
        let to = self.worker.options.agents.get(&agent.id).cloned().unwrap_or_default();
        self.agents.push(Relay::open(&self.worker.runtime, &path, agent.owner, to)?);
        Ok(below(&path, "", &agent.target, false))
    }

    /// Starts the monitor and the command, passes its output on, and waits for its end.
    async fn supervise(
        &self,
        launch: Launch,
        output: &mut dyn FnMut(OutputStream, &[u8]),
    ) -> Result<i32, Error> {
        let program = self.worker.shared.program.clone();
        let started = spawn_blocking(move || dhow_monitor::start(&program, &launch, None)).await?;
        let started = started.map_err(|error| Error::Monitor { message: error.to_string() })?;
        reap(started.child);
        let mut link = Link::new(started.connection, &self.id)?;
        link.ask(&Request::Follow { after: 0 }, &[]).await?;
        let (mut ours, theirs) =
            UnixStream::pair().map_err(|error| Error::io("make", "a pair of sockets", error))?;
        let theirs: OwnedFd = theirs
            .into_std()
            .map_err(|error| Error::io("make", "a pair of sockets", error))?
            .into();
        let attach = AttachRequest {
            stdout: true,
            stderr: true,
            multiplexed: true,
            ..AttachRequest::default()
        };
        link.ask(&Request::Attach(attach), &[theirs.as_fd()]).await?;
        drop(theirs);
        link.ask(&Request::Start, &[]).await?;
        let (mut buffer, mut frames) = (vec![0; OUTPUT_BYTES], Frames::default());
        let mut open = true;
        let mut killed = false;
        let mut code = None;
        while code.is_none() || open {
            tokio::select! {
                read = tokio::io::AsyncReadExt::read(&mut ours, &mut buffer), if open => match read {
                    Ok(0) | Err(_) => open = false,
                    Ok(count) => frames.take(&buffer[..count], output),
                },
                record = link.record(), if code.is_none() => match record {
                    Some(record) => match record.event {
                        Event::Exited { code: ended, oom_killed, .. } => {
                            if oom_killed {
                                output(OutputStream::Error, b"the command ran out of memory\n");
                            }
                            code = Some(ended.unwrap_or(137));
                        }
                        Event::StartFailed { message, .. } => {
                            return Err(Error::Monitor { message });
                        }
                        _ => {}
                    },
                    None => return Err(Error::NoMonitor { id: self.id.clone() }),
                },
                () = self.worker.cancel.said(), if !killed => {
                    killed = true;
                    // One that has ended meanwhile needs no signal.
                    let _ = link.ask(&Request::Kill { signal: 9 }, &[]).await;
                }
            }
        }
        Ok(code.unwrap_or(137))
    }

    /// Gives everything back; the first failure is told.
    fn give_back(&mut self) -> Result<(), Error> {
        let shared = &self.worker.shared;
        let mut first = Ok(());
        let mut note = |result: Result<(), Error>| {
            if first.is_ok() {
                first = result;
            }
        };
        if let Some(place) = self.secrets.take() {
            let flags = rustix::mount::UnmountFlags::DETACH;
            let unmounted = rustix::mount::unmount(&place, flags);
            note(unmounted.map_err(|errno| Error::io("unmount", &place, errno.into())));
        }
        if std::mem::take(&mut self.sandbox) {
            note(shared.release_sandbox(&self.id));
        }
        for key in std::mem::take(&mut self.keys) {
            note(shared.snapshots.remove(&key).map_err(Error::from));
        }
        note(remove_tree(&self.places.run));
        note(remove_tree(&self.places.data));
        self.claims.clear();
        self.agents.clear();
        first
    }
}

/// A bind of something below a directory of ours.
fn below(source: &Path, path: &str, target: &str, readonly: bool) -> Mount {
    let source = if path.is_empty() { source.to_owned() } else { source.join(path) };
    let access = if readonly { "ro" } else { "rw" };
    Mount {
        destination: target.to_owned(),
        kind: Some("bind".to_owned()),
        source: Some(source.to_string_lossy().into_owned()),
        options: ["bind", access, "rprivate"].map(str::to_owned).to_vec(),
        ..Mount::default()
    }
}

fn overlay(
    target: &str,
    lowers: &[PathBuf],
    upper: Option<&dhow_store::Upper>,
) -> Result<Mount, WorkError> {
    let lowers: Vec<_> = lowers.iter().map(|layer| layer.to_string_lossy()).collect();
    let mut options = vec![format!("lowerdir={}", lowers.join(":"))];
    match upper {
        None => options.push("ro".to_owned()),
        Some(upper) => options.extend([
            format!("upperdir={}", upper.upper.display()),
            format!("workdir={}", upper.work.display()),
        ]),
    }
    if options.iter().map(|option| option.len() + 1).sum::<usize>() > OPTIONS_BYTES_MAX {
        let message = format!("{target}: a root of that many layers cannot be mounted");
        return Err(WorkError::Invalid { message });
    }
    Ok(Mount {
        destination: target.to_owned(),
        kind: Some("overlay".to_owned()),
        source: Some("overlay".to_owned()),
        options,
        ..Mount::default()
    })
}

/// A snapshot on nothing is one directory, whichever driver has it.
fn directory_of(mounts: Mounts) -> PathBuf {
    match mounts {
        Mounts::Bind { source, .. } => source,
        Mounts::Overlay { upper: Some(upper), .. } => upper.upper,
        Mounts::Overlay { lowers, .. } => lowers.into_iter().next().unwrap_or_default(),
    }
}
