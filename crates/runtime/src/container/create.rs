//! From a bundle to a container: created and waiting, or running.
//!
//! The order is intent, effect, record: the name is claimed and the cgroup's place written down before
//! anything is made, and the process is on record before it can outlive its maker. What fails is undone in
//! reverse.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use dhow_spec::runtime::{HookKind, Linux, NamespaceKind, Spec, Status};
use dhow_sys::{Child, Exit, Namespaces, SignalSet};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, Resource, Signal};

use super::launch::{self, Excursion, Launch, Launched, Parent, SeccompListener};
use super::state::{AfterStart, ProcessRecord, Record, START, StateDir};
use super::{Container, ContainerId, StateRoot, descriptors, home, mapping, netdev, points, rdt};
use crate::cgroup::{Cgroup, CgroupPath, Entry, Hierarchies, Manager};
use crate::error::Error;
use crate::foreground::{self, Console, SignalGuard};
use crate::init::{Step, receive_descriptor};
use crate::plan::{self, InitFacts, InitPlan, MountFacts, NamespacePlan, ProcessFacts};
use crate::seccomp::{self, Filter};
use crate::words::CapSet;

/// Who makes the container's cgroup.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CgroupManager {
    /// This program, by making directories.
    #[default]
    Cgroupfs,
    /// systemd, asked for a transient scope.
    Systemd,
    /// Nobody: the container stays in the runtime's own cgroup, and limits are refused.
    Disabled,
}

/// How a container is to be made.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// The directory of the configuration, which relative paths in it start from.
    pub bundle: PathBuf,
    /// The configuration, `config.json` for nearly everybody; relative to the bundle.
    pub config: PathBuf,
    /// A unix socket that takes the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// A file for the first process's pid.
    pub pid_file: Option<PathBuf>,
    /// A unix socket that takes the first process's pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors from 3 on, those of socket activation included, the program is to have. What
    /// is not open or close-on-exec is left out.
    pub preserve_fds: u32,
    /// Move the root instead of pivoting it.
    pub no_pivot: bool,
    /// Stay in the session keyring of the caller.
    pub no_new_keyring: bool,
    /// Who makes the cgroup.
    pub cgroup_manager: CgroupManager,
    /// Do not adopt orphans of the container in the foreground.
    pub no_subreaper: bool,
    /// The service manager's socket, which the container gets under its own name.
    pub notify_socket: Option<PathBuf>,
    /// How many of the preserved descriptors are socket activation's.
    pub listen_fds: u32,
}

/// Makes a container that waits for [`Container::start`].
pub fn create(
    root: &StateRoot,
    id: &ContainerId,
    options: &CreateOptions,
) -> Result<Container, Error> {
    let mut making = Making::begin(root, id, options)?;
    if making.wants_terminal() != options.console_socket.is_some() {
        return Err(making.undo(terminal_mismatch(making.wants_terminal())));
    }
    let console = launch::console(options.console_socket.as_deref(), making.wants_terminal());
    let launched = console.and_then(|(console, _)| making.launch(console, true));
    match launched {
        Ok(_) => Ok(making.done()),
        Err(error) => Err(making.undo(error)),
    }
}

fn terminal_mismatch(wanted: bool) -> Error {
    let reason = match wanted {
        true => "a container in the background needs --console-socket for its terminal",
        false => "there is no terminal for --console-socket: process.terminal is false",
    };
    Error::Refused { field: "process.terminal", value: String::new(), reason }
}

/// Makes and starts a container. With `detach` returns as soon as the program runs; otherwise waits for
/// its end, passing signals and terminal through, and deletes the container unless `keep`.
pub fn run(
    root: &StateRoot,
    id: &ContainerId,
    options: &CreateOptions,
    detach: bool,
    keep: bool,
) -> Result<Exit, Error> {
    Making::begin(root, id, options)?.run_with(detach, keep, Making::run)
}

