//! The Docker Engine API's messages, as values: what a server sends and what a client reads.
//!
//! Invariant: only the newest version ([`API_VERSION`]) is known here, with the field names, nulls and left out
//! fields of the Go programs on both sides. A missing or `null` field reads as its zero, an unknown one is skipped.
//! Absent on purpose: what anything of it does, other versions, HTTP, and a second text for what the API's
//! reference says of each field.

mod common;
mod container;
mod event;
mod exec;
mod filters;
mod go;
mod image;
mod manifest;
mod mount;
mod network;
mod progress;
mod stream;
mod system;
mod volume;

pub use common::{AuthConfig, AuthResponse, ErrorResponse, IdResponse};
pub use container::{
    BlkioEntry, BlkioStats, Change, ContainerConfig, ContainerInspect, ContainerSummary, CpuStats,
    CpuUsage, CreateContainer, Created, Device, DeviceRequest, FileStat, Health, HealthConfig,
    HealthSummary, HostConfig, LogConfig, MemoryStats, MountPoint, NetworkSettings,
    NetworkSettingsSummary, NetworkStats, PidsStats, Port, Probe, Pruned, Resources, RestartPolicy,
    State, Stats, StorageStats, SummaryHostConfig, ThrottleDevice, Throttling, Top, Ulimit, Update,
    WaitError, Waited, Warnings, WeightDevice,
};
pub use event::{Actor, Event};
pub use exec::{CreateExec, ExecInspect, ExecProcess, StartExec};
pub use filters::{Filters, FiltersError};
pub use go::Nothing;
pub use image::{
    HistoryItem, ImageData, ImageDataSize, ImageDeleted, ImageInspect, ImageMetadata, ImageRootFs,
    ImageSummary, ImagesPruned, ManifestSize, ManifestSummary, SearchResult,
};
pub use manifest::{PushManifest, RemoteManifest};
pub use mount::{BindOptions, DriverConfig, ImageOptions, Mount, TmpfsOptions, VolumeOptions};
pub use network::{
    ConfigReference, ConnectNetwork, CreateNetwork, CreatedNetwork, DisconnectNetwork,
    EndpointIpam, EndpointResource, EndpointSettings, Ipam, IpamConfig, NetworkInspect,
    NetworkingConfig, NetworksPruned, PortBinding, PortMap,
};
pub use progress::{ErrorDetail, JsonMessage, ProgressDetail};
pub use stream::{FRAME_HEADER_BYTES, Frame, FrameError, FrameReader, Stream, frame_header};
pub use system::{
    BuildCache, BuildCachePruned, BuildCacheUsage, Commit, Component, ContainersUsage, DiskUsage,
    DistributionInspect, Firewall, ImagesUsage, IndexInfo, Info, PlatformName, Plugins,
    RegistryConfig, Runtime, SwarmInfo, Version, VolumesUsage,
};
pub use volume::{CreateVolume, Volume, VolumeUsage, Volumes, VolumesPruned};

/// The API version that these types are of.
pub const API_VERSION: &str = "1.56";
/// The oldest version that is served without being asked for.
pub const MIN_API_VERSION: &str = "1.40";
