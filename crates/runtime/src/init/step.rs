//! The container's first process as a program: a list of steps, written by the parent and carried out by
//! the child.
//!
//! A step holds everything that its execution needs (strings with their NUL, open descriptors, numbers),
//! so the child decides nothing and allocates nothing. A step's `Display` is what an error says of it, and
//! what a plan looks like as text.

use std::ffi::CString;
use std::fmt;
use std::os::fd::{OwnedFd, RawFd};

use dhow_sys::{Argv, MountAttr, Namespaces, SeccompFlags, SignalSet};
use rustix::mount::MountFlags;
use rustix::process::{Gid, Resource, Rlimit, Uid};

use super::report::SyncPoint;
use crate::text::lossy;
use crate::words::NodeMask;

/// One thing that the child does.
#[derive(Debug)]
pub(crate) enum Step {
    /// Be killed when the parent dies: until the container is on record nobody else could find it.
    DieWithParent,
    /// Write the process's own line of the host's procfs into the container's record: from then on whoever
    /// looks finds it.
    PutOnRecord { file: OwnedFd },
    /// Outlive the parent.
    OutliveParent,
    /// Tell the parent where the program got to, and wait for its word.
    Sync(SyncPoint),
    /// Become root of the user namespace just entered.
    BecomeRoot,
    /// Write `0` into the `tasks` file of each cgroup v1 hierarchy.
    EnterCgroups { tasks: Vec<OwnedFd> },
    /// Join one namespace, or all `kinds` that a pidfd stands for.
    Join { namespace: OwnedFd, kinds: Namespaces, path: String },
    /// Make namespaces that clone could not.
    Unshare(Namespaces),
    /// Go on in a new process, a sibling of this one: a joined PID namespace is for children only.
    Replace { namespaces: Namespaces },
    /// Bring the loopback device of a new network namespace up.
    LoopbackUp,
    /// Lead a new session.
    NewSession,
    /// Set the host name of the UTS namespace.
    HostName(String),
    /// Set the NIS domain name of the UTS namespace.
    DomainName(String),
    /// Write to a file of the host's procfs: a sysctl of the new namespaces, an attribute of the process.
    /// The kernel goes by who writes, not by which procfs it is, and the container's own cannot be
    /// trusted.
    WriteProc { name: CString, value: String },
    /// Change the propagation of the whole mount namespace.
    Propagation { flags: MountFlags },
    /// Mount the root file system onto itself and hold it as the root of what follows.
    TakeRoot { path: CString },
    /// Attach a detached mount where the root file system is to be, and hold it as the root of what follows.
    AttachRoot { mount: OwnedFd, path: CString },
    /// Hold a directory as the root of what follows, without mounting anything.
    HoldRoot { root: OwnedFd },
    /// Make the mount that holds the root file system private, as pivot_root demands.
    DetachRootParent,
    /// Mount something below the root.
    Mount(MountStep),
    /// Change attributes of a mount below the root that is there already.
    Remount { target: CString, attr: MountAttr, recursive: bool },
    /// Make device nodes in one directory.
    Devices { dir: CString, nodes: Vec<Node> },
    /// Make symlinks: (target, directory, name).
    Links(Vec<Link>),
    /// Make the working directory if it is not there.
    MakeDirectory { path: CString },
    /// Make empty directories in one that is there.
    MakeDirectories { dir: CString, names: Vec<CString> },
    /// Cover a path with `/dev/null` or an empty directory, the same one for all; a path that is not there
    /// is left out.
    Mask { paths: Vec<CString>, label: Option<CString> },
    /// Make paths read-only; those that are not there are left out.
    ReadOnly { paths: Vec<CString> },
    /// Open a terminal in the container's devpts and hand its master over.
    Terminal {
        socket: OwnedFd,
        size: Option<(u16, u16)>,
        console: bool,
        owner: Uid,
        plain_line_ends: bool,
    },
    /// Make the root the process's own and drop the old one.
    Pivot { shared: bool },
    /// The same without pivot_root, for roots that cannot be pivoted (an initramfs).
    MoveRoot { unmount: Vec<CString> },
    /// Only chroot: the mount namespace is not the container's own.
    ChangeRoot,
    /// Take these as the standard streams.
    Streams([OwnedFd; 3]),
    /// Give the standard streams to the container's user.
    OwnStdio(Uid),
    /// Set a resource limit.
    Limit { resource: Resource, limit: Rlimit, name: &'static str },
    /// Join a new session keyring named after the container.
    SessionKeyring { name: CString },
    /// See `sched_setattr(2)`.
    Scheduler(dhow_sys::SchedAttr),
    /// See `ioprio_set(2)`.
    IoPriority(u16),
    /// See `set_mempolicy(2)`.
    MemoryPolicy { mode: u32, nodes: NodeMask },
    /// Run on every CPU that the cgroup has, whichever the runtime was told to run on.
    AllProcessors,
    /// Run on these CPUs only.
    Affinity(Box<rustix::thread::CpuSet>),
    /// See `personality(2)`.
    Personality(u32),
    /// Set the mask of file modes.
    Umask(u32),
    /// Drop every capability outside the mask from the bounding set.
    Bounding(u64),
    /// Change to the container's user, keeping capabilities for the steps that follow.
    User { uid: Uid, gid: Gid, groups: Option<Vec<Gid>> },
    /// Set capabilities and raise ambient ones.
    Capabilities { sets: rustix::thread::CapabilitySets, ambient: u64 },
    /// Set `no_new_privs`.
    NoNewPrivileges,
    /// Go to the working directory; `retry` leaves a refusal to a later attempt as the user.
    WorkingDirectory { path: CString, retry: bool },
    /// Find the program: the first candidate that may be executed.
    Find(Program),
    /// Wait on the start socket for somebody's word, with no descriptor open but `keep` and the standard ones;
    /// from then on failures go to that connection.
    AwaitStart { listener: OwnedFd, keep: Vec<RawFd> },
    /// Install the seccomp filter; with `listener`, have it fetched.
    Seccomp { filter: Vec<dhow_sys::SockFilter>, flags: SeccompFlags, listener: bool },
    /// Leave no descriptor to the program but the standard ones and these.
    CloseOthers { keep: Vec<RawFd> },
    /// Become the program that `Find` chose.
    Exec {
        argv: Argv,
        envp: Argv,
        candidates: Vec<CString>,
        name: String,
        mask: SignalSet,
        defaults: SignalSet,
    },
}

/// Where to look for the program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) candidates: Vec<CString>,
    /// Whether the candidates come from `PATH`.
    pub(crate) searched: bool,
}

