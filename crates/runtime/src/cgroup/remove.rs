//! Removing cgroups: children first, patiently.
//!
//! The kernel refuses a directory that has children or live processes. A killed process that somebody
//! else has not reaped does not count, but one on its way out does, for a moment.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use super::error::CgroupError;
use super::node::children;

/// Waits between tries: 1, 2, 4 … ms, about one second in all.
const TRIES: u32 = 10;

/// Removes `dir` and every cgroup below it; one that is gone already is no error.
pub(super) fn remove_directory(dir: &Path) -> Result<(), CgroupError> {
    for attempt in 0..TRIES {
        match rustix::fs::rmdir(dir) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Children may be why; it also is what the kernel says of processes.
            Err(Errno::BUSY | Errno::NOTEMPTY) => remove_children(dir),
            Err(errno) => return Err(CgroupError::Remove { dir: dir.to_owned(), errno }),
        }
        if rustix::fs::rmdir(dir).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1 << attempt));
    }
    Err(CgroupError::Remove { dir: dir.to_owned(), errno: Errno::BUSY })
}

/// One pass, deepest first; what stays is told by the parent's own removal, which fails with it.
fn remove_children(dir: &Path) {
    for child in children(dir).unwrap_or_default() {
        if rustix::fs::rmdir(&child).is_err() {
            remove_children(&child);
            let _ = rustix::fs::rmdir(&child);
        }
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
        remove_directory(&top).unwrap();
        assert!(!top.exists());
        remove_directory(&top).unwrap();
    }
}
