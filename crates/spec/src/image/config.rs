//! An image's configuration: what its layers unpack to, what a container of it runs, and how it
//! came to be.
//!
//! Invariant: a parsed [`ImageConfig`] has a root file system; whether its layers are as many as
//! the manifest's is asked by [`ImageConfig::check_layers`].
//! Absent on purpose: chain ids (they need hashing), and the fields that Docker once filled with
//! the container that an image was committed from.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::CONFIG_BYTES_MAX;
use super::error::ImageError;
use super::timestamp::Timestamp;
use crate::digest::Digest;
use crate::json;
use crate::platform::Platform;

/// The configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made.
    #[serde(default, deserialize_with = "json::word", skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Who made it.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// In Go's words; old images may leave it out.
    #[serde(default, deserialize_with = "json::nullable")]
    pub architecture: String,
    /// In Go's words; old images may leave it out and mean Linux.
    #[serde(default, deserialize_with = "json::nullable")]
    pub os: String,
    /// Only Windows has a use for it.
    #[serde(
        rename = "os.version",
        default,
        deserialize_with = "json::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// What of the system must be there.
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "json::nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Generation of the architecture.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// What a container of it gets unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<RunConfig>,
    /// What the layers unpack to.
    pub rootfs: RootFs,
    /// The steps that made it, first one first.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

/// What a container gets unless told otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// User and group, by name or number.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Ports on which it listens (`80/tcp`).
    #[serde(
        default,
        deserialize_with = "read_set",
        serialize_with = "print_set",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub exposed_ports: BTreeSet<String>,
    /// Environment, as `NAME=value`.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// What stands before the arguments.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Arguments, or the whole command where there is no entry point.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Directories that get volumes of their own.
    #[serde(
        default,
        deserialize_with = "read_set",
        serialize_with = "print_set",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub volumes: BTreeSet<String>,
    /// Working directory.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Free notes.
    #[serde(
        default,
        deserialize_with = "json::nullable_values",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks it to stop.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Windows: whether the command line is quoted already.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "json::is_false")]
    pub args_escaped: bool,
    /// Docker's: how to learn whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthCheck>,
    /// Docker's: instructions for builds that start from it.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Docker's: what runs commands that are written as one text.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// How to learn whether a container is well; durations in nanoseconds, zero means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthCheck {
    /// `NONE`, or `CMD` and arguments, or `CMD-SHELL` and a text; empty means inherited.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Until a check counts as failed.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// From the start until failures count.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks in that time.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unwell.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// What the layers unpack to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(rename = "type")]
    kind: RootFsKind,
    /// Digests of the layers' tars, lowest first.
    #[serde(default, deserialize_with = "json::nullable")]
    pub diff_ids: Vec<Digest>,
}

/// There was another kind once, for Windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RootFsKind {
    #[default]
    Layers,
}

/// One step that made the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When.
    #[serde(default, deserialize_with = "json::word", skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// By which command.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// By whom.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Why.
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it left the root file system alone, and so made no layer.
    #[serde(default, deserialize_with = "json::nullable", skip_serializing_if = "json::is_false")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// The configuration of an image for a platform, without anything in it.
    pub fn new(platform: &Platform) -> Self {
        Self {
            created: None,
            author: None,
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            os_version: platform.os_version.clone(),
            os_features: platform.os_features.clone(),
            variant: platform.variant.clone(),
            config: None,
            rootfs: RootFs::default(),
            history: Vec::new(),
        }
    }

    /// Reads a configuration.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        if bytes.len() > CONFIG_BYTES_MAX {
            return Err(ImageError::TooLarge { size: bytes.len(), max: CONFIG_BYTES_MAX });
        }
        Ok(json::parse(bytes)?)
    }

    /// Whether the manifest's layers are as many as this configuration knows of.
    pub fn check_layers(&self, layers: usize) -> Result<(), ImageError> {
        let diff_ids = self.rootfs.diff_ids.len();
        if layers == diff_ids {
            return Ok(());
        }
        Err(ImageError::LayerCount { layers, diff_ids })
    }

    /// What the image is made for.
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
        }
    }

    /// Prints it in one line.
    pub fn to_json(&self) -> String {
        json::print(self)
    }
}

impl RootFs {
    /// Of these layers, lowest first.
    pub fn new(diff_ids: Vec<Digest>) -> Self {
        Self { kind: RootFsKind::Layers, diff_ids }
    }
}

/// What Go's sets map to.
#[derive(Default, Serialize, Deserialize)]
struct Empty {}

/// Go writes a set as a map to empty objects.
fn read_set<'de, D: Deserializer<'de>>(reader: D) -> Result<BTreeSet<String>, D::Error> {
    let map: BTreeMap<String, Empty> = json::nullable_values(reader)?;
    Ok(map.into_keys().collect())
}

fn print_set<S: Serializer>(set: &BTreeSet<String>, printer: S) -> Result<S::Ok, S::Error> {
    printer.collect_map(set.iter().map(|key| (key, Empty {})))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Docker writes it, nulls and leftovers included.
    const DOCKER: &str = r#"{"architecture":"amd64","config":{"Hostname":"","AttachStdin":false,
        "User":"","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Cmd":["nginx"],"Image":"sha256:0",
        "Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":null,
        "Healthcheck":{"Test":["NONE"],"Interval":5}},"container":"x","container_config":{},
        "created":"2024-01-02T03:04:05.123456789Z","docker_version":"20.10.23",
        "history":[{"created":"2024-01-02T03:04:05Z","created_by":"ADD x in / "},
        {"created_by":"CMD","empty_layer":true}],"os":"linux","rootfs":{"type":"layers","diff_ids":
        ["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#;

    #[test]
    fn dockers_configuration_is_understood() {
        let config = ImageConfig::parse(DOCKER.as_bytes()).expect("a configuration");
        let run = config.config.as_ref().expect("defaults");
        assert_eq!(run.exposed_ports.first().map(String::as_str), Some("80/tcp"));
        assert_eq!((run.user.as_deref(), run.volumes.len()), (None, 0));
        assert_eq!(run.healthcheck.as_ref().map(|check| check.interval), Some(5));
        assert_eq!(config.platform().to_string(), "linux/amd64");
        assert!(config.check_layers(1).is_ok());
        assert_eq!(
            config.check_layers(2).expect_err("one too many").to_string(),
            "2 layers in the manifest, 1 in the configuration"
        );
        let again = ImageConfig::parse(config.to_json().as_bytes()).expect("our own");
        assert_eq!(again, config);
        assert!(config.to_json().contains(r#""ExposedPorts":{"80/tcp":{}}"#));
    }

    #[test]
    fn refusals_name_the_path() {
        let check = |from: &str, to: &str, expected: &str| {
            let text = DOCKER.replace(from, to);
            let error = ImageConfig::parse(text.as_bytes()).expect_err(to).to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(r#""type":"layers""#, r#""type":"base""#, "rootfs.type: unknown variant `base`");
        check(r#"["sha256:e3"#, r#"["sha1:e3"#, "rootfs.diff_ids[0]: unsupported digest algorithm");
        check("rootfs", "fs", "missing field `rootfs`");
        check(r#"["A=b"]"#, r#"{"A":"b"}"#, "config.Env: invalid type: map");
        check("2024-01-02T03:04:05Z", "yesterday", "history[0].created: \"yesterday\" is not");
    }
}
