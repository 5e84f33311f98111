//! Runs one scenario for one runtime; the process it is in was made for that.
//!
//! Invariant: whatever happens, one `Cell` comes out, and this case's cgroups are gone. Processes and
//! mounts end with the namespaces.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, Mode, chmodat, makedev, mknodat};
use rustix::mount::{MountFlags, UnmountFlags};

use super::case::{Case, CaseParts};
use super::host;
use super::runtime::Runtime;
use super::verdict::{Cell, Outcome, Stop, Verdict};
use crate::scenarios::Scenario;

/// What to run and where.
#[derive(Debug, Clone)]
pub struct Order {
    /// Which scenario.
    pub scenario: &'static Scenario,
    /// With which runtime.
    pub runtime: Runtime,
    /// An empty directory; a tmpfs is mounted there.
    pub dir: PathBuf,
    /// Unique on this machine; begins every id and cgroup name.
    pub token: String,
    /// The program inside the containers.
    pub payload: PathBuf,
    /// Factor on all time limits.
    pub patience: u32,
    /// Whether loops are long.
    pub stress: bool,
}

/// Runs the scenario; must be called in the first process of a pid namespace, in a mount namespace of
/// its own.
pub fn run_case(order: &Order) -> Cell {
    let start = Instant::now();
    let (verdict, transcript) = match prepare(order) {
        Ok(case) => judge(order, &Arc::new(case)),
        Err(Stop::Fail(reason)) => (Verdict::Fail(reason), Vec::new()),
        Err(Stop::Skip(reason)) => (Verdict::Skip(reason), Vec::new()),
    };
    for (pid, _) in host::live_processes() {
        kill(pid);
    }
    host::remove_cgroups(host::cgroups_named(&order.token));
    Cell {
        scenario: order.scenario.name(),
        runtime: order.runtime.name.clone(),
        verdict,
        transcript,
        took_ms: start.elapsed().as_millis() as u64,
    }
}

fn prepare(order: &Order) -> Outcome<Case> {
    rustix::mount::mount("contest", &order.dir, "tmpfs", MountFlags::empty(), c"mode=755")?;
    own_null_device(&order.dir.join("null"))?;
    let unified = Path::new("/sys/fs/cgroup/unified");
    if order.runtime.hide_unified && unified.exists() {
        rustix::mount::unmount(unified, UnmountFlags::DETACH)?;
    }
    Case::create(CaseParts {
        runtime: order.runtime.clone(),
        dir: order.dir.clone(),
        token: order.token.clone(),
        payload: order.payload.clone(),
        patience: order.patience,
        stress: order.stress,
    })
}

/// Covers `/dev/null` by a node of the case's own: crun gives it to the container's user.
fn own_null_device(node: &Path) -> Outcome {
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, node, FileType::CharacterDevice, mode, makedev(1, 3))?;
    chmodat(CWD, node, mode, AtFlags::empty())?;
    Ok(rustix::mount::mount_bind(node, "/dev/null")?)
}

fn judge(order: &Order, case: &Arc<Case>) -> (Verdict, Vec<String>) {
    case.children.reap_forever();
    let (sender, receiver) = channel();
    let (scenario, shared) = (order.scenario, Arc::clone(case));
    thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| (scenario.run)(&shared)));
        // Nobody listens any more only after the time limit.
        let _ = sender.send(result);
    });
    let limit = case.limit(order.scenario.limit_s(order.stress));
    let mut verdict = match receiver.recv_timeout(limit) {
        Ok(Ok(Ok(()))) => Verdict::Pass,
        Ok(Ok(Err(Stop::Skip(reason)))) => Verdict::Skip(reason),
        Ok(Ok(Err(Stop::Fail(reason)))) => Verdict::Fail(reason),
        Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
            Verdict::Fail("the scenario panicked; see standard error".into())
        }
        Err(RecvTimeoutError::Timeout) => Verdict::Fail(format!("not done after {limit:?}")),
    };
    let leaks = clean_up(case);
    if !leaks.is_empty() {
        let leaks = format!("left behind: {}", leaks.join(", "));
        verdict = match verdict {
            Verdict::Fail(reason) => Verdict::Fail(format!("{reason}; {leaks}")),
            Verdict::Pass | Verdict::Skip(_) => Verdict::Fail(leaks),
        };
    }
    (verdict, case.transcript())
}

/// Cleans up, but not for ever: a hanging `delete` must not hide the verdict.
fn clean_up(case: &Arc<Case>) -> Vec<String> {
    let (sender, receiver) = channel();
    let shared = Arc::clone(case);
    thread::spawn(move || sender.send(shared.clean_up()));
    receiver
        .recv_timeout(case.limit(30))
        .unwrap_or_else(|_| vec!["a clean-up that does not end".into()])
}

fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // It may be gone already; frozen ones die when their cgroup is thawed.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Removes what a case that was itself killed has left.
pub(crate) fn sweep(token: &str, dir: &Path) {
    host::remove_cgroups(host::cgroups_named(token));
    for _ in 0..50 {
        if fs::remove_dir(dir).is_ok() || !dir.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
