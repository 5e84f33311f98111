//! A container's cgroup in every hierarchy of the host: made, entered, frozen, counted, killed, removed.
//!
//! Version 1, version 2 and hosts with controllers on both are one case: a cgroup is a list of
//! directories, one in each hierarchy, and each controller is used where it is. What is made here and
//! then fails is removed again. Nothing here runs between clone and exec: the child gets descriptors
//! (`Entry`) and writes one byte to each.
//!
//! Deliberately absent: policy. Which cgroup a container has, and what limits, the caller says.

mod controller;
mod create;
mod error;
mod freeze;
mod hierarchy;
mod node;
mod path;
mod processes;
mod record;
mod remove;
#[cfg(test)]
mod testing;

use std::path::PathBuf;

use rustix::io::Errno;

pub(crate) use controller::Controller;
use controller::Controllers;
use create::Made;
pub(crate) use error::CgroupError;
pub(crate) use hierarchy::Hierarchies;
use hierarchy::{Hierarchy, Version};
use node::Node;
pub(crate) use path::{CgroupPath, Manager};
pub(crate) use processes::Entry;
pub(crate) use record::CgroupRecord;

/// A container's cgroup: one directory in each hierarchy that it is in.
#[derive(Debug)]
pub(crate) struct Cgroup {
    /// Version 2 first, where there is one.
    nodes: Vec<Node>,
    /// Hierarchies that it had to do without.
    absent: Vec<Absent>,
}

/// A hierarchy in which this user may make no cgroup.
#[derive(Debug)]
struct Absent {
    controllers: Controllers,
    dir: PathBuf,
    errno: Errno,
}

impl Cgroup {
    /// Makes the cgroup in every hierarchy, or takes one that is there, empty and not frozen.
    ///
    /// A user without rights goes without the hierarchies that are closed to him, if the place is the
    /// default one: what needs them fails later, by name. On failure nothing stays behind.
    pub(crate) fn create(
        hierarchies: &Hierarchies,
        path: &CgroupPath,
    ) -> Result<Cgroup, CgroupError> {
        let mut made = Made::default();
        let mut cgroup = Cgroup { nodes: Vec::new(), absent: Vec::new() };
        for hierarchy in hierarchies.iter() {
            let Some(dir) = path.directory(hierarchies, hierarchy)? else { continue };
            match create::make_node(hierarchies, hierarchy, dir.clone(), &mut made) {
                Ok(node) => {
                    if !made.contains(&node.path) {
                        refuse_if_used(&node)?;
                    }
                    cgroup.nodes.push(node);
                }
                Err(CgroupError::Make { errno, .. }) if may_do_without(path, errno) => {
                    cgroup.absent.push(Absent { controllers: hierarchy.controllers, dir, errno });
                }
                Err(error) => return Err(error),
            }
        }
        made.keep();
        Ok(cgroup)
    }

    /// Finds the directories of a cgroup that somebody has made; hierarchies without one are left out.
    pub(crate) fn open(
        hierarchies: &Hierarchies,
        path: &CgroupPath,
    ) -> Result<Cgroup, CgroupError> {
        let mut nodes = Vec::new();
        for hierarchy in hierarchies.iter() {
            let Some(dir) = path.directory(hierarchies, hierarchy)? else { continue };
            if rustix::fs::access(&dir, rustix::fs::Access::EXISTS).is_ok() {
                nodes.push(Node::new(hierarchy.version, hierarchy.keys(), dir));
            }
        }
        Ok(Cgroup { nodes, absent: Vec::new() })
    }

    /// Removes every directory with all below it; one that is gone is no error, and one that stays does
    /// not keep the others.
    pub(crate) fn remove(&self) -> Result<(), CgroupError> {
        let failed =
            self.nodes.iter().filter_map(|node| remove::remove_directory(&node.path).err());
        CgroupError::collect(failed.collect())
    }

    /// The directory in the unified hierarchy.
    fn unified(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.version == Version::V2)
    }

    /// The directory in the version 1 hierarchy that has `controller`.
    fn node_of_v1(&self, controller: Controller) -> Option<&Node> {
        let has = |node: &&Node| {
            node.version == Version::V1
                && node.controllers().is_ok_and(|controllers| controllers.contains(controller))
        };
        self.nodes.iter().find(has)
    }

    /// Why a setting of `controller` cannot be made.
    fn why_not(&self, controller: Controller, setting: &str) -> CgroupError {
        let closed = self.absent.iter().find(|absent| {
            absent.controllers.contains(controller) || absent.controllers.is_empty()
        });
        let setting = setting.to_owned();
        match closed {
            Some(Absent { dir, errno, .. }) => {
                CgroupError::NotDelegated { controller, setting, dir: dir.clone(), errno: *errno }
            }
            None => CgroupError::NoController { controller, setting },
        }
    }
}

/// A cgroup that was there may be somebody's: a frozen one would hold the container for ever, one with
/// processes would mix them with the container's, and `kill` would hit them.
fn refuse_if_used(node: &Node) -> Result<(), CgroupError> {
    let mut pids = Vec::new();
    processes::collect_pids(&node.path, true, &mut pids)?;
    if !pids.is_empty() {
        return Err(CgroupError::NotEmpty { dir: node.path.clone(), count: pids.len() });
    }
    let can_freeze = match node.version {
        Version::V1 => node.controllers()?.contains(Controller::Freezer),
        Version::V2 => true,
    };
    if can_freeze && freeze::is_frozen(node)? {
        return Err(CgroupError::Frozen { dir: node.path.clone() });
    }
    Ok(())
}

