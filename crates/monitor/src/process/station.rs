//! The streams of one process, and the clients at them.
//!
//! Invariant: what a process writes goes to the log (its sink) first and then to every client; the process is
//! stopped by no client of a container, and by the one client of an exec alone, whose output is kept nowhere
//! else. What clients type waits here, bounded, until the process reads it.
//! Absent on purpose: the process itself.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use dhow_runtime::Streams;
use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::client::{Client, Input};
use crate::log::LogStream;
use crate::protocol::{AttachRequest, StreamKinds};

/// What is read from a process at a time.
const READ_BYTES: usize = 32 * 1024;
/// What clients may have typed ahead.
const INPUT_BYTES_MAX: usize = 64 * 1024;

const STREAMS: [LogStream; 2] = [LogStream::Stdout, LogStream::Stderr];

/// Where a process's output goes besides to clients.
pub(super) type Sink<'a> = &'a mut dyn FnMut(LogStream, &[u8]);

/// What in a station is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Stdin,
    /// 0 for standard output or a terminal, 1 for standard error.
    Output(usize),
    Client(u32),
}

/// How a station treats its streams.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub(super) terminal: bool,
    /// Clients have standard input to write to.
    pub(super) open_stdin: bool,
    /// It ends with the first client that had it.
    pub(super) stdin_once: bool,
    /// A process whose client is slow has to wait.
    pub(super) patient: bool,
    /// Where what clients have not taken is put.
    pub(super) spill: PathBuf,
}

#[derive(Debug)]
pub(super) struct Station {
    manner: Manner,
    /// The writing end of standard input, or the terminal's master.
    stdin: Option<OwnedFd>,
    /// The reading ends of the outputs, or the terminal's master alone.
    outputs: [Option<OwnedFd>; 2],
    typed: VecDeque<u8>,
    /// When everything typed is written, standard input ends.
    input_ended: bool,
    clients: Vec<(u32, Client)>,
    next: u32,
}

/// The ends of pipes that a process does not get.
pub(super) struct Ends {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Three streams for a process, and our ends of them. Without `open_stdin` it reads from `/dev/null`.
pub(super) fn pipes(open_stdin: bool) -> Result<(Streams, Ends), Errno> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    let (theirs, stdin) = match open_stdin {
        true => pipe().map(|(theirs, ours)| (theirs, Some(ours)))?,
        false => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            (rustix::fs::open(c"/dev/null", flags, Mode::empty())?, None)
        }
    };
    let (out, err) = (pipe()?, pipe()?);
    let streams = Streams::Descriptors { stdin: theirs, stdout: out.1, stderr: err.1 };
    Ok((streams, Ends { stdin, stdout: out.0, stderr: err.0 }))
}

impl Station {
    pub(super) fn new(manner: Manner) -> Self {
        Self {
            manner,
            stdin: None,
            outputs: [None, None],
            typed: VecDeque::new(),
            input_ended: false,
            clients: Vec::new(),
            next: 0,
        }
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.manner.terminal
    }

