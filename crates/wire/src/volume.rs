//! Volumes.
//!
//! Invariant: none of its own. Absent on purpose: volumes of clusters.

use std::collections::BTreeMap;

use crate::go::object;

object! {
    /// One volume.
    Volume {
        created_at: String => "CreatedAt",
        driver: String = "Driver",
        labels: Option<BTreeMap<String, String>> = "Labels",
        mountpoint: String = "Mountpoint",
        name: String = "Name",
        options: Option<BTreeMap<String, String>> = "Options",
        scope: String = "Scope",
        status: BTreeMap<String, serde_json::Value> => "Status",
        usage: Option<VolumeUsage> => "UsageData",
    }

    /// What a volume takes, and by how many containers it is used.
    VolumeUsage {
        ref_count: i64 = "RefCount",
        size: i64 = "Size",
    }

    /// `POST /volumes/create`.
    CreateVolume {
        driver: String => "Driver",
        driver_opts: BTreeMap<String, String> => "DriverOpts",
        labels: BTreeMap<String, String> => "Labels",
        name: String => "Name",
        /// Only swarms have these.
        cluster_volume_spec: Option<serde_json::Value> => "ClusterVolumeSpec",
    }

    /// `GET /volumes`.
    Volumes {
        volumes: Vec<Volume> = "Volumes",
        warnings: Option<Vec<String>> = "Warnings",
    }

    /// `POST /volumes/prune`.
    VolumesPruned {
        volumes_deleted: Option<Vec<String>> = "VolumesDeleted",
        space_reclaimed: u64 = "SpaceReclaimed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_nobody_gave_are_null() {
        let volume = Volume { name: "tardis".to_owned(), ..Volume::default() };
        assert_eq!(
            serde_json::to_string(&volume).unwrap(),
            r#"{"Driver":"","Labels":null,"Mountpoint":"","Name":"tardis","Options":null,"Scope":""}"#
        );
    }
}
