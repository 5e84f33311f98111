//! Counters of version 1's controllers.

use super::parse;
use super::{HugetlbStats, IoEntry, MemoryEntry, Stats, number, optional, page_sizes, read_common};
use crate::cgroup::controller::{Controller, Controllers};
use crate::cgroup::error::CgroupError;
use crate::cgroup::node::Node;

/// `cpuacct.stat` counts in ticks of the interface to user space, which are 10 ms on every architecture.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

pub(super) fn read(
    node: &Node,
    controllers: Controllers,
    stats: &mut Stats,
) -> Result<(), CgroupError> {
    let has = |controller| controllers.contains(controller);
    if has(Controller::Cpu) {
        let text = node.read("cpu.stat")?;
        stats.cpu.throttling.periods = parse::value_of(&text, "nr_periods");
        stats.cpu.throttling.throttled_periods = parse::value_of(&text, "nr_throttled");
        stats.cpu.throttling.throttled_time = parse::value_of(&text, "throttled_time");
    }
    if has(Controller::Cpuacct) {
        read_cpuacct(node, stats)?;
    }
    if has(Controller::Cpuset) {
        read_cpuset(node, stats)?;
    }
    if has(Controller::Memory) {
        read_memory(node, stats)?;
    }
    if has(Controller::Io) {
        read_io(node, stats)?;
    }
    if has(Controller::Hugetlb) {
        read_huge_pages(node, stats)?;
    }
    read_common(node, has, stats)
}

fn read_cpuacct(node: &Node, stats: &mut Stats) -> Result<(), CgroupError> {
    let usage = &mut stats.cpu.usage;
    usage.total = node.read_number("cpuacct.usage")?;
    let text = node.read("cpuacct.stat")?;
    usage.user = parse::value_of(&text, "user") * NANOSECONDS_PER_TICK;
    usage.kernel = parse::value_of(&text, "system") * NANOSECONDS_PER_TICK;
    usage.percpu = parse::row(&node.read("cpuacct.usage_percpu")?);
    // A head line, then: processor, user, kernel.
    let table = optional(node, "cpuacct.usage_all")?.unwrap_or_default();
    for line in table.lines().skip(1) {
        if let [_, user, kernel] = parse::row(line)[..] {
            usage.percpu_user.push(user);
            usage.percpu_kernel.push(kernel);
        }
    }
    Ok(())
}

fn read_cpuset(node: &Node, stats: &mut Stats) -> Result<(), CgroupError> {
    let cpuset = &mut stats.cpuset;
    cpuset.cpus = parse::ranges(&node.read("cpuset.cpus")?).unwrap_or_default();
    cpuset.mems = parse::ranges(&node.read("cpuset.mems")?).unwrap_or_default();
    for (name, field) in [
        ("cpuset.cpu_exclusive", &mut cpuset.cpu_exclusive),
        ("cpuset.mem_hardwall", &mut cpuset.mem_hardwall),
        ("cpuset.mem_exclusive", &mut cpuset.mem_exclusive),
        ("cpuset.memory_migrate", &mut cpuset.memory_migrate),
        ("cpuset.memory_spread_page", &mut cpuset.memory_spread_page),
        ("cpuset.memory_spread_slab", &mut cpuset.memory_spread_slab),
        ("cpuset.memory_pressure", &mut cpuset.memory_pressure),
        ("cpuset.sched_load_balance", &mut cpuset.sched_load_balance),
    ] {
        *field = number(node, name)?.unwrap_or(0);
    }
    let level = optional(node, "cpuset.sched_relax_domain_level")?.unwrap_or_default();
    cpuset.sched_relax_domain_level = level.trim().parse().unwrap_or(0);
    Ok(())
}

fn read_memory(node: &Node, stats: &mut Stats) -> Result<(), CgroupError> {
    let memory = &mut stats.memory;
    let text = node.read("memory.stat")?;
    memory.raw = parse::pairs(&text).map(|(name, value)| (name.to_owned(), value)).collect();
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    memory.usage = entry(node, "memory")?;
    memory.swap = entry(node, "memory.memsw")?;
    memory.kernel = entry(node, "memory.kmem")?;
    memory.kernel_tcp = entry(node, "memory.kmem.tcp")?;
    Ok(())
}

