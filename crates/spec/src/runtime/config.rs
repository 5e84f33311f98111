//! `config.json`: the document as a whole, its root file system and its mounts.
//!
//! Invariant: a [`Spec`] that [`Spec::parse`] gave keeps the rules of the specification that need
//! no look at the machine.
//! Absent on purpose: whether `process` and `root` are there at all (creating asks for more than
//! other commands do), and what mount options mean.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::SpecError;
use super::hooks::Hooks;
use super::linux::{IdMapping, Linux};
use super::process::Process;
use crate::json;

/// The version of the specification that these types describe.
pub const VERSION: &str = "1.3.0";

/// A bundle's `config.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Version of the specification that the document keeps to.
    pub oci_version: String,
    /// The container's program; absent where the container is only to be created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The container's root file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// Host name inside the uts namespace.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// NIS domain name inside the uts namespace.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// Mounts beside the root, in the order in which they are made.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Programs to call at points of the container's life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Free notes of whoever made the bundle.
    #[serde(
        default,
        deserialize_with = "json::nullable_values",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Everything that only Linux has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
}

/// Where the root file system lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Root {
    /// Absolute, or relative to the bundle.
    pub path: String,
    /// Whether the container sees it read-only.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "json::is_false")]
    pub readonly: bool,
}

/// One mount below the root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Path inside the container.
    pub destination: String,
    /// File system type; absent for bind mounts.
    #[serde(
        default,
        rename = "type",
        deserialize_with = "json::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub kind: Option<String>,
    /// Device name, or path on the host (relative ones start at the bundle).
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// As in fstab, uninterpreted.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// User ids as this mount shows them; given together with those of groups.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids as this mount shows them.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
}

impl Spec {
    /// Reads and checks a `config.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, SpecError> {
        let spec: Self = json::parse_any_case(bytes)?;
        spec.check()?;
        Ok(spec)
    }

    /// Prints it in one line.
    pub fn to_json(&self) -> String {
        json::print(self)
    }

    /// Prints it for people, indented by tabs.
    pub fn to_json_pretty(&self) -> String {
        json::print_pretty(self)
    }
}
