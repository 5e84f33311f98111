//! Which namespaces are made, which are joined, and who has to do it.
//!
//! One clone makes what can be made by it. The rest follows from two facts: a new namespace belongs to
//! the user namespace that its maker is in, and joining one needs rights over its owner. So namespaces
//! given by path are joined while the runtime's own rights still count, and new ones are made after a
//! given user namespace is entered.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use dhow_spec::runtime::{Linux, NamespaceKind};
use dhow_sys::Namespaces;

use crate::error::Error;

/// A namespace given by path, opened.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) kind: Namespaces,
    pub(crate) file: OwnedFd,
    pub(crate) path: String,
}

/// What a container's namespaces come to.
#[derive(Debug, Default)]
pub(crate) struct NamespacePlan {
    /// New ones.
    pub(crate) new: Namespaces,
    /// Those given by path, in the order of the configuration.
    pub(crate) given: Vec<Given>,
}

/// The bit of a kind.
pub(crate) fn bit(kind: NamespaceKind) -> Namespaces {
    match kind {
        NamespaceKind::Pid => Namespaces::PID,
        NamespaceKind::Network => Namespaces::NETWORK,
        NamespaceKind::Mount => Namespaces::MOUNT,
        NamespaceKind::Ipc => Namespaces::IPC,
        NamespaceKind::Uts => Namespaces::UTS,
        NamespaceKind::User => Namespaces::USER,
        NamespaceKind::Cgroup => Namespaces::CGROUP,
        NamespaceKind::Time => Namespaces::TIME,
    }
}

impl NamespacePlan {
    /// Reads `linux.namespaces` and opens those that are given by path.
    pub(crate) fn of(linux: &Linux) -> Result<Self, Error> {
        let mut plan = Self::default();
        for namespace in &linux.namespaces {
            let kind = bit(namespace.kind);
            match namespace.path.as_deref().filter(|path| !path.is_empty()) {
                Some(path) => {
                    plan.given.push(Given { kind, file: open(path)?, path: path.to_owned() })
                }
                None => plan.new = plan.new.with(kind),
            }
        }
        plan.check(linux)?;
        Ok(plan)
    }

    fn check(&self, linux: &Linux) -> Result<(), Error> {
        let refuse = |field, reason| Err(Error::Refused { field, value: String::new(), reason });
        let mapped = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
        if mapped && !self.has(Namespaces::USER) {
            return refuse("linux.uidMappings", "id mappings need a user namespace");
        }
        if self.new.contains(Namespaces::USER)
            && (linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty())
        {
            return refuse("linux.uidMappings", "a new user namespace needs uid and gid mappings");
        }
        if !linux.time_offsets.is_empty() && !self.new.contains(Namespaces::TIME) {
            return refuse("linux.timeOffsets", "time offsets need a new time namespace");
        }
        Ok(())
    }

    /// Whether the container has a namespace of this kind that is not the runtime's.
    pub(crate) fn has(&self, kind: Namespaces) -> bool {
        self.new.contains(kind) || self.joins(kind)
    }

    /// Whether a namespace of this kind is given by path.
    pub(crate) fn joins(&self, kind: Namespaces) -> bool {
        self.given(kind).is_some()
    }

    /// The namespace of this kind that is given by path.
    pub(crate) fn given(&self, kind: Namespaces) -> Option<BorrowedFd<'_>> {
        self.given.iter().find(|given| given.kind == kind).map(|given| given.file.as_fd())
    }
}

fn open(path: &str) -> Result<OwnedFd, Error> {
    rustix::fs::open(
        path,
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(|errno| Error::file("open namespace", PathBuf::from(path), errno))
}
