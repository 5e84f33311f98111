//! The plan of a container's first process: configuration and host facts in, a list of steps out.
//!
//! Nothing is done here that could not be undone by dropping the result: namespaces given by path are
//! opened, id-mapped mounts prepared, and that is all. The order of the steps is the order of this file,
//! and the reasons for it stand beside them.

mod devices;
mod mounts;
mod namespaces;
mod process;
mod security;
mod sysctl;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use dhow_spec::runtime::{Linux, Process, Propagation, Spec};
use dhow_sys::{Memory, MountAttr, Namespaces};
use rustix::mount::MountFlags;
use rustix::process::Uid;

use crate::error::Error;
use crate::foreground::Console;
use crate::init::{MountStep, Source, Step, SyncPoint};
use crate::text::{c_string, clean};

pub(crate) use mounts::MountFacts;
#[cfg(test)]
pub(crate) use namespaces::Given;
pub(crate) use namespaces::{NamespacePlan, bit as namespace_bit};
pub(crate) use process::{
    OOM_SCORE, ProcessFacts, ProcessPlan, affinity, limits, personality, plan as plan_process,
    variable,
};

/// What the first process depends on besides the document.
pub(crate) struct InitFacts<'a> {
    pub(crate) id: &'a str,
    /// The root file system, absolute and without symlinks.
    pub(crate) rootfs: &'a Path,
    pub(crate) mounts: MountFacts<'a>,
    pub(crate) process: ProcessFacts<'a>,
    /// The v1 cgroups to enter.
    pub(crate) cgroup_tasks: Vec<OwnedFd>,
    /// The socket that takes the terminal's master.
    pub(crate) console: Option<Console>,
    /// A detached mount to be the root instead of the directory at `rootfs`.
    pub(crate) root_mount: Option<OwnedFd>,
    /// The standard streams, if they are not the runtime's own.
    pub(crate) streams: Option<[OwnedFd; 3]>,
    /// The socket on which the container waits for its start; without one it goes on by itself.
    pub(crate) start: Option<OwnedFd>,
    /// Takes the process's own line, for the container's record.
    pub(crate) record: OwnedFd,
    /// The parent has to act once the namespaces are there: move devices in, have systemd make the cgroup,
    /// put the process into its resctrl group.
    pub(crate) parent_acts: bool,
    /// Hooks that run before the root is changed.
    pub(crate) hooks_before_pivot: bool,
    pub(crate) no_pivot: bool,
    pub(crate) new_keyring: bool,
    /// The runtime is root on the host: it may join anything.
    pub(crate) privileged: bool,
    /// The host has a `/proc/kcore`, which `/dev/core` then names.
    pub(crate) kcore: bool,
    /// File systems to take off before a root is moved instead of pivoted.
    pub(crate) reachable: Vec<String>,
}

/// The first process, ready to be cloned.
#[derive(Debug)]
pub(crate) struct InitPlan {
    /// The program.
    pub(crate) steps: Vec<Step>,
    /// What the clone itself makes.
    pub(crate) namespaces: Namespaces,
    /// Whether the parent may lend its memory and wait.
    pub(crate) memory: Memory,
    /// Namespaces that the parent joins around the clone, by position in the namespace plan.
    pub(crate) join_first: Vec<usize>,
    pub(crate) warnings: Vec<String>,
}

/// Makes the process's terminal; with `node` also `/dev/console`.
pub(crate) fn terminal(console: Console, process: &Process, node: bool) -> Step {
    let Console { socket, size, plain_line_ends } = console;
    let asked = process.console_size.map(|size| (size.height as u16, size.width as u16));
    let owner = Uid::from_raw(process.user.uid);
    Step::Terminal { socket, size: size.or(asked), console: node, owner, plain_line_ends }
}

