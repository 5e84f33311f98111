//! Processes besides the first one: sessions of clients, and probes of health.
//!
//! Invariant: an exec is told to have ended when its process has; its client then gets what is left, and is
//! closed. A probe has no client: its output is kept, up to a bound.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use dhow_runtime::Streams;
use dhow_spec::runtime::Capabilities;
use dhow_sys::{Child, Exit};
use rustix::event::PollFlags;
use rustix::process::{Pid, Signal};

use super::backend::Failure;
use super::health::OUTPUT_BYTES_MAX;
use super::station::{Manner, Slot, Station, pipes};
use super::{Monitor, spill_of};
use crate::clock::now_ns;
use crate::log::LogStream;
use crate::protocol::{ErrorKind, Event, ExecRequest, Probe, StartFailure};

#[derive(Debug)]
pub(super) struct Exec {
    key: u32,
    child: Child,
    station: Station,
    purpose: Purpose,
    ended: bool,
}

#[derive(Debug)]
enum Purpose {
    Session { exec_id: String },
    Probe(Running),
}

/// A probe that runs.
#[derive(Debug)]
struct Running {
    start_ns: i64,
    deadline: Option<Instant>,
    output: Vec<u8>,
    too_long: bool,
}

impl Exec {
    pub(super) fn key(&self) -> u32 {
        self.key
    }

    pub(super) fn station(&self) -> &Station {
        &self.station
    }

    pub(super) fn due(&self) -> Option<Instant> {
        match &self.purpose {
            Purpose::Probe(probe) => probe.deadline,
            Purpose::Session { .. } => None,
        }
    }

    fn is_probe(&self) -> bool {
        matches!(self.purpose, Purpose::Probe(_))
    }

    /// Does what a slot is ready for, or drains the streams.
    fn run<T>(
        &mut self,
        act: impl FnOnce(&mut Station, &mut dyn FnMut(LogStream, &[u8])) -> T,
    ) -> T {
        let purpose = &mut self.purpose;
        let mut sink = |_, bytes: &[u8]| {
            if let Purpose::Probe(probe) = purpose {
                let room = OUTPUT_BYTES_MAX - probe.output.len().min(OUTPUT_BYTES_MAX);
                probe.output.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        };
        act(&mut self.station, &mut sink)
    }

    fn kill(&self) {
        // It may have ended by now.
        let _ = dhow_sys::pidfd_kill(self.child.pidfd.as_fd(), Signal::KILL.as_raw());
    }
}

impl Monitor {
    /// Runs one more process for a client, or for nobody.
    pub(super) fn exec(
        &mut self,
        request: ExecRequest,
        client: Option<OwnedFd>,
    ) -> Result<Pid, Failure> {
        let exec_id = request.exec_id.clone();
        match self.try_exec(request, client) {
            Ok(pid) => {
                self.record(Event::ExecStarted { exec_id, pid: pid.as_raw_nonzero().get() });
                Ok(pid)
            }
            Err(failure) => {
                if let ErrorKind::Start(kind) = failure.kind {
                    let message = failure.message.clone();
                    self.record(Event::ExecFailed { exec_id, message, kind });
                }
                Err(failure)
            }
        }
    }

    fn try_exec(&mut self, request: ExecRequest, client: Option<OwnedFd>) -> Result<Pid, Failure> {
        let ExecRequest { exec_id, mut process, privileged, attach } = request;
        if privileged {
            process.capabilities = Some(every_capability());
        }
        let terminal = process.terminal;
        let manner = Manner {
            terminal,
            open_stdin: attach.as_ref().is_some_and(|attach| attach.stdin),
            stdin_once: true,
            patient: true,
            spill: spill_of(&self.launch),
        };
        let (mut station, child) = self.run_process(&process, manner)?;
        let pid = child.pid;
        // What the client typed too early is waiting, and a quick end is seen only after this.
        if let (Some(socket), Some(attach)) = (client, attach)
            && station.attach(socket, attach)
        {
            self.record(Event::Detached { exec_id: Some(exec_id.clone()) });
        }
        let purpose = Purpose::Session { exec_id };
        let key = self.key();
        self.execs.push(Exec { key, child, station, purpose, ended: false });
        dhow_sys::release_memory();
        Ok(pid)
    }

