//! A container's life: created, started, watched, signalled, frozen, joined, deleted.
//!
//! Each operation reads the record, asks the kernel what is true now, acts, and leaves a record that a
//! later one understands. Nothing here stays in memory between two commands.

mod checkpoint;
mod create;
mod delete;
mod descriptors;
mod embed;
mod exec;
mod home;
mod id;
mod launch;
mod mapping;
mod mountinfo;
mod netdev;
mod points;
mod process;
mod rdt;
mod restore;
mod start;
mod state;
mod time;
mod usage;

use std::os::fd::OwnedFd;
use std::path::Path;

use dhow_spec::runtime::{Resources, Spec, State, Status, VERSION};
use dhow_sys::Namespaces;
use rustix::process::{Pid, Signal};

use crate::cgroup::{Cgroup, OomWatch, Stats};
use crate::error::Error;
use launch::SeccompListener;
use state::{ProcessRecord, Record, START, StateDir};

pub use checkpoint::{CheckpointOptions, CriuOptions};
pub use create::{CgroupManager, CreateOptions, create, run};
pub use delete::delete_damaged;
pub use embed::{Given, Live, Streams, spawn, user_namespace};
pub use exec::{ExecFlags, ExecOptions, ExecProcess};
pub use id::ContainerId;
pub(crate) use mountinfo::unescape;
pub use restore::{RestoreOptions, restore};
pub use state::StateRoot;
pub(crate) use time::now as timestamp;
pub use usage::{IoCount, Usage};

const KILL: i32 = Signal::KILL.as_raw();

/// A container on record.
#[derive(Debug)]
pub struct Container {
    id: ContainerId,
    dir: StateDir,
    record: Record,
    spec: Spec,
}

impl Container {
    /// Reads a container's record and configuration.
    pub fn load(root: &StateRoot, id: &ContainerId) -> Result<Self, Error> {
        let dir = root.container(id)?;
        // Its maker died before it wrote anything: there is a name, and nothing behind it.
        let Some(record) = dir.load()? else {
            return Err(Error::NotFound { id: id.to_string() });
        };
        let bytes = dir.load_config()?;
        let spec = Spec::parse(&bytes).map_err(|source| Error::Document {
            path: dir.config_path(),
            source: Box::new(source),
        })?;
        Ok(Self { id: id.clone(), dir, record, spec })
    }

    fn from_parts(id: ContainerId, dir: StateDir, record: Record, spec: Spec) -> Self {
        Self { id, dir, record, spec }
    }

    /// Its name.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// When it was made: RFC 3339, UTC, nanoseconds.
    pub fn created(&self) -> &str {
        &self.record.created
    }

    /// The user who made it.
    pub fn owner_uid(&self) -> u32 {
        self.record.owner
    }

    /// The directory that its configuration came from.
    pub fn bundle(&self) -> &Path {
        &self.record.bundle
    }

    /// Its root file system on the host.
    pub fn rootfs(&self) -> &Path {
        &self.record.rootfs
    }

    /// The configuration as it was when the container was made.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The first process's pid, while it lives.
    pub fn pid(&self) -> Option<Pid> {
        self.record.process.filter(|process| process.is_alive()).and_then(|process| process.pid())
    }

    /// Its first process, while that lives.
    pub fn pidfd(&self) -> Option<OwnedFd> {
        self.record.process.and_then(ProcessRecord::open)
    }

    /// Word of the kernel that it has run out of memory.
    pub fn watch_oom(&self) -> Result<OomWatch, Error> {
        Ok(self.needed_cgroup("watch the memory of")?.watch_oom()?)
    }

    /// What it is doing now.
    pub fn status(&self) -> Result<Status, Error> {
        let Some(process) = self.record.process else { return Ok(Status::Creating) };
        if !process.is_alive() {
            return Ok(Status::Stopped);
        }
        if self.dir.has(START) {
            return Ok(Status::Created);
        }
        match self.cgroup() {
            Some(cgroup) if cgroup.is_frozen()? => Ok(Status::Paused),
            _ => Ok(Status::Running),
        }
    }

    /// The state as the specification words it.
    pub fn state(&self) -> Result<State, Error> {
        Ok(state_of(&self.record, &self.spec, self.status()?))
    }

    /// Starts the program of a created container, with its hooks.
    pub fn start(&mut self) -> Result<(), Error> {
        match self.status()? {
            Status::Created if self.spec.process.is_none() => Err(Error::Refused {
                field: "process",
                value: String::new(),
                reason: "missing: there is nothing to run",
            }),
            Status::Created => start::start(&self.dir, &self.record, &self.spec),
            status => Err(self.wrong("start", status)),
        }
    }

