//! Signals as something to wait for, and by their names.
//!
//! While [`Signals`] lives, no signal interrupts or ends this program; each is read and decided upon.
//! Absent on purpose: what to do with one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use dhow_sys::{SignalSet, read_signal, set_mask, signal_fd};

const SIGPIPE: i32 = 13;
pub(crate) const SIGCHLD: i32 = 17;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;
const SIGURG: i32 = 23;
pub(crate) const SIGWINCH: i32 = 28;

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// All signals, caught.
pub(crate) struct Signals {
    fd: OwnedFd,
    before: SignalSet,
}

impl Signals {
    pub(crate) fn catch() -> std::io::Result<Signals> {
        let before = set_mask(SignalSet::ALL);
        Ok(Signals { fd: signal_fd(SignalSet::ALL)?, before })
    }

    /// The next one that has come.
    pub(crate) fn next(&self) -> Option<i32> {
        read_signal(self.fd.as_fd()).ok().flatten().map(|signal| signal.number)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        set_mask(self.before);
    }
}

/// Whether a signal that came to us is meant for the container; those that the terminal or the kernel
/// send to a program for its own sake are not.
pub(crate) fn is_for_container(number: i32) -> bool {
    !matches!(number, SIGPIPE | SIGCHLD | SIGTTIN | SIGTTOU | SIGURG | SIGWINCH)
}

/// Whether a signal that nobody takes would end the program.
pub(crate) fn ends_program(number: i32) -> bool {
    matches!(number, 1..=3 | 10 | 12 | 14 | 15)
}

/// The name for the API: `INT`, or the number for a real-time one.
pub(crate) fn name(number: i32) -> String {
    let place = usize::try_from(number - 1).ok();
    match place.and_then(|place| NAMES.get(place)) {
        Some(name) => (*name).to_owned(),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_numbers() {
        for (number, text) in [(1, "HUP"), (9, "KILL"), (15, "TERM"), (28, "WINCH"), (34, "34")] {
            assert_eq!(name(number), text);
        }
        assert!(is_for_container(2) && !is_for_container(SIGWINCH));
    }
}
