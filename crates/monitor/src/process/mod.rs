//! `dhow monitor ID FILE`: the process itself, one poll loop around one container.
//!
//! Invariant: one turn of the loop does what is ready and never waits for a client, an engine or a clock; the
//! only calls that take their time are the runtime's. A record is in the journal before anybody is told.
//! The process ends when its container has ended for good, has been told, and every client has got the rest.
//! Absent on purpose: engines. Whether one is there makes no difference to the container.

mod backend;
mod backlog;
mod client;
mod console;
mod execs;
mod foreign;
mod forwards;
mod health;
mod keys;
mod names;
mod peer;
mod policy;
mod requests;
mod root;
mod signals;
mod station;
mod task;

pub use root::{RootError, mount_root};

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use dhow_sys::{Exit, SignalSet};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::process::{WaitOptions, WaitStatus};

use crate::connection::{Connection, listen};
use crate::journal::Journal;
use crate::log::Writer;
use crate::protocol::{ErrorKind, Event, Launch, Record, Reply};
use backend::Backend;
use execs::Exec;
use forwards::Forwards;
use names::Names;
use peer::Peer;
use policy::Policy;
use station::{Manner, Slot, Station};
use task::Task;

/// The number at which whoever started the monitor left a connection.
const STARTER: i32 = 3;

/// Everything that a monitor has.
pub(crate) struct Monitor {
    launch: Launch,
    backend: Backend,
    journal: Journal,
    log: Writer,
    listener: Option<OwnedFd>,
    signals: OwnedFd,
    peers: Vec<Peer>,
    /// The container's streams and clients; there before its process.
    station: Station,
    task: Option<Task>,
    policy: Policy,
    /// When the container is started again.
    restart_at: Option<Instant>,
    execs: Vec<Exec>,
    health: Option<health::Watch>,
    names: Option<Names>,
    forwards: Forwards,
    next_key: u32,
    /// The container has ended for good.
    leaving: bool,
}

/// What is waited for.
#[derive(Debug, Clone, Copy)]
enum Token {
    Listener,
    Signals,
    Peer(u32),
    /// The end of a first process that is not our child.
    Process,
    Oom,
    Station(Slot),
    Exec(u32, Slot),
    Names,
    Forwards,
}

/// Runs a monitor to its end; `arguments` are the container's id and the launch's file.
///
/// The exit status is 0 when it has done its duty, 2 for wrong arguments and 1 if it could not begin. Why it
/// could not is the answer to the first thing that its starter asks; without one, it goes to standard error.
pub fn main(arguments: impl Iterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.collect();
    let [id, file] = &arguments[..] else {
        complain("usage: dhow monitor ID FILE");
        return 2;
    };
    match Monitor::begin(id, Path::new(file)) {
        Ok(mut monitor) => {
            monitor.run();
            0
        }
        Err(message) => {
            refuse(message);
            1
        }
    }
}

/// Says why nothing began.
fn refuse(message: String) {
    let Some(starter) = dhow_sys::take_descriptor(STARTER) else { return complain(&message) };
    let reply = Reply::Error { kind: ErrorKind::Internal, message };
    // If nobody takes the message there is nobody to tell.
    let _ = Connection::from(starter).reply(&reply, &[]);
}

fn complain(message: &str) {
    use std::io::Write;
    // If nobody takes the message there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "dhow monitor: {message}");
}

