//! The kernel's cgroup controllers by name, and small sets of them.
//!
//! A controller has one name here, whatever the hierarchy's version calls it (`blkio` is `io` on
//! version 2). Controllers that this list does not know are left alone.

use std::fmt;

/// One controller of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    /// Processor time.
    Cpu,
    /// Processor time, counted only; part of `cpu` on version 2.
    Cpuacct,
    /// Which processors and memory nodes.
    Cpuset,
    /// Memory and swap.
    Memory,
    /// Device nodes; an eBPF program and no controller on version 2.
    Devices,
    /// Stopping all processes; part of every cgroup on version 2.
    Freezer,
    /// Block devices.
    Io,
    /// Number of tasks.
    Pids,
    /// Huge pages.
    Hugetlb,
    /// Class of network packets; version 1 only.
    NetCls,
    /// Priority of network packets; version 1 only.
    NetPrio,
    /// Performance counters.
    PerfEvent,
    /// RDMA handles and objects.
    Rdma,
    /// Scalar resources of single machines.
    Misc,
}

/// Every controller with its name on version 1 and on version 2 ("" where it has none there).
const NAMES: [(Controller, &str, &str); 14] = [
    (Controller::Cpu, "cpu", "cpu"),
    (Controller::Cpuacct, "cpuacct", ""),
    (Controller::Cpuset, "cpuset", "cpuset"),
    (Controller::Memory, "memory", "memory"),
    (Controller::Devices, "devices", ""),
    (Controller::Freezer, "freezer", ""),
    (Controller::Io, "blkio", "io"),
    (Controller::Pids, "pids", "pids"),
    (Controller::Hugetlb, "hugetlb", "hugetlb"),
    (Controller::NetCls, "net_cls", ""),
    (Controller::NetPrio, "net_prio", ""),
    (Controller::PerfEvent, "perf_event", ""),
    (Controller::Rdma, "rdma", "rdma"),
    (Controller::Misc, "misc", "misc"),
];

impl Controller {
    /// The controller that a version 1 mount option or `/proc/self/cgroup` calls `name`.
    pub(super) fn from_v1_name(name: &str) -> Option<Controller> {
        NAMES.iter().find(|(_, v1, _)| *v1 == name).map(|(controller, _, _)| *controller)
    }

    /// The controller that `cgroup.controllers` and the file names of version 2 call `name`.
    pub(super) fn from_v2_name(name: &str) -> Option<Controller> {
        NAMES
            .iter()
            .find(|(_, _, v2)| *v2 == name && !v2.is_empty())
            .map(|(controller, _, _)| *controller)
    }

    /// The name on version 1, under which records and messages know it.
    pub(super) fn v1_name(self) -> &'static str {
        NAMES[self as usize].1
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.v1_name())
    }
}

/// A set of controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Controllers(u16);

impl Controllers {
    /// All that version 2 can have.
    pub(super) fn of_v2() -> Controllers {
        NAMES
            .iter()
            .filter(|(_, _, v2)| !v2.is_empty())
            .map(|(controller, _, _)| *controller)
            .collect()
    }

    /// Those that a line of `cgroup.controllers` or `cgroup.subtree_control` names.
    pub(super) fn from_v2_list(line: &str) -> Controllers {
        line.split_ascii_whitespace().filter_map(Controller::from_v2_name).collect()
    }

    pub(super) fn insert(&mut self, controller: Controller) {
        self.0 |= 1 << controller as u16;
    }

    pub(super) fn contains(self, controller: Controller) -> bool {
        self.0 & 1 << controller as u16 != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn without(self, other: Controllers) -> Controllers {
        Controllers(self.0 & !other.0)
    }

    pub(super) fn and(self, other: Controllers) -> Controllers {
        Controllers(self.0 & other.0)
    }

    pub(super) fn or(self, other: Controllers) -> Controllers {
        Controllers(self.0 | other.0)
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Controller> {
        NAMES.iter().map(|(controller, _, _)| *controller).filter(move |one| self.contains(*one))
    }

    /// The names on version 2, each behind `prefix`, as `cgroup.subtree_control` takes them.
    pub(super) fn v2_list(self, prefix: &str) -> String {
        let names: Vec<String> =
            self.iter().map(|one| format!("{prefix}{}", NAMES[one as usize].2)).collect();
        names.join(" ")
    }
}

impl FromIterator<Controller> for Controllers {
    fn from_iter<T: IntoIterator<Item = Controller>>(controllers: T) -> Self {
        let mut set = Controllers::default();
        for controller in controllers {
            set.insert(controller);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (at, (controller, _, _)) in NAMES.iter().enumerate() {
            assert_eq!(*controller as usize, at);
        }
    }

    #[test]
    fn lists_are_read_and_written_in_the_kernels_names() {
        let set = Controllers::from_v2_list("cpuset cpu io memory dmem\n");
        assert!(set.contains(Controller::Io));
        assert!(!set.contains(Controller::Pids));
        assert_eq!(set.v2_list("+"), "+cpu +cpuset +memory +io");
        assert_eq!(Controller::from_v1_name("blkio"), Some(Controller::Io));
        assert_eq!(Controller::from_v2_name(""), None);
    }
}
