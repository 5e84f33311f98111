//! `linux.intelRdt`: the resctrl group of a container.

use std::path::{Path, PathBuf};

use dhow_spec::runtime::IntelRdt;
use rustix::process::Pid;

use super::ContainerId;
use crate::error::Error;

/// The group that a container's processes are put into.
#[derive(Debug)]
pub(super) struct Group {}

impl Group {
    /// Makes or finds the group.
    pub(super) fn make(words: Option<&IntelRdt>, _id: &ContainerId) -> Result<Option<Self>, Error> {
        match words {
            None => Ok(None),
            Some(_) => Err(Error::Refused {
                field: "linux.intelRdt",
                value: String::new(),
                reason: "not supported yet",
            }),
        }
    }

    /// The directory that was made for the container, and goes with it.
    pub(super) fn made(&self) -> Option<PathBuf> {
        None
    }

    /// Puts a process into the group.
    pub(super) fn add(&self, _pid: Pid) -> Result<(), Error> {
        Ok(())
    }
}

/// Removes a group that was made for a container.
pub(super) fn remove(_group: Option<&Path>) -> Result<(), Error> {
    Ok(())
}
