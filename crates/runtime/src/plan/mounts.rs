//! From `mounts` of the configuration to mount steps.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use dhow_spec::runtime::{IdMapping, Mount};
use dhow_sys::MountAttr;
use rustix::mount::MountFlags;

use crate::cgroup::CgroupMount;
use crate::error::Error;
use crate::init::{IdMap, Link, MountStep, Source, Step, Target, Tree};
use crate::text::{c_string, clean};
use crate::words::{IdmapOption, MountOptions, attr, ms};

/// Makes a user namespace with these uid and gid mappings.
pub(crate) type Mapper = fn(&[IdMapping], &[IdMapping]) -> Result<OwnedFd, Error>;

/// What mounts depend on besides their own words.
pub(crate) struct MountFacts<'a> {
    /// Relative sources start here.
    pub(crate) bundle: &'a Path,
    /// Destinations may begin with it, which then means nothing.
    pub(crate) rootfs: &'a Path,
    /// `linux.mountLabel`.
    pub(crate) label: Option<&'a str>,
    /// The container is in a user namespace.
    pub(crate) in_user_namespace: bool,
    /// That one, if it is given by path.
    pub(crate) user_namespace: Option<BorrowedFd<'a>>,
    /// The runtime may open what the child in its user namespace may not.
    pub(crate) by_parent: bool,
    /// The container has a cgroup namespace of its own.
    pub(crate) cgroup_namespace: bool,
    /// What a mount of type `cgroup` shows, if the configuration has one.
    pub(crate) cgroups: &'a [CgroupMount],
    /// Makes a user namespace with these mappings, for id-mapped mounts.
    pub(crate) mapper: Mapper,
    /// The container's own mappings, which `idmap` without mappings means.
    pub(crate) mappings: (&'a [IdMapping], &'a [IdMapping]),
}

/// The steps of every mount, in order, and those that wait until `/dev` is furnished.
#[derive(Debug, Default)]
pub(super) struct MountPlan {
    pub(super) now: Vec<Step>,
    pub(super) later: Vec<Step>,
}

/// `MOUNT_ATTR_*` for those mount flags that are attributes of one mount, but for access times.
const ATTRIBUTES: [(u64, u64); 5] = [
    (ms::RDONLY, attr::RDONLY),
    (ms::NOSUID, attr::NOSUID),
    (ms::NODEV, attr::NODEV),
    (ms::NOEXEC, attr::NOEXEC),
    (ms::NOSYMFOLLOW, attr::NOSYMFOLLOW),
];
/// The access-time attribute is a field of its own.
const ATIMES: [(u64, u64); 3] = [
    (ms::RELATIME, attr::RELATIME),
    (ms::NOATIME, attr::NOATIME),
    (ms::STRICTATIME, attr::STRICTATIME),
];

pub(super) fn plan(mounts: &[Mount], facts: &MountFacts<'_>) -> Result<MountPlan, Error> {
    let mut plan = MountPlan::default();
    for mount in mounts {
        add(&mut plan, mount, facts)?;
    }
    Ok(plan)
}

fn add(plan: &mut MountPlan, mount: &Mount, facts: &MountFacts<'_>) -> Result<(), Error> {
    let options = MountOptions::parse(&mount.options);
    let kind = mount.kind.as_deref().unwrap_or_default();
    if options.flags & ms::REMOUNT != 0 {
        plan.now.push(remount(mount, &options, facts));
        return Ok(());
    }
    if kind == "bind" || options.flags & ms::BIND != 0 {
        let step = bind(mount, &options, facts)?;
        plan.now.push(Step::Mount(step));
        return Ok(());
    }
    if kind == "cgroup" || kind == "cgroup2" {
        cgroup(plan, mount, &options, facts);
        return Ok(());
    }
    file_system(plan, mount, kind, &options, facts)
}

/// Attributes that the words set and take back on this one mount.
///
/// A word for access times decides about all of them; none leaves them alone, and so does taking one back
/// (as with mount(8)).
fn attributes(options: &MountOptions) -> MountAttr {
    let mut attr = MountAttr::default();
    for (flag, same) in ATTRIBUTES {
        if options.flags & flag != 0 {
            attr.set |= same;
        } else if options.cleared & flag != 0 {
            attr.clear |= same;
        }
    }
    if options.flags & (ms::ATIME | ms::NODIRATIME) != 0 {
        attr.clear |= attr::ATIME;
        for (flag, value) in ATIMES {
            if options.flags & flag != 0 {
                attr.set |= value;
            }
        }
        match options.flags & ms::NODIRATIME {
            0 => attr.clear |= attr::NODIRATIME,
            _ => attr.set |= attr::NODIRATIME,
        }
    } else if options.cleared & ms::NODIRATIME != 0 {
        attr.clear |= attr::NODIRATIME;
    }
    attr
}

