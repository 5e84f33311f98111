//! Which namespaces a container gets, joins, or shares with the host.
//!
//! Invariant: a kernel parameter is only set in a namespace that is the container's own.

use std::collections::BTreeMap;
use std::path::Path;

use dhow_spec::runtime::{Clock, Linux, Namespace, NamespaceKind, TimeOffset};

use super::error::PlanError;
use super::facts::{HostFacts, StartFacts};
use crate::request::{CgroupnsMode, CreateRequest, IpcMode, NetworkMode, PidMode, UtsMode};

/// Fills namespaces, kernel parameters and clocks.
pub(super) fn namespaces(
    request: &CreateRequest,
    start: &StartFacts,
    host: &HostFacts,
    linux: &mut Linux,
) -> Result<(), PlanError> {
    let own = &request.host;
    let new = |kind| Namespace { kind, path: None };
    let join = |kind, pid: Option<u32>, file: &str| {
        pid.map(|pid| Namespace { kind, path: Some(format!("/proc/{pid}/ns/{file}")) })
    };
    let mut list = vec![new(NamespaceKind::Mount)];
    if own.network != NetworkMode::Host {
        let path = start.network.as_deref().map(Path::to_string_lossy);
        let path = path.map(|path| path.into_owned());
        list.push(Namespace { kind: NamespaceKind::Network, path });
    }
    if own.uts == UtsMode::Private {
        list.push(new(NamespaceKind::Uts));
    }
    match own.pid {
        PidMode::Host => {}
        PidMode::Private => list.push(new(NamespaceKind::Pid)),
        PidMode::Container(_) => list.extend(join(NamespaceKind::Pid, start.pid_of, "pid")),
    }
    match own.ipc {
        IpcMode::Host => {}
        IpcMode::Container(_) => list.extend(join(NamespaceKind::Ipc, start.ipc_of, "ipc")),
        _ => list.push(new(NamespaceKind::Ipc)),
    }
    if private_cgroup(request, host) {
        list.push(new(NamespaceKind::Cgroup));
    }
    if !own.time_offsets.is_empty() {
        list.push(new(NamespaceKind::Time));
        linux.time_offsets = clocks(&own.time_offsets);
    }
    linux.namespaces = list;
    linux.sysctl = sysctls(request)?;
    Ok(())
}

/// Docker's default follows the version of cgroups; privileged containers are no exception there.
pub(super) fn private_cgroup(request: &CreateRequest, host: &HostFacts) -> bool {
    match request.host.cgroupns {
        CgroupnsMode::Private => true,
        CgroupnsMode::Host => false,
        CgroupnsMode::Default => host.cgroup.unified,
    }
}

fn clocks(offsets: &BTreeMap<Clock, i64>) -> BTreeMap<Clock, TimeOffset> {
    const SECOND: i64 = 1_000_000_000;
    let offset = |ns: i64| TimeOffset {
        secs: ns.div_euclid(SECOND),
        nanosecs: u32::try_from(ns.rem_euclid(SECOND)).unwrap_or_default(),
    };
    offsets.iter().map(|(clock, ns)| (*clock, offset(*ns))).collect()
}

fn sysctls(request: &CreateRequest) -> Result<BTreeMap<String, String>, PlanError> {
    let own = &request.host;
    let mut all = BTreeMap::new();
    if own.network.is_private() {
        // Servers on low ports and `ping` need no capability in a namespace that is theirs alone.
        for (name, value) in [
            ("net.ipv4.ip_unprivileged_port_start", "0"),
            ("net.ipv4.ping_group_range", "0 2147483647"),
        ] {
            all.insert(name.to_owned(), value.to_owned());
        }
    }
    if !request.config.domainname.is_empty() && own.uts == UtsMode::Private {
        all.insert("kernel.domainname".to_owned(), request.config.domainname.clone());
    }
    for (name, value) in &own.sysctls {
        // Both spellings are in use; the specification knows the one with dots.
        let dotted = if name.contains('.') { name.clone() } else { name.replace('/', ".") };
        whose(&dotted, request)?;
        all.insert(dotted, value.clone());
    }
    Ok(all)
}

/// Whether a parameter is of a namespace of the container's.
fn whose(name: &str, request: &CreateRequest) -> Result<(), PlanError> {
    const IPC: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let own = &request.host;
    let refuse =
        |namespace| Err(PlanError::Sysctl { name: name.to_owned(), namespace: Some(namespace) });
    let ipc = IPC.contains(&name) || name.starts_with("fs.mqueue.");
    match name {
        _ if ipc && own.ipc == IpcMode::Host => refuse("ipc"),
        _ if ipc => Ok(()),
        _ if name.starts_with("net.") && own.network == NetworkMode::Host => refuse("network"),
        _ if name.starts_with("net.") => Ok(()),
        "kernel.domainname" | "kernel.hostname" if own.uts == UtsMode::Host => refuse("uts"),
        "kernel.domainname" => Ok(()),
        _ if name.starts_with("user.") => Ok(()),
        _ => Err(PlanError::Sysctl { name: name.to_owned(), namespace: None }),
    }
}
