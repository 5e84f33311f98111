//! The engines that are measured, each with folders and a daemon of its own.
//!
//! Invariant: everything that an engine has lies below one folder and one cgroup, and its daemon ends with the value.
//! All take the same words; what one needs beside them is said here and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, UnmountFlags};

use super::super::daemon::Daemon;
use super::super::images::docker_dir;
use crate::task::{At, TaskError, find_program, release_dir};

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The program that is measured.
    Dhow,
    /// Debian's dockerd with its `docker`.
    Docker,
    /// Debian's podman, which has no daemon.
    Podman,
}

impl Kind {
    /// In the order in which they are told.
    pub(crate) const ALL: [Kind; 3] = [Kind::Dhow, Kind::Docker, Kind::Podman];

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Dhow => "dhow",
            Kind::Docker => "docker",
            Kind::Podman => "podman",
        }
    }

    /// The program that a user calls; why it cannot be measured otherwise.
    pub(crate) fn program(self) -> Result<PathBuf, TaskError> {
        match self {
            Kind::Dhow => Ok(release_dir().join("dhow")),
            Kind::Docker => {
                // It sets up its bridge with this, which its package leaves to the host.
                let absent =
                    TaskError::Absent { what: "iptables", remedy: "apt-get install iptables" };
                find_program("iptables").ok_or(absent)?;
                Ok(docker_dir()?.join("usr/bin/docker"))
            }
            Kind::Podman => find_program("podman")
                .ok_or(TaskError::Absent { what: "podman", remedy: "apt-get install podman" }),
        }
    }
}

/// A program of another root, with that for its own.
fn within(root: &Path, program: &str) -> Command {
    let mut command = Command::new("chroot");
    command.arg(root).arg(program);
    command
}

/// An engine that runs.
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    dir: PathBuf,
    cgroup: String,
    /// The root that its programs are in, where that is not ours.
    root: Option<PathBuf>,
    daemon: Option<Daemon>,
}

impl Peer {
    /// Starts it below `dir`, with containers below the cgroup `cgroup`.
    pub(crate) fn start(kind: Kind, dir: &Path, cgroup: &str) -> Result<Peer, TaskError> {
        Peer::start_of(kind, None, dir, cgroup, &[])
    }

    /// The same with programs of another root, where `dir` is seen at the same place, and with more flags.
    pub(crate) fn start_of(
        kind: Kind,
        root: Option<&Path>,
        dir: &Path,
        cgroup: &str,
        flags: &[&str],
    ) -> Result<Peer, TaskError> {
        let run = dir.join("run");
        fs::create_dir_all(&run).at("create", &run)?;
        // `/run` is in memory on every machine.
        let none = MountFlags::empty();
        rustix::mount::mount("tmpfs", &run, "tmpfs", none, None).at("mount a tmpfs at", &run)?;
        let cgroup = format!("{cgroup}/{}", kind.name());
        let root = root.map(Path::to_owned);
        let mut peer = Peer { kind, dir: dir.to_owned(), cgroup, root, daemon: None };
        let Some(mut daemon) = peer.daemon_command()? else { return Ok(peer) };
        daemon.args(flags);
        peer.daemon = Some(Daemon::start(daemon, dir, || peer.command(&["version"]))?);
        Ok(peer)
    }

    fn daemon_command(&self) -> Result<Option<Command>, TaskError> {
        let path = |name: &str| self.dir.join(name);
        let mut command = match self.kind {
            Kind::Podman => return Ok(None),
            Kind::Dhow => {
                let mut command = Command::new(self.kind.program()?);
                command.args(["engine", "--group", ""]);
                command
            }
            Kind::Docker => {
                let (mut command, place) = match &self.root {
                    Some(root) => (within(root, "/usr/sbin/dockerd"), PathBuf::from("/")),
                    None => {
                        let place = docker_dir()?;
                        (Command::new(place.join("usr/sbin/dockerd")), place)
                    }
                };
                command.arg("--userland-proxy-path").arg(place.join("usr/sbin/docker-proxy"));
                command.arg("--pidfile").arg(path("pid"));
                command
            }
        };
        command.arg("--data-root").arg(path("data")).arg("--exec-root").arg(path("run"));
        command.arg("--host").arg(self.socket()).arg("--cgroup-parent").arg(&self.cgroup);
        Ok(Some(command))
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.dir.join("socket").display())
    }

    /// The client with these words.
    pub(crate) fn command(&self, words: &[&str]) -> Result<Command, TaskError> {
        let mut command = match &self.root {
            Some(root) => within(root, "/usr/bin/docker"),
            None => Command::new(self.kind.program()?),
        };
        match self.kind {
            Kind::Dhow | Kind::Docker => command.arg("--host").arg(self.socket()),
            Kind::Podman => {
                command.arg("--root").arg(self.dir.join("data"));
                command.arg("--runroot").arg(self.dir.join("run"));
                command.args(["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs"]);
                // Its own choice, crun, refuses hosts with both versions of cgroups.
                command.args(["--runtime", "runc"])
            }
        };
        command.args(words).stdin(Stdio::null());
        Ok(command)
    }

    /// `run` with these words.
    pub(crate) fn run(&self, words: &[&str]) -> Result<Command, TaskError> {
        let mut all = vec!["run"];
        // This host's hard limits are below those that it asks for.
        let limits = ["--ulimit", "nofile=1024:20000", "--ulimit", "nproc=4096:4096"];
        if self.kind == Kind::Podman {
            all.extend(limits);
            all.extend(["--cgroup-parent", &self.cgroup]);
        }
        all.extend(words);
        self.command(&all)
    }

    /// The daemon's process and all that it started and that stayed with it.
    pub(crate) fn daemons(&self) -> Vec<u32> {
        self.daemon.as_ref().map(Daemon::pids).unwrap_or_default()
    }

    /// What stands by a container while it runs: monitors, shims.
    pub(crate) fn attendants(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter(|pid| self.attends(*pid)).collect()
    }

    fn attends(&self, pid: u32) -> bool {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let program = words.next().unwrap_or_default();
        match self.kind {
            Kind::Dhow => program.ends_with("dhow") && words.next().as_deref() == Some("monitor"),
            Kind::Docker => program.contains("containerd-shim"),
            Kind::Podman => program.contains("conmon"),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.daemon = None;
        // Podman keeps the first mounted, and has no daemon that would end. Where it is not there is nothing to do.
        for mounted in ["data/overlay", "run"] {
            let _ = rustix::mount::unmount(self.dir.join(mounted), UnmountFlags::DETACH);
        }
    }
}
