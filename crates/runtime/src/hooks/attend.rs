//! Staying with a hook until it has ended: feeding it, listening to it, and watching the clock.
//!
//! Invariant: [`Attendance::until_end`] reaps the hook on every way out. It returns when the hook itself
//! has ended, not when the last process that inherited its streams has.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use dhow_sys::{Child, Errno, Exit};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::process::Signal;

use super::{HookFault, attending};

/// How much of a hook's output is kept: its end, where the reason of a failure usually stands.
const OUTPUT_BYTES: usize = 4096;
/// More than a full pipe holds.
const READS_AT_ONCE: usize = 32;

/// A hook that runs, and our ends of its streams.
pub(super) struct Attendance<'a> {
    child: &'a Child,
    /// Until the hook has all of `state`, or wants no more of it.
    stdin: Option<OwnedFd>,
    state: &'a [u8],
    /// Until it is closed.
    output: Option<OwnedFd>,
    said: Vec<u8>,
}

/// What became of a hook.
pub(super) enum Outcome {
    /// It ended by itself.
    Ended { exit: Exit, output: String },
    /// It was killed when its time was over.
    Late { output: String },
}

impl<'a> Attendance<'a> {
    pub(super) fn new(
        child: &'a Child,
        state: &'a [u8],
        stdin: OwnedFd,
        output: OwnedFd,
    ) -> Result<Self, HookFault> {
        let made =
            Self { child, stdin: Some(stdin), state, output: Some(output), said: Vec::new() };
        for fd in made.stdin.iter().chain(&made.output) {
            if let Err(errno) = rustix::fs::fcntl_setfl(fd, OFlags::NONBLOCK) {
                return Err(made.give_up("set up its streams", errno));
            }
        }
        Ok(made)
    }

    /// Stays until the hook has ended, or kills it at `deadline`.
    pub(super) fn until_end(mut self, deadline: Option<Instant>) -> Result<Outcome, HookFault> {
        loop {
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                self.end()?;
                return Ok(Outcome::Late { output: self.into_said() });
            }
            let timeout = left.map(|left| Timespec {
                // A deadline comes from a 32-bit number of seconds.
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            });
            match self.attend(timeout.as_ref()) {
                Ok(false) | Err(Errno::INTR) => {}
                Ok(true) => {
                    let exit = self.child.wait().map_err(attending("reap it"))?;
                    self.listen();
                    return Ok(Outcome::Ended { exit, output: self.into_said() });
                }
                Err(errno) => return Err(self.give_up("wait for it", errno)),
            }
        }
    }

    /// Waits for one thing to happen and answers it; says whether the hook has ended.
    fn attend(&mut self, timeout: Option<&Timespec>) -> Result<bool, Errno> {
        let mut polled = Vec::with_capacity(3);
        polled.push(PollFd::new(&self.child.pidfd, PollFlags::IN));
        polled.extend(self.stdin.iter().map(|fd| PollFd::new(fd, PollFlags::OUT)));
        polled.extend(self.output.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        rustix::event::poll(&mut polled, timeout)?;
        let ended = !polled[0].revents().is_empty();
        self.tell();
        self.listen();
        Ok(ended)
    }

    /// Writes as much of the state as the pipe takes.
    fn tell(&mut self) {
        let Some(stdin) = &self.stdin else { return };
        match rustix::io::write(stdin, self.state) {
            Ok(count) => self.state = &self.state[count..],
            Err(Errno::AGAIN | Errno::INTR) => return,
            // The hook does not want to know.
            Err(_) => self.state = &[],
        }
        if self.state.is_empty() {
            self.stdin = None;
        }
    }

    /// Reads what there is.
    fn listen(&mut self) {
        let mut buffer = [0; OUTPUT_BYTES];
        // Bounded, so that a hook that never stops talking does not stop the clock.
        for _ in 0..READS_AT_ONCE {
            let Some(output) = &self.output else { return };
            match rustix::io::read(output.as_fd(), &mut buffer) {
                Ok(0) => self.output = None,
                Ok(count) => self.keep(&buffer[..count]),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.said.extend_from_slice(bytes);
        let excess = self.said.len().saturating_sub(OUTPUT_BYTES);
        self.said.drain(..excess);
    }

    fn into_said(self) -> String {
        String::from_utf8_lossy(&self.said).into_owned()
    }

    fn end(&mut self) -> Result<(), HookFault> {
        // It may have ended just now, which is as good.
        let _ = dhow_sys::pidfd_kill(self.child.pidfd.as_fd(), Signal::KILL.as_raw());
        self.child.wait().map_err(attending("reap it"))?;
        self.listen();
        Ok(())
    }

    fn give_up(mut self, doing: &'static str, errno: Errno) -> HookFault {
        match self.end() {
            Ok(()) => attending(doing)(errno),
            Err(fault) => fault,
        }
    }
}
