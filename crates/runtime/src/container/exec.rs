//! One more process in a running container.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use dhow_spec::runtime::{Capabilities, Process, State, Status};
use dhow_sys::{Child, Exit, Memory, Namespaces, SignalSet};
use rustix::process::{Pid, Signal};

use super::launch::{self, Excursion, Launch, Launched, Parent, SeccompListener};
use super::{Container, descriptors, home, mapping, rdt};
use crate::cgroup::SubCgroups;
use crate::error::Error;
use crate::foreground::{self, Console, SignalGuard};
use crate::init::{Step, SyncPoint, receive_descriptor};
use crate::plan::{ProcessFacts, affinity, personality, plan_process, terminal};

/// What is to be executed.
#[derive(Clone, Debug)]
pub enum ExecProcess {
    /// A whole `process` document.
    Document(Box<Process>),
    /// The container's own process, changed by what is given.
    Flags(Box<ExecFlags>),
}

/// Changes to the container's own process; what is absent stays as it is there.
#[derive(Clone, Debug, Default)]
pub struct ExecFlags {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// The working directory.
    pub cwd: Option<String>,
    /// Added to the environment.
    pub env: Vec<String>,
    /// Give it a terminal.
    pub tty: bool,
    /// User and group ids.
    pub user: Option<(u32, Option<u32>)>,
    /// Added to the supplementary groups.
    pub additional_gids: Vec<u32>,
    /// Added to the bounding, effective and permitted capabilities, and to the ambient ones of a container
    /// with inheritable ones.
    pub capabilities: Vec<String>,
    /// Set `no_new_privs`.
    pub no_new_privileges: bool,
    /// An AppArmor profile.
    pub apparmor: Option<String>,
    /// An SELinux label.
    pub process_label: Option<String>,
}

/// How to execute it.
#[derive(Clone, Debug)]
pub struct ExecOptions {
    /// What.
    pub process: ExecProcess,
    /// A unix socket that takes the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// A file for the process's pid.
    pub pid_file: Option<PathBuf>,
    /// A unix socket that takes the process's pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// Return as soon as the program runs.
    pub detach: bool,
    /// How many descriptors from 3 on the program is to have. What is not open or close-on-exec is left out.
    pub preserve_fds: u32,
    /// Join a paused container: the process starts when that is resumed.
    pub ignore_paused: bool,
    /// Cgroups below the container's to join instead of its own: `PATH`, or `CONTROLLER[,…]:PATH`.
    pub cgroup: Vec<String>,
    /// Do not adopt orphans in the foreground.
    pub no_subreaper: bool,
}

/// What an additional process takes over from the world outside.
pub(super) struct Outer<'a> {
    pub(super) descriptors: Vec<RawFd>,
    /// Its standard streams, if they are not our own.
    pub(super) streams: Option<[OwnedFd; 3]>,
    pub(super) console: Option<Console>,
    /// As in [`ExecOptions::cgroup`].
    pub(super) cgroup: &'a [String],
    /// The signals that are blocked in it.
    pub(super) mask: SignalSet,
}

impl Container {
    /// Runs one more process in the container: until its end, or with `detach` until its program runs.
    pub fn exec(&self, options: &ExecOptions) -> Result<Exit, Error> {
        match self.status()? {
            Status::Created | Status::Running => {}
            Status::Paused if options.ignore_paused => {}
            status => return Err(self.wrong("exec in", status)),
        }
        let process = self.process_of(&options.process)?;
        if options.detach && process.terminal && options.console_socket.is_none() {
            return Err(Error::Refused {
                field: "process.terminal",
                value: String::new(),
                reason: "a process in the background needs --console-socket for its terminal",
            });
        }
        if !process.terminal && options.console_socket.is_some() {
            return Err(Error::Refused {
                field: "process.terminal",
                value: String::new(),
                reason: "there is no terminal for --console-socket",
            });
        }
        let mask = dhow_sys::blocked_signals();
        let guard = if options.detach { None } else { Some(SignalGuard::block()) };
        if !options.detach && !options.no_subreaper {
            let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        }
        let (console, receiver) =
            launch::console(options.console_socket.as_deref(), process.terminal)?;
        let outer = Outer {
            descriptors: descriptors::inheritable(options.preserve_fds)?,
            streams: None,
            console,
            cgroup: &options.cgroup,
            mask,
        };
        let child = self.launch_exec(&process, outer)?;
        let master = match receiver {
            Some(receiver) => {
                receive_descriptor(receiver.as_fd()).map_err(Error::call("receive the terminal"))?
            }
            None => None,
        };
        let (pid_file, socket) = (options.pid_file.as_deref(), options.pidfd_socket.as_deref());
        if let Err(error) = launch::announce(&child, pid_file, socket) {
            // Nobody would know of it. It may have ended by itself.
            let _ = dhow_sys::pidfd_kill(child.pidfd.as_fd(), Signal::KILL.as_raw());
            let _ = child.wait();
            return Err(error);
        }
        if options.detach {
            return Ok(Exit::Code(0));
        }
        let exit = foreground::supervise(&child, master);
        drop(guard);
        Ok(exit?)
    }

