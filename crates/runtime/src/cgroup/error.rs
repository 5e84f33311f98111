//! What can go wrong with a cgroup, each with the file or directory and the value it went wrong on.

use std::fmt;
use std::path::PathBuf;

use rustix::io::Errno;

use super::controller::Controller;
use super::systemd::BusError;
use crate::text::ErrnoWords;

/// Why a container's cgroup could not be made, limited, read or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CgroupError {
    /// No cgroup file system is mounted where this process can see it.
    NoHierarchy,
    /// The configured path is no path that a cgroup can have.
    Path { path: String, reason: PathFault },
    /// A directory could not be created.
    Make { dir: PathBuf, errno: Errno },
    /// A directory could not be removed.
    Remove { dir: PathBuf, errno: Errno },
    /// Several things failed during a teardown that went on to its end.
    Several(Vec<CgroupError>),
    /// A file or directory could not be opened or read.
    Read { file: PathBuf, errno: Errno },
    /// The kernel refused a value.
    Write { file: PathBuf, value: String, errno: Errno },
    /// The kernel's text is not what this program understands.
    Malformed { file: PathBuf, text: String },
    /// The cgroup was there already and has processes of somebody else.
    NotEmpty { dir: PathBuf, count: usize },
    /// The cgroup was there already and is frozen: whatever entered it would never run.
    Frozen { dir: PathBuf },
    /// The state asked for was not reached in time.
    NotSettled { dir: PathBuf, wanted: &'static str },
    /// A limit needs a controller that is in no hierarchy of this host.
    NoController { controller: Controller, setting: String },
    /// A limit needs a controller whose cgroup this user was not allowed to make.
    NotDelegated { controller: Controller, setting: String, dir: PathBuf, errno: Errno },
    /// Version 2 has nothing that would do the same.
    OnlyV1 { setting: String },
    /// `unified` is given and there is no version 2.
    UnifiedOnV1,
    /// A key of `unified` that cannot be a file.
    UnifiedName { file: String },
    /// A key of `unified` whose controller is elsewhere or nowhere.
    UnifiedController { file: String, controller: Controller },
    /// A device rule with a number or letter that no device has.
    Device { rule: String },
    /// Version 1 keeps no order of device rules, so it cannot take back a part of a wildcard.
    DeviceHole { rule: String, wider: String },
    /// The eBPF program that decides about devices could not be loaded or attached.
    DeviceProgram { dir: PathBuf, errno: Errno },
    /// A directory or file could not be handed to the container's user.
    Give { file: PathBuf, errno: Errno },
    /// systemd did not do its part.
    Systemd(BusError),
    /// The container uses more memory than it would be allowed.
    MemoryInUse { limit: i64, usage: u64, peak: u64 },
    /// The limit on memory and swap together is below the one on memory alone.
    SwapBelowMemory { swap: i64, memory: i64 },
    /// A version 2 cgroup above the container's holds processes, so controllers stay off below it.
    InnerProcesses { dir: PathBuf, controllers: String },
    /// A version 2 cgroup above the container's is threaded, so controllers stay off below it.
    Threaded { dir: PathBuf, controllers: String },
}

/// What is wrong with a configured cgroup path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathFault {
    /// It names the root of the hierarchy, which belongs to the host.
    IsRoot,
    /// It holds a NUL byte or a line break.
    ForbiddenByte,
    /// The systemd manager wants `slice:prefix:name`.
    NotATriple,
    /// It goes above the container's own cgroup.
    Climbs,
    /// Another option names the same place.
    Twice,
    /// It names a controller that the container has no cgroup of.
    NotAController,
    /// A slice's name must end in `.slice`, with single dashes between its parts.
    NotASlice,
}

impl CgroupError {
    /// The kernel's number, where one file or directory was the reason.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            CgroupError::Make { errno, .. }
            | CgroupError::Remove { errno, .. }
            | CgroupError::Read { errno, .. }
            | CgroupError::Write { errno, .. }
            | CgroupError::DeviceProgram { errno, .. }
            | CgroupError::Give { errno, .. }
            | CgroupError::NotDelegated { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// Whether the file or directory is not there, for settings that not every kernel has.
    pub(super) fn is_absent(&self) -> bool {
        self.errno() == Some(Errno::NOENT)
    }

    /// Whether this user may not do it.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self.errno(), Some(Errno::PERM | Errno::ACCESS | Errno::ROFS))
    }

    /// Puts the errors of a teardown together: none is success, one stands for itself.
    pub(super) fn collect(mut errors: Vec<CgroupError>) -> Result<(), CgroupError> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(CgroupError::Several(errors)),
        }
    }
}

