//! What a cgroup has used, in the words of `events --stats`.
//!
//! The JSON is the one that runc prints and engines read; times are nanoseconds, sizes bytes. Numbers come
//! from whichever version has the controller, and a controller that is nowhere leaves its part at zero.
//! Deliberately absent: network interfaces and Intel RDT, which are no cgroup's.

mod parse;
mod v1;
mod v2;

use std::collections::BTreeMap;

use serde::Serialize;

pub(super) use parse::{ranges, value_of};

use super::Cgroup;
use super::controller::Controller;
use super::error::CgroupError;
use super::hierarchy::Version;
use super::node::{Node, children};

/// Everything counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Stats {
    pub(crate) cpu: CpuStats,
    pub(crate) cpuset: CpusetStats,
    pub(crate) memory: MemoryStats,
    pub(crate) pids: PidsStats,
    pub(crate) blkio: IoStats,
    pub(crate) hugetlb: BTreeMap<String, HugetlbStats>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) rdma: BTreeMap<String, RdmaStats>,
}

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct CpuStats {
    pub(crate) usage: CpuUsage,
    pub(crate) throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) psi: Option<Pressure>,
}

/// Time used, in all and by part.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) percpu_user: Vec<u64>,
    pub(crate) kernel: u64,
    pub(crate) user: u64,
}

/// How often the quota ran out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) throttled_periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) throttled_time: u64,
}

/// Processors and memory nodes, and version 1's switches around them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct CpusetStats {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cpus: Vec<u16>,
    pub(crate) cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mems: Vec<u16>,
    pub(crate) mem_hardwall: u64,
    pub(crate) mem_exclusive: u64,
    pub(crate) memory_migrate: u64,
    pub(crate) memory_spread_page: u64,
    pub(crate) memory_spread_slab: u64,
    pub(crate) memory_pressure: u64,
    pub(crate) sched_load_balance: u64,
    pub(crate) sched_relax_domain_level: i64,
}

/// Memory, by what it is for.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct MemoryStats {
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) cache: u64,
    pub(crate) usage: MemoryEntry,
    /// Memory and swap together.
    pub(crate) swap: MemoryEntry,
    pub(crate) kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    pub(crate) kernel_tcp: MemoryEntry,
    /// `memory.stat`, line by line.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) psi: Option<Pressure>,
}

/// One kind of memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct MemoryEntry {
    pub(crate) limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) max: u64,
    pub(crate) failcnt: u64,
}

/// Tasks; a limit of zero is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct PidsStats {
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) limit: u64,
}

/// Block devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IoStats {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) io_service_bytes_recursive: Vec<IoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) io_serviced_recursive: Vec<IoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) io_queue_recursive: Vec<IoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) io_service_time_recursive: Vec<IoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) io_wait_time_recursive: Vec<IoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) io_merged_recursive: Vec<IoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) io_time_recursive: Vec<IoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sectors_recursive: Vec<IoEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) psi: Option<Pressure>,
}

/// One operation on one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct IoEntry {
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) op: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) value: u64,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct HugetlbStats {
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) max: u64,
    pub(crate) failcnt: u64,
}

/// What one RDMA device has given.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RdmaStats {
    pub(crate) hca_handles: u64,
    pub(crate) hca_objects: u64,
}

/// Time lost for want of something.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Pressure {
    /// Some tasks waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) some: Option<PressureLine>,
    /// All tasks waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) full: Option<PressureLine>,
}

/// Share of the last seconds in percent, and microseconds in all.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct PressureLine {
    pub(crate) avg10: f64,
    pub(crate) avg60: f64,
    pub(crate) avg300: f64,
    pub(crate) total: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Cgroup {
    /// Reads every counter.
    pub(crate) fn stats(&self) -> Result<Stats, CgroupError> {
        let mut stats = Stats::default();
        for node in &self.nodes {
            let controllers = node.controllers()?;
            match node.version {
                Version::V1 => v1::read(node, controllers, &mut stats)?,
                Version::V2 => v2::read(node, controllers, &mut stats)?,
            }
        }
        Ok(stats)
    }

    /// How many processes of the cgroup the kernel has killed for want of memory, where it tells.
    pub(crate) fn oom_kills(&self) -> Result<u64, CgroupError> {
        if let Some(node) = self.node_of_v1(Controller::Memory) {
            return Ok(value_of(&node.read("memory.oom_control")?, "oom_kill"));
        }
        match self.unified() {
            Some(node) if node.controllers()?.contains(Controller::Memory) => {
                Ok(value_of(&node.read("memory.events")?, "oom_kill"))
            }
            _ => Ok(0),
        }
    }
}

