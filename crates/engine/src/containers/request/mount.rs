//! What of elsewhere a container sees: `Binds`, `Mounts`, `Tmpfs` and `VolumesFrom`.
//!
//! Invariant: destinations are absolute and not the root; a bind has an absolute source, a volume a name
//! that can be a directory's, or none.
//! Absent on purpose: whether sources exist; the names of anonymous volumes, which whoever creates the
//! container makes up.

use std::fmt;
use std::str::FromStr;

use std::collections::BTreeMap;

use dhow_spec::runtime::Propagation;
use serde::{Deserialize, Serialize};

use super::error::{Field, MountFault, RequestError};
use super::text::{as_text, clean_path, is_local_path};

/// One of `Binds`: `source:destination[:mode]`, or a destination alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    text: String,
    /// What is mounted.
    pub source: BindSource,
    /// Where, absolute and clean.
    pub destination: String,
    /// How.
    pub mode: BindMode,
}

/// What one of `Binds` mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindSource {
    /// A path of the host, absolute and clean.
    Host(String),
    /// A volume, by name.
    Volume(String),
    /// A volume of its own.
    Anonymous,
}

/// The options of a bind or volume (`ro,rslave,nocopy`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BindMode {
    /// The options as written.
    pub text: String,
    /// Whether it cannot be written to.
    pub read_only: bool,
    /// How later mounts below it spread.
    pub propagation: Option<Propagation>,
    /// Whether a new volume stays empty.
    pub no_copy: bool,
    /// `z` or `Z`: whether its files get a label, and whether for this container alone.
    pub relabel: Option<Relabel>,
}

/// SELinux labels of what is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relabel {
    /// `z`: for every container.
    Shared,
    /// `Z`: for this one.
    Private,
}

/// One of `VolumesFrom`: `container[:mode]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumesFrom {
    text: String,
    /// The container, by name or id.
    pub container: String,
    /// Whether its volumes cannot be written to.
    pub read_only: bool,
}

/// One of `Mounts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    /// Where, as written.
    pub target: String,
    /// Whether it cannot be written to.
    #[serde(default)]
    pub read_only: bool,
    /// A hint that only other systems use; kept for who asks.
    #[serde(default)]
    pub consistency: String,
    /// What.
    pub source: MountSource,
}

/// What one of `Mounts` mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountSource {
    /// A path of the host.
    Bind(BindRequest),
    /// A volume.
    Volume(VolumeRequest),
    /// Memory.
    Tmpfs(TmpfsRequest),
    /// The root file system of an image.
    Image(ImageRequest),
}

/// A path of the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BindRequest {
    /// The path, absolute.
    pub path: String,
    /// Whether the request had `BindOptions` at all.
    pub with_options: bool,
    /// How later mounts below it spread.
    pub propagation: Option<Propagation>,
    /// Whether mounts below it stay behind.
    pub non_recursive: bool,
    /// Whether an absent source becomes a directory.
    pub create: bool,
    /// Whether only the topmost mount is read-only.
    pub read_only_non_recursive: bool,
    /// Whether it is an error if not all mounts can be read-only.
    pub read_only_force: bool,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeRequest {
    /// Its name; a volume of its own where absent.
    pub name: Option<String>,
    /// Whether the request had `VolumeOptions` at all.
    pub with_options: bool,
    /// Whether it stays empty when it is new.
    pub no_copy: bool,
    /// Labels for it when it is new.
    pub labels: BTreeMap<String, String>,
    /// Its driver, and the driver's options.
    pub driver: Option<DriverRequest>,
    /// What below it is mounted; the volume's root where empty.
    pub subpath: String,
}

/// A volume's driver.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DriverRequest {
    /// Its name; `local` where empty.
    pub name: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// Memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TmpfsRequest {
    /// Whether the request had `TmpfsOptions` at all.
    pub with_options: bool,
    /// Its size; the kernel's choice where zero.
    pub size_bytes: i64,
    /// Permissions of its root; the kernel's choice where zero.
    pub mode: u32,
    /// More options, as name or name and value.
    pub options: Vec<(String, Option<String>)>,
}

