//! Finds and reads the cgroup files of a process, whatever the layout.

use std::fs;
use std::path::{Path, PathBuf};

use super::host;
use super::verdict::{Outcome, Stop};

/// How this machine's cgroups are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CgroupLayout {
    /// Controllers on v1 hierarchies; an almost empty v2 one may be beside them.
    V1,
    /// One v2 hierarchy.
    V2,
}

impl CgroupLayout {
    /// Looks at what is mounted.
    pub(crate) fn here() -> Self {
        if host::mounts().iter().any(|m| m.kind == "cgroup" && m.has("memory")) {
            CgroupLayout::V1
        } else {
            CgroupLayout::V2
        }
    }
}

/// The directory that a process is in, for a controller (v2: for any).
pub(crate) fn dir(pid: i32, controller: &str) -> Outcome<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    dir_in(&text, controller).ok_or_else(|| {
        Stop::Fail(format!("process {pid} is in no cgroup for {controller}: {text}"))
    })
}

fn dir_in(text: &str, controller: &str) -> Option<PathBuf> {
    let lines: Vec<(&str, &str)> =
        text.lines().filter_map(|l| l.split_once(':')?.1.split_once(':')).collect();
    let mounts = host::mounts();
    let v1 = lines.iter().find(|(names, _)| names.split(',').any(|n| n == controller));
    let (point, path) = match v1 {
        Some((_, path)) => (mounts.iter().find(|m| m.kind == "cgroup" && m.has(controller))?, path),
        None => {
            let (_, path) = lines.iter().find(|(names, _)| names.is_empty())?;
            (mounts.iter().find(|m| m.kind == "cgroup2")?, path)
        }
    };
    Some(PathBuf::from(&point.point).join(path.trim_start_matches('/')))
}

/// Whether a controller can be used here at all.
pub(crate) fn has_controller(controller: &str) -> bool {
    let mounts = host::mounts();
    mounts.iter().any(|m| m.kind == "cgroup" && m.has(controller))
        || mounts.iter().filter(|m| m.kind == "cgroup2").any(|m| {
            fs::read_to_string(format!("{}/cgroup.controllers", m.point))
                .is_ok_and(|t| t.split_whitespace().any(|c| c == controller))
        })
}

/// The roots of all mounted hierarchies.
pub(crate) fn roots() -> Vec<PathBuf> {
    host::mounts()
        .into_iter()
        .filter(|m| m.kind.starts_with("cgroup"))
        .map(|m| PathBuf::from(m.point))
        .collect()
}

/// Makes a cgroup that processes can enter and that has its parent's controllers.
pub(crate) fn create(dir: &Path) -> Outcome {
    let parent = dir.parent().unwrap_or(Path::new("/"));
    let controllers = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        // One that is in use elsewhere cannot be handed on; the others can.
        let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    fs::create_dir(dir)?;
    for file in ["cpuset.cpus", "cpuset.mems"] {
        // Only on v1 do these exist and must be filled in.
        if let Ok(text) = fs::read_to_string(parent.join(file))
            && !text.trim().is_empty()
        {
            fs::write(dir.join(file), text.trim())?;
        }
    }
    Ok(())
}