fn entry(node: &Node, prefix: &str) -> Result<MemoryEntry, CgroupError> {
    let value = |name: &str| -> Result<u64, CgroupError> {
        Ok(number(node, &format!("{prefix}.{name}"))?.unwrap_or(0))
    };
    Ok(MemoryEntry {
        limit: value("limit_in_bytes")?,
        usage: value("usage_in_bytes")?,
        max: value("max_usage_in_bytes")?,
        failcnt: value("failcnt")?,
    })
}

/// BFQ counts what went through it; the throttle counts all, and is there without it.
fn read_io(node: &Node, stats: &mut Stats) -> Result<(), CgroupError> {
    let first = |names: &[&str]| -> Result<Vec<IoEntry>, CgroupError> {
        for name in names {
            let entries = parse::io_v1(&optional(node, name)?.unwrap_or_default());
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        Ok(Vec::new())
    };
    let io = &mut stats.blkio;
    io.io_service_bytes_recursive = first(&[
        "blkio.bfq.io_service_bytes_recursive",
        "blkio.io_service_bytes_recursive",
        "blkio.throttle.io_service_bytes_recursive",
    ])?;
    io.io_serviced_recursive = first(&[
        "blkio.bfq.io_serviced_recursive",
        "blkio.io_serviced_recursive",
        "blkio.throttle.io_serviced_recursive",
    ])?;
    for (name, list) in [
        ("io_queued", &mut io.io_queue_recursive),
        ("io_service_time", &mut io.io_service_time_recursive),
        ("io_wait_time", &mut io.io_wait_time_recursive),
        ("io_merged", &mut io.io_merged_recursive),
        ("time", &mut io.io_time_recursive),
        ("sectors", &mut io.sectors_recursive),
    ] {
        // Kernels with these files are those whose BFQ or CFQ was built for debugging.
        let (bfq, cfq) = (format!("blkio.bfq.{name}_recursive"), format!("blkio.{name}_recursive"));
        *list = first(&[&bfq, &cfq])?;
    }
    Ok(())
}

fn read_huge_pages(node: &Node, stats: &mut Stats) -> Result<(), CgroupError> {
    for size in page_sizes() {
        let value = |name: &str| number(node, &format!("hugetlb.{size}.{name}"));
        let Some(usage) = value("usage_in_bytes")? else { continue };
        let max = value("max_usage_in_bytes")?.unwrap_or(0);
        let failcnt = value("failcnt")?.unwrap_or(0);
        stats.hugetlb.insert(size.clone(), HugetlbStats { usage, max, failcnt });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cgroup::testing::{ScratchDir, scratch_cgroup};

    #[test]
    fn processor_time_is_nanoseconds_whatever_the_file_counts_in() {
        let dir = ScratchDir::new(&[
            ("cpuacct.usage", "30000000\n"),
            ("cpuacct.stat", "user 2\nsystem 1\n"),
            ("cpuacct.usage_percpu", "10000000 20000000 \n"),
            ("cpuacct.usage_all", "cpu user system\n0 6000000 4000000\n1 14000000 6000000\n"),
        ]);
        let usage = scratch_cgroup(&dir, "cpuacct").stats().unwrap().cpu.usage;
        assert_eq!((usage.total, usage.user, usage.kernel), (30_000_000, 20_000_000, 10_000_000));
        assert_eq!(usage.percpu, [10_000_000, 20_000_000]);
        assert_eq!(usage.percpu_kernel, [4_000_000, 6_000_000]);
    }

    #[test]
    fn block_devices_are_counted_by_the_throttle_where_no_scheduler_does() {
        let dir = ScratchDir::new(&[
            ("blkio.bfq.io_serviced_recursive", ""),
            ("blkio.throttle.io_serviced_recursive", "8:0 Read 3\n8:0 Total 3\nTotal 3\n"),
        ]);
        let io = scratch_cgroup(&dir, "blkio").stats().unwrap().blkio;
        assert_eq!(io.io_serviced_recursive.len(), 2);
        assert!(io.io_service_bytes_recursive.is_empty());
    }
}
