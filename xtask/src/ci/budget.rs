//! What a start may cost, as far as it does not depend on the weather: system calls, memory, size.
//!
//! Time is a benchmark, never a test. The limits are promises; what is reached is printed beside them.

use std::fs::File;
use std::io::Read;

use rustix::process::geteuid;

use super::Tally;
use crate::bench;
use crate::task::{At, TaskError, release_dir};

/// crun 1.8 makes 786 for the same container, runc 1.1 2,585.
const SYSTEM_CALLS_MAX: f64 = 450.0;
/// As much as crun 1.8.
const PEAK_KIB_MAX: f64 = 4096.0;
const SIZE_BYTES_MAX: u64 = 25_000_000;

/// Compares each figure with its limit.
pub(super) fn check(tally: &mut Tally) -> Result<(), TaskError> {
    let program = release_dir().join("dhow");
    let mut file = File::open(&program).at("open", &program)?;
    let size = file.metadata().at("look at", &program)?.len();
    judge(tally, "bytes of the program", Some(size as f64), SIZE_BYTES_MAX as f64);
    let mut head = [0; 4096];
    let length = file.read(&mut head).at("read", &program)?;
    let dynamic = if asks_for_interpreter(&head[..length]) { 1.0 } else { 0.0 };
    judge(tally, "programs that it needs to be loaded by", Some(dynamic), 0.0);
    if geteuid().is_root() {
        let [calls, peak] = bench::weigh_run()?;
        judge(tally, "system calls of run", calls, SYSTEM_CALLS_MAX);
        judge(tally, "KiB of memory at the peak of run", peak, PEAK_KIB_MAX);
    } else {
        tally.skip("budget of run", "needs root");
    }
    if tally.failed == 0 { Ok(()) } else { Err(TaskError::Bad) }
}

fn judge(tally: &mut Tally, what: &str, reached: Option<f64>, most: f64) {
    match reached {
        None => tally.skip(what, "nothing here counts them"),
        Some(reached) => {
            println!("{what}: {reached} of {most}");
            let counter = if reached <= most { &mut tally.passed } else { &mut tally.failed };
            *counter += 1;
        }
    }
}

/// Whether a 64-bit little-endian ELF file has an interpreter, as dynamic programs do.
fn asks_for_interpreter(head: &[u8]) -> bool {
    const PT_INTERP: u64 = 3;
    let number = |at: u64, bytes: usize| {
        let field = usize::try_from(at).ok().and_then(|at| head.get(at..at + bytes));
        field.map_or(0, |field| field.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    };
    let (start, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|index| number(start.saturating_add(index * size), 4) == PT_INTERP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_programs_are_told_from_static_ones() {
        let mut elf = [0; 256];
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 2;
        elf[64] = 1;
        assert!(!asks_for_interpreter(&elf));
        elf[64 + 56] = 3;
        assert!(asks_for_interpreter(&elf));
        assert!(!asks_for_interpreter(&[]));
    }

    #[test]
    fn limits_are_judged() {
        let mut tally = Tally::default();
        judge(&mut tally, "a", Some(3.0), 3.0);
        judge(&mut tally, "b", Some(4.0), 3.0);
        judge(&mut tally, "c", None, 3.0);
        assert_eq!((tally.passed, tally.failed, tally.skipped.len()), (1, 1, 1));
    }
}