pub(crate) fn plan(
    spec: &Spec,
    namespaces: &NamespacePlan,
    facts: InitFacts<'_>,
) -> Result<InitPlan, Error> {
    let missing = |field, reason| Error::Refused { field, value: String::new(), reason };
    let linux = spec.linux.as_ref().ok_or(missing("linux", "missing: a container needs one"))?;
    // Without a process a container can be made, but not started.
    let nothing = Process { cwd: "/".to_owned(), ..Process::default() };
    let process = match &spec.process {
        None if facts.start.is_some() => &nothing,
        None => return Err(missing("process", "missing: there is nothing to run")),
        Some(process) => process,
    };
    let order = order(namespaces, facts.privileged);
    let waits = facts.start.is_some();
    let mut steps = vec![Step::DieWithParent];
    steps.extend(facts.streams.map(Step::Streams));
    // Cgroups come first: what the process costs from here on is the container's.
    if !facts.cgroup_tasks.is_empty() {
        steps.push(Step::EnterCgroups { tasks: facts.cgroup_tasks });
    }
    let join_first =
        enter_namespaces(&mut steps, namespaces, &order, facts.privileged, facts.parent_acts)?;
    set_names(&mut steps, spec, linux, namespaces)?;
    if facts.new_keyring {
        steps.push(Step::SessionKeyring { name: c_string(format!("_ses.{}", facts.id)) });
    }

    // Without SELinux a label of mounts means nothing, and as a mount option it would be refused.
    let label = facts.mounts.label.filter(|_| security::selinux_is_on());
    let own_mounts = namespaces.has(Namespaces::MOUNT);
    let mut warnings = Vec::new();
    let plan = if own_mounts {
        mounts::plan(&spec.mounts, &MountFacts { label, ..facts.mounts })?
    } else {
        warnings.extend(left_out(spec, linux));
        mounts::MountPlan::default()
    };
    let root = RootFacts {
        rootfs: facts.rootfs,
        mount: facts.root_mount,
        console: facts.console,
        hooks: facts.hooks_before_pivot,
        no_pivot: facts.no_pivot,
        bind_devices: namespaces.has(Namespaces::USER),
        own_mounts,
        label,
        kcore: facts.kcore,
        reachable: facts.reachable,
    };
    let furnish = own_mounts && devices::is_ours(&spec.mounts);
    set_root(&mut steps, spec, (process, linux), plan, furnish, root)?;

    steps.extend(process::personality(linux)?);
    if let Some(policy) = &linux.memory_policy {
        steps.extend(process::memory_policy(policy)?);
    }
    let listener = facts.process.seccomp_listener;
    let keep = facts.process.descriptors.to_vec();
    let process = match &spec.process {
        Some(process) => plan_process(process, facts.process)?,
        None => ProcessPlan { before: Vec::new(), after: Vec::new(), warnings: Vec::new() },
    };
    warnings.extend(process.warnings);
    steps.extend(process.before);
    // In a time namespace the process sees its own start at another time than the host does.
    steps.push(match namespaces.has(Namespaces::TIME) {
        true => Step::Sync(SyncPoint::Record),
        false => Step::PutOnRecord { file: facts.record },
    });
    steps.push(Step::OutliveParent);
    if let Some(listener) = facts.start {
        // A parent that dies before it has the pid on record closes the socket that this waits on.
        steps.push(Step::Sync(SyncPoint::Ready));
        steps.push(Step::AwaitStart { listener, keep });
    }
    steps.extend(process.after);

    let mut new = if order.user_given { Namespaces::empty() } else { order.by_clone };
    new = new.without(Namespaces::TIME);
    let alone = !waits
        && !listener
        && !facts.hooks_before_pivot
        && !namespaces.new.contains(Namespaces::USER)
        && !namespaces.has(Namespaces::TIME)
        && !steps.iter().any(needs_parent);
    Ok(InitPlan {
        steps,
        namespaces: new,
        memory: if alone { Memory::Shared } else { Memory::Copied },
        join_first,
        warnings,
    })
}

/// Whether the parent may be asked for something on the way.
fn needs_parent(step: &Step) -> bool {
    match step {
        Step::Sync(_) => true,
        Step::Mount(MountStep { source: Source::Tree(tree), .. }) => tree.by_parent,
        _ => false,
    }
}

/// Who makes which namespace.
struct Order {
    /// Made by clone.
    by_clone: Namespaces,
    /// The user namespace is given by path.
    user_given: bool,
}

fn order(namespaces: &NamespacePlan, _privileged: bool) -> Order {
    Order {
        // The kernel would take the runtime's own cgroup as the root of a cgroup namespace made by clone.
        by_clone: namespaces.new.without(Namespaces::CGROUP),
        user_given: namespaces.joins(Namespaces::USER),
    }
}

