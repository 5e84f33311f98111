//! Starts programs under a time limit and keeps what they said.
//!
//! Output goes to files, not pipes: a detached container keeps its output open, and a pipe would make
//! the reader wait for it. Every start goes through `Children`, because the case's process is the
//! first of its pid namespace: it also reaps orphans (the containers' first processes), and must not
//! take away the exit status of a program that somebody waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, WaitOptions};

use super::case::Case;
use super::verdict::{Outcome, Stop, check, fail};

/// Processes that somebody waits for, and exit codes of those that nobody does.
#[derive(Debug, Default)]
pub(crate) struct Children {
    own: Mutex<BTreeSet<u32>>,
    reaping: Mutex<()>,
    exits: Mutex<BTreeMap<i32, i32>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Children {
    /// Starts a program whose exit status will be waited for.
    pub(crate) fn spawn(&self, command: &mut Command) -> std::io::Result<Child> {
        let mut own = lock(&self.own);
        let child = command.spawn()?;
        own.insert(child.id());
        Ok(child)
    }

    /// Says that a program has been waited for.
    pub(crate) fn forget(&self, pid: u32) {
        lock(&self.own).remove(&pid);
    }

    /// The exit code of an orphan that was reaped.
    pub(crate) fn exit_code(&self, pid: i32) -> Option<i32> {
        lock(&self.exits).get(&pid).copied()
    }

    /// While this value lives, orphans are not reaped and stay zombies.
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        lock(&self.reaping)
    }

    /// Reaps orphans for ever, as an init does.
    pub(crate) fn reap_forever(self: &Arc<Self>) {
        let children = Arc::clone(self);
        thread::spawn(move || {
            loop {
                children.reap();
                thread::sleep(Duration::from_millis(2));
            }
        });
    }

    fn reap(&self) {
        let _reaping = lock(&self.reaping);
        for (pid, state) in super::host::children_of_self() {
            let own = lock(&self.own);
            if state != 'Z' || own.contains(&(pid as u32)) {
                continue;
            }
            let reaped = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
            if let Ok(Some((_, status))) = reaped {
                let code = status
                    .exit_status()
                    .unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or(0));
                lock(&self.exits).insert(pid, code);
            }
        }
    }
}

/// A program about to be started.
pub(crate) struct Call<'c> {
    case: &'c Case,
    command: Command,
    shown: String,
    stdin: Stdio,
    limit: Duration,
    files: (PathBuf, PathBuf),
    output: Option<File>,
}

impl<'c> Call<'c> {
    pub(crate) fn new(case: &'c Case, program: &Path, args: &[String]) -> Self {
        let mut command = Command::new(program);
        command.args(args).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        // Whatever a program drops into its directory goes with the case.
        command.current_dir(&case.dir);
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        Call {
            case,
            command,
            shown: format!("{name} {}", args.join(" ")),
            stdin: Stdio::null(),
            limit: case.limit(10),
            files: case.output_files(),
            output: None,
        }
    }

    /// One more variable in the environment, which is otherwise nearly empty.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Text on standard input.
    pub(crate) fn stdin_text(mut self, text: &str) -> Outcome<Self> {
        let path = self.files.0.with_extension("in");
        fs::write(&path, text)?;
        self.stdin = Stdio::from(File::open(path)?);
        Ok(self)
    }

    /// Something open as standard input.
    pub(crate) fn stdin(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.stdin = Stdio::from(fd.into());
        self
    }

    /// Something open as standard output and error, instead of files.
    pub(crate) fn output_to(mut self, file: File) -> Self {
        self.output = Some(file);
        self
    }

    /// Another time limit, in seconds on a quick machine.
    pub(crate) fn limit(mut self, seconds: u32) -> Self {
        self.limit = self.case.limit(seconds);
        self
    }

    /// As another user, without groups.
    pub(crate) fn user(mut self, id: u32) -> Self {
        self.command.uid(id).gid(id);
        self
    }

    /// In a directory.
    pub(crate) fn current_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Starts it and does not wait.
    pub(crate) fn spawn(mut self) -> Outcome<Running<'c>> {
        let (stdout, stderr) = match self.output {
            Some(file) => (file.try_clone()?, file),
            None => (File::create(&self.files.0)?, File::create(&self.files.1)?),
        };
        self.command.stdin(self.stdin).stdout(stdout).stderr(stderr);
        let child = self.case.children.spawn(&mut self.command).map_err(|e| {
            Stop::Fail(format!("cannot start {:?}: {e}", self.command.get_program()))
        })?;
        Ok(Running {
            case: self.case,
            child,
            shown: self.shown,
            started: Instant::now(),
            limit: self.limit,
            out: self.files.0,
            err: self.files.1,
            waited: false,
        })
    }

    /// Starts it and waits for its end.
    pub(crate) fn go(self) -> Outcome<Done> {
        self.spawn()?.finish()
    }
}

