//! Profiles with conditions, and what is left of them for one container.
//!
//! Invariant: what comes out has a rule for whatever the profile names and the conditions let through;
//! a condition that is not understood is a refusal, never a rule more or less.

use dhow_spec::runtime::{
    Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompFlag, SeccompRule,
};
use serde::Deserialize;

use crate::plan::error::PlanError;

/// A profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) default_action: SeccompAction,
    pub(super) default_errno: Option<u32>,
    /// Each with those that run beside it.
    pub(super) machines: Vec<Vec<SeccompArch>>,
    /// Taken as they are, in place of `machines`.
    pub(super) architectures: Vec<SeccompArch>,
    pub(super) flags: Option<Vec<SeccompFlag>>,
    pub(super) listener: Option<(String, Option<String>)>,
    pub(super) rules: Vec<Rule>,
}

/// A rule and when it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    pub(super) action: SeccompAction,
    pub(super) errno: Option<u32>,
    pub(super) args: Vec<SeccompArg>,
    pub(super) includes: Conditions,
    pub(super) excludes: Conditions,
}

/// Conditions of a rule; empty ones do not count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Conditions {
    pub(super) caps: Vec<String>,
    pub(super) arches: Vec<String>,
    pub(super) min_kernel: Option<(u32, u32)>,
}

/// What rules depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// In Go's words.
    pub(crate) architecture: &'a str,
    /// The kernel's version.
    pub(crate) kernel: (u32, u32),
    /// What the container can ever gain.
    pub(crate) capabilities: &'a [String],
}

impl Profile {
    pub(super) fn empty(default_action: SeccompAction) -> Self {
        Self {
            default_action,
            default_errno: None,
            machines: Vec::new(),
            architectures: Vec::new(),
            flags: None,
            listener: None,
            rules: Vec::new(),
        }
    }

    /// Reads a profile as the command line sends it.
    pub(super) fn parse(text: &str) -> Result<Self, PlanError> {
        let fault = |fault: &str| PlanError::Seccomp { fault: fault.to_owned() };
        let read: Document =
            serde_json::from_str(text).map_err(|error| fault(&error.to_string()))?;
        let architectures = read.architectures.unwrap_or_default();
        let arch_map = read.arch_map.unwrap_or_default();
        if !architectures.is_empty() && !arch_map.is_empty() {
            return Err(fault(
                "'architectures' and 'archMap' were specified in the seccomp profile, use either 'architectures' or 'archMap'",
            ));
        }
        let machines = arch_map.into_iter().map(|machine| {
            let beside = machine.sub_architectures.unwrap_or_default();
            std::iter::once(machine.architecture).chain(beside).collect()
        });
        let entries = read.syscalls.into_iter().flatten();
        let rules: Result<Vec<Rule>, &str> = entries.map(Entry::rule).collect();
        Ok(Self {
            default_action: read.default_action,
            default_errno: read.default_errno_ret,
            machines: machines.collect(),
            architectures,
            flags: read.flags,
            listener: read.listener_path.map(|path| (path, read.listener_metadata)),
            rules: rules.map_err(fault)?,
        })
    }

    /// What is left of it where these things are so.
    pub(super) fn resolve(&self, setting: Setting<'_>) -> Seccomp {
        let native = native(setting.architecture);
        let beside = self.machines.iter().find(|machine| machine.first().copied() == native);
        let rules = self.rules.iter().filter(|rule| rule.holds(setting));
        Seccomp {
            default_action: self.default_action,
            default_errno_ret: self.default_errno,
            architectures: beside.cloned().unwrap_or_else(|| self.architectures.clone()),
            flags: self.flags.clone(),
            listener_path: self.listener.as_ref().map(|(path, _)| path.clone()),
            listener_metadata: self.listener.as_ref().and_then(|(_, text)| text.clone()),
            syscalls: rules.map(Rule::plain).collect(),
        }
    }
}

impl Rule {
    fn holds(&self, setting: Setting<'_>) -> bool {
        let Setting { architecture, kernel, capabilities } = setting;
        let has = |cap: &String| capabilities.contains(cap);
        let here = |arches: &[String]| arches.iter().any(|arch| arch == architecture);
        let recent = |min: Option<(u32, u32)>| min.is_some_and(|min| kernel >= min);
        let (includes, excludes) = (&self.includes, &self.excludes);
        let excluded =
            here(&excludes.arches) || excludes.caps.iter().any(has) || recent(excludes.min_kernel);
        let included = (includes.arches.is_empty() || here(&includes.arches))
            && includes.caps.iter().all(has)
            && (includes.min_kernel.is_none() || recent(includes.min_kernel));
        included && !excluded
    }

    fn plain(&self) -> SeccompRule {
        let Self { names, action, errno, args, .. } = self;
        SeccompRule { names: names.clone(), action: *action, errno_ret: *errno, args: args.clone() }
    }
}

/// The file format of Docker's command line.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    default_action: SeccompAction,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<SeccompArch>>,
    #[serde(default)]
    arch_map: Option<Vec<Machine>>,
    #[serde(default)]
    flags: Option<Vec<SeccompFlag>>,
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default)]
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Machine {
    architecture: SeccompArch,
    #[serde(default)]
    sub_architectures: Option<Vec<SeccompArch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: SeccompAction,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<SeccompArg>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

impl Entry {
    fn rule(self) -> Result<Rule, &'static str> {
        let names = match (self.name, self.names) {
            (Some(_), Some(names)) if !names.is_empty() => {
                return Err(
                    "'name' and 'names' were specified in the seccomp profile, use either 'name' or 'names'",
                );
            }
            (Some(name), _) => vec![name],
            (None, names) => names.unwrap_or_default(),
        };
        if names.is_empty() {
            return Err("a rule without a name");
        }
        let conditions =
            |filter: Option<Filter>| filter.map_or(Ok(Conditions::default()), Filter::read);
        Ok(Rule {
            names,
            action: self.action,
            errno: self.errno_ret,
            args: self.args.unwrap_or_default(),
            includes: conditions(self.includes)?,
            excludes: conditions(self.excludes)?,
        })
    }
}

impl Filter {
    fn read(self) -> Result<Conditions, &'static str> {
        let min_kernel = match self.min_kernel {
            None => None,
            Some(text) => Some(kernel(&text).ok_or("minKernel is no version")?),
        };
        let (caps, arches) = (self.caps.unwrap_or_default(), self.arches.unwrap_or_default());
        Ok(Conditions { caps, arches, min_kernel })
    }
}

/// `4.8`.
pub(super) fn kernel(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The machine of one of Go's words.
fn native(architecture: &str) -> Option<SeccompArch> {
    Some(match architecture {
        "386" => SeccompArch::X86,
        "amd64" => SeccompArch::X86_64,
        "arm" => SeccompArch::Arm,
        "arm64" => SeccompArch::Aarch64,
        "loong64" => SeccompArch::Loongarch64,
        "mips64" => SeccompArch::Mips64,
        "mips64le" => SeccompArch::Mipsel64,
        "ppc64le" => SeccompArch::Ppc64le,
        "riscv64" => SeccompArch::Riscv64,
        "s390x" => SeccompArch::S390x,
        _ => return None,
    })
}