impl Monitor {
    fn begin(id: &OsString, file: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let launch: Launch = serde_json::from_slice(&bytes)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        if id.to_str() != Some(&launch.id) {
            return Err(format!("{}: the launch of another container", file.display()));
        }
        let call = |doing: &'static str| move |errno: Errno| format!("{doing}: {errno}");
        dhow_sys::set_mask(SignalSet::ALL);
        let signals = dhow_sys::signal_fd(SignalSet::ALL).map_err(call("make a signalfd"))?;
        // Orphans of a container without a PID namespace come to us, not to the machine's first process.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(call("adopt orphans"))?;
        let backend = Backend::open(&launch).map_err(|failure| failure.message)?;
        let journal = Journal::open(&launch.journal)
            .map_err(|error| format!("{}: {error}", launch.journal.display()))?;
        let log = Writer::open(&launch.log)
            .map_err(|error| format!("{}: {error}", launch.log.path.display()))?;
        let listener = listen(&launch.socket)
            .map_err(|errno| format!("{}: {errno}", launch.socket.display()))?;
        let policy = Policy::after(launch.restart_count);
        let station = Station::new(manner(&launch));
        let mut monitor = Self {
            launch,
            backend,
            journal,
            log,
            listener: Some(listener),
            signals,
            peers: Vec::new(),
            station,
            task: None,
            policy,
            restart_at: None,
            execs: Vec::new(),
            health: None,
            names: None,
            forwards: Forwards::default(),
            next_key: 0,
            leaving: false,
        };
        monitor.look_at_network();
        if let Some(starter) = dhow_sys::take_descriptor(STARTER) {
            monitor.add_peer(starter.into());
        }
        Ok(monitor)
    }

    fn key(&mut self) -> u32 {
        self.next_key += 1;
        self.next_key
    }

    fn add_peer(&mut self, connection: Connection) {
        // A peer that cannot be kept from blocking us is none.
        if connection.set_nonblocking().is_ok() {
            let key = self.key();
            self.peers.push(Peer::new(key, connection));
        }
    }

    fn run(&mut self) {
        while !self.is_over() {
            let ready = self.wait();
            for (token, flags) in ready {
                self.serve(token, flags);
            }
            self.take_due(Instant::now());
            self.sweep_execs();
            self.station.sweep();
        }
        // Also where nothing ever began: nobody shall knock at a door with nobody behind it.
        self.leave();
    }

    /// The container has ended and everybody has been told; or nobody ever asked for it and nobody is there.
    fn is_over(&self) -> bool {
        let busy = self.task.is_some() || self.restart_at.is_some() || !self.execs.is_empty();
        let idle = !busy && (self.leaving || self.peers.is_empty());
        idle && !self.station.has_clients()
    }

