//! `linux.cgroupsPath`: where the configuration wants the container's cgroup.
//!
//! A path is cleaned as text: `..` never climbs above the hierarchy's root, and the root itself is
//! nobody's to have. An absolute path stands below each hierarchy's mount point, a relative one (and the
//! default, the container's id) near the runtime's own cgroup.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{CgroupError, PathFault};
use super::hierarchy::{Hierarchies, Hierarchy, Version};
use super::systemd::{Bus, Property, of_annotations};

/// Who makes the cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    /// This program, in the cgroup file systems.
    Cgroupfs,
    /// systemd, asked over D-Bus for a transient scope.
    Systemd,
}

/// A container's place among the cgroups, before it is looked up in any hierarchy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CgroupPath {
    /// Below the mount point of every hierarchy.
    Absolute(PathBuf),
    /// Below the runtime's own cgroup on version 1, beside it on version 2.
    ///
    /// `asked` tells a path that the configuration names from the default: only in the default place may
    /// a user without rights go without cgroups.
    Relative {
        /// The cleaned path, never empty.
        path: PathBuf,
        /// Whether the configuration named it.
        asked: bool,
    },
    /// A scope of systemd's: `<prefix>-<name>.scope` in `slice`.
    Scope(Scope),
}

/// What a systemd cgroup path names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scope {
    /// The slice, or nothing for the manager's default (`system.slice`, `user.slice`).
    pub(super) slice: Option<String>,
    /// The unit, with its suffix.
    pub(super) unit: String,
    /// What annotations want of it besides.
    pub(super) properties: Vec<Property>,
    /// The manager, if it is not the one that this process belongs to.
    pub(super) bus: Option<Bus>,
}

impl Scope {
    fn new(slice: Option<String>, unit: String) -> Scope {
        Scope { slice, unit, properties: Vec::new(), bus: None }
    }
}

impl CgroupPath {
    /// Reads `linux.cgroupsPath` of the container `id`; an empty path is an absent one.
    pub(crate) fn parse(
        configured: Option<&str>,
        id: &str,
        manager: Manager,
    ) -> Result<CgroupPath, CgroupError> {
        let text = configured.filter(|text| !text.is_empty());
        let fault = |reason| CgroupError::Path { path: text.unwrap_or(id).to_owned(), reason };
        if text.unwrap_or(id).bytes().any(|byte| matches!(byte, 0 | b'\n')) {
            return Err(fault(PathFault::ForbiddenByte));
        }
        if manager == Manager::Systemd {
            return parse_scope(text, id).map(CgroupPath::Scope).map_err(fault);
        }
        let path = clean(text.unwrap_or(id));
        if path.as_os_str().is_empty() {
            return Err(fault(PathFault::IsRoot));
        }
        Ok(match text {
            Some(text) if text.starts_with('/') => CgroupPath::Absolute(path),
            _ => CgroupPath::Relative { path, asked: text.is_some() },
        })
    }

    /// Takes what annotations (`org.systemd.property.<Name>`) want of a scope; means nothing elsewhere.
    pub(crate) fn with_annotations(
        mut self,
        annotations: &BTreeMap<String, String>,
    ) -> Result<CgroupPath, CgroupError> {
        if let CgroupPath::Scope(scope) = &mut self {
            scope.properties = of_annotations(annotations)?;
        }
        Ok(self)
    }

    /// Whether the configuration, not this program, chose the place.
    pub(super) fn is_asked(&self) -> bool {
        !matches!(self, CgroupPath::Relative { asked: false, .. })
    }

    /// The directory in `hierarchy`; `None` for a scope, whose place systemd tells.
    pub(super) fn directory(
        &self,
        hierarchies: &Hierarchies,
        hierarchy: &Hierarchy,
    ) -> Result<Option<PathBuf>, CgroupError> {
        match self {
            CgroupPath::Absolute(path) => Ok(Some(hierarchy.mount.join(path))),
            CgroupPath::Relative { path, .. } => {
                let own = hierarchies.own_path(hierarchy)?;
                let parent = match hierarchy.version {
                    Version::V1 => own.as_path(),
                    // A version 2 cgroup with processes (ours) cannot give controllers to children.
                    Version::V2 => own.parent().unwrap_or(Path::new("")),
                };
                Ok(Some(hierarchy.mount.join(parent).join(path)))
            }
            CgroupPath::Scope(_) => Ok(None),
        }
    }
}

/// Resolves `.`, `..` and repeated slashes as text; the result is relative and may be empty.
pub(super) fn clean(text: &str) -> PathBuf {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.iter().collect()
}