    /// Sends a signal to the first process, or with `all` to every process of the container.
    pub fn kill(&self, signal: i32, all: bool) -> Result<(), Error> {
        if all {
            return self.kill_all(signal);
        }
        let status = self.status()?;
        match (self.record.process, status) {
            (Some(process), Status::Created | Status::Running | Status::Paused) => {
                process
                    .signal(signal)
                    .map_err(Error::call("signal the container's first process"))?;
                // Where no PID namespace ends the others with the first one, killing means all of them.
                match self.cgroup() {
                    Some(cgroup) if signal == KILL && !self.has_pid_namespace() => {
                        Ok(cgroup.kill()?)
                    }
                    // A process that the version 1 freezer holds does not die before it is thawed.
                    Some(cgroup) if signal == KILL && status == Status::Paused => {
                        Ok(cgroup.thaw()?)
                    }
                    _ => Ok(()),
                }
            }
            // Without a PID namespace the others live on when the first one has gone.
            _ if signal == KILL && !self.has_pid_namespace() && self.has_processes() => {
                Ok(self.needed_cgroup("kill")?.kill()?)
            }
            _ => Err(self.wrong("kill", status)),
        }
    }

    fn has_processes(&self) -> bool {
        self.pids().is_ok_and(|pids| !pids.is_empty())
    }

    fn has_pid_namespace(&self) -> bool {
        points::namespaces(&self.spec).contains(Namespaces::PID)
    }

    fn kill_all(&self, signal: i32) -> Result<(), Error> {
        for pid in self.pids()? {
            match dhow_sys::kill(pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(errno) => return Err(Error::call("signal a process of the container")(errno)),
            }
        }
        Ok(())
    }

    /// Every process of the container, in the kernel's order.
    pub fn pids(&self) -> Result<Vec<Pid>, Error> {
        match self.cgroup() {
            Some(cgroup) => Ok(cgroup.pids(true)?),
            None => Ok(self.pid().into_iter().collect()),
        }
    }

    /// Stops every process of the container where it is.
    pub fn pause(&self) -> Result<(), Error> {
        match self.status()? {
            Status::Created | Status::Running => Ok(self.needed_cgroup("pause")?.freeze()?),
            status => Err(self.wrong("pause", status)),
        }
    }

    /// Lets a paused container go on.
    pub fn resume(&self) -> Result<(), Error> {
        match self.status()? {
            Status::Paused => Ok(self.needed_cgroup("resume")?.thaw()?),
            status => Err(self.wrong("resume", status)),
        }
    }

    /// Changes the limits that `resources` has, and no others.
    pub fn update(&self, resources: &Resources) -> Result<(), Error> {
        match self.status()? {
            Status::Stopped => Err(self.wrong("update", Status::Stopped)),
            _ => Ok(self.needed_cgroup("update")?.update(resources)?),
        }
    }

    /// What the container uses.
    pub(crate) fn stats(&self) -> Result<Stats, Error> {
        match self.status()? {
            Status::Stopped => Err(self.wrong("count what is used by", Status::Stopped)),
            _ => Ok(self.needed_cgroup("stats")?.stats()?),
        }
    }

    pub(crate) fn cgroup(&self) -> Option<Cgroup> {
        self.record.cgroup.as_ref().map(Cgroup::from_record)
    }

    fn needed_cgroup(&self, doing: &'static str) -> Result<Cgroup, Error> {
        self.cgroup().ok_or(Error::Refused {
            field: doing,
            value: self.id.to_string(),
            reason: "the container has no cgroup",
        })
    }

    fn wrong(&self, doing: &'static str, status: Status) -> Error {
        Error::WrongStatus { id: self.id.to_string(), doing, status }
    }
}

fn state_of(record: &Record, spec: &Spec, status: Status) -> State {
    let alive = status != Status::Stopped;
    State {
        oci_version: VERSION.to_owned(),
        id: record.id.clone(),
        status,
        pid: Some(record.process.filter(|_| alive).map_or(0, |process| process.pid)),
        bundle: record.bundle.display().to_string(),
        annotations: spec.annotations.clone(),
    }
}

/// Where the listener of the configuration's seccomp filter goes.
fn seccomp_listener(spec: &Spec, state: State) -> Option<SeccompListener> {
    let seccomp = spec.linux.as_ref()?.seccomp.as_ref()?;
    let path = seccomp.listener_path.as_deref().filter(|path| !path.is_empty())?;
    Some(SeccompListener { path: path.into(), metadata: seccomp.listener_metadata.clone(), state })
}
