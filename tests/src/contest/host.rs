//! What the harness looks at outside of the containers, and the leak check.
//!
//! The case runs as the first process of a pid namespace, in a mount namespace of its own: every other
//! live process is its own doing, and every new mount as well. Cgroups are shared with the machine;
//! there the case's token in the name tells whose they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::case::Case;
use super::verdict::{Outcome, Stop};
use crate::inside::{Mount, parse_mountinfo};

/// Children of this process and their states.
pub(crate) fn children_of_self() -> Vec<(i32, char)> {
    let own = std::process::id().to_string();
    processes()
        .into_iter()
        .filter(|(_, _, stat)| stat.get(1) == Some(&own))
        .filter_map(|(pid, _, stat)| Some((pid, stat.first()?.chars().next()?)))
        .collect()
}

/// All live processes of this pid namespace but its first, as (pid, name).
pub(crate) fn live_processes() -> Vec<(i32, String)> {
    processes()
        .into_iter()
        .filter(|(pid, _, stat)| *pid != 1 && !matches!(stat[0].as_str(), "Z" | "X"))
        .map(|(pid, name, _)| (pid, name))
        .collect()
}

/// (pid, name, the rest of its stat line from the state on).
fn processes() -> Vec<(i32, String, Vec<String>)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|e| {
            let pid = e.file_name().to_string_lossy().parse().ok()?;
            let stat = fs::read_to_string(e.path().join("stat")).ok()?;
            let (head, rest) = stat.rsplit_once(") ")?;
            let name = head.split_once('(')?.1.to_owned();
            Some((pid, name, rest.split_whitespace().map(str::to_owned).collect()))
        })
        .collect()
}

/// The mounts of this process's namespace.
pub(crate) fn mounts() -> Vec<Mount> {
    parse_mountinfo(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// Directories below any mounted cgroup hierarchy whose name starts with `token`.
pub(crate) fn cgroups_named(token: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let points: BTreeSet<String> =
        mounts().into_iter().filter(|m| m.kind.starts_with("cgroup")).map(|m| m.point).collect();
    for point in points {
        walk(Path::new(&point), token, &mut found);
    }
    found
}

fn walk(dir: &Path, token: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        if named(&entry.file_name().to_string_lossy(), token) {
            found.push(entry.path());
        }
        walk(&entry.path(), token, found);
    }
}

/// Whether a name is the token or begins with it, and not with a longer number.
fn named(name: &str, token: &str) -> bool {
    name.match_indices(token)
        .any(|(at, _)| !name[at + token.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

/// Removes cgroups with all that is below them; what lives there must be dead or dying.
pub(crate) fn remove_cgroups(dirs: Vec<PathBuf>) {
    for dir in dirs {
        let below: Vec<PathBuf> = fs::read_dir(&dir)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            .map(|e| e.path())
            .collect();
        // A frozen process cannot die, and one that was just killed keeps its cgroup for a moment.
        let _ = fs::write(dir.join("freezer.state"), "THAWED");
        let _ = fs::write(dir.join("cgroup.freeze"), "0");
        remove_cgroups(below);
        for _ in 0..100 {
            if fs::remove_dir(&dir).is_ok() || !dir.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Names of the machine's network interfaces.
fn links() -> BTreeSet<String> {
    fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

/// What there was before the scenario.
#[derive(Debug)]
pub(crate) struct Before {
    mounts: Vec<Mount>,
    links: BTreeSet<String>,
}

impl Before {
    pub(crate) fn now() -> Self {
        Before { mounts: mounts(), links: links() }
    }

    /// What is there now and was not then; given a second to go away by itself.
    pub(crate) fn leaks(&self, case: &Case) -> Vec<String> {
        let start = Instant::now();
        loop {
            let found = self.found(case);
            if found.is_empty() || start.elapsed() > case.limit(1) {
                return found;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether there is nothing new right now.
    pub(crate) fn leaves_nothing(&self, case: &Case) -> bool {
        self.found(case).is_empty()
    }

    fn found(&self, case: &Case) -> Vec<String> {
        let mut found: Vec<String> = live_processes()
            .into_iter()
            .map(|(pid, name)| format!("process {pid} ({name})"))
            .collect();
        found.extend(cgroups_named(&case.token).iter().map(|d| format!("cgroup {}", d.display())));
        found.extend(
            mounts()
                .into_iter()
                .filter(|m| !self.mounts.iter().any(|b| b.id == m.id))
                .map(|m| format!("mount {} at {}", m.kind, m.point)),
        );
        found.extend(
            self.mounts
                .iter()
                .filter(|b| !mounts().iter().any(|m| m.id == b.id))
                .map(|m| format!("no longer the mount at {}", m.point)),
        );
        found.extend(links().difference(&self.links).map(|l| format!("network interface {l}")));
        found.extend(state_left(&case.root).into_iter().map(|p| format!("state {}", p.display())));
        found
    }
}

/// Entries of the state root that are not a runtime's own cache (those begin with a dot).
fn state_left(root: &Path) -> Vec<PathBuf> {
    fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| !e.file_name().to_string_lossy().starts_with('.'))
        .map(|e| e.path())
        .collect()
}

/// A process that holds namespaces to be joined; it ends with this value.
pub(crate) struct Holder<'c> {
    case: &'c Case,
    child: Child,
    pid: i32,
}

impl<'c> Holder<'c> {
    /// Starts `unshare OPTIONS payload wait`.
    pub(crate) fn new(case: &'c Case, options: &[&str]) -> Outcome<Self> {
        let (out, _) = case.output_files();
        let mut command = Command::new("unshare");
        command
            .args(options)
            .args(["--fork", "--kill-child", "--"])
            .arg(case.payload())
            .arg("wait")
            .stdin(Stdio::null())
            .stdout(fs::File::create(&out)?)
            .stderr(fs::File::options().append(true).open(&out)?);
        let child = case.children.spawn(&mut command)?;
        let mut holder = Holder { case, child, pid: 0 };
        case.wait_until("the holder of namespaces is ready", || {
            Ok(fs::read_to_string(&out)?.contains("ready"))
        })
        .map_err(|_| {
            let said = fs::read_to_string(&out).unwrap_or_default();
            Stop::Skip(format!("unshare {} does not work here: {said}", options.join(" ")))
        })?;
        let id = holder.child.id();
        let text = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        holder.pid = text.trim().parse().unwrap_or(id as i32);
        Ok(holder)
    }

    /// The path of one of its namespaces.
    pub(crate) fn path(&self, link: &str) -> String {
        format!("/proc/{}/ns/{link}", self.pid)
    }

    /// The inode of one of its namespaces.
    pub(crate) fn inode(&self, link: &str) -> u64 {
        let all = crate::inside::namespaces(Path::new(&format!("/proc/{}/ns", self.pid)));
        all.get(link).copied().unwrap_or(0)
    }
}

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        // `--kill-child` takes the inner process along.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.case.children.forget(self.child.id());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_end_where_numbers_end() {
        assert!(named("dc7n1", "dc7n1"));
        assert!(named("dc7n1-x", "dc7n1"));
        assert!(named("crun-dc7n1.scope", "dc7n1"));
        assert!(!named("dc7n12", "dc7n1"));
        assert!(!named("other", "dc7n1"));
    }
}
