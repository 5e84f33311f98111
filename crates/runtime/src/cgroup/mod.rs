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
mod devices;
mod entry;
mod error;
mod freeze;
mod hierarchy;
mod mounts;
mod node;
mod oom;
mod path;
mod processes;
mod record;
mod remove;
mod resources;
mod scope;
mod stats;
mod systemd;
#[cfg(test)]
pub(crate) mod testing;

use std::path::{Path, PathBuf};

use dhow_spec::runtime::Resources;
use rustix::io::Errno;

pub(crate) use controller::Controller;
use controller::Controllers;
use create::Made;
pub(crate) use entry::{Entry, SubCgroups};
pub(crate) use error::CgroupError;
pub(crate) use hierarchy::Hierarchies;
use hierarchy::Version;
pub(crate) use mounts::CgroupMount;
use node::Node;
pub use oom::{OomEvent, OomWatch};
pub(crate) use path::{CgroupPath, Manager};
pub(crate) use record::CgroupRecord;
pub(crate) use stats::{IoEntry, Stats};
use systemd::{Pending, Unit};

/// A container's cgroup: one directory in each hierarchy that it is in.
#[derive(Debug)]
pub(crate) struct Cgroup {
    /// Version 2 first, where there is one.
    nodes: Vec<Node>,
    /// Hierarchies that it had to do without.
    absent: Vec<Absent>,
    /// Nobody asked for this very place, so that a user without rights may do without.
    optional: bool,
    /// The systemd unit whose cgroup it is.
    unit: Option<Unit>,
    /// What is left to do once there is a process: systemd makes no scope without one.
    pending: Option<Box<Pending>>,
}

/// A hierarchy in which this user may make no cgroup.
#[derive(Debug)]
struct Absent {
    controllers: Controllers,
    dir: PathBuf,
    errno: Errno,
}

impl Cgroup {
    /// Makes the cgroup in every hierarchy, or takes one that is there, empty and not frozen; limits it.
    ///
    /// A user without rights goes without the hierarchies that are closed to him, if the place is the
    /// default one: what needs them fails later, by name. On failure nothing stays behind.
    pub(crate) fn create(
        hierarchies: &Hierarchies,
        path: &CgroupPath,
        resources: Option<&Resources>,
    ) -> Result<Cgroup, CgroupError> {
        if let CgroupPath::Scope(scope) = path {
            return Cgroup::plan_scope(hierarchies, scope, resources);
        }
        let mut made = Made::default();
        let mut cgroup = Cgroup { optional: !path.is_asked(), ..Cgroup::of(Vec::new()) };
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
        if let Some(resources) = resources {
            cgroup.limit(resources)?;
        }
        let fresh = cgroup.nodes.iter().all(|node| made.contains(&node.path));
        cgroup.guard_devices(resources.map_or(&[], |given| &given.devices), fresh)?;
        made.keep();
        Ok(cgroup)
    }

    fn of(nodes: Vec<Node>) -> Cgroup {
        Cgroup { nodes, absent: Vec::new(), optional: false, unit: None, pending: None }
    }

    /// Whether a container may run outside of it when the kernel lets nobody in (`EACCES`): a user may own
    /// a place and yet not the common ancestor of it and of where he is.
    pub(crate) fn is_optional(&self) -> bool {
        self.optional && !is_host_root()
    }

    /// Changes the limits that `resources` has, and no others; device rules as a whole, if there are any.
    pub(crate) fn update(&self, resources: &Resources) -> Result<(), CgroupError> {
        if let Some(unit) = &self.unit {
            unit.update(self.controllers_on_v1()?, resources)?;
        }
        self.limit(resources)?;
        match &resources.devices[..] {
            [] => Ok(()),
            rules => self.guard_devices(rules, false),
        }
    }

