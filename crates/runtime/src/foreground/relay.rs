//! Copying between a container's terminal and our standard streams.
//!
//! Invariant: no byte that the container wrote before its end is lost while somebody reads our output; if
//! nobody does, it is thrown away rather than left to block the container. A stream of ours is read or
//! written only when poll says so, because its blocking mode belongs to everybody who shares it; the
//! master is ours alone and does not block.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use dhow_sys::Errno;
use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::termios::{LocalModes, OptionalActions, OutputModes, SpecialCodeIndex};

use super::console::wants_plain_line_ends;
use super::raw::RawMode;

/// What a pipe that is ready for writing takes without blocking.
const CHUNK_BYTES: usize = 4096;
/// More than a terminal holds: what comes after that is from processes that outlived ours.
const DRAIN_BYTES: usize = 1 << 20;

/// A terminal's master and the streams it is copied to and from.
pub(super) struct Relay {
    master: OwnedFd,
    input: Buffer,
    output: Buffer,
    stdin_open: bool,
    stdout_open: bool,
    master_open: bool,
    draining: bool,
    /// How much is still read when the process has ended.
    drain_left: usize,
    /// Whether the last byte of input ended a line.
    at_line_start: bool,
    raw: Option<RawMode>,
}

/// What is to be polled for.
#[derive(Default)]
pub(super) struct Wants<'a> {
    pub(super) stdin: Option<(BorrowedFd<'a>, PollFlags)>,
    pub(super) stdout: Option<(BorrowedFd<'a>, PollFlags)>,
    pub(super) master: Option<(BorrowedFd<'a>, PollFlags)>,
}

/// Which of our streams can be used without blocking.
#[derive(Clone, Copy)]
pub(super) struct Ready {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
}

impl Relay {
    /// Takes over our terminal, if standard input is one.
    pub(super) fn start(master: OwnedFd) -> Result<Self, Errno> {
        rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK)?;
        // A restored terminal comes as it was saved; a new one is so already.
        if wants_plain_line_ends() {
            leave_line_ends_alone(&master)?;
        }
        let raw = RawMode::enter(stdin());
        let relay = Self {
            master,
            input: Buffer::new(),
            output: Buffer::new(),
            stdin_open: true,
            stdout_open: true,
            master_open: true,
            draining: false,
            drain_left: DRAIN_BYTES,
            at_line_start: true,
            raw,
        };
        relay.resize();
        Ok(relay)
    }

    pub(super) fn wants(&self) -> Wants<'_> {
        let stdin_wanted = self.stdin_open && self.input.is_empty() && !self.draining;
        let mut master = PollFlags::empty();
        master.set(PollFlags::IN, self.master_open && self.output.is_empty());
        master.set(PollFlags::OUT, !self.input.is_empty());
        Wants {
            stdin: stdin_wanted.then(|| (stdin(), PollFlags::IN)),
            stdout: (!self.output.is_empty()).then(|| (stdout(), PollFlags::OUT)),
            master: (!master.is_empty()).then(|| (self.master.as_fd(), master)),
        }
    }

    /// Moves what can be moved now.
    pub(super) fn serve(&mut self, ready: Ready) {
        if ready.stdin && self.input.is_empty() {
            self.read_stdin();
        }
        self.write_master();
        if ready.stdout {
            self.write_stdout();
        }
        self.read_master();
    }

    /// From now on there is no more input, and the output that there is, is all: the process has ended.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.input.clear();
    }

    pub(super) fn is_drained(&self) -> bool {
        self.draining && !self.master_open && self.output.is_empty()
    }

    /// Gives the container's terminal the size of ours.
    pub(super) fn resize(&self) {
        let ours = [stdin(), stdout(), rustix::stdio::stderr()];
        if let Some(size) = ours.iter().find_map(|fd| rustix::termios::tcgetwinsize(fd).ok()) {
            // The other side may have hung up.
            let _ = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    /// We were stopped and go on.
    pub(super) fn resume(&self) {
        if let Some(raw) = &self.raw {
            // A terminal that has hung up reports it on the next read.
            let _ = raw.apply();
        }
        self.resize();
    }

    fn read_stdin(&mut self) {
        match self.input.fill(stdin()) {
            Ok(0) => {
                self.stdin_open = false;
                self.tell_end_of_input();
            }
            Ok(_) => self.at_line_start = self.input.last() == Some(b'\n'),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.stdin_open = false,
        }
    }

    /// A terminal has no end of file; its reader sees one when the end-of-file key comes first on a line,
    /// and in the middle of a line the key has to come twice.
    fn tell_end_of_input(&mut self) {
        let Ok(mode) = rustix::termios::tcgetattr(&self.master) else { return };
        if mode.local_modes.contains(LocalModes::ICANON) {
            let key = mode.special_codes[SpecialCodeIndex::VEOF];
            let presses = if self.at_line_start { 1 } else { 2 };
            self.input.put(&[key, key][..presses]);
        }
    }

    fn write_master(&mut self) {
        match self.input.flush(self.master.as_fd()) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
            // Nobody is there to read it.
            Err(_) => self.input.clear(),
        }
    }

    fn read_master(&mut self) {
        while self.master_open && self.output.is_empty() {
            match self.output.fill(self.master.as_fd()) {
                Ok(0) => self.master_open = false,
                Ok(count) => self.account(count),
                Err(Errno::INTR) => {}
                // The kernel has passed on all that was written before it says that there is nothing.
                Err(Errno::AGAIN) if self.draining => self.master_open = false,
                Err(Errno::AGAIN) => {}
                // The last process that had the terminal has closed it.
                Err(_) => self.master_open = false,
            }
            // Poll tells of more, but while draining nothing else would wake us.
            if !self.draining {
                return;
            }
        }
    }

    fn account(&mut self, count: usize) {
        if !self.stdout_open {
            self.output.clear();
        }
        if self.draining {
            self.drain_left = self.drain_left.saturating_sub(count);
            self.master_open = self.drain_left > 0;
        }
    }

    fn write_stdout(&mut self) {
        match self.output.flush(stdout()) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                self.stdout_open = false;
                self.output.clear();
            }
        }
    }
}

fn stdin() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

fn stdout() -> BorrowedFd<'static> {
    rustix::stdio::stdout()
}

/// Keeps a terminal from writing `\r\n` for `\n`.
pub(crate) fn leave_line_ends_alone(master: impl AsFd) -> Result<(), Errno> {
    let mut mode = rustix::termios::tcgetattr(&master)?;
    mode.output_modes.remove(OutputModes::ONLCR);
    rustix::termios::tcsetattr(&master, OptionalActions::Now, &mode)
}

/// Bytes on their way.
struct Buffer {
    bytes: [u8; CHUNK_BYTES],
    start: usize,
    end: usize,
}

impl Buffer {
    fn new() -> Self {
        Self { bytes: [0; CHUNK_BYTES], start: 0, end: 0 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    fn last(&self) -> Option<u8> {
        self.bytes[self.start..self.end].last().copied()
    }

    /// Replaces what was there; `bytes` are few.
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        (self.start, self.end) = (0, bytes.len());
    }

    /// Reads once into the empty buffer.
    fn fill(&mut self, from: BorrowedFd<'_>) -> Result<usize, Errno> {
        let count = rustix::io::read(from, &mut self.bytes)?;
        (self.start, self.end) = (0, count);
        Ok(count)
    }

    /// Writes once.
    fn flush(&mut self, to: BorrowedFd<'_>) -> Result<(), Errno> {
        if !self.is_empty() {
            self.start += rustix::io::write(to, &self.bytes[self.start..self.end])?;
        }
        Ok(())
    }
}