/// One device node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: CString,
    pub(crate) kind: rustix::fs::FileType,
    pub(crate) device: u64,
    pub(crate) mode: u32,
    pub(crate) owner: Option<(Uid, Gid)>,
    /// The host's node, mounted where the kernel forbids making one (user namespaces).
    pub(crate) bind: Option<CString>,
}

/// One symlink.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) target: CString,
    pub(crate) dir: CString,
    pub(crate) name: CString,
    /// Take away what is there before.
    pub(crate) replace: bool,
}

/// What a mount shows.
#[derive(Debug)]
pub(crate) enum Source {
    /// A part of the tree, as it is when this mount's turn comes: a mount may show what an earlier one made.
    Tree(Tree),
    /// A file system of its own. `fallback` is a tree to bind where the kernel refuses one (a sysfs
    /// without a network namespace of one's own).
    FileSystem {
        kind: CString,
        source: CString,
        flags: MountFlags,
        data: Option<CString>,
        fallback: Option<CString>,
    },
}

/// A part of the host's tree, or of what earlier mounts have made of it.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) path: CString,
    /// With every mount below it.
    pub(crate) recursive: bool,
    pub(crate) map: Option<IdMap>,
    /// The runtime opens it where the child may not: its rights end at its user namespace.
    pub(crate) by_parent: bool,
}

