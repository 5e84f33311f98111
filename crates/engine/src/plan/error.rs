//! Why a container cannot be made on this machine.
//!
//! Invariant: the words are Docker's where Docker has some; what is wrong with the request on any machine
//! is a [`RequestError`].

use std::fmt;

use rustix::io::Errno;

use crate::request::RequestError;

/// A request that this machine cannot fulfil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanError {
    /// No machine could.
    Request(RequestError),
    /// A device of the host that could not be looked at.
    Device {
        /// Its path there.
        path: String,
        /// What the kernel said; absent where it is no device.
        error: Option<Errno>,
    },
    /// A path of the host that could not be looked at, or made.
    Path {
        /// What was tried.
        doing: &'static str,
        /// The path.
        path: String,
        /// What the kernel said.
        error: Errno,
    },
    /// A bind that is to spread mounts, from a place that does not.
    Propagation {
        /// The source.
        source: String,
        /// The mount that it lies on.
        mount: String,
        /// What that mount would have to be.
        needed: &'static str,
    },
    /// More CPUs than there are.
    NanoCpus {
        /// How many there are.
        cpus: u32,
    },
    /// CPUs or memory nodes that are not there.
    Cpuset {
        /// `CPUs` or `memory nodes`.
        what: &'static str,
        /// What was asked for.
        requested: String,
        /// What there is.
        available: String,
    },
    /// No such runtime.
    Runtime {
        /// Its name.
        name: String,
    },
    /// systemd's cgroups lie in slices.
    CgroupParent,
    /// A seccomp profile that is none.
    Seccomp {
        /// What is wrong with it.
        fault: String,
    },
    /// Something that this kernel lacks.
    Kernel {
        /// What it is.
        lacks: &'static str,
    },
    /// A profile, on a machine without AppArmor.
    AppArmor {
        /// The profile.
        profile: String,
    },
    /// A kernel parameter of a namespace that is not the container's.
    Sysctl {
        /// The parameter.
        name: String,
        /// Whose it is; absent where it is nobody's but the host's.
        namespace: Option<&'static str>,
    },
    /// `host-gateway`, and no address of the host's that containers could reach.
    HostGateway,
    /// No such log driver.
    LogDriver {
        /// Its name.
        name: String,
    },
    /// An option that the log driver does not have, or cannot read.
    LogOption {
        /// The driver.
        driver: String,
        /// The option.
        option: String,
        /// Its value, where that is what is wrong.
        value: Option<String>,
    },
    /// A size for a log's buffer where nothing is buffered.
    LogBuffer,
    /// Something that this engine does not have.
    Unsupported {
        /// What it is.
        what: &'static str,
    },
}

impl From<RequestError> for PlanError {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::Device { path, error } => {
                write!(
                    f,
                    "error gathering device information while adding custom device {path:?}: "
                )?;
                match error {
                    Some(error) => f.write_str(&words_of(*error)),
                    None => f.write_str("not a device node"),
                }
            }
            Self::Path { doing, path, error } => write!(f, "{doing} {path}: {}", words_of(*error)),
            Self::Propagation { source, mount, needed } => {
                write!(f, "path {source} is mounted on {mount} but it is not a {needed} mount")
            }
            Self::NanoCpus { cpus } => write!(
                f,
                "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
            ),
            Self::Cpuset { what, requested, available } => write!(
                f,
                "Requested {what} are not available - requested {requested}, available: {available}"
            ),
            Self::Runtime { name } => write!(f, "unknown or invalid runtime name: {name}"),
            Self::CgroupParent => f.write_str(
                "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"",
            ),
            Self::Seccomp { fault } => write!(f, "decoding seccomp profile failed: {fault}"),
            Self::Kernel { lacks } => write!(f, "your kernel does not support {lacks}"),
            Self::AppArmor { profile } => {
                write!(f, "apparmor profile {profile}: AppArmor is not enabled on this host")
            }
            Self::Sysctl { name, namespace: Some(namespace) } => {
                write!(f, "sysctl {name:?} not allowed in host {namespace} namespace")
            }
            Self::Sysctl { name, namespace: None } => {
                write!(f, "sysctl {name:?} is not in a separate kernel namespace")
            }
            Self::HostGateway => f.write_str("unable to derive the IP value for host-gateway"),
            Self::LogDriver { name } => {
                write!(f, "logger: no log driver named '{name}' is registered")
            }
            Self::LogOption { driver, option, value: None } => {
                write!(f, "unknown log opt '{option}' for {driver} log driver")
            }
            Self::LogOption { driver, option, value: Some(value) } => {
                write!(f, "invalid value {value:?} of log opt '{option}' for {driver} log driver")
            }
            Self::LogBuffer => {
                f.write_str("max-buffer-size option is only supported with 'mode=non-blocking'")
            }
            Self::Unsupported { what } => write!(f, "{what} is not supported"),
        }
    }
}

impl std::error::Error for PlanError {}

/// The kernel's words without Rust's `(os error 2)`, in small letters.
pub(crate) fn words_of(error: Errno) -> String {
    let text = std::io::Error::from(error).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
