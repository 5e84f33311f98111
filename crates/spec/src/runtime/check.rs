//! The rules of the specification that types alone cannot express.
//!
//! Invariant: pure; a rule that needs a look at the machine is the runtime's. Paths are only put
//! together once something is wrong.

use std::collections::BTreeMap;

use super::config::{Mount, Spec};
use super::error::{Fault, SpecError};
use super::hooks::{HookKind, Hooks};
use super::linux::{Linux, Namespace};
use super::process::Process;
use super::rdt::IntelRdt;
use super::resources::{DeviceRule, Resources};
use super::seccomp::Seccomp;

type Checked = Result<(), SpecError>;

impl Spec {
    /// Whether the document keeps the rules; for configurations that were not read but made.
    pub fn check(&self) -> Checked {
        version(&self.oci_version)?;
        within("process", self.process.as_ref(), Process::check)?;
        within("root.path", self.root.as_ref(), |root| not_empty("", &root.path))?;
        each("mounts", &self.mounts, mount)?;
        within("hooks", self.hooks.as_ref(), hooks)?;
        annotations(&self.annotations)?;
        within("linux", self.linux.as_ref(), linux)
    }
}

impl Process {
    pub(crate) fn check(&self) -> Checked {
        absolute("cwd", &self.cwd)?;
        for (i, limit) in self.rlimits.iter().enumerate() {
            if self.rlimits[..i].iter().any(|earlier| earlier.kind == limit.kind) {
                return duplicate(format!("rlimits[{i}].type"), limit.kind.as_str());
            }
        }
        if let Some(score) = self.oom_score_adj {
            range("oomScoreAdj", score.into(), -1000, 1000)?;
        }
        if let Some(io) = &self.io_priority {
            range("ioPriority.priority", io.priority.into(), 0, 7)?;
        }
        if let Some(cpus) = &self.exec_cpu_affinity {
            cpu_list("execCPUAffinity.initial", cpus.initial.as_deref())?;
            cpu_list("execCPUAffinity.final", cpus.last.as_deref())?;
        }
        Ok(())
    }
}

impl Resources {
    pub(crate) fn check(&self) -> Checked {
        each("devices", &self.devices, device_rule)?;
        each("hugepageLimits", &self.hugepage_limits, |limit| page_size(&limit.page_size))?;
        for file in self.unified.keys() {
            if file.is_empty() || file.contains('/') {
                return form(format!("unified.{file}"), file, "the name of a file in the cgroup");
            }
        }
        Ok(())
    }
}

fn version(version: &str) -> Checked {
    if is_known_version(version) {
        return Ok(());
    }
    form("ociVersion", version, "a version 1.x of the specification")
}

