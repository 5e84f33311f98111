//! From a request to everything that a container's monitor must be told.
//!
//! The way of a request: [`settle`] when it is created (defaults, limits of this machine),
//! [`mount_points`] once, then for each start [`look_up`] and [`resolve_user`] find on the host and in the
//! container's root what it names, and [`plan`] makes the specification.
//!
//! Invariant: [`plan`] is pure: no look at the machine, the clock or the environment.
//! Absent on purpose: making anything; mounts of the root, networks, namespaces are others'.

mod devices;
mod error;
mod facts;
mod files;
mod health;
mod logs;
mod look;
mod mount_point;
mod mounts;
mod namespaces;
mod process;
mod resources;
mod seccomp;
mod security;
mod settle;
mod survey;
mod user;

#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};

use dhow_monitor::{HealthCheck, LogConfig};
use dhow_spec::runtime::{Linux, Process, Root, Spec, User, VERSION};

use crate::request::{CreateRequest, UtsMode};
use crate::shipping::About;
use security::Security;

pub use error::PlanError;
pub use facts::{CgroupFacts, Defaults, FilePaths, Found, HostFacts, StartFacts};
pub use files::{hostname_file, hosts_file, resolv_conf};
pub(crate) use logs::bytes as log_bytes;
pub use logs::{is_read as is_log_read, plan as log_config};
pub use look::{check_sources, look_up};
pub use mount_point::{MountKind, MountPoint, mount_points};
pub use process::INIT_PATH;
pub use resources::resources;
pub use settle::{settle, settle_update};
pub use survey::survey;
pub use user::{UserError, resolve_user, resolve_user_in};

/// What a start comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The specification; its root is the directory `rootfs` of the bundle.
    pub spec: Spec,
    /// Where output is kept.
    pub log: LogConfig,
    /// How health is found out.
    pub health: Option<HealthCheck>,
    /// The signal that asks the program to end.
    pub stop_signal: i32,
    /// Seconds that it then gets; −1 for all that it wants.
    pub stop_timeout_s: i64,
    /// Another runtime's program; absent for the built-in one.
    pub runtime: Option<PathBuf>,
}

/// Plans one start of a container.
///
/// The request was settled; `directory` is where the engine keeps the container's files.
pub fn plan(
    request: &CreateRequest,
    points: &[MountPoint],
    start: &StartFacts,
    host: &HostFacts,
    directory: &Path,
) -> Result<Plan, PlanError> {
    let own = &request.host;
    let security = Security::of(request, host, &start.id)?;
    let process = process::process(request, start, host, &security)?;
    let mounts = mounts::mounts(request, points, start, host, security.writable_cgroups)?;
    let mut resources = resources::resources(&own.resources, &start.found);
    let (nodes, rules) = devices::devices(request, &start.found);
    resources.devices = rules;
    let mut linux = Linux {
        resources: Some(resources),
        cgroups_path: Some(cgroups_path(request, &start.id, host)),
        devices: nodes,
        seccomp: security.seccomp,
        rootfs_propagation: mounts.root,
        masked_paths: security.masked_paths,
        readonly_paths: security.readonly_paths,
        mount_label: security.mount_label,
        ..Linux::default()
    };
    namespaces::namespaces(request, start, host, &mut linux)?;
    let named = own.uts == UtsMode::Private;
    let mut log = logs::plan(&own.log, directory)?;
    let about = About::named(&start.id, &start.name, &request.config.image, &start.image_id);
    log.attributes = logs::attributes(request, &process.env, &about);
    Ok(Plan {
        health: health::health(&request.config, &process),
        stop_signal: request.config.stop_signal_number(),
        stop_timeout_s: request.config.stop_timeout.unwrap_or(host.defaults.stop_timeout_s),
        runtime: host.defaults.runtimes.get(&own.runtime).cloned(),
        log,
        spec: Spec {
            oci_version: VERSION.to_owned(),
            process: Some(process),
            root: Some(Root { path: "rootfs".to_owned(), readonly: own.readonly_rootfs }),
            hostname: named.then(|| process::hostname(request, &start.id, host).to_owned()),
            domainname: None,
            mounts: mounts.list,
            hooks: None,
            annotations: own.annotations.clone(),
            linux: Some(linux),
        },
    })
}

/// One more process in a container, by what its own program is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecAsk {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Variables beside, or in place of, the container's.
    pub env: Vec<String>,
    /// Working directory; the container's where empty.
    pub working_dir: String,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Rows and columns of that at the start.
    pub console_size: Option<(u16, u16)>,
    /// Whether it may do what root of the host may.
    pub privileged: bool,
    /// Whom it runs as; as the container's program where absent.
    pub user: Option<User>,
}

/// The process of an exec.
pub fn exec_process(container: &Process, ask: &ExecAsk) -> Process {
    let mut env = container.env.clone();
    if ask.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    process::override_environment(&mut env, &ask.env);
    let user = ask.user.clone().unwrap_or_else(|| container.user.clone());
    let own = container.capabilities.as_ref().map(|sets| sets.bounding.clone());
    let names = match ask.privileged {
        true => process::capabilities(&[], &[], true),
        false => own.unwrap_or_default(),
    };
    let cwd = if ask.working_dir.is_empty() { &container.cwd } else { &ask.working_dir };
    let size = |(height, width): (u16, u16)| dhow_spec::runtime::ConsoleSize {
        height: height.into(),
        width: width.into(),
    };
    Process {
        terminal: ask.tty,
        console_size: ask.console_size.filter(|_| ask.tty).map(size),
        args: ask.args.clone(),
        env,
        cwd: cwd.clone(),
        capabilities: Some(process::sets(names, user.uid == 0)),
        apparmor_profile: match ask.privileged {
            true => container.apparmor_profile.as_ref().map(|_| "unconfined".to_owned()),
            false => container.apparmor_profile.clone(),
        },
        user,
        ..container.clone()
    }
}

fn cgroups_path(request: &CreateRequest, id: &str, host: &HostFacts) -> String {
    let asked = request.host.resources.cgroup_parent.as_str();
    let parent = if asked.is_empty() { &host.defaults.cgroup_parent } else { asked };
    if host.cgroup.systemd {
        return format!("{parent}:{}:{id}", host.defaults.cgroup_prefix);
    }
    // Relative to the cgroup of the engine would be somewhere else after each restart.
    format!("/{}/{id}", parent.trim_matches('/'))
}
