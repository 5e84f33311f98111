//! Our own terminal, handed over to the container's: every key goes to the container, and none is
//! interpreted here.
//!
//! Invariant: what was changed is put back when the value goes.

use std::os::fd::BorrowedFd;

use dhow_sys::Errno;
use rustix::termios::{OptionalActions, Termios};

/// A terminal in raw mode.
pub(super) struct RawMode {
    terminal: BorrowedFd<'static>,
    before: Termios,
}

impl RawMode {
    /// `None` if `terminal` is none.
    pub(super) fn enter(terminal: BorrowedFd<'static>) -> Option<Self> {
        let before = rustix::termios::tcgetattr(terminal).ok()?;
        let mode = Self { terminal, before };
        mode.apply().ok().map(|()| mode)
    }

    /// Once more: a shell that stopped us has taken its own mode back.
    pub(super) fn apply(&self) -> Result<(), Errno> {
        let mut raw = self.before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(self.terminal, OptionalActions::Now, &raw)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that has hung up has no mode to put back.
        let _ = rustix::termios::tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}
