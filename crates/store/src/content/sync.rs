//! Syncing a directory for everybody who waits for it.
//!
//! Invariant: [`DirectorySync::sync`] returns after a sync that began after it was called.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Condvar, Mutex, PoisonError};

/// A directory, and who waits for its entries to be on disk.
#[derive(Debug)]
pub(super) struct DirectorySync {
    directory: OwnedFd,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    asked: u64,
    done: u64,
    busy: bool,
}

impl DirectorySync {
    pub(super) fn new(directory: OwnedFd) -> Self {
        Self { directory, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Brings all names to disk that were given before; those who come together share one sync.
    pub(super) fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked += 1;
        let ticket = state.asked;
        while state.done < ticket {
            if state.busy {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.busy = true;
            let covered = state.asked;
            drop(state);
            let result = rustix::fs::fsync(&self.directory);
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.busy = false;
            self.changed.notify_all();
            result?;
            state.done = covered;
        }
        Ok(())
    }
}

impl AsFd for DirectorySync {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.directory.as_fd()
    }
}
