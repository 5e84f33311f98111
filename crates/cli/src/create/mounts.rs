//! `--mount` and `-v`: what is to be seen inside a container, and from where.
//!
//! Absent on purpose: whether a source exists; the engine is on another machine, perhaps.

use std::path::Path;

use dhow_wire::{BindOptions, DriverConfig, ImageOptions, Mount, TmpfsOptions, VolumeOptions};

use super::csv;
use crate::args::parse_bool;
use crate::units::parse_ram;

/// Reads the value of a `--mount`.
pub(crate) fn mount(text: &str, directory: &Path) -> Result<Mount, String> {
    let mut mount = Mount { kind: "volume".to_owned(), ..Mount::default() };
    for field in csv::fields(text).map_err(|error| error.to_string())? {
        match field.split_once('=') {
            None => lone(&mut mount, &field)?,
            Some((key, value)) => {
                pair(&mut mount, &key.to_lowercase(), value, &field, directory)?;
            }
        }
    }
    check(&mount)?;
    Ok(mount)
}

/// A key that stands alone.
fn lone(mount: &mut Mount, field: &str) -> Result<(), String> {
    match field.to_lowercase().as_str() {
        "readonly" | "ro" => mount.read_only = true,
        "volume-nocopy" => volume(mount).no_copy = true,
        "bind-nonrecursive" => bind(mount).non_recursive = true,
        _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
    }
    Ok(())
}

fn pair(
    mount: &mut Mount,
    key: &str,
    value: &str,
    field: &str,
    directory: &Path,
) -> Result<(), String> {
    let wrong = || format!("invalid value for {key}: {value}");
    let flag = || parse_bool(value).ok_or_else(wrong);
    match key {
        "type" => mount.kind = value.to_lowercase(),
        "source" | "src" => mount.source = absolute(value, directory),
        "target" | "dst" | "destination" => mount.target = value.to_owned(),
        "readonly" | "ro" => mount.read_only = flag()?,
        "consistency" => mount.consistency = value.to_lowercase(),
        "bind-propagation" => bind(mount).propagation = value.to_lowercase(),
        "bind-nonrecursive" => bind(mount).non_recursive = flag()?,
        "bind-recursive" => recursive(mount, key, value)?,
        "bind-create-src" => bind(mount).create_mountpoint = flag()?,
        "volume-subpath" => value.clone_into(&mut volume(mount).subpath),
        "volume-nocopy" => volume(mount).no_copy = flag()?,
        "volume-label" => insert(&mut volume(mount).labels, value),
        "volume-driver" => value.clone_into(&mut driver(mount).name),
        "volume-opt" => insert(&mut driver(mount).options, value),
        "image-subpath" => {
            let options = mount.image_options.get_or_insert_with(ImageOptions::default);
            value.clone_into(&mut options.subpath);
        }
        "tmpfs-size" => tmpfs(mount).size_bytes = parse_ram(value).map_err(|_| wrong())?,
        "tmpfs-mode" => {
            tmpfs(mount).mode = u32::from_str_radix(value, 8).map_err(|_| wrong())?;
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn recursive(mount: &mut Mount, key: &str, value: &str) -> Result<(), String> {
    match value {
        "enabled" => {}
        "disabled" => bind(mount).non_recursive = true,
        "writable" => bind(mount).read_only_non_recursive = true,
        "readonly" => bind(mount).read_only_force_recursive = true,
        _ => {
            return Err(format!(
                "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
            ));
        }
    }
    Ok(())
}

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_with(BindOptions::default)
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_with(TmpfsOptions::default)
}

fn volume(mount: &mut Mount) -> &mut VolumeOptions {
    mount.volume_options.get_or_insert_with(VolumeOptions::default)
}

fn driver(mount: &mut Mount) -> &mut DriverConfig {
    volume(mount).driver_config.get_or_insert_with(DriverConfig::default)
}

fn insert(map: &mut std::collections::BTreeMap<String, String>, pair: &str) {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    if !key.is_empty() {
        map.insert(key.to_owned(), value.to_owned());
    }
}

fn check(mount: &Mount) -> Result<(), String> {
    let kind = &mount.kind;
    if kind.is_empty() {
        return Err("type is required".to_owned());
    }
    if mount.target.is_empty() {
        return Err("target is required".to_owned());
    }
    for (given, of) in [
        (mount.volume_options.is_some(), "volume"),
        (mount.image_options.is_some(), "image"),
        (mount.bind_options.is_some(), "bind"),
        (mount.tmpfs_options.is_some(), "tmpfs"),
    ] {
        if given && kind != of {
            return Err(format!("cannot mix '{of}-*' options with mount type '{kind}'"));
        }
    }
    let Some(bind) = &mount.bind_options else { return Ok(()) };
    let needs = |option: &str, other: &str| {
        Err(format!(
            "option 'bind-recursive={option}' requires '{other}' to be specified in conjunction"
        ))
    };
    if bind.read_only_non_recursive && !mount.read_only {
        return needs("writable", "readonly");
    }
    if bind.read_only_force_recursive && !mount.read_only {
        return needs("readonly", "readonly");
    }
    if bind.read_only_force_recursive && bind.propagation != "rprivate" {
        return needs("readonly", "bind-propagation=rprivate");
    }
    Ok(())
}

/// Whether a `--mount` can be read at all.
pub(crate) fn check_mount(text: &str) -> Result<(), String> {
    mount(text, Path::new("/")).map(drop)
}

/// What a `-v` means.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum VolumeSpec {
    /// A volume without a name at this path.
    Anonymous(String),
    /// A bind mount or a named volume, as the API writes it.
    Bind(String),
}

/// Reads the value of a `-v`.
pub(crate) fn volume_spec(text: &str, directory: &Path) -> Result<VolumeSpec, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let wrong = |why: &str| Err(format!("invalid spec: {text}: {why}"));
    match parts[..] {
        [""] => Err("invalid empty volume spec".to_owned()),
        [target] => Ok(VolumeSpec::Anonymous(target.to_owned())),
        _ if parts.len() > 3 => wrong("too many colons"),
        _ if parts.iter().any(|part| part.is_empty()) => wrong("empty section between colons"),
        [source, ..] => {
            let rest = &text[source.len()..];
            Ok(VolumeSpec::Bind(format!("{}{rest}", absolute(source, directory))))
        }
        [] => Err("invalid empty volume spec".to_owned()),
    }
}

