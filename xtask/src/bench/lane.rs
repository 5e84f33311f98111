//! One contender's lane: its mount namespace, bundles and state folder, and the five timed commands.
//!
//! The measuring process enters the lane's mount namespace before it starts a command, so that no helper
//! program stands between the clock and the runtime. That works only in a single-threaded process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::bundle;
use crate::busybox;
use crate::contender::Contender;
use crate::host::Host;
use crate::task::{At, TaskError};

/// A timed command, in the order in which a container meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The whole life of a container that does nothing.
    Run,
    /// A container made ready.
    Create,
    /// Its program started.
    Start,
    /// One more program in it, which does nothing.
    Exec,
    /// The stopped container removed; it was killed and has ended before.
    Delete,
}

impl Operation {
    /// All of them, in order.
    pub(crate) const ALL: [Operation; 5] =
        [Operation::Run, Operation::Create, Operation::Start, Operation::Exec, Operation::Delete];

    /// The runtime's word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Run => "run",
            Operation::Create => "create",
            Operation::Start => "start",
            Operation::Exec => "exec",
            Operation::Delete => "delete",
        }
    }
}

/// Where one contender works.
#[derive(Debug)]
pub(crate) struct Lane {
    contender: Contender,
    dir: PathBuf,
    state: PathBuf,
    host: Host,
}

impl Lane {
    /// Makes bundles below `dir` whose containers are in `/<cgroup>/<name>`.
    pub(crate) fn new(
        contender: Contender,
        dir: &Path,
        config: Option<&Path>,
        cgroup: &str,
    ) -> Result<Lane, TaskError> {
        let rootfs = dir.join("rootfs");
        busybox::make_rootfs(&rootfs)?;
        let dir = dir.join(&contender.name);
        let cgroup = format!("/{cgroup}/{}", contender.name);
        bundle::write(&dir.join("once"), &rootfs, config, &["/bin/true"], &cgroup)?;
        bundle::write(&dir.join("long"), &rootfs, config, &["/bin/sleep", "1000"], &cgroup)?;
        let state = dir.join("state");
        fs::create_dir_all(&state).at("create", &state)?;
        let host = Host::of(&contender)?;
        Ok(Lane { contender, dir, state, host })
    }

    /// The contender's name.
    pub(crate) fn name(&self) -> &str {
        &self.contender.name
    }

    /// The command line of `operation`, below `prefix` (a tracer, or nothing).
    pub(crate) fn command(&self, operation: Operation, prefix: &[String]) -> Command {
        let mut command = match prefix.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.contender.program);
                command
            }
            None => Command::new(&self.contender.program),
        };
        command.arg("--root").arg(&self.state).arg(operation.name());
        match operation {
            Operation::Run => command.arg("--bundle").arg(self.dir.join("once")).arg("once"),
            Operation::Create => command
                .arg("--bundle")
                .arg(self.dir.join("long"))
                .arg("--pid-file")
                .arg(self.pid_file())
                .arg("long"),
            Operation::Exec => command.args(["long", "/bin/true"]),
            Operation::Start | Operation::Delete => command.arg("long"),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Runs `operation` and says how long it took; what must come before it is not counted.
    pub(crate) fn time(&self, operation: Operation) -> Result<Duration, TaskError> {
        let mut command = self.command(operation, &[]);
        self.enter()?;
        let begun = Instant::now();
        let status = command.status();
        let taken = begun.elapsed();
        self.expect(status.at("start", &self.contender.program)?.success(), operation.name())?;
        Ok(taken)
    }

    /// Kills the long container and waits until it is gone.
    pub(crate) fn kill(&self) -> Result<(), TaskError> {
        let pid = self.pid();
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        self.enter()?;
        let mut kill = Command::new(&self.contender.program);
        kill.arg("--root").arg(&self.state).args(["kill", "long", "KILL"]);
        let status = kill.stdin(Stdio::null()).status().at("start", &self.contender.program)?;
        self.expect(status.success(), "kill")?;
        if let Some(pidfd) = pidfd {
            let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
            poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).at("poll", "pidfd")?;
        }
        Ok(())
    }

    /// Whether `create` has come as far as writing the pid.
    pub(crate) fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// Removes what an interrupted round left, silently.
    pub(crate) fn clear(&self) {
        let _ = fs::remove_file(self.pid_file());
        let _ = self.enter();
        for id in ["once", "long"] {
            let mut delete = Command::new(&self.contender.program);
            delete.arg("--root").arg(&self.state).args(["delete", "--force", id]);
            let _ = delete.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }

    /// Moves this process into the lane's mount namespace.
    pub(crate) fn enter(&self) -> Result<(), TaskError> {
        self.host.enter()
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }

    fn expect(&self, success: bool, what: &str) -> Result<(), TaskError> {
        if success {
            return Ok(());
        }
        Err(TaskError::Program { line: format!("{} {what}", self.contender.name), code: Some(1) })
    }
}
