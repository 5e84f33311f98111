//! Processor time and placement: the `cpu` and `cpuset` controllers.

use std::path::Path;

use dhow_spec::runtime::Cpu;
use rustix::io::Errno;

use super::convert::{or_max, weight_of_shares};
use super::write_together;
use crate::cgroup::Cgroup;
use crate::cgroup::controller::Controller;
use crate::cgroup::error::CgroupError;
use crate::cgroup::hierarchy::Version;
use crate::cgroup::node::{Node, read_text, write_file};

const RT_PERIOD: &str = "cpu.rt_period_us";
const RT_RUNTIME: &str = "cpu.rt_runtime_us";

pub(super) fn limit(cgroup: &Cgroup, cpu: &Cpu) -> Result<(), CgroupError> {
    for (file, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            cgroup.place(Controller::Cpuset, file)?.write(file, value)?;
        }
    }
    let Some(setting) = first_setting(cpu) else { return Ok(()) };
    let node = cgroup.place(Controller::Cpu, setting)?;
    match node.version {
        Version::V1 => limit_v1(node, cpu),
        Version::V2 => limit_v2(node, cpu),
    }
}

/// The name of one setting of the `cpu` controller that is there, for the message that it is not.
fn first_setting(cpu: &Cpu) -> Option<&'static str> {
    let settings = [
        ("cpu shares", set(cpu.shares).is_some()),
        ("cpu quota", cpu.quota.is_some_and(|quota| quota != 0)),
        ("cpu period", set(cpu.period).is_some()),
        ("cpu burst", cpu.burst.is_some()),
        ("cpu idle", cpu.idle.is_some()),
        ("cpu realtime period", set(cpu.realtime_period).is_some()),
        ("cpu realtime runtime", cpu.realtime_runtime.is_some_and(|runtime| runtime != 0)),
    ];
    settings.iter().find(|(_, there)| *there).map(|(name, _)| *name)
}

fn set(value: Option<u64>) -> Option<u64> {
    value.filter(|value| *value != 0)
}

fn limit_v1(node: &Node, cpu: &Cpu) -> Result<(), CgroupError> {
    if let Some(shares) = set(cpu.shares) {
        node.write("cpu.shares", &shares.to_string())?;
    }
    if let Some(idle) = cpu.idle {
        node.write("cpu.idle", &idle.to_string())?;
    }
    let mut files = Vec::new();
    if let Some(period) = set(cpu.period) {
        files.push(("cpu.cfs_period_us", period.to_string()));
    }
    if let Some(quota) = cpu.quota.filter(|quota| *quota != 0) {
        files.push(("cpu.cfs_quota_us", quota.max(-1).to_string()));
    }
    if let Some(burst) = cpu.burst {
        files.push(("cpu.cfs_burst_us", burst.to_string()));
    }
    write_together(node, &files)?;
    limit_realtime(node, cpu)
}

fn limit_realtime(node: &Node, cpu: &Cpu) -> Result<(), CgroupError> {
    let mut files = Vec::new();
    if let Some(period) = set(cpu.realtime_period) {
        files.push((RT_PERIOD, period.to_string()));
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|runtime| *runtime != 0) {
        files.push((RT_RUNTIME, runtime.to_string()));
    }
    match write_together(node, &files) {
        Err(error) if error.errno() == Some(Errno::INVAL) => {
            let above = node.path.parent().unwrap_or(&node.path);
            fill_realtime(above, &files)?;
            write_together(node, &files)
        }
        done => done,
    }
}

/// A new version 1 cgroup has no real-time share, and its children cannot have more than it: cgroups
/// above that have none get the values asked for, from the top down. One that has some stays.
fn fill_realtime(dir: &Path, files: &[(&str, String)]) -> Result<(), CgroupError> {
    if read_text(&dir.join(RT_RUNTIME))?.trim() != "0" {
        return Ok(());
    }
    if let Some(above) = dir.parent() {
        fill_realtime(above, files)?;
    }
    files.iter().try_for_each(|(file, value)| write_file(&dir.join(file), value))
}

