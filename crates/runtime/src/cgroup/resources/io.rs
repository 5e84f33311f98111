//! Block devices: weights and throttles.

use dhow_spec::runtime::{BlockIo, Throttle, WeightDevice};

use super::convert::io_weight;
use crate::cgroup::Cgroup;
use crate::cgroup::controller::Controller;
use crate::cgroup::error::CgroupError;
use crate::cgroup::hierarchy::Version;
use crate::cgroup::node::Node;

pub(super) fn limit(cgroup: &Cgroup, io: &BlockIo) -> Result<(), CgroupError> {
    let Some(setting) = first_setting(io) else { return Ok(()) };
    let node = cgroup.place(Controller::Io, setting)?;
    match node.version {
        Version::V1 => limit_v1(node, io),
        Version::V2 => limit_v2(node, io),
    }
}

fn set(weight: Option<u16>) -> Option<u16> {
    weight.filter(|weight| *weight != 0)
}

fn first_setting(io: &BlockIo) -> Option<&'static str> {
    let settings = [
        ("blkio weight", set(io.weight).is_some()),
        ("blkio leaf weight", set(io.leaf_weight).is_some()),
        ("blkio weight by device", !io.weight_device.is_empty()),
        ("blkio throttle", throttles(io).next().is_some()),
    ];
    settings.iter().find(|(_, there)| *there).map(|(name, _)| *name)
}

/// Every throttle with its file of version 1 and its key in version 2's `io.max`.
fn throttles(io: &BlockIo) -> impl Iterator<Item = (&'static str, &'static str, &Throttle)> {
    let lists = [
        ("blkio.throttle.read_bps_device", "rbps", &io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", "wbps", &io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", "riops", &io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", "wiops", &io.throttle_write_iops_device),
    ];
    lists.into_iter().flat_map(|(file, key, list)| list.iter().map(move |one| (file, key, one)))
}

/// Weights are the scheduler's: BFQ's files where it is built in, else those of CFQ, which is gone since
/// Linux 5.0 and whose missing file then names the reason.
fn limit_v1(node: &Node, io: &BlockIo) -> Result<(), CgroupError> {
    if let Some(weight) = set(io.weight) {
        write_first(node, ["blkio.bfq.weight", "blkio.weight"], &weight.to_string())?;
    }
    if let Some(weight) = set(io.leaf_weight) {
        node.write("blkio.leaf_weight", &weight.to_string())?;
    }
    for WeightDevice { major, minor, weight, leaf_weight } in &io.weight_device {
        if let Some(weight) = set(*weight) {
            let files = ["blkio.bfq.weight_device", "blkio.weight_device"];
            write_first(node, files, &format!("{major}:{minor} {weight}"))?;
        }
        if let Some(weight) = set(*leaf_weight) {
            node.write("blkio.leaf_weight_device", &format!("{major}:{minor} {weight}"))?;
        }
    }
    for (file, _, Throttle { major, minor, rate }) in throttles(io) {
        node.write(file, &format!("{major}:{minor} {rate}"))?;
    }
    Ok(())
}

fn limit_v2(node: &Node, io: &BlockIo) -> Result<(), CgroupError> {
    let leaf = |one: &WeightDevice| set(one.leaf_weight).is_some();
    if set(io.leaf_weight).is_some() || io.weight_device.iter().any(leaf) {
        return Err(CgroupError::OnlyV1 { setting: "blkio leaf weight".to_owned() });
    }
    if let Some(weight) = set(io.weight) {
        write_weight_v2(node, "", weight)?;
    }
    for WeightDevice { major, minor, weight, .. } in &io.weight_device {
        if let Some(weight) = set(*weight) {
            write_weight_v2(node, &format!("{major}:{minor} "), weight)?;
        }
    }
    for (_, key, Throttle { major, minor, rate }) in throttles(io) {
        let rate = if *rate == 0 { "max".to_owned() } else { rate.to_string() };
        node.write("io.max", &format!("{major}:{minor} {key}={rate}"))?;
    }
    Ok(())
}

/// BFQ takes the specification's scale as it is; the kernel's own weights have a wider one.
fn write_weight_v2(node: &Node, device: &str, weight: u16) -> Result<(), CgroupError> {
    if node.write_if_there("io.bfq.weight", &format!("{device}{weight}"))? {
        return Ok(());
    }
    node.write("io.weight", &format!("{device}{}", io_weight(weight)))
}

fn write_first(node: &Node, names: [&str; 2], value: &str) -> Result<(), CgroupError> {
    match node.write_if_there(names[0], value)? {
        true => Ok(()),
        false => node.write(names[1], value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::testing::{ScratchDir, scratch_cgroup};

    fn sample() -> BlockIo {
        BlockIo {
            weight: Some(500),
            weight_device: vec![WeightDevice {
                major: 8,
                minor: 0,
                weight: Some(300),
                leaf_weight: None,
            }],
            throttle_read_bps_device: vec![Throttle { major: 8, minor: 16, rate: 1000 }],
            ..BlockIo::default()
        }
    }

    #[test]
    fn weights_go_to_the_scheduler_that_is_there() {
        let bfq = ScratchDir::new(&[
            ("cgroup.controllers", "io\n"),
            ("io.bfq.weight", ""),
            ("io.weight", ""),
            ("io.max", ""),
        ]);
        limit(&scratch_cgroup(&bfq, ""), &sample()).unwrap();
        assert_eq!(bfq.text("io.bfq.weight"), "8:0 300");
        assert_eq!(bfq.text("io.max"), "8:16 rbps=1000");

        let plain =
            ScratchDir::new(&[("cgroup.controllers", "io\n"), ("io.weight", ""), ("io.max", "")]);
        limit(&scratch_cgroup(&plain, ""), &sample()).unwrap();
        assert_eq!(plain.text("io.weight"), "8:0 2930");
    }

    #[test]
    fn version_1_has_a_file_for_each_kind() {
        let dir = ScratchDir::new(&[
            ("blkio.weight", ""),
            ("blkio.weight_device", ""),
            ("blkio.throttle.read_bps_device", ""),
        ]);
        limit(&scratch_cgroup(&dir, "blkio"), &sample()).unwrap();
        assert_eq!(dir.text("blkio.weight"), "500");
        assert_eq!(dir.text("blkio.weight_device"), "8:0 300");
        assert_eq!(dir.text("blkio.throttle.read_bps_device"), "8:16 1000");
    }
}
