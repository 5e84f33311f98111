//! From `process` of the configuration to the steps that make a process who and what it is to be: the
//! same for a container's first process and for one that joins it.

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

use dhow_spec::runtime::{
    Capabilities, Linux, MemoryPolicy as PolicyWords, Process, Rlimit as RlimitWords,
};
use dhow_sys::{Argv, SchedAttr, SeccompFlags, SignalSet};
use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::security;
use crate::error::Error;
use crate::init::{Program, Step};
use crate::seccomp::Filter;
use crate::text::c_string;
use crate::words::{
    self, CapSet, Capability, MemoryPolicy, SchedulerWords, io_priority, parse_cpu_list,
    rlimit_resource, rlimit_word, scheduler,
};

/// Where programs are looked for when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_UMASK: u32 = 0o022;
/// Below `/proc`.
pub(crate) const OOM_SCORE: &CStr = c"self/oom_score_adj";

/// What the steps depend on besides the document.
pub(crate) struct ProcessFacts<'a> {
    /// The compiled seccomp filter, if there is one.
    pub(crate) seccomp: Option<Filter>,
    /// The filter has a listener that somebody will fetch.
    pub(crate) seccomp_listener: bool,
    /// Supplementary groups may be set (not where the user namespace denies it).
    pub(crate) set_groups: bool,
    /// Resource limits and the OOM score are set by the runtime from outside, whose rights the process
    /// in its user namespace lacks.
    pub(crate) limits_from_outside: bool,
    /// The capabilities that the process can have: all of them in a user namespace of its own, elsewhere
    /// those that the runtime may use itself.
    pub(crate) capabilities: CapSet,
    /// The home directory of the user, where the environment has none.
    pub(crate) home: &'a str,
    /// Descriptors above the standard ones that the program is to have.
    pub(crate) descriptors: &'a [RawFd],
    /// How many of them follow the socket activation protocol.
    pub(crate) listen_fds: u32,
    /// A path for `NOTIFY_SOCKET`.
    pub(crate) notify_socket: Option<&'a str>,
    /// The signal mask that the program starts with.
    pub(crate) mask: SignalSet,
    /// The signals whose disposition is put back to the default.
    pub(crate) defaults: SignalSet,
}

/// The steps in three parts; what comes between them differs.
#[derive(Debug)]
pub(crate) struct ProcessPlan {
    /// Limits, scheduling, who the process is: all that comes before it waits for its start.
    pub(crate) before: Vec<Step>,
    /// The filter, the last capabilities and the exec.
    pub(crate) after: Vec<Step>,
    /// What was not taken as it stands, worded for the user, once.
    pub(crate) warnings: Vec<String>,
}

/// Resource limits as the kernel will take them.
pub(crate) struct Limits {
    pub(crate) limits: Vec<(Resource, Rlimit)>,
    pub(crate) warnings: Vec<String>,
}

pub(crate) fn plan(process: &Process, facts: ProcessFacts<'_>) -> Result<ProcessPlan, Error> {
    let mut before = Vec::new();
    let user = &process.user;
    let uid = Uid::from_raw(user.uid);
    if !process.terminal && user.uid != 0 {
        before.push(Step::OwnStdio(uid));
    }
    let mut warnings = Vec::new();
    let mut after = Vec::new();
    let limits = limits(&process.rlimits)?;
    for (resource, limit) in limits.limits {
        let step = Step::Limit { resource, limit, name: rlimit_word(resource) };
        match resource {
            // Until the last file is open the process needs more of them than its program may.
            Resource::Nofile => after.push(step),
            _ if facts.limits_from_outside => {}
            _ => before.push(step),
        }
    }
    if !facts.limits_from_outside {
        warnings = limits.warnings;
        if let Some(score) = process.oom_score_adj {
            before.push(Step::WriteProc { name: OOM_SCORE.to_owned(), value: score.to_string() });
        }
    }
    scheduling(process, &mut before)?;
    labels(process, &mut before)?;
    let (mut capabilities, unknown) = Sets::of(process);
    warnings.extend(unknown);
    warnings.extend(capabilities.leave_out(facts.capabilities));
    warnings.extend(capabilities.check_ambient());
    before.push(Step::Bounding(capabilities.bounding));
    let cwd = c_string(process.cwd.as_str());
    before.push(Step::WorkingDirectory { path: cwd.clone(), retry: true });
    before.push(Step::User {
        uid,
        gid: Gid::from_raw(user.gid),
        groups: facts
            .set_groups
            .then(|| user.additional_gids.iter().copied().map(Gid::from_raw).collect()),
    });
    before.push(Step::WorkingDirectory { path: cwd, retry: false });
    before.push(Step::Umask(user.umask.unwrap_or(DEFAULT_UMASK)));
    let program = program(process)?;
    let candidates = program.candidates.clone();
    let name = program.name.clone();
    before.push(Step::Find(program));

    filter_and_capabilities(process, &capabilities, &facts, &mut after);
    let envp = environment(process, &facts);
    after.push(Step::Exec {
        argv: Argv::new(process.args.iter().map(|arg| c_string(arg.as_str())).collect()),
        envp: Argv::new(envp),
        candidates,
        name,
        mask: facts.mask,
        defaults: facts.defaults,
    });
    Ok(ProcessPlan { before, after, warnings })
}

