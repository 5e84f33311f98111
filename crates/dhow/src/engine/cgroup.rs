//! A cgroup of the engine's own, for one that a command line started.
//!
//! systemd ends a login by its cgroup: what stays in the session's is killed at logout, and so would monitors be,
//! which start where their engine is. Only the trees that say whose a process is are left (cgroup v2, and
//! systemd's own of v1); an engine that systemd started stays in its unit. Where nothing can be made the engine
//! stays as well: no reason not to run.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

/// What `statfs(2)` says of a cgroup v2 tree.
const CGROUP2_MAGIC: u64 = 0x6367_7270;
const ROOT: &str = "/sys/fs/cgroup";

/// Moves this process to `<parent>/engine`.
pub(super) fn leave(parent: &str) -> io::Result<()> {
    for tree in trees() {
        let place = tree.join(parent.trim_start_matches('/')).join("engine");
        std::fs::create_dir_all(&place)?;
        std::fs::write(place.join("cgroup.procs"), "0")?;
    }
    Ok(())
}

fn trees() -> Vec<PathBuf> {
    let is_v2 = |path: &Path| statfs(path).is_ok_and(|it| it.f_type as u64 == CGROUP2_MAGIC);
    let root = PathBuf::from(ROOT);
    if is_v2(&root) {
        return vec![root];
    }
    let unified = Some(root.join("unified")).filter(|path| is_v2(path));
    let systemd = Some(root.join("systemd")).filter(|path| path.join("cgroup.procs").exists());
    unified.into_iter().chain(systemd).collect()
}
