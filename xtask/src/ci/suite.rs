//! `cargo test` of the whole workspace, counted, with an eye on what is skipped.
//!
//! A test that cannot run here prints `SKIPPED name: reason` and passes. The test harness hides the
//! output of tests that pass unless it is asked; it is asked here, every such line is looked up in
//! `tests/allowed-skips.txt`, and one that is not listed there is a failure.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use dhow_tests::AllowedSkips;

use super::Tally;
use super::steps::cargo;
use crate::task::{At, TaskError};

/// Runs all tests.
pub(super) fn run(tally: &mut Tally) -> Result<(), TaskError> {
    let mut command = cargo(&["test", "--locked", "--workspace", "--no-fail-fast", "--"]);
    command.arg("--show-output").stdout(Stdio::piped());
    let mut child = command.spawn().at("start", "cargo test")?;
    let allowed = AllowedSkips::checked_in();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.at("read", "cargo test")?;
            println!("{line}");
            take(tally, &line, &allowed);
        }
    }
    let status = child.wait().at("wait for", "cargo test")?;
    if status.success() && tally.failed == 0 { Ok(()) } else { Err(TaskError::Bad) }
}

/// Looks at one line of the harness's output.
fn take(tally: &mut Tally, line: &str, allowed: &AllowedSkips) {
    if let Some(counts) = line.strip_prefix("test result: ") {
        let number = |word: &str| {
            let part = counts.split(['.', ';']).find(|part| part.ends_with(word));
            part.and_then(|part| part.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0)
        };
        tally.passed += number(" passed");
        tally.failed += number(" failed");
    }
    let skip = line.strip_prefix("SKIPPED ").and_then(|rest| rest.split_once(": "));
    if let Some((name, reason)) = skip {
        let leave = allowed.allow(name, reason);
        tally.failed += usize::from(!leave);
        let note = if leave { "" } else { " (without leave)" };
        tally.skipped.push(format!("{name}: {reason}{note}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted() {
        let allowed = AllowedSkips::parse("a: no data\n");
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "SKIPPED a: no data here",
            "test result: ok. 41 passed; 0 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.14s",
            "test result: FAILED. 12 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            take(&mut tally, line, &allowed);
        }
        let expected = Tally { passed: 53, failed: 1, skipped: vec!["a: no data here".to_owned()] };
        assert_eq!(tally, expected);
    }

    #[test]
    fn a_skip_needs_leave() {
        let mut tally = Tally::default();
        take(&mut tally, "SKIPPED a: tired", &AllowedSkips::parse("a: no data\nb: tired\n"));
        assert_eq!(tally.failed, 1);
    }
}