    fn run_process(
        &mut self,
        process: &dhow_spec::runtime::Process,
        manner: Manner,
    ) -> Result<(Station, Child), Failure> {
        let failed = |errno: rustix::io::Errno| Failure {
            kind: ErrorKind::Start(StartFailure::Other),
            message: format!("make the process's streams: {errno}"),
        };
        if self.task.is_none() {
            let message = "the container is not running".to_owned();
            return Err(Failure { kind: ErrorKind::Conflict, message });
        }
        let open_stdin = manner.open_stdin;
        let mut station = Station::new(manner);
        if station.is_terminal() {
            let size = process.console_size.map(|size| (size.height as u16, size.width as u16));
            let live = self.backend.exec(process, Streams::Terminal { size })?;
            if let Some(master) = live.terminal {
                station.connect_terminal(master).map_err(failed)?;
            }
            return Ok((station, live.child));
        }
        let (streams, ends) = pipes(open_stdin).map_err(failed)?;
        let live = self.backend.exec(process, streams)?;
        station.connect(ends).map_err(failed)?;
        Ok((station, live.child))
    }

    pub(super) fn resize_exec(&mut self, exec_id: &str, rows: u16, cols: u16) -> Option<bool> {
        let is_it = |exec: &&Exec| matches!(&exec.purpose, Purpose::Session { exec_id: known } if known == exec_id);
        let exec = self.execs.iter().find(is_it)?;
        Some(exec.station.resize(rows, cols).is_ok())
    }

    pub(super) fn serve_exec(&mut self, key: u32, slot: Slot, flags: PollFlags) {
        let Some(exec) = self.execs.iter_mut().find(|exec| exec.key == key) else { return };
        let detached = exec.run(|station, sink| station.ready(slot, flags, sink));
        let exec_id = match &exec.purpose {
            Purpose::Session { exec_id } => Some(exec_id.clone()),
            Purpose::Probe(_) => None,
        };
        if detached {
            self.record(Event::Detached { exec_id });
        }
    }

    /// A child has ended that is not the container's first process.
    pub(super) fn end_exec(&mut self, pid: Pid, exit: Exit) {
        let Some(at) = self.execs.iter().position(|exec| !exec.ended && exec.child.pid == pid)
        else {
            return;
        };
        let exec = &mut self.execs[at];
        exec.ended = true;
        exec.run(Station::drain);
        match &mut exec.purpose {
            Purpose::Session { exec_id } => {
                let (exec_id, code) = (exec_id.clone(), Some(i32::from(exit.status())));
                self.record(Event::ExecExited { exec_id, code });
            }
            Purpose::Probe(probe) => {
                let probe =
                    ended(probe, exit, self.launch.health.as_ref().map(|one| one.timeout_ms));
                self.execs.remove(at);
                self.count_probe(probe);
            }
        }
    }

    /// Passes on what is left of execs that have ended, and forgets those of which nothing is.
    pub(super) fn sweep_execs(&mut self) {
        for exec in self.execs.iter_mut().filter(|exec| exec.ended) {
            if exec.run(Station::drain) {
                exec.station.close();
            }
        }
        self.execs.retain(|exec| !exec.ended || exec.station.has_clients());
        self.execs.iter_mut().for_each(|exec| exec.station.sweep());
    }

    /// With the container all its processes end; those in no PID namespace of its own are made to.
    pub(super) fn end_execs_of_container(&mut self) {
        for exec in self.execs.iter_mut().filter(|exec| !exec.ended) {
            exec.kill();
            let exit = exec.child.wait().ok();
            exec.ended = true;
            exec.run(Station::drain);
            let code = exit.map(|exit| i32::from(exit.status()));
            if let Purpose::Session { exec_id } = &exec.purpose {
                let event = Event::ExecExited { exec_id: exec_id.clone(), code };
                let (record, _) = self.journal.append(now_ns(), event);
                let reply = crate::protocol::Reply::Record(record);
                self.peers
                    .retain(|peer| !peer.follows() || peer.connection().reply(&reply, &[]).is_ok());
            }
        }
        self.execs.retain(|exec| !exec.is_probe());
    }