impl Tree {
    /// What the child can open itself, as it is.
    pub(crate) fn new(path: CString, recursive: bool) -> Self {
        Self { path, recursive, map: None, by_parent: false }
    }
}

/// Whose ids a mount shows instead of those on disk.
#[derive(Debug)]
pub(crate) struct IdMap {
    pub(crate) user_namespace: OwnedFd,
    /// Of every mount below it, too.
    pub(crate) recursive: bool,
}

/// What a mount goes onto; made where it is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// A directory.
    Directory,
    /// A directory that is no symlink: a procfs elsewhere than it seems would leave `/proc` to the image.
    OwnDirectory,
    /// A directory or file, as the source is.
    LikeSource,
}

/// One mount below the root.
#[derive(Debug)]
pub(crate) struct MountStep {
    /// Relative to the root, without `.` and `..`.
    pub(crate) target: CString,
    pub(crate) onto: Target,
    pub(crate) source: Source,
    /// Attributes of this mount.
    pub(crate) attr: MountAttr,
    /// Those of them that somebody asked for. A user namespace's mounts keep the host's other ones; what was
    /// asked for and cannot be had is an error.
    pub(crate) asked: MountAttr,
    /// Attributes of this mount and all below it.
    pub(crate) recursive_attr: MountAttr,
    /// Propagation types with whether they are recursive, in order.
    pub(crate) propagation: Vec<(u64, bool)>,
    /// Fill the new file system with what it covers.
    pub(crate) copy_up: bool,
}

impl MountStep {
    /// A mount with nothing special about it.
    pub(crate) fn new(target: CString, onto: Target, source: Source) -> Self {
        Self {
            target,
            onto,
            source,
            attr: MountAttr::default(),
            asked: MountAttr::default(),
            recursive_attr: MountAttr::default(),
            propagation: Vec::new(),
            copy_up: false,
        }
    }

    /// Whether nothing is to be changed on the mount once it is there.
    pub(super) fn is_plain(&self) -> bool {
        self.attr.is_empty() && self.recursive_attr.is_empty() && self.propagation.is_empty()
    }
}

