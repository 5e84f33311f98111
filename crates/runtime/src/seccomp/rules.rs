//! A profile's rules in the kernel's terms: actions as return values, arguments as comparisons.
//!
//! A rule here has no argument twice (the profile's rule is split, as runc does), and its
//! comparisons are sorted by argument. Which of several rules for one call wins is decided here
//! too, as libseccomp decides it, whatever the profile's order: a rule before those that ask for the
//! same and more, so one without comparisons before all others; besides, the narrower comparison
//! before the wider. Absent: calls and numbers.

use super::SeccompError;
use super::machine::Machine;
use dhow_spec::runtime::{SeccompAction, SeccompArg, SeccompOperator, SeccompRule};
use std::cmp::Ordering;

/// What a filter returns, `SECCOMP_RET_…` with its data.
pub(super) mod give {
    pub(in super::super) const KILL_PROCESS: u32 = 0x8000_0000;
    pub(in super::super) const KILL_THREAD: u32 = 0;
    pub(in super::super) const TRAP: u32 = 0x0003_0000;
    pub(in super::super) const ERRNO: u32 = 0x0005_0000;
    pub(in super::super) const NOTIFY: u32 = 0x7fc0_0000;
    pub(in super::super) const TRACE: u32 = 0x7ff0_0000;
    pub(in super::super) const LOG: u32 = 0x7ffc_0000;
    pub(in super::super) const ALLOW: u32 = 0x7fff_0000;
    /// For calls that are newer than the profile.
    pub(in super::super) const NO_SUCH_CALL: u32 = ERRNO | 38;
}

/// The specification's default error number.
const EPERM: u32 = 1;
/// The kernel's largest error number; it would turn larger ones into this.
const ERRNO_MAX: u32 = 4095;
/// What fits beside an action.
const DATA_MAX: u32 = 0xffff;

/// The filter's return value for an action.
pub(super) fn return_value(action: SeccompAction, errno: Option<u32>) -> Result<u32, SeccompError> {
    let (value, max) = match action {
        SeccompAction::Errno => (give::ERRNO, ERRNO_MAX),
        SeccompAction::Trace => (give::TRACE, DATA_MAX),
        _ if errno.is_some() => return Err(SeccompError::ErrnoForAction { action }),
        SeccompAction::Kill | SeccompAction::KillThread => return Ok(give::KILL_THREAD),
        SeccompAction::KillProcess => return Ok(give::KILL_PROCESS),
        SeccompAction::Trap => return Ok(give::TRAP),
        SeccompAction::Allow => return Ok(give::ALLOW),
        SeccompAction::Log => return Ok(give::LOG),
        SeccompAction::Notify => return Ok(give::NOTIFY),
    };
    match errno.unwrap_or(EPERM) {
        errno if errno <= max => Ok(value | errno),
        errno => Err(SeccompError::ErrnoTooLarge { errno, max }),
    }
}

/// How an argument is compared, widest answer last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Comparison {
    /// Under the mask.
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// libseccomp asks for equality first, then for what is less, then for what is greater.
    fn class(self) -> u8 {
        match self {
            Self::Equal | Self::NotEqual => 0,
            Self::Less | Self::LessOrEqual => 1,
            Self::Greater | Self::GreaterOrEqual => 2,
        }
    }
}

/// A comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub(super) argument: u8,
    pub(super) comparison: Comparison,
    /// All ones unless the comparison is `Equal`.
    pub(super) mask: u64,
    /// Nothing outside the mask.
    pub(super) value: u64,
}

impl Condition {
    /// Whether argument `argument` is `value`.
    pub(super) fn equal(argument: u8, value: u64) -> Self {
        Self { argument, comparison: Comparison::Equal, mask: u64::MAX, value }
    }

    fn new(arg: &SeccompArg) -> Result<Self, SeccompError> {
        let argument = match arg.index {
            index @ 0..=5 => index as u8,
            index => return Err(SeccompError::NoSuchArgument { index }),
        };
        let (comparison, mask, value) = match arg.op {
            SeccompOperator::Equal => (Comparison::Equal, u64::MAX, arg.value),
            SeccompOperator::MaskedEqual => {
                (Comparison::Equal, arg.value, arg.value_two & arg.value)
            }
            SeccompOperator::NotEqual => (Comparison::NotEqual, u64::MAX, arg.value),
            SeccompOperator::Less => (Comparison::Less, u64::MAX, arg.value),
            SeccompOperator::LessOrEqual => (Comparison::LessOrEqual, u64::MAX, arg.value),
            SeccompOperator::Greater => (Comparison::Greater, u64::MAX, arg.value),
            SeccompOperator::GreaterOrEqual => (Comparison::GreaterOrEqual, u64::MAX, arg.value),
        };
        Ok(Self { argument, comparison, mask, value })
    }

    /// The halves of mask and value that `machine` looks at, high and low.
    pub(super) fn halves(&self, machine: Machine) -> [(u32, u32); 2] {
        let low = (self.mask as u32, self.value as u32);
        let high = ((self.mask >> 32) as u32, (self.value >> 32) as u32);
        if machine.wide { [high, low] } else { [(0, 0), low] }
    }

    /// Whether there is anything to compare.
    pub(super) fn says_something(&self, machine: Machine) -> bool {
        self.halves(machine).iter().any(|(mask, _)| *mask != 0)
    }

    /// Which of two conditions is asked first.
    fn precedence(&self, other: &Self, machine: Machine) -> Ordering {
        let value = |condition: &Self| condition.halves(machine).map(|(_, value)| value);
        let by_value = match self.comparison.class() {
            1 => value(self).cmp(&value(other)),
            _ => value(other).cmp(&value(self)),
        };
        let mask = |condition: &Self| condition.halves(machine).map(|(mask, _)| mask);
        other
            .argument
            .cmp(&self.argument)
            .then(self.comparison.class().cmp(&other.comparison.class()))
            .then(by_value)
            .then(self.comparison.cmp(&other.comparison))
            .then(mask(other).cmp(&mask(self)))
    }
}

