//! The container's first process: its start, its end, and what is done to it in between.
//!
//! Invariant: `Monitor::task` is there exactly while the process is, and every way out of it goes through
//! [`Monitor::end_task`]: output into the log, cgroup removed, end on record, clients told, in this order.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use dhow_runtime::{OomEvent, OomWatch, Streams};
use dhow_sys::Exit;
use rustix::event::PollFlags;
use rustix::process::{Pid, Signal};

use super::backend::{Failure, Found};
use super::station::pipes;
use super::{Monitor, Token, health, milliseconds, signals};
use crate::protocol::{ErrorKind, Event, StartFailure, StreamKinds};

pub(super) const KILL: i32 = Signal::KILL.as_raw();
/// How long a process that has no handler for the stop signal has to set one up after all.
const GRACE: Duration = Duration::from_millis(10);
/// Docker's time between the stop signal and KILL.
const STOP_TIMEOUT_S: i64 = 10;
/// How long somebody else may take to reap a process that he has to before we know its end.
const REAPING: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Task {
    pub(super) pid: Pid,
    pidfd: OwnedFd,
    /// It is our child, so its end comes by SIGCHLD.
    is_child: bool,
    started: Instant,
    oom: Option<OomWatch>,
    oom_killed: bool,
    pub(super) paused: bool,
    stop: Option<Stop>,
    /// It has ended, and nobody has reaped it yet.
    gone_at: Option<Instant>,
}

/// A stop on its way.
#[derive(Debug)]
struct Stop {
    signal: i32,
    /// When it is killed; absent is never.
    deadline: Option<Instant>,
    /// When to look again whether it has a handler.
    look_at: Option<Instant>,
}

