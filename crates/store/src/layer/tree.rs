//! Why a tree on disk could not be read, copied or changed.

use std::fmt;

use super::error::{ApplyFault, Path};

/// What went wrong with a tree, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeError {
    /// Below the tree's root; empty for the root.
    pub path: Vec<u8>,
    /// What.
    pub fault: ApplyFault,
}

impl TreeError {
    pub(crate) fn at(path: &[u8], name: &[u8]) -> impl FnOnce(ApplyFault) -> Self {
        let path = join(path, name);
        move |fault| Self { path, fault }
    }
}

impl TreeError {
    /// Whether links on the way lead round in a circle.
    pub fn is_loop(&self) -> bool {
        matches!(self.fault, ApplyFault::Kernel { errno: rustix::io::Errno::LOOP, .. })
    }
}

/// A path and a name in it.
pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    match (path, name) {
        (b"", name) => name.to_vec(),
        (path, b"") => path.to_vec(),
        (path, name) => [path, b"/", name].concat(),
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Path(&self.path), self.fault)
    }
}

impl std::error::Error for TreeError {}
