//! Who makes a container's processes: the built-in runtime, or another one by its command line.
//!
//! Invariant: nothing of a container is kept here between two calls; the runtime's own record is the truth.

use std::os::fd::OwnedFd;

use dhow_runtime::{
    CgroupManager, Container, ContainerId, CreateOptions, Error, Given, Live, OomWatch, StateRoot,
    StepKind, Streams,
};
use dhow_spec::runtime::{Process, Resources, Status};
use dhow_sys::Child;
use rustix::process::Pid;

use super::foreign::Foreign;
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

/// The first process of a container that somebody else started.
pub(super) struct Found {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) oom: Option<OomWatch>,
    pub(super) paused: bool,
}

#[derive(Debug)]
pub(super) enum Backend {
    Builtin(Builtin),
    Foreign(Foreign),
}

/// The built-in runtime's place of one container.
#[derive(Debug)]
pub(super) struct Builtin {
    states: StateRoot,
    id: ContainerId,
}

impl Failure {
    pub(super) fn other(message: impl ToString) -> Self {
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
        if let Runtime::Foreign { program, args, root } = &launch.runtime {
            return Foreign::open(launch, program, args, root).map(Self::Foreign);
        }
        let states = StateRoot::open(&launch.state_root).map_err(Failure::other)?;
        let id = ContainerId::parse(&launch.id).map_err(Failure::other)?;
        Ok(Self::Builtin(Builtin { states, id }))
    }

    /// Makes the container and runs its program.
    pub(super) fn start(&self, launch: &Launch, streams: Streams) -> Result<First, Failure> {
        let root = root::mount_root(&launch.root).map_err(|error| Failure {
            kind: ErrorKind::Start(StartFailure::Other),
            message: error.to_string(),
        })?;
        match self {
            Self::Builtin(own) => own.start(launch, root, streams),
            Self::Foreign(other) => {
                let Live { child, terminal } = other.start(root, streams)?;
                Ok(First { child, terminal, oom: None })
            }
        }
    }

    /// The first process, if it lives.
    pub(super) fn find(&self) -> Option<Found> {
        match self {
            Self::Builtin(own) => own.find(),
            Self::Foreign(other) => {
                let (pid, pidfd, paused) = other.find()?;
                Some(Found { pid, pidfd, oom: None, paused })
            }
        }
    }

    /// Runs one more process.
    pub(super) fn exec(&self, process: &Process, streams: Streams) -> Result<Live, Failure> {
        let failed = |error: &Error| match error.step_kind() {
            Some(_) => Failure::start(error),
            None => Failure::of(error),
        };
        match self {
            Self::Builtin(own) => {
                own.load()?.spawn(process, streams).map_err(|error| failed(&error))
            }
            Self::Foreign(other) => other.exec(process, streams),
        }
    }

    pub(super) fn kill(&self, signal: i32) -> Result<(), Failure> {
        match self {
            Self::Builtin(own) => own.with(|container| container.kill(signal, false)),
            Self::Foreign(other) => other.kill(signal),
        }
    }

    pub(super) fn pause(&self) -> Result<(), Failure> {
        match self {
            Self::Builtin(own) => own.with(Container::pause),
            Self::Foreign(other) => other.pause(),
        }
    }

    pub(super) fn resume(&self) -> Result<(), Failure> {
        match self {
            Self::Builtin(own) => own.with(Container::resume),
            Self::Foreign(other) => other.resume(),
        }
    }

    pub(super) fn update(&self, resources: &Resources) -> Result<(), Failure> {
        match self {
            Self::Builtin(own) => own.with(|container| container.update(resources)),
            Self::Foreign(other) => other.update(resources),
        }
    }

    pub(super) fn pids(&self) -> Result<Vec<i32>, Failure> {
        match self {
            Self::Builtin(own) => {
                let pids = own.with(Container::pids)?;
                Ok(pids.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect())
            }
            Self::Foreign(other) => other.pids(),
        }
    }

    /// Removes what the runtime keeps of a container that has ended, and whatever still runs in its cgroup.
    pub(super) fn delete(&self) -> Result<(), Failure> {
        match self {
            Self::Builtin(own) => own.delete(),
            Self::Foreign(other) => other.delete(),
        }
    }
}

impl Builtin {
    fn load(&self) -> Result<Container, Failure> {
        Container::load(&self.states, &self.id).map_err(|error| Failure::of(&error))
    }

    fn with<T>(&self, act: impl FnOnce(&Container) -> Result<T, Error>) -> Result<T, Failure> {
        act(&self.load()?).map_err(|error| Failure::of(&error))
    }

    fn start(
        &self,
        launch: &Launch,
        root: Option<OwnedFd>,
        streams: Streams,
    ) -> Result<First, Failure> {
        let given = Given { root, streams };
        let (container, live) =
            dhow_runtime::spawn(&self.states, &self.id, &options(launch), given)
                .map_err(|error| Failure::start(&error))?;
        // Without a memory controller nobody can tell.
        let oom = container.watch_oom().ok();
        Ok(First { child: live.child, terminal: live.terminal, oom })
    }

    fn find(&self) -> Option<Found> {
        let container = self.load().ok()?;
        let (pid, pidfd) = (container.pid()?, container.pidfd()?);
        let paused = container.status().ok() == Some(Status::Paused);
        Some(Found { pid, pidfd, oom: container.watch_oom().ok(), paused })
    }

    fn delete(&self) -> Result<(), Failure> {
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
