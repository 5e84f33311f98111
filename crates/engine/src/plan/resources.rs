//! Limits in the specification's words, and which of them this machine can keep.
//!
//! Invariant: what a cgroup here cannot do is discarded with a warning in Docker's words when the
//! container is created, so that what is planned later can be done.

use std::collections::BTreeSet;

use dhow_spec::runtime::{self, BlockIo, Cpu, Memory, Pids, Throttle, WeightDevice};

use super::error::PlanError;
use super::facts::{CgroupFacts, Found, HostFacts};
use crate::request::{DeviceRate, Resources};

/// Takes away what this machine cannot do; says so.
pub(super) fn discard(
    own: &mut Resources,
    host: &HostFacts,
    warnings: &mut Vec<String>,
) -> Result<(), PlanError> {
    let facts = host.cgroup;
    let mut warn = |text: &str| warnings.push(text.to_owned());
    discard_memory(own, facts, &mut warn);
    discard_cpu(own, facts, &mut warn)?;
    discard_block_io(own, facts, &mut warn);
    if own.pids_limit.is_some_and(|limit| limit > 0) && !facts.pids {
        warn(
            "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
        );
        own.pids_limit = None;
    }
    check_cpus(own, host)
}

fn discard_memory(own: &mut Resources, facts: CgroupFacts, warn: &mut impl FnMut(&str)) {
    if own.memory > 0 && !facts.memory {
        warn(
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
        );
        (own.memory, own.memory_swap) = (0, -1);
    }
    if own.memory > 0 && own.memory_swap != -1 && !facts.swap {
        warn(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
        );
        own.memory_swap = -1;
    }
    if own.memory_swappiness.is_some_and(|value| value != -1) && !facts.swappiness {
        warn(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
        );
        own.memory_swappiness = None;
    }
    if own.memory_reservation > 0 && !facts.memory_reservation {
        warn(
            "Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.",
        );
        own.memory_reservation = 0;
    }
    if own.oom_kill_disable == Some(true) && !facts.oom_kill_disable {
        warn("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
        own.oom_kill_disable = None;
    }
    if own.oom_kill_disable == Some(true) && own.memory == 0 {
        warn(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.",
        );
    }
}

fn discard_cpu(
    own: &mut Resources,
    facts: CgroupFacts,
    warn: &mut impl FnMut(&str),
) -> Result<(), PlanError> {
    if own.cpu_shares > 0 && !facts.cpu_shares {
        warn(
            "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.",
        );
        own.cpu_shares = 0;
    }
    if own.nano_cpus > 0 && !facts.cpu_quota {
        return Err(PlanError::Kernel {
            lacks: "CPU CFS scheduling, without which NanoCPUs cannot be set",
        });
    }
    if (own.cpu_period > 0 || own.cpu_quota > 0) && !facts.cpu_quota {
        warn("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.");
        (own.cpu_period, own.cpu_quota) = (0, 0);
    }
    if own.cpu_realtime_period > 0 && !facts.cpu_realtime {
        return Err(PlanError::Kernel { lacks: "CPU real-time period" });
    }
    if own.cpu_realtime_runtime > 0 && !facts.cpu_realtime {
        return Err(PlanError::Kernel { lacks: "CPU real-time runtime" });
    }
    let pinned = !own.cpuset_cpus.is_empty() || !own.cpuset_mems.is_empty();
    if pinned && !facts.cpuset {
        warn("Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.");
        own.cpuset_cpus.clear();
        own.cpuset_mems.clear();
    }
    Ok(())
}

fn discard_block_io(own: &mut Resources, facts: CgroupFacts, warn: &mut impl FnMut(&str)) {
    if own.blkio_weight > 0 && !facts.blkio_weight {
        warn(
            "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
        );
        own.blkio_weight = 0;
    }
    if !own.blkio_weight_device.is_empty() && !facts.blkio_weight_device {
        warn(
            "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
        );
        own.blkio_weight_device.clear();
    }
    for (rates, what, limit) in [
        (&mut own.blkio_read_bps, "BPS Block I/O read limit", "Block I/O BPS read limit"),
        (&mut own.blkio_write_bps, "BPS Block I/O write limit", "Block I/O BPS write limit"),
        (&mut own.blkio_read_iops, "IOPS Block read limit", "Block I/O IOPS read limit"),
        (&mut own.blkio_write_iops, "IOPS Block write limit", "Block I/O IOPS write limit"),
    ] {
        if !rates.is_empty() && !facts.blkio_throttle {
            warn(&format!(
                "Your kernel does not support {what} or the cgroup is not mounted. {limit} discarded."
            ));
            rates.clear();
        }
    }
}

fn check_cpus(own: &Resources, host: &HostFacts) -> Result<(), PlanError> {
    let cpus = u32::try_from(host.cpus.len()).unwrap_or(u32::MAX);
    if own.nano_cpus > i64::from(cpus) * 1_000_000_000
        || (own.nano_cpus > 0 && own.nano_cpus < 10_000_000)
    {
        return Err(PlanError::NanoCpus { cpus });
    }
    let there = |what, text: &str, available: &BTreeSet<u32>| {
        if numbers(text).all(|number| available.contains(&number)) {
            return Ok(());
        }
        Err(PlanError::Cpuset { what, requested: text.to_owned(), available: list(available) })
    };
    there("CPUs", &own.cpuset_cpus, &host.cpus)?;
    there("memory nodes", &own.cpuset_mems, &host.memory_nodes)
}

/// The numbers of a list such as `0-3,7`, which was checked before.
pub(super) fn numbers(text: &str) -> impl Iterator<Item = u32> {
    // No machine has more; a larger end would be refused all the same, only later.
    const MAX: u32 = 1 << 16;
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse().unwrap_or(u32::MAX).min(MAX);
        number(first)..=number(last)
    })
}

