//! How a scenario ends, and the words with which it ends early.

use serde::{Deserialize, Serialize};

use crate::Attempt;

/// Why a scenario ended before its last line.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The runtime did not do what it must.
    Fail(String),
    /// It cannot be tried here; the reason is the host's, never the runtime's.
    Skip(String),
}

/// What scenarios and their helpers return.
pub(crate) type Outcome<T = ()> = Result<T, Stop>;

impl From<std::io::Error> for Stop {
    fn from(e: std::io::Error) -> Self {
        Stop::Fail(format!("harness: {e}"))
    }
}

impl From<rustix::io::Errno> for Stop {
    fn from(e: rustix::io::Errno) -> Self {
        Stop::Fail(format!("harness: {e}"))
    }
}

impl From<serde_json::Error> for Stop {
    fn from(e: serde_json::Error) -> Self {
        Stop::Fail(format!("not the JSON that was expected: {e}"))
    }
}

/// A scenario's result for one runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "verdict", content = "reason")]
pub enum Verdict {
    /// As it must be.
    Pass,
    /// The runtime is wrong, or hung, or left something behind.
    Fail(String),
    /// Not tried.
    Skip(String),
}

/// One cell of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    /// `module::name`.
    pub scenario: String,
    /// The runtime's name.
    pub runtime: String,
    /// How it went.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The runtime's invocations and what they said, in order.
    pub transcript: Vec<String>,
    /// How long it took, all in.
    pub took_ms: u64,
}

/// Ends the scenario as failed.
macro_rules! fail {
    ($($t:tt)*) => {
        return Err($crate::contest::Stop::Fail(format!($($t)*)))
    };
}

/// Ends the scenario as skipped.
macro_rules! skip {
    ($($t:tt)*) => {
        return Err($crate::contest::Stop::Skip(format!($($t)*)))
    };
}

/// Fails unless the condition holds.
macro_rules! check {
    ($condition:expr, $($t:tt)*) => {
        if !$condition {
            return Err($crate::contest::Stop::Fail(format!($($t)*)));
        }
    };
}

/// Fails unless both are equal; the last argument names what was compared.
macro_rules! check_eq {
    ($actual:expr, $expected:expr, $($t:tt)*) => {
        match (&$actual, &$expected) {
            (actual, expected) => if *actual != *expected {
                return Err($crate::contest::Stop::Fail(format!(
                    "{}: {:?} where {:?} was expected", format_args!($($t)*), actual, expected
                )));
            }
        }
    };
}

/// Fails unless the attempt worked; gives what it printed.
macro_rules! check_ok {
    ($attempt:expr) => {
        $crate::contest::Stop::unless_ok(&$attempt)?
    };
}

/// Fails unless the attempt failed with one of the errors.
macro_rules! check_errno {
    ($attempt:expr, $($errno:ident)|+) => {
        $crate::contest::Stop::unless_errno(&$attempt, &[$(rustix::io::Errno::$errno),+])?
    };
}

pub(crate) use {check, check_eq, check_errno, check_ok, fail, skip};

impl Stop {
    /// See `check_ok!`.
    pub(crate) fn unless_ok(attempt: &Attempt) -> Outcome<&str> {
        match (&attempt.ok, attempt.errno) {
            (Some(text), _) => Ok(text),
            (None, errno) => {
                Err(Stop::Fail(format!("inside, {:?} failed: {}", attempt.op, error_text(errno))))
            }
        }
    }

    /// See `check_errno!`.
    pub(crate) fn unless_errno(attempt: &Attempt, expected: &[rustix::io::Errno]) -> Outcome {
        if attempt.errno.is_some_and(|e| expected.iter().any(|x| x.raw_os_error() == e)) {
            return Ok(());
        }
        let got = match &attempt.ok {
            Some(text) => format!("worked ({text})"),
            None => format!("failed with {}", error_text(attempt.errno)),
        };
        Err(Stop::Fail(format!("inside, {:?} {got}, expected {expected:?}", attempt.op)))
    }
}

fn error_text(errno: Option<i32>) -> String {
    errno.map_or_else(|| "?".into(), |e| std::io::Error::from_raw_os_error(e).to_string())
}
