//! What a container uses: its cgroup's counters, its network's, and the machine's beside them.
//!
//! Invariant: all numbers of one sample are of one moment, as far as the kernel tells; a share is for whoever
//! has two samples.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use dhow_runtime::{Container, ContainerId, StateRoot, Usage};

use crate::error::Error;

/// One sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// The container's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When, in nanoseconds since 1970.
    pub read_ns: i64,
    /// What its cgroup counts; nothing if it does not run.
    pub usage: Option<Usage>,
    /// Traffic by interface; empty where the network is not its own.
    pub networks: BTreeMap<String, Traffic>,
    /// Processor time of the whole machine.
    pub system_cpu_ns: u64,
    /// Processors that are there.
    pub online_cpus: u32,
    /// Memory that is there: the limit where there is no other.
    pub system_memory_bytes: u64,
    /// The counters are of cgroup v2.
    pub unified: bool,
}

/// What went through one interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that came.
    pub rx_bytes: u64,
    /// Packets that came.
    pub rx_packets: u64,
    /// Of those, damaged ones.
    pub rx_errors: u64,
    /// And those that were not taken.
    pub rx_dropped: u64,
    /// Bytes that went.
    pub tx_bytes: u64,
    /// Packets that went.
    pub tx_packets: u64,
    /// Of those, damaged ones.
    pub tx_errors: u64,
    /// And those that were not sent.
    pub tx_dropped: u64,
}

/// A sample of a container that does not run.
pub(crate) fn idle(id: &str, name: &str) -> Stats {
    Stats {
        id: id.to_owned(),
        name: name.to_owned(),
        read_ns: crate::clock::now_ns(),
        usage: None,
        networks: BTreeMap::new(),
        system_cpu_ns: 0,
        online_cpus: 0,
        system_memory_bytes: 0,
        unified: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
    }
}

/// A sample of one that runs; `pid` is given where the network is its own.
pub(crate) fn sample(
    state_root: &Path,
    id: &str,
    name: &str,
    pid: Option<u32>,
) -> Result<Stats, Error> {
    let root = StateRoot::open(state_root)?;
    let container = Container::load(&root, &ContainerId::parse(id)?)?;
    let traffic = |pid| fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let (system_cpu_ns, online_cpus) = processors(&stat);
    Ok(Stats {
        usage: Some(container.usage()?),
        networks: pid.map(|pid| interfaces(&traffic(pid))).unwrap_or_default(),
        system_cpu_ns,
        online_cpus,
        system_memory_bytes: total_memory(&memory),
        ..idle(id, name)
    })
}

/// `/proc/net/dev` without the loopback.
fn interfaces(text: &str) -> BTreeMap<String, Traffic> {
    let line = |line: &str| {
        let (name, counts) = line.split_once(':')?;
        let counts: Vec<u64> =
            counts.split_whitespace().filter_map(|count| count.parse().ok()).collect();
        let count = |at: usize| counts.get(at).copied().unwrap_or(0);
        let traffic = Traffic {
            rx_bytes: count(0),
            rx_packets: count(1),
            rx_errors: count(2),
            rx_dropped: count(3),
            tx_bytes: count(8),
            tx_packets: count(9),
            tx_errors: count(10),
            tx_dropped: count(11),
        };
        Some((name.trim().to_owned(), traffic))
    };
    text.lines().skip(2).filter_map(line).filter(|(name, _)| name != "lo").collect()
}

/// Busy and idle time of all processors, as Docker adds it up, and how many there are.
fn processors(stat: &str) -> (u64, u32) {
    const NS_PER_TICK: u64 = 10_000_000;
    let ticks: u64 = stat
        .lines()
        .find_map(|line| line.strip_prefix("cpu "))
        .into_iter()
        .flat_map(|line| line.split_whitespace().take(7))
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    let each = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let count = stat.lines().filter(each).count();
    (ticks.saturating_mul(NS_PER_TICK), u32::try_from(count).unwrap_or(u32::MAX))
}

fn total_memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_without_the_loopback() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n  \
                    eth0: 100 2 3 4 0 0 0 0 500 6 7 8 0 0 0 0\n";
        let found = interfaces(text);
        let expected = Traffic {
            rx_bytes: 100,
            rx_packets: 2,
            rx_errors: 3,
            rx_dropped: 4,
            tx_bytes: 500,
            tx_packets: 6,
            tx_errors: 7,
            tx_dropped: 8,
        };
        assert_eq!(found, BTreeMap::from([("eth0".to_owned(), expected)]));
    }

    #[test]
    fn the_machines_time() {
        let stat = "cpu  1 2 3 4 5 6 7 100 100 100\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 5\n";
        assert_eq!(processors(stat), (280_000_000, 2));
        assert_eq!(total_memory("MemTotal:       2 kB\nMemFree: 1 kB\n"), 2048);
    }
}
