//! Limits: `linux.resources` written to the files of whichever hierarchy has the controller.
//!
//! Only what the configuration sets is written, so the same code limits a new cgroup and updates a
//! running one. Zero stands for "not set" where version 1's file formats let runtimes read it so.
//! A setting that the hierarchy's version does not have is refused by name, never dropped; the one
//! exception is kernel memory, which newer kernels ignore themselves.

pub(super) mod convert;
mod cpu;
mod io;
mod memory;
mod small;
mod unified;

use dhow_spec::runtime::Resources;
use rustix::io::Errno;

use super::Cgroup;
use super::controller::Controller;
use super::error::CgroupError;
use super::hierarchy::Version;
use super::node::Node;

impl Cgroup {
    /// Writes every limit that `resources` has, except for devices; `unified` last, so that it wins.
    pub(super) fn limit(&self, resources: &Resources) -> Result<(), CgroupError> {
        if !resources.unified.is_empty() {
            unified::check(self, &resources.unified)?;
        }
        if let Some(cpu) = &resources.cpu {
            cpu::limit(self, cpu)?;
        }
        if let Some(memory) = &resources.memory {
            memory::limit(self, memory)?;
        }
        if let Some(pids) = &resources.pids {
            small::limit_pids(self, pids)?;
        }
        if let Some(io) = &resources.block_io {
            io::limit(self, io)?;
        }
        small::limit_huge_pages(self, &resources.hugepage_limits)?;
        small::limit_rdma(self, &resources.rdma)?;
        if let Some(network) = &resources.network {
            small::mark_network(self, network)?;
        }
        unified::write(self, &resources.unified)
    }

    /// The directory whose files set `controller`, wherever the controller is.
    fn place(&self, controller: Controller, setting: &str) -> Result<&Node, CgroupError> {
        if let Some(node) = self.node_of_v1(controller) {
            return Ok(node);
        }
        match self.unified() {
            Some(node) if node.controllers()?.contains(controller) => Ok(node),
            Some(Node { refusal: Some(refusal), .. }) => Err(refusal.clone()),
            _ => Err(self.why_not(controller, setting)),
        }
    }

    /// As `place`, for settings that only version 1 has.
    fn place_on_v1(&self, controller: Controller, setting: &str) -> Result<&Node, CgroupError> {
        let node = self.place(controller, setting)?;
        match node.version {
            Version::V1 => Ok(node),
            Version::V2 => Err(CgroupError::OnlyV1 { setting: setting.to_owned() }),
        }
    }
}

/// Writes files whose values the kernel checks against each other, in whichever order it takes them.
///
/// A value that does not fit its neighbours' old values is refused (`EINVAL`) and tried again once a
/// neighbour has its new one; what no order makes fit is an error.
fn write_together(node: &Node, files: &[(&str, String)]) -> Result<(), CgroupError> {
    let mut left: Vec<&(&str, String)> = files.iter().collect();
    while !left.is_empty() {
        let before = left.len();
        let mut first_refusal = None;
        let mut refused = Vec::new();
        for file in left {
            match node.write(file.0, &file.1) {
                Ok(()) => {}
                Err(error) if error.errno() == Some(Errno::INVAL) => {
                    first_refusal.get_or_insert(error);
                    refused.push(file);
                }
                Err(error) => return Err(error),
            }
        }
        match first_refusal {
            Some(error) if refused.len() == before => return Err(error),
            _ => left = refused,
        }
    }
    Ok(())
}
