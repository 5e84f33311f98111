//! Which numbers of an audit architecture get which verdict.
//!
//! A plan is a sorted list of segments that covers every number: a segment reaches to the next
//! one's start, and neighbours differ. What runs ahead of its time is in there too: on every
//! machine, numbers past the last one that the profile names get `ENOSYS` instead of a default
//! action that refuses, so that a program takes its fallback where the profile is older than the
//! kernel (runc does the same). Numbers of a machine that is not in the profile kill the thread.
//! Absent: instructions.

use super::SeccompError;
use super::machine::{Machine, X32_BIT};
use super::rules::{Condition, Rule, give, return_value, split};
use super::table::{Row, row};
use dhow_spec::runtime::{Seccomp, SeccompArch, SeccompRule};

/// What a number gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Always this return value.
    Give(u32),
    /// A look at the arguments, by the index of a chain.
    Ask(usize),
}

/// Numbers from `start` up to the next segment's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) start: u32,
    pub(super) verdict: Verdict,
}

/// Rules for one call, in the order in which they are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) machine: Machine,
    /// Indices into the profile's rules.
    pub(super) rules: Vec<u32>,
}

/// All numbers of one audit architecture.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) audit: u32,
    pub(super) segments: Vec<Segment>,
    pub(super) chains: Vec<Chain>,
}

/// A profile, taken apart.
#[derive(Debug)]
pub(super) struct Plans {
    /// What calls get that no rule fits.
    pub(super) default: u32,
    pub(super) rules: Vec<Rule>,
    /// The native machine's first.
    pub(super) plans: Vec<Plan>,
    /// Names that no machine has.
    pub(super) unknown: Vec<String>,
}

/// A rule for a number. Sorted, a call's rules stand together in the profile's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    number: u32,
    rule: u32,
}

/// In place of a rule's index: the profile names the call, but gives it the default action.
const DEFAULT: u32 = u32::MAX;

/// A machine and what the profile says about its numbers.
#[derive(Debug)]
struct Calls {
    machine: Machine,
    entries: Vec<Entry>,
    /// The numbers behind which sockets' and IPC's calls also are, if it has them.
    gates: [Option<u32>; 2],
}

/// Takes a profile apart for the native machine and those that it lists.
pub(super) fn plan(seccomp: &Seccomp, native: SeccompArch) -> Result<Plans, SeccompError> {
    let default = return_value(seccomp.default_action, seccomp.default_errno_ret)?;
    let names = seccomp.syscalls.iter().map(|rule| rule.names.len()).sum::<usize>();
    let mut plans = Plans { default, rules: Vec::new(), plans: Vec::new(), unknown: Vec::new() };
    let mut calls = machines(seccomp, native)
        .into_iter()
        .map(|machine| Calls::new(machine, names))
        .collect::<Vec<_>>();
    for rule in &seccomp.syscalls {
        plans.add(rule, &mut calls)?;
    }
    for calls in &mut calls {
        calls.entries.sort_unstable();
    }
    while let Some(first) = calls.first() {
        let machine = first.machine;
        let (alike, others): (Vec<_>, Vec<_>) =
            calls.into_iter().partition(|calls| calls.machine.shares_audit(machine));
        let plan = Planner::new(&plans, machine.audit).plan(&alike);
        plans.plans.push(plan);
        calls = others;
    }
    Ok(plans)
}

/// The native machine, then the listed ones, each once.
fn machines(seccomp: &Seccomp, native: SeccompArch) -> Vec<Machine> {
    let mut machines = vec![Machine::new(native)];
    for machine in seccomp.architectures.iter().copied().map(Machine::new) {
        if !machines.contains(&machine) {
            machines.push(machine);
        }
    }
    machines
}

impl Calls {
    fn new(machine: Machine, names: usize) -> Self {
        let gate = |name| row(name).and_then(|row| machine.number(row));
        let gates = [gate("socketcall"), gate("ipc")];
        Self { machine, entries: Vec::with_capacity(names), gates }
    }

