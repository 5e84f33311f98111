//! Counters of version 2, given in version 1's units and meanings.

use super::parse;
use super::{
    HugetlbStats, MemoryEntry, Pressure, Stats, number, optional, page_sizes, read_common,
};
use crate::cgroup::controller::{Controller, Controllers};
use crate::cgroup::error::CgroupError;
use crate::cgroup::node::Node;

pub(super) fn read(
    node: &Node,
    controllers: Controllers,
    stats: &mut Stats,
) -> Result<(), CgroupError> {
    let has = |controller| controllers.contains(controller);
    if has(Controller::Cpu) {
        read_cpu(node, stats)?;
    }
    if has(Controller::Cpuset) {
        let ranges = |name| -> Result<Vec<u16>, CgroupError> {
            Ok(parse::ranges(&node.read(name)?).unwrap_or_default())
        };
        stats.cpuset.cpus = ranges("cpuset.cpus.effective")?;
        stats.cpuset.mems = ranges("cpuset.mems.effective")?;
    }
    if has(Controller::Memory) {
        read_memory(node, stats)?;
    }
    if has(Controller::Io) {
        let text = optional(node, "io.stat")?.unwrap_or_default();
        let (bytes, operations) = parse::io_v2(&text);
        stats.blkio.io_service_bytes_recursive = bytes;
        stats.blkio.io_serviced_recursive = operations;
    }
    if has(Controller::Hugetlb) {
        read_huge_pages(node, stats)?;
    }
    // Pressure is every cgroup's, whatever controllers it has.
    stats.cpu.psi = pressure(node, "cpu.pressure")?;
    stats.memory.psi = pressure(node, "memory.pressure")?;
    stats.blkio.psi = pressure(node, "io.pressure")?;
    read_common(node, has, stats)
}

fn pressure(node: &Node, name: &str) -> Result<Option<Pressure>, CgroupError> {
    Ok(optional(node, name)?.map(|text| parse::pressure(&text)))
}

/// Microseconds become nanoseconds.
fn read_cpu(node: &Node, stats: &mut Stats) -> Result<(), CgroupError> {
    let text = node.read("cpu.stat")?;
    let value = |name| parse::value_of(&text, name);
    stats.cpu.usage.total = value("usage_usec") * 1000;
    stats.cpu.usage.user = value("user_usec") * 1000;
    stats.cpu.usage.kernel = value("system_usec") * 1000;
    stats.cpu.throttling.periods = value("nr_periods");
    stats.cpu.throttling.throttled_periods = value("nr_throttled");
    stats.cpu.throttling.throttled_time = value("throttled_usec") * 1000;
    Ok(())
}

/// Swap is put together with memory, as version 1 counts it; the most that both ever were is not known.
fn read_memory(node: &Node, stats: &mut Stats) -> Result<(), CgroupError> {
    let memory = &mut stats.memory;
    let text = node.read("memory.stat")?;
    memory.raw = parse::pairs(&text).map(|(name, value)| (name.to_owned(), value)).collect();
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    memory.usage = MemoryEntry {
        usage: node.read_number("memory.current")?,
        limit: node.read_number("memory.max")?,
        max: number(node, "memory.peak")?.unwrap_or(0),
        failcnt: parse::value_of(&node.read("memory.events")?, "max"),
    };
    if let Some(usage) = number(node, "memory.swap.current")? {
        let limit = number(node, "memory.swap.max")?.unwrap_or(u64::MAX);
        memory.swap = MemoryEntry {
            usage: usage.saturating_add(memory.usage.usage),
            limit: limit.saturating_add(memory.usage.limit),
            ..MemoryEntry::default()
        };
    }
    Ok(())
}

fn read_huge_pages(node: &Node, stats: &mut Stats) -> Result<(), CgroupError> {
    for size in page_sizes() {
        let Some(usage) = number(node, &format!("hugetlb.{size}.current"))? else { continue };
        let events = optional(node, &format!("hugetlb.{size}.events"))?.unwrap_or_default();
        let failcnt = parse::value_of(&events, "max");
        stats.hugetlb.insert(size, HugetlbStats { usage, max: 0, failcnt });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cgroup::testing::{ScratchDir, scratch_cgroup};

    #[test]
    fn version_2_is_told_in_version_1_s_units() {
        let dir = ScratchDir::new(&[
            ("cgroup.controllers", "cpu memory io pids\n"),
            (
                "cpu.stat",
                "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_throttled 2\nthrottled_usec 5\n",
            ),
            ("cpu.pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\n"),
            ("memory.stat", "anon 7\nfile 8\n"),
            ("memory.current", "100\n"),
            ("memory.max", "1000\n"),
            ("memory.events", "low 0\nmax 4\noom_kill 1\n"),
            ("memory.swap.current", "11\n"),
            ("memory.swap.max", "max\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n"),
            ("pids.current", "5\n"),
            ("pids.max", "max\n"),
        ]);
        let cgroup = scratch_cgroup(&dir, "");
        let stats = cgroup.stats().unwrap();
        assert_eq!((stats.cpu.usage.total, stats.cpu.usage.kernel), (30_000, 10_000));
        assert_eq!(stats.cpu.throttling.throttled_time, 5_000);
        assert_eq!(stats.cpu.psi.unwrap().some.unwrap().avg10, 1.5);
        assert_eq!((stats.memory.cache, stats.memory.usage.failcnt), (8, 4));
        assert_eq!((stats.memory.swap.usage, stats.memory.swap.limit), (111, u64::MAX));
        assert_eq!(stats.blkio.io_serviced_recursive[1].value, 4);
        assert_eq!((stats.pids.current, stats.pids.limit), (5, 0));
        assert_eq!(cgroup.oom_kills().unwrap(), 1);
    }
}