    /// What a monitor that was lost had begun: a stop that was asked for holds, restarts are counted on, and
    /// its execs end unseen.
    pub(super) fn go_on_from_journal(&mut self) {
        let records = crate::journal::read(&self.launch.journal, 0).unwrap_or_default();
        let mut open: Vec<String> = Vec::new();
        for record in records {
            match record.event {
                Event::Started { restart_count, .. } => {
                    (self.policy.count, self.policy.cancelled) = (restart_count, false);
                }
                Event::Stopping { .. } => self.policy.cancelled = true,
                Event::ExecStarted { exec_id, .. } => open.push(exec_id),
                Event::ExecExited { exec_id, .. } => open.retain(|known| *known != exec_id),
                _ => {}
            }
        }
        for exec_id in open {
            self.record(Event::ExecExited { exec_id, code: None });
        }
    }

    /// Begins a probe that is due, and ends one that takes too long.
    pub(super) fn take_health_due(&mut self, now: Instant) {
        for exec in &mut self.execs {
            let overdue = exec.due().is_some_and(|due| due <= now);
            if let (true, Purpose::Probe(probe)) = (overdue, &mut exec.purpose) {
                (probe.too_long, probe.deadline) = (true, None);
                exec.kill();
            }
        }
        let Some(watch) = &mut self.health else { return };
        if watch.due.is_none_or(|due| due > now) {
            return;
        }
        watch.due = None;
        let Some(check) = self.launch.health.clone() else { return };
        // Nothing answers in a frozen container, and that is not its fault.
        if self.task.as_ref().is_some_and(|task| task.paused) {
            watch.due = Some(now + Duration::from_millis(check.interval_ms.max(1)));
            return;
        }
        let start_ns = now_ns();
        let manner = Manner {
            terminal: false,
            open_stdin: false,
            stdin_once: false,
            patient: false,
            spill: spill_of(&self.launch),
        };
        match self.run_process(&check.process, manner) {
            Ok((station, child)) => {
                let deadline = Some(now + Duration::from_millis(check.timeout_ms.max(1)));
                let running = Running { start_ns, deadline, output: Vec::new(), too_long: false };
                let purpose = Purpose::Probe(running);
                let key = self.key();
                self.execs.push(Exec { key, child, station, purpose, ended: false });
            }
            Err(failure) => {
                let output = failure.message;
                self.count_probe(Probe { start_ns, end_ns: now_ns(), exit_code: -1, output });
            }
        }
    }

    fn count_probe(&mut self, probe: Probe) {
        let (Some(watch), Some(check)) = (&mut self.health, &self.launch.health) else { return };
        let health = watch.count(check, probe, Instant::now());
        self.record(Event::Health(health));
    }
}

fn every_capability() -> Capabilities {
    let all = dhow_runtime::capability_names();
    Capabilities {
        bounding: all.clone(),
        effective: all.clone(),
        permitted: all,
        ..Capabilities::default()
    }
}

/// What a probe that has ended says.
fn ended(probe: &mut Running, exit: Exit, timeout_ms: Option<u64>) -> Probe {
    let output = match probe.too_long {
        true => {
            let seconds = timeout_ms.unwrap_or_default() as f64 / 1000.0;
            format!("Health check exceeded timeout ({seconds}s)")
        }
        false => {
            let mut text = String::from_utf8_lossy(&probe.output).into_owned();
            if probe.output.len() == OUTPUT_BYTES_MAX {
                text.push_str("...");
            }
            text
        }
    };
    let exit_code = if probe.too_long { -1 } else { i32::from(exit.status()) };
    Probe { start_ns: probe.start_ns, end_ns: now_ns(), exit_code, output }
}
