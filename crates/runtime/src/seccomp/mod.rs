//! The seccomp compiler: a profile of the specification in, a program for the kernel out.
//!
//! `table` and `machine` know numbers, `rules` and `plan` decide which number gets which verdict,
//! `emit` and `assembler` write instructions. Verdicts are those of runc with libseccomp, which the
//! documents of this field mean when they say "seccomp profile": rules with the default action say
//! nothing, a rule without comparisons wins over those with, calls of machines that are not listed
//! kill the thread, and calls newer than the profile get `ENOSYS`. Absent: loading the program
//! (`sys`), sending the listener, and the engines' own profile format with its conditions.

mod assembler;
mod emit;
mod machine;
#[cfg(test)]
mod oracle;
mod plan;
mod rules;
mod table;
#[cfg(test)]
mod verdicts;

pub(crate) use machine::NATIVE_ARCH;

use dhow_spec::runtime::{
    Seccomp, SeccompAction, SeccompArch, SeccompFeatures, SeccompFlag, SeccompOperator,
};
use dhow_sys::{FILTER_LENGTH_MAX, SeccompFlags, SockFilter};
use std::fmt;

/// A profile, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// What the kernel runs.
    pub(crate) program: Vec<SockFilter>,
    /// How it is loaded.
    pub(crate) flags: SeccompFlags,
    /// Where the listener goes; if and only if `flags` ask for one.
    pub(crate) listener: Option<Listener>,
    /// Calls that the profile names and no machine has; worth a warning.
    pub(crate) unknown: Vec<String>,
}

/// Where to send the listener of a filter that notifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listener {
    /// The socket to connect to.
    pub(crate) path: String,
    /// What to send along.
    pub(crate) metadata: Option<String>,
}

/// Why a profile cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SeccompError {
    /// The action has no room for an error number, yet has one.
    ErrnoForAction { action: SeccompAction },
    /// The kernel takes no error number this large.
    ErrnoTooLarge { errno: u32, max: u32 },
    /// Calls have six arguments.
    NoSuchArgument { index: u32 },
    /// Everything would wait for an agent, even telling it so.
    NotifyByDefault,
    /// The same: the listener is told of by writing.
    NotifyOnWrite,
    /// Nobody is there to be notified.
    NotifyWithoutListener,
    /// The program is longer than the kernel takes.
    TooLong { instructions: usize },
}

impl fmt::Display for SeccompError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrnoForAction { action } => {
                write!(f, "seccomp action {action} takes no error number")
            }
            Self::ErrnoTooLarge { errno, max } => {
                write!(f, "seccomp error number {errno} is above {max}")
            }
            Self::NoSuchArgument { index } => {
                write!(f, "seccomp argument index {index} is above 5")
            }
            Self::NotifyByDefault => write!(f, "SCMP_ACT_NOTIFY cannot be used as default action"),
            Self::NotifyOnWrite => {
                write!(f, "SCMP_ACT_NOTIFY cannot be used for the write syscall")
            }
            Self::NotifyWithoutListener => {
                write!(f, "SCMP_ACT_NOTIFY needs seccomp listenerPath")
            }
            Self::TooLong { instructions } => write!(
                f,
                "seccomp filter has {instructions} instructions, the kernel takes \
                 {FILTER_LENGTH_MAX}"
            ),
        }
    }
}

impl std::error::Error for SeccompError {}

/// Compiles a profile for processes of the `native` machine and of those that the profile lists.
pub(crate) fn compile(seccomp: &Seccomp, native: SeccompArch) -> Result<Filter, SeccompError> {
    let listener = listener(seccomp)?;
    let plans = plan::plan(seccomp, native)?;
    let program = emit::emit(&plans);
    if program.len() > FILTER_LENGTH_MAX {
        return Err(SeccompError::TooLong { instructions: program.len() });
    }
    let flags = flags(seccomp, listener.is_some());
    Ok(Filter { program, flags, listener, unknown: plans.unknown })
}

/// Where notifications go, if there are any.
fn listener(seccomp: &Seccomp) -> Result<Option<Listener>, SeccompError> {
    if seccomp.default_action == SeccompAction::Notify {
        return Err(SeccompError::NotifyByDefault);
    }
    let mut notifying =
        seccomp.syscalls.iter().filter(|rule| rule.action == SeccompAction::Notify).peekable();
    if notifying.peek().is_none() {
        return Ok(None);
    }
    if notifying.any(|rule| rule.names.iter().any(|name| name == "write")) {
        return Err(SeccompError::NotifyOnWrite);
    }
    let path = seccomp.listener_path.clone().filter(|path| !path.is_empty());
    let path = path.ok_or(SeccompError::NotifyWithoutListener)?;
    Ok(Some(Listener { path, metadata: seccomp.listener_metadata.clone() }))
}

/// The flags for loading. A profile that does not say has its program run without the speculation
/// barrier, as in runc: the barrier slows everything and is of no use against what filters stop.
fn flags(seccomp: &Seccomp, listens: bool) -> SeccompFlags {
    let Some(words) = &seccomp.flags else {
        return with_listener(SeccompFlags::SPEC_ALLOW, listens);
    };
    let flags = words.iter().fold(SeccompFlags::default(), |flags, word| match word {
        // The process that loads the filter has one thread.
        SeccompFlag::Tsync => flags,
        SeccompFlag::Log => flags.with(SeccompFlags::LOG),
        SeccompFlag::SpecAllow => flags.with(SeccompFlags::SPEC_ALLOW),
        // The kernel refuses it where nothing is received.
        SeccompFlag::WaitKillableRecv if !listens => flags,
        SeccompFlag::WaitKillableRecv => flags.with(SeccompFlags::WAIT_KILLABLE_RECV),
    });
    with_listener(flags, listens)
}