/// Without `no_new_privs` a filter needs `CAP_SYS_ADMIN`, so it comes before the last capabilities are
/// dropped, and must allow `capset`; with it the filter comes last and must allow `execve` alone.
fn filter_and_capabilities(
    process: &Process,
    capabilities: &Sets,
    facts: &ProcessFacts<'_>,
    after: &mut Vec<Step>,
) {
    let close = Step::CloseOthers { keep: facts.descriptors.to_vec() };
    let seccomp = facts.seccomp.as_ref().map(|filter| Step::Seccomp {
        filter: filter.program.clone(),
        flags: listening(filter, facts.seccomp_listener),
        listener: facts.seccomp_listener,
    });
    if process.no_new_privileges {
        after.push(Step::NoNewPrivileges);
    }
    match seccomp {
        Some(seccomp) if !process.no_new_privileges => {
            let admin = 1 << CAP_SYS_ADMIN;
            after.push(capabilities.step(admin));
            after.push(close);
            after.push(seccomp);
            if capabilities.permitted & capabilities.effective & admin == 0 {
                after.push(capabilities.last());
            }
        }
        seccomp => {
            after.push(capabilities.step(0));
            after.push(close);
            after.extend(seccomp);
        }
    }
}

const CAP_SYS_ADMIN: u32 = 21;

fn listening(filter: &Filter, listener: bool) -> SeccompFlags {
    if listener { filter.flags.with(SeccompFlags::NEW_LISTENER) } else { filter.flags }
}

/// Clamps limits to what this process may set: without `CAP_SYS_RESOURCE` a hard limit cannot rise, and
/// nobody's `RLIMIT_NOFILE` can be above `fs.nr_open`.
pub(crate) fn limits(words: &[RlimitWords]) -> Result<Limits, Error> {
    let mut result = Limits { limits: Vec::with_capacity(words.len()), warnings: Vec::new() };
    if words.is_empty() {
        return Ok(result);
    }
    let may_raise = may_raise_limits();
    for word in words {
        let name = word.kind.as_str();
        let resource = rlimit_resource(name).map_err(Error::word("process.rlimits"))?;
        let mut most = match may_raise {
            true => u64::MAX,
            false => rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX),
        };
        // Up to the kernel's own default nobody needs to ask.
        if resource == Resource::Nofile && word.hard > NR_OPEN_DEFAULT {
            most = most.min(open_files_max());
        }
        if word.hard > most {
            result.warnings.push(format!(
                "{name}: {} is more than this host lets us set; using {most}",
                word.hard
            ));
        }
        let hard = word.hard.min(most);
        let limit = Rlimit { current: finite(word.soft.min(hard)), maximum: finite(hard) };
        if word.soft > word.hard {
            return Err(Error::Refused {
                field: "process.rlimits",
                value: name.to_owned(),
                reason: "its soft limit is above the hard one",
            });
        }
        result.limits.push((resource, limit));
    }
    Ok(result)
}

fn finite(limit: u64) -> Option<u64> {
    (limit != u64::MAX).then_some(limit)
}

fn may_raise_limits() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE))
}

/// What `fs.nr_open` is unless somebody has changed it; nobody has a reason to lower it.
const NR_OPEN_DEFAULT: u64 = 1 << 20;

fn open_files_max() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default();
    text.trim().parse().unwrap_or(NR_OPEN_DEFAULT)
}

fn scheduling(process: &Process, steps: &mut Vec<Step>) -> Result<(), Error> {
    if let Some(words) = &process.scheduler {
        let flags: Vec<String> = words.flags.iter().map(|flag| flag.as_str().to_owned()).collect();
        let words = SchedulerWords {
            policy: words.policy.as_str(),
            nice: words.nice.unwrap_or_default(),
            priority: words.priority.unwrap_or_default(),
            flags: &flags,
            runtime: words.runtime.unwrap_or_default(),
            deadline: words.deadline.unwrap_or_default(),
            period: words.period.unwrap_or_default(),
        };
        let attr: SchedAttr = scheduler(&words).map_err(Error::word("process.scheduler"))?;
        steps.push(Step::Scheduler(attr));
    }
    if let Some(words) = &process.io_priority {
        let value = io_priority(words.class.as_str(), words.priority)
            .map_err(Error::word("process.ioPriority"))?;
        steps.push(Step::IoPriority(value));
    }
    Ok(())
}