/// The root file system of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageRequest {
    /// The image, as written.
    pub image: String,
    /// What below it is mounted; its root where empty.
    pub subpath: String,
}

impl FromStr for Bind {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let form = || RequestError::Bind { text: text.to_owned(), fault: None };
        let parts: Vec<&str> = text.splitn(4, ':').collect();
        let (source, destination, mode) = match parts[..] {
            [""] | ["", ..] | [_, _, _, _, ..] | [] => return Err(form()),
            [destination] => ("", destination, ""),
            // A destination with options and no source would be read as a volume of that name.
            [_, mode] if BindMode::from_str(mode).is_ok() => return Err(form()),
            [source, destination] => (source, destination, ""),
            [source, destination, mode] => (source, destination, mode),
        };
        let mode = mode.parse()?;
        let kind = if source.starts_with('/') { "bind" } else { "volume" };
        let fault =
            |fault| RequestError::Bind { text: text.to_owned(), fault: Some((kind, fault)) };
        let destination = check_target(destination).map_err(fault)?;
        let source = match source {
            "" => BindSource::Anonymous,
            path if path.starts_with('/') => BindSource::Host(clean_path(path)),
            name => BindSource::Volume(check_volume_name(name)?.to_owned()),
        };
        Ok(Self { text: text.to_owned(), source, destination, mode })
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for BindMode {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let mut mode = Self { text: text.to_owned(), ..Self::default() };
        let mut kinds = Vec::new();
        for word in text.split(',').filter(|_| !text.is_empty()) {
            let kind = match word {
                "rw" => 0,
                "ro" => {
                    mode.read_only = true;
                    0
                }
                "z" | "Z" => {
                    let shared = word == "z";
                    mode.relabel = Some(if shared { Relabel::Shared } else { Relabel::Private });
                    1
                }
                "nocopy" => {
                    mode.no_copy = true;
                    2
                }
                "consistent" | "cached" | "delegated" => 3,
                word => {
                    mode.propagation = propagation(word);
                    if mode.propagation.is_none() {
                        return Err(RequestError::word(Field::MountMode, text));
                    }
                    4
                }
            };
            if kinds.contains(&kind) {
                return Err(RequestError::word(Field::MountMode, text));
            }
            kinds.push(kind);
        }
        Ok(mode)
    }
}

impl fmt::Display for BindMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for VolumesFrom {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let (container, words) = text.split_once(':').unwrap_or((text, ""));
        if container.is_empty() {
            return Err(RequestError::EmptyVolumesFrom);
        }
        let mode: BindMode = words.parse()?;
        if mode.propagation.is_some() || mode.no_copy {
            return Err(RequestError::word(Field::MountMode, words));
        }
        let container = container.to_owned();
        Ok(Self { text: text.to_owned(), container, read_only: mode.read_only })
    }
}

impl fmt::Display for VolumesFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

as_text!(Bind, BindMode, VolumesFrom);

impl MountRequest {
    /// Its type, as the API tells it.
    pub fn kind(&self) -> &'static str {
        self.source.kind()
    }

    /// Where, absolute and clean.
    pub fn destination(&self) -> String {
        clean_path(&self.target)
    }

    pub(super) fn check(&self) -> Result<(), RequestError> {
        let kind = self.kind().to_owned();
        self.fault().map_err(|fault| RequestError::Mount { kind, fault })?;
        match &self.source {
            MountSource::Volume(volume) => {
                volume.name.as_deref().map_or(Ok(()), |name| check_volume_name(name).map(drop))
            }
            _ => Ok(()),
        }
    }

    fn fault(&self) -> Result<(), MountFault> {
        check_target(&self.target)?;
        match &self.source {
            MountSource::Bind(bind) => bind.fault(self.read_only),
            MountSource::Volume(volume) => volume.fault(self.read_only),
            MountSource::Tmpfs(tmpfs) => tmpfs.fault(),
            MountSource::Image(image) if image.image.is_empty() => {
                Err(MountFault::Missing { field: "Source" })
            }
            MountSource::Image(image) => check_subpath(&image.subpath),
        }
    }
}

