//! What happened: told to whoever listens, and kept for those who come later.
//!
//! Invariant: an event is on record before it is told, and is told in the order of the records, once.
//! Absent on purpose: Docker's JSON.

mod filter;
mod hub;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::filters::Filters;

pub use hub::EventStream;
pub(crate) use hub::{Happened, Hub};

/// What something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// The engine itself.
    Daemon,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// To what kind of thing.
    pub kind: EventKind,
    /// What, in Docker's word (`start`, `exec_create: ls`).
    pub action: String,
    /// To which one.
    pub id: String,
    /// What else is known of it: name, image, labels, exit code.
    pub attributes: BTreeMap<String, String>,
    /// When, in nanoseconds since 1970.
    #[serde(skip)]
    pub time_ns: i64,
}

/// Which events are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventsRequest {
    /// From then on, in nanoseconds since 1970; only what comes if absent.
    pub since_ns: Option<i64>,
    /// Until then; for ever if absent.
    pub until_ns: Option<i64>,
    /// Narrowed to these.
    pub filters: Filters,
}

impl EventKind {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Daemon => "daemon",
        }
    }
}
