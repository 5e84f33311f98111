//! The mounts of a container, in the order in which they are made.
//!
//! Invariant: what every container has comes first, then what was asked for, those nearer to the root
//! before those below them; a place that was asked for replaces the default one there.

use std::path::Path;

use dhow_spec::runtime::{Mount, Propagation};

use super::error::PlanError;
use super::facts::{HostFacts, StartFacts};
use super::mount_point::{MountKind, MountPoint};
use super::process::{INIT_PATH, has_init};
use crate::request::{CreateRequest, IpcMode, clean_path};

/// Recursive read-only mounts need `mount_setattr`.
const RECURSIVE_READ_ONLY: (u32, u32) = (5, 12);

/// Default mounts that stay writable under a read-only root.
const ALWAYS_WRITABLE: &[&str] = &["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"];

/// The mounts, and how the root must spread them.
pub(super) struct Mounts {
    pub(super) list: Vec<Mount>,
    pub(super) root: Option<Propagation>,
}

pub(super) fn mounts(
    request: &CreateRequest,
    points: &[MountPoint],
    start: &StartFacts,
    host: &HostFacts,
    writable_cgroups: bool,
) -> Result<Mounts, PlanError> {
    let mut asked = Vec::new();
    let mut root = None;
    for point in points {
        asked.push(of_point(point, start, host)?);
        root = wider(root, spread(point, start)?);
    }
    for (place, options) in &request.host.tmpfs {
        asked.push(memory(&clean_path(place), options.split(',')));
    }
    let taken: Vec<String> = asked.iter().map(|mount| mount.destination.clone()).collect();
    let taken = |place: &str| taken.iter().any(|known| known == place);
    files(request, start, &taken, &mut asked);
    if has_init(request, host) && !taken(INIT_PATH) {
        let options = ["bind", "ro"];
        asked.push(bind(&host.defaults.program, INIT_PATH, &options));
    }
    asked.sort_by_key(|mount| mount.destination.matches('/').count());
    let whole_dev = taken("/dev");
    let mut list = defaults(request, start, writable_cgroups);
    list.retain(|mount| {
        let below_dev = whole_dev && mount.destination.starts_with("/dev/");
        !taken(&mount.destination) && !below_dev
    });
    if request.host.readonly_rootfs {
        for mount in &mut list {
            let writable = ALWAYS_WRITABLE.contains(&mount.destination.as_str())
                || (request.host.privileged && mount.destination == "/sys");
            if !writable && !mount.options.iter().any(|option| option == "ro") {
                mount.options.push("ro".to_owned());
            }
        }
    }
    list.append(&mut asked);
    Ok(Mounts { list, root })
}

/// What every container has.
fn defaults(request: &CreateRequest, start: &StartFacts, writable_cgroups: bool) -> Vec<Mount> {
    let plain = |kind: &str, source: &str, destination: &str, options: &[&str]| Mount {
        destination: destination.to_owned(),
        kind: Some(kind.to_owned()),
        source: Some(source.to_owned()),
        options: options.iter().copied().map(str::to_owned).collect(),
        ..Mount::default()
    };
    let own = &request.host;
    let read_only = |read_only: bool, options: &[&str]| {
        let mut options: Vec<String> = options.iter().copied().map(str::to_owned).collect();
        if read_only {
            options.push("ro".to_owned());
        }
        options
    };
    let guarded = ["nosuid", "noexec", "nodev"];
    let pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let mut list = vec![
        plain("proc", "proc", "/proc", &guarded),
        plain("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        plain("devpts", "devpts", "/dev/pts", &pts),
        plain("mqueue", "mqueue", "/dev/mqueue", &guarded),
        Mount {
            options: read_only(!own.privileged, &guarded),
            ..plain("sysfs", "sysfs", "/sys", &[])
        },
        Mount {
            options: read_only(!writable_cgroups, &guarded),
            ..plain("cgroup", "cgroup", "/sys/fs/cgroup", &[])
        },
    ];
    let size = format!("size={}", own.shm_size);
    let private = ["nosuid", "noexec", "nodev", "mode=1777", &size];
    match (&own.ipc, &start.shm) {
        (IpcMode::None, _) => {}
        (_, Some(shared)) => list.push(bind(shared, "/dev/shm", &["rbind", "rprivate"])),
        (IpcMode::Host, None) => {
            list.push(bind(Path::new("/dev/shm"), "/dev/shm", &["rbind", "rprivate"]));
        }
        (_, None) => list.push(plain("tmpfs", "shm", "/dev/shm", &private)),
    }
    list
}

/// The generated files, where nothing else was asked for.
fn files(
    request: &CreateRequest,
    start: &StartFacts,
    taken: &impl Fn(&str) -> bool,
    list: &mut Vec<Mount>,
) {
    let read_only = request.host.readonly_rootfs;
    let options: &[&str] =
        if read_only { &["rbind", "ro", "rprivate"] } else { &["rbind", "rprivate"] };
    for (source, place) in [
        (&start.files.resolv_conf, "/etc/resolv.conf"),
        (&start.files.hostname, "/etc/hostname"),
        (&start.files.hosts, "/etc/hosts"),
    ] {
        if let Some(source) = source.as_deref().filter(|_| !taken(place)) {
            list.push(bind(source, place, options));
        }
    }
}

fn bind(source: &Path, destination: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: Some("bind".to_owned()),
        source: Some(source.to_string_lossy().into_owned()),
        options: options.iter().copied().map(str::to_owned).collect(),
        ..Mount::default()
    }
}

