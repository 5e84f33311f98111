//! A machine of its own for each test: a network and a mount namespace that a thread enters, with a run
//! directory in memory. Nothing of it is seen from outside, and all of it is gone with the thread.

use std::path::{Path, PathBuf};

use dhow_network::{Host, HostOptions, Instance, SandboxId, SandboxRequest, Steps};
use dhow_sys::Namespaces;
use rustix::mount::{MountFlags, MountPropagationFlags};

/// Runs `work` there, with the directory in memory; as anybody but root it says so and does nothing.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn alone(test: &str, work: impl FnOnce(&Path) + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED {test}: needs root");
        return;
    }
    let dir = scratch();
    let result = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(&dir);
            work(&dir);
        });
        thread.join()
    });
    std::fs::remove_dir(&dir).expect("nothing is left");
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

fn enter(dir: &Path) {
    dhow_sys::unshare(Namespaces::NETWORK.with(Namespaces::MOUNT)).expect("a machine");
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).expect("a private tree");
    rustix::mount::mount("dhow-test", dir, "tmpfs", MountFlags::empty(), c"").expect("a disk");
    dhow_sys::loopback_up().expect("a loopback device");
}

fn scratch() -> PathBuf {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("dhow-network-{}-{number}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir(&dir).expect("a mount point");
    dir
}

/// An engine's networks with nothing special about them.
pub(crate) fn host(dir: &Path) -> Host {
    Host::open(options(dir)).expect("networks")
}

/// What [`host`] is opened with.
pub(crate) fn options(dir: &Path) -> HostOptions {
    HostOptions {
        exec_root: dir.join("run"),
        instance: Instance::of(&dir.join("lib")),
        pool: None,
        lock: dir.join("lock"),
        ready_max: 0,
        forwarding: true,
        steps: Steps::unwatched(),
    }
}

pub(crate) fn id(text: &str) -> SandboxId {
    text.parse().expect("an id")
}

/// A sandbox without a network.
pub(crate) fn none(text: &str) -> SandboxRequest {
    SandboxRequest { id: id(text), name: text.to_owned(), endpoint: None }
}
