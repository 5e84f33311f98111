//! Removing cgroups: children first, patiently.
//!
//! The kernel refuses a directory that has children or live processes. A killed process that somebody
//! else has not reaped does not count, but one on its way out does, for a moment.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use super::error::CgroupError;
use super::node::children;

/// Waits between tries: 1, 2, 4 … 128 ms, then 128 again and again, about three seconds in all: on a busy
/// machine a dying process takes its time.
const TRIES: u32 = 30;
const LONGEST: u32 = 7;

/// Removes every one of `dirs`, in order, with all below it; one that is gone already is no error.
///
/// All are tried before any is waited for, so that several that stay cost no more time than one.
pub(super) fn remove_directories(dirs: &[&Path]) -> Vec<CgroupError> {
    let mut errors = Vec::new();
    let mut left: Vec<&Path> = dirs.to_vec();
    for attempt in 0..=TRIES {
        left.retain(|dir| match remove_tree(dir) {
            Ok(()) => false,
            Err(Errno::BUSY | Errno::NOTEMPTY) => true,
            Err(errno) => {
                errors.push(CgroupError::Remove { dir: dir.to_path_buf(), errno });
                false
            }
        });
        if left.is_empty() {
            return errors;
        }
        if attempt < TRIES {
            std::thread::sleep(Duration::from_millis(1 << attempt.min(LONGEST)));
        }
    }
    let busy = |dir: &Path| CgroupError::Remove { dir: dir.to_owned(), errno: Errno::BUSY };
    errors.extend(left.into_iter().map(busy));
    errors
}

/// One try. Children may be why the kernel says "busy"; it also is what it says of processes.
fn remove_tree(dir: &Path) -> Result<(), Errno> {
    match rustix::fs::rmdir(dir) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::BUSY | Errno::NOTEMPTY) => {
            for child in children(dir).unwrap_or_default() {
                // What stays keeps the parent, whose error is the one to tell.
                let _ = remove_tree(&child);
            }
            match rustix::fs::rmdir(dir) {
                Err(Errno::NOENT) => Ok(()),
                done => done,
            }
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::testing::ScratchDir;

    #[test]
    fn a_tree_goes_from_its_leaves_and_a_missing_one_is_no_error() {
        let dir = ScratchDir::new(&[]);
        let top = dir.path().join("c1");
        std::fs::create_dir_all(top.join("a/b/c")).unwrap();
        std::fs::create_dir_all(top.join("d")).unwrap();
        assert_eq!(remove_directories(&[&top]), []);
        assert!(!top.exists());
        assert_eq!(remove_directories(&[&top, &top]), []);
    }

    #[test]
    fn what_stays_keeps_nothing_else_and_is_told_by_name() {
        let dir = ScratchDir::new(&[("stays/file", "")]);
        let (stays, goes) = (dir.path().join("stays"), dir.path().join("goes"));
        std::fs::create_dir(&goes).unwrap();
        let wanted = CgroupError::Remove { dir: stays.clone(), errno: Errno::BUSY };
        assert_eq!(remove_directories(&[&stays, &goes]), [wanted]);
        assert!(!goes.exists());
    }
}