/// A program that was started.
pub(crate) struct Running<'c> {
    case: &'c Case,
    child: Child,
    shown: String,
    started: Instant,
    limit: Duration,
    out: PathBuf,
    err: PathBuf,
    waited: bool,
}

impl Running<'_> {
    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// What it (and the container that inherits its output) has printed so far.
    pub(crate) fn output(&self) -> String {
        read(&self.out)
    }

    /// Waits until the output contains `text`.
    pub(crate) fn wait_output(&self, text: &str) -> Outcome {
        self.case.wait_until(&format!("`{}` prints {text:?}", self.shown), || {
            Ok(self.output().contains(text))
        })
    }

    /// Kills it without ceremony and waits for it.
    pub(crate) fn kill(mut self) -> Outcome<Done> {
        self.child.kill()?;
        // It may have run for longer than it would have been waited for.
        self.limit += self.started.elapsed();
        self.finish_inner()
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Outcome<Done> {
        self.finish_inner()
    }

    fn finish_inner(&mut self) -> Outcome<Done> {
        let pid = Pid::from_child(&self.child);
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        let ended = wait_readable(&pidfd, self.limit.saturating_sub(self.started.elapsed()))?;
        if !ended {
            self.child.kill()?;
        }
        let status = self.child.wait()?;
        self.waited = true;
        self.case.children.forget(self.child.id());
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        let done = Done {
            code,
            out: read(&self.out),
            err: read(&self.err),
            shown: std::mem::take(&mut self.shown),
            took: self.started.elapsed(),
            out_file: self.out.clone(),
        };
        self.case.note(&done);
        if !ended {
            fail!("`{}` still ran after {:?}{}", done.shown, self.limit, done.said());
        }
        Ok(done)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.waited {
            // It was lost by a scenario that failed: nothing is left to report to.
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.case.children.forget(self.child.id());
        }
    }
}

fn wait_readable(fd: &OwnedFd, limit: Duration) -> Outcome<bool> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let time =
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&time)) {
            Ok(n) => return Ok(n > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn read(path: &Path) -> String {
    fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    /// Its exit code, or 128 + the signal that ended it.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
    /// Where standard output went.
    pub(crate) out_file: PathBuf,
    pub(crate) took: Duration,
    shown: String,
}

impl Done {
    /// Fails unless the exit code is 0.
    pub(crate) fn ok(self) -> Outcome<Done> {
        self.code_is(0)
    }

    /// Fails unless the exit code is this one.
    pub(crate) fn code_is(self, code: i32) -> Outcome<Done> {
        check!(
            self.code == code,
            "`{}` exited with {}, expected {code}{}",
            self.shown,
            self.code,
            self.said()
        );
        Ok(self)
    }

    /// The lines of standard error, without warnings and below.
    pub(crate) fn error_lines(&self) -> Vec<&str> {
        let mild = ["level=warn", "level=info", "level=debug", "\"level\":\"warn", "[warning]"];
        self.err
            .lines()
            .filter(|l| !l.trim().is_empty() && !mild.iter().any(|m| l.contains(m)))
            .collect()
    }

    /// Fails unless it failed, with one line that has all these words (`a|b`: either).
    pub(crate) fn fails_naming(self, words: &[&str]) -> Outcome<Done> {
        check!(self.code != 0, "`{}` succeeded where it must fail{}", self.shown, self.said());
        check!(self.code < 128 || self.code == 255, "`{}` died of a signal", self.shown);
        let lines = self.error_lines();
        check!(
            lines.len() == 1,
            "`{}` said {} lines instead of one{}",
            self.shown,
            lines.len(),
            self.said()
        );
        let line = lines[0].to_lowercase();
        for word in words {
            check!(
                word.split('|').any(|w| line.contains(&w.to_lowercase())),
                "the error does not name {word:?}: {}",
                lines[0]
            );
        }
        Ok(self)
    }

    /// The payload's answer, parsed from the last line of standard output.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> Outcome<T> {
        let line = self.out.lines().last().unwrap_or("");
        serde_json::from_str(line)
            .map_err(|e| Stop::Fail(format!("`{}`: {e}{}", self.shown, self.said())))
    }

    /// Results printed by a machine-code program.
    pub(crate) fn results(&self) -> Outcome<Vec<i64>> {
        let bytes = fs::read(&self.out_file)?;
        Ok(bytes
            .chunks_exact(8)
            .map(|c| i64::from_le_bytes(c.try_into().expect("chunks are 8 bytes")))
            .collect())
    }

    /// One line for the transcript.
    pub(crate) fn summary(&self) -> String {
        format!("$ {} -> {} ({} ms){}", self.shown, self.code, self.took.as_millis(), self.said())
    }

    fn said(&self) -> String {
        let lines: Vec<&str> = self.err.lines().collect();
        match lines.len() {
            0 => String::new(),
            n => format!("; stderr: {}", lines[n.saturating_sub(6)..].join("\n    ")),
        }
    }
}