    /// Removes every directory with all below it, and stops the unit; what is gone is no error, and what
    /// stays does not keep the rest.
    ///
    /// Processes should have been killed before: systemd gives those of a unit 90 seconds to go by themselves.
    pub(crate) fn remove(&self) -> Result<(), CgroupError> {
        let stopped = self.unit.as_ref().map_or(Ok(()), Unit::stop);
        let dirs: Vec<&Path> = self.nodes.iter().map(|node| node.path.as_path()).collect();
        let stayed = remove::remove_directories(&dirs);
        CgroupError::collect(stopped.err().into_iter().chain(stayed).collect())
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
        let intended = Cgroup::intended(&place.hierarchies, &place.path).unwrap();
        let mut cgroup = Cgroup::create(&place.hierarchies, &place.path, None).unwrap();
        assert_eq!(cgroup.record(), intended);
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
        let cgroup = Cgroup::create(&place.hierarchies, &place.path, None).unwrap();
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
        let mut cgroup = Cgroup::create(&place.hierarchies, &place.path, None).unwrap();
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
    fn version_1_alone_does_the_same() {
        let Some(mut place) = TestPlace::new() else { return };
        place.hierarchies = place.hierarchies.clone().without_v2();
        if place.hierarchies.iter().next().is_none() {
            return;
        }
        let limits = resources(r#"{"unified": {"pids.max": "5"}}"#);
        let refused = Cgroup::create(&place.hierarchies, &place.path, Some(&limits));
        assert_eq!(refused.unwrap_err(), CgroupError::UnifiedOnV1);
        let mut cgroup = Cgroup::create(&place.hierarchies, &place.path, None).unwrap();
        assert!(cgroup.entry().unwrap().v2_dir.is_none());
        let mut sleepers = [Sleeper::new(), Sleeper::new(), Sleeper::new()];
        for sleeper in &sleepers {
            cgroup.attach(sleeper.pid()).unwrap();
        }
        assert_eq!(cgroup.pids(false).unwrap().len(), 3);
        cgroup.freeze().unwrap();
        assert!(cgroup.is_frozen().unwrap());
        cgroup.kill().unwrap();
        for sleeper in &mut sleepers {
            wait_until("the end of the process", || sleeper.0.try_wait().unwrap().is_some());
        }
        cgroup.remove().unwrap();
        cgroup.kill().unwrap();
    }

    #[test]
    fn a_cgroup_in_use_or_frozen_is_refused_and_left_as_it_was() {
        let Some(place) = TestPlace::new() else { return };
        let mut first = Cgroup::create(&place.hierarchies, &place.path, None).unwrap();
        first.freeze().unwrap();
        let frozen = Cgroup::create(&place.hierarchies, &place.path, None).unwrap_err();
        assert!(matches!(frozen, CgroupError::Frozen { .. }), "{frozen}");
        first.thaw().unwrap();
        let sleeper = Sleeper::new();
        first.attach(sleeper.pid()).unwrap();
        let used = Cgroup::create(&place.hierarchies, &place.path, None).unwrap_err();
        assert!(matches!(used, CgroupError::NotEmpty { count: 1, .. }), "{used}");
        assert!(place.directories().iter().all(|dir| dir.exists()));
    }

    fn value(cgroup: &Cgroup, controller: Controller, file: &str) -> String {
        let node = cgroup.node_of_v1(controller).or(cgroup.unified()).unwrap();
        node.read(file).unwrap().trim().to_owned()
    }

    fn resources(text: &str) -> Resources {
        Resources::parse(text.as_bytes()).unwrap()
    }

    /// Files of one version with what they are to hold.
    type Wanted<'a> = [(&'a str, &'a str)];

    fn check(cgroup: &Cgroup, controller: Controller, on_v1: &Wanted<'_>, on_v2: &Wanted<'_>) {
        let wanted = if cgroup.node_of_v1(controller).is_some() { on_v1 } else { on_v2 };
        for (file, text) in wanted {
            assert_eq!(value(cgroup, controller, file), *text, "{file}");
        }
    }

    #[test]
    fn limits_are_in_force_and_move_in_either_direction() {
        let Some(place) = TestPlace::new() else { return };
        let first = resources(
            r#"{"memory": {"limit": 33554432, "reservation": 25165824, "swap": 50331648},
                "cpu": {"shares": 100, "quota": 50000, "period": 100000, "burst": 1000, "cpus": "0"},
                "pids": {"limit": 20}}"#,
        );
        let cgroup = Cgroup::create(&place.hierarchies, &place.path, Some(&first)).unwrap();
        check(
            &cgroup,
            Controller::Memory,
            &[
                ("memory.limit_in_bytes", "33554432"),
                ("memory.memsw.limit_in_bytes", "50331648"),
                ("memory.soft_limit_in_bytes", "25165824"),
            ],
            &[
                ("memory.max", "33554432"),
                ("memory.swap.max", "16777216"),
                ("memory.low", "25165824"),
            ],
        );
        check(
            &cgroup,
            Controller::Cpu,
            &[("cpu.shares", "100"), ("cpu.cfs_quota_us", "50000"), ("cpu.cfs_burst_us", "1000")],
            &[("cpu.weight", "17"), ("cpu.max", "50000 100000"), ("cpu.max.burst", "1000")],
        );
        check(&cgroup, Controller::Cpuset, &[("cpuset.cpus", "0")], &[("cpuset.cpus", "0")]);
        check(&cgroup, Controller::Pids, &[("pids.max", "20")], &[("pids.max", "20")]);

        for (limit, swap, in_swap) in
            [(62914560, 83886080, "20971520"), (31457280, 52428800, "20971520")]
        {
            let text = format!(r#"{{"memory": {{"limit": {limit}, "swap": {swap}}}}}"#);
            cgroup.update(&resources(&text)).unwrap();
            let (limit, swap) = (limit.to_string(), swap.to_string());
            check(
                &cgroup,
                Controller::Memory,
                &[("memory.limit_in_bytes", &limit), ("memory.memsw.limit_in_bytes", &swap)],
                &[("memory.max", &limit), ("memory.swap.max", in_swap)],
            );
        }
        cgroup.update(&resources(r#"{"memory": {"limit": -1}, "pids": {"limit": -1}}"#)).unwrap();
        // As much as fits into the kernel's page counter.
        let none = (i64::MAX & !0xfff).to_string();
        check(
            &cgroup,
            Controller::Memory,
            &[("memory.memsw.limit_in_bytes", &none)],
            &[("memory.max", "max"), ("memory.swap.max", "max")],
        );
        check(&cgroup, Controller::Pids, &[("pids.max", "max")], &[("pids.max", "max")]);

        // Quota above what the old burst and period allow together, and back.
        for (quota, period, burst) in [(600_000, 900_000, 500_000), (20_000, 30_000, 10_000)] {
            let text =
                format!(r#"{{"cpu": {{"quota": {quota}, "period": {period}, "burst": {burst}}}}}"#);
            cgroup.update(&resources(&text)).unwrap();
            let (burst, both) = (burst.to_string(), format!("{quota} {period}"));
            check(
                &cgroup,
                Controller::Cpu,
                &[("cpu.cfs_burst_us", &burst)],
                &[("cpu.max.burst", &burst), ("cpu.max", &both)],
            );
        }
        let refused = cgroup.update(&resources(r#"{"pids": {"limit": 9000000000}}"#)).unwrap_err();
        let text = refused.to_string();
        assert!(text.starts_with("write \"9000000000\" to /"), "{text}");
        assert!(text.ends_with("/pids.max: invalid argument"), "{text}");
        cgroup.remove().unwrap();
    }

    #[test]
    fn on_a_hybrid_host_each_controller_is_used_where_it_is() {
        let Some(place) = TestPlace::new() else { return };
        let huge = std::path::Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB");
        if place.hierarchies.is_pure_v2()
            || place.hierarchies.on_v1().contains(Controller::Hugetlb)
            || !huge.exists()
        {
            return;
        }
        let resources = Resources::parse(
            br#"{"pids": {"limit": 20}, "hugepageLimits": [{"pageSize": "2MB", "limit": 2097152}],
                 "unified": {"cgroup.max.depth": "3"}}"#,
        )
        .unwrap();
        let cgroup = Cgroup::create(&place.hierarchies, &place.path, Some(&resources)).unwrap();
        let unified = cgroup.unified().unwrap();
        assert_eq!(unified.read("hugetlb.2MB.max").unwrap(), "2097152\n");
        assert_eq!(unified.read("cgroup.max.depth").unwrap(), "3\n");
        assert_eq!(value(&cgroup, Controller::Pids, "pids.max"), "20");
        let elsewhere = Resources::parse(br#"{"unified": {"pids.max": "3"}}"#).unwrap();
        let error = cgroup.update(&elsewhere).unwrap_err();
        assert!(matches!(error, CgroupError::UnifiedController { .. }), "{error}");
        cgroup.remove().unwrap();
    }

    #[test]
    fn a_limit_that_cannot_be_set_leaves_no_directory() {
        let Some(place) = TestPlace::new() else { return };
        let resources = Resources::parse(br#"{"cpu": {"cpus": "0-9999"}}"#).unwrap();
        let error = Cgroup::create(&place.hierarchies, &place.path, Some(&resources)).unwrap_err();
        assert!(error.to_string().starts_with("write \"0-9999\" to /"), "{error}");
        assert!(place.directories().iter().all(|dir| !dir.exists()));
    }

    /// Runs itself again as a user who may make no cgroup.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test is its own payload")]
    fn a_user_without_rights_goes_without_in_the_default_place_only() {
        use std::os::unix::process::CommandExt;
        const NAME: &str =
            "cgroup::tests::a_user_without_rights_goes_without_in_the_default_place_only";
        let Ok(hierarchies) = Hierarchies::discover() else { return };
        if rustix::process::geteuid().is_root() {
            let mut again = std::process::Command::new("/proc/self/exe");
            let output = again.args(["--exact", NAME]).uid(65534).gid(65534).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
            return;
        }
        let parse = |path| CgroupPath::parse(path, "dhow-test-user", Manager::Cgroupfs).unwrap();
        let limits = resources(r#"{"pids": {"limit": 3}}"#);
        let default = parse(None);
        let cgroup = Cgroup::create(&hierarchies, &default, None).unwrap();
        assert!(cgroup.nodes.is_empty());
        assert!(cgroup.entry().unwrap().v2_dir.is_none());
        assert!(cgroup.pids(true).unwrap().is_empty());
        cgroup.remove().unwrap();
        let limited = Cgroup::create(&hierarchies, &default, Some(&limits)).unwrap_err();
        let text = limited.to_string();
        let wanted = "cannot set pids limit: container could not join or create cgroup: /";
        assert!(text.starts_with(wanted) && text.ends_with(": permission denied"), "{text}");
        let asked = Cgroup::create(&hierarchies, &parse(Some("/dhow-test-user")), None);
        assert!(matches!(asked, Err(CgroupError::Make { errno: Errno::ACCESS, .. })), "{asked:?}");
    }

    #[test]
    fn nested_places_are_made_with_their_parents_and_taken_back_on_failure() {
        let Some(place) = TestPlace::new() else { return };
        let CgroupPath::Absolute(top) = &place.path else { unreachable!() };
        let nested = CgroupPath::Absolute(top.join("a/b"));
        Cgroup::create(&place.hierarchies, &nested, None).unwrap();
        // Below a file nothing can be made, which shows only after the directories above it were.
        let hopeless = CgroupPath::Absolute(top.join("c/d/cgroup.procs/e"));
        let error = Cgroup::create(&place.hierarchies, &hopeless, None).unwrap_err();
        assert!(matches!(error, CgroupError::Make { errno: Errno::NOTDIR, .. }), "{error}");
        for dir in place.directories() {
            assert!(dir.join("a/b").exists() && !dir.join("c").exists(), "{}", dir.display());
        }
        testing::open(&place.hierarchies, &place.path).unwrap().remove().unwrap();
        assert!(place.directories().iter().all(|dir| !dir.exists()));
    }
}