impl Task {
    pub(super) fn is_child(&self, pid: Pid) -> bool {
        self.is_child && self.pid == pid
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(super) fn wants<'a>(&'a self, want: &mut dyn FnMut(Token, BorrowedFd<'a>, PollFlags)) {
        if !self.is_child {
            // Once it is a zombie only its being reaped (HUP) is news.
            let flags = if self.gone_at.is_some() { PollFlags::empty() } else { PollFlags::IN };
            want(Token::Process, self.pidfd.as_fd(), flags);
        }
        if let Some(oom) = &self.oom {
            want(Token::Oom, oom.as_fd(), PollFlags::IN);
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let stop = self.stop.as_ref();
        let (deadline, look_at) =
            (stop.and_then(|stop| stop.deadline), stop.and_then(|stop| stop.look_at));
        let reaped = self.gone_at.map(|at| at + REAPING);
        [deadline, look_at, reaped].into_iter().flatten().min()
    }

    fn signal(&self, signal: i32) {
        // It may have ended by now.
        let _ = dhow_sys::pidfd_kill(self.pidfd.as_fd(), signal);
    }
}

impl Monitor {
    /// Starts the container; a failure is on record when this returns.
    pub(super) fn start_task(&mut self) -> Result<Pid, Failure> {
        match self.try_start() {
            Ok(pid) => Ok(pid),
            Err(failure) => {
                let kind = match failure.kind {
                    ErrorKind::Start(kind) => kind,
                    _ => StartFailure::Other,
                };
                self.record(Event::StartFailed { message: failure.message.clone(), kind });
                self.station.close();
                self.leave();
                Err(failure)
            }
        }
    }

    fn try_start(&mut self) -> Result<Pid, Failure> {
        let failed = |errno: rustix::io::Errno| Failure {
            kind: ErrorKind::Start(StartFailure::Other),
            message: format!("make the container's streams: {errno}"),
        };
        let (streams, ends) = match self.launch.terminal {
            true => (Streams::Terminal { size: self.launch.terminal_size }, None),
            false => {
                let (streams, ends) = pipes(self.launch.open_stdin).map_err(failed)?;
                (streams, Some(ends))
            }
        };
        let first = self.backend.start(&self.launch, streams)?;
        let pid = first.child.pid;
        self.task = Some(Task {
            pid,
            pidfd: first.child.pidfd,
            is_child: true,
            started: Instant::now(),
            oom: first.oom,
            oom_killed: false,
            paused: false,
            stop: None,
            gone_at: None,
        });
        let connected = match (ends, first.terminal) {
            (Some(ends), _) => self.station.connect(ends),
            (None, Some(master)) => self.station.connect_terminal(master),
            (None, None) => Ok(()),
        };
        // A pipe that does not block can only fail to be one.
        connected.map_err(failed)?;
        let (pid_number, restart_count) = (pid.as_raw_nonzero().get(), self.policy.count);
        self.record(Event::Started { pid: pid_number, restart_count });
        self.begin_health();
        dhow_sys::release_memory();
        Ok(pid)
    }

    fn begin_health(&mut self) {
        let Some(check) = &self.launch.health else { return };
        let watch = health::Watch::begin(check, Instant::now());
        let first = watch.health(None);
        self.health = Some(watch);
        self.record(Event::Health(first));
    }

    /// Takes over a container that another monitor started.
    pub(super) fn adopt(
        &mut self,
        kinds: StreamKinds,
        pidfd: bool,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<Pid>, Failure> {
        let mut fds = fds.into_iter();
        let kept = if pidfd { fds.next() } else { None };
        let found = self.backend.find();
        let pid = found.as_ref().map(|found| found.pid);
        self.reconnect(kinds, &mut fds, pid);
        self.go_on_from_journal();
        match found {
            Some(Found { pid, pidfd, oom, paused }) => {
                self.task = Some(Task {
                    pid,
                    pidfd: kept.unwrap_or(pidfd),
                    is_child: false,
                    started: Instant::now(),
                    oom,
                    oom_killed: false,
                    paused,
                    stop: None,
                    gone_at: None,
                });
                self.record(Event::Adopted { pid: pid.as_raw_nonzero().get() });
                self.begin_health();
                Ok(Some(pid))
            }
            None => {
                let exit = kept.and_then(|fd| dhow_sys::pidfd_exit(fd.as_fd()).ok().flatten());
                self.finish(exit, Duration::ZERO, false);
                Ok(None)
            }
        }
    }

    /// Takes the streams that were kept; those that are missing may be found at the process itself.
    fn reconnect(
        &mut self,
        kinds: StreamKinds,
        fds: &mut dyn Iterator<Item = OwnedFd>,
        pid: Option<Pid>,
    ) {
        let mut kept = |there: bool| if there { fds.next() } else { None };
        let connected = if self.station.is_terminal() {
            kept(kinds.terminal).map(|master| self.station.connect_terminal(master))
        } else {
            let (stdin, stdout, stderr) =
                (kept(kinds.stdin), kept(kinds.stdout), kept(kinds.stderr));
            let stdin = stdin.or_else(|| pipe_of(pid.filter(|_| self.launch.open_stdin)?, 0));
            let stdout = stdout.or_else(|| pipe_of(pid?, 1));
            let stderr = stderr.or_else(|| pipe_of(pid?, 2));
            Some(self.station.reconnect(stdin, stdout, stderr))
        };
        // Without streams it is still worth watching.
        if let Some(Err(errno)) = connected {
            let message = format!("reconnect streams: {errno}");
            self.record(Event::LogDropped { lines: 0, message });
        }
    }

    /// Something is known of a first process that is not our child: it has ended (IN), it is reaped (HUP).
    pub(super) fn look_at_adopted(&mut self, _flags: PollFlags) {
        let Some(task) = &mut self.task else { return };
        match dhow_sys::pidfd_exit(task.pidfd.as_fd()) {
            Ok(Some(exit)) => self.end_task(Some(exit)),
            // It waits for somebody to reap it.
            Ok(None) => {
                task.gone_at.get_or_insert_with(Instant::now);
            }
            Err(_) => self.end_task(None),
        }
    }

    pub(super) fn take_oom(&mut self) {
        let Some(task) = &mut self.task else { return };
        match task.oom.as_mut().map(OomWatch::take) {
            Some(Ok(OomEvent::Oom)) => {
                task.oom_killed = true;
                self.record(Event::Oom);
            }
            Some(Ok(OomEvent::Nothing)) | None => {}
            // The end comes by another way.
            Some(Ok(OomEvent::Ended) | Err(_)) => task.oom = None,
        }
    }

    /// The first process has ended.
    pub(super) fn end_task(&mut self, exit: Option<Exit>) {
        // What the kernel said before is known before the end is told.
        self.take_oom();
        let Some(task) = self.task.take() else { return };
        self.finish(exit, task.started.elapsed(), task.oom_killed);
    }

    fn finish(&mut self, exit: Option<Exit>, life: Duration, oom_killed: bool) {
        self.health = None;
        let log = &mut self.log;
        self.station.drain(&mut |stream, bytes: &[u8]| log.write(stream, bytes));
        self.log.end();
        self.tell_of_losses();
        self.end_execs_of_container();
        let deleted = self.backend.delete();
        let code = exit.map(|exit| i32::from(exit.status()));
        let signal = exit.and_then(|exit| match exit {
            Exit::Signal(signal) => Some(signal),
            Exit::Code(_) => None,
        });
        // What cannot be removed would be in the way of a new life.
        let again = match deleted {
            Ok(()) => self.policy.next(self.launch.restart, life, code),
            Err(_) => None,
        };
        self.record(Event::Exited { code, signal, oom_killed, last: again.is_none() });
        self.station.close();
        match again {
            Some(delay) => {
                self.restart_at = Some(Instant::now() + delay);
                let (in_ms, count) = (milliseconds(delay), self.policy.count);
                self.record(Event::Restarting { in_ms, count });
            }
            None => self.leave(),
        }
    }

    /// From here on nobody new is served: the socket's place is free for another monitor.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        if self.listener.take().is_some() {
            let _ = std::fs::remove_file(&self.launch.socket);
        }
    }

    /// Asks the container to end, and keeps the policy from starting it again.
    pub(super) fn stop(&mut self, signal: Option<i32>, timeout_s: Option<i64>) -> bool {
        self.policy.cancelled = true;
        if self.cancel_restart() {
            return true;
        }
        let signal = signal.unwrap_or(self.launch.stop_signal);
        let timeout_s = timeout_s.or(self.launch.stop_timeout_s).unwrap_or(STOP_TIMEOUT_S);
        let Some(task) = &mut self.task else { return false };
        let now = Instant::now();
        let deadline = u64::try_from(timeout_s).ok().map(|limit| now + Duration::from_secs(limit));
        let deaf = signal != KILL && signals::is_deaf(task.pid.as_raw_nonzero().get(), signal);
        task.signal(signal);
        let look_at = deaf.then_some(now + GRACE);
        task.stop = Some(Stop { signal, deadline, look_at });
        let paused = task.paused;
        if !deaf {
            self.record(Event::Stopping { signal, unhandled: false });
        }
        // A frozen process notices nothing.
        if paused {
            self.resume_quietly();
        }
        true
    }

    /// Ends a container that waits for its next life; says whether it did.
    pub(super) fn cancel_restart(&mut self) -> bool {
        if self.restart_at.take().is_none() {
            return false;
        }
        self.record(Event::RestartCancelled);
        self.leave();
        true
    }

    fn resume_quietly(&mut self) {
        if self.backend.resume().is_ok() {
            if let Some(task) = &mut self.task {
                task.paused = false;
            }
            self.record(Event::Resumed);
        }
    }

    pub(super) fn take_task_due(&mut self, now: Instant) {
        let Some(task) = &mut self.task else { return };
        if task.gone_at.is_some_and(|at| at + REAPING <= now) {
            // Nobody reaps it: its status stays unknown.
            return self.end_task(None);
        }
        let Some(stop) = &mut task.stop else { return };
        if stop.look_at.is_some_and(|at| at <= now) {
            stop.look_at = None;
            let signal = stop.signal;
            let unhandled = signals::is_deaf(task.pid.as_raw_nonzero().get(), signal);
            if unhandled {
                stop.deadline = None;
            } else {
                task.signal(signal);
            }
            self.record(Event::Stopping { signal, unhandled });
            if unhandled {
                self.kill_all();
            }
            return;
        }
        if stop.deadline.is_some_and(|at| at <= now) {
            stop.deadline = None;
            self.kill_all();
        }
    }

    /// Ends the container for certain.
    pub(super) fn kill_all(&mut self) {
        // The runtime also thaws, and ends what lives on without a first process.
        if self.backend.kill(KILL).is_err()
            && let Some(task) = &self.task
        {
            task.signal(KILL);
        }
    }

    /// Sends a signal on request.
    pub(super) fn kill(&mut self, signal: i32) -> Result<(), Failure> {
        if signal == KILL || signal == self.launch.stop_signal {
            self.policy.cancelled = true;
        }
        self.backend.kill(signal)?;
        self.record(Event::Killed { signal });
        Ok(())
    }
}

/// The pipe that is a process's standard stream, opened once more from our side.
fn pipe_of(pid: Pid, number: i32) -> Option<OwnedFd> {
    use rustix::fs::{FileType, Mode, OFlags};
    let path = format!("/proc/{}/fd/{number}", pid.as_raw_nonzero());
    let stat = rustix::fs::stat(&path).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
        return None;
    }
    let way = if number == 0 { OFlags::WRONLY } else { OFlags::RDONLY };
    rustix::fs::open(&path, way | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok()
}
