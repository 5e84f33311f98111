//! The OCI runtime specification 1.3, its Linux part: configuration, state and features.
//!
//! The types are lean and owned: what a Go program would leave out, we leave out; what Go would
//! accept (`null` for an empty list, unknown fields), we accept; a wrong word or number is refused
//! with its JSON path, line and column.
//! Absent on purpose: the parts for other systems (they are skipped as unknown fields), defaults
//! that a runtime would choose, and the meaning of mount options and capability names.

mod check;
mod config;
mod error;
mod features;
mod hooks;
mod linux;
mod process;
mod rdt;
mod resources;
mod seccomp;
mod state;
mod words;

pub use config::{Mount, Root, Spec, VERSION};
pub use error::{Fault, SpecError};
pub use features::{
    CgroupFeatures, Features, IntelRdtFeatures, LinuxFeatures, MemoryPolicyFeatures,
    MountExtensions, SeccompFeatures, Switch,
};
pub use hooks::{Hook, HookKind, Hooks};
pub use linux::{
    Clock, Device, DeviceKind, IdMapping, Linux, Namespace, NamespaceKind, NetDevice, Personality,
    PersonalityDomain, Propagation, TimeOffset,
};
pub use process::{
    Capabilities, ConsoleSize, ExecCpuAffinity, IoClass, IoPriority, Process, Rlimit, RlimitKind,
    Scheduler, SchedulerFlag, SchedulerPolicy, User,
};
pub use rdt::{IntelRdt, MemoryPolicy, MemoryPolicyFlag, MemoryPolicyMode};
pub use resources::{
    BlockIo, Cpu, DeviceRule, DeviceRuleKind, HugepageLimit, InterfacePriority, Memory, Network,
    Pids, Rdma, Resources, Throttle, WeightDevice,
};
pub use seccomp::{
    Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompFlag, SeccompOperator, SeccompRule,
};
pub use state::{ContainerProcessState, State, Status};