impl fmt::Display for MountStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = lossy(&self.target);
        match &self.source {
            Source::Tree(tree) => {
                let word = if tree.recursive { "rbind" } else { "bind" };
                write!(f, "mount {} on /{target} ({word})", lossy(&tree.path))
            }
            Source::FileSystem { kind, .. } => write!(f, "mount {} on /{target}", lossy(kind)),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, word: &str, paths: &[CString]) -> fmt::Result {
    write!(f, "{word}")?;
    for path in paths {
        write!(f, " /{}", lossy(path))?;
    }
    Ok(())
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DieWithParent => write!(f, "set the signal of the parent's death"),
            Self::PutOnRecord { .. } => write!(f, "put the process on record"),
            Self::OutliveParent => write!(f, "clear the signal of the parent's death"),
            Self::Sync(point) => write!(f, "wait for the runtime ({point:?})"),
            Self::BecomeRoot => write!(f, "become root of the user namespace"),
            Self::EnterCgroups { tasks } => write!(f, "enter {} cgroups", tasks.len()),
            Self::Join { path, .. } => write!(f, "join namespace {path}"),
            Self::Unshare(namespaces) => write!(f, "make namespaces {:#x}", namespaces.bits()),
            Self::Replace { .. } => write!(f, "clone into the joined pid namespace"),
            Self::LoopbackUp => write!(f, "bring up the loopback device"),
            Self::NewSession => write!(f, "make a session"),
            Self::HostName(name) => write!(f, "set hostname {name}"),
            Self::DomainName(name) => write!(f, "set domainname {name}"),
            Self::WriteProc { name, value } => {
                write!(f, "write {value:?} to /proc/{}", lossy(name))
            }
            Self::Propagation { flags } => {
                write!(f, "set propagation of / to {:#x}", flags.bits())
            }
            Self::TakeRoot { path } => write!(f, "mount root file system {}", lossy(path)),
            Self::AttachRoot { path, .. } => {
                write!(f, "attach root file system to {}", lossy(path))
            }
            Self::Streams(_) => write!(f, "take the standard streams"),
            Self::HoldRoot { .. } => write!(f, "open the container's root"),
            Self::DetachRootParent => write!(f, "make the root file system's parent mount private"),
            Self::Mount(mount) => mount.fmt(f),
            Self::Remount { target, attr, recursive } => {
                let word = if *recursive { "recursively " } else { "" };
                write!(f, "{word}remount /{} with {:#x}", lossy(target), attr.set)
            }
            Self::Devices { dir, nodes } => {
                write!(f, "make devices in /{}:", lossy(dir))?;
                nodes.iter().try_for_each(|node| write!(f, " {}", lossy(&node.name)))
            }
            Self::Links(links) => {
                write!(f, "make links")?;
                links
                    .iter()
                    .try_for_each(|link| write!(f, " /{}/{}", lossy(&link.dir), lossy(&link.name)))
            }
            Self::MakeDirectory { path } => write!(f, "make directory /{}", lossy(path)),
            Self::MakeDirectories { dir, names } => {
                write!(f, "make directories in /{}:", lossy(dir))?;
                names.iter().try_for_each(|name| write!(f, " {}", lossy(name)))
            }
            Self::Mask { paths, .. } => joined(f, "mask", paths),
            Self::ReadOnly { paths } => joined(f, "make read-only", paths),
            Self::Terminal { .. } => write!(f, "open a terminal"),
            Self::Pivot { .. } => write!(f, "pivot_root"),
            Self::MoveRoot { .. } => write!(f, "move the root file system to /"),
            Self::ChangeRoot => write!(f, "chroot"),
            Self::OwnStdio(uid) => write!(f, "give the standard streams to user {}", uid.as_raw()),
            Self::Limit { name, limit, .. } => write!(
                f,
                "set {name} to {}:{}",
                limit_word(limit.current),
                limit_word(limit.maximum)
            ),
            Self::SessionKeyring { name } => write!(f, "join session keyring {}", lossy(name)),
            Self::Scheduler(_) => write!(f, "set the scheduler"),
            Self::IoPriority(value) => write!(f, "set the I/O priority to {value:#x}"),
            Self::MemoryPolicy { mode, .. } => write!(f, "set the memory policy {mode:#x}"),
            Self::AllProcessors => write!(f, "run on all CPUs"),
            Self::Affinity(_) => write!(f, "set the CPU affinity"),
            Self::Personality(value) => write!(f, "set personality {value:#x}"),
            Self::Umask(mask) => write!(f, "set umask {mask:#o}"),
            Self::Bounding(mask) => write!(f, "set bounding capabilities {mask:#x}"),
            Self::User { uid, gid, groups } => {
                write!(f, "change to user {}:{}", uid.as_raw(), gid.as_raw())?;
                for group in groups.iter().flatten() {
                    write!(f, ",{}", group.as_raw())?;
                }
                Ok(())
            }
            Self::Capabilities { sets, ambient } => write!(
                f,
                "set capabilities e={:#x} p={:#x} i={:#x} a={ambient:#x}",
                sets.effective.bits(),
                sets.permitted.bits(),
                sets.inheritable.bits()
            ),
            Self::NoNewPrivileges => write!(f, "set no_new_privs"),
            Self::WorkingDirectory { path, .. } => {
                write!(f, "chdir to cwd ({:?}) set in config.json failed", lossy(path))
            }
            Self::Find(program) => write!(f, "exec: {:?}", program.name),
            Self::AwaitStart { .. } => write!(f, "wait for start"),
            Self::Seccomp { filter, .. } => {
                write!(f, "install the seccomp filter of {} instructions", filter.len())
            }
            Self::CloseOthers { keep } => {
                write!(f, "close descriptors at exec but 0 1 2")?;
                keep.iter().try_for_each(|number| write!(f, " {number}"))
            }
            // The words of runc, whose quotes are missing.
            Self::Exec { name, .. } => write!(f, "exec {name}"),
        }
    }
}

fn limit_word(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |value| value.to_string())
}
