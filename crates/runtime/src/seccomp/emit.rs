//! From plans to a program.
//!
//! The program asks for the audit architecture, then finds the number's segment in a balanced tree,
//! then, where the verdict needs it, looks at arguments. Nothing is asked that the answer does not
//! depend on, so that the kernel finds by itself which calls always pass and stops running the
//! program for those. Absent: any decision about calls.

use super::assembler::{Assembler, Label, Test};
use super::machine::Machine;
use super::plan::{Chain, Plan, Plans, Segment, Verdict};
use super::rules::{Comparison, Condition, Rule, give};
use dhow_sys::SockFilter;

/// Where the kernel puts what in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const AUDIT_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// Segments that stick out of their neighbourhood are asked for one by one up to this many.
const EXCEPTIONS_MAX: usize = 4;

/// Writes the program.
pub(super) fn emit(plans: &Plans) -> Vec<SockFilter> {
    let segments = plans.plans.iter().map(|plan| plan.segments.len()).sum::<usize>();
    let mut code = Assembler::with_capacity(2 * segments + 64);
    let mut next = code.give(give::KILL_THREAD);
    for plan in plans.plans.iter().rev() {
        let chains = vec![None; plan.chains.len()];
        let found = Emitter { code: &mut code, plans, plan, chains }.plan();
        next = code.branch(Test::Equal, plan.audit, found, next);
    }
    code.load(AUDIT_AT);
    code.finish()
}

struct Emitter<'a> {
    code: &'a mut Assembler,
    plans: &'a Plans,
    plan: &'a Plan,
    /// Where the chains are that have been written.
    chains: Vec<Option<Label>>,
}

impl Emitter<'_> {
    fn plan(mut self) -> Label {
        match &self.plan.segments[..] {
            [only] => self.verdict(only.verdict),
            segments => {
                self.tree(segments, 1 << 32);
                self.code.load(NUMBER_AT)
            }
        }
    }

    /// Finds the number, which is loaded, among `segments`, the last of which ends before `end`.
    /// With several segments, what is returned is also what was written last.
    fn tree(&mut self, segments: &[Segment], end: u64) -> Label {
        if let [only] = segments {
            return self.verdict(only.verdict);
        }
        if let Some(common) = common_verdict(segments, end) {
            return self.exceptions(segments, common);
        }
        let (low, high) = segments.split_at(segments.len() / 2);
        let from = high[0].start;
        let high = self.tree(high, end);
        let low = self.tree(low, from.into());
        self.code.branch(Test::GreaterOrEqual, from, high, low)
    }

    /// Asks for each number that does not get the common verdict.
    fn exceptions(&mut self, segments: &[Segment], common: Verdict) -> Label {
        let mut next = self.verdict(common);
        for segment in segments.iter().rev().filter(|segment| segment.verdict != common) {
            let found = self.verdict(segment.verdict);
            next = self.code.branch(Test::Equal, segment.start, found, next);
        }
        next
    }

    fn verdict(&mut self, verdict: Verdict) -> Label {
        match verdict {
            Verdict::Give(value) => self.code.give(value),
            Verdict::Ask(index) => match self.chains[index] {
                Some(label) => label,
                None => {
                    let label = self.chain(&self.plan.chains[index]);
                    self.chains[index] = Some(label);
                    label
                }
            },
        }
    }

    /// Asks rule after rule.
    fn chain(&mut self, chain: &Chain) -> Label {
        let mut next = self.code.give(self.plans.default);
        let rules = chain.rules.iter().map(|id| &self.plans.rules[*id as usize]);
        let rules = rules.collect::<Vec<_>>();
        for alike in rules.chunk_by(|a, b| differ_in_low_half(a, b, chain.machine)).rev() {
            next = match alike {
                [only] => self.rule(only, chain.machine, next),
                _ => self.values(alike, chain.machine, next),
            };
        }
        next
    }

    fn rule(&mut self, rule: &Rule, machine: Machine, no: Label) -> Label {
        let mut yes = self.code.give(rule.action);
        for condition in rule.conditions.iter().rev() {
            yes = self.condition(condition, machine, yes, no);
        }
        yes
    }

    /// Rules that compare one argument with values that differ in the lower half only: both halves
    /// are loaded once.
    fn values(&mut self, rules: &[&Rule], machine: Machine, no: Label) -> Label {
        let mut next = no;
        for rule in rules.iter().rev() {
            let [_, (_, low)] = rule.conditions[0].halves(machine);
            let yes = self.code.give(rule.action);
            next = self.code.branch(Test::Equal, low, yes, next);
        }
        let condition = &rules[0].conditions[0];
        let low = self.code.load(low_at(condition, machine));
        self.high_equal(condition, machine, low, no)
    }

    /// Goes on at `yes` if the condition holds.
    fn condition(
        &mut self,
        condition: &Condition,
        machine: Machine,
        yes: Label,
        no: Label,
    ) -> Label {
        match condition.comparison {
            Comparison::Equal => self.equal(condition, machine, yes, no),
            Comparison::NotEqual => self.equal(condition, machine, no, yes),
            Comparison::Greater => self.above(Test::Greater, condition, machine, yes, no),
            Comparison::GreaterOrEqual => {
                self.above(Test::GreaterOrEqual, condition, machine, yes, no)
            }
            Comparison::LessOrEqual => self.above(Test::Greater, condition, machine, no, yes),
            Comparison::Less => self.above(Test::GreaterOrEqual, condition, machine, no, yes),
        }
    }

    fn equal(&mut self, condition: &Condition, machine: Machine, yes: Label, no: Label) -> Label {
        let [_, low] = condition.halves(machine);
        let low = self.half_equal(low, low_at(condition, machine), yes, no);
        self.high_equal(condition, machine, low, no)
    }

    fn high_equal(
        &mut self,
        condition: &Condition,
        machine: Machine,
        yes: Label,
        no: Label,
    ) -> Label {
        let [high, _] = condition.halves(machine);
        self.half_equal(high, high_at(condition, machine), yes, no)
    }

    fn half_equal(&mut self, (mask, value): (u32, u32), at: u32, yes: Label, no: Label) -> Label {
        if mask == 0 {
            return yes;
        }
        self.code.branch(Test::Equal, value, yes, no);
        if mask != u32::MAX {
            self.code.mask(mask);
        }
        self.code.load(at)
    }

    /// Whether an argument is above a value, or at it too, as `test` says.
    fn above(
        &mut self,
        test: Test,
        condition: &Condition,
        machine: Machine,
        yes: Label,
        no: Label,
    ) -> Label {
        let [(_, high), (_, low)] = condition.halves(machine);
        self.code.branch(test, low, yes, no);
        let low = self.code.load(low_at(condition, machine));
        if !machine.wide {
            return low;
        }
        if high == 0 {
            self.code.branch(Test::Equal, 0, low, yes);
        } else {
            let same = self.code.branch(Test::Equal, high, low, no);
            self.code.branch(Test::Greater, high, yes, same);
        }
        self.code.load(high_at(condition, machine))
    }
}

