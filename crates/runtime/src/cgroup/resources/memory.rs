//! Memory and swap.

use dhow_spec::runtime::Memory;
use rustix::io::Errno;

use super::convert::{SwapLimit, or_max, swap_limit};
use super::write_together;
use crate::cgroup::Cgroup;
use crate::cgroup::controller::Controller;
use crate::cgroup::error::CgroupError;
use crate::cgroup::hierarchy::Version;
use crate::cgroup::node::Node;

const LIMIT_V1: &str = "memory.limit_in_bytes";
const SWAP_V1: &str = "memory.memsw.limit_in_bytes";

/// What the kernel answers for a file whose meaning it has dropped.
const NOT_SUPPORTED: Errno = Errno::from_raw_os_error(524);

pub(super) fn limit(cgroup: &Cgroup, memory: &Memory) -> Result<(), CgroupError> {
    let Some(setting) = first_setting(memory) else { return Ok(()) };
    let node = cgroup.place(Controller::Memory, setting)?;
    match node.version {
        Version::V1 => limit_v1(node, memory),
        Version::V2 => limit_v2(node, memory),
    }
}

fn set(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0)
}

/// Go's −1 in an unsigned field is "not set".
fn swappiness(memory: &Memory) -> Option<u64> {
    memory.swappiness.filter(|value| *value != u64::MAX)
}

fn first_setting(memory: &Memory) -> Option<&'static str> {
    let settings = [
        ("memory limit", set(memory.limit).is_some()),
        ("memory reservation", set(memory.reservation).is_some()),
        ("memory swap", set(memory.swap).is_some()),
        ("kernel memory", set(memory.kernel).is_some()),
        ("kernel TCP memory", set(memory.kernel_tcp).is_some()),
        ("memory swappiness", swappiness(memory).is_some()),
        ("disableOOMKiller", memory.disable_oom_killer == Some(true)),
        ("useHierarchy", memory.use_hierarchy == Some(true)),
    ];
    settings.iter().find(|(_, there)| *there).map(|(name, _)| *name)
}

fn limit_v1(node: &Node, memory: &Memory) -> Result<(), CgroupError> {
    if memory.use_hierarchy == Some(true) {
        node.write("memory.use_hierarchy", "1")?;
    }
    write_limits_v1(node, set(memory.limit), set(memory.swap))?;
    if let Some(reservation) = set(memory.reservation) {
        node.write("memory.soft_limit_in_bytes", &reservation.to_string())?;
    }
    if let Some(kernel) = set(memory.kernel) {
        write_if_meant(node, "memory.kmem.limit_in_bytes", kernel)?;
    }
    if let Some(kernel_tcp) = set(memory.kernel_tcp) {
        node.write("memory.kmem.tcp.limit_in_bytes", &kernel_tcp.to_string())?;
    }
    if let Some(swappiness) = swappiness(memory) {
        node.write("memory.swappiness", &swappiness.to_string())?;
    }
    if let Some(disabled) = memory.disable_oom_killer {
        node.write("memory.oom_control", if disabled { "1" } else { "0" })?;
    }
    Ok(())
}

/// Both limits, whichever way they move: memory may never exceed memory and swap together.
fn write_limits_v1(node: &Node, limit: Option<i64>, swap: Option<i64>) -> Result<(), CgroupError> {
    let mut files: Vec<(&str, String)> = Vec::new();
    files.extend(limit.map(|limit| (LIMIT_V1, limit.to_string())));
    match (limit, swap) {
        (_, Some(swap)) => files.push((SWAP_V1, swap.to_string())),
        // Without a memory limit the old limit of both together would still be one.
        (Some(..0), None) if node.read(SWAP_V1).is_ok() => files.push((SWAP_V1, "-1".to_owned())),
        _ => {}
    }
    match write_together(node, &files) {
        Err(error) if error.is_absent() && swap.is_some_and(|swap| swap < 0) => Ok(()),
        Err(error) if error.errno() == Some(Errno::BUSY) => Err(in_use(node, limit.unwrap_or(0))),
        done => done,
    }
}

fn in_use(node: &Node, limit: i64) -> CgroupError {
    let number = |name| node.read_number(name).unwrap_or(0);
    let (usage, peak) = match node.version {
        Version::V1 => ("memory.usage_in_bytes", "memory.max_usage_in_bytes"),
        Version::V2 => ("memory.current", "memory.peak"),
    };
    CgroupError::MemoryInUse { limit, usage: number(usage), peak: number(peak) }
}

/// Kernel memory has no limit of its own since Linux 5.16: the file is there and does nothing, says
/// that it does nothing, or is gone.
fn write_if_meant(node: &Node, name: &str, value: i64) -> Result<(), CgroupError> {
    match node.write_if_there(name, &value.to_string()) {
        Err(error) if matches!(error.errno(), Some(NOT_SUPPORTED | Errno::OPNOTSUPP)) => Ok(()),
        done => done.map(drop),
    }
}

fn limit_v2(node: &Node, memory: &Memory) -> Result<(), CgroupError> {
    refuse_on_v2(memory)?;
    let limit = set(memory.limit);
    if memory.check_before_update == Some(true) && limit.is_some_and(|limit| limit > 0) {
        let usage = node.read_number("memory.current")?;
        if limit.is_some_and(|limit| usage >= limit as u64) {
            return Err(in_use(node, limit.unwrap_or(0)));
        }
    }
    write_swap_v2(node, limit, set(memory.swap))?;
    if let Some(limit) = limit {
        node.write("memory.max", &or_max(limit))?;
    }
    if let Some(reservation) = set(memory.reservation) {
        node.write("memory.low", &or_max(reservation))?;
    }
    Ok(())
}

