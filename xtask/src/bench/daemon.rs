//! A measured engine's daemon: started, waited for until it answers, ended with the value.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::child;
use crate::task::{At, TaskError};

const START_POLLS: usize = 300;

/// A process that ends with this value, and all that it started with it, if it does as it should.
pub(super) struct Daemon(Child);

impl Daemon {
    /// Starts it with a log in `dir`; `probe` succeeds when it answers.
    pub(super) fn start(
        mut command: Command,
        dir: &Path,
        probe: impl Fn() -> Result<Command, TaskError>,
    ) -> Result<Self, TaskError> {
        let log = dir.join("log");
        let file = fs::File::create(&log).at("create", &log)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let daemon = Self(command.spawn().at("start", command.get_program())?);
        for _ in 0..START_POLLS {
            let answered = probe()?.stdout(Stdio::null()).stderr(Stdio::null()).status();
            if answered.is_ok_and(|status| status.success()) {
                return Ok(daemon);
            }
            sleep(Duration::from_millis(100));
        }
        eprint!("{}", fs::read_to_string(log).unwrap_or_default());
        Err(TaskError::Absent { what: "an engine's daemon", remedy: "see its log above" })
    }

    /// Its process, and all below it.
    pub(super) fn pids(&self) -> Vec<u32> {
        let mut found = vec![self.0.id()];
        let mut next = 0;
        while let Some(pid) = found.get(next).copied() {
            found.extend(children(pid));
            next += 1;
        }
        found
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        // Whoever does not end in time is killed.
        let _ = child::wait(&mut self.0, Duration::from_secs(20));
    }
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let lists =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists
        .flat_map(|text| {
            text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}