fn of_point(point: &MountPoint, start: &StartFacts, host: &HostFacts) -> Result<Mount, PlanError> {
    if point.relabel.is_some() && host.selinux {
        return Err(PlanError::Unsupported { what: "relabelling (z, Z)" });
    }
    match point.kind {
        MountKind::Tmpfs => {
            let read_only = (!point.writable).then_some("ro");
            let options = point.tmpfs.iter().map(String::as_str).chain(read_only);
            Ok(memory(&point.destination, options))
        }
        MountKind::Image => image(point, start),
        MountKind::Bind | MountKind::Volume => {
            let below = start.found.subpaths.get(&point.destination);
            let source = below.map_or(Path::new(&point.source), |path| path);
            let options = bind_options(point, host)?;
            Ok(bind(source, &point.destination, &options))
        }
    }
}

fn bind_options(point: &MountPoint, host: &HostFacts) -> Result<Vec<&'static str>, PlanError> {
    let mut options = vec![if point.non_recursive { "bind" } else { "rbind" }];
    let can = host.kernel >= RECURSIVE_READ_ONLY;
    match point.writable {
        true => {}
        false if can && !point.read_only_non_recursive && !point.non_recursive => {
            options.push("rro");
        }
        false if point.read_only_force => {
            return Err(PlanError::Kernel { lacks: "recursive read-only mounts (from 5.12 on)" });
        }
        false => options.push("ro"),
    }
    // A volume spreads nothing unless it was told to.
    options.extend(point.propagation.map(Propagation::as_str));
    Ok(options)
}

/// Memory: nothing in it is run, has rights or is a device unless the options say so.
fn memory<'a>(destination: &str, options: impl Iterator<Item = &'a str>) -> Mount {
    let mut merged: Vec<String> =
        ["noexec", "nosuid", "nodev", "rprivate"].map(str::to_owned).to_vec();
    for option in options.filter(|option| !option.is_empty()) {
        let opposite = match option {
            "exec" => "noexec",
            "noexec" => "exec",
            "suid" => "nosuid",
            "nosuid" => "suid",
            "dev" => "nodev",
            "nodev" => "dev",
            "rw" => "ro",
            "ro" => "rw",
            _ => "",
        };
        let name = option.split('=').next().unwrap_or(option);
        merged.retain(|known| {
            let same = known == option || known.split('=').next() == Some(name);
            known != opposite && !same
        });
        merged.push(option.to_owned());
    }
    Mount {
        destination: destination.to_owned(),
        kind: Some("tmpfs".to_owned()),
        source: Some("tmpfs".to_owned()),
        options: merged,
        ..Mount::default()
    }
}

/// An image is seen through its layers: one alone as it is, more by an overlay that cannot be written to.
fn image(point: &MountPoint, start: &StartFacts) -> Result<Mount, PlanError> {
    /// The kernel takes a page of options.
    const OPTIONS_BYTES_MAX: usize = 4000;
    let layers = start.found.images.get(&point.destination).map_or(&[][..], Vec::as_slice);
    match (layers, point.subpath.as_str()) {
        ([], _) => Err(PlanError::Unsupported { what: "an image without layers as a mount" }),
        ([layer], "") => Ok(bind(layer, &point.destination, &["bind", "ro", "rprivate"])),
        (_, "") => {
            let lowers: Vec<_> = layers.iter().map(|layer| layer.to_string_lossy()).collect();
            let lowers = format!("lowerdir={}", lowers.join(":"));
            if lowers.len() > OPTIONS_BYTES_MAX {
                return Err(PlanError::Unsupported {
                    what: "an image of that many layers as a mount",
                });
            }
            Ok(Mount {
                destination: point.destination.clone(),
                kind: Some("overlay".to_owned()),
                source: Some("overlay".to_owned()),
                options: vec!["ro".to_owned(), lowers],
                ..Mount::default()
            })
        }
        _ => Err(PlanError::Unsupported { what: "a subpath of an image mount" }),
    }
}

/// What the root must be so that this mount can spread; an error where its source does not.
fn spread(point: &MountPoint, start: &StartFacts) -> Result<Option<Propagation>, PlanError> {
    use Propagation::{RecursiveShared, RecursiveSlave, Shared, Slave};
    let source = start.found.mounts.get(&point.source);
    let refuse = |needed| match source {
        Some((mount, _)) => Err(PlanError::Propagation {
            source: point.source.clone(),
            mount: mount.clone(),
            needed,
        }),
        None => Ok(None),
    };
    let spreads = source.map(|(_, spreads)| *spreads);
    match point.propagation.filter(|_| point.kind == MountKind::Bind) {
        Some(Shared | RecursiveShared) if spreads != Some(Shared) => refuse("shared"),
        Some(Shared | RecursiveShared) => Ok(Some(Shared)),
        Some(Slave | RecursiveSlave) if !matches!(spreads, Some(Shared | Slave)) => {
            refuse("shared or slave")
        }
        Some(Slave | RecursiveSlave) => Ok(Some(RecursiveSlave)),
        _ => Ok(None),
    }
}

fn wider(one: Option<Propagation>, other: Option<Propagation>) -> Option<Propagation> {
    match (one, other) {
        (Some(Propagation::Shared), _) | (_, Some(Propagation::Shared)) => {
            Some(Propagation::Shared)
        }
        (one, other) => one.or(other),
    }
}
