//! Room for deleting on a full disk: a file that is given up when it comes to that.
//!
//! A deletion writes records before it frees anything, so on a full disk nothing could be removed.
//!
//! Invariant: the reserve is only ever spent on transactions that make room.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

/// Enough for the log of a sweep of some thousand records.
const BYTES: u64 = 1 << 20;

/// The file beside the database.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub(super) fn beside(database: &Path) -> Self {
        Self { path: database.with_file_name("reserve") }
    }

    /// Sets room aside, if there is plenty; without any the store works just as well until the
    /// disk is full.
    pub(super) fn fill(&self) {
        if std::fs::metadata(&self.path).is_ok_and(|found| found.len() >= BYTES) {
            return;
        }
        let filled = File::create(&self.path)
            .and_then(|file| Ok(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BYTES)?));
        if filled.is_err() {
            self.spend();
        }
    }

    /// Gives the room up; says whether there was any.
    pub(super) fn spend(&self) -> bool {
        std::fs::remove_file(&self.path).is_ok()
    }
}
