//! What planning must know of the machine and of the engine's configuration.
//!
//! Invariant: plain values; the same facts and the same request give the same plan.
//! Absent on purpose: gathering them, which `survey` does once when the engine opens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use dhow_spec::runtime::{Device, Propagation, User};

use crate::request::{LogConfig, Ulimit};

/// The machine and the engine, as far as containers depend on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// What the cgroups can do.
    pub cgroup: CgroupFacts,
    /// CPUs that are there.
    pub cpus: BTreeSet<u32>,
    /// Memory nodes that are there.
    pub memory_nodes: BTreeSet<u32>,
    /// Version of the kernel.
    pub kernel: (u32, u32),
    /// In Go's words (`amd64`).
    pub architecture: String,
    /// Whether system calls can be filtered.
    pub seccomp: bool,
    /// Whether AppArmor is in force.
    pub apparmor: bool,
    /// Profiles of AppArmor that are loaded.
    pub apparmor_profiles: BTreeSet<String>,
    /// Whether SELinux is in force.
    pub selinux: bool,
    /// The host's name.
    pub hostname: String,
    /// What the host's `resolv.conf` says, the one that names real servers.
    pub resolv_conf: String,
    /// What the host's `hosts` says.
    pub hosts: String,
    /// What the engine was told.
    pub defaults: Defaults,
}

/// What the engine was told when it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// The cgroup above all containers; a slice where systemd makes cgroups.
    pub cgroup_parent: String,
    /// First part of a scope's name where systemd makes cgroups.
    pub cgroup_prefix: String,
    /// Our own program, which is also a small init.
    pub program: PathBuf,
    /// Whether every container gets that init.
    pub init: bool,
    /// Where output goes unless a container says otherwise.
    pub log: LogConfig,
    /// Foreign runtimes by name.
    pub runtimes: BTreeMap<String, PathBuf>,
    /// What runs containers unless they say otherwise; the built-in one if empty.
    pub runtime: String,
    /// Limits of processes unless a container says otherwise.
    pub ulimits: Vec<Ulimit>,
    /// Name servers unless a container says otherwise.
    pub dns: Vec<IpAddr>,
    /// Options of the resolver unless a container says otherwise.
    pub dns_options: Vec<String>,
    /// Domains to search unless a container says otherwise.
    pub dns_search: Vec<String>,
    /// The address that `host-gateway` stands for.
    pub host_gateway: Option<IpAddr>,
    /// Bytes of `/dev/shm` unless a container says otherwise.
    pub shm_size: i64,
    /// Seconds that a container gets to stop unless it says otherwise.
    pub stop_timeout_s: i64,
    /// A seccomp profile in place of the built-in one; `unconfined` for none.
    pub seccomp: Option<String>,
    /// Whether no program of any container gains anything from set-uid.
    pub no_new_privileges: bool,
}

/// What the cgroups of this machine can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CgroupFacts {
    /// Whether everything is in the one tree of version 2.
    pub unified: bool,
    /// Whether systemd makes them.
    pub systemd: bool,
    /// Memory.
    pub memory: bool,
    /// Memory under pressure.
    pub memory_reservation: bool,
    /// Swap.
    pub swap: bool,
    /// How gladly to swap.
    pub swappiness: bool,
    /// Waiting at the limit.
    pub oom_kill_disable: bool,
    /// Relative CPU time.
    pub cpu_shares: bool,
    /// Absolute CPU time.
    pub cpu_quota: bool,
    /// Real-time tasks.
    pub cpu_realtime: bool,
    /// CPUs and memory nodes.
    pub cpuset: bool,
    /// Relative block I/O.
    pub blkio_weight: bool,
    /// The same by device.
    pub blkio_weight_device: bool,
    /// Absolute block I/O.
    pub blkio_throttle: bool,
    /// Number of tasks.
    pub pids: bool,
}

impl CgroupFacts {
    /// A machine whose cgroups can do everything that the version knows.
    pub fn complete(unified: bool) -> Self {
        Self {
            unified,
            systemd: false,
            memory: true,
            memory_reservation: true,
            swap: true,
            swappiness: !unified,
            oom_kill_disable: !unified,
            cpu_shares: true,
            cpu_quota: true,
            cpu_realtime: false,
            cpuset: true,
            blkio_weight: true,
            blkio_weight_device: true,
            blkio_throttle: true,
            pids: true,
        }
    }
}

impl Defaults {
    /// Docker's defaults, for the rest of what the engine knows.
    pub fn new(cgroup_parent: String, program: PathBuf) -> Self {
        Self {
            cgroup_parent,
            cgroup_prefix: "dhow".to_owned(),
            program,
            init: false,
            log: LogConfig::default(),
            runtimes: BTreeMap::new(),
            runtime: String::new(),
            ulimits: Vec::new(),
            dns: Vec::new(),
            dns_options: Vec::new(),
            dns_search: Vec::new(),
            host_gateway: None,
            shm_size: 64 << 20,
            stop_timeout_s: 10,
            seccomp: None,
            no_new_privileges: false,
        }
    }
}

/// What is only known when a container is started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StartFacts {
    /// The container's id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Its image's id.
    pub image_id: String,
    /// Whom it runs as, as its own files say; see [`super::resolve_user`].
    pub user: User,
    /// Its network namespace; absent where the network is the host's.
    pub network: Option<PathBuf>,
    /// The process whose ipc namespace it joins.
    pub ipc_of: Option<u32>,
    /// The process whose pid namespace it joins.
    pub pid_of: Option<u32>,
    /// The directory that is its `/dev/shm`, where others share it.
    pub shm: Option<PathBuf>,
    /// What its links say; its own variables win.
    pub linked_env: Vec<String>,
    /// Its generated files on the host.
    pub files: FilePaths,
    /// What was looked up for it.
    pub found: Found,
}

/// Where the generated files are on the host; absent ones are not mounted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilePaths {
    /// For `/etc/hostname`.
    pub hostname: Option<PathBuf>,
    /// For `/etc/hosts`.
    pub hosts: Option<PathBuf>,
    /// For `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
}

/// What a request names on the host, as it was found; see [`super::look_up`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The devices behind each path of `Devices`: one, or all of a directory.
    pub devices: BTreeMap<String, Vec<Device>>,
    /// All devices of the host, for privileged containers.
    pub all_devices: Vec<Device>,
    /// Numbers of the block devices that limits name.
    pub numbers: BTreeMap<String, (i64, i64)>,
    /// The mount that a bind's source lies on, and how that one spreads.
    pub mounts: BTreeMap<String, (String, Propagation)>,
    /// Layers of an image that is mounted, by destination, the topmost first.
    pub images: BTreeMap<String, Vec<PathBuf>>,
    /// Where a path below a volume really is, by destination.
    pub subpaths: BTreeMap<String, PathBuf>,
}
