//! Machines: what a specification's `SCMP_ARCH_…` word means to a filter.
//!
//! A machine is a column of numbers together with what the kernel says of a call made on it (the
//! audit architecture) and how wide its arguments are. Two machines may share an audit architecture
//! and then differ in a range of numbers: x32 and x86-64 do. Absent: what this machine can run.

use super::table::{ABSENT, Column, Row};
use dhow_spec::runtime::SeccompArch;

/// What marks a number as an x32 call.
pub(super) const X32_BIT: u32 = 0x4000_0000;
/// Where ARM's private calls begin.
const ARM_PRIVATE: u32 = 0xf_0000;
/// The same in the table.
const ARM_PRIVATE_STORED: u16 = 0xf000;

const WIDE: u32 = 0x8000_0000;
const LITTLE: u32 = 0x4000_0000;
const N32: u32 = 0x2000_0000;

/// The machine that this program is built for.
pub(crate) const NATIVE_ARCH: SeccompArch =
    if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
        SeccompArch::X86_64
    } else if cfg!(target_arch = "x86_64") {
        SeccompArch::X32
    } else if cfg!(target_arch = "x86") {
        SeccompArch::X86
    } else if cfg!(target_arch = "aarch64") {
        SeccompArch::Aarch64
    } else if cfg!(target_arch = "arm") {
        SeccompArch::Arm
    } else if cfg!(target_arch = "riscv64") {
        SeccompArch::Riscv64
    } else if cfg!(target_arch = "loongarch64") {
        SeccompArch::Loongarch64
    } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
        SeccompArch::Ppc64le
    } else if cfg!(target_arch = "powerpc64") {
        SeccompArch::Ppc64
    } else if cfg!(target_arch = "s390x") {
        SeccompArch::S390x
    } else {
        panic!("no seccomp machine for this target")
    };

/// One machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Machine {
    column: Column,
    /// What the kernel reports, `AUDIT_ARCH_…`.
    pub(super) audit: u32,
    /// Whether arguments are compared in 64 bits; if not, their upper half is not looked at.
    pub(super) wide: bool,
    /// Whether the upper half of an argument comes first.
    pub(super) big_endian: bool,
}

impl Machine {
    pub(super) fn new(arch: SeccompArch) -> Self {
        let (column, audit) = match arch {
            SeccompArch::X86 => (Column::X86, LITTLE | 3),
            SeccompArch::X86_64 => (Column::X86_64, WIDE | LITTLE | 62),
            SeccompArch::X32 => (Column::X32, WIDE | LITTLE | 62),
            SeccompArch::Arm => (Column::Arm, LITTLE | 40),
            SeccompArch::Aarch64 => (Column::Aarch64, WIDE | LITTLE | 183),
            SeccompArch::Loongarch64 => (Column::Loongarch64, WIDE | LITTLE | 258),
            SeccompArch::M68k => (Column::M68k, 4),
            SeccompArch::Mips => (Column::Mips, 8),
            SeccompArch::Mips64 => (Column::Mips64, WIDE | 8),
            SeccompArch::Mips64N32 => (Column::Mips64N32, WIDE | N32 | 8),
            SeccompArch::Mipsel => (Column::Mips, LITTLE | 8),
            SeccompArch::Mipsel64 => (Column::Mips64, WIDE | LITTLE | 8),
            SeccompArch::Mipsel64N32 => (Column::Mips64N32, WIDE | LITTLE | N32 | 8),
            SeccompArch::Ppc => (Column::Ppc, 20),
            SeccompArch::Ppc64 => (Column::Ppc64, WIDE | 21),
            SeccompArch::Ppc64le => (Column::Ppc64, WIDE | LITTLE | 21),
            SeccompArch::S390 => (Column::S390, 22),
            SeccompArch::S390x => (Column::S390x, WIDE | 22),
            SeccompArch::Sh => (Column::Sh, LITTLE | 42),
            SeccompArch::Sheb => (Column::Sh, 42),
            SeccompArch::Parisc => (Column::Parisc, 15),
            SeccompArch::Parisc64 => (Column::Parisc64, WIDE | 15),
            SeccompArch::Riscv64 => (Column::Riscv64, WIDE | LITTLE | 243),
        };
        let wide = audit & WIDE != 0 && audit & N32 == 0 && column != Column::X32;
        Self { column, audit, wide, big_endian: audit & LITTLE == 0 }
    }

    /// The number that this machine has for the call of a row.
    pub(super) fn number(self, row: &Row) -> Option<u32> {
        let stored = row[self.column as usize];
        match (stored, self.column) {
            (ABSENT, _) => None,
            (_, Column::X32) => Some(X32_BIT | u32::from(stored)),
            (ARM_PRIVATE_STORED.., Column::Arm) => {
                Some(ARM_PRIVATE + u32::from(stored - ARM_PRIVATE_STORED))
            }
            _ => Some(stored.into()),
        }
    }

    /// Where its numbers begin; a machine with two ranges counts up in each.
    pub(super) fn zones(self) -> &'static [u32] {
        match self.column {
            Column::X32 => &[X32_BIT],
            Column::Arm => &[0, ARM_PRIVATE],
            _ => &[0],
        }
    }

    /// Whether it leaves the numbers from `X32_BIT` on to another.
    pub(super) fn is_x86_64(self) -> bool {
        self.column == Column::X86_64
    }

    /// Whether the kernel puts number 0 in place of one that it does not know.
    pub(super) fn has_zero_for_unknown(self) -> bool {
        matches!(self.column, Column::S390 | Column::S390x)
    }

    /// Whether `other` calls with the same audit architecture.
    pub(super) fn shares_audit(self, other: Self) -> bool {
        self.audit == other.audit
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::row;
    use super::*;

    #[test]
    fn numbers_that_are_stored_short_come_out_whole() {
        let number = |arch, name| Machine::new(arch).number(row(name).unwrap());
        assert_eq!(number(SeccompArch::X32, "read"), Some(0x4000_0000));
        assert_eq!(number(SeccompArch::Arm, "set_tls"), Some(0xf_0005));
        assert_eq!(number(SeccompArch::Arm, "read"), Some(3));
        assert_eq!(number(SeccompArch::Mipsel, "read"), Some(4003));
        assert_eq!(number(SeccompArch::Arm, "arch_prctl"), None);
    }

    #[test]
    fn audit_architectures_are_the_kernel_s() {
        let known = [
            (SeccompArch::X86_64, 0xc000_003e),
            (SeccompArch::X86, 0x4000_0003),
            (SeccompArch::Aarch64, 0xc000_00b7),
            (SeccompArch::Arm, 0x4000_0028),
            (SeccompArch::Riscv64, 0xc000_00f3),
            (SeccompArch::Ppc64le, 0xc000_0015),
            (SeccompArch::S390x, 0x8000_0016),
            (SeccompArch::Mipsel64N32, 0xe000_0008),
        ];
        for (arch, audit) in known {
            assert_eq!(Machine::new(arch).audit, audit, "{arch}");
        }
        let widths = SeccompArch::ALL.iter().filter(|arch| Machine::new(**arch).wide).count();
        assert_eq!(widths, 10);
        assert!(!Machine::new(SeccompArch::X32).wide);
    }
}
