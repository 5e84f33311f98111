//! Lists of numbers as the kernel prints them, `0-3,5`, and CPU sets made from them.
//!
//! A range runs upwards, numbers are bounded before anything is filled, and blanks around a part
//! are ignored. The empty list is a valid one. Absent: the kernel's strides (`0-31:2/4`) and
//! `all`, which the specification does not have.

use super::WordError;
use rustix::thread::CpuSet;

/// The CPUs of a list such as `0-3,5`; numbers beyond the 1,023 of `sched_setaffinity`'s usual
/// mask are refused.
pub(crate) fn parse_cpu_list(text: &str) -> Result<CpuSet, WordError> {
    let mut set = CpuSet::new();
    each_number("cpu list", text, CpuSet::MAX_CPU - 1, |cpu| set.set(cpu))?;
    Ok(set)
}

/// Calls `take` with every number of the list `text`, none of which may be above `max`.
pub(super) fn each_number(
    kind: &'static str,
    text: &str,
    max: usize,
    mut take: impl FnMut(usize),
) -> Result<(), WordError> {
    let malformed = || WordError::List { kind, text: text.to_owned() };
    if text.trim().is_empty() {
        return Ok(());
    }
    for part in text.split(',') {
        let (low, high) = range(part).ok_or_else(malformed)?;
        if low > high {
            return Err(malformed());
        }
        if high > max {
            let value = i64::try_from(high).unwrap_or(i64::MAX);
            return Err(WordError::Range { kind, value, min: 0, max: max as i64 });
        }
        (low..=high).for_each(&mut take);
    }
    Ok(())
}

/// `3` or `0-3`.
fn range(part: &str) -> Option<(usize, usize)> {
    match part.split_once('-') {
        None => number(part).map(|only| (only, only)),
        Some((low, high)) => Some((number(low)?, number(high)?)),
    }
}

/// Digits only: `str::parse` would take a sign.
fn number(text: &str) -> Option<usize> {
    let text = text.trim();
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(text: &str) -> Vec<usize> {
        let set = parse_cpu_list(text).unwrap();
        (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
    }

    #[test]
    fn lists_become_sets() {
        assert_eq!(cpus("0-3,5"), [0, 1, 2, 3, 5]);
        assert_eq!(cpus("5, 1-2 ,2"), [1, 2, 5]);
        assert_eq!(cpus("1023"), [1023]);
        assert_eq!(cpus("  7 - 7 "), [7]);
        assert_eq!(cpus(""), [0; 0]);
    }

    #[test]
    fn other_text_is_refused() {
        for text in [",", "1,", "-", "1-", "-1", "3-1", "+1", "a", "0x1", "1-2-3", "1 2", "0-3:2"] {
            let error = parse_cpu_list(text).unwrap_err();
            assert_eq!(error, WordError::List { kind: "cpu list", text: text.into() });
        }
    }

    #[test]
    fn large_numbers_are_refused_before_anything_is_filled() {
        for (text, value) in [("1024", 1024), ("0-1024", 1024), ("0-9223372036854775807", i64::MAX)]
        {
            let error = parse_cpu_list(text).unwrap_err();
            assert_eq!(error, WordError::Range { kind: "cpu list", value, min: 0, max: 1023 });
        }
        let overflow = "99999999999999999999999";
        assert!(matches!(parse_cpu_list(overflow), Err(WordError::List { .. })));
    }
}