    /// Takes the ends of a new process's pipes.
    pub(super) fn connect(&mut self, ends: Ends) -> Result<(), Errno> {
        let Ends { stdin, stdout, stderr } = ends;
        for fd in [stdin.as_ref(), Some(&stdout), Some(&stderr)].into_iter().flatten() {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        self.stdin = stdin;
        self.outputs = [Some(stdout), Some(stderr)];
        self.write_typed();
        Ok(())
    }

    /// Takes what is left of the ends of an older process's pipes.
    pub(super) fn reconnect(
        &mut self,
        stdin: Option<OwnedFd>,
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
    ) -> Result<(), Errno> {
        for fd in [&stdin, &stdout, &stderr].into_iter().flatten() {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        self.stdin = stdin;
        self.outputs = [stdout, stderr];
        self.write_typed();
        Ok(())
    }

    /// Takes the master of a new process's terminal.
    pub(super) fn connect_terminal(&mut self, master: OwnedFd) -> Result<(), Errno> {
        rustix::io::ioctl_fionbio(&master, true)?;
        if self.manner.open_stdin {
            self.stdin = Some(rustix::io::fcntl_dupfd_cloexec(&master, 0)?);
        }
        self.outputs = [Some(master), None];
        self.write_typed();
        Ok(())
    }

    /// The streams that are there, for who keeps duplicates.
    pub(super) fn kept(&self) -> (StreamKinds, Vec<BorrowedFd<'_>>) {
        let [output, errors] = &self.outputs;
        if self.manner.terminal {
            let kinds = StreamKinds { terminal: output.is_some(), ..StreamKinds::default() };
            return (kinds, output.iter().map(AsFd::as_fd).collect());
        }
        // Who holds the writing end holds its end back, and with `stdin_once` the container waits for that.
        let stdin = self.stdin.as_ref().filter(|_| !self.manner.stdin_once);
        let kinds = StreamKinds {
            terminal: false,
            stdin: stdin.is_some(),
            stdout: output.is_some(),
            stderr: errors.is_some(),
        };
        let fds = [stdin, output.as_ref(), errors.as_ref()];
        (kinds, fds.into_iter().flatten().map(AsFd::as_fd).collect())
    }

    /// Adds a client; true if it detached at once.
    pub(super) fn attach(&mut self, socket: OwnedFd, mut request: AttachRequest) -> bool {
        request.stdin &= self.manner.open_stdin;
        // A terminal has one output; who wants any, wants it.
        if self.manner.terminal {
            request.stdout |= request.stderr;
        }
        let (client, input) = Client::new(socket, request, self.manner.terminal);
        let id = self.next;
        self.next += 1;
        self.clients.push((id, client));
        self.take(id, input)
    }

    pub(super) fn has_clients(&self) -> bool {
        !self.clients.is_empty()
    }

    pub(super) fn resize(&self, rows: u16, cols: u16) -> Result<(), Errno> {
        let size =
            rustix::termios::Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        match &self.outputs[0] {
            Some(master) if self.manner.terminal => rustix::termios::tcsetwinsize(master, size),
            _ => Err(Errno::NOTTY),
        }
    }

    /// What to wait for.
    pub(super) fn wants<'a>(&'a self, want: &mut dyn FnMut(Slot, BorrowedFd<'a>, PollFlags)) {
        if let Some(stdin) = &self.stdin
            && !self.typed.is_empty()
        {
            want(Slot::Stdin, stdin.as_fd(), PollFlags::OUT);
        }
        let held = self.manner.patient && self.clients.iter().any(|(_, one)| one.is_behind());
        for (at, output) in self.outputs.iter().enumerate() {
            if let Some(output) = output.as_ref().filter(|_| !held) {
                want(Slot::Output(at), output.as_fd(), PollFlags::IN);
            }
        }
        let listen = self.typed.len() < INPUT_BYTES_MAX;
        for (id, client) in &self.clients {
            let flags = client.wants(listen);
            // One that has more to say than there is room for is not asked whether it has gone.
            if !flags.is_empty() || !client.sends() {
                want(Slot::Client(*id), client.as_fd(), flags);
            }
        }
    }

    /// Does what a slot is ready for; true if a client detached by its keys.
    pub(super) fn ready(&mut self, slot: Slot, flags: PollFlags, sink: Sink<'_>) -> bool {
        match slot {
            Slot::Stdin => self.write_typed(),
            Slot::Output(at) => {
                self.read_output(at, sink);
            }
            Slot::Client(id) => return self.serve(id, flags),
        }
        false
    }

    fn serve(&mut self, id: u32, flags: PollFlags) -> bool {
        let Some((_, client)) = self.clients.iter_mut().find(|(known, _)| *known == id) else {
            return false;
        };
        let mut detached = false;
        if flags.contains(PollFlags::OUT) && !client.flush() {
            self.remove(id);
            return false;
        }
        if flags.contains(PollFlags::IN) {
            let input = client.read();
            detached = self.take(id, input);
        }
        if flags.intersects(PollFlags::HUP | PollFlags::ERR) && !flags.contains(PollFlags::IN) {
            self.remove(id);
        }
        detached
    }

    /// Takes what a client typed; true if it detached.
    fn take(&mut self, id: u32, input: Input) -> bool {
        match input {
            Input::Typed(bytes) => {
                self.type_in(&bytes);
                false
            }
            Input::Detached(bytes) => {
                self.type_in(&bytes);
                self.clients.retain(|(known, _)| *known != id);
                true
            }
            Input::Ended => {
                let had_stdin =
                    self.clients.iter().any(|(known, one)| *known == id && one.has_stdin());
                self.end_input_after(had_stdin);
                false
            }
        }
    }

    /// A terminal's input is ended by a key, not by a client that goes away.
    fn end_input_after(&mut self, had_stdin: bool) {
        if had_stdin && self.manner.stdin_once && !self.manner.terminal {
            self.input_ended = true;
            self.write_typed();
        }
    }

    fn remove(&mut self, id: u32) {
        let had_stdin = self.clients.iter().any(|(known, one)| *known == id && one.has_stdin());
        self.clients.retain(|(known, _)| *known != id);
        self.end_input_after(had_stdin);
    }

    fn type_in(&mut self, bytes: &[u8]) {
        if self.manner.open_stdin && !self.input_ended {
            self.typed.extend(bytes);
            self.write_typed();
        }
    }

    /// Writes what was typed as far as the process takes it. Before there is a process, it waits.
    fn write_typed(&mut self) {
        while let Some(stdin) = &self.stdin {
            let (front, _) = self.typed.as_slices();
            if front.is_empty() {
                break;
            }
            match rustix::io::write(stdin, front) {
                Ok(count) => drop(self.typed.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // It reads no more.
                Err(_) => {
                    self.typed.clear();
                    self.stdin = None;
                }
            }
        }
        if self.stdin.is_some() && self.input_ended && !self.manner.terminal {
            self.stdin = None;
        }
    }

    /// Reads from an output once; false when there is nothing at the moment, or never again.
    fn read_output(&mut self, at: usize, sink: Sink<'_>) -> bool {
        let Some(output) = &self.outputs[at] else { return false };
        let mut buffer = Vec::with_capacity(READ_BYTES);
        match rustix::io::read(output, spare_capacity(&mut buffer)) {
            Ok(_) if buffer.is_empty() => self.outputs[at] = None,
            Ok(_) => {
                self.show(STREAMS[at], &buffer, sink);
                return true;
            }
            Err(Errno::INTR) => return true,
            Err(Errno::AGAIN) => {}
            // A terminal that nobody has open any more (EIO).
            Err(_) => self.outputs[at] = None,
        }
        false
    }

    fn show(&mut self, stream: LogStream, bytes: &[u8], sink: Sink<'_>) {
        sink(stream, bytes);
        let mut gone = Vec::new();
        for (id, client) in &mut self.clients {
            if !client.show(stream, bytes, &self.manner.spill) {
                gone.push(*id);
            }
        }
        gone.into_iter().for_each(|id| self.remove(id));
    }

    /// The process has ended: reads what it left, as far as clients let it; true when that was all. What
    /// others who inherited the streams write later is nobody's.
    pub(super) fn drain(&mut self, sink: Sink<'_>) -> bool {
        for at in 0..self.outputs.len() {
            loop {
                let held =
                    self.manner.patient && self.clients.iter().any(|(_, one)| one.is_behind());
                if held {
                    return false;
                }
                if !self.read_output(at, sink) {
                    break;
                }
            }
            self.outputs[at] = None;
        }
        true
    }

    /// Lets go of the streams and sends every client the end behind what it still has to get.
    pub(super) fn close(&mut self) {
        self.stdin = None;
        self.outputs = [None, None];
        self.typed.clear();
        self.input_ended = false;
        self.clients.iter_mut().for_each(|(_, client)| client.close());
        self.sweep();
    }

    /// Forgets clients that have got everything.
    pub(super) fn sweep(&mut self) {
        self.clients.retain(|(_, client)| !client.is_done());
    }
}