fn refuse_on_v2(memory: &Memory) -> Result<(), CgroupError> {
    let only_v1 = [
        ("kernel TCP memory", set(memory.kernel_tcp).is_some()),
        ("memory swappiness", swappiness(memory).is_some()),
        ("disableOOMKiller", memory.disable_oom_killer == Some(true)),
    ];
    match only_v1.iter().find(|(_, there)| *there) {
        Some((setting, _)) => Err(CgroupError::OnlyV1 { setting: (*setting).to_owned() }),
        None => Ok(()),
    }
}

/// Swap first: a lower memory limit pushes pages out, and has to know how many may go.
fn write_swap_v2(node: &Node, limit: Option<i64>, swap: Option<i64>) -> Result<(), CgroupError> {
    // An update of swap alone is measured against the limit that is there.
    let memory = match (limit, swap) {
        (None, Some(1..)) => match node.read_number("memory.max")? {
            u64::MAX => Some(-1),
            bytes => Some(bytes as i64),
        },
        _ => limit,
    };
    let value = match swap_limit(swap, memory) {
        SwapLimit::Unset => return Ok(()),
        SwapLimit::Unlimited => "max".to_owned(),
        SwapLimit::Bytes(bytes) => bytes.to_string(),
        SwapLimit::BelowMemory => {
            let (swap, memory) = (swap.unwrap_or(0), memory.unwrap_or(0));
            return Err(CgroupError::SwapBelowMemory { swap, memory });
        }
    };
    let there = node.write_if_there("memory.swap.max", &value)?;
    match there || value == "max" || value == "0" {
        true => Ok(()),
        // A kernel that does not count swap cannot hold to a number.
        false => node.write("memory.swap.max", &value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::testing::{ScratchDir, scratch_cgroup};

    fn v2(files: &[(&str, &str)]) -> ScratchDir {
        let dir = ScratchDir::new(files);
        dir.add("cgroup.controllers", "memory\n");
        dir
    }

    #[test]
    fn version_2_keeps_swap_apart_from_memory() {
        let dir =
            v2(&[("memory.max", "max\n"), ("memory.swap.max", "max\n"), ("memory.low", "0\n")]);
        let cgroup = scratch_cgroup(&dir, "");
        let memory = Memory {
            limit: Some(1000),
            swap: Some(1500),
            reservation: Some(10),
            kernel: Some(5),
            ..Memory::default()
        };
        limit(&cgroup, &memory).unwrap();
        assert_eq!(dir.text("memory.max"), "1000");
        assert_eq!(dir.text("memory.swap.max"), "500");
        assert_eq!(dir.text("memory.low"), "10");
        limit(&cgroup, &Memory { swap: Some(1200), ..Memory::default() }).unwrap();
        assert_eq!(dir.text("memory.swap.max"), "200");
        limit(&cgroup, &Memory { limit: Some(-1), ..Memory::default() }).unwrap();
        assert_eq!(dir.text("memory.max"), "max");
        assert_eq!(dir.text("memory.swap.max"), "max");
    }

    #[test]
    fn swap_that_cannot_be_counted_matters_only_where_it_has_a_limit() {
        let dir = v2(&[("memory.max", "max\n")]);
        let cgroup = scratch_cgroup(&dir, "");
        let with_swap = |swap| Memory { limit: Some(1000), swap: Some(swap), ..Memory::default() };
        limit(&cgroup, &with_swap(1000)).unwrap();
        limit(&cgroup, &with_swap(-1)).unwrap();
        assert!(limit(&cgroup, &with_swap(1500)).unwrap_err().is_absent());
        assert_eq!(
            limit(&cgroup, &with_swap(900)).unwrap_err().to_string(),
            "memory+swap limit 900 should be >= memory limit 1000"
        );
    }

    #[test]
    fn a_limit_below_the_use_is_refused_where_that_is_asked_for() {
        let dir = v2(&[("memory.max", "max\n"), ("memory.current", "5000\n")]);
        let cgroup = scratch_cgroup(&dir, "");
        let careful =
            Memory { check_before_update: Some(true), limit: Some(1000), ..Memory::default() };
        assert_eq!(
            limit(&cgroup, &careful).unwrap_err().to_string(),
            "unable to set memory limit to 1000 (current usage: 5000, peak usage: 0)"
        );
        assert_eq!(dir.text("memory.max"), "max\n");
    }

    #[test]
    fn version_2_refuses_version_1_s_switches_by_name() {
        let dir = v2(&[]);
        let cgroup = scratch_cgroup(&dir, "");
        let error = |memory: Memory| limit(&cgroup, &memory).unwrap_err().to_string();
        assert_eq!(
            error(Memory { swappiness: Some(10), ..Memory::default() }),
            "cannot set memory swappiness: cgroup version 2 has no such limit"
        );
        let harmless = Memory {
            disable_oom_killer: Some(false),
            swappiness: Some(u64::MAX),
            ..Memory::default()
        };
        limit(&cgroup, &harmless).unwrap();
    }
}