/// A container half made.
pub(super) struct Making<'a> {
    root: &'a StateRoot,
    id: &'a ContainerId,
    pub(super) options: &'a CreateOptions,
    /// What the program gets besides its standard streams.
    descriptors: Vec<RawFd>,
    pub(super) dir: StateDir,
    pub(super) record: Record,
    pub(super) spec: Spec,
    pub(super) cgroup: Option<Cgroup>,
    /// Its share of caches and memory bandwidth.
    group: Option<rdt::Group>,
    /// Its network devices, while they are the host's.
    devices: Option<netdev::Devices>,
    /// The signals that were blocked before we blocked any.
    pub(super) mask: SignalSet,
    /// The root file system, if it is not the directory that the configuration names.
    pub(super) root_mount: Option<OwnedFd>,
    /// The standard streams, if they are not our own.
    pub(super) streams: Option<[OwnedFd; 3]>,
    /// Something of the container was visible to hooks, so those after its stop run too.
    pub(super) hooked: bool,
}

impl<'a> Making<'a> {
    pub(super) fn begin(
        root: &'a StateRoot,
        id: &'a ContainerId,
        options: &'a CreateOptions,
    ) -> Result<Self, Error> {
        let descriptors = descriptors::inheritable(options.preserve_fds.max(options.listen_fds))?;
        let bundle = absolute(&options.bundle)?;
        let path = bundle.join(&options.config);
        let bytes = std::fs::read(&path).map_err(|error| {
            Error::file("read", &path, Errno::from_io_error(&error).unwrap_or(Errno::IO))
        })?;
        let spec = Spec::parse(&bytes)
            .map_err(|source| Error::Document { path, source: Box::new(source) })?;
        let rootfs = root_of(&spec, &bundle)?;
        let dir = root.claim(id)?;
        let record = Record::new(id, bundle, rootfs);
        let making = Self {
            root,
            id,
            options,
            descriptors,
            dir,
            record,
            spec,
            cgroup: None,
            group: None,
            devices: None,
            mask: dhow_sys::blocked_signals(),
            root_mount: None,
            streams: None,
            hooked: false,
        };
        match making.dir.save_config(&bytes) {
            Ok(()) => Ok(making),
            Err(error) => Err(making.undo(error)),
        }
    }

    /// Has `make` make the container's process, and stays with it unless it is to be left alone.
    pub(super) fn run_with(
        mut self,
        detach: bool,
        keep: bool,
        make: impl FnOnce(&mut Self) -> Result<(Child, Option<OwnedFd>), Error>,
    ) -> Result<Exit, Error> {
        let (terminal, root) = (self.wants_terminal(), self.root);
        if self.options.console_socket.is_some() != terminal && (detach || !terminal) {
            return Err(self.undo(terminal_mismatch(terminal)));
        }
        let guard = if detach { None } else { Some(SignalGuard::block()) };
        if !detach && !self.options.no_subreaper {
            let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        }
        match make(&mut self) {
            Ok((child, master)) => {
                let container = self.done();
                if detach {
                    return Ok(Exit::Code(0));
                }
                let exit = foreground::supervise(&child, master);
                let deleted = if keep { Ok(()) } else { container.delete(root, true) };
                // Until here, or a signal that came late would leave the container behind.
                drop(guard);
                let exit = exit?;
                deleted.map(|()| exit)
            }
            Err(error) => Err(self.undo(error)),
        }
    }

    pub(super) fn wants_terminal(&self) -> bool {
        self.spec.process.as_ref().is_some_and(|process| process.terminal)
    }

    fn linux(&self) -> Result<&Linux, Error> {
        self.spec.linux.as_ref().ok_or(Error::Refused {
            field: "linux",
            value: String::new(),
            reason: "missing: a container needs one",
        })
    }

    /// Launches the program, and if its start has to be waited for, starts it.
    fn run(&mut self) -> Result<(Child, Option<OwnedFd>), Error> {
        let socket = self.options.console_socket.as_deref();
        let (console, receiver) = launch::console(socket, self.wants_terminal())?;
        let child = self.run_on(console)?;
        let master = match receiver {
            Some(receiver) => {
                receive_descriptor(receiver.as_fd()).map_err(Error::call("receive the terminal"))?
            }
            None => None,
        };
        Ok((child, master))
    }

    /// The same, the terminal going to `console`.
    pub(super) fn run_on(&mut self, console: Option<Console>) -> Result<Child, Error> {
        // These hooks run between the container's creation and its program.
        let waits = points::any(&self.spec, HookKind::StartContainer);
        let child = self.launch(console, waits)?;
        if waits {
            super::start::start(&self.dir, &self.record, &self.spec)?;
        } else {
            points::call(HookKind::Poststart, &self.record, &self.spec, Status::Running)?;
        }
        Ok(child)
    }

