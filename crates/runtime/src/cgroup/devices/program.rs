//! Device rules as an eBPF program, for version 2.
//!
//! The program has a part for each kind of device. A part goes from the last rule to the first and keeps in
//! a register which of the accesses asked for are still undecided. A rule that matches the device takes its
//! accesses out of the register if it allows, and ends in refusal if it denies one that is still in there; an
//! empty register ends in consent, the end of the part in refusal.
//!
//! What the kernel's verifier spends on a program grows with its branches: 0.43 ms for the usual rules when
//! each compared kind, major and minor number and then the register, against 0.09 ms for an empty program.
//! So each rule has one branch where it can: both numbers are compared as one, and a rule about every
//! access looks at no register.

use dhow_sys::BpfInstruction;

use super::rules::{Access, Kind, Rule};

/// Registers: the context comes in 1, the answer goes out in 0, which is free until then.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const PENDING: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// Both numbers as the kernel packs them, with the sign that constants get: `major << 20 | minor`.
const DEVICE: u8 = 6;

/// What the context calls character devices; all else are block devices.
const CHAR: i32 = 2;

/// The largest numbers that a device has.
const MAJOR_MAX: u32 = (1 << 12) - 1;
const MINOR_MAX: u32 = (1 << 20) - 1;

/// Operation codes: class, source of the operand, operation.
mod code {
    pub(super) const LOAD_WORD: u8 = 0x61;
    pub(super) const COPY: u8 = 0xbf;
    pub(super) const SET: u8 = 0xb7;
    pub(super) const AND: u8 = 0x57;
    pub(super) const OR_REGISTER: u8 = 0x4f;
    pub(super) const SHIFT_LEFT: u8 = 0x67;
    pub(super) const SHIFT_RIGHT: u8 = 0x77;
    pub(super) const SHIFT_RIGHT_SIGNED: u8 = 0xc7;
    pub(super) const JUMP: u8 = 0x05;
    pub(super) const JUMP_IF_NOT_EQUAL: u8 = 0x55;
    pub(super) const JUMP_IF_ANY_SET: u8 = 0x45;
    pub(super) const EXIT: u8 = 0x95;
}

