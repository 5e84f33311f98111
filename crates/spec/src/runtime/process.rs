//! The container's program and everything that is set on it before it is executed.
//!
//! Invariant: the working directory of a parsed [`Process`] is absolute and no limit is named twice.
//! Absent on purpose: whether there are arguments (a container that is only created needs none) and
//! whether this kernel knows a capability.

use serde::{Deserialize, Serialize};

use super::error::SpecError;
use super::words::words;
use crate::json;

/// The program, as in `process` of a configuration or as a document of its own for `exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Whether it gets a terminal of its own.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "json::is_false")]
    pub terminal: bool,
    /// Size of that terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// Whom it runs as.
    #[serde(default, deserialize_with = "json::nullable")]
    pub user: User,
    /// Program and arguments.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment, as `NAME=value`.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// Capability sets; absent means the runtime's choice, which is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Resource limits.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<Rlimit>,
    /// Whether executing set-uid programs gains nothing.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "json::is_false")]
    pub no_new_privileges: bool,
    /// AppArmor profile to change to at exec.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub apparmor_profile: Option<String>,
    /// The OOM killer's bias, −1000 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Scheduling policy and its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// SELinux label to change to at exec.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub selinux_label: Option<String>,
    /// I/O priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<IoPriority>,
    /// CPUs while an additional process is started, and after.
    #[serde(rename = "execCPUAffinity", default, skip_serializing_if = "Option::is_none")]
    pub exec_cpu_affinity: Option<ExecCpuAffinity>,
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsoleSize {
    /// Rows.
    pub height: u64,
    /// Columns.
    pub width: u64,
}

/// Numeric identity inside the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// User id.
    #[serde(default, deserialize_with = "json::nullable")]
    pub uid: u32,
    /// Group id.
    #[serde(default, deserialize_with = "json::nullable")]
    pub gid: u32,
    /// File creation mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Supplementary groups.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
    /// A name; other systems use it, Linux does not.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// The five capability sets, by name (`CAP_KILL`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// What can ever be gained.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub bounding: Vec<String>,
    /// What is in force.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub effective: Vec<String>,
    /// What files with inheritable capabilities may pass on.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub inheritable: Vec<String>,
    /// What may be put in force.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub permitted: Vec<String>,
    /// What survives executing an ordinary program.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub ambient: Vec<String>,
}

words! {
    /// The resources that Linux limits per process.
    RlimitKind {
        As = "RLIMIT_AS",
        Core = "RLIMIT_CORE",
        Cpu = "RLIMIT_CPU",
        Data = "RLIMIT_DATA",
        Fsize = "RLIMIT_FSIZE",
        Locks = "RLIMIT_LOCKS",
        Memlock = "RLIMIT_MEMLOCK",
        Msgqueue = "RLIMIT_MSGQUEUE",
        Nice = "RLIMIT_NICE",
        Nofile = "RLIMIT_NOFILE",
        Nproc = "RLIMIT_NPROC",
        Rss = "RLIMIT_RSS",
        Rtprio = "RLIMIT_RTPRIO",
        Rttime = "RLIMIT_RTTIME",
        Sigpending = "RLIMIT_SIGPENDING",
        Stack = "RLIMIT_STACK",
    }
}

/// One resource limit; the largest number means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rlimit {
    /// What is limited.
    #[serde(rename = "type")]
    pub kind: RlimitKind,
    /// Ceiling of the soft limit.
    pub hard: u64,
    /// What the kernel enforces.
    pub soft: u64,
}

words! {
    /// Linux's scheduling policies.
    SchedulerPolicy {
        Other = "SCHED_OTHER",
        Fifo = "SCHED_FIFO",
        RoundRobin = "SCHED_RR",
        Batch = "SCHED_BATCH",
        Iso = "SCHED_ISO",
        Idle = "SCHED_IDLE",
        Deadline = "SCHED_DEADLINE",
    }
}

words! {
    /// Flags of `sched_setattr`.
    SchedulerFlag {
        ResetOnFork = "SCHED_FLAG_RESET_ON_FORK",
        Reclaim = "SCHED_FLAG_RECLAIM",
        DlOverrun = "SCHED_FLAG_DL_OVERRUN",
        KeepPolicy = "SCHED_FLAG_KEEP_POLICY",
        KeepParams = "SCHED_FLAG_KEEP_PARAMS",
        UtilClampMin = "SCHED_FLAG_UTIL_CLAMP_MIN",
        UtilClampMax = "SCHED_FLAG_UTIL_CLAMP_MAX",
    }
}

/// What `sched_setattr` gets; zero means unset, as there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scheduler {
    /// The policy.
    pub policy: SchedulerPolicy,
    /// Nice value, for the ordinary policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// Static priority, for the real-time policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Flags.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<SchedulerFlag>,
    /// Deadline policy: run time in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<u64>,
    /// Deadline policy: absolute deadline in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    /// Deadline policy: period in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
}

words! {
    /// Linux's I/O scheduling classes.
    IoClass {
        RealTime = "IOPRIO_CLASS_RT",
        BestEffort = "IOPRIO_CLASS_BE",
        Idle = "IOPRIO_CLASS_IDLE",
    }
}

/// What `ioprio_set` gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IoPriority {
    /// The class.
    pub class: IoClass,
    /// Priority within the class, 0 (first) to 7.
    #[serde(default, deserialize_with = "json::nullable")]
    pub priority: i32,
}

/// CPU lists (`0-3,7`) for an additional process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecCpuAffinity {
    /// In force while the process is brought into the container.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub initial: Option<String>,
    /// In force once it is in the container's cgroup.
    #[serde(
        default,
        rename = "final",
        deserialize_with = "json::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub last: Option<String>,
}

impl Process {
    /// Reads and checks a process document, as `exec --process` takes it.
    pub fn parse(bytes: &[u8]) -> Result<Self, SpecError> {
        let process: Self = json::parse_any_case(bytes)?;
        process.check()?;
        Ok(process)
    }
}
