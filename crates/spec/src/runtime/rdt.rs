//! Cache, bandwidth and NUMA placement: Intel RDT and the memory policy.

use serde::{Deserialize, Serialize};

use super::words::words;
use crate::json;

/// The container's share of caches and memory bandwidth, by the resctrl file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntelRdt {
    /// Class of service; the container's id where absent.
    #[serde(
        rename = "closID",
        default,
        deserialize_with = "json::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub clos_id: Option<String>,
    /// Lines for the class's schemata file, written last.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// L3 cache lines.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema: Option<String>,
    /// Memory bandwidth line, beginning with `MB:`.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema: Option<String>,
    /// Whether the container gets a monitoring group of its own.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "json::is_false")]
    pub enable_monitoring: bool,
}

words! {
    /// NUMA policies of `set_mempolicy`.
    MemoryPolicyMode {
        Default = "MPOL_DEFAULT",
        Bind = "MPOL_BIND",
        Interleave = "MPOL_INTERLEAVE",
        WeightedInterleave = "MPOL_WEIGHTED_INTERLEAVE",
        Preferred = "MPOL_PREFERRED",
        PreferredMany = "MPOL_PREFERRED_MANY",
        Local = "MPOL_LOCAL",
    }
}

words! {
    /// Flags of `set_mempolicy`.
    MemoryPolicyFlag {
        NumaBalancing = "MPOL_F_NUMA_BALANCING",
        RelativeNodes = "MPOL_F_RELATIVE_NODES",
        StaticNodes = "MPOL_F_STATIC_NODES",
    }
}

/// What `set_mempolicy` gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryPolicy {
    /// The policy.
    #[serde(default, deserialize_with = "json::word", skip_serializing_if = "Option::is_none")]
    pub mode: Option<MemoryPolicyMode>,
    /// Node list (`0-3,7`).
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
    /// Flags.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<MemoryPolicyFlag>,
}