/// What to return where all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) action: u32,
    /// Sorted by argument, none of which is there twice.
    pub(super) conditions: Vec<Condition>,
}

impl Rule {
    /// Whether it holds without a look at any argument.
    pub(super) fn is_unconditional(&self, machine: Machine) -> bool {
        !self.conditions.iter().any(|condition| condition.says_something(machine))
    }

    /// Which of two rules for one call is asked first. Of rules that begin alike the shorter is.
    pub(super) fn precedence(&self, other: &Self, machine: Machine) -> Ordering {
        let mut others = other.conditions.iter().filter(|c| c.says_something(machine));
        for condition in self.conditions.iter().filter(|c| c.says_something(machine)) {
            let Some(other) = others.next() else { return Ordering::Greater };
            match condition.precedence(other, machine) {
                Ordering::Equal => {}
                decided => return decided,
            }
        }
        others.next().map_or(Ordering::Equal, |_| Ordering::Less)
    }
}

/// The rules that a profile's rule stands for. Where it has an argument twice, each of its
/// comparisons is a rule of its own: so it was before rules could have several, and profiles that
/// list one argument's values this way are still around.
pub(super) fn split(rule: &SeccompRule, action: u32) -> Result<Vec<Rule>, SeccompError> {
    let mut conditions =
        rule.args.iter().map(Condition::new).collect::<Result<Vec<_>, SeccompError>>()?;
    conditions.sort_by_key(|condition| condition.argument);
    if conditions.windows(2).any(|pair| pair[0].argument == pair[1].argument) {
        let single = |condition| Rule { action, conditions: vec![condition] };
        return Ok(conditions.into_iter().map(single).collect());
    }
    Ok(vec![Rule { action, conditions }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhow_spec::runtime::SeccompArch;

    fn arg(index: u32, op: SeccompOperator, value: u64, value_two: u64) -> SeccompArg {
        SeccompArg { index, value, value_two, op }
    }

    fn rules(args: &[SeccompArg]) -> Vec<Rule> {
        let rule = SeccompRule {
            names: vec!["read".into()],
            action: SeccompAction::Allow,
            errno_ret: None,
            args: args.to_vec(),
        };
        split(&rule, give::ALLOW).unwrap()
    }

    #[test]
    fn actions_and_their_numbers() {
        let value = |action, errno| return_value(action, errno).unwrap();
        assert_eq!(value(SeccompAction::Kill, None), 0);
        assert_eq!(value(SeccompAction::KillThread, None), 0);
        assert_eq!(value(SeccompAction::KillProcess, None), 0x8000_0000);
        assert_eq!(value(SeccompAction::Errno, None), 0x0005_0001);
        assert_eq!(value(SeccompAction::Errno, Some(0)), 0x0005_0000);
        assert_eq!(value(SeccompAction::Errno, Some(4095)), 0x0005_0fff);
        assert_eq!(value(SeccompAction::Trace, None), 0x7ff0_0001);
        assert_eq!(value(SeccompAction::Trace, Some(0xffff)), 0x7ff0_ffff);
        let error = return_value(SeccompAction::Errno, Some(4096)).unwrap_err();
        assert_eq!(error, SeccompError::ErrnoTooLarge { errno: 4096, max: 4095 });
        let error = return_value(SeccompAction::Allow, Some(1)).unwrap_err();
        assert_eq!(error, SeccompError::ErrnoForAction { action: SeccompAction::Allow });
    }

    #[test]
    fn a_repeated_argument_splits_the_rule() {
        let [five, six, other] = [(0, 5), (0, 6), (1, 7)]
            .map(|(index, value)| arg(index, SeccompOperator::Equal, value, 0));
        assert_eq!(rules(&[five, six, other]).len(), 3);
        let one = rules(&[other, five]);
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].conditions[0].argument, 0);
    }

    #[test]
    fn masks_that_nobody_looks_at_say_nothing() {
        let high = &rules(&[arg(0, SeccompOperator::MaskedEqual, 0xff << 32, 1 << 32)])[0];
        assert!(!high.is_unconditional(Machine::new(SeccompArch::X86_64)));
        assert!(high.is_unconditional(Machine::new(SeccompArch::X86)));
        let nothing = &rules(&[arg(0, SeccompOperator::MaskedEqual, 0, 5)])[0];
        assert!(nothing.is_unconditional(Machine::new(SeccompArch::X86_64)));
    }

    #[test]
    fn rules_are_asked_in_libseccomp_s_order() {
        let machine = Machine::new(SeccompArch::X86_64);
        let equal = |index, value| arg(index, SeccompOperator::Equal, value, 0);
        let order = [
            vec![equal(1, 0)],
            vec![equal(0, 9)],
            vec![equal(0, 9), equal(2, 0)],
            vec![equal(0, 5)],
            vec![arg(0, SeccompOperator::Less, 3, 0)],
            vec![arg(0, SeccompOperator::LessOrEqual, 3, 0)],
            vec![arg(0, SeccompOperator::Less, 20, 0)],
            vec![arg(0, SeccompOperator::Greater, 30, 0)],
            vec![arg(0, SeccompOperator::GreaterOrEqual, 10, 0)],
        ]
        .map(|args| rules(&args).remove(0));
        for (i, a) in order.iter().enumerate() {
            for (j, b) in order.iter().enumerate() {
                assert_eq!(a.precedence(b, machine), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }
}
