//! Why a request for a container is refused, in the words that Docker's clients know.
//!
//! Invariant: every variant is the client's mistake; what only the machine lacks is told when the
//! container is planned. The words are Docker's where Docker has some, capital letters included.

use std::fmt;

use dhow_spec::runtime::Clock;

/// A request that no machine could fulfil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// Two options that exclude each other.
    Conflict(Conflict),
    /// A word that is none of its field's.
    Word {
        /// The field.
        field: Field,
        /// The word.
        word: String,
    },
    /// Something of a restart policy.
    Restart(RestartFault),
    /// One of the mounts by `Mounts`, or what became of a text of `Binds`.
    Mount {
        /// Its type, as written.
        kind: String,
        /// What is wrong with it.
        fault: MountFault,
    },
    /// A text of `Binds` whose parts are wrong.
    Bind {
        /// The text.
        text: String,
        /// What is wrong with it, where it is more than its form.
        fault: Option<(&'static str, MountFault)>,
    },
    /// A path that must be absolute.
    RelativeWorkingDir {
        /// The path.
        path: String,
    },
    /// A `Tmpfs` entry.
    Tmpfs {
        /// What is wrong with it.
        fault: MountFault,
    },
    /// Two mounts at one place.
    DuplicateMount {
        /// The place.
        destination: String,
    },
    /// A field of a health check.
    Health {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        fault: HealthFault,
    },
    /// A limit outside its range.
    Limit(LimitFault),
    /// A time offset that cannot be.
    TimeOffset {
        /// The clock.
        clock: Clock,
    },
    /// An option that this engine does not have.
    Unsupported {
        /// The option.
        what: &'static str,
    },
    /// Neither image nor request say what to run.
    NoCommand,
    /// No image was named.
    NoImage,
    /// An annotation without a name.
    EmptyAnnotation,
    /// Not `NAME[:ALIAS]`.
    Link {
        /// What was given.
        text: String,
    },
    /// `VolumesFrom` with nothing in it.
    EmptyVolumesFrom,
    /// A namespace of another container, without the container.
    NoContainer {
        /// Which namespace.
        field: Field,
    },
}

/// The fields whose words are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `AddHost` without a colon or a name.
    ExtraHost,
    /// The address of an `AddHost`.
    ExtraHostAddress,
    /// A capability to add.
    CapAdd,
    /// A capability to drop.
    CapDrop,
    /// Cgroup namespace.
    CgroupnsMode,
    /// A device rule.
    DeviceCgroupRule,
    /// Permissions of a device.
    DevicePermissions,
    /// An environment variable.
    Env,
    /// Ipc namespace.
    IpcMode,
    /// Isolation.
    Isolation,
    /// Options of a mount.
    MountMode,
    /// Network namespace.
    NetworkMode,
    /// Pid namespace.
    PidMode,
    /// A port.
    Port,
    /// A security option without a value.
    SecurityOptForm,
    /// A security option.
    SecurityOpt,
    /// A signal.
    Signal,
    /// A time offset.
    TimeOffset,
    /// A ulimit.
    Ulimit,
    /// User namespace.
    UsernsMode,
    /// Uts namespace.
    UtsMode,
    /// A MAC address.
    MacAddress,
    /// The name of a volume.
    VolumeName,
    /// Option of a storage driver.
    StorageOpt,
}

/// Options that exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// `AutoRemove` and a restart policy.
    AutoRemoveAndRestart,
    /// A host name and the host's uts namespace.
    HostnameAndUts,
    /// A host name and another container's network.
    HostnameAndNetwork,
    /// Links and the host's network.
    LinksAndHost,
    /// Links and another container's network.
    LinksAndContainer,
    /// DNS and another container's network.
    DnsAndNetwork,
    /// Extra hosts and another container's network.
    HostsAndNetwork,
    /// Published ports and another container's network.
    PublishAndNetwork,
    /// Exposed ports and another container's network.
    ExposeAndNetwork,
    /// A MAC address and another container's network.
    MacAndNetwork,
    /// An address of one's own on a network that does not give them out.
    AddressAndDefaultNetwork,
    /// `NanoCpus` and `CpuPeriod`.
    NanoCpusAndPeriod,
    /// `NanoCpus` and `CpuQuota`.
    NanoCpusAndQuota,
}

