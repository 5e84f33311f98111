//! Who makes a container's processes: the built-in runtime, or another one by its command line.
//!
//! Invariant: nothing of a container is kept here between two calls; the runtime's own record is the truth.

use std::os::fd::OwnedFd;

use dhow_runtime::{
    CgroupManager, Container, ContainerId, CreateOptions, Error, Given, Live, OomWatch, StateRoot,
    StepKind, Streams,
};
use dhow_spec::runtime::{Process, Resources};
use dhow_sys::Child;
use rustix::process::Pid;

use super::root;
use crate::protocol::{ErrorKind, Launch, Runtime, StartFailure};

/// Why a runtime did not do it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) message: String,
}

/// A container's first process, just started.
pub(super) struct First {
    pub(super) child: Child,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) oom: Option<OomWatch>,
}

#[derive(Debug)]
pub(super) struct Backend {
    states: StateRoot,
    id: ContainerId,
}

impl Failure {
    fn other(message: impl ToString) -> Self {
        Self { kind: ErrorKind::Internal, message: message.to_string() }
    }

    fn start(error: &Error) -> Self {
        let kind = match error.step_kind() {
            Some(StepKind::ProgramNotFound) => StartFailure::NotFound,
            Some(StepKind::ProgramNotExecutable) => StartFailure::NotExecutable,
            _ => StartFailure::Other,
        };
        Self { kind: ErrorKind::Start(kind), message: error.to_string() }
    }

    fn of(error: &Error) -> Self {
        let kind = match error {
            Error::WrongStatus { .. } | Error::NotFound { .. } => ErrorKind::Conflict,
            Error::Word { .. } | Error::Refused { .. } => ErrorKind::Invalid,
            _ => ErrorKind::Internal,
        };
        Self { kind, message: error.to_string() }
    }
}

impl Backend {
    pub(super) fn open(launch: &Launch) -> Result<Self, Failure> {
        if let Runtime::Foreign { program, .. } = &launch.runtime {
            let message = format!("runtime {}: not supported yet", program.display());
            return Err(Failure { kind: ErrorKind::Unsupported, message });
        }
        let states = StateRoot::open(&launch.state_root).map_err(Failure::other)?;
        let id = ContainerId::parse(&launch.id).map_err(Failure::other)?;
        Ok(Self { states, id })
    }

    fn load(&self) -> Result<Container, Failure> {
        Container::load(&self.states, &self.id).map_err(|error| Failure::of(&error))
    }

    /// Makes the container and runs its program.
    pub(super) fn start(&self, launch: &Launch, streams: Streams) -> Result<First, Failure> {
        let other =
            |message: String| Failure { kind: ErrorKind::Start(StartFailure::Other), message };
        let root = root::mount(&launch.root).map_err(|error| other(error.to_string()))?;
        let options = options(launch);
        let given = Given { root, streams };
        let (container, live) = dhow_runtime::spawn(&self.states, &self.id, &options, given)
            .map_err(|error| Failure::start(&error))?;
        // Without a memory controller nobody can tell.
        let oom = container.watch_oom().ok();
        Ok(First { child: live.child, terminal: live.terminal, oom })
    }

    /// The first process of a container that somebody else started, if it lives.
    pub(super) fn find(&self) -> Option<(Pid, OwnedFd, Option<OomWatch>)> {
        let container = self.load().ok()?;
        let (pid, pidfd) = (container.pid()?, container.pidfd()?);
        Some((pid, pidfd, container.watch_oom().ok()))
    }

    /// Runs one more process.
    pub(super) fn exec(&self, process: &Process, streams: Streams) -> Result<Live, Failure> {
        let failed = |error: &Error| match error.step_kind() {
            Some(_) => Failure::start(error),
            None => Failure::of(error),
        };
        self.load()?.spawn(process, streams).map_err(|error| failed(&error))
    }

    pub(super) fn kill(&self, signal: i32) -> Result<(), Failure> {
        self.load()?.kill(signal, false).map_err(|error| Failure::of(&error))
    }

    pub(super) fn pause(&self) -> Result<(), Failure> {
        self.load()?.pause().map_err(|error| Failure::of(&error))
    }

    pub(super) fn resume(&self) -> Result<(), Failure> {
        self.load()?.resume().map_err(|error| Failure::of(&error))
    }

    pub(super) fn update(&self, resources: &Resources) -> Result<(), Failure> {
        self.load()?.update(resources).map_err(|error| Failure::of(&error))
    }

    pub(super) fn pids(&self) -> Result<Vec<i32>, Failure> {
        let pids = self.load()?.pids().map_err(|error| Failure::of(&error))?;
        Ok(pids.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect())
    }

    /// Removes what the runtime keeps of a container that has ended, and whatever still runs in its cgroup.
    pub(super) fn delete(&self) -> Result<(), Failure> {
        match Container::load(&self.states, &self.id) {
            Ok(container) => {
                container.delete(&self.states, true).map_err(|error| Failure::of(&error))
            }
            Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Failure::of(&error)),
        }
    }
}

fn options(launch: &Launch) -> CreateOptions {
    CreateOptions {
        bundle: launch.bundle.clone(),
        config: "config.json".into(),
        console_socket: None,
        pid_file: None,
        pidfd_socket: None,
        preserve_fds: 0,
        no_pivot: false,
        no_new_keyring: false,
        cgroup_manager: match launch.cgroup_systemd {
            true => CgroupManager::Systemd,
            false => CgroupManager::Cgroupfs,
        },
        no_subreaper: true,
        notify_socket: None,
        listen_fds: 0,
    }
}
