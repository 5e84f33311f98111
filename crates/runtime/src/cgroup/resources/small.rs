//! The controllers with one or two files: tasks, huge pages, RDMA, network marks.

use std::collections::BTreeMap;

use dhow_spec::runtime::{HugepageLimit, Network, Pids, Rdma};

use crate::cgroup::Cgroup;
use crate::cgroup::controller::Controller;
use crate::cgroup::error::CgroupError;
use crate::cgroup::hierarchy::Version;

/// Zero and below mean no limit.
pub(super) fn limit_pids(cgroup: &Cgroup, pids: &Pids) -> Result<(), CgroupError> {
    let Some(limit) = pids.limit else { return Ok(()) };
    let node = cgroup.place(Controller::Pids, "pids limit")?;
    match limit {
        ..=0 => node.write("pids.max", "max"),
        limit => node.write("pids.max", &limit.to_string()),
    }
}

/// Pages in use and, where the kernel counts them (5.7), pages reserved.
pub(super) fn limit_huge_pages(
    cgroup: &Cgroup,
    limits: &[HugepageLimit],
) -> Result<(), CgroupError> {
    for HugepageLimit { page_size, limit } in limits {
        let setting = format!("hugetlb limit of {page_size}");
        let node = cgroup.place(Controller::Hugetlb, &setting)?;
        let suffix = match node.version {
            Version::V1 => "limit_in_bytes",
            Version::V2 => "max",
        };
        let limit = limit.to_string();
        node.write(&format!("hugetlb.{page_size}.{suffix}"), &limit)?;
        node.write_if_there(&format!("hugetlb.{page_size}.rsvd.{suffix}"), &limit)?;
    }
    Ok(())
}

pub(super) fn limit_rdma(
    cgroup: &Cgroup,
    limits: &BTreeMap<String, Rdma>,
) -> Result<(), CgroupError> {
    for (device, Rdma { hca_handles, hca_objects }) in limits {
        let node = cgroup.place(Controller::Rdma, "rdma limit")?;
        let mut line = device.clone();
        if let Some(handles) = hca_handles {
            line += &format!(" hca_handle={handles}");
        }
        if let Some(objects) = hca_objects {
            line += &format!(" hca_object={objects}");
        }
        node.write("rdma.max", &line)?;
    }
    Ok(())
}

/// Version 1 only: version 2 leaves marking packets to eBPF and netfilter.
pub(super) fn mark_network(cgroup: &Cgroup, network: &Network) -> Result<(), CgroupError> {
    if let Some(class) = network.class_id.filter(|class| *class != 0) {
        let node = cgroup.place_on_v1(Controller::NetCls, "net_cls class")?;
        node.write("net_cls.classid", &class.to_string())?;
    }
    for priority in &network.priorities {
        let node = cgroup.place_on_v1(Controller::NetPrio, "net_prio priority")?;
        node.write("net_prio.ifpriomap", &format!("{} {}", priority.name, priority.priority))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::testing::{ScratchDir, scratch_cgroup};

    #[test]
    fn pids_without_a_limit_are_max() {
        let dir = ScratchDir::new(&[("pids.max", "")]);
        let cgroup = scratch_cgroup(&dir, "pids");
        for (limit, text) in [(Some(-1), "max"), (Some(0), "max"), (Some(9), "9"), (None, "9")] {
            limit_pids(&cgroup, &Pids { limit }).unwrap();
            assert_eq!(dir.text("pids.max"), text);
        }
    }

    #[test]
    fn huge_pages_are_limited_in_use_and_where_possible_reserved() {
        let limits = [HugepageLimit { page_size: "2MB".to_owned(), limit: 4096 }];
        let old = ScratchDir::new(&[("hugetlb.2MB.limit_in_bytes", "")]);
        limit_huge_pages(&scratch_cgroup(&old, "hugetlb"), &limits).unwrap();
        assert_eq!(old.text("hugetlb.2MB.limit_in_bytes"), "4096");
        let new = ScratchDir::new(&[
            ("cgroup.controllers", "hugetlb\n"),
            ("hugetlb.2MB.max", ""),
            ("hugetlb.2MB.rsvd.max", ""),
        ]);
        limit_huge_pages(&scratch_cgroup(&new, ""), &limits).unwrap();
        assert_eq!(new.text("hugetlb.2MB.rsvd.max"), "4096");
    }

    #[test]
    fn rdma_lines_hold_what_is_set() {
        let dir = ScratchDir::new(&[("rdma.max", "")]);
        let limits = BTreeMap::from([(
            "mlx5_1".to_owned(),
            Rdma { hca_handles: Some(3), hca_objects: Some(10000) },
        )]);
        limit_rdma(&scratch_cgroup(&dir, "rdma"), &limits).unwrap();
        assert_eq!(dir.text("rdma.max"), "mlx5_1 hca_handle=3 hca_object=10000");
    }

    #[test]
    fn network_marks_need_version_1() {
        let dir = ScratchDir::new(&[("cgroup.controllers", "pids\n")]);
        let network = Network { class_id: Some(1), priorities: Vec::new() };
        assert_eq!(
            mark_network(&scratch_cgroup(&dir, ""), &network).unwrap_err().to_string(),
            "cannot set net_cls class: this host has no cgroup hierarchy with the net_cls controller"
        );
        let dir = ScratchDir::new(&[("net_cls.classid", "")]);
        mark_network(&scratch_cgroup(&dir, "net_cls"), &network).unwrap();
        assert_eq!(dir.text("net_cls.classid"), "1");
    }
}