impl fmt::Display for CgroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CgroupError::NoHierarchy => f.write_str("no cgroup file system is mounted"),
            // The words of runc.
            CgroupError::Path { path, reason: PathFault::Climbs } => {
                write!(f, "cgroup: {path} is not a sub cgroup path")
            }
            CgroupError::Path { path, reason } => write!(f, "cgroup path {path:?}: {reason}"),
            CgroupError::Make { dir, errno } => {
                write!(f, "make cgroup {}: {}", dir.display(), ErrnoWords(*errno))
            }
            CgroupError::Remove { dir, errno } => {
                write!(f, "remove cgroup {}: {}", dir.display(), ErrnoWords(*errno))
            }
            CgroupError::Several(errors) => write_several(f, errors),
            CgroupError::Read { file, errno } => {
                write!(f, "read {}: {}", file.display(), ErrnoWords(*errno))
            }
            CgroupError::Write { file, value, errno } => {
                write!(f, "write {value:?} to {}: {}", file.display(), ErrnoWords(*errno))
            }
            CgroupError::Malformed { file, text } => {
                write!(f, "read {}: unexpected text {text:?}", file.display())
            }
            CgroupError::NotEmpty { dir, count } => {
                write!(f, "container's cgroup is not empty: {count} processes in {}", dir.display())
            }
            CgroupError::Frozen { dir } => {
                write!(f, "container's cgroup unexpectedly frozen: {}", dir.display())
            }
            CgroupError::NotSettled { dir, wanted } => {
                write!(f, "cgroup {} did not become {wanted} in time", dir.display())
            }
            CgroupError::NoController { controller, setting } => write!(
                f,
                "cannot set {setting}: this host has no cgroup hierarchy with the {controller} controller"
            ),
            CgroupError::NotDelegated { setting, dir, errno, .. } => write!(
                f,
                "cannot set {setting}: container could not join or create cgroup: {}: {}",
                dir.display(),
                ErrnoWords(*errno)
            ),
            CgroupError::OnlyV1 { setting } => {
                write!(f, "cannot set {setting}: cgroup version 2 has no such limit")
            }
            CgroupError::UnifiedOnV1 => f.write_str(
                "invalid configuration: cannot use unified resources on cgroup version 1",
            ),
            CgroupError::UnifiedName { file } => write!(
                f,
                "invalid configuration: unified resource {file:?} is no name of a file like \"memory.high\""
            ),
            CgroupError::UnifiedController { file, controller } => write!(
                f,
                "invalid configuration: unified resource {file:?}: the {controller} controller is not in the cgroup version 2 hierarchy"
            ),
            CgroupError::Device { rule } => {
                write!(f, "device rule {rule:?} is none that the kernel knows")
            }
            CgroupError::DeviceHole { rule, wider } => write!(
                f,
                "device rule {rule:?} takes part of {wider:?}: cgroup version 1 cannot do that"
            ),
            CgroupError::DeviceProgram { dir, errno } => {
                write!(
                    f,
                    "attach device program to cgroup {}: {}",
                    dir.display(),
                    ErrnoWords(*errno)
                )
            }
            CgroupError::Give { file, errno } => {
                write!(f, "change owner of {}: {}", file.display(), ErrnoWords(*errno))
            }
            CgroupError::Systemd(error) => error.fmt(f),
            CgroupError::MemoryInUse { limit, usage, peak } => write!(
                f,
                "unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})"
            ),
            CgroupError::SwapBelowMemory { swap, memory } => {
                write!(f, "memory+swap limit {swap} should be >= memory limit {memory}")
            }
            CgroupError::InnerProcesses { dir, controllers } => write!(
                f,
                "cannot enable {controllers} below cgroup {}: it has processes of its own",
                dir.display()
            ),
            CgroupError::Threaded { dir, controllers } => write!(
                f,
                "cannot enable {controllers} below cgroup {}: it is threaded",
                dir.display()
            ),
        }
    }
}

impl std::error::Error for CgroupError {}

impl From<BusError> for CgroupError {
    fn from(error: BusError) -> CgroupError {
        CgroupError::Systemd(error)
    }
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathFault::IsRoot => "names the root of the hierarchy",
            PathFault::ForbiddenByte => "has a NUL byte or a line break",
            PathFault::NotATriple => "the systemd cgroup manager expects \"slice:prefix:name\"",
            PathFault::Climbs => "leaves the container's cgroup",
            PathFault::Twice => "names the same hierarchy twice",
            PathFault::NotAController => "is no controller of the container's cgroups",
            PathFault::NotASlice => "is no name of a systemd slice",
        })
    }
}

fn write_several(f: &mut fmt::Formatter<'_>, errors: &[CgroupError]) -> fmt::Result {
    for (at, error) in errors.iter().enumerate() {
        if at > 0 {
            f.write_str("; ")?;
        }
        write!(f, "{error}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_value_is_named_with_its_file() {
        let error = CgroupError::Write {
            file: "/sys/fs/cgroup/pids/c1/pids.max".into(),
            value: "-5".into(),
            errno: Errno::INVAL,
        };
        assert_eq!(
            error.to_string(),
            "write \"-5\" to /sys/fs/cgroup/pids/c1/pids.max: invalid argument"
        );
    }

    #[test]
    fn errors_of_a_teardown_are_all_told() {
        let busy = |dir: &str| CgroupError::Remove { dir: dir.into(), errno: Errno::BUSY };
        assert!(CgroupError::collect(Vec::new()).is_ok());
        let error = CgroupError::collect(vec![busy("/a"), busy("/b")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "remove cgroup /a: device or resource busy; remove cgroup /b: device or resource busy"
        );
    }
}
