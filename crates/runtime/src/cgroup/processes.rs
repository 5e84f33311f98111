//! The processes in a cgroup: who they are, and ending all.

use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::Cgroup;
use super::controller::Controller;
use super::error::CgroupError;
use super::node::{children, read_text};

impl Cgroup {
    /// The processes in the cgroup, and with `recursive` in those below it, in the kernel's order.
    ///
    /// The version 2 hierarchy is asked where there is one: it lists whole processes, each once.
    pub(crate) fn pids(&self, recursive: bool) -> Result<Vec<Pid>, CgroupError> {
        let mut pids = Vec::new();
        if let Some(node) = self.nodes.first() {
            collect_pids(&node.path, recursive, &mut pids)?;
        }
        Ok(pids)
    }

    /// Kills every process in the cgroup and below it; they may take a moment to be gone.
    pub(crate) fn kill(&self) -> Result<(), CgroupError> {
        let killed = self.unified().map(|node| node.write("cgroup.kill", "1"));
        match killed {
            Some(Ok(())) => self.loosen(),
            Some(Err(error)) if self.is_gone(&error) => Ok(()),
            // Before Linux 5.14 there is no such file; without version 2 no such call.
            Some(Err(error)) if !error.is_absent() && error.errno() != Some(Errno::OPNOTSUPP) => {
                Err(error)
            }
            _ => self.kill_one_by_one(),
        }
    }

    /// Frozen, so that nobody forks away while the list is worked off; without a freezer, again and again
    /// until a list is empty or nothing new is on it.
    fn kill_one_by_one(&self) -> Result<(), CgroupError> {
        let held = self.freeze().is_ok();
        let mut known: Vec<Pid> = Vec::new();
        let listed = loop {
            let pids = match self.pids(true) {
                Err(error) if self.is_gone(&error) => break Ok(()),
                Err(error) => break Err(error),
                Ok(pids) => pids,
            };
            let news = pids.iter().any(|pid| !known.contains(pid));
            for pid in &pids {
                if *pid != rustix::process::getpid() {
                    // Gone already is as good as killed.
                    let _ = rustix::process::kill_process(*pid, Signal::KILL);
                }
            }
            known = pids;
            if held || !news {
                break Ok(());
            }
        };
        self.loosen()?;
        listed
    }

    /// A process that the version 1 freezer holds does not die of a signal before it is thawed.
    fn loosen(&self) -> Result<(), CgroupError> {
        let held = self.node_of_v1(Controller::Freezer).is_some()
            || self.unified().is_some_and(|node| super::freeze::is_frozen(node).unwrap_or(false));
        match if held { self.thaw() } else { Ok(()) } {
            Err(error) if self.is_gone(&error) => Ok(()),
            done => done,
        }
    }

    /// Whether `error` only says that the cgroup is no more.
    fn is_gone(&self, error: &CgroupError) -> bool {
        let gone = matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV));
        gone && self
            .nodes
            .iter()
            .all(|node| rustix::fs::access(&node.path, rustix::fs::Access::EXISTS).is_err())
    }
}

/// Reads `cgroup.procs` of `dir`, and of the directories below it.
pub(super) fn collect_pids(
    dir: &Path,
    recursive: bool,
    pids: &mut Vec<Pid>,
) -> Result<(), CgroupError> {
    let file = dir.join("cgroup.procs");
    match read_text(&file) {
        Ok(text) => {
            for line in text.lines() {
                // A process of a pid namespace that is not ours shows as 0.
                let raw = line.parse::<i32>().map_err(|_| CgroupError::Malformed {
                    file: file.clone(),
                    text: line.to_owned(),
                })?;
                pids.extend(Pid::from_raw(raw));
            }
        }
        // A threaded cgroup does not list processes; the domain above it does, with all of them.
        Err(error) if error.errno() == Some(Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error),
    }
    if recursive {
        for child in children(dir)? {
            match collect_pids(&child, true, pids) {
                Err(error) if !matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV)) => {
                    return Err(error);
                }
                _ => {}
            }
        }
    }
    Ok(())
}