    fn add(&mut self, number: u32, rules: impl Iterator<Item = u32>) {
        self.entries.extend(rules.map(|rule| Entry { number, rule }));
    }
}

impl Plans {
    /// Enters one of the profile's rules everywhere.
    fn add(&mut self, rule: &SeccompRule, calls: &mut [Calls]) -> Result<(), SeccompError> {
        let action = return_value(rule.action, rule.errno_ret)?;
        let split = split(rule, action)?;
        let first = self.rules.len() as u32;
        let ids = if action == self.default {
            DEFAULT..=DEFAULT
        } else {
            self.rules.extend(split);
            first..=self.rules.len() as u32 - 1
        };
        for name in &rule.names {
            match row(name) {
                Some(row) => self.add_call(name, row, ids.clone(), calls),
                None => self.unknown.push(name.clone()),
            }
        }
        Ok(())
    }

    fn add_call(
        &mut self,
        name: &str,
        row: &Row,
        ids: std::ops::RangeInclusive<u32>,
        calls: &mut [Calls],
    ) {
        for calls in &mut *calls {
            if let Some(number) = calls.machine.number(row) {
                calls.add(number, ids.clone());
            }
        }
        if *ids.start() == DEFAULT || calls.iter().all(|calls| calls.gates == [None, None]) {
            return;
        }
        if let Some((gate, call)) = multiplexed(name) {
            self.add_behind_gate(gate, call, ids, calls);
        }
    }

    /// Enters the rules for a call that can also be made as number `call` of a multiplexer. The
    /// call's own arguments are in memory then, where no filter can look; what a rule says about
    /// its first argument cannot be kept, and the rest is left as it is, as in libseccomp.
    fn add_behind_gate(
        &mut self,
        gate: usize,
        call: u64,
        ids: std::ops::RangeInclusive<u32>,
        calls: &mut [Calls],
    ) {
        let first = self.rules.len() as u32;
        for id in ids {
            let Rule { action, conditions } = &self.rules[id as usize];
            let rest = conditions.iter().copied().filter(|condition| condition.argument != 0);
            let conditions = std::iter::once(Condition::equal(0, call)).chain(rest).collect();
            self.rules.push(Rule { action: *action, conditions });
        }
        let ids = first..self.rules.len() as u32;
        for calls in calls {
            if let Some(number) = calls.gates[gate] {
                calls.add(number, ids.clone());
            }
        }
    }

    /// Whether the default action lets calls pass, so that a new one is no surprise.
    fn default_is_permissive(&self) -> bool {
        let action = self.default & 0xffff_0000;
        [give::ALLOW, give::LOG, give::TRACE].contains(&action)
    }
}

/// The multiplexer (0: `socketcall`, 1: `ipc`) and the number behind it of a call's name.
fn multiplexed(name: &str) -> Option<(usize, u64)> {
    let call = match name {
        "socket" => (0, 1),
        "bind" => (0, 2),
        "connect" => (0, 3),
        "listen" => (0, 4),
        "accept" => (0, 5),
        "getsockname" => (0, 6),
        "getpeername" => (0, 7),
        "socketpair" => (0, 8),
        "send" => (0, 9),
        "recv" => (0, 10),
        "sendto" => (0, 11),
        "recvfrom" => (0, 12),
        "shutdown" => (0, 13),
        "setsockopt" => (0, 14),
        "getsockopt" => (0, 15),
        "sendmsg" => (0, 16),
        "recvmsg" => (0, 17),
        "accept4" => (0, 18),
        "recvmmsg" => (0, 19),
        "sendmmsg" => (0, 20),
        "semop" => (1, 1),
        "semget" => (1, 2),
        "semctl" => (1, 3),
        "semtimedop" => (1, 4),
        "msgsnd" => (1, 11),
        "msgrcv" => (1, 12),
        "msgget" => (1, 13),
        "msgctl" => (1, 14),
        "shmat" => (1, 21),
        "shmdt" => (1, 22),
        "shmget" => (1, 23),
        "shmctl" => (1, 24),
        _ => return None,
    };
    Some(call)
}