/// A path that begins with a dot is one of the user's present directory.
fn absolute(path: &str, directory: &Path) -> String {
    if !path.starts_with('.') {
        return path.to_owned();
    }
    let whole = directory.join(path).to_string_lossy().into_owned();
    let mut out: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(out.pop()),
            _ => out.push(part),
        }
    }
    format!("/{}", out.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let mount = mount(text, Path::new("/home/me"))?;
        Ok(serde_json::to_string(&mount).unwrap())
    }

    #[test]
    fn mounts_of_all_types() {
        for (text, json) in [
            (
                "type=bind,src=/a,dst=/b,ro",
                r#"{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true}"#,
            ),
            ("source=v,target=/b", r#"{"Type":"volume","Source":"v","Target":"/b"}"#),
            (
                "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770",
                r#"{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":1048576,"Mode":1016}}"#,
            ),
            (
                "type=bind,source=../x,target=/b",
                r#"{"Type":"bind","Source":"/home/x","Target":"/b"}"#,
            ),
            (
                "target=/b,volume-opt=type=nfs,volume-driver=local,\"volume-label=a=b,c\"",
                r#"{"Type":"volume","Target":"/b","VolumeOptions":{"Labels":{"a":"b,c"},"DriverConfig":{"Name":"local","Options":{"type":"nfs"}}}}"#,
            ),
        ] {
            assert_eq!(read(text).as_deref(), Ok(json), "{text}");
        }
    }

    #[test]
    fn wrong_mounts_in_docker_s_words() {
        for (text, message) in [
            ("foo", "invalid field 'foo' must be a key=value pair"),
            ("type=foo,x=y", "unexpected key 'x' in 'x=y'"),
            ("type=bind,source=/a", "target is required"),
            (
                "type=bind,target=/a,tmpfs-size=1",
                "cannot mix 'tmpfs-*' options with mount type 'bind'",
            ),
            ("target=/a,ro=x", "invalid value for ro: x"),
            (
                "type=bind,src=/a,dst=/a,bind-recursive=writable",
                "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), message, "{text}");
        }
    }

    #[test]
    fn volumes_short() {
        let read = |text| volume_spec(text, Path::new("/home/me"));
        assert_eq!(read("/data"), Ok(VolumeSpec::Anonymous("/data".to_owned())));
        assert_eq!(read("name:/data:ro"), Ok(VolumeSpec::Bind("name:/data:ro".to_owned())));
        assert_eq!(read("./x/../y:/data"), Ok(VolumeSpec::Bind("/home/me/y:/data".to_owned())));
        assert_eq!(read(".:/data"), Ok(VolumeSpec::Bind("/home/me:/data".to_owned())));
        assert_eq!(read("").unwrap_err(), "invalid empty volume spec");
        assert_eq!(read("a::b").unwrap_err(), "invalid spec: a::b: empty section between colons");
        assert_eq!(read("/a:/b:c:d").unwrap_err(), "invalid spec: /a:/b:c:d: too many colons");
    }
}