/// What a bind mount is to have: with any word at all exactly what the words say, without one what its
/// source has.
fn replaced(options: &MountOptions, asked: &MountAttr) -> MountAttr {
    let own = ms::BIND | ms::REC | ms::REMOUNT | ms::SILENT;
    if options.flags & !own == 0 && options.cleared & !ms::SILENT == 0 {
        return MountAttr::default();
    }
    let all = ATTRIBUTES.iter().fold(0, |all, (_, same)| all | same);
    // Taking access times back alone changes nothing.
    let times = match asked.clear & attr::ATIME {
        0 => 0,
        _ => asked.clear & (attr::ATIME | attr::NODIRATIME),
    };
    MountAttr { clear: (all & !asked.set) | times, ..*asked }
}

/// Where the mount goes. A destination on the host's way to the root file system is taken for one below it,
/// as runc does: configurations have been written like that.
fn target(mount: &Mount, facts: &MountFacts<'_>) -> String {
    let below = Path::new(&mount.destination).strip_prefix(facts.rootfs);
    clean(below.ok().and_then(Path::to_str).unwrap_or(&mount.destination))
}

fn finish(step: &mut MountStep, options: &MountOptions) {
    step.recursive_attr = MountAttr {
        set: options.recursive.set,
        clear: options.recursive.clear,
        ..MountAttr::default()
    };
    step.propagation =
        options.propagation.iter().map(|kind| (kind & !ms::REC, kind & ms::REC != 0)).collect();
    step.copy_up = options.tmpcopyup;
}

fn remount(mount: &Mount, options: &MountOptions, facts: &MountFacts<'_>) -> Step {
    Step::Remount {
        target: c_string(target(mount, facts)),
        attr: attributes(options),
        recursive: options.flags & ms::REC != 0,
    }
}

fn bind(mount: &Mount, options: &MountOptions, facts: &MountFacts<'_>) -> Result<MountStep, Error> {
    let source = facts.bundle.join(mount.source.as_deref().unwrap_or_default());
    let map = mapping_of(mount, options, facts)?.map(|user_namespace| IdMap {
        user_namespace,
        recursive: options.idmap == Some(IdmapOption::Recursive),
    });
    let tree = Tree {
        path: c_string(source.as_os_str().as_encoded_bytes()),
        recursive: options.flags & ms::REC != 0,
        map,
        by_parent: facts.by_parent,
    };
    let target = c_string(target(mount, facts));
    let mut step = MountStep::new(target, Target::LikeSource, Source::Tree(tree));
    step.asked = attributes(options);
    step.attr = replaced(options, &step.asked);
    finish(&mut step, options);
    Ok(step)
}

/// The user namespace whose mapping the mount is to have.
fn mapping_of(
    mount: &Mount,
    options: &MountOptions,
    facts: &MountFacts<'_>,
) -> Result<Option<OwnedFd>, Error> {
    let refuse = |reason| {
        Err(Error::Refused { field: "mounts.options", value: mount.destination.clone(), reason })
    };
    let own = (!mount.uid_mappings.is_empty(), !mount.gid_mappings.is_empty());
    match (own, options.idmap) {
        ((false, false), None) => Ok(None),
        ((true, true), _) => (facts.mapper)(&mount.uid_mappings, &mount.gid_mappings).map(Some),
        ((false, false), Some(_)) => match (facts.user_namespace, facts.mappings) {
            (Some(given), _) => super::duplicate(given).map(Some),
            (None, ([], _) | (_, [])) => {
                refuse("idmap needs mappings: of the mount, or of the container's user namespace")
            }
            (None, (uids, gids)) => (facts.mapper)(uids, gids).map(Some),
        },
        _ => refuse("an id-mapped mount needs both uidMappings and gidMappings"),
    }
}

fn file_system(
    plan: &mut MountPlan,
    mount: &Mount,
    kind: &str,
    options: &MountOptions,
    facts: &MountFacts<'_>,
) -> Result<(), Error> {
    if options.idmap.is_some() || !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        return Err(Error::Refused {
            field: "mounts.options",
            value: mount.destination.clone(),
            reason: "only a bind mount can be id-mapped",
        });
    }
    let target = target(mount, facts);
    let mut flags = options.flags & !(ms::REC | ms::SILENT);
    // The nodes of /dev come after its mount.
    let dev_read_only = target == "dev" && flags & ms::RDONLY != 0;
    if dev_read_only {
        flags &= !ms::RDONLY;
        plan.later.push(Step::Remount {
            target: c_string("dev"),
            attr: MountAttr { set: crate::init::READ_ONLY, ..MountAttr::default() },
            recursive: false,
        });
    }
    let source = Source::FileSystem {
        kind: c_string(kind),
        source: c_string(mount.source.as_deref().filter(|text| !text.is_empty()).unwrap_or(kind)),
        flags: MountFlags::from_bits_retain(flags as u32),
        data: data(&options.data, kind, facts.label),
        fallback: (kind == "sysfs" && facts.in_user_namespace).then(|| c_string("/sys")),
    };
    let onto = match kind {
        "proc" | "sysfs" => Target::OwnDirectory,
        _ => Target::Directory,
    };
    let mut step = MountStep::new(c_string(target), onto, source);
    finish(&mut step, options);
    plan.now.push(Step::Mount(step));
    Ok(())
}