/// Semantic versioning up to major 1; drafts from before 1.0 say 0.x and mean the same things.
fn is_known_version(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = core.split('.');
    let major = numbers.next();
    let rest: Vec<_> = numbers.collect();
    matches!(major, Some("0" | "1")) && rest.len() == 2 && rest.into_iter().all(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn mount(mount: &Mount) -> Checked {
    not_empty("destination", &mount.destination)?;
    match (mount.uid_mappings.is_empty(), mount.gid_mappings.is_empty()) {
        (false, true) => without("uidMappings", "gidMappings"),
        (true, false) => without("gidMappings", "uidMappings"),
        _ => Ok(()),
    }
}

fn hooks(hooks: &Hooks) -> Checked {
    for &kind in HookKind::ALL {
        each(kind.as_str(), hooks.of(kind), |hook| absolute("path", &hook.path))?;
    }
    Ok(())
}

fn annotations(annotations: &BTreeMap<String, String>) -> Checked {
    if annotations.contains_key("") {
        return Err(SpecError::invalid("annotations.", Fault::Empty));
    }
    Ok(())
}

fn linux(linux: &Linux) -> Checked {
    namespaces(&linux.namespaces)?;
    each("devices", &linux.devices, |device| not_empty("path", &device.path))?;
    for (name, device) in &linux.net_devices {
        interface(format_args!("netDevices.{name}"), name)?;
        if let Some(inside) = device.name.as_deref().filter(|name| !name.is_empty()) {
            interface(format_args!("netDevices.{name}.name"), inside)?;
        }
    }
    within("resources", linux.resources.as_ref(), Resources::check)?;
    within("seccomp", linux.seccomp.as_ref(), seccomp)?;
    within("intelRdt", linux.intel_rdt.as_ref(), intel_rdt)?;
    for (clock, offset) in &linux.time_offsets {
        range(format!("timeOffsets.{clock}.nanosecs"), offset.nanosecs.into(), 0, 999_999_999)?;
    }
    Ok(())
}

fn namespaces(namespaces: &[Namespace]) -> Checked {
    for (i, namespace) in namespaces.iter().enumerate() {
        if namespaces[..i].iter().any(|earlier| earlier.kind == namespace.kind) {
            return duplicate(format!("namespaces[{i}].type"), namespace.kind.as_str());
        }
    }
    each("namespaces", namespaces, |namespace| match &namespace.path {
        Some(path) => absolute("path", path),
        None => Ok(()),
    })
}

/// What the kernel takes as the name of a network device.
fn interface(path: std::fmt::Arguments<'_>, name: &str) -> Checked {
    let bad = |byte: u8| byte == b'/' || byte == b':' || byte.is_ascii_whitespace() || byte == 0x0b;
    if name.is_empty() || name.len() > 15 || matches!(name, "." | "..") || name.bytes().any(bad) {
        return form(path.to_string(), name, "the name of a network device");
    }
    Ok(())
}

fn device_rule(rule: &DeviceRule) -> Checked {
    match &rule.access {
        // `a`, for all, is a word of the kernel's for another field; configurations have it here, where it
        // adds nothing.
        Some(access) if !access.bytes().all(|byte| b"rwma".contains(&byte)) => {
            form("access", access, "made of the letters r, w and m")
        }
        _ => Ok(()),
    }
}

fn page_size(size: &str) -> Checked {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    if number.is_some_and(|number| is_number(number) && !number.starts_with('0')) {
        return Ok(());
    }
    form("pageSize", size, "a size in KB, MB or GB")
}

fn seccomp(seccomp: &Seccomp) -> Checked {
    if seccomp.listener_metadata.is_some() && seccomp.listener_path.is_none() {
        return without("listenerMetadata", "listenerPath");
    }
    for (i, rule) in seccomp.syscalls.iter().enumerate() {
        if rule.names.is_empty() {
            return Err(SpecError::invalid(format!("syscalls[{i}].names"), Fault::Empty));
        }
        for (j, arg) in rule.args.iter().enumerate() {
            if arg.index > 5 {
                return range(format!("syscalls[{i}].args[{j}].index"), arg.index.into(), 0, 5);
            }
        }
    }
    Ok(())
}

fn intel_rdt(rdt: &IntelRdt) -> Checked {
    // `/` alone is the default class.
    if let Some(id) = &rdt.clos_id
        && id != "/"
        && (id.contains('/') || matches!(id.as_str(), "." | ".."))
    {
        return form("closID", id, "the name of a directory");
    }
    if let Some(line) = &rdt.mem_bw_schema
        && (!line.starts_with("MB:") || line.contains('\n'))
    {
        return form("memBwSchema", line, "one line that begins with MB:");
    }
    Ok(())
}

fn cpu_list(path: &str, list: Option<&str>) -> Checked {
    match list {
        Some(list) if !list.bytes().all(|b| b.is_ascii_digit() || b", -".contains(&b)) => {
            form(path, list, "a list of CPUs")
        }
        _ => Ok(()),
    }
}

fn within<T>(path: &str, value: Option<&T>, check: impl Fn(&T) -> Checked) -> Checked {
    value.map_or(Ok(()), check).map_err(|error| error.under(path))
}

fn each<T>(path: &str, values: &[T], check: impl Fn(&T) -> Checked) -> Checked {
    for (i, value) in values.iter().enumerate() {
        check(value).map_err(|error| error.under(&format!("{path}[{i}]")))?;
    }
    Ok(())
}

fn not_empty(path: &str, text: &str) -> Checked {
    if text.is_empty() { Err(SpecError::invalid(path, Fault::Empty)) } else { Ok(()) }
}

fn absolute(path: &str, value: &str) -> Checked {
    if value.starts_with('/') {
        return Ok(());
    }
    Err(SpecError::invalid(path, Fault::Relative { path: value.to_owned() }))
}

fn range(path: impl Into<String>, value: i64, min: i64, max: i64) -> Checked {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(SpecError::invalid(path, Fault::Range { value, min, max }))
}

fn form(path: impl Into<String>, text: &str, expected: &'static str) -> Checked {
    Err(SpecError::invalid(path, Fault::Form { text: text.to_owned(), expected }))
}

fn duplicate(path: String, word: &str) -> Checked {
    Err(SpecError::invalid(path, Fault::Duplicate { word: word.to_owned() }))
}

fn without(path: &str, field: &'static str) -> Checked {
    Err(SpecError::invalid(path, Fault::Without { field }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line with which a configuration is refused, built around the given members.
    fn refusal(members: &str) -> String {
        let document = format!(r#"{{"ociVersion":"1.0.2"{members}}}"#);
        Spec::parse(document.as_bytes()).expect_err(&document).to_string()
    }

    fn check(members: &str, expected: &str) {
        assert_eq!(refusal(members), expected, "for {members}");
    }

    #[test]
    fn rules_name_the_path() {
        check(r#","root":{"path":""}"#, "root.path: is empty");
        check(r#","process":{"cwd":"tmp"}"#, r#"process.cwd: path "tmp" is not absolute"#);
        check(
            r#","mounts":[{"destination":"/a"},{"destination":""}]"#,
            "mounts[1].destination: is empty",
        );
        check(
            r#","linux":{"namespaces":[{"type":"pid"},{"type":"ipc"},{"type":"pid"}]}"#,
            r#"linux.namespaces[2].type: "pid" is there twice"#,
        );
        check(
            r#","hooks":{"poststop":[{"path":"true"}]}"#,
            r#"hooks.poststop[0].path: path "true" is not absolute"#,
        );
        check(
            r#","linux":{"netDevices":{"eth0":{"name":"a/b"}}}"#,
            r#"linux.netDevices.eth0.name: "a/b" is not the name of a network device"#,
        );
        check(
            r#","linux":{"resources":{"hugepageLimits":[{"pageSize":"64kB","limit":1}]}}"#,
            r#"linux.resources.hugepageLimits[0].pageSize: "64kB" is not a size in KB, MB or GB"#,
        );
        check(
            r#","mounts":[{"destination":"/a","uidMappings":[{"containerID":0,"hostID":1,"size":1}]}]"#,
            "mounts[0].uidMappings: is given without gidMappings",
        );
        check(
            r#","process":{"cwd":"/","oomScoreAdj":1001}"#,
            "process.oomScoreAdj: 1001 is not between -1000 and 1000",
        );
    }

    #[test]
    fn members_are_read_in_any_case() {
        let read = Resources::parse(br#"{"CPU":{"Cpus":"1"},"Pids":{"LIMIT":7}}"#).unwrap();
        assert_eq!(read.cpu.and_then(|cpu| cpu.cpus).as_deref(), Some("1"));
        assert_eq!(read.pids.and_then(|pids| pids.limit), Some(7));
    }

    #[test]
    fn the_reader_names_path_line_and_column() {
        check(
            r#","linux":{"resources":{"memory":{"limit":"1g"}}}"#,
            "linux.resources.memory.limit: invalid type: string \"1g\", expected i64 \
             at line 1 column 66",
        );
        check(
            r#","linux":{"namespaces":[{"type":"net"}]}"#,
            "linux.namespaces[0].type: unknown variant `net`, expected one of `pid`, `network`, \
             `mount`, `ipc`, `uts`, `user`, `cgroup`, `time` at line 1 column 58",
        );
        check(r#","root":{}"#, "root: missing field `path` at line 1 column 31");
    }

    #[test]
    fn versions() {
        for good in ["1.0.0", "1.0.2-dev", "1.3.0", "0.5.0-dev", "1.2.3-rc.1+build.5"] {
            assert!(is_known_version(good), "{good}");
        }
        for bad in ["", "1", "1.0", "2.0.0", "1.0.0.0", "1.x.0", "01.0.0", "-1.0.0", "v1.0.0"] {
            assert!(!is_known_version(bad), "{bad}");
        }
    }
}