fn may_do_without(path: &CgroupPath, errno: Errno) -> bool {
    let closed = matches!(errno, Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NOENT);
    closed && !path.is_asked() && !is_host_root()
}

/// Root of the initial user namespace; a mapped root has no more rights than the user it is.
fn is_host_root() -> bool {
    rustix::process::geteuid().is_root()
        && node::read_text("/proc/self/uid_map".as_ref())
            .is_ok_and(|map| map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::testing::{Sleeper, TestPlace};
    use super::*;

    fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..500 {
            if holds() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{what} did not happen");
    }

    #[test]
    fn a_cgroup_is_made_entered_listed_killed_and_removed_in_every_hierarchy() {
        let Some(place) = TestPlace::new() else { return };
        let cgroup = Cgroup::create(&place.hierarchies, &place.path).unwrap();
        let sleeper = Sleeper::new();
        cgroup.attach(sleeper.pid()).unwrap();
        for dir in place.directories() {
            let mut pids = Vec::new();
            processes::collect_pids(&dir, false, &mut pids).unwrap();
            assert_eq!(pids, [sleeper.pid()], "{}", dir.display());
        }
        assert_eq!(cgroup.pids(true).unwrap(), [sleeper.pid()]);
        cgroup.kill().unwrap();
        wait_until("the end of the process", || cgroup.pids(true).unwrap().is_empty());
        cgroup.remove().unwrap();
        cgroup.remove().unwrap();
        assert!(place.directories().iter().all(|dir| !dir.exists()));
        cgroup.kill().unwrap();
    }

    #[test]
    fn the_child_enters_version_1_by_itself_with_a_zero() {
        let Some(place) = TestPlace::new() else { return };
        let cgroup = Cgroup::create(&place.hierarchies, &place.path).unwrap();
        let entry = cgroup.entry().unwrap();
        assert_eq!(
            entry.v1_tasks.len(),
            cgroup.nodes.iter().filter(|n| n.version == Version::V1).count()
        );
        assert_eq!(entry.v2_dir.is_some(), cgroup.unified().is_some());
        // A thread of its own enters: the other threads of the test stay where they are.
        let moved = std::thread::spawn(move || {
            for tasks in &entry.v1_tasks {
                rustix::io::write(tasks.as_fd(), b"0").unwrap();
            }
            std::fs::read_to_string("/proc/thread-self/cgroup").unwrap()
        });
        let membership = moved.join().unwrap();
        let CgroupPath::Absolute(path) = &place.path else { unreachable!() };
        let wanted = format!(":/{}", path.display());
        let inside = membership.lines().filter(|line| line.ends_with(&wanted)).count();
        assert_eq!(inside, cgroup.nodes.iter().filter(|node| node.version == Version::V1).count());
        cgroup.remove().unwrap();
    }

    #[test]
    fn a_frozen_cgroup_stands_still_and_is_killed_all_the_same() {
        let Some(place) = TestPlace::new() else { return };
        let cgroup = Cgroup::create(&place.hierarchies, &place.path).unwrap();
        let mut sleeper = Sleeper::new();
        cgroup.attach(sleeper.pid()).unwrap();
        assert!(!cgroup.is_frozen().unwrap());
        cgroup.freeze().unwrap();
        assert!(cgroup.is_frozen().unwrap());
        cgroup.thaw().unwrap();
        assert!(!cgroup.is_frozen().unwrap());
        cgroup.freeze().unwrap();
        cgroup.kill().unwrap();
        wait_until("the end of the process", || sleeper.0.try_wait().unwrap().is_some());
        cgroup.remove().unwrap();
    }

    #[test]
    fn a_cgroup_in_use_or_frozen_is_refused_and_left_as_it_was() {
        let Some(place) = TestPlace::new() else { return };
        let first = Cgroup::create(&place.hierarchies, &place.path).unwrap();
        first.freeze().unwrap();
        let frozen = Cgroup::create(&place.hierarchies, &place.path).unwrap_err();
        assert!(matches!(frozen, CgroupError::Frozen { .. }), "{frozen}");
        first.thaw().unwrap();
        let sleeper = Sleeper::new();
        first.attach(sleeper.pid()).unwrap();
        let used = Cgroup::create(&place.hierarchies, &place.path).unwrap_err();
        assert!(matches!(used, CgroupError::NotEmpty { count: 1, .. }), "{used}");
        assert!(place.directories().iter().all(|dir| dir.exists()));
    }

    #[test]
    fn nested_places_are_made_with_their_parents_and_taken_back_on_failure() {
        let Some(place) = TestPlace::new() else { return };
        let CgroupPath::Absolute(top) = &place.path else { unreachable!() };
        let nested = CgroupPath::Absolute(top.join("a/b"));
        Cgroup::create(&place.hierarchies, &nested).unwrap();
        // Below a file nothing can be made, which shows only after the directories above it were.
        let hopeless = CgroupPath::Absolute(top.join("c/d/cgroup.procs/e"));
        let error = Cgroup::create(&place.hierarchies, &hopeless).unwrap_err();
        assert!(matches!(error, CgroupError::Make { errno: Errno::NOTDIR, .. }), "{error}");
        for dir in place.directories() {
            assert!(dir.join("a/b").exists() && !dir.join("c").exists(), "{}", dir.display());
        }
        Cgroup::open(&place.hierarchies, &place.path).unwrap().remove().unwrap();
        assert!(place.directories().iter().all(|dir| !dir.exists()));
    }
}