/// Kernel file systems that take no SELinux context at mount.
const UNLABELLED: [&str; 4] = ["proc", "sysfs", "mqueue", "cgroup"];

fn data(words: &str, kind: &str, label: Option<&str>) -> Option<std::ffi::CString> {
    let label = label.filter(|label| !label.is_empty() && !UNLABELLED.contains(&kind));
    match (words, label) {
        ("", None) => None,
        (words, None) => Some(c_string(words)),
        ("", Some(label)) => Some(c_string(format!("context=\"{label}\""))),
        (words, Some(label)) => Some(c_string(format!("{words},context=\"{label}\""))),
    }
}

/// A mount of type `cgroup`: on a host with version 2 alone that file system, otherwise a directory of
/// what the host has, each hierarchy under its own name.
fn cgroup(plan: &mut MountPlan, mount: &Mount, options: &MountOptions, facts: &MountFacts<'_>) {
    let target = target(mount, facts);
    let flags = options.flags & !(ms::REC | ms::SILENT);
    if let [CgroupMount { v2: true, place, .. }] = facts.cgroups {
        // Shown as the namespace has it; without one of its own the container sees the whole tree.
        plan.now.push(cgroup_mount(&target, flags, "cgroup2", "", place, true));
        return;
    }
    let directory = Source::FileSystem {
        kind: c_string("tmpfs"),
        source: c_string("tmpfs"),
        flags: MountFlags::empty(),
        data: data("mode=755", "tmpfs", facts.label),
        fallback: None,
    };
    let mut step = MountStep::new(c_string(target.as_str()), Target::Directory, directory);
    finish(&mut step, options);
    plan.now.push(Step::Mount(step));
    plan.now.push(Step::MakeDirectories {
        dir: c_string(target.as_str()),
        names: facts.cgroups.iter().map(|one| c_string(one.name.as_str())).collect(),
    });
    for hierarchy in facts.cgroups {
        let kind = if hierarchy.v2 { "cgroup2" } else { "cgroup" };
        let below = format!("{target}/{}", hierarchy.name);
        let (data, place) = (&hierarchy.options, &hierarchy.place);
        plan.now.push(cgroup_mount(&below, 0, kind, data, place, facts.cgroup_namespace));
    }
    let links = cgroup_links(facts.cgroups, &target);
    if !links.is_empty() {
        plan.now.push(Step::Links(links));
    }
    // One change for all of them: nobody else can see these mounts yet.
    let attr = attributes(&MountOptions { flags, ..MountOptions::default() });
    plan.now.push(Step::Remount { target: c_string(target), attr, recursive: true });
}

/// The other names of hierarchies that hold several controllers.
fn cgroup_links(cgroups: &[CgroupMount], target: &str) -> Vec<Link> {
    let aliases = cgroups.iter().flat_map(|one| one.aliases.iter().map(move |alias| (one, alias)));
    aliases
        .map(|(hierarchy, alias)| Link {
            target: c_string(hierarchy.name.as_str()),
            dir: c_string(target),
            name: c_string(alias.as_str()),
            replace: false,
        })
        .collect()
}

fn cgroup_mount(
    target: &str,
    flags: u64,
    kind: &str,
    data: &str,
    place: &Path,
    fresh: bool,
) -> Step {
    let place: PathBuf = place.to_owned();
    let place = c_string(place.as_os_str().as_encoded_bytes());
    let source = if fresh {
        Source::FileSystem {
            kind: c_string(kind),
            source: c_string("cgroup"),
            flags: MountFlags::from_bits_retain(flags as u32),
            data: (!data.is_empty()).then(|| c_string(data)),
            // In a user namespace the kernel may refuse a version 1 hierarchy of its own.
            fallback: Some(place),
        }
    } else {
        Source::Tree(Tree::new(place, false))
    };
    let bound = matches!(source, Source::Tree(_));
    let mut step = MountStep::new(c_string(target), Target::Directory, source);
    if bound {
        let options = MountOptions { flags, ..MountOptions::default() };
        step.attr = attributes(&options);
    }
    Step::Mount(step)
}
