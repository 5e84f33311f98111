//! The CPU time of everything that the measuring process starts.
//!
//! The process moves itself into a cgroup v2 of its own, and containers are placed below the same
//! parent (or inherit the cgroup, where a runtime does not see the v2 tree): whoever works for a
//! command, and whoever reaps it, is in the parent's `cpu.stat`. The measuring process's own time is
//! taken off. Exists on hybrid hosts too, where controllers are on v1: v2 counts CPU time without any.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::contender::HYBRID_TREE;
use crate::task::{At, TaskError};

/// A cgroup whose CPU time is read, with this process inside until [`Meter::leave`].
#[derive(Debug)]
pub(crate) struct Meter {
    stat: File,
    home: PathBuf,
}

impl Meter {
    /// Moves this process to `/<name>/meter` of the v2 tree.
    pub(crate) fn enter(name: &str) -> Result<Meter, TaskError> {
        let tree = match Path::new(HYBRID_TREE).join("cgroup.procs").exists() {
            true => PathBuf::from(HYBRID_TREE),
            false => PathBuf::from("/sys/fs/cgroup"),
        };
        let own = fs::read_to_string("/proc/self/cgroup").at("read", "/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        let home = tree.join(own.trim_start_matches('/'));
        let leaf = tree.join(name).join("meter");
        fs::create_dir_all(&leaf).at("create", &leaf)?;
        fs::write(leaf.join("cgroup.procs"), "0").at("enter", &leaf)?;
        let stat = tree.join(name).join("cpu.stat");
        Ok(Meter { stat: File::open(&stat).at("open", &stat)?, home })
    }

    /// The tree's CPU time so far, without this process's own.
    pub(crate) fn read(&self) -> Duration {
        let mut text = [0u8; 512];
        let len = self.stat.read_at(&mut text, 0).unwrap_or(0);
        let all = usage(&String::from_utf8_lossy(&text[..len])).unwrap_or_default();
        let own = clock_gettime(ClockId::ProcessCPUTime);
        let own = Duration::new(own.tv_sec.unsigned_abs(), own.tv_nsec.unsigned_abs() as u32);
        all.saturating_sub(own)
    }

    /// Moves this process back to where it came from, so that the cgroup can be removed.
    pub(crate) fn leave(self) -> Result<(), TaskError> {
        fs::write(self.home.join("cgroup.procs"), "0").at("enter", &self.home)
    }
}

fn usage(stat: &str) -> Option<Duration> {
    let micros = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    micros.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_in_microseconds() {
        let stat = "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n";
        assert_eq!(usage(stat), Some(Duration::from_micros(1500)));
        assert_eq!(usage("nr_periods 0\n"), None);
    }
}
