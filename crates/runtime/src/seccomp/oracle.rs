//! The judges of the compiler: an interpreter of its programs, and a reading of the profile that
//! shares nothing with it but the table of numbers.

use super::table::{ABSENT, rows};
use dhow_spec::runtime::{
    Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOperator, SeccompRule,
};
use dhow_sys::SockFilter;

/// A system call as a filter sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) audit: u32,
    pub(super) arguments: [u64; 6],
}

impl Call {
    /// The word at `offset` of `struct seccomp_data`.
    fn word(&self, offset: u32) -> u32 {
        let big_endian = self.audit & 0x4000_0000 == 0;
        match offset {
            0 => self.number,
            4 => self.audit,
            16..64 if offset.is_multiple_of(4) => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                let second = offset % 8 == 4;
                if second != big_endian { (argument >> 32) as u32 } else { argument as u32 }
            }
            _ => panic!("load from {offset}"),
        }
    }
}

/// Runs a program as the kernel would, but panics where the kernel would refuse to load it.
pub(super) fn run(program: &[SockFilter], call: &Call) -> u32 {
    let mut loaded = 0;
    let mut at = 0;
    loop {
        let SockFilter { code, jt, jf, k } = program[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => loaded = call.word(k),
            0x54 => loaded &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(loaded == k),
            0x25 => at += jump(loaded > k),
            0x35 => at += jump(loaded >= k),
            0x06 => return k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// What a profile says, read naively.
pub(super) struct Reader<'a> {
    seccomp: &'a Seccomp,
    /// For every machine in the profile, the numbers of each rule's names.
    numbers: Vec<(SeccompArch, Vec<Vec<u32>>)>,
}

/// What the reader has to know of a machine.
struct Abi {
    column: usize,
    audit: u32,
    wide: bool,
}

fn abi(arch: SeccompArch) -> Abi {
    let (column, audit, wide) = match arch {
        SeccompArch::X86_64 => (0, 0xc000_003e, true),
        SeccompArch::X86 => (1, 0x4000_0003, false),
        SeccompArch::X32 => (2, 0xc000_003e, false),
        SeccompArch::Aarch64 => (3, 0xc000_00b7, true),
        SeccompArch::Arm => (4, 0x4000_0028, false),
        SeccompArch::S390x => (9, 0x8000_0016, true),
        other => panic!("the reader does not know {other}"),
    };
    Abi { column, audit, wide }
}

/// What a machine calls `name`.
fn number(arch: SeccompArch, name: &str) -> Option<u32> {
    let (_, row) = rows().iter().find(|(known, _)| *known == name)?;
    match (row[abi(arch).column], arch) {
        (ABSENT, _) => None,
        (low, SeccompArch::X32) => Some(0x4000_0000 + u32::from(low)),
        (low @ 0xf000.., SeccompArch::Arm) => Some(0xf_0000 + u32::from(low - 0xf000)),
        (low, _) => Some(low.into()),
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(seccomp: &'a Seccomp, native: SeccompArch) -> Self {
        let has = |arch: &SeccompArch| native == *arch || seccomp.architectures.contains(arch);
        let numbers = SeccompArch::ALL.iter().copied().filter(has).map(|arch| {
            let of_rule = |rule: &SeccompRule| {
                rule.names.iter().filter_map(|name| number(arch, name)).collect()
            };
            (arch, seccomp.syscalls.iter().map(of_rule).collect())
        });
        Self { seccomp, numbers: numbers.collect() }
    }

    fn has(&self, machine: SeccompArch) -> bool {
        self.numbers.iter().any(|(arch, _)| *arch == machine)
    }

    /// The profile's rules, each with its numbers on a machine.
    fn rules(&self, machine: SeccompArch) -> impl Iterator<Item = (&SeccompRule, &Vec<u32>)> {
        let (_, numbers) = self.numbers.iter().find(|(arch, _)| *arch == machine).unwrap();
        self.seccomp.syscalls.iter().zip(numbers)
    }

    /// Every audit architecture in the profile.
    pub(super) fn audits(&self) -> Vec<u32> {
        self.numbers.iter().map(|(arch, _)| abi(*arch).audit).collect()
    }

    /// The machine of a call; the value to return where there is none.
    fn machine(&self, call: &Call) -> Result<SeccompArch, u32> {
        let of_audit = |arch: &SeccompArch| self.has(*arch) && abi(*arch).audit == call.audit;
        if call.audit == 0xc000_003e {
            return match call.number {
                0x4000_0000.. if self.has(SeccompArch::X32) => Ok(SeccompArch::X32),
                u32::MAX if self.has(SeccompArch::X86_64) => Err(self.default()),
                ..0x4000_0000 if self.has(SeccompArch::X86_64) => Ok(SeccompArch::X86_64),
                _ => Err(0),
            };
        }
        SeccompArch::ALL.iter().copied().find(of_audit).ok_or(0)
    }

    fn default(&self) -> u32 {
        value(self.seccomp.default_action, self.seccomp.default_errno_ret)
    }

    /// The return values that a call may get: one, unless rules of several actions fit it that
    /// look at arguments.
    pub(super) fn verdicts(&self, call: &Call) -> Vec<u32> {
        let machine = match self.machine(call) {
            Ok(machine) => machine,
            Err(value) => return vec![value],
        };
        let default = self.default();
        let permissive = [SeccompAction::Allow, SeccompAction::Log, SeccompAction::Trace];
        if !permissive.contains(&self.seccomp.default_action) && self.is_newer(call.number, machine)
        {
            return vec![0x0005_0000 | 38];
        }
        let action = |rule: &SeccompRule| value(rule.action, rule.errno_ret);
        let rules = || self.rules(machine).filter(|(rule, _)| action(rule) != default);
        let named = |numbers: &Vec<u32>| numbers.contains(&call.number);
        let always = rules().find(|(rule, numbers)| rule.args.is_empty() && named(numbers));
        if let Some((rule, _)) = always {
            return vec![action(rule)];
        }
        let wide = abi(machine).wide;
        let fits = |(rule, numbers): &(&SeccompRule, &Vec<u32>)| {
            (named(numbers) && holds(&rule.args, &call.arguments, wide))
                || self.is_behind_gate(rule, call, machine)
        };
        let mut verdicts = rules().filter(fits).map(|(rule, _)| action(rule)).collect::<Vec<_>>();
        if verdicts.is_empty() {
            verdicts.push(default);
        }
        verdicts
    }

    /// Whether no name of the profile has a number this high.
    fn is_newer(&self, number_called: u32, machine: SeccompArch) -> bool {
        let numbers = || self.rules(machine).flat_map(|(_, numbers)| numbers).copied();
        let private = |number: u32| machine == SeccompArch::Arm && number >= 0xf_0000;
        let Some(last) = numbers().filter(|number| !private(*number)).max() else { return false };
        match private(number_called) {
            true => numbers().all(|number| number < number_called),
            // Number 0 stands for every call that s390's kernel does not know.
            false => number_called > last || (machine == SeccompArch::S390x && number_called == 0),
        }
    }

    /// Whether a rule fits a call that is made through `socketcall`.
    fn is_behind_gate(&self, rule: &SeccompRule, call: &Call, machine: SeccompArch) -> bool {
        const SOCKET_CALLS: [&str; 3] = ["socket", "bind", "connect"];
        if number(machine, "socketcall") != Some(call.number) {
            return false;
        }
        let wide = abi(machine).wide;
        let behind = if wide { call.arguments[0] } else { call.arguments[0] & 0xffff_ffff };
        let rest = rule.args.iter().filter(|arg| arg.index != 0).copied().collect::<Vec<_>>();
        SOCKET_CALLS
            .get((behind as usize).wrapping_sub(1))
            .is_some_and(|name| rule.names.iter().any(|n| n == name))
            && holds(&rest, &call.arguments, wide)
    }
}

/// Whether a rule's comparisons hold: one of them where an argument is there twice, else all.
fn holds(args: &[SeccompArg], arguments: &[u64; 6], wide: bool) -> bool {
    let mut one = args.iter().map(|arg| compare(arg, arguments[arg.index as usize], wide));
    let mut seen = [false; 6];
    let twice = args.iter().any(|arg| std::mem::replace(&mut seen[arg.index as usize], true));
    if twice { one.any(|holds| holds) } else { one.all(|holds| holds) }
}

fn compare(arg: &SeccompArg, argument: u64, wide: bool) -> bool {
    let cut = |value: u64| if wide { value } else { value & 0xffff_ffff };
    let (argument, value, two) = (cut(argument), cut(arg.value), cut(arg.value_two));
    match arg.op {
        SeccompOperator::NotEqual => argument != value,
        SeccompOperator::Less => argument < value,
        SeccompOperator::LessOrEqual => argument <= value,
        SeccompOperator::Equal => argument == value,
        SeccompOperator::GreaterOrEqual => argument >= value,
        SeccompOperator::Greater => argument > value,
        SeccompOperator::MaskedEqual => argument & value == two & value,
    }
}

fn value(action: SeccompAction, errno: Option<u32>) -> u32 {
    let data = errno.unwrap_or(1);
    match action {
        SeccompAction::Kill | SeccompAction::KillThread => 0,
        SeccompAction::KillProcess => 1 << 31,
        SeccompAction::Trap => 3 << 16,
        SeccompAction::Errno => 5 << 16 | data,
        SeccompAction::Trace => 0x7ff0 << 16 | data,
        SeccompAction::Allow => 0x7fff << 16,
        SeccompAction::Log => 0x7ffc << 16,
        SeccompAction::Notify => 0x7fc0 << 16,
    }
}