    /// Makes the cgroup, clones the first process and sees it through.
    fn launch(&mut self, console: Option<Console>, waits: bool) -> Result<Child, Error> {
        let linux = self.linux()?;
        let namespaces = NamespacePlan::of(linux)?;
        let filter = compile_seccomp(linux)?;
        say_of(filter.as_ref());
        let devices = netdev::Devices::find(&linux.net_devices, &namespaces)?;
        self.group = rdt::Group::find(linux.intel_rdt.as_ref(), self.id)?;
        self.devices = devices;
        if let Some(group) = &self.group {
            self.record.resctrl = group.goes_with_container();
        }
        // Puts the record down before anything of it is made.
        self.make_cgroup()?;
        self.make_group()?;
        let start = waits.then(|| self.listen()).transpose()?;
        let entry = match &self.cgroup {
            Some(cgroup) => cgroup.entry()?,
            None => Entry { v2_dir: None, v1_tasks: Vec::new() },
        };
        let mask = self.mask;
        let (v2_dir, cgroup_tasks) = (entry.v2_dir, entry.v1_tasks);
        let (root_mount, streams) = (self.root_mount.take(), self.streams.take());
        let outer = Outer { console, start, cgroup_tasks, filter, mask, root_mount, streams };
        let plan = self.plan(&namespaces, outer)?;
        for warning in &plan.warnings {
            crate::notice::notice(warning);
        }
        self.record.after_start = after_start(&plan.steps);
        // From here on whatever runs in the cgroup is the container's.
        self.dir.save(&self.record)?;
        self.clone_child(&plan, &namespaces, v2_dir.as_ref())
    }

    fn make_group(&mut self) -> Result<(), Error> {
        let Some(group) = &self.group else { return Ok(()) };
        group.make().inspect_err(|error| {
            if matches!(error, Error::File { errno: Errno::EXIST, .. }) {
                // Somebody else made it just now: it is not ours to remove.
                self.record.resctrl.clear();
            }
        })
    }

    pub(super) fn make_cgroup(&mut self) -> Result<(), Error> {
        let manager = match self.options.cgroup_manager {
            CgroupManager::Disabled => return self.dir.save(&self.record),
            CgroupManager::Cgroupfs => Manager::Cgroupfs,
            CgroupManager::Systemd => Manager::Systemd,
        };
        let linux = self.linux()?;
        let hierarchies = Hierarchies::discover()?;
        let path = CgroupPath::parse(linux.cgroups_path.as_deref(), self.id.as_str(), manager)?
            .with_annotations(&self.spec.annotations)?;
        let intended = Cgroup::intended(&hierarchies, &path)?;
        let resources = linux.resources.clone();
        self.record.cgroup_intended = Some(intended);
        self.dir.save(&self.record)?;
        let cgroup = Cgroup::create(&hierarchies, &path, resources.as_ref())?;
        self.record.cgroup_intended = None;
        self.record.cgroup = Some(cgroup.record());
        self.cgroup = Some(cgroup);
        Ok(())
    }

    /// Hands the cgroup to the root of a new user namespace that has it mounted writable.
    fn give_cgroup(&self) -> Result<(), Error> {
        let (Some(cgroup), linux) = (&self.cgroup, self.linux()?) else { return Ok(()) };
        let owner = linux.uid_mappings.iter().find(|one| one.container_id == 0);
        let own = |kind| points::namespaces(&self.spec).contains(kind);
        let writable = self.spec.mounts.iter().any(|mount| {
            mount.kind.as_deref().is_some_and(|kind| kind.starts_with("cgroup"))
                && !mount.options.iter().any(|option| option == "ro")
        });
        match owner {
            Some(owner) if writable && own(Namespaces::CGROUP) => {
                Ok(cgroup.give_to(rustix::process::Uid::from_raw(owner.host_id))?)
            }
            _ => Ok(()),
        }
    }

    /// The socket on which the container will wait, made in the state directory.
    fn listen(&self) -> Result<OwnedFd, Error> {
        let path = self.dir.path_of(START);
        let error = |errno| Error::file("make start socket", &path, errno);
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(error)?;
        let address = super::start::address(&self.dir).map_err(error)?;
        rustix::net::bind(&socket, &address).map_err(error)?;
        rustix::net::listen(&socket, 1).map_err(error)?;
        Ok(socket)
    }

