//! Containers: how they are wanted, and how they are.
//!
//! Invariant: what a request may leave open is an `Option`, so that an inspection can echo it.

mod config;
mod files;
mod host;
mod inspect;
mod life;
mod stats;

pub use config::{ContainerConfig, CreateContainer, HealthConfig};
pub use files::{Change, FileStat};
pub use host::{
    Device, DeviceRequest, HostConfig, LogConfig, Resources, RestartPolicy, ThrottleDevice, Ulimit,
    WeightDevice,
};
pub use inspect::{
    ContainerInspect, ContainerSummary, Health, HealthSummary, MountPoint, NetworkSettings,
    NetworkSettingsSummary, Port, Probe, State, SummaryHostConfig,
};
pub use life::{Created, Pruned, Top, Update, WaitError, Waited, Warnings};
pub use stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats,
    StorageStats, Throttling,
};
