//! A volume as it is recorded.
//!
//! Invariant: fields that an older program does not know are skipped by it; a newer version is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dhow_store::VolumeRow;
use serde::{Deserialize, Serialize};

use super::error::VolumeError;
use super::mounting::Mounting;

const VERSION: u32 = 1;

/// The only driver that there is.
pub(super) const LOCAL: &str = "local";

/// Label by which Docker's clients know a volume that nobody named.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// What it is called.
    pub name: String,
    /// Where its files are.
    pub mountpoint: PathBuf,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// Free notes.
    pub labels: BTreeMap<String, String>,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Document {
    version: u32,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    options: BTreeMap<String, String>,
}

impl Volume {
    /// Its driver's name.
    pub fn driver(&self) -> &'static str {
        LOCAL
    }

    /// Whether nobody named it.
    pub fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS)
    }

    /// A path of the host that it stands for, in place of a directory of its own.
    pub(super) fn device(options: &BTreeMap<String, String>) -> Option<&Path> {
        let device = options.get("device").filter(|device| !device.is_empty())?;
        Mounting::of(options).is_none().then(|| Path::new(device))
    }

    pub(super) fn row(&self) -> VolumeRow {
        let document = Document {
            version: VERSION,
            labels: self.labels.clone(),
            options: self.options.clone(),
        };
        VolumeRow {
            name: self.name.clone(),
            created_ms: self.created_ms,
            document: serde_json::to_string(&document).expect("a document prints"),
        }
    }

    /// Reads a record; `directory` is where all volumes are.
    pub(super) fn read(row: VolumeRow, directory: &Path) -> Result<Self, VolumeError> {
        let VolumeRow { name, created_ms, document } = row;
        let fault = |reason: String| VolumeError::Record { name: name.clone(), reason };
        let document: Document =
            serde_json::from_str(&document).map_err(|error| fault(error.to_string()))?;
        if document.version > VERSION {
            return Err(fault(format!("version {} is newer than {VERSION}", document.version)));
        }
        let own = directory.join(&name).join("_data");
        let mountpoint = Self::device(&document.options).map_or(own, Path::to_owned);
        let Document { labels, options, .. } = document;
        Ok(Self { name, mountpoint, created_ms, labels, options })
    }
}