    fn plan(&self, namespaces: &NamespacePlan, outer: Outer) -> Result<InitPlan, Error> {
        let linux = self.linux()?;
        let (uids, gids) = (&linux.uid_mappings[..], &linux.gid_mappings[..]);
        let in_user_namespace = namespaces.has(Namespaces::USER);
        let has_cgroup_mount = self
            .spec
            .mounts
            .iter()
            .any(|mount| mount.kind.as_deref().is_some_and(|kind| kind.starts_with("cgroup")));
        let cgroups = match &self.cgroup {
            Some(cgroup) if has_cgroup_mount => cgroup.mounts(),
            _ => Vec::new(),
        };
        let home = match &outer.root_mount {
            Some(mount) => home::of_mount(mount.as_fd(), self.spec.process.as_ref()),
            None => home::of(&self.record.rootfs, self.spec.process.as_ref()),
        };
        let notify = self.options.notify_socket.as_deref().and_then(Path::to_str);
        let listener = outer.filter.as_ref().is_some_and(|filter| filter.listener.is_some());
        let facts = InitFacts {
            id: self.id.as_str(),
            rootfs: &self.record.rootfs,
            mounts: MountFacts {
                bundle: &self.record.bundle,
                rootfs: &self.record.rootfs,
                label: linux.mount_label.as_deref(),
                in_user_namespace,
                user_namespace: namespaces.given(Namespaces::USER),
                by_parent: in_user_namespace && mapping::may_map_freely(),
                cgroup_namespace: namespaces.has(Namespaces::CGROUP),
                cgroups: &cgroups,
                mapper: mapping::user_namespace,
                mappings: (uids, gids),
            },
            process: ProcessFacts {
                seccomp: outer.filter,
                seccomp_listener: listener,
                set_groups: !in_user_namespace || mapping::groups_stay_allowed(uids, gids),
                limits_from_outside: namespaces.new.contains(Namespaces::USER),
                capabilities: available_capabilities(in_user_namespace),
                home: &home,
                descriptors: &self.descriptors,
                listen_fds: self.options.listen_fds,
                notify_socket: notify,
                mask: outer.mask,
                defaults: dhow_sys::ignored_signals(),
            },
            cgroup_tasks: outer.cgroup_tasks,
            console: outer.console,
            root_mount: outer.root_mount,
            streams: outer.streams,
            start: outer.start,
            record: self.dir.process_file()?,
            parent_acts: !linux.net_devices.is_empty()
                || linux.intel_rdt.is_some()
                || self.cgroup.as_ref().is_some_and(Cgroup::waits_for_process),
            hooks_before_pivot: [
                HookKind::Prestart,
                HookKind::CreateRuntime,
                HookKind::CreateContainer,
            ]
            .into_iter()
            .any(|kind| points::any(&self.spec, kind)),
            no_pivot: self.options.no_pivot,
            new_keyring: !self.options.no_new_keyring,
            privileged: mapping::may_map_freely(),
            kcore: rustix::fs::access("/proc/kcore", rustix::fs::Access::EXISTS).is_ok(),
            reachable: if self.options.no_pivot {
                super::mountinfo::kernel_mounts(&self.record.rootfs)
            } else {
                Vec::new()
            },
        };
        plan::plan(&self.spec, namespaces, facts)
    }

    fn clone_child(
        &mut self,
        plan: &InitPlan,
        namespaces: &NamespacePlan,
        v2_dir: Option<&OwnedFd>,
    ) -> Result<Child, Error> {
        let mut excursion = Excursion::new();
        let launched = excursion
            .join(namespaces, &plan.join_first)
            .and_then(|()| self.new_time(namespaces, &mut excursion))
            .and_then(|()| {
                let optional = self.cgroup.as_ref().is_some_and(Cgroup::is_optional);
                let mut launch = Launch {
                    steps: &plan.steps,
                    namespaces: plan.namespaces,
                    cgroup: v2_dir.map(AsFd::as_fd),
                    memory: plan.memory,
                };
                match launch.go(&mut excursion, self) {
                    // A user may own the place, and not what lies between it and where he is.
                    Err(Error::Call { errno: Errno::ACCESS, .. }) if optional => {
                        launch.cgroup = None;
                        launch.go(&mut excursion, self)
                    }
                    other => other,
                }
            });
        let back = excursion.end();
        let child = match launched? {
            Launched::Waiting(child) => child,
            Launched::Running(child) => {
                if let Err(error) = self.announce(&child) {
                    launch::kill_and_reap(&child);
                    return Err(error);
                }
                child
            }
        };
        match back {
            Ok(()) => Ok(child),
            Err(error) => {
                launch::kill_and_reap(&child);
                Err(error)
            }
        }
    }