fn low_at(condition: &Condition, machine: Machine) -> u32 {
    ARGUMENTS_AT + 8 * u32::from(condition.argument) + if machine.big_endian { 4 } else { 0 }
}

fn high_at(condition: &Condition, machine: Machine) -> u32 {
    ARGUMENTS_AT + 8 * u32::from(condition.argument) + if machine.big_endian { 0 } else { 4 }
}

/// The verdict that all of `segments` have but for a few that are one number long, where asking
/// for those takes fewer steps than a tree.
fn common_verdict(segments: &[Segment], end: u64) -> Option<Verdict> {
    let ends = segments.iter().skip(1).map(|next| next.start.into()).chain([end]);
    let is_common = |common: Verdict| {
        let mut exceptions =
            segments.iter().zip(ends.clone()).filter(|(segment, _)| segment.verdict != common);
        let single = |(segment, end): (&Segment, u64)| u64::from(segment.start) + 1 == end;
        let steps = exceptions.clone().count();
        steps <= EXCEPTIONS_MAX && steps < segments.len() - 1 && exceptions.all(single)
    };
    if segments.len() > 2 * EXCEPTIONS_MAX + 1 {
        return None;
    }
    segments[..2].iter().map(|segment| segment.verdict).find(|verdict| is_common(*verdict))
}

/// Whether two rules each ask for one value of one argument, with the same upper half.
fn differ_in_low_half(a: &Rule, b: &Rule, machine: Machine) -> bool {
    let ([a], [b]) = (&a.conditions[..], &b.conditions[..]) else { return false };
    let plain = |condition: &Condition| {
        condition.comparison == Comparison::Equal && condition.mask == u64::MAX
    };
    plain(a) && plain(b) && a.argument == b.argument && a.halves(machine)[0] == b.halves(machine)[0]
}
