//! The container's program: arguments, environment, rights, limits.
//!
//! Invariant: nothing of the engine's own environment gets in.
//! Absent on purpose: `HOME`, which the runtime looks up in the container.

use dhow_spec::CAPABILITY_NAMES;
use dhow_spec::runtime::{Capabilities, ConsoleSize, Process, Rlimit, User};

use super::error::PlanError;
use super::facts::{HostFacts, StartFacts};
use super::security::Security;
use crate::request::{Capability, CreateRequest, NetworkMode, PidMode, Ulimit, UtsMode};

/// Where the small init is in a container that has one.
pub const INIT_PATH: &str = "/sbin/docker-init";

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a container may do unless told otherwise, in the kernel's order.
const DEFAULT_CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
    "SETFCAP",
];

pub(super) fn process(
    request: &CreateRequest,
    start: &StartFacts,
    host: &HostFacts,
    security: &Security,
) -> Result<Process, PlanError> {
    let (config, own) = (&request.config, &request.host);
    let mut args = config.args();
    if has_init(request, host) {
        args.splice(0..0, [INIT_PATH.to_owned(), "--".to_owned()]);
    }
    let size = own.console_size.filter(|_| config.tty);
    let oom_score_adj = i32::try_from(own.oom_score_adj).unwrap_or_default();
    Ok(Process {
        terminal: config.tty,
        console_size: size
            .map(|(height, width)| ConsoleSize { height: height.into(), width: width.into() }),
        user: user(&start.user),
        args,
        env: environment(request, start, host),
        cwd: Some(config.working_dir.clone()).filter(|dir| !dir.is_empty()).unwrap_or("/".into()),
        capabilities: Some(sets(security.capabilities.clone(), start.user.uid == 0)),
        rlimits: limits(&own.resources.ulimits, &host.defaults.ulimits)?,
        no_new_privileges: security.no_new_privileges,
        apparmor_profile: security.apparmor.clone(),
        oom_score_adj: Some(oom_score_adj),
        selinux_label: security.process_label.clone(),
        ..Process::default()
    })
}

/// Whether a small init stands before the program: not where pids are another's.
pub(super) fn has_init(request: &CreateRequest, host: &HostFacts) -> bool {
    request.host.pid == PidMode::Private && request.host.init.unwrap_or(host.defaults.init)
}

/// The name that the container knows itself by.
pub(super) fn hostname<'a>(
    request: &'a CreateRequest,
    id: &'a str,
    host: &'a HostFacts,
) -> &'a str {
    let shared = request.host.network == NetworkMode::Host || request.host.uts == UtsMode::Host;
    match request.config.hostname.as_str() {
        "" if shared => &host.hostname,
        "" => id.get(..12).unwrap_or(id),
        name => name,
    }
}

/// Its own group counts among the supplementary ones, so that taking it away as a primary group gains
/// nothing.
fn user(found: &User) -> User {
    let mut user = found.clone();
    if !user.additional_gids.contains(&user.gid) {
        user.additional_gids.insert(0, user.gid);
    }
    user
}

fn environment(request: &CreateRequest, start: &StartFacts, host: &HostFacts) -> Vec<String> {
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={}", hostname(request, &start.id, host))];
    if request.config.tty {
        env.push("TERM=xterm".to_owned());
    }
    env.extend(start.linked_env.iter().cloned());
    override_environment(&mut env, &request.config.env);
    env
}

/// Replaces variables where they stand, adds new ones, takes those away that have no `=`.
pub(super) fn override_environment(env: &mut Vec<String>, over: &[String]) {
    let name = |entry: &str| entry.split_once('=').map_or(entry, |(name, _)| name).to_owned();
    for entry in over {
        let place = env.iter().position(|known| name(known) == name(entry));
        match (place, entry.contains('=')) {
            (Some(place), true) => env[place].clone_from(entry),
            (Some(place), false) => drop(env.remove(place)),
            (None, true) => env.push(entry.clone()),
            (None, false) => {}
        }
    }
}

/// The capabilities that a container can ever have, by name, in the kernel's order.
pub(super) fn capabilities(
    add: &[Capability],
    drop: &[Capability],
    privileged: bool,
) -> Vec<String> {
    let full = |name: &str| format!("CAP_{name}");
    let named = |list: &[Capability], name: &str| list.iter().any(|one| one.as_str() == name);
    let every = |list: &[Capability]| list.iter().any(Capability::is_all);
    let holds = |name: &str| {
        let default = DEFAULT_CAPABILITIES.iter().any(|known| full(known) == name);
        match (every(add), every(drop)) {
            _ if privileged => true,
            (true, true) => named(add, name) && !named(drop, name),
            (true, false) => !named(drop, name),
            (false, true) => named(add, name),
            (false, false) => (default && !named(drop, name)) || named(add, name),
        }
    };
    CAPABILITY_NAMES.iter().map(|name| full(name)).filter(|name| holds(name)).collect()
}

/// Nothing is inheritable, and a user other than root has nothing in force.
pub(super) fn sets(names: Vec<String>, root: bool) -> Capabilities {
    let force = if root { names.clone() } else { Vec::new() };
    Capabilities {
        bounding: names,
        effective: force.clone(),
        permitted: force,
        ..Capabilities::default()
    }
}

fn limits(own: &[Ulimit], defaults: &[Ulimit]) -> Result<Vec<Rlimit>, PlanError> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for ulimit in own.iter().chain(defaults) {
        let kind = ulimit.kind()?;
        if !limits.iter().any(|limit| limit.kind == kind) {
            // −1 is the largest number.
            let (hard, soft) = (ulimit.hard.cast_unsigned(), ulimit.soft.cast_unsigned());
            limits.push(Rlimit { kind, hard, soft });
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(add: &[&str], drop: &[&str], privileged: bool) -> Vec<String> {
        let list = |words: &[&str]| -> Vec<Capability> {
            words.iter().map(|word| word.parse().expect("a capability")).collect()
        };
        capabilities(&list(add), &list(drop), privileged)
    }

    #[test]
    fn capabilities_add_and_drop() {
        assert_eq!(names(&[], &[], false).len(), 14);
        assert_eq!(names(&[], &[], true).len(), 41);
        assert_eq!(names(&["ALL"], &[], false).len(), 41);
        assert_eq!(names(&[], &["ALL"], true).len(), 41);
        assert_eq!(names(&["ALL"], &["MKNOD"], false).len(), 40);
        assert_eq!(names(&["NET_ADMIN"], &["ALL"], false), ["CAP_NET_ADMIN"]);
        assert_eq!(names(&["SYS_TIME"], &["CHOWN"], false).len(), 14);
    }

    #[test]
    fn a_user_has_nothing_in_force() {
        let sets = sets(names(&[], &[], false), false);
        assert_eq!((sets.bounding.len(), sets.effective.len(), sets.permitted.len()), (14, 0, 0));
    }

    #[test]
    fn environments_are_overridden() {
        let mut env = vec!["A=1".to_owned(), "B=2".to_owned(), "C=3".to_owned()];
        let over = ["B=new", "C", "D=4", "E"].map(str::to_owned);
        override_environment(&mut env, &over);
        assert_eq!(env, ["A=1", "B=new", "D=4"]);
    }
}
