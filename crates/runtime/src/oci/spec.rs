//! `spec`: a configuration to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use dhow_spec::runtime::{
    Capabilities, DeviceRule, IdMapping, Linux, Mount, Namespace, NamespaceKind, Process,
    Resources, Rlimit, RlimitKind, Root, Spec, VERSION,
};
use dhow_sys::Errno;

use super::arguments::{Arg, Arguments, UsageError, unexpected};
use super::help::{Help, Topic};
use super::{Command, Context, Failure};
use crate::cgroup::Hierarchies;
use crate::error::Error;

pub(super) const COMMAND: Command = Command { name: "spec", help: &HELP, failure: 1, run };

const HELP: Help = Help {
    usage: "[OPTIONS]",
    about: "Writes a config.json that runs a shell in the directory rootfs. Never overwrites one.",
    topics: &[Topic {
        title: "OPTIONS",
        entries: &[
            ("-b, --bundle DIR", "where to write it; the current directory if absent"),
            ("-f, --file FILE", "name of the file; config.json if absent"),
            ("--rootless", "for a user without rights: a user namespace, the host's network"),
        ],
    }],
};

#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    bundle: PathBuf,
    file: PathBuf,
    rootless: bool,
}

fn parse(mut arguments: Arguments) -> Result<Wanted, UsageError> {
    let mut wanted =
        Wanted { bundle: PathBuf::new(), file: PathBuf::from("config.json"), rootless: false };
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Short('b') | Arg::Long("bundle") => wanted.bundle = arguments.path()?,
            Arg::Short('f') | Arg::Long("file") => wanted.file = arguments.path()?,
            Arg::Long("rootless") => wanted.rootless = arguments.switch()?,
            other => return Err(unexpected(other)),
        }
    }
    Ok(wanted)
}

fn run(_: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let wanted = parse(arguments)?;
    let mut spec = default();
    // As runc does: where version 1 has controllers, their files are looked for at the host's paths.
    if Hierarchies::discover().is_ok_and(|hierarchies| hierarchies.is_pure_v2()) {
        spec.linux.get_or_insert_default().namespaces.push(own(NamespaceKind::Cgroup));
    }
    if wanted.rootless {
        let user = rustix::process::geteuid().as_raw();
        make_rootless(&mut spec, user, rustix::process::getegid().as_raw());
    }
    let path = wanted.bundle.join(wanted.file);
    let text = spec.to_json_pretty() + "\n";
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => Ok(0),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Error::Refused {
            field: "spec",
            value: path.display().to_string(),
            reason: "it exists; remove it first",
        }
        .into()),
        Err(error) => {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Err(Error::file("write", path, errno).into())
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// What runc generates.
fn default() -> Spec {
    Spec {
        oci_version: VERSION.to_owned(),
        process: Some(process()),
        root: Some(Root { path: "rootfs".to_owned(), readonly: true }),
        hostname: Some("dhow".to_owned()),
        domainname: None,
        mounts: mounts(),
        hooks: None,
        annotations: Default::default(),
        linux: Some(linux()),
    }
}

fn process() -> Process {
    let allowed = words("CAP_AUDIT_WRITE CAP_KILL CAP_NET_BIND_SERVICE");
    Process {
        terminal: true,
        args: words("sh"),
        env: words("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=xterm"),
        cwd: "/".to_owned(),
        capabilities: Some(Capabilities {
            bounding: allowed.clone(),
            effective: allowed.clone(),
            permitted: allowed,
            ..Capabilities::default()
        }),
        rlimits: vec![Rlimit { kind: RlimitKind::Nofile, hard: 1024, soft: 1024 }],
        no_new_privileges: true,
        ..Process::default()
    }
}

fn mounts() -> Vec<Mount> {
    [
        ("/proc", "proc", "proc", ""),
        ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
        ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
        ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
        ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
        ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
        ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
    ]
    .map(|(destination, kind, source, options)| mount(destination, kind, source, options))
    .to_vec()
}

fn mount(destination: &str, kind: &str, source: &str, options: &str) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: Some(kind.to_owned()),
        source: Some(source.to_owned()),
        options: words(options),
        ..Mount::default()
    }
}

