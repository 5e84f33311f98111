//! A program run to its end or to its time limit, with what it said.
//!
//! Output goes through files, not pipes: a program that leaves a container behind would hold a pipe
//! open, and waiting for its end would wait for the container. Whatever the program started in its own
//! process group is killed when it ends; programs that leave the group are their caller's business.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It exited with this code; 128 + n for a signal, as a shell counts.
    Code(i32),
    /// It was still there at the limit and was killed.
    TimedOut,
}

/// A program's end and its output.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) ending: Ending,
    /// All that it wrote to its standard output.
    pub(crate) stdout: String,
    /// All that it wrote to its standard error.
    pub(crate) stderr: String,
}

/// Runs `command` without input, at most for `limit`.
pub(crate) fn run(command: &mut Command, limit: Duration) -> io::Result<Outcome> {
    run_with(command, Stdio::null(), limit)
}

/// The same with an input that stays open and silent, as a terminal with nobody at it.
pub(crate) fn run_with_silent_input(command: &mut Command, limit: Duration) -> io::Result<Outcome> {
    run_with(command, Stdio::piped(), limit)
}

fn run_with(command: &mut Command, input: Stdio, limit: Duration) -> io::Result<Outcome> {
    let (mut stdout, mut stderr) = (anonymous()?, anonymous()?);
    let mut child = command
        .stdin(input)
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .process_group(0)
        .spawn()?;
    let pid = Pid::from_child(&child);
    let ended = await_end(&child, limit)?;
    // Before reaping: as long as the leader is not waited for, nobody else can have its group's number.
    let _ = kill_process_group(pid, Signal::KILL);
    let status = child.wait()?;
    let ending = if ended { Ending::Code(code(status)) } else { Ending::TimedOut };
    Ok(Outcome { ending, stdout: contents(&mut stdout)?, stderr: contents(&mut stderr)? })
}

/// Waits for `child` at most for `limit`; kills it then, and gives no exit code.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<i32>> {
    let ended = await_end(child, limit)?;
    if !ended {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(ended.then(|| code(status)))
}

fn await_end(child: &Child, limit: Duration) -> io::Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let timeout = Timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    Ok(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout))? > 0)
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn anonymous() -> io::Result<File> {
    let dir = rustix::fs::open(
        std::env::temp_dir(),
        rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )?;
    Ok(File::from(dir))
}

fn contents(file: &mut File) -> io::Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Outcome {
        run(Command::new("sh").args(["-c", script]), limit).expect("sh starts")
    }

    #[test]
    fn code_and_output_are_kept() {
        let outcome = shell("echo out; echo err >&2; exit 7", Duration::from_secs(20));
        assert_eq!(outcome.ending, Ending::Code(7));
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
    }

    #[test]
    fn a_background_process_holds_nobody_up() {
        let outcome = shell("sleep 100 & echo started", Duration::from_secs(20));
        assert_eq!(outcome.ending, Ending::Code(0));
    }

    #[test]
    fn the_limit_ends_it() {
        let outcome = shell("sleep 100", Duration::from_millis(100));
        assert_eq!(outcome.ending, Ending::TimedOut);
    }
}