/// Makes one plan, from low numbers to high.
struct Planner<'a> {
    profile: &'a Plans,
    default: Verdict,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(profile: &'a Plans, audit: u32) -> Self {
        let plan = Plan { audit, segments: Vec::new(), chains: Vec::new() };
        Self { profile, default: Verdict::Give(profile.default), plan }
    }

    fn plan(mut self, machines: &[Calls]) -> Plan {
        let entries = machines.iter().map(|calls| calls.entries.len()).sum::<usize>();
        self.plan.segments.reserve(entries + 4);
        let mut zones = machines
            .iter()
            .flat_map(|calls| calls.machine.zones().iter().map(move |start| (*start, calls)))
            .collect::<Vec<_>>();
        zones.sort_unstable_by_key(|(start, _)| *start);
        let x32 = zones.iter().any(|(start, _)| *start == X32_BIT);
        if zones[0].0 != 0 {
            self.set(0, Verdict::Give(give::KILL_THREAD));
        }
        for (i, (start, calls)) in zones.iter().enumerate() {
            let end = zones.get(i + 1).map_or(u32::MAX, |(start, _)| *start);
            self.zone(calls, *start, end);
        }
        if machines[0].machine.is_x86_64() && !x32 {
            self.set(X32_BIT, Verdict::Give(give::KILL_THREAD));
            // A tracer skips a call by making its number -1; that must not kill.
            self.set(u32::MAX, self.default);
        }
        self.plan
    }

    /// One machine's numbers from `start` to before `end`.
    fn zone(&mut self, calls: &Calls, start: u32, end: u32) {
        let from = calls.entries.partition_point(|entry| entry.number < start);
        let to = calls.entries.partition_point(|entry| entry.number < end);
        let entries = &calls.entries[from..to];
        let Some(last) = entries.last() else {
            if self.plan.segments.is_empty() || calls.machine.zones()[0] == start {
                self.set(start, self.default);
            }
            return;
        };
        let refuses = !self.profile.default_is_permissive();
        if refuses && start == 0 && calls.machine.has_zero_for_unknown() {
            self.set(0, Verdict::Give(give::NO_SUCH_CALL));
            self.set(1, self.default);
        } else {
            self.set(start, self.default);
        }
        for call in entries.chunk_by(|a, b| a.number == b.number) {
            let verdict = self.verdict(call, calls.machine);
            self.set(call[0].number, verdict);
            self.set(call[0].number + 1, self.default);
        }
        if refuses {
            self.set(last.number + 1, Verdict::Give(give::NO_SUCH_CALL));
        }
    }

    /// What the rules for one call come to.
    fn verdict(&mut self, call: &[Entry], machine: Machine) -> Verdict {
        let rules = &self.profile.rules;
        let ids = call.iter().map(|entry| entry.rule).filter(|id| *id != DEFAULT);
        let mut asked = Vec::new();
        for id in ids {
            let rule = &rules[id as usize];
            if rule.is_unconditional(machine) {
                return Verdict::Give(rule.action);
            }
            asked.push(id);
        }
        if asked.is_empty() {
            return self.default;
        }
        asked.sort_by(|a, b| rules[*a as usize].precedence(&rules[*b as usize], machine));
        let chain = Chain { machine, rules: asked };
        let chains = &mut self.plan.chains;
        let index = chains.iter().position(|known| *known == chain).unwrap_or_else(|| {
            chains.push(chain);
            chains.len() - 1
        });
        Verdict::Ask(index)
    }

    /// Gives all numbers from `start` on a verdict.
    fn set(&mut self, start: u32, verdict: Verdict) {
        let segments = &mut self.plan.segments;
        segments.pop_if(|last| last.start == start);
        if segments.last().is_none_or(|last| last.verdict != verdict) {
            segments.push(Segment { start, verdict });
        }
    }
}
