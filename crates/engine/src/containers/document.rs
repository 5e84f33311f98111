//! What a container was asked to be, as it is recorded.
//!
//! Invariant: it changes only when somebody renames or updates the container. Fields that an older program does
//! not know are skipped by it; a newer version is refused.

use std::path::{Path, PathBuf};

use dhow_spec::Digest;
use dhow_spec::image::ImageConfig;
use dhow_store::{ContainerRow, SnapshotKey};
use serde::{Deserialize, Serialize};

use super::request::CreateRequest;
use super::state::Standing;
use crate::plan::MountPoint;

/// The version that we write.
const VERSION: u32 = 1;

/// What a container was asked to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) version: u32,
    /// With the image's defaults filled in.
    pub(crate) request: CreateRequest,
    /// The image's id.
    pub(crate) image: Digest,
    /// Its configuration: the image may be gone while the container stays.
    pub(crate) image_config: ImageConfig,
    /// The storage driver of its root.
    pub(crate) driver: String,
    /// What is mounted in it.
    #[serde(default)]
    pub(crate) points: Vec<MountPoint>,
}

/// Where a container's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    /// Below the data root: what outlives a reboot.
    pub(crate) data: PathBuf,
    /// Below the exec root: its bundle.
    pub(crate) run: PathBuf,
}

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Why.
    pub(crate) reason: String,
}

impl Document {
    pub(crate) fn new(
        request: CreateRequest,
        image: Digest,
        image_config: ImageConfig,
        driver: &str,
    ) -> Self {
        Self {
            version: VERSION,
            request,
            image,
            image_config,
            driver: driver.to_owned(),
            points: Vec::new(),
        }
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a document prints")
    }

    /// Reads a record.
    pub(crate) fn read(row: &ContainerRow) -> Result<(Self, Standing), Unreadable> {
        let unreadable = |error: serde_json::Error| Unreadable { reason: error.to_string() };
        let document: Self = serde_json::from_str(&row.document).map_err(unreadable)?;
        if document.version > VERSION {
            let reason = format!("version {} is newer than {VERSION}", document.version);
            return Err(Unreadable { reason });
        }
        Ok((document, serde_json::from_str(&row.state).map_err(unreadable)?))
    }
}

impl Places {
    pub(crate) fn of(data_root: &Path, exec_root: &Path, id: &str) -> Self {
        Self { data: data_root.join("containers").join(id), run: exec_root.join(id) }
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.data.join("journal")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("monitor.sock")
    }
}

/// The key of a container's writable layer.
pub(crate) fn snapshot_key(id: &str) -> SnapshotKey {
    SnapshotKey::parse(id).expect("an id is a word")
}