impl MountSource {
    /// Its type, as the API tells it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bind(_) => "bind",
            Self::Volume(_) => "volume",
            Self::Tmpfs(_) => "tmpfs",
            Self::Image(_) => "image",
        }
    }

    /// The fault of a type that is none of these.
    pub fn refuse(kind: &str) -> RequestError {
        let fault = match kind {
            "npipe" | "cluster" => MountFault::UnsupportedType,
            _ => MountFault::UnknownType,
        };
        RequestError::Mount { kind: kind.to_owned(), fault }
    }
}

impl BindRequest {
    fn fault(&self, read_only: bool) -> Result<(), MountFault> {
        if self.path.is_empty() {
            return Err(MountFault::Missing { field: "Source" });
        }
        if !self.path.starts_with('/') {
            return Err(MountFault::Relative { path: self.path.clone() });
        }
        if !self.read_only_force {
            return Ok(());
        }
        let private = matches!(self.propagation, None | Some(Propagation::RecursivePrivate));
        match () {
            () if !read_only => Err(MountFault::ForceWithoutReadOnly),
            () if self.read_only_non_recursive => Err(MountFault::ForceAndNonRecursive),
            () if self.non_recursive => Err(MountFault::ForceNonRecursive),
            () if !private => Err(MountFault::ForceWithoutPrivate),
            () => Ok(()),
        }
    }
}

impl VolumeRequest {
    fn fault(&self, read_only: bool) -> Result<(), MountFault> {
        match self.name {
            None if !self.subpath.is_empty() => Err(MountFault::AnonymousSubpath),
            None if read_only => Err(MountFault::AnonymousReadOnly),
            _ => check_subpath(&self.subpath),
        }
    }
}

impl TmpfsRequest {
    fn fault(&self) -> Result<(), MountFault> {
        let known = |(name, value): &&(String, Option<String>)| match value {
            None => {
                matches!(name.as_str(), "exec" | "noexec" | "dev" | "nodev" | "suid" | "nosuid")
            }
            Some(_) => matches!(name.as_str(), "uid" | "gid" | "huge" | "nr_inodes" | "nr_blocks"),
        };
        match self.options.iter().find(|option| !known(option)) {
            Some((name, None)) => Err(MountFault::TmpfsOption { option: name.clone() }),
            Some((name, Some(value))) => {
                Err(MountFault::TmpfsOption { option: format!("{name}={value}") })
            }
            None => Ok(()),
        }
    }
}

/// Docker's word for a propagation.
pub(crate) fn propagation(word: &str) -> Option<Propagation> {
    match word {
        "private" => Some(Propagation::Private),
        "rprivate" => Some(Propagation::RecursivePrivate),
        "shared" => Some(Propagation::Shared),
        "rshared" => Some(Propagation::RecursiveShared),
        "slave" => Some(Propagation::Slave),
        "rslave" => Some(Propagation::RecursiveSlave),
        _ => None,
    }
}

/// Whether the text can be the name of a volume; gives it back.
pub(crate) fn check_volume_name(name: &str) -> Result<&str, RequestError> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if first && rest && name.len() >= 2 && name.len() <= 255 {
        return Ok(name);
    }
    Err(RequestError::word(Field::VolumeName, name))
}

/// A place for a mount, cleaned.
pub(super) fn check_target(target: &str) -> Result<String, MountFault> {
    if target.is_empty() {
        return Err(MountFault::Missing { field: "Target" });
    }
    let clean = clean_path(target);
    if clean == "/" {
        return Err(MountFault::Root);
    }
    if !target.starts_with('/') {
        return Err(MountFault::Relative { path: target.to_owned() });
    }
    Ok(clean)
}