/// What is wrong with a restart policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestartFault {
    /// No such policy.
    Unknown {
        /// The word.
        word: String,
    },
    /// A count where the policy has no use for one.
    Count {
        /// Whether it was negative on top.
        negative: bool,
    },
    /// A negative count.
    Negative,
}

/// What is wrong with a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountFault {
    /// No such type.
    UnknownType,
    /// A type that this engine does not have.
    UnsupportedType,
    /// A field that the type needs.
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field that the type cannot have.
    Extra {
        /// The field.
        field: &'static str,
    },
    /// A path that must be absolute.
    Relative {
        /// The path.
        path: String,
    },
    /// Over the container's root.
    Root,
    /// A propagation that is none.
    Propagation {
        /// The word.
        word: String,
    },
    /// A path below a volume of no name.
    AnonymousSubpath,
    /// A path that leaves the volume.
    Subpath,
    /// Nobody could ever write to it.
    AnonymousReadOnly,
    /// `ReadOnlyForceRecursive` on a mount that can be written to.
    ForceWithoutReadOnly,
    /// Both words about recursive read-only mounts.
    ForceAndNonRecursive,
    /// `ReadOnlyForceRecursive` with another propagation.
    ForceWithoutPrivate,
    /// `ReadOnlyForceRecursive` on one mount alone.
    ForceNonRecursive,
    /// An option of tmpfs that is not let through.
    TmpfsOption {
        /// The option.
        option: String,
    },
    /// The source is not on this machine.
    SourceAbsent {
        /// The source.
        path: String,
    },
}

/// What is wrong with a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthFault {
    /// Shorter than a millisecond.
    TooShort,
    /// Below zero.
    Negative,
    /// A test of an unknown kind.
    Test,
}

/// A limit outside its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitFault {
    /// Less memory than a container can live in.
    MemoryMin,
    /// A limit of memory and swap, none of memory.
    SwapAlone,
    /// Memory and swap together less than memory.
    SwapBelowMemory,
    /// Swappiness outside 0 to 100.
    Swappiness {
        /// The value.
        value: i64,
    },
    /// A reservation that is too small.
    ReservationMin,
    /// A limit below the reservation.
    ReservationAboveLimit,
    /// A period outside a millisecond to a second.
    CpuPeriod,
    /// A quota below a millisecond.
    CpuQuota,
    /// Real-time tasks get more than there is.
    RealtimeRuntime,
    /// Not a list of CPUs.
    CpusetCpus {
        /// The text.
        text: String,
    },
    /// Not a list of memory nodes.
    CpusetMems {
        /// The text.
        text: String,
    },
    /// A weight of block I/O.
    BlkioWeight,
    /// Size of `/dev/shm`.
    ShmSize,
    /// Bias of the OOM killer.
    OomScoreAdj {
        /// The value.
        value: i64,
    },
    /// A soft limit above the hard one.
    Ulimit {
        /// The ulimit.
        name: String,
        /// The soft limit.
        soft: i64,
        /// The hard one.
        hard: i64,
    },
    /// An amount below zero.
    Negative {
        /// The field.
        field: &'static str,
    },
}

impl RequestError {
    pub(crate) fn word(field: Field, word: &str) -> Self {
        Self::Word { field, word: word.to_owned() }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(conflict) => conflict.fmt(f),
            Self::Word { field, word } => field.fault(word, f),
            Self::Restart(fault) => write!(f, "invalid restart policy: {fault}"),
            Self::Mount { kind, fault } => {
                write!(f, "invalid mount config for type {kind:?}: {fault}")
            }
            Self::Bind { text, fault: None } => write!(f, "invalid volume specification: '{text}'"),
            Self::Bind { text, fault: Some((kind, fault)) } => write!(
                f,
                "invalid volume specification: '{text}': invalid mount config for type {kind:?}: {fault}"
            ),
            Self::RelativeWorkingDir { path } => write!(
                f,
                "the working directory '{path}' is invalid, it needs to be an absolute path"
            ),
            Self::Tmpfs { fault } => fault.fmt(f),
            Self::DuplicateMount { destination } => {
                write!(f, "Duplicate mount point: {destination}")
            }
            Self::Health { field, fault } => match fault {
                HealthFault::TooShort => {
                    write!(f, "{field} in Healthcheck cannot be less than 1ms")
                }
                HealthFault::Negative => write!(f, "{field} in Healthcheck cannot be negative"),
                HealthFault::Test => write!(f, "unknown type {field:?} in Healthcheck"),
            },
            Self::Limit(fault) => fault.fmt(f),
            Self::TimeOffset { clock } => {
                write!(f, "the offset of the clock {clock} is more than the kernel can hold")
            }
            Self::Unsupported { what } => write!(f, "{what} is not supported"),
            Self::NoCommand => f.write_str("no command specified"),
            Self::NoImage => f.write_str("no image specified"),
            Self::Link { text } if text.is_empty() => {
                f.write_str("empty string specified for links")
            }
            Self::Link { text } => write!(f, "bad format for links: {text}"),
            Self::EmptyAnnotation => f.write_str(
                "invalid Annotations: the empty string is not permitted as an annotation key",
            ),
            Self::EmptyVolumesFrom => {
                f.write_str("volumes-from specification cannot be an empty string")
            }
            Self::NoContainer { field: Field::NetworkMode } => {
                f.write_str("invalid container format container:<name|id>")
            }
            Self::NoContainer { field } => field.fault("container:", f),
        }
    }
}

