//! `unified`: files of version 2 by name, written as they stand.
//!
//! On a hybrid host the files of controllers that version 1 has taken do not exist on version 2; such a
//! line is refused before anything is written, as every line is on a host without version 2.

use std::collections::BTreeMap;

use crate::cgroup::Cgroup;
use crate::cgroup::controller::Controller;
use crate::cgroup::error::CgroupError;
use crate::cgroup::node::Node;

/// Whether every line can be meant for this host.
pub(super) fn check(cgroup: &Cgroup, lines: &BTreeMap<String, String>) -> Result<(), CgroupError> {
    let node = node(cgroup)?;
    for file in lines.keys() {
        let name = file.split('.').next().unwrap_or("");
        if name.is_empty() || name == file || file.contains('/') {
            return Err(CgroupError::UnifiedName { file: file.clone() });
        }
        if let Some(controller) = Controller::from_v2_name(name)
            && !node.controllers()?.contains(controller)
        {
            return Err(match &node.refusal {
                Some(refusal) => refusal.clone(),
                None => CgroupError::UnifiedController { file: file.clone(), controller },
            });
        }
    }
    Ok(())
}

/// Writes each value, line by line where it has several, as one file of one device each needs it.
pub(super) fn write(cgroup: &Cgroup, lines: &BTreeMap<String, String>) -> Result<(), CgroupError> {
    if lines.is_empty() {
        return Ok(());
    }
    let node = node(cgroup)?;
    for (file, value) in lines {
        value.trim_end().split('\n').try_for_each(|line| node.write(file, line))?;
    }
    Ok(())
}

fn node(cgroup: &Cgroup) -> Result<&Node, CgroupError> {
    cgroup.unified().ok_or(CgroupError::UnifiedOnV1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::testing::{ScratchDir, scratch_cgroup};

    fn lines(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(file, value)| (file.to_string(), value.to_string())).collect()
    }

    #[test]
    fn values_are_written_as_they_stand() {
        let dir = ScratchDir::new(&[
            ("cgroup.controllers", "pids\n"),
            ("pids.max", ""),
            ("cgroup.max.depth", ""),
        ]);
        let cgroup = scratch_cgroup(&dir, "");
        let wanted = lines(&[("pids.max", "7\n"), ("cgroup.max.depth", "2")]);
        check(&cgroup, &wanted).unwrap();
        write(&cgroup, &wanted).unwrap();
        assert_eq!(dir.text("pids.max"), "7");
        assert_eq!(dir.text("cgroup.max.depth"), "2");
    }

    #[test]
    fn names_and_controllers_are_checked_before_anything_is_written() {
        let dir = ScratchDir::new(&[("cgroup.controllers", "pids\n")]);
        let error = |file| {
            check(&scratch_cgroup(&dir, ""), &lines(&[(file, "1")])).unwrap_err().to_string()
        };
        for bad in ["../pids.max", "pids", ".max", "a.b/c"] {
            assert_eq!(
                error(bad),
                format!(
                    "invalid configuration: unified resource {bad:?} is no name of a file like \"memory.high\""
                )
            );
        }
        assert_eq!(
            error("memory.high"),
            "invalid configuration: unified resource \"memory.high\": the memory controller is not in the cgroup version 2 hierarchy"
        );
        let v1 = ScratchDir::new(&[]);
        assert_eq!(
            check(&scratch_cgroup(&v1, "pids"), &lines(&[("pids.max", "1")]))
                .unwrap_err()
                .to_string(),
            "invalid configuration: cannot use unified resources on cgroup version 1"
        );
    }
}