/// The CPUs that `execCPUAffinity` names, for a process that joins a container.
pub(crate) fn affinity(list: Option<&str>) -> Result<Option<Step>, Error> {
    let Some(list) = list.filter(|list| !list.is_empty()) else { return Ok(None) };
    let cpus = parse_cpu_list(list).map_err(Error::word("process.execCPUAffinity"))?;
    Ok(Some(Step::Affinity(Box::new(cpus))))
}

/// `linux.personality` as a step, for the first process and those that join it.
pub(crate) fn personality(linux: &Linux) -> Result<Option<Step>, Error> {
    let Some(personality) = &linux.personality else { return Ok(None) };
    let flags: Vec<&str> = personality.flags.iter().map(|flag| flag.as_str()).collect();
    let value = words::personality(personality.domain.as_str(), &flags)
        .map_err(Error::word("linux.personality"))?;
    Ok(Some(Step::Personality(value)))
}

/// `linux.memoryPolicy` as a step.
pub(crate) fn memory_policy(words: &PolicyWords) -> Result<Option<Step>, Error> {
    let Some(mode) = words.mode else { return Ok(None) };
    let flags: Vec<&str> = words.flags.iter().map(|flag| flag.as_str()).collect();
    let nodes = words.nodes.as_deref().unwrap_or_default();
    let policy = MemoryPolicy::parse(mode.as_str(), nodes, &flags)
        .map_err(Error::word("linux.memoryPolicy"))?;
    Ok(Some(Step::MemoryPolicy { mode: policy.mode, nodes: policy.nodes }))
}

/// AppArmor's and SELinux's labels take effect at exec.
fn labels(process: &Process, steps: &mut Vec<Step>) -> Result<(), Error> {
    if let Some(profile) = process.apparmor_profile.as_deref().filter(|name| !name.is_empty()) {
        if !security::apparmor_is_on() {
            return Err(Error::Refused {
                field: "process.apparmorProfile",
                value: profile.to_owned(),
                reason: "apparmor is not enabled on this host",
            });
        }
        let own = rustix::fs::access("/proc/self/attr/apparmor/exec", rustix::fs::Access::EXISTS);
        let name = if own.is_ok() { "self/attr/apparmor/exec" } else { "self/attr/exec" };
        steps.push(Step::WriteProc { name: c_string(name), value: format!("exec {profile}") });
    }
    if let Some(label) = process.selinux_label.as_deref().filter(|label| !label.is_empty()) {
        security::need_selinux("process.selinuxLabel", label)?;
        steps.push(Step::WriteProc { name: c_string("self/attr/exec"), value: label.to_owned() });
    }
    Ok(())
}

/// The five capability sets as numbers.
struct Sets {
    bounding: u64,
    effective: u64,
    inheritable: u64,
    permitted: u64,
    ambient: u64,
}

impl Sets {
    /// The sets that the document names, and what to say of names that mean nothing: the specification has
    /// a runtime go on without them.
    fn of(process: &Process) -> (Self, Option<String>) {
        let nothing = Capabilities::default();
        let words = process.capabilities.as_ref().unwrap_or(&nothing);
        let mut unknown = Vec::new();
        let mut set = |words: &[String]| CapSet::from_words(words, &mut unknown).bits();
        let sets = Self {
            bounding: set(&words.bounding),
            effective: set(&words.effective),
            inheritable: set(&words.inheritable),
            permitted: set(&words.permitted),
            ambient: set(&words.ambient),
        };
        let said = (!unknown.is_empty())
            .then(|| format!("process.capabilities: left out {}: unknown", unknown.join(" ")));
        (sets, said)
    }

    /// Takes out what the process cannot have, and says so: a runtime that was denied a capability runs
    /// containers without it rather than none.
    fn leave_out(&mut self, available: CapSet) -> Option<String> {
        let mut left_out = 0;
        for set in [
            &mut self.bounding,
            &mut self.effective,
            &mut self.inheritable,
            &mut self.permitted,
            &mut self.ambient,
        ] {
            left_out |= *set & !available.bits();
            *set &= available.bits();
        }
        let names: Vec<String> = CapSet::from_bits(left_out).iter().map(Capability::name).collect();
        (!names.is_empty()).then(|| {
            format!(
                "process.capabilities: left out {}: the runtime has none to give",
                names.join(" ")
            )
        })
    }

