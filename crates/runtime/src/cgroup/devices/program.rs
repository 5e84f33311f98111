//! Device rules as an eBPF program, for version 2.
//!
//! The program goes from the last rule to the first and keeps in a register which of the accesses asked
//! for are still undecided. A rule that matches the device takes its accesses out of the register if it
//! allows, and ends in refusal if it denies one that is still in there; an empty register ends in consent.
//! All jumps are forward and within one rule, so the verifier is soon done.

use dhow_sys::BpfInstruction;

use super::rules::{Kind, Rule};

/// Registers: the context comes in 1, the answer goes out in 0.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const PENDING: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// What the context calls the kinds of devices.
const BLOCK: i32 = 1;
const CHAR: i32 = 2;

/// Operation codes: class, source of the operand, operation.
mod code {
    pub(super) const LOAD_WORD: u8 = 0x61;
    pub(super) const COPY: u8 = 0xbf;
    pub(super) const SET: u8 = 0xb7;
    pub(super) const AND: u8 = 0x57;
    pub(super) const SHIFT_RIGHT: u8 = 0x77;
    pub(super) const JUMP: u8 = 0x05;
    pub(super) const JUMP_IF_NOT_EQUAL: u8 = 0x55;
    pub(super) const JUMP_IF_ANY_SET: u8 = 0x45;
    pub(super) const EXIT: u8 = 0x95;
}

/// Writes the program that decides as `rules` do.
pub(super) fn assemble(rules: &[Rule]) -> Vec<BpfInstruction> {
    let mut program = vec![
        // The low half of the first word is the kind, the high half the accesses asked for.
        instruction(code::LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(code::COPY, PENDING, KIND, 0, 0),
        instruction(code::AND, KIND, 0, 0, 0xffff),
        instruction(code::SHIFT_RIGHT, PENDING, 0, 0, 16),
        instruction(code::LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(code::LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        add_rule(&mut program, rule);
    }
    program.extend(answer(false));
    program
}

fn add_rule(program: &mut Vec<BpfInstruction>, rule: &Rule) {
    let number = |number: Option<u32>| number.map(i32::try_from).transpose();
    // Numbers that large name no device: such a rule matches nothing.
    let (Ok(major), Ok(minor)) = (number(rule.major), number(rule.minor)) else { return };
    let kind = rule.kind.map(|kind| match kind {
        Kind::Block => BLOCK,
        Kind::Char => CHAR,
    });
    let conditions: Vec<(u8, i32)> = [(KIND, kind), (MAJOR, major), (MINOR, minor)]
        .into_iter()
        .filter_map(|(register, value)| value.map(|value| (register, value)))
        .collect();
    let verdict = verdict(rule);
    for (at, (register, value)) in conditions.iter().enumerate() {
        let over = conditions.len() - at - 1 + verdict.len();
        program.push(instruction(code::JUMP_IF_NOT_EQUAL, *register, 0, over as i16, *value));
    }
    program.extend(verdict);
}

/// What a rule does once the device is the one that it names; four instructions.
fn verdict(rule: &Rule) -> Vec<BpfInstruction> {
    let access = i32::from(rule.access.bits());
    let decide = if rule.allow {
        [
            instruction(code::AND, PENDING, 0, 0, !access),
            instruction(code::JUMP_IF_NOT_EQUAL, PENDING, 0, 2, 0),
        ]
    } else {
        [
            instruction(code::JUMP_IF_ANY_SET, PENDING, 0, 1, access),
            instruction(code::JUMP, 0, 0, 2, 0),
        ]
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
                0x77 => registers[to] = Some(registers[to].unwrap() >> operand),
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
        let program = assemble(rules);
        for kind in [Kind::Block, Kind::Char] {
            for major in [0, 1, 5, 10, 136, 4095] {
                for minor in [0, 1, 3, 5, 200] {
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
                    major: [None, Some(1), Some(5), Some(u32::MAX)][random(4) as usize],
                    minor: [None, Some(1), Some(3)][random(3) as usize],
                    access: Access::parse(["r", "w", "m", "rw", "rwm"][random(5) as usize])
                        .unwrap(),
                })
                .collect();
            check(&rules);
        }
    }
}