    fn process_of(&self, words: &ExecProcess) -> Result<Process, Error> {
        let flags = match words {
            ExecProcess::Document(process) => return Ok((**process).clone()),
            ExecProcess::Flags(flags) => flags,
        };
        let mut process = self.spec.process.clone().unwrap_or_default();
        process.args.clone_from(&flags.args);
        process.terminal = flags.tty;
        process.console_size = None;
        process.env.extend(flags.env.iter().cloned());
        if let Some(cwd) = &flags.cwd {
            process.cwd.clone_from(cwd);
        }
        if let Some((uid, gid)) = flags.user {
            process.user.uid = uid;
            process.user.gid = gid.unwrap_or(process.user.gid);
        }
        process.user.additional_gids.extend(&flags.additional_gids);
        add_capabilities(&mut process, &flags.capabilities);
        process.no_new_privileges |= flags.no_new_privileges;
        if flags.apparmor.is_some() {
            process.apparmor_profile.clone_from(&flags.apparmor);
        }
        if flags.process_label.is_some() {
            process.selinux_label.clone_from(&flags.process_label);
        }
        Ok(process)
    }

    /// Clones the process and sees it through to its program.
    pub(super) fn launch_exec(&self, process: &Process, outer: Outer<'_>) -> Result<Child, Error> {
        let Outer { descriptors, streams, console, cgroup, mask } = outer;
        let gone = || Error::Died { signal: None };
        let record = self.record.process.ok_or_else(gone)?;
        let pidfd = record.open().ok_or_else(gone)?;
        let pid = record.pid().ok_or_else(gone)?;
        let linux = self.spec.linux.clone().unwrap_or_default();
        let kinds = super::points::namespaces(&self.spec);
        let in_user_namespace = kinds.contains(Namespaces::USER);
        let privileged = mapping::may_map_freely();
        let filter = super::create::compile_seccomp(&linux)?;
        let listener = filter.as_ref().is_some_and(|filter| filter.listener.is_some());
        let home =
            home::of(Path::new(&format!("/proc/{}/root", pid.as_raw_nonzero())), Some(process));
        let entry = self.entry(cgroup)?;

        let mut steps = Vec::new();
        steps.extend(streams.map(Step::Streams));
        let affinities = process.exec_cpu_affinity.as_ref();
        steps.extend(affinity(affinities.and_then(|words| words.initial.as_deref()))?);
        if !entry.v1_tasks.is_empty() {
            steps.push(Step::EnterCgroups { tasks: entry.v1_tasks });
        }
        match affinities {
            Some(words) => steps.extend(affinity(words.last.as_deref())?),
            None => steps.push(Step::AllProcessors),
        }
        // With rights on the host, limits are set from there: the container's user namespace has none.
        let limits_from_outside = in_user_namespace && privileged;
        let group = rdt::Group::of_container(linux.intel_rdt.as_ref(), &self.id);
        if limits_from_outside || group.is_some() {
            steps.push(Step::Sync(SyncPoint::Namespaces));
        }
        let pid_by_parent = kinds.contains(Namespaces::PID) && (privileged || !in_user_namespace);
        let in_child = if pid_by_parent { kinds.without(Namespaces::PID) } else { kinds };
        let own_root = !kinds.contains(Namespaces::MOUNT);
        if own_root {
            let root =
                launch::open_directory(Path::new(&format!("/proc/{}/root", pid.as_raw_nonzero())))?;
            steps.push(Step::HoldRoot { root });
        }
        if !in_child.is_empty() {
            let namespace = pidfd.try_clone().map_err(|_| gone())?;
            let path = format!("of process {}", pid.as_raw_nonzero());
            steps.push(Step::Join { namespace, kinds: in_child, path });
        }
        if in_user_namespace {
            steps.push(Step::BecomeRoot);
        }
        if kinds.contains(Namespaces::PID) && !pid_by_parent {
            steps.push(Step::Replace { namespaces: Namespaces::empty() });
        }
        if own_root {
            steps.push(Step::ChangeRoot);
        }
        steps.push(Step::NewSession);
        if let Some(console) = console {
            steps.push(terminal(console, process, false));
        }
        let facts = ProcessFacts {
            seccomp: filter,
            seccomp_listener: listener,
            set_groups: !in_user_namespace || groups_allowed(pid),
            limits_from_outside,
            capabilities: super::create::available_capabilities(in_user_namespace),
            home: &home,
            descriptors: &descriptors,
            listen_fds: 0,
            notify_socket: None,
            mask,
            defaults: dhow_sys::ignored_signals(),
        };
        let plan = plan_process(process, facts)?;
        for warning in &plan.warnings {
            crate::notice::notice(warning);
        }
        steps.extend(personality(&linux)?);
        steps.extend(plan.before);
        steps.extend(plan.after);

        let waits = steps.iter().any(|step| matches!(step, Step::Sync(_)));
        // A time namespace is refused to a process that shares its memory.
        let alone = !waits && !listener && !kinds.contains(Namespaces::TIME);
        let launch = Launch {
            steps: &steps,
            namespaces: Namespaces::empty(),
            cgroup: entry.v2_dir.as_ref().map(AsFd::as_fd),
            memory: if alone { Memory::Shared } else { Memory::Copied },
        };
        let mut excursion = Excursion::new();
        let entered = match pid_by_parent {
            true => excursion
                .enter(Namespaces::PID, pidfd.as_fd())
                .map_err(Error::call("join the container's pid namespace")),
            false => Ok(()),
        };
        let mut parent = ExecParent { container: self, process, limits_from_outside, group };
        let launched = entered.and_then(|()| match launch.go(&mut excursion, &mut parent) {
            Err(Error::CgroupRefuses { .. }) if cgroup.is_empty() => {
                self.go_beside(pid, launch, &mut excursion, &mut parent)
            }
            other => other,
        });
        excursion.end()?;
        let (Launched::Running(child) | Launched::Waiting(child)) = launched?;
        Ok(child)
    }