fn linux() -> Linux {
    use NamespaceKind::{Ipc, Mount, Network, Pid, Uts};
    let all_devices =
        DeviceRule { allow: false, access: Some("rwm".to_owned()), ..DeviceRule::default() };
    Linux {
        resources: Some(Resources { devices: vec![all_devices], ..Resources::default() }),
        namespaces: [Pid, Network, Ipc, Uts, Mount].map(own).to_vec(),
        masked_paths: words(
            "/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list \
             /proc/timer_stats /proc/sched_debug /sys/firmware /proc/scsi",
        ),
        readonly_paths: words("/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"),
        ..Linux::default()
    }
}

/// A new namespace.
fn own(kind: NamespaceKind) -> Namespace {
    Namespace { kind, path: None }
}

/// What a user without rights can run: himself as root, on the host's network and without limits.
fn make_rootless(spec: &mut Spec, uid: u32, gid: u32) {
    if let Some(linux) = &mut spec.linux {
        linux.resources = None;
        linux.namespaces.retain(|namespace| namespace.kind != NamespaceKind::Network);
        linux.namespaces.push(own(NamespaceKind::User));
        linux.uid_mappings = vec![IdMapping { container_id: 0, host_id: uid, size: 1 }];
        linux.gid_mappings = vec![IdMapping { container_id: 0, host_id: gid, size: 1 }];
    }
    for one in &mut spec.mounts {
        // Ids beside his own mean nothing here, and sysfs belongs to the network's owner.
        one.options.retain(|word| !word.starts_with("gid=") && !word.starts_with("uid="));
        if one.destination == "/sys" {
            *one = mount("/sys", "none", "/sys", "rbind nosuid noexec nodev ro");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::arguments::words as line;
    use super::*;

    #[test]
    fn every_option_is_read() {
        let wanted = parse(line("-b /b -f x.json --rootless")).unwrap();
        let expected = Wanted { bundle: "/b".into(), file: "x.json".into(), rootless: true };
        assert_eq!(wanted, expected);
        assert_eq!(parse(line("--bundle=/b --file x.json --rootless")).unwrap(), expected);
        assert!(parse(line("c1")).is_err());
    }

    #[test]
    fn what_is_generated_is_valid() {
        let mut spec = default();
        assert_eq!(Spec::parse(spec.to_json_pretty().as_bytes()).unwrap(), spec);
        make_rootless(&mut spec, 1000, 1001);
        assert_eq!(Spec::parse(spec.to_json_pretty().as_bytes()).unwrap(), spec);
        let linux = spec.linux.unwrap();
        assert_eq!(linux.uid_mappings[0].host_id, 1000);
        assert_eq!(linux.gid_mappings[0].host_id, 1001);
        let kinds: Vec<&str> = linux.namespaces.iter().map(|one| one.kind.as_str()).collect();
        assert_eq!(kinds, ["pid", "ipc", "uts", "mount", "user"]);
        let options: Vec<&String> = spec.mounts.iter().flat_map(|one| &one.options).collect();
        assert!(options.iter().all(|word| !word.starts_with("gid=")));
    }

    #[test]
    fn a_file_that_is_there_stays() {
        let dir = std::env::temp_dir().join(format!("dhow-spec-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let command = || {
            let environment = super::super::Environment::default();
            let (global, _) = super::super::global::parse(&mut line("spec")).unwrap();
            let context = Context { global: &global, environment: &environment };
            run(&context, line(&format!("-b {}", dir.display())))
        };
        assert_eq!(command().unwrap(), 0);
        let first = std::fs::read(dir.join("config.json")).unwrap();
        let message = command().unwrap_err().to_string();
        let second = std::fs::read(dir.join("config.json")).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(message.ends_with("config.json\": it exists; remove it first"), "{message}");
        assert_eq!(first, second);
        assert_eq!(Spec::parse(&first).unwrap().process, default().process);
    }
}