impl Field {
    fn fault(self, word: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExtraHost => write!(f, "bad format for add-host: {word:?}"),
            Self::ExtraHostAddress => write!(f, "invalid IP address in add-host: {word:?}"),
            Self::CapAdd => write!(f, "invalid CapAdd: unknown capability: {word:?}"),
            Self::CapDrop => write!(f, "invalid CapDrop: unknown capability: {word:?}"),
            Self::CgroupnsMode => write!(f, "invalid cgroup namespace mode: {word}"),
            Self::DeviceCgroupRule => write!(f, "invalid device cgroup rule format: '{word}'"),
            Self::DevicePermissions => write!(f, "invalid device mode: {word}"),
            Self::Env => write!(f, "invalid environment variable: {word}"),
            Self::IpcMode => write!(f, "invalid IPC mode: {word}"),
            Self::Isolation => write!(f, "invalid isolation '{word}' on linux"),
            Self::MountMode => write!(f, "invalid mode: {word}"),
            Self::NetworkMode => write!(f, "invalid network mode: {word}"),
            Self::PidMode => write!(f, "invalid PID mode: {word}"),
            Self::Port => write!(f, "invalid port specification: {word:?}"),
            Self::SecurityOptForm => write!(f, "invalid --security-opt 1: {word:?}"),
            Self::SecurityOpt => write!(f, "invalid --security-opt 2: {word:?}"),
            Self::Signal => write!(f, "invalid signal: {word}"),
            Self::TimeOffset => write!(
                f,
                "invalid time offset {word:?}: expected [monotonic=|boottime=]SECONDS, such as monotonic=3600 or -1.5"
            ),
            Self::Ulimit => write!(f, "invalid ulimit type: {word}"),
            Self::UsernsMode => write!(f, "invalid user namespace mode: {word}"),
            Self::UtsMode => write!(f, "invalid UTS mode: {word}"),
            Self::MacAddress => write!(f, "invalid MAC address: {word}"),
            Self::StorageOpt => write!(f, "unknown option {word} of the storage driver"),
            Self::VolumeName if word.len() < 2 => f.write_str(
                "volume name is too short, names should be at least two alphanumeric characters",
            ),
            Self::VolumeName => write!(
                f,
                "create {word}: {word:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
            ),
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AutoRemoveAndRestart => "can't create 'AutoRemove' container with restart policy",
            Self::HostnameAndUts => "conflicting options: hostname and the UTS mode",
            Self::HostnameAndNetwork => "conflicting options: hostname and the network mode",
            Self::LinksAndHost => {
                "conflicting options: host type networking can't be used with links. This would result in undefined behavior"
            }
            Self::LinksAndContainer => {
                "conflicting options: container type network can't be used with links. This would result in undefined behavior"
            }
            Self::DnsAndNetwork => "conflicting options: dns and the network mode",
            Self::HostsAndNetwork => {
                "conflicting options: custom host-to-IP mapping and the network mode"
            }
            Self::PublishAndNetwork => {
                "conflicting options: port publishing and the container type network mode"
            }
            Self::ExposeAndNetwork => {
                "conflicting options: port exposing and the container type network mode"
            }
            Self::MacAndNetwork => "conflicting options: mac-address and the network mode",
            Self::AddressAndDefaultNetwork => {
                "invalid config for network bridge: invalid endpoint settings:\nuser specified IP address is supported only when connecting to networks with user configured subnets"
            }
            Self::NanoCpusAndPeriod => {
                "Conflicting options: Nano CPUs and CPU Period cannot both be set"
            }
            Self::NanoCpusAndQuota => {
                "Conflicting options: Nano CPUs and CPU Quota cannot both be set"
            }
        })
    }
}