fn limit_v2(node: &Node, cpu: &Cpu) -> Result<(), CgroupError> {
    if set(cpu.realtime_period).is_some() || cpu.realtime_runtime.is_some_and(|time| time != 0) {
        return Err(CgroupError::OnlyV1 { setting: "cpu realtime runtime and period".to_owned() });
    }
    if let Some(idle) = cpu.idle {
        node.write("cpu.idle", &idle.to_string())?;
    }
    // An idle group has no weight of its own and refuses one.
    if let Some(shares) = set(cpu.shares).filter(|_| cpu.idle != Some(1)) {
        node.write("cpu.weight", &weight_of_shares(shares).to_string())?;
    }
    let mut files = Vec::new();
    let quota = cpu.quota.filter(|quota| *quota != 0);
    if let Some(value) = max_line(node, quota, set(cpu.period))? {
        files.push(("cpu.max", value));
    }
    if let Some(burst) = cpu.burst {
        files.push(("cpu.max.burst", burst.to_string()));
    }
    write_together(node, &files)
}

/// `cpu.max` holds quota and period; the kernel keeps a period that is left out, not a quota.
fn max_line(
    node: &Node,
    quota: Option<i64>,
    period: Option<u64>,
) -> Result<Option<String>, CgroupError> {
    Ok(match (quota, period) {
        (None, None) => None,
        (Some(quota), None) => Some(or_max(quota)),
        (Some(quota), Some(period)) => Some(format!("{} {period}", or_max(quota))),
        (None, Some(period)) => {
            let now = node.read("cpu.max")?;
            Some(format!("{} {period}", now.split_ascii_whitespace().next().unwrap_or("max")))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::testing::{ScratchDir, scratch_cgroup};

    #[test]
    fn version_2_gets_weights_and_one_line_for_quota_and_period() {
        let dir = ScratchDir::new(&[
            ("cgroup.controllers", "cpuset cpu\n"),
            ("cpu.weight", "100\n"),
            ("cpu.max", "50000 100000\n"),
            ("cpu.max.burst", "0\n"),
            ("cpuset.cpus", "\n"),
        ]);
        let cgroup = scratch_cgroup(&dir, "");
        let cpu = Cpu {
            shares: Some(1024),
            period: Some(200_000),
            burst: Some(7),
            cpus: Some("0-1".to_owned()),
            mems: Some(String::new()),
            ..Cpu::default()
        };
        limit(&cgroup, &cpu).unwrap();
        assert_eq!(dir.text("cpu.weight"), "100");
        assert_eq!(dir.text("cpu.max"), "50000 200000");
        assert_eq!(dir.text("cpu.max.burst"), "7");
        assert_eq!(dir.text("cpuset.cpus"), "0-1");
        limit(&cgroup, &Cpu { quota: Some(-1), ..Cpu::default() }).unwrap();
        assert_eq!(dir.text("cpu.max"), "max");
    }

    #[test]
    fn version_2_refuses_what_it_does_not_have() {
        let dir = ScratchDir::new(&[("cgroup.controllers", "cpu\n")]);
        let cgroup = scratch_cgroup(&dir, "");
        let realtime = Cpu { realtime_runtime: Some(5), ..Cpu::default() };
        assert_eq!(
            limit(&cgroup, &realtime).unwrap_err().to_string(),
            "cannot set cpu realtime runtime and period: cgroup version 2 has no such limit"
        );
        let cpuset = Cpu { cpus: Some("0".to_owned()), ..Cpu::default() };
        assert_eq!(
            limit(&cgroup, &cpuset).unwrap_err().to_string(),
            "cannot set cpuset.cpus: this host has no cgroup hierarchy with the cpuset controller"
        );
    }

    #[test]
    fn real_time_shares_are_filled_in_above_only_where_there_are_none() {
        let dir = ScratchDir::new(&[
            (RT_RUNTIME, "950000\n"),
            (RT_PERIOD, "1000000\n"),
            ("a/cpu.rt_runtime_us", "0\n"),
            ("a/cpu.rt_period_us", "1000000\n"),
        ]);
        let files = [(RT_PERIOD, "2000".to_owned()), (RT_RUNTIME, "1000".to_owned())];
        fill_realtime(&dir.path().join("a"), &files).unwrap();
        assert_eq!(dir.text("a/cpu.rt_runtime_us"), "1000");
        assert_eq!(dir.text("a/cpu.rt_period_us"), "2000");
        assert_eq!(dir.text(RT_RUNTIME), "950000\n");
    }
}
