//! The verdict on one program that speaks the Test Anything Protocol.
//!
//! Some of the official validation programs assert nothing at all: they print an empty plan, and when
//! something is wrong a diagnostic with an `error` besides. TAP calls both "skipped"; we keep them apart,
//! so that a complaint is not taken for a pass.

use std::fmt;

use crate::child::{Ending, Outcome};

/// What a program found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It asserted something, and all of it held.
    Pass,
    /// An assertion did not hold, or the program broke off.
    Fail,
    /// It asserted nothing and complained of nothing.
    Silent,
    /// It asserted nothing but reported an error.
    Complaint,
    /// It did not end in time.
    TimedOut,
}

impl Verdict {
    /// Whether a runtime in good order gets this.
    pub(crate) fn is_good(self) -> bool {
        matches!(self, Verdict::Pass | Verdict::Silent)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "FAIL",
            Verdict::Silent => "silent",
            Verdict::Complaint => "complaint",
            Verdict::TimedOut => "TIMEOUT",
        })
    }
}

/// Judges a program by its TAP lines, and by its exit code alone if it prints no plan: such programs
/// expect an error of the runtime and say something only when there was none.
pub(crate) fn judge(outcome: &Outcome) -> Verdict {
    let lines = || outcome.stdout.lines().map(str::trim_start);
    match outcome.ending {
        Ending::TimedOut => Verdict::TimedOut,
        Ending::Code(code) if code != 0 => Verdict::Fail,
        Ending::Code(_) if lines().any(|line| line.starts_with("not ok")) => Verdict::Fail,
        Ending::Code(_) if lines().any(asserts) => Verdict::Pass,
        Ending::Code(_) if !lines().any(|line| line.starts_with("1..")) => Verdict::Pass,
        Ending::Code(_) if lines().any(|line| line.starts_with("\"error\":")) => Verdict::Complaint,
        Ending::Code(_) => Verdict::Silent,
    }
}

/// The first sentence of what went wrong, for the reader of a table.
pub(crate) fn reason(outcome: &Outcome) -> String {
    let failed = outcome.stdout.lines().find(|line| line.trim_start().starts_with("not ok"));
    let error = outcome.stdout.lines().find(|line| line.trim_start().starts_with("\"error\":"));
    let said = outcome.stderr.lines().find(|line| !line.starts_with("failed to "));
    let parts: Vec<&str> = [failed, error, said].into_iter().flatten().map(str::trim).collect();
    parts.join(" | ")
}

fn asserts(line: &str) -> bool {
    line.starts_with("ok ") && !line.contains("# SKIP")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ending: Ending, stdout: &str, expected: Verdict) {
        let outcome = Outcome { ending, stdout: stdout.to_owned(), stderr: String::new() };
        assert_eq!(judge(&outcome), expected, "{stdout:?}");
    }

    #[test]
    fn verdicts() {
        let done = Ending::Code(0);
        check(done, "TAP version 13\nok 1 - created\nok 2 # SKIP x\n1..2\n", Verdict::Pass);
        check(done, "ok 1 - created\nnot ok 2 - deleted\n1..2\n", Verdict::Fail);
        check(Ending::Code(1), "ok 1 - created\n", Verdict::Fail);
        check(done, "TAP version 13\n1..0\n", Verdict::Silent);
        check(done, "", Verdict::Pass);
        check(Ending::Code(1), "", Verdict::Fail);
        check(done, "ok 1 # SKIP not here\n1..1\n", Verdict::Silent);
        check(done, "  ---\n  {\n    \"error\": \"no\"\n  }\n  ...\n1..0\n", Verdict::Complaint);
        check(Ending::TimedOut, "ok 1 - created\n", Verdict::TimedOut);
    }

    #[test]
    fn the_reason_names_the_assertion() {
        let outcome = Outcome {
            ending: Ending::Code(1),
            stdout: "ok 1 - a\nnot ok 2 - b\n".to_owned(),
            stderr: "failed to create the container\ncapset: not permitted\n".to_owned(),
        };
        assert_eq!(reason(&outcome), "not ok 2 - b | capset: not permitted");
    }
}
