//! What a container sees of its cgroups: one directory for each hierarchy.

use std::path::PathBuf;

use super::Cgroup;
use super::hierarchy::Version;

/// One hierarchy as a mount in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CgroupMount {
    /// The unified hierarchy.
    pub(crate) v2: bool,
    /// The directory that it gets below `/sys/fs/cgroup`.
    pub(crate) name: String,
    /// What a version 1 mount of it says.
    pub(crate) options: String,
    /// Other names for `name`: each controller of several in one hierarchy.
    pub(crate) aliases: Vec<String>,
    /// The container's own directory in it, on the host.
    pub(crate) place: PathBuf,
}

impl Cgroup {
    /// One mount for each hierarchy that the container is in.
    pub(crate) fn mounts(&self) -> Vec<CgroupMount> {
        if self.nodes.is_empty() && self.waits_for_process() {
            // Where it will be, systemd tells only later; the tree itself is known.
            return vec![CgroupMount {
                v2: true,
                name: "unified".to_owned(),
                options: String::new(),
                aliases: Vec::new(),
                place: PathBuf::from("/sys/fs/cgroup"),
            }];
        }
        self.nodes
            .iter()
            .map(|node| {
                let v2 = node.version == Version::V2;
                let named = node.keys.first().and_then(|key| key.strip_prefix("name="));
                let (name, options) = match (v2, named) {
                    (true, _) => ("unified".to_owned(), String::new()),
                    (false, Some(name)) => (name.to_owned(), format!("none,name={name}")),
                    (false, None) => (node.keys.join(","), node.keys.join(",")),
                };
                let several = !v2 && node.keys.len() > 1;
                let aliases = if several { node.keys.clone() } else { Vec::new() };
                CgroupMount { v2, name, options, aliases, place: node.path.clone() }
            })
            .collect()
    }
}
