//! Making the directories of a cgroup: parents, the version 1 cpuset's first values, version 2's
//! controllers along the path; and taking all of it back when a later step fails.

use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;

use super::controller::{Controller, Controllers};
use super::error::CgroupError;
use super::hierarchy::{Hierarchies, Hierarchy, Version};
use super::node::{Node, read_value, write_file};
use super::remove::remove_directories;

/// Directories made so far, deepest last; removed on drop unless kept.
#[derive(Debug, Default)]
pub(super) struct Made(Vec<PathBuf>);

impl Made {
    /// Success: the directories stay. Gives back how they were called, topmost first.
    pub(super) fn keep(mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.0)
    }

    pub(super) fn contains(&self, dir: &Path) -> bool {
        self.0.iter().any(|made| made == dir)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let dirs: Vec<&Path> = self.0.iter().rev().map(PathBuf::as_path).collect();
        // The error that led here is the one to tell.
        let _ = remove_directories(&dirs);
    }
}

/// Makes `dir` and whatever is missing above it, down from the hierarchy's mount point.
pub(super) fn make_directory(
    hierarchy: &Hierarchy,
    dir: &Path,
    made: &mut Made,
) -> Result<(), CgroupError> {
    match mkdir(dir) {
        Ok(()) => made.0.push(dir.to_owned()),
        Err(Errno::EXIST) => {}
        Err(Errno::NOENT) if dir.parent().is_some_and(|above| above != hierarchy.mount) => {
            make_directory(hierarchy, dir.parent().unwrap_or(dir), made)?;
            match mkdir(dir) {
                Ok(()) => made.0.push(dir.to_owned()),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(CgroupError::Make { dir: dir.to_owned(), errno }),
            }
        }
        Err(errno) => return Err(CgroupError::Make { dir: dir.to_owned(), errno }),
    }
    Ok(())
}

fn mkdir(dir: &Path) -> Result<(), Errno> {
    rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755))
}

/// Gives a version 1 cpuset the processors and nodes of the nearest cgroup above that has some.
///
/// The kernel leaves both empty in a new one, and refuses every task until they are set. What is set
/// already stays as it is.
pub(super) fn fill_cpuset(mount: &Path, dir: &Path, made: &Made) -> Result<(), CgroupError> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if made.contains(dir) || read_value(&dir.join(name))?.trim().is_empty() {
            let above = dir.parent().unwrap_or(mount);
            write_file(&dir.join(name), &inherited(mount, above, name)?)?;
        }
    }
    Ok(())
}

fn inherited(mount: &Path, dir: &Path, name: &str) -> Result<String, CgroupError> {
    let file = dir.join(name);
    let text = read_value(&file)?;
    if !text.trim().is_empty() || dir == mount {
        return Ok(text.trim().to_owned());
    }
    let value = inherited(mount, dir.parent().unwrap_or(mount), name)?;
    write_file(&file, &value)?;
    Ok(value)
}

/// Turns on, from the top of version 2 down to the parent of `leaf`, every controller that is free.
///
/// All of them, whether a limit asks for it or not: without a controller there is nothing to count, and
/// a limit that comes with a later update would find the way shut by running processes. What cannot be
/// turned on is remembered in `leaf`, and told when a limit needs it.
pub(super) fn enable_controllers(
    hierarchies: &Hierarchies,
    hierarchy: &Hierarchy,
    leaf: &mut Node,
) -> Result<(), CgroupError> {
    let have = leaf.controllers()?;
    let mut missing = Controllers::of_v2().without(hierarchies.on_v1()).without(have);
    if missing.is_empty() {
        return Ok(());
    }
    let top = read_value(&hierarchy.mount.join("cgroup.controllers"))?;
    missing = missing.and(Controllers::from_v2_list(&top));
    if missing.is_empty() {
        return Ok(());
    }
    let mut refusal = None;
    for dir in levels(&hierarchy.mount, &leaf.path) {
        refusal = enable_in(&dir, missing).err().or(refusal);
    }
    let have = Controllers::from_v2_list(&read_value(&leaf.file("cgroup.controllers"))?);
    leaf.set_controllers(have);
    if missing.without(have).is_empty() {
        return Ok(());
    }
    match refusal {
        // Below a threaded cgroup a new one is of no use before it is made threaded too, and then has no
        // memory or I/O controller: nothing that a container should be in.
        Some(threaded @ CgroupError::Threaded { .. })
            if read_value(&leaf.file("cgroup.type"))?.trim() == "domain invalid" =>
        {
            return Err(threaded);
        }
        refusal => leaf.refusal = refusal,
    }
    Ok(())
}

/// The directories above `leaf`, beginning with the mount point.
fn levels(mount: &Path, leaf: &Path) -> Vec<PathBuf> {
    let mut levels: Vec<PathBuf> = leaf
        .ancestors()
        .skip(1)
        .take_while(|dir| dir.starts_with(mount))
        .map(Path::to_path_buf)
        .collect();
    levels.reverse();
    levels
}

