//! Sysctls: which of them belong to a namespace of the container, and where they are written.
//!
//! A sysctl that no namespace owns is the host's, and a container's configuration never changes it.

use dhow_spec::runtime::Linux;
use dhow_sys::Namespaces;

use super::namespaces::NamespacePlan;
use crate::error::Error;
use crate::init::Step;
use crate::text::c_string;

/// The sysctls of an IPC namespace besides those below `fs.mqueue.`.
const IPC: [&str; 11] = [
    "kernel.auto_msgmni",
    "kernel.msg_next_id",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.sem_next_id",
    "kernel.shm_next_id",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
];

/// The writes for `linux.sysctl`.
pub(super) fn steps(linux: &Linux, namespaces: &NamespacePlan) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::with_capacity(linux.sysctl.len());
    for (name, value) in &linux.sysctl {
        let path = to_path(name);
        check(&path, name, namespaces)?;
        steps.push(Step::WriteProc { name: c_string(format!("sys/{path}")), value: value.clone() });
    }
    Ok(steps)
}

/// `net.ipv4.conf.eth0/1.forwarding` is the file `net/ipv4/conf/eth0.1/forwarding`: of dots and
/// slashes, whichever comes first separates, as in sysctl(8).
fn to_path(name: &str) -> String {
    let dots = match (name.find('.'), name.find('/')) {
        (Some(dot), Some(slash)) => dot < slash,
        (dot, _) => dot.is_some(),
    };
    if !dots {
        return name.to_owned();
    }
    name.chars()
        .map(|letter| match letter {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect()
}

fn check(path: &str, name: &str, namespaces: &NamespacePlan) -> Result<(), Error> {
    let refuse =
        |reason| Err(Error::Refused { field: "linux.sysctl", value: name.to_owned(), reason });
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return refuse("not the name of a sysctl");
    }
    let dotted = path.replace('/', ".");
    let owner = if IPC.contains(&dotted.as_str())
        || dotted == "kernel.shmmni"
        || dotted.starts_with("fs.mqueue.")
    {
        (Namespaces::IPC, "needs an ipc namespace of the container's own")
    } else if dotted.starts_with("net.") {
        (Namespaces::NETWORK, "needs a network namespace of the container's own")
    } else if dotted == "kernel.domainname" {
        (Namespaces::UTS, "needs a uts namespace of the container's own")
    } else if dotted == "kernel.hostname" {
        return refuse("the container's hostname has a field of its own: hostname");
    } else if dotted.starts_with("user.") {
        (Namespaces::USER, "needs a user namespace of the container's own")
    } else {
        return refuse("not a sysctl of a namespace: it would change the host");
    };
    if namespaces.has(owner.0) { Ok(()) } else { refuse(owner.1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, new: Namespaces) -> Result<String, String> {
        let mut linux = Linux::default();
        linux.sysctl.insert(name.to_owned(), "1".to_owned());
        let namespaces = NamespacePlan { new, given: Vec::new() };
        steps(&linux, &namespaces)
            .map(|steps| steps[0].to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_sysctl_is_written_where_a_namespace_owns_it() {
        assert_eq!(
            checked("net.ipv4.ip_forward", Namespaces::NETWORK).unwrap(),
            "write \"1\" to /proc/sys/net/ipv4/ip_forward"
        );
        assert_eq!(
            checked("net.ipv4.conf.eth0/1.forwarding", Namespaces::NETWORK).unwrap(),
            "write \"1\" to /proc/sys/net/ipv4/conf/eth0.1/forwarding"
        );
        assert!(checked("fs.mqueue.msg_max", Namespaces::IPC).is_ok());
        assert!(checked("kernel/shmmax", Namespaces::IPC).is_ok());
    }

    #[test]
    fn the_host_is_never_changed() {
        assert!(checked("net.ipv4.ip_forward", Namespaces::IPC).is_err());
        assert!(checked("kernel.panic", Namespaces::UTS).is_err());
        assert!(checked("net/../kernel/panic", Namespaces::NETWORK).is_err());
        assert!(checked("kernel.hostname", Namespaces::UTS).is_err());
    }
}