/// `slice:prefix:name`; a name that ends in `.slice` is refused by systemd's own rules later.
fn parse_scope(text: Option<&str>, id: &str) -> Result<Scope, PathFault> {
    let Some(text) = text else {
        return Ok(Scope::new(None, format!("dhow-{id}.scope")));
    };
    let parts: Vec<&str> = text.split(':').collect();
    let [slice, prefix, name] = parts[..] else { return Err(PathFault::NotATriple) };
    if name.is_empty() || name.contains('/') || prefix.contains('/') {
        return Err(PathFault::NotATriple);
    }
    let slice = Some(slice).filter(|slice| !slice.is_empty()).map(str::to_owned);
    if let Some(slice) = &slice {
        slice_path(slice)?;
    }
    let unit = match prefix {
        "" => format!("{name}.scope"),
        prefix => format!("{prefix}-{name}.scope"),
    };
    Ok(Scope::new(slice, unit))
}

/// Where systemd keeps a slice: each dash is a level, so `a-b.slice` is `a.slice/a-b.slice`.
pub(super) fn slice_path(slice: &str) -> Result<PathBuf, PathFault> {
    let stem = slice.strip_suffix(".slice").ok_or(PathFault::NotASlice)?;
    if stem == "-" {
        return Ok(PathBuf::new());
    }
    if stem.contains('/') || stem.split('-').any(str::is_empty) {
        return Err(PathFault::NotASlice);
    }
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    Ok(ends.map(|end| format!("{}.slice", &stem[..end])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str, manager: Manager) -> Result<CgroupPath, String> {
        CgroupPath::parse(Some(path), "c1", manager).map_err(|error| error.to_string())
    }

    fn absolute(path: &str) -> Result<CgroupPath, String> {
        Ok(CgroupPath::Absolute(path.into()))
    }

    fn scope(slice: Option<&str>, unit: &str) -> Result<CgroupPath, String> {
        Ok(CgroupPath::Scope(Scope::new(slice.map(str::to_owned), unit.to_owned())))
    }

    #[test]
    fn paths_are_cleaned_and_never_climb() {
        assert_eq!(parse("/a//b/./c", Manager::Cgroupfs), absolute("a/b/c"));
        assert_eq!(parse("/../../x/../y", Manager::Cgroupfs), absolute("y"));
        assert_eq!(
            parse("../pods/c1", Manager::Cgroupfs),
            Ok(CgroupPath::Relative { path: "pods/c1".into(), asked: true })
        );
    }

    #[test]
    fn an_empty_path_is_the_container_s_id_near_the_runtime() {
        let default = CgroupPath::Relative { path: "c1".into(), asked: false };
        assert_eq!(CgroupPath::parse(None, "c1", Manager::Cgroupfs).unwrap(), default);
        assert_eq!(parse("", Manager::Cgroupfs), Ok(default));
    }

    #[test]
    fn the_root_and_lines_are_refused() {
        let error = |path| parse(path, Manager::Cgroupfs).unwrap_err();
        assert_eq!(error("/"), "cgroup path \"/\": names the root of the hierarchy");
        assert_eq!(error("/a/.."), "cgroup path \"/a/..\": names the root of the hierarchy");
        assert_eq!(error("/a\nb"), "cgroup path \"/a\\nb\": has a NUL byte or a line break");
    }

    #[test]
    fn a_systemd_path_is_a_triple() {
        let systemd = |path| parse(path, Manager::Systemd);
        assert_eq!(
            systemd("machine.slice:libpod:x"),
            scope(Some("machine.slice"), "libpod-x.scope")
        );
        assert_eq!(systemd(":runc:x"), scope(None, "runc-x.scope"));
        assert_eq!(systemd("a.slice::x"), scope(Some("a.slice"), "x.scope"));
        assert_eq!(systemd(""), scope(None, "dhow-c1.scope"));
        assert_eq!(
            systemd("/a/b").unwrap_err(),
            "cgroup path \"/a/b\": the systemd cgroup manager expects \"slice:prefix:name\""
        );
        assert!(systemd("nonsense:runc:x").unwrap_err().ends_with("is no name of a systemd slice"));
        assert!(systemd("a.slice:runc:").is_err());
    }

    #[test]
    fn slices_nest_by_their_dashes() {
        assert_eq!(slice_path("a-b-c.slice"), Ok("a.slice/a-b.slice/a-b-c.slice".into()));
        assert_eq!(slice_path("machine.slice"), Ok("machine.slice".into()));
        assert_eq!(slice_path("-.slice"), Ok("".into()));
        for bad in ["a--b.slice", "-a.slice", "a-.slice", ".slice", "a/b.slice", "a.scope"] {
            assert_eq!(slice_path(bad), Err(PathFault::NotASlice), "{bad}");
        }
    }
}