/// All at once, or, when one of them is not to be had here, one by one.
///
/// Not so when processes are in the way: single controllers might be let in (those that know threads), and
/// would make a threaded cgroup of this one, with no place for containers below it.
fn enable_in(dir: &Path, wanted: Controllers) -> Result<(), CgroupError> {
    match enable(dir, wanted) {
        Ok(()) => Ok(()),
        Err(error @ (CgroupError::InnerProcesses { .. } | CgroupError::Threaded { .. })) => {
            Err(error)
        }
        Err(_) => {
            let alone = |one: Controller| [one].into_iter().collect::<Controllers>();
            let refused = wanted.iter().filter_map(|one| enable(dir, alone(one)).err());
            refused.last().map_or(Ok(()), Err)
        }
    }
}

fn enable(dir: &Path, wanted: Controllers) -> Result<(), CgroupError> {
    let written = write_file(&dir.join("cgroup.subtree_control"), &wanted.v2_list("+"));
    written.map_err(|error| {
        let (dir, controllers) = (dir.to_owned(), wanted.v2_list(""));
        match error.errno() {
            Some(Errno::BUSY) => CgroupError::InnerProcesses { dir, controllers },
            Some(Errno::OPNOTSUPP) => CgroupError::Threaded { dir, controllers },
            _ => error,
        }
    })
}

/// Makes the whole of one hierarchy's part ready to be entered.
pub(super) fn make_node(
    hierarchies: &Hierarchies,
    hierarchy: &Hierarchy,
    dir: PathBuf,
    made: &mut Made,
) -> Result<Node, CgroupError> {
    make_directory(hierarchy, &dir, made)?;
    let mut node = Node::new(hierarchy.version, hierarchy.keys(), dir);
    match hierarchy.version {
        Version::V1 if hierarchy.controllers.contains(Controller::Cpuset) => {
            fill_cpuset(&hierarchy.mount, &node.path, made)?;
        }
        Version::V1 => {}
        Version::V2 => enable_controllers(hierarchies, hierarchy, &mut node)?,
    }
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::testing::ScratchDir;

    #[test]
    fn an_empty_cpuset_is_filled_from_the_nearest_one_above_that_is_not() {
        let dir = ScratchDir::new(&[
            ("cpuset.cpus", "0-3\n"),
            ("cpuset.mems", "0\n"),
            ("a/cpuset.cpus", "\n"),
            ("a/cpuset.mems", "0\n"),
            ("a/b/cpuset.cpus", ""),
            ("a/b/cpuset.mems", ""),
        ]);
        fill_cpuset(dir.path(), &dir.path().join("a/b"), &Made::default()).unwrap();
        assert_eq!(dir.text("a/cpuset.cpus"), "0-3");
        assert_eq!(dir.text("a/b/cpuset.cpus"), "0-3");
        assert_eq!(dir.text("a/b/cpuset.mems"), "0");
    }

    #[test]
    fn a_cpuset_that_somebody_set_stays() {
        let dir = ScratchDir::new(&[
            ("cpuset.cpus", "0-3\n"),
            ("cpuset.mems", "0\n"),
            ("a/cpuset.cpus", "1\n"),
            ("a/cpuset.mems", "\n"),
        ]);
        fill_cpuset(dir.path(), &dir.path().join("a"), &Made::default()).unwrap();
        assert_eq!(dir.text("a/cpuset.cpus"), "1\n");
        assert_eq!(dir.text("a/cpuset.mems"), "0");
    }

    #[test]
    fn what_keeps_controllers_off_is_told_when_a_limit_needs_them() {
        use crate::cgroup::testing::{Sleeper, TestPlace};
        use crate::cgroup::{Cgroup, CgroupPath};

        let Some(place) = TestPlace::new() else { return };
        let Some(free) = place.hierarchies.iter().find(|one| one.version == Version::V2) else {
            return;
        };
        let top = read_value(&free.mount.join("cgroup.controllers")).unwrap();
        // A controller with a file to set, and one that cannot be on in a cgroup with processes.
        if !Controllers::from_v2_list(&top).contains(Controller::Memory) {
            return;
        }
        let mut outer = Cgroup::create(&place.hierarchies, &place.path, None).unwrap();
        let sleeper = Sleeper::new();
        outer.attach(sleeper.pid()).unwrap();
        let CgroupPath::Absolute(path) = &place.path else { unreachable!() };
        let inner = CgroupPath::Absolute(path.join("inner"));
        let limits = dhow_spec::runtime::Resources::parse(br#"{"memory": {"limit": 9000000}}"#);
        Cgroup::create(&place.hierarchies, &inner, None).unwrap().remove().unwrap();
        let error = Cgroup::create(&place.hierarchies, &inner, Some(&limits.unwrap()));
        let text = error.unwrap_err().to_string();
        let end =
            format!("below cgroup {}: it has processes of its own", outer.nodes[0].path.display());
        assert!(text.starts_with("cannot enable ") && text.ends_with(&end), "{text}");

        // A controller that knows threads, turned on in spite of the process, makes its cgroup threaded.
        outer.nodes[0].write("cgroup.subtree_control", "+pids").unwrap();
        let error = Cgroup::create(&place.hierarchies, &inner, None).unwrap_err().to_string();
        assert!(error.ends_with(": it is threaded"), "{error}");
        outer.kill().unwrap();
        drop(sleeper);
        outer.remove().unwrap();
    }

    #[test]
    fn levels_go_from_the_mount_to_the_parent() {
        let levels = levels(Path::new("/m/x"), Path::new("/m/x/a/b"));
        assert_eq!(levels, [PathBuf::from("/m/x"), PathBuf::from("/m/x/a")]);
    }
}
