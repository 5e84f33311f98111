//! A process that may have gone: found by pid, known by its start.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::state::ProcessRecord;

/// What `/proc/<pid>/stat` tells.
struct Stat {
    /// The state letter; `Z` and `X` have ended.
    state: u8,
    started: u64,
}

/// The fields of one line.
fn parse(text: &[u8]) -> Option<Stat> {
    // The command may hold spaces and parentheses; the last one closes it.
    let after = text.iter().rposition(|byte| *byte == b')')? + 2;
    let mut fields = text.get(after..)?.split(|byte| *byte == b' ');
    let state = *fields.next()?.first()?;
    // Field 22 of the whole line; the state is field 3.
    let started = std::str::from_utf8(fields.nth(18)?).ok()?.parse().ok()?;
    Some(Stat { state, started })
}

fn stat(pid: i32) -> Option<Stat> {
    // Every field at its longest fits.
    let mut text = [0u8; 2048];
    let flags = rustix::fs::OFlags::CLOEXEC;
    let file =
        rustix::fs::open(format!("/proc/{pid}/stat"), flags, rustix::fs::Mode::empty()).ok()?;
    let count = rustix::io::read(file, &mut text).ok()?;
    parse(&text[..count])
}

impl ProcessRecord {
    /// The record of a process that is there, if only as a zombie that the caller has not reaped.
    pub(super) fn of(pid: Pid) -> Option<Self> {
        let pid = pid.as_raw_nonzero().get();
        stat(pid).map(|stat| Self { pid, started: stat.started })
    }

    /// Reads the line that a process wrote of itself; `None` while it has not.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let digits = line.split(|byte| *byte == b' ').next()?;
        let pid = std::str::from_utf8(digits).ok()?.parse().ok()?;
        parse(line).map(|stat| Self { pid, started: stat.started })
    }

    /// Whether the process runs: not ended, and no other one of the same pid.
    pub(super) fn is_alive(self) -> bool {
        stat(self.pid)
            .is_some_and(|stat| stat.started == self.started && !matches!(stat.state, b'Z' | b'X'))
    }

    /// A descriptor of the process, if it still is that one.
    pub(super) fn open(self) -> Option<OwnedFd> {
        let pidfd = rustix::process::pidfd_open(self.pid()?, PidfdFlags::empty()).ok()?;
        // Checked after opening: the descriptor cannot come to mean another one any more.
        self.is_alive().then_some(pidfd)
    }

    pub(super) fn pid(self) -> Option<Pid> {
        Pid::from_raw(self.pid)
    }

    /// Sends a signal; a process that has gone is no error.
    pub(super) fn signal(self, number: i32) -> Result<(), Errno> {
        match self.open() {
            Some(pidfd) => match dhow_sys::pidfd_kill(pidfd.as_fd(), number) {
                Err(Errno::SRCH) => Ok(()),
                other => other,
            },
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let me = ProcessRecord::of(rustix::process::getpid()).unwrap();
        let line = std::fs::read("/proc/self/stat").unwrap();
        assert_eq!(ProcessRecord::parse(&line), Some(me));
        assert_eq!(ProcessRecord::parse(b""), None);
        assert!(me.is_alive());
        assert!(me.open().is_some());
        let other = ProcessRecord { started: me.started + 1, ..me };
        assert!(!other.is_alive());
        assert!(other.open().is_none());
    }
}
