//! containerd's `ctr` with a contender as its `--runc-binary`; the shim is containerd's own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::{Step, Verdict, run_steps};
use crate::busybox;
use crate::child;
use crate::contender::Contender;
use crate::task::{At, TaskError};

const SNAPSHOTTERS: [&str; 4] = ["aufs", "btrfs", "devmapper", "zfs"];
const START_POLLS: usize = 100;

/// Starts a containerd of our own and goes through a task's life.
pub(super) fn session(
    contender: &Contender,
    dir: &Path,
    cgroup: &str,
) -> Result<Vec<Verdict>, TaskError> {
    let rootfs = dir.join("rootfs");
    std::fs::create_dir_all(&rootfs).at("create", &rootfs)?;
    busybox::make_rootfs(&rootfs)?;
    let socket = dir.join("socket");
    let mut daemon = start(dir, &socket)?;
    let result = run_steps(&steps(contender, dir, &socket, &rootfs, cgroup));
    let pid = rustix::process::Pid::from_child(&daemon);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    child::wait(&mut daemon, Duration::from_secs(10)).at("wait for", "containerd")?;
    result
}

fn steps(
    contender: &Contender,
    dir: &Path,
    socket: &Path,
    rootfs: &Path,
    cgroup: &str,
) -> Vec<Step> {
    let [socket, rootfs, state] =
        [socket, rootfs, &dir.join("state-of-runtime")].map(|path| path.display().to_string());
    let program = contender.program.display().to_string();
    let step = |name, words: &[&str], code, says| {
        let all: Vec<&str> =
            ["ctr", "-a", &socket].into_iter().chain(words.iter().copied()).collect();
        Step::new(name, &all, code, says)
    };
    let run = |name, options: &[&str], id: &str, command: &[&str], code, says| {
        let group = format!("/{cgroup}/{id}");
        let mut all = vec!["run", "--rootfs", "--runc-binary", &program, "--runc-root", &state];
        all.extend(["--cgroup", &group]);
        all.extend(options);
        all.extend([rootfs.as_str(), id]);
        all.extend(command);
        step(name, &all, code, says)
    };
    vec![
        run("run --rm", &["--rm"], "once", &["/bin/sh", "-c", "echo hello; exit 7"], 7, "hello"),
        run("run -d", &["-d"], "long", &["/bin/sleep", "1000"], 0, ""),
        step("tasks ls", &["tasks", "ls"], 0, "RUNNING"),
        step(
            "exec",
            &["tasks", "exec", "--exec-id=one", "long", "/bin/sh", "-c", "echo inside; exit 3"],
            3,
            "inside",
        ),
        step("ps", &["tasks", "ps", "long"], 0, "PID"),
        step("metrics", &["tasks", "metrics", "long"], 0, "memory"),
        step("pause", &["tasks", "pause", "long"], 0, ""),
        step("paused", &["tasks", "ls"], 0, "PAUSED"),
        step("resume", &["tasks", "resume", "long"], 0, ""),
        step("kill", &["tasks", "kill", "-s", "KILL", "long"], 0, ""),
        Step::new("a moment", &["sleep", "0.5"], 0, ""),
        step("stopped", &["tasks", "ls"], 0, "STOPPED"),
        step("tasks rm", &["tasks", "rm", "long"], 0, ""),
        step("containers rm", &["containers", "rm", "long"], 0, ""),
    ]
}

fn start(dir: &Path, socket: &Path) -> Result<Child, TaskError> {
    let disabled = SNAPSHOTTERS.map(|name| format!("\"io.containerd.snapshotter.v1.{name}\""));
    let d = dir.display();
    let text = format!(
        "version = 2\nroot = \"{d}/root\"\nstate = \"{d}/state\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\", {}]\n\
         [grpc]\n  address = \"{}\"\n[ttrpc]\n  address = \"{d}/ttrpc\"\n",
        disabled.join(", "),
        socket.display()
    );
    let config = dir.join("config.toml");
    std::fs::write(&config, text).at("write", &config)?;
    let log = std::fs::File::create(dir.join("log")).at("create", dir.join("log"))?;
    let mut command = Command::new("containerd");
    command.arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let daemon = command.spawn().at("start", "containerd")?;
    for _ in 0..START_POLLS {
        if socket.exists() {
            break;
        }
        sleep(Duration::from_millis(50));
    }
    Ok(daemon)
}
