//! What the engine makes of a request before it keeps it: defaults filled in, limits discarded that this
//! machine cannot keep.
//!
//! Invariant: a request that was settled can be planned; what was changed of it is what inspecting it
//! shows, as in Docker.

use super::error::PlanError;
use super::facts::HostFacts;
use super::logs;
use super::resources;
use super::security::{MASKED, READONLY};
use crate::request::{
    CgroupnsMode, CreateRequest, IpcMode, NetworkMode, RestartPolicy, SecurityMeaning,
    UpdateRequest,
};

/// Fills defaults, discards what this machine cannot do; gives the warnings about that.
pub fn settle(request: &mut CreateRequest, host: &HostFacts) -> Result<Vec<String>, PlanError> {
    request.check()?;
    let mut warnings = Vec::new();
    let own = &mut request.host;
    let limits = &mut own.resources;
    if limits.memory > 0 && limits.memory_swap == 0 {
        limits.memory_swap = limits.memory.saturating_mul(2);
    }
    resources::discard(limits, host, &mut warnings)?;
    if host.cgroup.systemd
        && !limits.cgroup_parent.is_empty()
        && !limits.cgroup_parent.ends_with(".slice")
    {
        return Err(PlanError::CgroupParent);
    }
    if own.shm_size == 0 {
        own.shm_size = host.defaults.shm_size;
    }
    if own.ipc == IpcMode::Default {
        own.ipc = IpcMode::Private;
    }
    if own.cgroupns == CgroupnsMode::Default {
        let private = host.cgroup.unified;
        own.cgroupns = if private { CgroupnsMode::Private } else { CgroupnsMode::Host };
    }
    if own.network == NetworkMode::Default {
        own.network = NetworkMode::Bridge;
    }
    let paths = |list: &[&str]| -> Vec<String> {
        if own.privileged { Vec::new() } else { list.iter().copied().map(str::to_owned).collect() }
    };
    let (masked, readonly) = (paths(MASKED), paths(READONLY));
    own.masked_paths.get_or_insert(masked);
    own.readonly_paths.get_or_insert(readonly);
    if own.runtime.is_empty() {
        own.runtime.clone_from(&host.defaults.runtime);
    }
    if !is_runtime(&own.runtime, host) {
        return Err(PlanError::Runtime { name: own.runtime.clone() });
    }
    if own.log.driver.is_empty() {
        own.log.driver.clone_from(&host.defaults.log.driver);
    }
    if own.log.driver == host.defaults.log.driver {
        // As in Docker, options of the default driver count unless the container has others.
        for (name, value) in &host.defaults.log.options {
            own.log.options.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    logs::check(&own.log)?;
    if own.network == NetworkMode::Host && !own.ports.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    let label = |meaning: &SecurityMeaning| matches!(meaning, SecurityMeaning::Label(label) if label != "disable");
    if !host.selinux && own.security.iter().any(|option| label(&option.meaning)) {
        warnings.push(
            "SELinux is not in force on this host. Security label options discarded.".to_owned(),
        );
    }
    Ok(warnings)
}

/// The same for what is changed of a container that is there; gives the limits as they are then.
pub fn settle_update(
    request: &mut UpdateRequest,
    current: &CreateRequest,
    host: &HostFacts,
) -> Result<Vec<String>, PlanError> {
    request.check()?;
    let mut warnings = Vec::new();
    let (new, old) = (&mut request.resources, &current.host.resources);
    if new.memory > 0 && new.memory_swap == 0 {
        // Docker leaves the old sum where it still holds the new limit.
        let holds = old.memory_swap == -1 || old.memory_swap >= new.memory;
        new.memory_swap = if holds { old.memory_swap } else { new.memory.saturating_mul(2) };
    }
    resources::discard(new, host, &mut warnings)?;
    if current.host.auto_remove && request.restart.is_some_and(|policy| policy != RestartPolicy::No)
    {
        return Err(PlanError::Request(crate::request::RequestError::Conflict(
            crate::request::Conflict::AutoRemoveAndRestart,
        )));
    }
    Ok(warnings)
}

/// The built-in runtime goes by three names: none, ours, and the one that Docker's clients expect.
pub(super) fn is_builtin(name: &str) -> bool {
    matches!(name, "" | "dhow" | "runc" | "io.containerd.runc.v2")
}

fn is_runtime(name: &str, host: &HostFacts) -> bool {
    host.defaults.runtimes.contains_key(name) || is_builtin(name)
}