    /// The kernel raises only what is permitted and inheritable; the rest is left out and said, as runc
    /// does, whose own `spec` command has written such configurations for years.
    fn check_ambient(&mut self) -> Option<String> {
        let possible = self.ambient & self.permitted & self.inheritable;
        let left_out = CapSet::from_bits(self.ambient & !possible);
        self.ambient = possible;
        let names: Vec<String> = left_out.iter().map(Capability::name).collect();
        (!names.is_empty()).then(|| {
            format!(
                "process.capabilities.ambient: {} cannot be raised: not both permitted and inheritable",
                names.join(" ")
            )
        })
    }

    /// Sets the process's sets with `extra` on top, and the ambient capabilities.
    fn step(&self, extra: u64) -> Step {
        Step::Capabilities { sets: self.sets(extra), ambient: self.ambient }
    }

    /// Takes `extra` away again; ambient capabilities stay.
    fn last(&self) -> Step {
        Step::Capabilities { sets: self.sets(0), ambient: 0 }
    }

    fn sets(&self, extra: u64) -> CapabilitySets {
        CapabilitySets {
            effective: CapabilitySet::from_bits_retain(self.effective | extra),
            permitted: CapabilitySet::from_bits_retain(self.permitted | extra),
            inheritable: CapabilitySet::from_bits_retain(self.inheritable),
        }
    }
}

fn program(process: &Process) -> Result<Program, Error> {
    let Some(name) = process.args.first() else {
        return Err(Error::Refused {
            field: "process.args",
            value: String::new(),
            reason: "there is no program to run",
        });
    };
    let searched = !name.contains('/');
    let candidates: Vec<CString> = if searched && !name.is_empty() {
        let path = variable(process, "PATH").unwrap_or(DEFAULT_PATH);
        path.split(':')
            .map(|dir| if dir.is_empty() { "." } else { dir })
            .map(|dir| c_string(format!("{dir}/{name}")))
            .collect()
    } else {
        vec![c_string(name.as_str())]
    };
    Ok(Program { name: name.clone(), candidates, searched })
}

/// The last value of a variable, which is the one that counts.
pub(crate) fn variable<'a>(process: &'a Process, name: &str) -> Option<&'a str> {
    process
        .env
        .iter()
        .rev()
        .find_map(|entry| entry.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')))
}

fn environment(process: &Process, facts: &ProcessFacts<'_>) -> Vec<CString> {
    // Of several values of one variable the last one counts, and a program would find the first.
    let mut names = std::collections::HashSet::new();
    let mut environment: Vec<CString> = process
        .env
        .iter()
        .rev()
        .filter(|entry| names.insert(entry.split('=').next()))
        .map(|entry| c_string(entry.as_str()))
        .collect();
    environment.reverse();
    if variable(process, "HOME").is_none_or(str::is_empty) {
        environment.retain(|entry| !entry.as_bytes().starts_with(b"HOME="));
        environment.push(c_string(format!("HOME={}", facts.home)));
    }
    if facts.listen_fds > 0 {
        // The first process of a container is its number 1.
        environment.push(c_string(format!("LISTEN_FDS={}", facts.listen_fds)));
        environment.push(c_string("LISTEN_PID=1"));
    }
    if let Some(socket) = facts.notify_socket {
        environment.push(c_string(format!("NOTIFY_SOCKET={socket}")));
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(words: &[&str]) -> (Sets, Option<String>) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let capabilities = Capabilities {
            bounding: words.clone(),
            effective: words.clone(),
            inheritable: words.clone(),
            permitted: words.clone(),
            ambient: words,
        };
        Sets::of(&Process { capabilities: Some(capabilities), ..Process::default() })
    }

    #[test]
    fn what_the_runtime_has_not_is_left_out_and_said_once() {
        let (mut sets, unknown) = sets(&["CAP_CHOWN", "CAP_SYS_RESOURCE", "CAP_KILL"]);
        assert_eq!(unknown, None);
        // CAP_CHOWN and CAP_SETUID.
        let available = CapSet::from_bits(1 | 1 << 7);
        let said = sets.leave_out(available).unwrap();
        assert_eq!(
            said,
            "process.capabilities: left out CAP_KILL CAP_SYS_RESOURCE: the runtime has none to give"
        );
        for set in [sets.bounding, sets.effective, sets.inheritable, sets.permitted, sets.ambient] {
            assert_eq!(set, 1);
        }
        assert_eq!(sets.check_ambient(), None);
        assert_eq!(sets.leave_out(available), None);
    }

    #[test]
    fn an_unknown_capability_is_left_out_and_said_once() {
        let (sets, said) = sets(&["CAP_FLY", "CAP_CHOWN"]);
        assert_eq!(said.unwrap(), "process.capabilities: left out CAP_FLY: unknown");
        assert_eq!((sets.bounding, sets.ambient), (1, 1));
    }
}
