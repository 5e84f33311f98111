//! The `linux` object: namespaces, id mappings, devices, and what hangs on them.
//!
//! Invariant: a parsed [`Linux`] names each namespace at most once, and every device of it could
//! be made by its numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rdt::{IntelRdt, MemoryPolicy};
use super::resources::Resources;
use super::seccomp::Seccomp;
use super::words::words;
use crate::json;

/// Everything that only Linux has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    /// User ids inside the user namespace.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids inside the user namespace.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
    /// Kernel parameters, dotted, set inside the namespaces.
    #[serde(
        default,
        deserialize_with = "json::nullable_values",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub sysctl: BTreeMap<String, String>,
    /// Limits, and what the cgroup allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Where the cgroup lies; its syntax belongs to the cgroup manager.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub cgroups_path: Option<String>,
    /// Namespaces to make or to join; those not named are shared with the runtime.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Namespace>,
    /// Device nodes to make beside the default ones.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Network devices of the host to move in, by their name there.
    #[serde(
        default,
        deserialize_with = "json::nullable_values",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub net_devices: BTreeMap<String, NetDevice>,
    /// System call filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Seccomp>,
    /// Propagation of the root mount.
    #[serde(default, deserialize_with = "json::word", skip_serializing_if = "Option::is_none")]
    pub rootfs_propagation: Option<Propagation>,
    /// Paths that the container cannot see.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub masked_paths: Vec<String>,
    /// Paths that the container cannot write.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub readonly_paths: Vec<String>,
    /// SELinux context of the mounts.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub mount_label: Option<String>,
    /// Cache and memory bandwidth allocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<IntelRdt>,
    /// NUMA memory policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<MemoryPolicy>,
    /// Execution domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personality: Option<Personality>,
    /// Offsets of the clocks inside the time namespace.
    #[serde(
        default,
        deserialize_with = "json::word_keys",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub time_offsets: BTreeMap<Clock, TimeOffset>,
}

/// A range of ids inside a namespace and the range outside that it stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// First id inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// First id outside.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

words! {
    /// The kinds of namespaces.
    NamespaceKind {
        Pid = "pid",
        Network = "network",
        Mount = "mount",
        Ipc = "ipc",
        Uts = "uts",
        User = "user",
        Cgroup = "cgroup",
        Time = "time",
    }
}

/// One namespace of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespace {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: NamespaceKind,
    /// The one to join; a new one is made where this is absent.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

words! {
    /// What a device node is.
    DeviceKind {
        Char = "c",
        Block = "b",
        UnbufferedChar = "u",
        Fifo = "p",
    }
}

/// A device node to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Path inside the container.
    pub path: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: DeviceKind,
    /// Major number; a FIFO has none.
    #[serde(default, deserialize_with = "json::nullable")]
    pub major: i64,
    /// Minor number.
    #[serde(default, deserialize_with = "json::nullable")]
    pub minor: i64,
    /// Permissions; some writers leave the file type in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// Owner inside the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group inside the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// A network device that moves in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetDevice {
    /// Its name inside; absent where it keeps the one it has.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

words! {
    /// Mount propagation; with the `r` it reaches the whole tree.
    Propagation {
        Private = "private",
        Shared = "shared",
        Slave = "slave",
        Unbindable = "unbindable",
        RecursivePrivate = "rprivate",
        RecursiveShared = "rshared",
        RecursiveSlave = "rslave",
        RecursiveUnbindable = "runbindable",
    }
}

words! {
    /// Execution domains.
    PersonalityDomain {
        Linux = "LINUX",
        Linux32 = "LINUX32",
    }
}

/// What `personality` gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Personality {
    /// The domain.
    pub domain: PersonalityDomain,
    /// The specification has the field and no word for it yet.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

words! {
    /// The clocks that a time namespace shifts.
    Clock {
        Boottime = "boottime",
        Monotonic = "monotonic",
    }
}

/// How far a clock is shifted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeOffset {
    /// Seconds, of either sign.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "is_zero_i64")]
    pub secs: i64,
    /// Nanoseconds on top, less than a second.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "is_zero_u32")]
    pub nanosecs: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero_i64(value: &i64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero_u32(value: &u32) -> bool {
    *value == 0
}
