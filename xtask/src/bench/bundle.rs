//! The bundle that every contender starts: a static busybox that does nothing.
//!
//! The configuration is of the size that engines write: five namespaces, seven mounts, fourteen
//! capabilities, masked and read-only paths, a device rule. `--config` puts another in its place, of
//! which only the root, the arguments and the cgroup are replaced.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::task::{At, TaskError};

const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Writes a bundle that runs `args` over `rootfs` in the cgroup `cgroup`.
pub(crate) fn write(
    at: &Path,
    rootfs: &Path,
    base: Option<&Path>,
    args: &[&str],
    cgroup: &str,
) -> Result<(), TaskError> {
    let mut config = match base {
        Some(path) => read(path)?,
        None => typical(),
    };
    config["root"]["path"] = json!(rootfs);
    config["process"]["args"] = json!(args);
    config["process"]["terminal"] = json!(false);
    config["linux"]["cgroupsPath"] = json!(cgroup);
    fs::create_dir_all(at).at("create", at)?;
    fs::write(at.join("config.json"), config.to_string()).at("write", at)
}

fn read(path: &Path) -> Result<Value, TaskError> {
    let text = fs::read_to_string(path).at("read", path)?;
    serde_json::from_str(&text).at("parse", path)
}

fn typical() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "hostname": "bench",
        "root": { "path": "", "readonly": true },
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "noNewPrivileges": true,
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES
            }
        },
        "mounts": mounts(),
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "mount" }
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                "/proc/scsi"
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
            ]
        }
    })
}

fn mounts() -> Value {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    json!([
        mount("/proc", "proc", &[]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        ),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ])
}
