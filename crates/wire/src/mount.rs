//! `--mount` as JSON.
//!
//! Invariant: none of its own. Absent on purpose: volumes of clusters.

use std::collections::BTreeMap;

use crate::go::object;

object! {
    /// One wanted mount.
    Mount {
        kind: String => "Type",
        source: String => "Source",
        target: String => "Target",
        read_only: bool => "ReadOnly",
        consistency: String => "Consistency",
        bind_options: Option<BindOptions> => "BindOptions",
        volume_options: Option<VolumeOptions> => "VolumeOptions",
        image_options: Option<ImageOptions> => "ImageOptions",
        tmpfs_options: Option<TmpfsOptions> => "TmpfsOptions",
    }

    /// What only a bind mount has.
    BindOptions {
        propagation: String => "Propagation",
        non_recursive: bool => "NonRecursive",
        create_mountpoint: bool => "CreateMountpoint",
        read_only_non_recursive: bool => "ReadOnlyNonRecursive",
        read_only_force_recursive: bool => "ReadOnlyForceRecursive",
    }

    /// What only a volume has.
    VolumeOptions {
        no_copy: bool => "NoCopy",
        labels: BTreeMap<String, String> => "Labels",
        subpath: String => "Subpath",
        driver_config: Option<DriverConfig> => "DriverConfig",
    }

    /// Which volume driver, and what it is told.
    DriverConfig {
        name: String => "Name",
        options: BTreeMap<String, String> => "Options",
    }

    /// What only a mounted image has.
    ImageOptions {
        subpath: String => "Subpath",
    }

    /// What only a tmpfs has.
    TmpfsOptions {
        size_bytes: i64 => "SizeBytes",
        /// Permission bits as Go's `os.FileMode` has them.
        mode: u32 => "Mode",
        /// Each a key, or a key and its value.
        options: Vec<Vec<String>> => "Options",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_left_out() {
        let mount = Mount {
            kind: "bind".to_owned(),
            source: "/a".to_owned(),
            target: "/b".to_owned(),
            bind_options: Some(BindOptions { non_recursive: true, ..BindOptions::default() }),
            ..Mount::default()
        };
        assert_eq!(
            serde_json::to_string(&mount).unwrap(),
            r#"{"Type":"bind","Source":"/a","Target":"/b","BindOptions":{"NonRecursive":true}}"#
        );
    }
}