/// The steps that put the process into its namespaces; returns those that the parent must join first.
fn enter_namespaces(
    steps: &mut Vec<Step>,
    namespaces: &NamespacePlan,
    order: &Order,
    privileged: bool,
    parent_acts: bool,
) -> Result<Vec<usize>, Error> {
    let mut join_first = Vec::new();
    let mut in_child = Vec::new();
    for (index, given) in namespaces.given.iter().enumerate() {
        let by_parent = match given.kind {
            // It is for children only; without rights it must wait for the user namespace.
            Namespaces::PID => privileged || !order.user_given,
            // Refused to a process that shares its memory.
            Namespaces::TIME => privileged,
            // A process born in a new user namespace has no rights over what is older.
            _ => namespaces.new.contains(Namespaces::USER),
        };
        if by_parent { join_first.push(index) } else { in_child.push(index) }
    }
    // With rights on the host the user namespace comes last, because those rights end there; without
    // them it comes first, because rights begin there. A mount namespace before the last, because
    // joining it changes what paths mean.
    let rank = |index: &usize| match namespaces.given[*index].kind {
        Namespaces::USER => {
            if privileged {
                3
            } else {
                0
            }
        }
        Namespaces::MOUNT => 2,
        _ => 1,
    };
    in_child.sort_by_key(rank);
    let mut pid_in_child = false;
    for index in in_child {
        let given = &namespaces.given[index];
        pid_in_child |= given.kind == Namespaces::PID;
        let namespace = duplicate(given.file.as_fd())?;
        steps.push(Step::Join { namespace, kinds: given.kind, path: given.path.clone() });
    }
    if order.user_given {
        steps.push(Step::BecomeRoot);
        let new = order.by_clone.without(Namespaces::PID);
        if !new.is_empty() {
            steps.push(Step::Unshare(new));
        }
        if pid_in_child || namespaces.new.contains(Namespaces::PID) {
            let namespaces = if pid_in_child { Namespaces::empty() } else { Namespaces::PID };
            steps.push(Step::Replace { namespaces });
            // A sibling has its own parent's death to watch.
            steps.push(Step::DieWithParent);
        }
    }
    if namespaces.new.contains(Namespaces::USER) {
        steps.push(Step::Sync(SyncPoint::Namespaces));
        steps.push(Step::BecomeRoot);
        // Changing the user has cleared it.
        steps.push(Step::DieWithParent);
    }
    if parent_acts && !namespaces.new.contains(Namespaces::USER) {
        steps.push(Step::Sync(SyncPoint::Namespaces));
    }
    // It is in its cgroup by now, whose processors it is to have.
    steps.push(Step::AllProcessors);
    // Its root is the cgroup that the process is in by now.
    if namespaces.new.contains(Namespaces::CGROUP) {
        steps.push(Step::Unshare(Namespaces::CGROUP));
    }
    Ok(join_first)
}

fn set_names(
    steps: &mut Vec<Step>,
    spec: &Spec,
    linux: &Linux,
    namespaces: &NamespacePlan,
) -> Result<(), Error> {
    steps.push(Step::NewSession);
    if namespaces.new.contains(Namespaces::NETWORK) {
        steps.push(Step::LoopbackUp);
    }
    let own = namespaces.has(Namespaces::UTS);
    for (field, name) in [("hostname", &spec.hostname), ("domainname", &spec.domainname)] {
        let Some(name) = name.as_deref().filter(|name| !name.is_empty()) else { continue };
        if !own {
            return Err(Error::Refused {
                field,
                value: name.to_owned(),
                reason: "needs a uts namespace of the container's own",
            });
        }
        steps.push(match field {
            "hostname" => Step::HostName(name.to_owned()),
            _ => Step::DomainName(name.to_owned()),
        });
    }
    steps.extend(sysctl::steps(linux, namespaces)?);
    Ok(())
}

/// What the root file system's steps depend on.
struct RootFacts<'a> {
    rootfs: &'a Path,
    mount: Option<OwnedFd>,
    console: Option<Console>,
    hooks: bool,
    no_pivot: bool,
    bind_devices: bool,
    own_mounts: bool,
    /// `linux.mountLabel`, where the kernel knows labels.
    label: Option<&'a str>,
    kcore: bool,
    reachable: Vec<String>,
}

fn set_root(
    steps: &mut Vec<Step>,
    spec: &Spec,
    (process, linux): (&Process, &Linux),
    plan: mounts::MountPlan,
    furnish: bool,
    facts: RootFacts<'_>,
) -> Result<(), Error> {
    let propagation = Propagations::of(linux.rootfs_propagation);
    if facts.own_mounts {
        steps.push(Step::Propagation { flags: propagation.before });
    }
    let path = c_string(facts.rootfs.as_os_str().as_encoded_bytes());
    // Without mounts of its own the container gets none: they would be the host's.
    steps.push(match (facts.own_mounts, facts.mount) {
        (true, None) => Step::TakeRoot { path },
        (true, Some(mount)) => Step::AttachRoot { mount, path },
        (false, Some(root)) => Step::HoldRoot { root },
        (false, None) => Step::HoldRoot { root: open_root(facts.rootfs)? },
    });
    if propagation.shared && facts.own_mounts {
        steps.push(Step::DetachRootParent);
        let attr = MountAttr {
            propagation: u64::from(MountFlags::from_bits_retain(PRIVATE).bits()),
            ..MountAttr::default()
        };
        steps.push(Step::Remount { target: c_string(""), attr, recursive: false });
    }
    steps.extend(plan.now);
    if furnish {
        steps.extend(devices::steps(&linux.devices, facts.bind_devices, facts.kcore)?);
    }
    if facts.hooks {
        steps.push(Step::Sync(SyncPoint::Mounts));
    }
    if let Some(console) = facts.console {
        steps.push(terminal(console, process, facts.own_mounts));
    }
    let cwd = clean(&process.cwd);
    if !cwd.is_empty() {
        steps.push(Step::MakeDirectory { path: c_string(cwd) });
    }
    steps.extend(plan.later);
    if facts.own_mounts {
        cover(steps, spec, linux, facts.label);
    }
    steps.push(match (facts.own_mounts, facts.no_pivot) {
        (false, _) => Step::ChangeRoot,
        (true, true) => Step::MoveRoot {
            unmount: facts.reachable.iter().map(|path| c_string(path.as_str())).collect(),
        },
        (true, false) => Step::Pivot { shared: propagation.shared },
    });
    if let Some(flags) = propagation.after.filter(|_| facts.own_mounts) {
        steps.push(Step::Propagation { flags });
    }
    Ok(())
}