    /// A new time namespace is for children, and takes its offsets before the first one is born.
    fn new_time(&self, namespaces: &NamespacePlan, excursion: &mut Excursion) -> Result<(), Error> {
        if !namespaces.new.contains(Namespaces::TIME) {
            return Ok(());
        }
        excursion.unshare(Namespaces::TIME).map_err(Error::call("make a time namespace"))?;
        let lines: String = self
            .linux()?
            .time_offsets
            .iter()
            .map(|(clock, offset)| {
                format!("{} {} {}\n", clock.as_str(), offset.secs, offset.nanosecs)
            })
            .collect();
        if lines.is_empty() {
            return Ok(());
        }
        let path = "/proc/self/timens_offsets";
        std::fs::write(path, lines).map_err(|error| {
            Error::file(
                "write time offsets to",
                path,
                Errno::from_io_error(&error).unwrap_or(Errno::IO),
            )
        })
    }

    /// The process has put itself on record; who asked to be told is told.
    pub(super) fn announce(&mut self, child: &Child) -> Result<(), Error> {
        self.record.process = ProcessRecord::of(child.pid);
        let options = self.options;
        launch::announce(child, options.pid_file.as_deref(), options.pidfd_socket.as_deref())
    }

    pub(super) fn done(self) -> Container {
        Container::from_parts(self.id.clone(), self.dir, self.record, self.spec)
    }

    /// Takes everything back, and returns the error that made it necessary. What cannot be taken back is
    /// said, and stays on record for `delete --force`.
    pub(super) fn undo(&self, error: Error) -> Error {
        if let Some(process) = self.record.process {
            let _ = process.signal(Signal::KILL.as_raw());
            if let Some(pid) = process.pid() {
                let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            }
        }
        let mut left = Vec::new();
        if let Some(cgroup) = &self.cgroup {
            left.extend(cgroup.kill().err().map(Error::from));
            left.extend(cgroup.remove().err().map(Error::from));
        }
        left.extend(rdt::remove(&self.record.resctrl).err());
        if self.hooked {
            points::after_stop(&self.record, &self.spec);
        }
        if left.is_empty() {
            left.extend(self.root.release(self.id, &self.dir).err());
        }
        for error in &left {
            crate::notice::notice(&error.to_string());
        }
        error
    }
}

/// The words of the steps behind the wait for the start, if there is one.
fn after_start(steps: &[Step]) -> Option<AfterStart> {
    let wait = steps.iter().position(|step| matches!(step, Step::AwaitStart { .. }))?;
    let words = steps[wait + 1..].iter().map(Step::to_string).collect();
    Some(AfterStart { first: wait + 1, words })
}

/// What the plan takes over from the world outside the document.
struct Outer {
    console: Option<Console>,
    start: Option<OwnedFd>,
    cgroup_tasks: Vec<OwnedFd>,
    filter: Option<Filter>,
    mask: SignalSet,
    root_mount: Option<OwnedFd>,
    streams: Option<[OwnedFd; 3]>,
}