    fn wait(&self) -> Vec<(Token, PollFlags)> {
        let (tokens, mut fds) = self.polled();
        let timeout = self.next_due().map(|due| {
            let left = due.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            // Interrupted, or too little memory for the moment: looked at again.
            Err(_) => return Vec::new(),
        }
        let flags = fds.iter().map(PollFd::revents);
        tokens.into_iter().zip(flags).filter(|(_, flags)| !flags.is_empty()).collect()
    }

    fn polled<'a>(&'a self) -> (Vec<Token>, Vec<PollFd<'a>>) {
        let (mut tokens, mut fds) = (Vec::new(), Vec::new());
        self.wants(&mut |token, fd: BorrowedFd<'a>, flags| {
            tokens.push(token);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        });
        (tokens, fds)
    }

    fn wants<'a>(&'a self, want: &mut dyn FnMut(Token, BorrowedFd<'a>, PollFlags)) {
        want(Token::Signals, self.signals.as_fd(), PollFlags::IN);
        if let Some(listener) = &self.listener {
            want(Token::Listener, listener.as_fd(), PollFlags::IN);
        }
        for peer in &self.peers {
            want(Token::Peer(peer.key()), peer.as_fd(), PollFlags::IN);
        }
        if let Some(task) = &self.task {
            task.wants(want);
        }
        self.station.wants(&mut |slot, fd, flags| want(Token::Station(slot), fd, flags));
        if let Some(names) = &self.names {
            want(Token::Names, names.as_fd(), PollFlags::IN);
        }
        if let Some(forwards) = self.forwards.as_fd() {
            want(Token::Forwards, forwards, PollFlags::IN);
        }
        for exec in &self.execs {
            exec.station().wants(&mut |slot, fd, flags| {
                want(Token::Exec(exec.key(), slot), fd, flags);
            });
        }
    }

    fn serve(&mut self, token: Token, flags: PollFlags) {
        match token {
            Token::Listener => self.accept(),
            Token::Signals => self.take_signals(),
            Token::Peer(key) => self.serve_peer(key),
            Token::Process => self.look_at_adopted(flags),
            Token::Oom => self.take_oom(),
            Token::Station(slot) => {
                let log = &mut self.log;
                let mut sink = |stream, bytes: &[u8]| log.write(stream, bytes);
                if self.station.ready(slot, flags, &mut sink) {
                    self.record(Event::Detached { exec_id: None });
                }
                self.tell_of_losses();
            }
            Token::Exec(key, slot) => self.serve_exec(key, slot, flags),
            Token::Names => self.names.iter_mut().for_each(Names::serve),
            Token::Forwards => self.forwards.serve(),
        }
    }

    /// Serves the container's network as the files say by now. What cannot be served is not: a container
    /// without names, or without a port at [::1], still runs.
    fn look_at_network(&mut self) {
        let Some(place) = &self.launch.network else { return };
        self.forwards.set(dhow_network::Forward::read(&place.forwards).unwrap_or_default());
        if self.names.is_none() && place.names.exists() {
            self.names = Names::open(place).ok();
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Some(listener) = &self.listener else { return };
        if let Ok(socket) = rustix::net::accept_with(listener, flags) {
            self.add_peer(socket.into());
        }
    }

    fn take_signals(&mut self) {
        // Only the ends of children mean something here; whoever sends others has the container to ask.
        while let Ok(Some(_)) = dhow_sys::read_signal(self.signals.as_fd()) {}
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let exit = exit_of(status);
            if self.task.as_ref().is_some_and(|task| task.is_child(pid)) {
                self.end_task(Some(exit));
            } else {
                self.end_exec(pid, exit);
            }
        }
    }

    /// When something is to be done without anybody asking.
    fn next_due(&self) -> Option<Instant> {
        let task = self.task.as_ref().and_then(Task::due);
        let health = self.health.as_ref().and_then(|watch| watch.due);
        let execs = self.execs.iter().filter_map(Exec::due);
        let names = self.names.as_ref().and_then(Names::due);
        [self.restart_at, task, health, names, self.forwards.due()]
            .into_iter()
            .flatten()
            .chain(execs)
            .min()
    }

    fn take_due(&mut self, now: Instant) {
        if self.restart_at.is_some_and(|at| at <= now) {
            self.restart_at = None;
            // Its failure is on record.
            let _ = self.start_task();
        }
        self.take_task_due(now);
        self.take_health_due(now);
        self.names.iter_mut().for_each(|names| names.take_due(now));
        self.forwards.take_due(now);
    }

    /// Writes down what happened, then tells it.
    fn record(&mut self, event: Event) {
        self.record_at(crate::clock::now_ns(), event);
    }

    fn record_at(&mut self, time_ns: i64, event: Event) {
        // A full disk keeps records from the journal, and nobody from being told.
        let (record, _) = self.journal.append(time_ns, event);
        self.tell(&record);
    }

    fn tell(&mut self, record: &Record) {
        let reply = Reply::Record(record.clone());
        // One that does not read comes back and asks for what it missed.
        self.peers.retain(|peer| !peer.follows() || peer.connection().reply(&reply, &[]).is_ok());
    }

    fn tell_of_losses(&mut self) {
        if let Some((lines, message)) = self.log.take_dropped() {
            self.record(Event::LogDropped { lines, message });
        }
    }
}

fn manner(launch: &Launch) -> Manner {
    Manner {
        terminal: launch.terminal,
        open_stdin: launch.open_stdin,
        stdin_once: launch.stdin_once,
        patient: false,
        spill: spill_of(launch),
    }
}

/// Where what slow clients have not taken is put: beside the journal, on a disk.
fn spill_of(launch: &Launch) -> std::path::PathBuf {
    launch.journal.parent().unwrap_or(Path::new("/")).to_owned()
}

fn exit_of(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code as u8),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Signal(rustix::process::Signal::KILL.as_raw()),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