/// What keeps a container from parts of its own root.
fn cover(steps: &mut Vec<Step>, spec: &Spec, linux: &Linux, label: Option<&str>) {
    let paths =
        |paths: &[String]| paths.iter().map(|path| c_string(clean(path))).collect::<Vec<_>>();
    if !linux.readonly_paths.is_empty() {
        steps.push(Step::ReadOnly { paths: paths(&linux.readonly_paths) });
    }
    if !linux.masked_paths.is_empty() {
        let label = label.filter(|label| !label.is_empty());
        steps.push(Step::Mask { paths: paths(&linux.masked_paths), label: label.map(c_string) });
    }
    if is_read_only(spec) {
        let attr = MountAttr { set: crate::init::READ_ONLY, ..MountAttr::default() };
        steps.push(Step::Remount { target: c_string(""), attr, recursive: false });
    }
}

fn is_read_only(spec: &Spec) -> bool {
    spec.root.as_ref().is_some_and(|root| root.readonly)
}

/// Says what a container without a mount namespace of its own does not get: it would be the host's.
fn left_out(spec: &Spec, linux: &Linux) -> Option<String> {
    let parts = [
        ("mounts", !spec.mounts.is_empty()),
        ("linux.maskedPaths", !linux.masked_paths.is_empty()),
        ("linux.readonlyPaths", !linux.readonly_paths.is_empty()),
        ("root.readonly", is_read_only(spec)),
    ];
    let asked: Vec<&str> =
        parts.iter().filter(|(_, asked)| *asked).map(|(part, _)| *part).collect();
    let list = asked.join(", ");
    (!asked.is_empty())
        .then(|| format!("{list}: left out, the container has no mount namespace of its own"))
}

fn duplicate(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    rustix::io::fcntl_dupfd_cloexec(namespace, 0)
        .map_err(Error::call("duplicate a namespace's descriptor"))
}

fn open_root(rootfs: &Path) -> Result<OwnedFd, Error> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(rootfs, flags, Mode::empty())
        .map_err(|errno| Error::file("open root file system", rootfs, errno))
}

const UNBINDABLE: u32 = 1 << 17;
const PRIVATE: u32 = 1 << 18;
const SLAVE: u32 = 1 << 19;
const SHARED: u32 = 1 << 20;
const REC: u32 = 1 << 14;

/// `linux.rootfsPropagation`, before the root is changed and after.
struct Propagations {
    before: MountFlags,
    after: Option<MountFlags>,
    shared: bool,
}

impl Propagations {
    fn of(asked: Option<Propagation>) -> Self {
        let flags = match asked {
            None => {
                let before = MountFlags::from_bits_retain(SLAVE | REC);
                return Self { before, after: None, shared: false };
            }
            Some(Propagation::Private) => PRIVATE,
            Some(Propagation::RecursivePrivate) => PRIVATE | REC,
            Some(Propagation::Slave) => SLAVE,
            Some(Propagation::RecursiveSlave) => SLAVE | REC,
            Some(Propagation::Shared) => SHARED,
            Some(Propagation::RecursiveShared) => SHARED | REC,
            Some(Propagation::Unbindable) => UNBINDABLE,
            Some(Propagation::RecursiveUnbindable) => UNBINDABLE | REC,
        };
        let shared = flags & SHARED != 0;
        let unbindable = flags & UNBINDABLE != 0;
        // An unbindable tree could not be bound as the root any more.
        let before = if unbindable { SLAVE | REC } else { flags | REC };
        // What is private or a slave before the root is bound stays so. The mounts below have their own
        // words.
        let after = (shared || unbindable).then(|| MountFlags::from_bits_retain(flags & !REC));
        Self { before: MountFlags::from_bits_retain(before), after, shared }
    }
}
