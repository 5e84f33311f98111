//! The engines that are measured, each with folders and daemons of its own.
//!
//! dockerd is not installed but unpacked from its package: installed, it would start as a service.
//! Invariant: everything that an engine has lies below one folder, and its daemon ends with the value.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::daemon::Daemon;
use crate::apt::{Apt, cache};
use crate::images::Build;
use crate::task::{At, TaskError, find_program};

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Our crates, driven by an example program.
    Dhow,
    /// dockerd with its `docker`.
    Docker,
    /// podman, which has no daemon.
    Podman,
    /// containerd with its `ctr`.
    Ctr,
}

impl Kind {
    /// In the order in which they are told.
    pub(crate) const ALL: [Kind; 4] = [Kind::Dhow, Kind::Docker, Kind::Podman, Kind::Ctr];

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Dhow => "dhow",
            Kind::Docker => "docker",
            Kind::Podman => "podman",
            Kind::Ctr => "ctr",
        }
    }

    /// The program that a user calls; why it cannot be measured otherwise.
    pub(crate) fn program(self) -> Result<PathBuf, TaskError> {
        let absent = |what, remedy| TaskError::Absent { what, remedy };
        match self {
            Kind::Dhow => Ok(Build::Release.program()),
            Kind::Docker => Ok(docker_dir()?.join("usr/bin/docker")),
            Kind::Podman => {
                find_program("podman").ok_or(absent("podman", "apt-get install podman"))
            }
            Kind::Ctr => find_program("ctr").ok_or(absent("ctr", "apt-get install containerd")),
        }
    }
}

/// Debian's package of docker, unpacked.
pub(crate) fn docker_dir() -> Result<PathBuf, TaskError> {
    let dir = cache("images")?.join("docker.io");
    if !dir.exists() {
        let part = dir.with_extension("part");
        let _ = fs::remove_dir_all(&part);
        Apt::of("bookworm")?.unpack(&["docker.io".to_owned()], &part)?;
        fs::rename(&part, &dir).at("rename", &part)?;
    }
    Ok(dir)
}

/// An engine with nothing in it.
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    dir: PathBuf,
    daemon: Option<Daemon>,
}

impl Peer {
    /// Starts it below `dir`.
    pub(crate) fn start(kind: Kind, dir: &Path) -> Result<Peer, TaskError> {
        fs::create_dir_all(dir).at("create", dir)?;
        let mut peer = Peer { kind, dir: dir.to_owned(), daemon: None };
        let Some(daemon) = peer.daemon_command()? else { return Ok(peer) };
        peer.daemon = Some(Daemon::start(daemon, dir, || peer.client(&["version"]))?);
        Ok(peer)
    }

    fn daemon_command(&self) -> Result<Option<Command>, TaskError> {
        let path = |name: &str| self.dir.join(name);
        match self.kind {
            Kind::Dhow | Kind::Podman => Ok(None),
            Kind::Docker => {
                let mut command = Command::new(docker_dir()?.join("usr/sbin/dockerd"));
                command.arg("--data-root").arg(path("data")).arg("--exec-root").arg(path("run"));
                command.arg("--pidfile").arg(path("pid")).arg("--host").arg(self.socket());
                command.args(["--iptables=false", "--ip6tables=false", "--bridge=none"]);
                Ok(Some(command))
            }
            Kind::Ctr => {
                let config = path("config.toml");
                let text = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
                fs::write(&config, text).at("write", &config)?;
                let mut command = Command::new("containerd");
                command.arg("--config").arg(&config).arg("--address").arg(path("socket"));
                command.arg("--root").arg(path("data")).arg("--state").arg(path("run"));
                Ok(Some(command))
            }
        }
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.dir.join("socket").display())
    }

    /// The client with these words.
    fn client(&self, words: &[&str]) -> Result<Command, TaskError> {
        let mut command = Command::new(self.kind.program()?);
        match self.kind {
            Kind::Dhow => command.arg("--root").arg(self.dir.join("data")),
            Kind::Docker => command.arg("--host").arg(self.socket()),
            Kind::Podman => {
                command.arg("--root").arg(self.dir.join("data"));
                command.arg("--runroot").arg(self.dir.join("run"));
                command.args(["--storage-driver", "overlay"])
            }
            Kind::Ctr => command.arg("--address").arg(self.dir.join("socket")),
        };
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(command)
    }

    /// Fetches and unpacks.
    pub(crate) fn pull(&self, name: &str) -> Result<Command, TaskError> {
        match self.kind {
            Kind::Dhow => self.client(&["pull", name]),
            Kind::Docker => self.client(&["pull", "--quiet", name]),
            Kind::Podman => self.client(&["pull", "--quiet", "--tls-verify=false", name]),
            Kind::Ctr => self.client(&["images", "pull", "--plain-http", name]),
        }
    }

    /// Gives an image one more name.
    pub(crate) fn tag(&self, name: &str, new: &str) -> Result<Command, TaskError> {
        match self.kind {
            Kind::Ctr => self.client(&["images", "tag", name, new]),
            _ => self.client(&["tag", name, new]),
        }
    }

    /// Sends it to the registry of its name.
    pub(crate) fn push(&self, name: &str) -> Result<Command, TaskError> {
        match self.kind {
            Kind::Dhow | Kind::Docker => self.client(&["push", name]),
            Kind::Podman => self.client(&["push", "--quiet", "--tls-verify=false", name]),
            Kind::Ctr => self.client(&["images", "push", "--plain-http", name]),
        }
    }

    /// Writes an archive, in the engine's own form.
    pub(crate) fn save(&self, name: &str, file: &Path) -> Result<Command, TaskError> {
        let path = file.display().to_string();
        match self.kind {
            Kind::Dhow => {
                let mut command = self.client(&["save", name])?;
                command.stdout(fs::File::create(file).at("create", file)?);
                Ok(command)
            }
            Kind::Docker | Kind::Podman => self.client(&["save", "--output", &path, name]),
            Kind::Ctr => self.client(&["images", "export", &path, name]),
        }
    }

    /// Reads such an archive; like pulling, it unpacks, but for dhow, which does that when a container is made.
    pub(crate) fn load(&self, file: &Path) -> Result<Command, TaskError> {
        let path = file.display().to_string();
        match self.kind {
            Kind::Dhow => {
                let mut command = self.client(&["load"])?;
                command.stdin(fs::File::open(file).at("open", file)?);
                Ok(command)
            }
            Kind::Docker | Kind::Podman => self.client(&["load", "--quiet", "--input", &path]),
            Kind::Ctr => self.client(&["images", "import", &path]),
        }
    }

    /// Makes the daemons forget the most memory that they ever had.
    pub(crate) fn forget_peak(&self) {
        for pid in self.daemons() {
            // A process that has just ended has no peak.
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }

    /// The most memory that the daemons had at the same time or not, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let peaks = self.daemons().into_iter().filter_map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        });
        peaks.sum()
    }

    fn daemons(&self) -> Vec<u32> {
        self.daemon.as_ref().map(Daemon::pids).unwrap_or_default()
    }
}
