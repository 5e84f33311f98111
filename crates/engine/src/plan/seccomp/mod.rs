//! Which system calls a container may make.
//!
//! Invariant: a container that is not privileged has a filter unless it was told to have none; what
//! depends on its capabilities follows them.
//! Absent on purpose: system call numbers and the compiler, which are the runtime's.

mod builtin;
mod profile;

use dhow_spec::runtime::Seccomp;

use super::error::PlanError;
use profile::Profile;
pub(super) use profile::Setting;

/// The filter of a profile: `builtin`, `unconfined` (which is none), or a profile as JSON.
pub(super) fn filter(
    profile: Option<&str>,
    supported: bool,
    setting: Setting<'_>,
) -> Result<Option<Seccomp>, PlanError> {
    match profile {
        Some("unconfined") => Ok(None),
        None | Some("" | "builtin") if !supported => Ok(None),
        Some(_) if !supported => Err(PlanError::Kernel { lacks: "seccomp" }),
        None | Some("" | "builtin") => Ok(Some(builtin::profile().resolve(setting))),
        Some(text) => Profile::parse(text).map(|profile| Some(profile.resolve(setting))),
    }
}

#[cfg(test)]
mod tests {
    use dhow_spec::runtime::{SeccompAction, SeccompArch};

    use super::*;

    fn resolve(profile: Option<&str>, capabilities: &[&str]) -> Result<Option<Seccomp>, PlanError> {
        let capabilities: Vec<String> = capabilities.iter().copied().map(str::to_owned).collect();
        let setting =
            Setting { architecture: "amd64", kernel: (6, 1), capabilities: &capabilities };
        filter(profile, true, setting)
    }

    /// The first rule without comparisons that names a call.
    fn verdict(seccomp: &Seccomp, name: &str) -> Option<SeccompAction> {
        let mut rules = seccomp.syscalls.iter();
        let named = |names: &[String]| names.iter().any(|known| known == name);
        rules.find(|rule| rule.args.is_empty() && named(&rule.names)).map(|rule| rule.action)
    }

    #[test]
    fn capabilities_open_system_calls() {
        let plain = resolve(None, &[]).expect("a filter").expect("a filter");
        assert_eq!(verdict(&plain, "read"), Some(SeccompAction::Allow));
        assert_eq!(verdict(&plain, "ptrace"), Some(SeccompAction::Allow));
        assert_eq!(verdict(&plain, "mount"), None);
        assert_eq!(verdict(&plain, "clone3"), Some(SeccompAction::Errno));
        assert_eq!(plain.architectures, [SeccompArch::X86_64, SeccompArch::X86, SeccompArch::X32]);
        let admin = resolve(None, &["CAP_SYS_ADMIN"]).expect("a filter").expect("a filter");
        assert_eq!(verdict(&admin, "mount"), Some(SeccompAction::Allow));
        assert_eq!(verdict(&admin, "clone3"), Some(SeccompAction::Allow));
    }

    #[test]
    fn profiles_of_users() {
        let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":null,"syscalls":[
            {"name":"mkdir","action":"SCMP_ACT_ERRNO","errnoRet":13},
            {"names":["rmdir"],"action":"SCMP_ACT_KILL","excludes":{"minKernel":"4.0"}}]}"#;
        let filter = resolve(Some(profile), &[]).expect("a filter").expect("a filter");
        assert_eq!(filter.syscalls.len(), 1);
        assert_eq!(filter.syscalls[0].errno_ret, Some(13));
        assert_eq!(resolve(Some("unconfined"), &[]), Ok(None));
        let refusal = |text: &str| resolve(Some(text), &[]).expect_err(text).to_string();
        assert!(refusal("{}").starts_with("decoding seccomp profile failed: missing field"));
        assert!(refusal("/a/file").starts_with("decoding seccomp profile failed: expected value"));
    }
}