impl Parent for Making<'_> {
    fn namespaces(&mut self, pid: Pid) -> Result<(), Error> {
        if let Some(cgroup) = self.cgroup.as_mut().filter(|cgroup| cgroup.waits_for_process()) {
            cgroup.attach(pid)?;
            self.record.cgroup = Some(cgroup.record());
            self.dir.save(&self.record)?;
        }
        self.give_cgroup()?;
        let linux = self.linux()?;
        // One that is joined has its mappings, whatever the configuration repeats of them.
        if points::makes(&self.spec, NamespaceKind::User) {
            mapping::write(pid, &linux.uid_mappings, &linux.gid_mappings)?;
            if let Some(process) = &self.spec.process {
                set_limits(pid, process)?;
            }
        }
        if let Some(group) = &self.group {
            group.add(pid)?;
        }
        self.devices.as_mut().map_or(Ok(()), |devices| devices.move_to(pid))
    }

    fn mounts(&mut self, child: &Child) -> Result<(), Error> {
        self.record.process = ProcessRecord::of(child.pid);
        self.hooked = true;
        let (record, spec) = (&self.record, &self.spec);
        points::call(HookKind::Prestart, record, spec, Status::Creating)?;
        points::call(HookKind::CreateRuntime, record, spec, Status::Creating)?;
        let init = child.pidfd.as_fd();
        points::call_inside(HookKind::CreateContainer, record, spec, Status::Creating, init)
    }

    fn put_on_record(&mut self, child: &Child) -> Result<(), Error> {
        self.dir.save_process(child.pid.as_raw_nonzero().get())
    }

    fn ready(&mut self, child: &Child) -> Result<(), Error> {
        self.announce(child)
    }

    fn seccomp_state(&self, _pid: Pid) -> Option<SeccompListener> {
        let state = super::state_of(&self.record, &self.spec, Status::Creating);
        super::seccomp_listener(&self.spec, state)
    }
}

/// Limits and OOM score of a process whose user namespace gives it no right to set them.
pub(super) fn set_limits(pid: Pid, process: &dhow_spec::runtime::Process) -> Result<(), Error> {
    let limits = plan::limits(&process.rlimits)?;
    for (resource, mut limit) in limits.limits {
        if resource == Resource::Nofile {
            // The process lowers this one itself, when it has opened its last file.
            let own = rustix::process::getrlimit(resource);
            limit.maximum = most(limit.maximum, own.maximum);
            limit.current = most(limit.current, own.current);
        }
        rustix::process::prlimit(Some(pid), resource, limit)
            .map_err(Error::call("set a resource limit of the container's process"))?;
    }
    for warning in &limits.warnings {
        crate::notice::notice(warning);
    }
    let Some(score) = process.oom_score_adj else { return Ok(()) };
    let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
    std::fs::write(&path, score.to_string()).map_err(|error| {
        match Errno::from_io_error(&error).unwrap_or(Errno::IO) {
            Errno::ACCESS => launch::oom_score_too_low(&score.to_string()),
            errno => Error::file("write", path, errno),
        }
    })
}

/// The capabilities that a process can be given: all are there in a user namespace of its own, elsewhere
/// none that this process lacks.
pub(super) fn available_capabilities(in_user_namespace: bool) -> CapSet {
    match rustix::thread::capabilities(None) {
        Ok(own) if !in_user_namespace => CapSet::from_bits(own.permitted.bits()),
        _ => CapSet::FULL,
    }
}

/// The larger of two limits, of which `None` is none at all.
fn most(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.zip(other).map(|(one, other)| one.max(other))
}

pub(super) fn compile_seccomp(linux: &Linux) -> Result<Option<Filter>, Error> {
    match &linux.seccomp {
        Some(words) => Ok(Some(seccomp::compile(words, seccomp::NATIVE_ARCH)?)),
        None => Ok(None),
    }
}

/// What is worth knowing of a filter.
fn say_of(filter: Option<&Filter>) {
    let Some(filter) = filter else { return };
    crate::notice::detail(|| format!("seccomp filter flags: {}", filter.flags.bits()));
    if !filter.unknown.is_empty() {
        let names = filter.unknown.join(" ");
        let text =
            format!("linux.seccomp: left out {names}: no machine has a system call like that");
        crate::notice::notice(&text);
    }
}

fn absolute(bundle: &Path) -> Result<PathBuf, Error> {
    std::fs::canonicalize(bundle).map_err(|error| {
        Error::file("open bundle", bundle, Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })
}

fn root_of(spec: &Spec, bundle: &Path) -> Result<PathBuf, Error> {
    let Some(root) = &spec.root else {
        return Err(Error::Refused {
            field: "root",
            value: String::new(),
            reason: "missing: a container needs a root file system",
        });
    };
    let path = bundle.join(&root.path);
    std::fs::canonicalize(&path).map_err(|error| {
        Error::file(
            "open root file system",
            path,
            Errno::from_io_error(&error).unwrap_or(Errno::IO),
        )
    })
}
