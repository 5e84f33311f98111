//! Stopping and continuing everything in a cgroup.
//!
//! The version 1 freezer is used where it is mounted, version 2's own switch elsewhere. Both act some time
//! after they are told; a freeze returns when every process has stopped, or undoes itself.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::Cgroup;
use super::controller::Controller;
use super::error::CgroupError;
use super::hierarchy::Version;
use super::node::Node;

/// How long a process may take to stop; one in an uninterruptible call may take longer than we wait.
const PATIENCE: Duration = Duration::from_secs(2);

impl Cgroup {
    /// Stops every process; waits until it is so.
    pub(crate) fn freeze(&self) -> Result<(), CgroupError> {
        let node = self.freezer()?;
        let frozen = match node.version {
            Version::V1 => freeze_v1(node),
            Version::V2 => freeze_v2(node),
        };
        if frozen.is_err() {
            // The failed freeze is what the caller hears of.
            let _ = self.thaw();
        }
        frozen
    }

    /// Lets every process go on.
    pub(crate) fn thaw(&self) -> Result<(), CgroupError> {
        let node = self.freezer()?;
        match node.version {
            Version::V1 => node.write("freezer.state", "THAWED"),
            Version::V2 => node.write("cgroup.freeze", "0"),
        }
    }

    /// Whether the processes are stopped, or are being stopped: never without a freezer.
    pub(crate) fn is_frozen(&self) -> Result<bool, CgroupError> {
        self.freezer().map_or(Ok(false), is_frozen)
    }

    /// The directory by which all processes can be stopped, where there is one.
    pub(crate) fn freezer_dir(&self) -> Option<&Path> {
        self.freezer().ok().map(|node| node.path.as_path())
    }

    fn freezer(&self) -> Result<&Node, CgroupError> {
        self.node_of_v1(Controller::Freezer)
            .or_else(|| self.unified())
            .ok_or_else(|| self.why_not(Controller::Freezer, "freezer.state"))
    }
}

/// Whether the cgroup of `node` stands still, where `node` is one that can.
pub(super) fn is_frozen(node: &Node) -> Result<bool, CgroupError> {
    let state = match node.version {
        Version::V1 => node.read("freezer.state"),
        Version::V2 => node.read("cgroup.freeze"),
    };
    match state {
        Ok(state) => Ok(!matches!(state.trim(), "THAWED" | "0")),
        // Kernels before 5.2 have no freezer on version 2, so nothing there is frozen.
        Err(error) if error.is_absent() && node.version == Version::V2 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Version 1 tells only when asked, and stays `FREEZING` when a process was forked meanwhile: asking
/// again makes it look at the newcomers, thawing for a moment lets a knot of waiting processes loose.
fn freeze_v1(node: &Node) -> Result<(), CgroupError> {
    let start = Instant::now();
    for attempt in 1u32.. {
        node.write("freezer.state", "FROZEN")?;
        if node.read("freezer.state")?.trim() == "FROZEN" {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            break;
        }
        if attempt % 32 == 0 {
            node.write("freezer.state", "THAWED")?;
        }
        std::thread::sleep(Duration::from_micros(u64::from(attempt.min(100)) * 10));
    }
    Err(CgroupError::NotSettled { dir: node.path.clone(), wanted: "frozen" })
}

/// Version 2 announces the change in `cgroup.events`.
fn freeze_v2(node: &Node) -> Result<(), CgroupError> {
    let events = node.open("cgroup.events", OFlags::RDONLY)?;
    node.write("cgroup.freeze", "1")?;
    let start = Instant::now();
    while !reads_frozen(node, &events)? {
        let Some(left) = PATIENCE.checked_sub(start.elapsed()) else {
            return Err(CgroupError::NotSettled { dir: node.path.clone(), wanted: "frozen" });
        };
        let timeout =
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut watched = [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::PRI)];
        // Woken, interrupted or late: the file decides.
        let _ = poll(&mut watched, Some(&timeout));
    }
    Ok(())
}

fn reads_frozen(node: &Node, events: &OwnedFd) -> Result<bool, CgroupError> {
    let mut text = [0; 256];
    let count = rustix::io::pread(events, &mut text, 0)
        .map_err(|errno| CgroupError::Read { file: node.file("cgroup.events"), errno })?;
    Ok(text[..count].split(|byte| *byte == b'\n').any(|line| line == b"frozen 1"))
}
