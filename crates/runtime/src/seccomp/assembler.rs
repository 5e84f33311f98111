//! Classic BPF, written from the end to the beginning.
//!
//! Jumps go forwards only and conditional ones reach 255 instructions, so a program is made last
//! instruction first: what a jump goes to is there already, and where it is too far a copy of the
//! return, or a long jump, is put in between. A label is how many instructions stand behind it.
//! Invariant: every jump lands within the program. Absent: what the program means.

use dhow_sys::SockFilter;

const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;

/// How far a conditional jump reaches.
const REACH: usize = u8::MAX as usize;

/// A place in the program, counted from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// How two numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
}

impl Test {
    fn code(self) -> u16 {
        match self {
            Self::Equal => 0x15,
            Self::Greater => 0x25,
            Self::GreaterOrEqual => 0x35,
        }
    }
}

/// A program in the making.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// Last instruction first.
    code: Vec<SockFilter>,
    /// The nearest return of each value so far.
    returns: Vec<(u32, Label)>,
}

impl Assembler {
    pub(super) fn with_capacity(instructions: usize) -> Self {
        Self { code: Vec::with_capacity(instructions), returns: Vec::with_capacity(8) }
    }

    /// Where a return of `value` is; it may be far, which whoever jumps there sees to.
    pub(super) fn give(&mut self, value: u32) -> Label {
        match self.returns.iter().find(|(known, _)| *known == value) {
            Some(&(_, label)) => label,
            None => self.push_return(value),
        }
    }

    /// Compares what is loaded with `operand` and goes on at `yes` or `no`.
    pub(super) fn branch(&mut self, test: Test, operand: u32, yes: Label, no: Label) -> Label {
        // What is put in between for `no` moves `yes` away by one.
        let yes = self.within_reach(yes, REACH - 1);
        let no = self.within_reach(no, REACH);
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(SockFilter { code: test.code(), jt, jf, k: operand })
    }

    /// Loads a word of the call's data, then goes on with what was written before this.
    pub(super) fn load(&mut self, offset: u32) -> Label {
        self.push(SockFilter { code: LOAD_WORD, jt: 0, jf: 0, k: offset })
    }

    /// Masks what is loaded, then goes on with what was written before this.
    pub(super) fn mask(&mut self, mask: u32) -> Label {
        self.push(SockFilter { code: AND, jt: 0, jf: 0, k: mask })
    }

    /// The program, first instruction first.
    pub(super) fn finish(mut self) -> Vec<SockFilter> {
        self.code.reverse();
        self.code
    }

    fn push(&mut self, instruction: SockFilter) -> Label {
        self.code.push(instruction);
        Label(self.code.len() - 1)
    }

    fn push_return(&mut self, value: u32) -> Label {
        let label = self.push(SockFilter { code: RETURN, jt: 0, jf: 0, k: value });
        match self.returns.iter_mut().find(|(known, _)| *known == value) {
            Some(known) => known.1 = label,
            None => self.returns.push((value, label)),
        }
        label
    }

    /// How many instructions the next one would jump over to be at `label`.
    fn distance(&self, label: Label) -> usize {
        self.code.len() - 1 - label.0
    }

    /// `label`, or something near that leads there.
    fn within_reach(&mut self, label: Label, reach: usize) -> Label {
        let distance = self.distance(label);
        if distance <= reach {
            return label;
        }
        let target = self.code[label.0];
        if target.code != RETURN {
            return self.push(SockFilter { code: JUMP, jt: 0, jf: 0, k: distance as u32 });
        }
        let nearest = self.give(target.k);
        if self.distance(nearest) <= reach { nearest } else { self.push_return(target.k) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::oracle::{Call, run};
    use super::*;

    const CALL: Call = Call { number: 7, audit: 0, arguments: [0; 6] };

    #[test]
    fn far_targets_are_reached() {
        let mut program = Assembler::default();
        let (no, yes) = (program.give(1), program.give(2));
        let far = program.branch(Test::Equal, 7, yes, no);
        program.load(0);
        let other = program.give(3);
        for _ in 0..1000 {
            program.branch(Test::Equal, 8, other, other);
        }
        // Both sides are too far: a copied return, and a jump to the comparison.
        program.branch(Test::GreaterOrEqual, 8, no, far);
        program.load(0);
        let program = program.finish();
        assert_eq!(run(&program, &CALL), 2);
        assert_eq!(run(&program, &Call { number: 9, ..CALL }), 1);
    }

    #[test]
    fn returns_are_shared_while_they_are_near() {
        let mut program = Assembler::default();
        let one = program.give(1);
        assert_eq!(program.give(1), one);
        for number in 0..300 {
            let (yes, no) = (program.give(1), program.give(2));
            program.branch(Test::Equal, number, yes, no);
        }
        let program = program.finish();
        assert_eq!(program.iter().filter(|instruction| instruction.code == RETURN).count(), 4);
    }
}