impl fmt::Display for RestartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { word } => write!(
                f,
                "unknown policy '{word}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            ),
            Self::Count { negative } => {
                f.write_str("maximum retry count can only be used with 'on-failure'")?;
                f.write_str(if *negative { " and cannot be negative" } else { "" })
            }
            Self::Negative => f.write_str("maximum retry count cannot be negative"),
        }
    }
}

impl fmt::Display for MountFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType => f.write_str("mount type unknown"),
            Self::UnsupportedType => f.write_str("mounts of this type are not supported"),
            Self::Missing { field } => write!(f, "field {field} must not be empty"),
            Self::Extra { field } => write!(f, "field {field} must not be specified"),
            Self::Relative { path } => {
                write!(f, "invalid mount path: '{path}' mount path must be absolute")
            }
            Self::Root => f.write_str("invalid specification: destination can't be '/'"),
            Self::Propagation { word } => write!(f, "invalid propagation mode: {word}"),
            Self::AnonymousSubpath => {
                f.write_str("must not set Subpath when using anonymous volumes")
            }
            Self::Subpath => f.write_str("subpath must be a relative path within the volume"),
            Self::AnonymousReadOnly => {
                f.write_str("must not set ReadOnly mode when using anonymous volumes")
            }
            Self::ForceWithoutReadOnly => {
                f.write_str("ReadOnlyForceRecursive is only for read-only mounts")
            }
            Self::ForceAndNonRecursive => {
                f.write_str("ReadOnlyForceRecursive and ReadOnlyNonRecursive exclude each other")
            }
            Self::ForceWithoutPrivate => {
                f.write_str("ReadOnlyForceRecursive needs Propagation \"rprivate\"")
            }
            Self::ForceNonRecursive => {
                f.write_str("ReadOnlyForceRecursive and NonRecursive exclude each other")
            }
            Self::TmpfsOption { option } => write!(f, "invalid option: {option:?}"),
            Self::SourceAbsent { path } => write!(f, "bind source path does not exist: {path}"),
        }
    }
}

impl fmt::Display for LimitFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MemoryMin => f.write_str("Minimum memory limit allowed is 6MB"),
            Self::SwapAlone => f.write_str(
                "You should always set the Memory limit when using Memoryswap limit, see usage",
            ),
            Self::SwapBelowMemory => f.write_str(
                "Minimum memoryswap limit should be larger than memory limit, see usage",
            ),
            Self::Swappiness { value } => {
                write!(f, "Invalid value: {value}, valid memory swappiness range is 0-100")
            }
            Self::ReservationMin => f.write_str("Minimum memory reservation allowed is 6MB"),
            Self::ReservationAboveLimit => f.write_str(
                "Minimum memory limit can not be less than memory reservation limit, see usage",
            ),
            Self::CpuPeriod => f.write_str(
                "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            ),
            Self::CpuQuota => f.write_str("CPU cfs quota can not be less than 1ms (i.e. 1000)"),
            Self::RealtimeRuntime => {
                f.write_str("cpu real-time runtime cannot be higher than cpu real-time period")
            }
            Self::CpusetCpus { text } => write!(f, "Invalid value {text} for cpuset cpus"),
            Self::CpusetMems { text } => write!(f, "Invalid value {text} for cpuset mems"),
            Self::BlkioWeight => f.write_str("Range of blkio weight is from 10 to 1000"),
            Self::ShmSize => f.write_str("SHM size can not be less than 0"),
            Self::OomScoreAdj { value } => {
                write!(f, "Invalid value {value}, range for oom score adj is [-1000, 1000]")
            }
            Self::Ulimit { name, soft, hard } => write!(
                f,
                "ulimit {name}: soft limit must be less than or equal to hard limit: {soft} > {hard}"
            ),
            Self::Negative { field } => write!(f, "invalid value for {field}: must not be negative"),
        }
    }
}

impl std::error::Error for RequestError {}
