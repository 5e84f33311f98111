//! A file that says who owns a directory, and keeps all others out while he lives.
//!
//! Invariant: the lock is the kernel's (`flock(2)`); the number in the file is only for people.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// A process that its dead owner had forked and that has not executed its program yet holds the lock, too: so
/// long it may take to do so.
const ORPHAN_MAX: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);

/// Takes a lock file, open for reading and writing, and writes our number into it; the owner's number if there is
/// one.
pub fn take_lock(mut file: File) -> io::Result<Result<File, String>> {
    let begun = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
        let mut owner = String::new();
        file.rewind()?;
        (&file).take(32).read_to_string(&mut owner)?;
        let owner = owner.trim();
        if lives(owner) || begun.elapsed() > ORPHAN_MAX {
            return Ok(Err(owner.to_owned()));
        }
        std::thread::sleep(POLL);
    }
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())?;
    Ok(Ok(file))
}

/// Whether a process has that number; of what is no number nobody can tell.
fn lives(owner: &str) -> bool {
    let Some(pid) = owner.parse().ok().and_then(Pid::from_raw) else { return true };
    !matches!(test_kill_process(pid), Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    fn open(scratch: &Scratch) -> File {
        let path = scratch.path().join("lock");
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).open(path).expect("a file")
    }

    #[test]
    fn an_owner_that_lives_is_named() {
        let scratch = Scratch::new();
        let held = take_lock(open(&scratch)).expect("no fault").expect("ours");
        let owner = take_lock(open(&scratch)).expect("no fault").expect_err("owned");
        assert_eq!(owner, std::process::id().to_string());
        drop(held);
        take_lock(open(&scratch)).expect("no fault").expect("ours again");
    }

    #[test]
    fn what_a_dead_owner_left_is_waited_for() {
        let scratch = Scratch::new();
        let orphan = open(&scratch);
        rustix::fs::flock(&orphan, FlockOperation::NonBlockingLockExclusive).expect("free");
        // No process has the highest number that there may be.
        (&orphan).write_all(b"4194304\n").expect("written");
        let orphan = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(orphan);
        });
        take_lock(open(&scratch)).expect("no fault").expect("ours in the end");
        orphan.join().expect("no panic");
    }
}