/// Writes the program that decides as `rules` do; `None` if they are too many for a jump over them.
pub(super) fn assemble(rules: &[Rule]) -> Option<Vec<BpfInstruction>> {
    let mut program = vec![
        // The low half of the first word is the kind, the high half the accesses asked for.
        instruction(code::LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(code::COPY, PENDING, KIND, 0, 0),
        instruction(code::AND, KIND, 0, 0, 0xffff),
        instruction(code::SHIFT_RIGHT, PENDING, 0, 0, 16),
        instruction(code::LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(code::LOAD_WORD, MINOR, CONTEXT, 8, 0),
        instruction(code::COPY, DEVICE, MAJOR, 0, 0),
        instruction(code::SHIFT_LEFT, DEVICE, 0, 0, 52),
        instruction(code::COPY, ANSWER, MINOR, 0, 0),
        instruction(code::SHIFT_LEFT, ANSWER, 0, 0, 32),
        instruction(code::OR_REGISTER, DEVICE, ANSWER, 0, 0),
        instruction(code::SHIFT_RIGHT_SIGNED, DEVICE, 0, 0, 32),
    ];
    let characters = part(rules, Kind::Char);
    let over = i16::try_from(characters.len()).ok()?;
    program.push(instruction(code::JUMP_IF_NOT_EQUAL, KIND, 0, over, CHAR));
    program.extend(characters);
    program.extend(part(rules, Kind::Block));
    Some(program)
}

/// The rules about one kind of device, and the refusal of what no rule has allowed.
fn part(rules: &[Rule], kind: Kind) -> Vec<BpfInstruction> {
    let mut program = Vec::new();
    for rule in rules.iter().rev().filter(|rule| rule.kind.is_none_or(|wanted| wanted == kind)) {
        add_rule(&mut program, rule);
        if rule.major.is_none() && rule.minor.is_none() && rule.access == Access::ALL {
            // It has decided everything; the verifier refuses what can never run.
            return program;
        }
    }
    program.extend(answer(false));
    program
}

fn add_rule(program: &mut Vec<BpfInstruction>, rule: &Rule) {
    if rule.major.is_some_and(|major| major > MAJOR_MAX)
        || rule.minor.is_some_and(|minor| minor > MINOR_MAX)
    {
        // There is no such device.
        return;
    }
    let verdict = verdict(rule);
    let condition = match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => Some((DEVICE, major << 20 | minor)),
        (Some(major), None) => Some((MAJOR, major)),
        (None, Some(minor)) => Some((MINOR, minor)),
        (None, None) => None,
    };
    if let Some((register, value)) = condition {
        let over = verdict.len() as i16;
        let value = value.cast_signed();
        program.push(instruction(code::JUMP_IF_NOT_EQUAL, register, 0, over, value));
    }
    program.extend(verdict);
}

/// What a rule does once the device is the one that it names; up to four instructions.
fn verdict(rule: &Rule) -> Vec<BpfInstruction> {
    let access = i32::from(rule.access.bits());
    let decide = match (rule.allow, rule.access) {
        // Whatever is pending is among all.
        (_, Access::ALL) => vec![],
        (true, _) => vec![
            instruction(code::AND, PENDING, 0, 0, !access),
            instruction(code::JUMP_IF_NOT_EQUAL, PENDING, 0, 2, 0),
        ],
        (false, _) => vec![
            instruction(code::JUMP_IF_ANY_SET, PENDING, 0, 1, access),
            instruction(code::JUMP, 0, 0, 2, 0),
        ],
    };
    decide.into_iter().chain(answer(rule.allow)).collect()
}

fn answer(allow: bool) -> [BpfInstruction; 2] {
    [instruction(code::SET, ANSWER, 0, 0, i32::from(allow)), instruction(code::EXIT, 0, 0, 0, 0)]
}

fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> BpfInstruction {
    BpfInstruction { code, registers: from << 4 | to, offset, immediate }
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::decide;
    use super::super::rules::{Access, complete};
    use super::*;

    /// A machine for the few instructions above. The kernel's would refuse what this one panics on.
    fn run(program: &[BpfInstruction], kind: Kind, major: u32, minor: u32, access: Access) -> bool {
        let kind = if kind == Kind::Block { 1 } else { 2 };
        let context = [u32::from(access.bits()) << 16 | kind, major, minor];
        let mut registers = [None::<u64>; 11];
        let mut at = 0usize;
        let mut steps = 0;
        while steps < program.len() {
            steps += 1;
            let BpfInstruction { code, registers: pair, offset, immediate } = program[at];
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            let operand = immediate as i64 as u64;
            at += 1;
            let mut jump_if = |condition: bool| {
                if condition {
                    at += usize::try_from(offset).unwrap();
                }
            };
            match code {
                0x61 => registers[to] = Some(u64::from(context[offset as usize / 4])),
                0xbf => registers[to] = registers[from],
                0xb7 => registers[to] = Some(operand),
                0x57 => registers[to] = Some(registers[to].unwrap() & operand),
                0x67 => registers[to] = Some(registers[to].unwrap() << operand),
                0x77 => registers[to] = Some(registers[to].unwrap() >> operand),
                0xc7 => registers[to] = Some((registers[to].unwrap() as i64 >> operand) as u64),
                0x4f => registers[to] = Some(registers[to].unwrap() | registers[from].unwrap()),
                0x05 => jump_if(true),
                0x55 => jump_if(registers[to].unwrap() != operand),
                0x45 => jump_if(registers[to].unwrap() & operand != 0),
                0x95 => return registers[0].unwrap() == 1,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
        panic!("the program does not end");
    }

    fn check(rules: &[Rule]) {
        let program = assemble(rules).unwrap();
        for kind in [Kind::Block, Kind::Char] {
            for major in [0, 1, 5, 10, 136, 2048, 4095] {
                for minor in [0, 1, 3, 5, 200, (1 << 20) - 1] {
                    for access in ["r", "w", "m", "rw", "rm", "wm", "rwm"] {
                        let access = Access::parse(access).unwrap();
                        assert_eq!(
                            run(&program, kind, major, minor, access),
                            decide(rules, kind, major, minor, access),
                            "{kind:?} {major}:{minor} {} under {rules:?}",
                            access.letters()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_usual_rules_decide_as_they_read() {
        check(&complete(&[]).unwrap());
        check(&[]);
    }

    #[test]
    fn every_kind_of_program_is_one_that_the_kernel_takes() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let rule = |allow, kind, major, minor, letters| Rule {
            allow,
            kind,
            major,
            minor,
            access: Access::parse(letters).unwrap(),
        };
        let (c, b) = (Some(Kind::Char), Some(Kind::Block));
        let all = rule(true, None, None, None, "rwm");
        let lists = [
            vec![],
            vec![all],
            vec![rule(false, None, None, None, "rwm")],
            vec![all, rule(false, c, Some(4095), Some(7), "w"), rule(false, b, None, None, "rwm")],
            vec![rule(true, c, None, Some(3), "rm"), rule(true, None, Some(1), None, "rwm")],
            (0..500).map(|minor| rule(minor % 3 != 0, c, Some(1), Some(minor), "rw")).collect(),
            complete(&[]).unwrap(),
        ];
        for rules in lists {
            let program = assemble(&rules).unwrap();
            match dhow_sys::DeviceProgram::load("dhow_test", &program) {
                // A container, or a kernel, without eBPF.
                Err(dhow_sys::Errno::PERM | dhow_sys::Errno::NOSYS) => return,
                loaded => _ = loaded.unwrap(),
            }
        }
    }

    #[test]
    fn rules_without_end_are_refused() {
        let one = complete(&[]).unwrap()[2];
        assert_eq!(assemble(&vec![one; 20_000]), None);
    }

    #[test]
    fn random_rules_decide_as_they_read() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for _ in 0..300 {
            let rules: Vec<Rule> = (0..random(8))
                .map(|_| Rule {
                    allow: random(2) == 0,
                    kind: [None, Some(Kind::Block), Some(Kind::Char)][random(3) as usize],
                    major: [None, Some(1), Some(5), Some(4095), Some(u32::MAX)][random(5) as usize],
                    minor: [None, Some(1), Some(3), Some((1 << 20) - 1), Some(1 << 20)]
                        [random(5) as usize],
                    access: Access::parse(["r", "w", "m", "rw", "rwm"][random(5) as usize])
                        .unwrap(),
                })
                .collect();
            check(&rules);
        }
    }
}
