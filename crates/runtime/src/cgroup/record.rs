//! What a container's state file keeps of its cgroup, so that no later command has to search for it.
//!
//! Directories stand by controller, as in the `cgroup_paths` of runc's `state.json`, the unified hierarchy's
//! under the empty name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Cgroup;
use super::error::CgroupError;
use super::hierarchy::{Hierarchies, Hierarchy, Version};
use super::node::Node;
use super::path::CgroupPath;
use super::systemd::Unit;

/// One cgroup: where it is, or where it is about to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupRecord {
    paths: BTreeMap<String, PathBuf>,
    /// The systemd unit that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit: Option<Unit>,
}

impl CgroupRecord {
    /// The directories of this record and of `other` in the same hierarchies.
    pub(crate) fn pairs_with<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (PathBuf, PathBuf)> + 'a {
        let pair =
            |(key, path): (&String, &PathBuf)| Some((path.clone(), other.paths.get(key)?.clone()));
        self.paths.iter().filter_map(pair)
    }
}

impl Cgroup {
    /// The record of a cgroup that `create` would make at `path`, to be written down before it is made.
    pub(crate) fn intended(
        hierarchies: &Hierarchies,
        path: &CgroupPath,
    ) -> Result<CgroupRecord, CgroupError> {
        let mut paths = BTreeMap::new();
        let mut add = |hierarchy: &Hierarchy, dir: PathBuf| {
            paths.extend(hierarchy.keys().into_iter().map(|key| (key, dir.clone())));
        };
        let CgroupPath::Scope(scope) = path else {
            for hierarchy in hierarchies.iter() {
                if let Some(dir) = path.directory(hierarchies, hierarchy)? {
                    add(hierarchy, dir);
                }
            }
            return Ok(CgroupRecord { paths, unit: None });
        };
        let unit = Unit::of(scope)?;
        // A user's manager has to be asked where its scopes are; to stop one, its name is enough.
        if unit.is_of_host() {
            let place = unit.place(scope)?;
            hierarchies.iter().for_each(|one| add(one, one.mount.join(&place)));
        }
        Ok(CgroupRecord { paths, unit: Some(unit) })
    }

    /// The record from which `from_record` makes the same cgroup again.
    pub(crate) fn record(&self) -> CgroupRecord {
        let pairs = self
            .nodes
            .iter()
            .flat_map(|node| node.keys.iter().map(|key| (key.clone(), node.path.clone())));
        CgroupRecord { paths: pairs.collect(), unit: self.unit.clone() }
    }

    /// The cgroup of a record. Whether its directories still exist, the first use tells.
    pub(crate) fn from_record(record: &CgroupRecord) -> Cgroup {
        let mut nodes: Vec<(PathBuf, Vec<String>)> = Vec::new();
        for (key, path) in &record.paths {
            match nodes.iter_mut().find(|(known, _)| known == path) {
                Some((_, keys)) => keys.push(key.clone()),
                None => nodes.push((path.clone(), vec![key.clone()])),
            }
        }
        let version = |keys: &[String]| if keys == [""] { Version::V2 } else { Version::V1 };
        let nodes = nodes.into_iter().map(|(path, keys)| Node::new(version(&keys), keys, path));
        Cgroup { unit: record.unit.clone(), ..Cgroup::of(nodes.collect()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_brings_back_the_same_directories() {
        let text = r#"{"paths":{"":"/c/unified/x","cpu":"/c/cpu,cpuacct/x","cpuacct":"/c/cpu,cpuacct/x","name=systemd":"/c/systemd/x","pids":"/c/pids/x"}}"#;
        let record: CgroupRecord = serde_json::from_str(text).unwrap();
        let cgroup = Cgroup::from_record(&record);
        assert_eq!(cgroup.nodes.len(), 4);
        assert_eq!(cgroup.nodes[0].version, Version::V2);
        assert_eq!(cgroup.record(), record);
        assert_eq!(serde_json::to_string(&cgroup.record()).unwrap(), text);
    }
}
