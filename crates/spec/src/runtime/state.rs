//! A container's state, as `state` prints it, hooks read it and seccomp agents receive it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::SpecError;
use super::words::words;
use crate::json;

words! {
    /// Where a container stands in its life; `paused` is not of the specification, but everybody's.
    Status {
        Creating = "creating",
        Created = "created",
        Running = "running",
        Stopped = "stopped",
        Paused = "paused",
    }
}

/// A container's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the specification that the state keeps to.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Where it stands in its life.
    pub status: Status,
    /// Its first process, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Absolute path of its bundle.
    pub bundle: String,
    /// Those of the configuration.
    #[serde(
        default,
        deserialize_with = "json::nullable_values",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// What a seccomp agent receives together with file descriptors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProcessState {
    /// Version of the specification that the state keeps to.
    pub oci_version: String,
    /// What each descriptor is, in their order (`seccompFd`).
    pub fds: Vec<String>,
    /// The process whose calls are reported.
    pub pid: i32,
    /// The profile's `listenerMetadata`.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// The container.
    pub state: State,
}

impl State {
    /// Reads a state document.
    pub fn parse(bytes: &[u8]) -> Result<Self, SpecError> {
        Ok(json::parse(bytes)?)
    }

    /// Prints it in one line.
    pub fn to_json(&self) -> String {
        json::print(self)
    }
}

impl ContainerProcessState {
    /// Reads what an agent receives.
    pub fn parse(bytes: &[u8]) -> Result<Self, SpecError> {
        Ok(json::parse(bytes)?)
    }

    /// Prints it in one line.
    pub fn to_json(&self) -> String {
        json::print(self)
    }
}
