//! Cgroups that a judged runtime left behind.
//!
//! Found by name below every mounted hierarchy, never by age: other work on the same machine makes
//! cgroups too. Processes still inside are killed, which is what makes the folders removable.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const CGROUP_ROOT: &str = "/sys/fs/cgroup";
const DEPTH_MAX: usize = 5;
/// From this length on a name is taken for a unique id.
const ID_LEN: usize = 32;

/// Removes every cgroup one of whose names is in `names`, with all that is below; says how many.
pub(crate) fn remove_cgroups(names: &[String]) -> usize {
    let mut found = Vec::new();
    find(Path::new(CGROUP_ROOT), names, DEPTH_MAX, &mut found);
    for cgroup in &found {
        remove_tree(cgroup);
    }
    found.len()
}

fn find(dir: &Path, names: &[String], depth: usize, found: &mut Vec<PathBuf>) {
    for child in children(dir) {
        let name = child.file_name().unwrap_or_default().to_string_lossy();
        if names.iter().any(|wanted| belongs(&name, wanted)) {
            found.push(child);
        } else if depth > 0 {
            find(&child, names, depth - 1, found);
        }
    }
}

/// A container's id may have a prefix and a suffix (`crun-ID.scope`); other names must be the same.
fn belongs(name: &str, wanted: &str) -> bool {
    name == wanted || (wanted.len() >= ID_LEN && name.contains(wanted))
}

fn remove_tree(cgroup: &Path) {
    for child in children(cgroup) {
        remove_tree(&child);
    }
    for _ in 0..100 {
        kill_members(cgroup);
        if fs::remove_dir(cgroup).is_ok() || !cgroup.exists() {
            return;
        }
        sleep(Duration::from_millis(10));
    }
    eprintln!("left behind: {}", cgroup.display());
}

fn kill_members(cgroup: &Path) {
    // A frozen process does not die: thaw first, on whichever version this is.
    let _ = fs::write(cgroup.join("freezer.state"), "THAWED");
    let _ = fs::write(cgroup.join("cgroup.freeze"), "0");
    let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let entries = entries.filter_map(Result::ok);
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}