/// The shortest list of the numbers.
fn list(numbers: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let text = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

/// The limits in the specification's words; only what was asked for is there.
pub fn resources(own: &Resources, found: &Found) -> runtime::Resources {
    runtime::Resources {
        memory: memory(own),
        cpu: cpu(own),
        pids: own
            .pids_limit
            .filter(|limit| *limit != 0)
            .map(|limit| Pids { limit: Some(if limit < 0 { -1 } else { limit }) }),
        block_io: block_io(own, found),
        ..runtime::Resources::default()
    }
}

fn memory(own: &Resources) -> Option<Memory> {
    let some = |value: i64| Some(value).filter(|value| *value != 0);
    let memory = Memory {
        limit: some(own.memory),
        reservation: some(own.memory_reservation),
        swap: some(own.memory_swap).filter(|swap| *swap > 0 || own.memory > 0),
        swappiness: own.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        disable_oom_killer: own.oom_kill_disable.filter(|on| *on),
        ..Memory::default()
    };
    Some(memory).filter(|memory| *memory != Memory::default())
}

fn cpu(own: &Resources) -> Option<Cpu> {
    /// Docker's period for `--cpus`.
    const PERIOD_US: i64 = 100_000;
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let (period, quota) = match own.nano_cpus {
        0 => (own.cpu_period, own.cpu_quota),
        nano => (PERIOD_US, nano * PERIOD_US / 1_000_000_000),
    };
    let cpu = Cpu {
        shares: positive(own.cpu_shares),
        quota: Some(quota).filter(|quota| *quota != 0),
        period: positive(period),
        realtime_runtime: Some(own.cpu_realtime_runtime).filter(|runtime| *runtime != 0),
        realtime_period: positive(own.cpu_realtime_period),
        cpus: text(&own.cpuset_cpus),
        mems: text(&own.cpuset_mems),
        ..Cpu::default()
    };
    Some(cpu).filter(|cpu| *cpu != Cpu::default())
}

fn block_io(own: &Resources, found: &Found) -> Option<BlockIo> {
    let number = |path: &str| found.numbers.get(path).copied();
    let rates = |rates: &[DeviceRate]| -> Vec<Throttle> {
        let throttle = |rate: &DeviceRate| {
            number(&rate.path).map(|(major, minor)| Throttle { major, minor, rate: rate.rate })
        };
        rates.iter().filter_map(throttle).collect()
    };
    let weights = own.blkio_weight_device.iter().filter_map(|device| {
        let (major, minor) = number(&device.path)?;
        Some(WeightDevice { major, minor, weight: Some(device.weight), leaf_weight: None })
    });
    let block_io = BlockIo {
        weight: Some(own.blkio_weight).filter(|weight| *weight > 0),
        weight_device: weights.collect(),
        throttle_read_bps_device: rates(&own.blkio_read_bps),
        throttle_write_bps_device: rates(&own.blkio_write_bps),
        throttle_read_iops_device: rates(&own.blkio_read_iops),
        throttle_write_iops_device: rates(&own.blkio_write_iops),
        ..BlockIo::default()
    };
    Some(block_io).filter(|block_io| *block_io != BlockIo::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers() {
        let set: BTreeSet<u32> = numbers("0-3,7").collect();
        assert_eq!(list(&set), "0-3,7");
        assert_eq!(numbers("").count(), 0);
    }
}