fn with_listener(flags: SeccompFlags, listens: bool) -> SeccompFlags {
    if listens { flags.with(SeccompFlags::NEW_LISTENER) } else { flags }
}

/// What `features` says about seccomp: every word of the specification is understood; of the flags,
/// `supported` are those that this kernel takes.
pub(crate) fn features(supported: impl Fn(SeccompFlags) -> bool) -> SeccompFeatures {
    let listening = SeccompFlags::NEW_LISTENER;
    let takes = |flag: &SeccompFlag| match flag {
        SeccompFlag::Tsync => supported(SeccompFlags::TSYNC),
        SeccompFlag::Log => supported(SeccompFlags::LOG),
        SeccompFlag::SpecAllow => supported(SeccompFlags::SPEC_ALLOW),
        SeccompFlag::WaitKillableRecv => {
            supported(listening.with(SeccompFlags::WAIT_KILLABLE_RECV))
        }
    };
    SeccompFeatures {
        enabled: Some(true),
        actions: SeccompAction::ALL.to_vec(),
        operators: SeccompOperator::ALL.to_vec(),
        archs: SeccompArch::ALL.to_vec(),
        known_flags: SeccompFlag::ALL.to_vec(),
        supported_flags: SeccompFlag::ALL.iter().copied().filter(takes).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(json: &str) -> Seccomp {
        serde_json::from_str(json).unwrap()
    }

    fn compiled(json: &str) -> Result<Filter, SeccompError> {
        compile(&profile(json), SeccompArch::X86_64)
    }

    #[test]
    fn flags_are_carried_over() {
        let flags = |words: &str| {
            let json = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW"{words}}}"#);
            compiled(&json).unwrap().flags.bits()
        };
        assert_eq!(flags(""), 4);
        assert_eq!(flags(r#","flags":[]"#), 0);
        assert_eq!(flags(r#","flags":["SECCOMP_FILTER_FLAG_LOG"]"#), 2);
        assert_eq!(flags(r#","flags":["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]"#), 4);
        assert_eq!(flags(r#","flags":["SECCOMP_FILTER_FLAG_TSYNC"]"#), 0);
        assert_eq!(flags(r#","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]"#), 0);
        let notify =
            r#","listenerPath":"/a","syscalls":[{"names":["mknod"],"action":"SCMP_ACT_NOTIFY"}]"#;
        assert_eq!(flags(notify), 4 | 8);
        let waits = format!(r#","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]{notify}"#);
        assert_eq!(flags(&waits), 8 | 32);
    }

    #[test]
    fn notifying_needs_somebody_to_notify() {
        let notify = |calls: &str, rest: &str| {
            compiled(&format!(
                r#"{{"defaultAction":"SCMP_ACT_ALLOW"{rest},
                "syscalls":[{{"names":[{calls}],"action":"SCMP_ACT_NOTIFY"}}]}}"#
            ))
        };
        let path = r#","listenerPath":"/run/agent","listenerMetadata":"m""#;
        let filter = notify(r#""mkdir","mknod""#, path).unwrap();
        let listener = Listener { path: "/run/agent".into(), metadata: Some("m".into()) };
        assert_eq!(filter.listener, Some(listener));
        let error = notify(r#""mkdir""#, "").unwrap_err();
        assert_eq!(error, SeccompError::NotifyWithoutListener);
        let error = notify(r#""mkdir","write""#, path).unwrap_err();
        assert_eq!(error, SeccompError::NotifyOnWrite);
        let error = compiled(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#).unwrap_err();
        assert_eq!(error, SeccompError::NotifyByDefault);
    }

    #[test]
    fn a_listener_without_notifications_is_none() {
        let filter = compiled(r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/a"}"#).unwrap();
        assert_eq!(filter.listener, None);
        assert!(!filter.flags.has(SeccompFlags::NEW_LISTENER));
    }

    #[test]
    fn names_that_no_machine_has_are_reported() {
        let filter = compiled(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["read","frobnicate","set_tls"],"action":"SCMP_ACT_ALLOW"}]}"#,
        )
        .unwrap();
        assert_eq!(filter.unknown, ["frobnicate"]);
    }

    #[test]
    fn too_long_a_profile_is_refused() {
        let rules = (0..2000).map(|value| {
            format!(
                r#"{{"names":["ioctl"],"action":"SCMP_ACT_ALLOW","args":[
                {{"index":1,"op":"SCMP_CMP_EQ","value":{value}}},
                {{"index":2,"op":"SCMP_CMP_EQ","value":{value}}}]}}"#
            )
        });
        let rules = rules.collect::<Vec<_>>().join(",");
        let json = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{rules}]}}"#);
        assert!(matches!(compiled(&json), Err(SeccompError::TooLong { .. })));
    }

    #[test]
    fn features_name_what_is_understood() {
        let features = features(|flags| !flags.has(SeccompFlags::WAIT_KILLABLE_RECV));
        assert_eq!(features.actions.len(), 9);
        assert_eq!(features.operators.len(), 7);
        assert_eq!(features.archs.len(), 23);
        assert_eq!(features.known_flags.len(), 4);
        assert_eq!(features.supported_flags.len(), 3);
    }
}
