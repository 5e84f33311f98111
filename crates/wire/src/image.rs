//! Images.
//!
//! Invariant: none of its own. Absent on purpose: who signed or built an image.

use std::collections::BTreeMap;

use dhow_spec::Platform;
use dhow_spec::image::{Descriptor, RunConfig};
use serde::{Deserialize, Serialize};

use crate::go::object;

object! {
    /// One row of `GET /images/json`.
    ImageSummary {
        /// -1 where nobody counted.
        containers: i64 = "Containers",
        created: i64 = "Created",
        id: String = "Id",
        labels: Option<BTreeMap<String, String>> = "Labels",
        parent_id: String = "ParentId",
        descriptor: Option<Descriptor> => "Descriptor",
        manifests: Option<Vec<ManifestSummary>> => "Manifests",
        repo_digests: Vec<String> = "RepoDigests",
        repo_tags: Vec<String> = "RepoTags",
        /// -1 where nobody measured.
        shared_size: i64 = "SharedSize",
        size: i64 = "Size",
    }

    /// `GET /images/{name}/json`.
    ImageInspect {
        id: String = "Id",
        repo_tags: Vec<String> = "RepoTags",
        repo_digests: Vec<String> = "RepoDigests",
        comment: String => "Comment",
        created: String => "Created",
        author: String => "Author",
        config: Option<RunConfig> = "Config",
        architecture: String = "Architecture",
        variant: String => "Variant",
        os: String = "Os",
        os_version: String => "OsVersion",
        size: i64 = "Size",
        root_fs: ImageRootFs = "RootFS",
        metadata: ImageMetadata = "Metadata",
        descriptor: Option<Descriptor> => "Descriptor",
        manifests: Option<Vec<ManifestSummary>> => "Manifests",
    }

    /// An image's layers, by the digests of what they unpack to.
    ImageRootFs {
        kind: String => "Type",
        layers: Vec<String> => "Layers",
    }

    /// What is known of an image only here.
    ImageMetadata {
        last_tag_time: String => "LastTagTime",
    }

    /// One step of how an image came to be.
    HistoryItem {
        comment: String = "Comment",
        created: i64 = "Created",
        created_by: String = "CreatedBy",
        id: String = "Id",
        size: i64 = "Size",
        tags: Option<Vec<String>> = "Tags",
    }

    /// One thing that a removal did.
    ImageDeleted {
        deleted: String => "Deleted",
        untagged: String => "Untagged",
    }

    /// `POST /images/prune`.
    ImagesPruned {
        images_deleted: Option<Vec<ImageDeleted>> = "ImagesDeleted",
        space_reclaimed: u64 = "SpaceReclaimed",
    }

    /// One row of `GET /images/search`.
    SearchResult {
        star_count: i64 = "star_count",
        is_official: bool = "is_official",
        name: String = "name",
        is_automated: bool = "is_automated",
        description: String = "description",
    }

    /// What a manifest's content takes.
    ManifestSize {
        content: i64 = "Content",
        total: i64 = "Total",
    }

    /// What only an image's manifest has.
    ImageData {
        platform: Platform = "Platform",
        size: ImageDataSize = "Size",
        containers: Vec<String> = "Containers",
    }

    /// What its unpacked layers take.
    ImageDataSize {
        unpacked: i64 = "Unpacked",
    }
}

/// One manifest of an image, here or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ManifestSummary {
    /// Its digest.
    #[serde(rename = "ID")]
    pub id: String,
    /// What the index says of it.
    pub descriptor: Descriptor,
    /// Whether all of it is here.
    pub available: bool,
    /// What it takes.
    pub size: ManifestSize,
    /// `image`, `attestation` or `unknown`.
    pub kind: String,
    /// Of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_data: Option<ImageData>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_of_the_reference() {
        let json = r#"{
            "Id": "sha256:ec3f0931a6e6b6855d76b2d7b0be30e81860baccd891b2e243280bf1cd8ad710",
            "ParentId": "", "RepoTags": ["example:1.0"],
            "RepoDigests": ["example@sha256:afcc7f1ac1b49db317a7196c902e61c6c3c4607d63599ee1a82d702d249a0ccb"],
            "Created": 1644009612, "Size": 172064416, "SharedSize": 1239828,
            "Labels": {"com.example.some-label": "some-value"}, "Containers": 2
        }"#;
        let summary: ImageSummary = serde_json::from_str(json).unwrap();
        let again = serde_json::to_value(&summary).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(json).unwrap());
    }

    #[test]
    fn what_a_removal_did() {
        let json = r#"[{"Untagged":"a:1"},{"Deleted":"sha256:53b4f83ac9"}]"#;
        let deleted: Vec<ImageDeleted> = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&deleted).unwrap(), json);
    }
}