/// A file's text, or nothing where this kernel has no such file or does not count at present.
fn optional(node: &Node, name: &str) -> Result<Option<String>, CgroupError> {
    use rustix::io::Errno;
    match node.read(name) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(error.errno(), Some(Errno::NOENT | Errno::OPNOTSUPP | Errno::NODEV)) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A file with one number; a file that is not there, and `max`, as asked.
fn number(node: &Node, name: &str) -> Result<Option<u64>, CgroupError> {
    match node.read_number(name) {
        Ok(number) => Ok(Some(number)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The sizes of huge pages as the names of the files have them.
fn page_sizes() -> Vec<String> {
    let dirs = children("/sys/kernel/mm/hugepages".as_ref()).unwrap_or_default();
    let name = |dir: &std::path::PathBuf| {
        let name = dir.file_name()?.to_str()?;
        let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        Some(parse::page_size(kilobytes))
    };
    dirs.iter().filter_map(name).collect()
}

/// What both versions call the same: tasks and RDMA.
fn read_common(
    node: &Node,
    has: impl Fn(Controller) -> bool,
    stats: &mut Stats,
) -> Result<(), CgroupError> {
    if has(Controller::Pids) {
        stats.pids.current = number(node, "pids.current")?.unwrap_or(0);
        let limit = number(node, "pids.max")?.unwrap_or(u64::MAX);
        stats.pids.limit = if limit == u64::MAX { 0 } else { limit };
    }
    if has(Controller::Rdma) {
        let text = optional(node, "rdma.current")?.unwrap_or_default();
        stats.rdma = parse::rdma(&text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::testing::{Sleeper, TestPlace};

    #[test]
    fn a_cgroup_in_use_is_counted() {
        let Some(place) = TestPlace::new() else { return };
        let resources = dhow_spec::runtime::Resources::parse(
            br#"{"pids": {"limit": 20}, "memory": {"limit": 33554432}, "cpu": {"cpus": "0"}}"#,
        )
        .unwrap();
        let mut cgroup = Cgroup::create(&place.hierarchies, &place.path, Some(&resources)).unwrap();
        let sleeper = Sleeper::new();
        cgroup.attach(sleeper.pid()).unwrap();
        let stats = cgroup.stats().unwrap();
        assert_eq!((stats.pids.current, stats.pids.limit), (1, 20));
        assert_eq!(stats.memory.usage.limit, 33_554_432);
        assert!(!stats.memory.raw.is_empty());
        assert_eq!(stats.cpuset.cpus, [0]);
        assert_eq!(cgroup.oom_kills().unwrap(), 0);
        cgroup.kill().unwrap();
        drop(sleeper);
        cgroup.remove().unwrap();
    }

    #[test]
    fn the_shape_is_what_engines_read() {
        let stats = Stats {
            pids: PidsStats { current: 1, limit: 0 },
            blkio: IoStats {
                io_serviced_recursive: vec![IoEntry {
                    major: 8,
                    minor: 0,
                    op: "Read".into(),
                    value: 3,
                }],
                ..IoStats::default()
            },
            ..Stats::default()
        };
        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!(json["pids"], serde_json::json!({"current": 1}));
        assert_eq!(
            json["blkio"],
            serde_json::json!({"ioServicedRecursive": [{"major": 8, "op": "Read", "value": 3}]})
        );
        assert_eq!(json["memory"]["kernelTCP"], serde_json::json!({"limit": 0, "failcnt": 0}));
        assert_eq!(
            json["cpu"],
            serde_json::json!({"usage": {"kernel": 0, "user": 0}, "throttling": {}})
        );
        assert_eq!(json["hugetlb"], serde_json::json!({}));
    }
}
