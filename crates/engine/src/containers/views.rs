//! What is told about containers, as values.
//!
//! Invariant: a value is of one moment: state, name and networks belong together.
//! Absent on purpose: Docker's JSON, which the server makes of these.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dhow_spec::Digest;

use super::request::{CreateRequest, Port};
use crate::plan::{MountKind, MountPoint};

use super::state::{EndpointDetails, Health, PublishedPort, StateDetails, Status};

/// A container that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: String,
    /// What went otherwise than asked.
    pub warnings: Vec<String>,
}

/// One row of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// Its id.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// What others call it by their links: `web/db`.
    pub link_names: Vec<String>,
    /// The image as it was asked for, or its id if that name means another one now.
    pub image: String,
    /// The image's id.
    pub image_id: Digest,
    /// Program and arguments, in one line.
    pub command: String,
    /// When it was made, in nanoseconds since 1970.
    pub created_ns: i64,
    /// What it is doing.
    pub status: Status,
    /// The same in words, with since when.
    pub status_text: String,
    /// Whether it is well.
    pub health: Option<Health>,
    /// Published ports.
    pub ports: Vec<PublishedPort>,
    /// Ports that it has and nobody published.
    pub exposed: Vec<Port>,
    /// Its notes.
    pub labels: BTreeMap<String, String>,
    /// Where its network comes from.
    pub network_mode: String,
    /// Its places in networks.
    pub endpoints: Vec<EndpointDetails>,
    /// What is mounted in it.
    pub mounts: Vec<MountDetails>,
    /// Notes for the runtime.
    pub annotations: BTreeMap<String, String>,
    /// Bytes of its writable layer, and of all its layers; only if asked for.
    pub size: Option<ContainerSize>,
}

/// What a container takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerSize {
    /// Its writable layer.
    pub writable_bytes: u64,
    /// With all layers below.
    pub root_bytes: u64,
}

/// Something that is mounted in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountDetails {
    /// `bind`, `volume`, `tmpfs` or `image`.
    pub kind: String,
    /// A volume's name.
    pub name: String,
    /// On the host.
    pub source: String,
    /// In the container.
    pub destination: String,
    /// A volume's driver.
    pub driver: String,
    /// Options as they were written.
    pub mode: String,
    /// It can be written.
    pub writable: bool,
    /// How mounts below it spread.
    pub propagation: String,
}

impl MountDetails {
    pub(crate) fn of(point: &MountPoint) -> Self {
        let kind = match point.kind {
            MountKind::Bind => "bind",
            MountKind::Volume => "volume",
            MountKind::Tmpfs => "tmpfs",
            MountKind::Image => "image",
        };
        let driver = if point.kind == MountKind::Volume { "local" } else { "" };
        let propagation = point.propagation.map(|propagation| propagation.to_string());
        Self {
            kind: kind.to_owned(),
            name: point.name.clone(),
            source: point.source.clone(),
            destination: point.destination.clone(),
            driver: driver.to_owned(),
            mode: point.mode.clone(),
            writable: point.writable,
            propagation: propagation.unwrap_or_default(),
        }
    }
}

/// Everything about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerDetails {
    /// Its id.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// When it was made, in nanoseconds since 1970.
    pub created_ns: i64,
    /// How it was asked for, with the image's defaults filled in.
    pub request: CreateRequest,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What it is doing.
    pub state: StateDetails,
    /// The image's id.
    pub image_id: Digest,
    /// Restarts by the policy.
    pub restart_count: u32,
    /// The storage driver.
    pub driver: String,
    /// `linux`, as all of ours.
    pub platform: String,
    /// What runs it.
    pub runtime: String,
    /// Its file of name servers, or where it will be.
    pub resolv_conf_path: PathBuf,
    /// Its file with its name.
    pub hostname_path: PathBuf,
    /// Its file of known hosts.
    pub hosts_path: PathBuf,
    /// Its log; empty if there is none that can be read.
    pub log_path: PathBuf,
    /// What is mounted in it.
    pub mounts: Vec<MountDetails>,
    /// Its network namespace; empty while there is none of its own.
    pub sandbox_path: PathBuf,
    /// Its places in networks.
    pub endpoints: Vec<EndpointDetails>,
    /// Ids of execs that run.
    pub execs: Vec<String>,
    /// What it takes; only if asked for.
    pub size: Option<ContainerSize>,
}
