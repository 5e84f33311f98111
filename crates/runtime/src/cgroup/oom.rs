//! Word from the kernel that it killed for want of memory, and that the cgroup is at its end.
//!
//! Version 1 counts into an eventfd, also when the cgroup is removed; version 2 changes `memory.events` and
//! `cgroup.events`, which inotify sees.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Access, OFlags};
use rustix::io::Errno;

use super::controller::Controller;
use super::error::CgroupError;
use super::{Cgroup, node::read_text};
use crate::error::Error;

/// Becomes readable when there is something to [`OomWatch::take`].
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    V1 { dir: PathBuf },
    V2 { dir: PathBuf, kills: u64 },
}

/// What has happened since the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomEvent {
    /// Memory ran out, and unless that was switched off a process was killed.
    Oom,
    /// No process is left, or the cgroup is gone.
    Ended,
    /// Nothing of either.
    Nothing,
}

impl Cgroup {
    /// Begins to watch the memory controller, wherever it is.
    pub(crate) fn watch_oom(&self) -> Result<OomWatch, CgroupError> {
        if let Some(node) = self.node_of_v1(Controller::Memory) {
            let fail = |errno| CgroupError::Read { file: node.file("memory.oom_control"), errno };
            let control = node.open("memory.oom_control", OFlags::RDONLY)?;
            let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(fail)?;
            let line = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
            node.write("cgroup.event_control", &line)?;
            return Ok(OomWatch { fd, kind: Kind::V1 { dir: node.path.clone() } });
        }
        let node = match self.unified() {
            Some(node) if node.controllers()?.contains(Controller::Memory) => node,
            _ => return Err(self.why_not(Controller::Memory, "memory.events")),
        };
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|errno| CgroupError::Read { file: node.path.clone(), errno })?;
        for name in ["memory.events", "cgroup.events"] {
            let file = node.file(name);
            inotify::add_watch(&fd, &file, WatchFlags::MODIFY)
                .map_err(|errno| CgroupError::Read { file, errno })?;
        }
        let kills = self.oom_kills()?;
        Ok(OomWatch { fd, kind: Kind::V2 { dir: node.path.clone(), kills } })
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl OomWatch {
    /// Says what made the descriptor readable, and makes it wait again.
    pub fn take(&mut self) -> Result<OomEvent, Error> {
        Ok(self.look()?)
    }

    fn look(&mut self) -> Result<OomEvent, CgroupError> {
        let woken = self.drain()?;
        match &mut self.kind {
            Kind::V1 { dir } => Ok(match rustix::fs::access(&*dir, Access::EXISTS) {
                Err(_) => OomEvent::Ended,
                Ok(()) if woken => OomEvent::Oom,
                Ok(()) => OomEvent::Nothing,
            }),
            Kind::V2 { dir, kills } => {
                let read = |name| match read_text(&dir.join(name)) {
                    Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV)) => {
                        Ok(None)
                    }
                    text => text.map(Some),
                };
                let Some(memory) = read("memory.events")? else { return Ok(OomEvent::Ended) };
                let now = super::stats::value_of(&memory, "oom_kill");
                if now > *kills {
                    *kills = now;
                    return Ok(OomEvent::Oom);
                }
                let events = read("cgroup.events")?;
                let ended =
                    events.is_none_or(|text| text.lines().any(|line| line == "populated 0"));
                Ok(if ended { OomEvent::Ended } else { OomEvent::Nothing })
            }
        }
    }

    /// Reads everything that waits; whether there was anything.
    fn drain(&self) -> Result<bool, CgroupError> {
        let mut buffer = [0; 4096];
        let mut woken = false;
        loop {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => return Ok(woken),
                Ok(_) => woken = true,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    let (Kind::V1 { dir } | Kind::V2 { dir, .. }) = &self.kind;
                    return Err(CgroupError::Read { file: dir.clone(), errno });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;
    use crate::cgroup::testing::{ScratchDir, Sleeper, TestPlace, scratch_cgroup};

    fn waits_for(watch: &mut OomWatch) -> OomEvent {
        let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
        for _ in 0..100 {
            let mut polled = [PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)];
            assert_eq!(poll(&mut polled, Some(&timeout)).unwrap(), 1, "no event in time");
            match watch.take().unwrap() {
                OomEvent::Nothing => {}
                event => return event,
            }
        }
        panic!("only events of nothing")
    }

    #[test]
    fn memory_that_runs_out_is_told_and_so_is_the_end() {
        let Some(place) = TestPlace::new() else { return };
        let resources = dhow_spec::runtime::Resources::parse(
            br#"{"memory": {"limit": 16777216, "swap": 16777216}}"#,
        )
        .unwrap();
        let mut cgroup = Cgroup::create(&place.hierarchies, &place.path, Some(&resources)).unwrap();
        let script = "read go; head -c 200000000 /dev/zero | tail -c 200000000 >/dev/null";
        let mut hungry = Sleeper::running(script);
        cgroup.attach(hungry.pid()).unwrap();
        let mut watch = cgroup.watch_oom().unwrap();
        assert_eq!(watch.take().unwrap(), OomEvent::Nothing);
        hungry.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
        assert_eq!(waits_for(&mut watch), OomEvent::Oom);
        hungry.0.wait().unwrap();
        assert!(cgroup.oom_kills().unwrap() >= 1);
        cgroup.kill().unwrap();
        cgroup.remove().unwrap();
        assert_eq!(waits_for(&mut watch), OomEvent::Ended);
    }

    #[test]
    fn version_2_s_files_are_compared_with_what_they_said_before() {
        let dir = ScratchDir::new(&[
            ("cgroup.controllers", "memory\n"),
            ("memory.events", "oom_kill 1\n"),
            ("cgroup.events", "populated 1\n"),
        ]);
        let mut watch = scratch_cgroup(&dir, "").watch_oom().unwrap();
        dir.add("memory.events", "max 3\noom_kill 1\n");
        assert_eq!(watch.take().unwrap(), OomEvent::Nothing);
        dir.add("memory.events", "max 9\noom_kill 2\n");
        assert_eq!(waits_for(&mut watch), OomEvent::Oom);
        assert_eq!(watch.take().unwrap(), OomEvent::Nothing);
        dir.add("cgroup.events", "populated 0\n");
        assert_eq!(waits_for(&mut watch), OomEvent::Ended);
    }
}
