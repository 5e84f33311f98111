//! Network namespaces of the benchmark: one in which an engine is the host, and one beside it that is the world.
//!
//! Invariant: a namespace lasts as long as its value, and the process that holds it ends with it.
//! This process enters one before it starts a program there; that works only while it has a single thread.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::task::{At, TaskError, run};

/// The host as the world sees it.
pub(super) const HOST: &str = "192.0.2.1";
const WORLD: &str = "192.0.2.2";

/// A network namespace.
pub(super) struct Place {
    namespace: File,
    holder: Child,
}

impl Place {
    fn new() -> Result<Self, TaskError> {
        const PREPARE: &str = "ip link set lo up && echo ready && exec sleep 1000000";
        let mut holder = Command::new("unshare");
        holder.args(["--net", "sh", "-c", PREPARE]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut holder = holder.spawn().at("start", "unshare")?;
        let mut line = String::new();
        if let Some(said) = holder.stdout.take() {
            BufReader::new(said).read_line(&mut line).at("read", "unshare")?;
        }
        let path = format!("/proc/{}/ns/net", holder.id());
        let opened = File::open(&path).at("open", &path);
        match (opened, line.trim()) {
            (Ok(namespace), "ready") => Ok(Self { namespace, holder }),
            (opened, _) => {
                let _ = holder.kill();
                let _ = holder.wait();
                opened?;
                Err(TaskError::Absent { what: "a network namespace", remedy: "run as root" })
            }
        }
    }

    /// A host that forwards, and the world at the other end of a pair of devices.
    pub(super) fn host_and_world() -> Result<(Self, Self), TaskError> {
        let (host, world) = (Self::new()?, Self::new()?);
        host.enter()?;
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").at("write", "ip_forward")?;
        let peer = format!("link add out0 type veth peer name out1 netns {}", world.holder.id());
        for words in [&peer, &format!("addr add {HOST}/24 dev out0"), "link set out0 up"] {
            run(Command::new("ip").args(words.split(' ')))?;
        }
        world.enter()?;
        let way = format!("route add default via {HOST}");
        for words in [&format!("addr add {WORLD}/24 dev out1"), "link set out1 up", &way] {
            run(Command::new("ip").args(words.split(' ')))?;
        }
        Ok((host, world))
    }

    /// Moves this process there.
    pub(super) fn enter(&self) -> Result<(), TaskError> {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(self.namespace.as_fd(), kind).at("enter", "network namespace")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
