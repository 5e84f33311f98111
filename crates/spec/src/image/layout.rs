//! The `oci-layout` file: which version of the layout a directory keeps to.

use serde::{Deserialize, Serialize};

use super::error::ImageError;
use crate::json;

/// The file's content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    #[serde(rename = "imageLayoutVersion")]
    version: LayoutVersion,
}

/// There is one version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum LayoutVersion {
    #[default]
    #[serde(rename = "1.0.0")]
    One,
}

impl Layout {
    /// Name of the file.
    pub const FILE: &'static str = "oci-layout";

    /// Reads the file's content; another version is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        Ok(json::parse(bytes)?)
    }

    /// Prints the file's content.
    pub fn to_json(&self) -> String {
        json::print(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_is_known() {
        let text = r#"{"imageLayoutVersion":"1.0.0"}"#;
        assert_eq!(Layout::default().to_json(), text);
        assert_eq!(Layout::parse(text.as_bytes()).expect("ours"), Layout::default());
        assert!(Layout::parse(text.replace('1', "2").as_bytes()).is_err());
    }
}
