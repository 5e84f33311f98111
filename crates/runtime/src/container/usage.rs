//! What a container uses, as values for engines.
//!
//! Invariant: times are nanoseconds, sizes bytes, over the container's life; what no controller counts is zero.
//! Absent on purpose: network interfaces, which are no cgroup's.

use std::collections::BTreeMap;

use super::Container;
use crate::cgroup::Stats;
use crate::error::Error;

/// What a container has used, and its limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time.
    pub cpu_ns: u64,
    /// The part of it spent in the kernel.
    pub cpu_kernel_ns: u64,
    /// The part of it spent outside.
    pub cpu_user_ns: u64,
    /// Processor by processor, where that is counted (cgroup v1).
    pub cpus_ns: Vec<u64>,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Those in which it ran out.
    pub throttled_periods: u64,
    /// How long it was out.
    pub throttled_ns: u64,
    /// Memory in use.
    pub memory_bytes: u64,
    /// The most that was, where that is counted.
    pub memory_bytes_peak: u64,
    /// The limit; a number beyond any memory is none.
    pub memory_bytes_max: u64,
    /// How often the limit was reached.
    pub memory_failures: u64,
    /// `memory.stat`, line by line.
    pub memory_detail: BTreeMap<String, u64>,
    /// Tasks.
    pub pids: u64,
    /// Their limit; zero is none.
    pub pids_max: u64,
    /// Bytes of block devices.
    pub io_bytes: Vec<IoCount>,
    /// Operations of block devices.
    pub io_operations: Vec<IoCount>,
}

/// One kind of operation on one block device, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoCount {
    /// The device's major number.
    pub major: u64,
    /// Its minor number.
    pub minor: u64,
    /// `read`, `write` and others, as the kernel calls them.
    pub operation: String,
    /// How much of it.
    pub value: u64,
}

impl Container {
    /// What it has used so far.
    pub fn usage(&self) -> Result<Usage, Error> {
        Ok(summarize(self.stats()?))
    }
}

fn summarize(stats: Stats) -> Usage {
    let counts = |entries: Vec<crate::cgroup::IoEntry>| {
        let count = |entry: crate::cgroup::IoEntry| IoCount {
            major: entry.major,
            minor: entry.minor,
            operation: entry.op,
            value: entry.value,
        };
        entries.into_iter().map(count).collect()
    };
    Usage {
        cpu_ns: stats.cpu.usage.total,
        cpu_kernel_ns: stats.cpu.usage.kernel,
        cpu_user_ns: stats.cpu.usage.user,
        cpus_ns: stats.cpu.usage.percpu,
        periods: stats.cpu.throttling.periods,
        throttled_periods: stats.cpu.throttling.throttled_periods,
        throttled_ns: stats.cpu.throttling.throttled_time,
        memory_bytes: stats.memory.usage.usage,
        memory_bytes_peak: stats.memory.usage.max,
        memory_bytes_max: stats.memory.usage.limit,
        memory_failures: stats.memory.usage.failcnt,
        memory_detail: stats.memory.raw,
        pids: stats.pids.current,
        pids_max: stats.pids.limit,
        io_bytes: counts(stats.blkio.io_service_bytes_recursive),
        io_operations: counts(stats.blkio.io_serviced_recursive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told() {
        let mut stats = Stats::default();
        stats.cpu.usage.total = 7;
        stats.memory.usage.limit = 9;
        stats.pids.current = 3;
        stats.blkio.io_serviced_recursive.push(crate::cgroup::IoEntry {
            major: 8,
            op: "Read".to_owned(),
            value: 2,
            ..crate::cgroup::IoEntry::default()
        });
        let usage = summarize(stats);
        assert_eq!((usage.cpu_ns, usage.memory_bytes_max, usage.pids), (7, 9, 3));
        assert_eq!(usage.io_operations[0].operation, "Read");
    }
}
