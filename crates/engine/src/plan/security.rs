//! What guards a container: capabilities, filters, profiles, labels, hidden paths.
//!
//! Invariant: `--privileged` takes guards away, an explicit option puts that one back; an option that this
//! machine cannot keep is refused, not skipped, unless it asks for less guarding.

use dhow_spec::runtime::Seccomp;

use super::error::PlanError;
use super::facts::HostFacts;
use super::process;
use super::seccomp::{self, Setting};
use crate::request::{CreateRequest, IpcMode, PidMode, SecurityMeaning};

/// What guards it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Security {
    pub(super) capabilities: Vec<String>,
    pub(super) no_new_privileges: bool,
    pub(super) apparmor: Option<String>,
    pub(super) process_label: Option<String>,
    pub(super) mount_label: Option<String>,
    pub(super) seccomp: Option<Seccomp>,
    pub(super) writable_cgroups: bool,
    pub(super) masked_paths: Vec<String>,
    pub(super) readonly_paths: Vec<String>,
}

/// Profile that is used where it is loaded and nothing else is asked for.
const APPARMOR_DEFAULT: &str = "docker-default";

pub(super) const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

pub(super) const READONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the options of a request say, the last of each kind.
#[derive(Default)]
struct Options<'a> {
    no_new_privileges: Option<bool>,
    labels: Vec<&'a str>,
    apparmor: Option<&'a str>,
    seccomp: Option<&'a str>,
    writable_cgroups: Option<bool>,
}

impl Security {
    pub(super) fn of(
        request: &CreateRequest,
        host: &HostFacts,
        id: &str,
    ) -> Result<Self, PlanError> {
        let own = &request.host;
        let options = Options::of(request);
        let capabilities = process::capabilities(&own.cap_add, &own.cap_drop, own.privileged);
        let setting = Setting {
            architecture: &host.architecture,
            kernel: host.kernel,
            capabilities: &capabilities,
        };
        let default = host.defaults.seccomp.as_deref();
        let profile = if own.privileged { Some("unconfined") } else { default };
        let seccomp = seccomp::filter(options.seccomp.or(profile), host.seccomp, setting)?;
        let paths = |own: &Option<Vec<String>>, default: &[&str]| match own {
            Some(paths) => paths.clone(),
            None if request.host.privileged => Vec::new(),
            None => default.iter().copied().map(str::to_owned).collect(),
        };
        let (process_label, mount_label) = labels(request, &options.labels, host, id)?;
        Ok(Self {
            no_new_privileges: options.no_new_privileges.unwrap_or(host.defaults.no_new_privileges),
            apparmor: apparmor(options.apparmor, own.privileged, host)?,
            process_label,
            mount_label,
            seccomp,
            writable_cgroups: options.writable_cgroups.unwrap_or(own.privileged),
            masked_paths: paths(&own.masked_paths, MASKED),
            readonly_paths: paths(&own.readonly_paths, READONLY),
            capabilities,
        })
    }
}

impl<'a> Options<'a> {
    fn of(request: &'a CreateRequest) -> Self {
        let mut options = Self::default();
        for option in &request.host.security {
            match &option.meaning {
                SecurityMeaning::NoNewPrivileges(on) => options.no_new_privileges = Some(*on),
                SecurityMeaning::Label(label) => options.labels.push(label),
                SecurityMeaning::AppArmor(profile) => options.apparmor = Some(profile),
                SecurityMeaning::Seccomp(profile) => options.seccomp = Some(profile),
                SecurityMeaning::WritableCgroups(on) => options.writable_cgroups = Some(*on),
            }
        }
        options
    }
}

fn apparmor(
    asked: Option<&str>,
    privileged: bool,
    host: &HostFacts,
) -> Result<Option<String>, PlanError> {
    let profile = match asked.filter(|profile| !profile.is_empty()) {
        Some(profile) if host.apparmor => profile,
        Some("unconfined") => return Ok(None),
        Some(profile) => return Err(PlanError::AppArmor { profile: profile.to_owned() }),
        None if !host.apparmor => return Ok(None),
        None if privileged => "unconfined",
        // A profile that nobody has loaded would keep every container from starting.
        None if !host.apparmor_profiles.contains(APPARMOR_DEFAULT) => return Ok(None),
        None => APPARMOR_DEFAULT,
    };
    Ok(Some(profile.to_owned()))
}

/// The labels of process and files, where SELinux is in force.
fn labels(
    request: &CreateRequest,
    options: &[&str],
    host: &HostFacts,
    id: &str,
) -> Result<(Option<String>, Option<String>), PlanError> {
    let own = &request.host;
    let open = own.privileged || own.pid == PidMode::Host || own.ipc == IpcMode::Host;
    if !host.selinux || options.contains(&"disable") || (open && options.is_empty()) {
        return Ok((None, None));
    }
    let [mut user, mut role, mut kind, mut level] =
        ["system_u", "system_r", "container_t", ""].map(str::to_owned);
    let mut files = "container_file_t".to_owned();
    for option in options {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        let field = match name {
            "user" => &mut user,
            "role" => &mut role,
            "type" => &mut kind,
            "filetype" => &mut files,
            "level" => &mut level,
            _ => return Err(PlanError::Unsupported { what: "this SELinux label option" }),
        };
        value.clone_into(field);
    }
    if level.is_empty() {
        level = categories(id);
    }
    Ok((
        Some(format!("{user}:{role}:{kind}:{level}")),
        Some(format!("{user}:object_r:{files}:{level}")),
    ))
}

/// Two categories that hardly any other container has, made of the id.
fn categories(id: &str) -> String {
    let part =
        |from: usize| id.get(from..from + 8).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let (first, second) = (part(0).unwrap_or(1) % 1023, part(8).unwrap_or(2) % 1023);
    let (low, high) = (first.min(second), first.max(second));
    format!("s0:c{low},c{}", if low == high { high + 1 } else { high })
}