    /// The same where the container's own cgroup takes no processes any more, because its first process
    /// went further down and turned controllers on there: whoever comes later goes where that one is.
    fn go_beside(
        &self,
        pid: Pid,
        launch: Launch<'_>,
        excursion: &mut Excursion,
        parent: &mut ExecParent<'_>,
    ) -> Result<Launched, Error> {
        let beside = self.cgroup().map(|cgroup| cgroup.entry_beside(pid)).transpose()?;
        let dir = beside.and_then(|entry| entry.v2_dir);
        Launch { cgroup: dir.as_ref().map(AsFd::as_fd), ..launch }.go(excursion, parent)
    }

    fn entry(&self, below: &[String]) -> Result<crate::cgroup::Entry, Error> {
        match self.cgroup() {
            Some(cgroup) if below.is_empty() => Ok(cgroup.entry()?),
            Some(cgroup) => Ok(cgroup.entry_below(&SubCgroups::parse(below)?)?),
            None if below.is_empty() => {
                Ok(crate::cgroup::Entry { v2_dir: None, v1_tasks: Vec::new() })
            }
            None => Err(Error::Refused {
                field: "--cgroup",
                value: below.join(" "),
                reason: "the container has no cgroup",
            }),
        }
    }
}

/// Adds to the sets that a process gets by being executed.
fn add_capabilities(process: &mut Process, words: &[String]) {
    if words.is_empty() {
        return;
    }
    let sets = process.capabilities.get_or_insert_with(Capabilities::default);
    let Capabilities { bounding, effective, permitted, inheritable, ambient } = sets;
    for word in words {
        let mut add = |set: &mut Vec<String>| {
            if !set.contains(word) {
                set.push(word.clone());
            }
        };
        [&mut *bounding, effective, permitted].into_iter().for_each(&mut add);
        // Without anything inheritable the container wants no ambient ones.
        if !inheritable.is_empty() {
            add(ambient);
        }
    }
}

/// Whether the process's user namespace lets groups be set.
fn groups_allowed(pid: Pid) -> bool {
    let path = format!("/proc/{}/setgroups", pid.as_raw_nonzero());
    std::fs::read_to_string(path).is_ok_and(|word| word.trim() != "deny")
}

struct ExecParent<'a> {
    container: &'a Container,
    process: &'a Process,
    limits_from_outside: bool,
    group: Option<rdt::Group>,
}

impl ExecParent<'_> {
    fn state(&self) -> State {
        super::state_of(&self.container.record, &self.container.spec, Status::Running)
    }
}

impl Parent for ExecParent<'_> {
    fn namespaces(&mut self, pid: Pid) -> Result<(), Error> {
        if let Some(group) = &self.group {
            group.add(pid)?;
        }
        match self.limits_from_outside {
            true => super::create::set_limits(pid, self.process),
            false => Ok(()),
        }
    }

    fn mounts(&mut self, _child: &Child) -> Result<(), Error> {
        Ok(())
    }

    fn ready(&mut self, _child: &Child) -> Result<(), Error> {
        Ok(())
    }

    fn seccomp_state(&self, _pid: Pid) -> Option<SeccompListener> {
        super::seccomp_listener(&self.container.spec, self.state())
    }
}
