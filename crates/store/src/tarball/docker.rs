//! `manifest.json`, Docker's list of the images in an archive.

use serde::{Deserialize, Serialize};

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    /// The entry with its configuration.
    pub(super) config: String,
    /// What it is called; Docker writes null for nothing.
    pub(super) repo_tags: Option<Vec<String>>,
    /// The entries with its layers, lowest first.
    pub(super) layers: Option<Vec<String>>,
}