fn check_subpath(subpath: &str) -> Result<(), MountFault> {
    if subpath.is_empty() || is_local_path(subpath) {
        return Ok(());
    }
    Err(MountFault::Subpath)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<Bind>().expect_err(text).to_string()
    }

    #[test]
    fn binds_are_told_as_they_were_written() {
        let bind: Bind = "/a/../b/:/c/./d:ro,rslave".parse().expect("a bind");
        assert_eq!(bind.source, BindSource::Host("/b".to_owned()));
        assert_eq!((bind.destination.as_str(), bind.mode.read_only), ("/c/d", true));
        assert_eq!(bind.mode.propagation, Some(Propagation::RecursiveSlave));
        assert_eq!(bind.to_string(), "/a/../b/:/c/./d:ro,rslave");
        let stored = serde_json::to_string(&bind).expect("JSON");
        assert_eq!(serde_json::from_str::<Bind>(&stored).expect("a bind"), bind);
        let volume: Bind = "data:/data:nocopy,z".parse().expect("a volume");
        assert_eq!(volume.source, BindSource::Volume("data".to_owned()));
        assert!(volume.mode.no_copy && volume.mode.relabel == Some(Relabel::Shared));
        assert_eq!("/only".parse::<Bind>().expect("a place").source, BindSource::Anonymous);
    }

    #[test]
    fn binds_are_refused_in_dockers_words() {
        assert_eq!(refusal("/a:/b:rw:z"), "invalid volume specification: '/a:/b:rw:z'");
        assert_eq!(refusal("/a:ro"), "invalid volume specification: '/a:ro'");
        assert_eq!(refusal("/a:/b:rx"), "invalid mode: rx");
        assert_eq!(refusal("/a:/b:ro,rw"), "invalid mode: ro,rw");
        assert_eq!(
            refusal("/a:b"),
            "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute"
        );
        assert_eq!(
            refusal("/a:/"),
            "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'"
        );
        assert!(refusal("a/b:/c").starts_with("create a/b: \"a/b\" includes invalid characters"));
        assert!(refusal("a:/c").starts_with("volume name is too short"));
        let from = |text: &str| text.parse::<VolumesFrom>().expect_err(text).to_string();
        assert_eq!(from("x:rslave"), "invalid mode: rslave");
        assert_eq!(from(""), "volumes-from specification cannot be an empty string");
    }

    #[test]
    fn mounts_are_refused_in_dockers_words() {
        let check = |read_only: bool, source: MountSource, expected: &str| {
            let target = "/x".to_owned();
            let mount = MountRequest { target, read_only, consistency: String::new(), source };
            assert_eq!(mount.check().expect_err(expected).to_string(), expected);
        };
        check(
            false,
            MountSource::Bind(BindRequest::default()),
            "invalid mount config for type \"bind\": field Source must not be empty",
        );
        check(
            true,
            MountSource::Volume(VolumeRequest::default()),
            "invalid mount config for type \"volume\": must not set ReadOnly mode when using anonymous volumes",
        );
        let subpath = "../up".to_owned();
        check(
            false,
            MountSource::Volume(VolumeRequest {
                name: Some("data".to_owned()),
                subpath,
                ..VolumeRequest::default()
            }),
            "invalid mount config for type \"volume\": subpath must be a relative path within the volume",
        );
        let options = vec![("defaults".to_owned(), None)];
        check(
            false,
            MountSource::Tmpfs(TmpfsRequest { options, ..TmpfsRequest::default() }),
            "invalid mount config for type \"tmpfs\": invalid option: \"defaults\"",
        );
        assert_eq!(
            MountSource::refuse("glusterfs").to_string(),
            "invalid mount config for type \"glusterfs\": mount type unknown"
        );
    }
}
