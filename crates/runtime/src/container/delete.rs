//! Removing a container: processes, cgroup, record, and its last hooks.

use std::time::{Duration, Instant};

use dhow_spec::runtime::Status;
use rustix::process::Signal;

use super::{Container, ContainerId, StateRoot, points, rdt};
use crate::cgroup::Cgroup;
use crate::error::Error;

/// How long a killed process may take to go; a process in an uninterruptible wait takes longer.
const DEATH_TIMEOUT: Duration = Duration::from_secs(10);

impl Container {
    /// Deletes a stopped or created container, with `force` any: what runs is killed first.
    pub fn delete(self, root: &StateRoot, force: bool) -> Result<(), Error> {
        let status = self.status()?;
        match status {
            Status::Stopped => {}
            // Nothing of a created one runs that was ever asked to: the specification wants it stopped
            // first, but runc and crun remove it, and containerd counts on that.
            Status::Created | Status::Creating => self.end()?,
            _ if force => self.end()?,
            status => return Err(self.wrong("delete", status)),
        }
        let mut failures = self.remove_cgroup();
        failures.extend(rdt::remove(&self.record.resctrl).err());
        if let Some(error) = failures.into_iter().next() {
            return Err(error);
        }
        root.release(&self.id, &self.dir)?;
        points::after_stop(&self.record, &self.spec);
        Ok(())
    }

    /// Kills what runs and waits until the first process is gone.
    fn end(&self) -> Result<(), Error> {
        if let Some(process) = self.record.process {
            process
                .signal(Signal::KILL.as_raw())
                .map_err(Error::call("kill the container's first process"))?;
        }
        if let Some(cgroup) = self.cgroup() {
            // A frozen process dies only when it is thawed (cgroup v1).
            cgroup.kill()?;
        }
        let Some(process) = self.record.process else { return Ok(()) };
        let end = Instant::now() + DEATH_TIMEOUT;
        // A poll wakes us at once for a process that is not our child as well.
        if let Some(pidfd) = process.open() {
            let timeout =
                rustix::event::Timespec { tv_sec: DEATH_TIMEOUT.as_secs() as i64, tv_nsec: 0 };
            let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
            let _ = rustix::event::poll(&mut fds, Some(&timeout));
        }
        while process.is_alive() {
            if Instant::now() > end {
                return Err(Error::call("wait for the container's first process to die")(
                    rustix::io::Errno::TIMEDOUT,
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Removes the cgroup with whatever still runs in it.
    fn remove_cgroup(&self) -> Vec<Error> {
        let mut failures = Vec::new();
        if let Some(cgroup) = self.cgroup() {
            // A PID namespace ends its processes with its first one; without one they may live on.
            if !self.has_pid_namespace() && !cgroup.pids(true).unwrap_or_default().is_empty() {
                failures.extend(cgroup.kill().err().map(Error::from));
            }
            failures.extend(cgroup.remove().err().map(Error::from));
        } else if let Some(intended) = &self.record.cgroup_intended {
            // Only if empty: otherwise it is somebody else's.
            let _ = Cgroup::from_record(intended).remove();
        }
        failures
    }
}

/// Removes what is on record under a name that [`Container::load`] cannot read: for `delete --force`.
pub fn delete_damaged(root: &StateRoot, id: &ContainerId) -> Result<(), Error> {
    let dir = root.container(id)?;
    root.release(id, &dir)
}
