//! What happens to a container: numbered records, kept in its journal before anybody is told.
//!
//! Invariant: numbers rise by one and are never used again, over all lives of one container's journal.

use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its place in the journal, from 1 on.
    pub number: u64,
    /// When, in nanoseconds after 1970 by the machine's clock.
    pub time_ns: i64,
    /// What.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
#[non_exhaustive]
pub enum Event {
    /// The container's program runs.
    #[serde(rename_all = "camelCase")]
    Started {
        /// The first process, in the monitor's PID namespace.
        pid: i32,
        /// How often the policy has restarted it.
        #[serde(default)]
        restart_count: u32,
    },
    /// The program could not be started; nothing of the container is left.
    StartFailed {
        /// The runtime's words.
        message: String,
        /// Whose fault it is.
        kind: StartFailure,
    },
    /// The first process has ended, all its output is in the log, and its cgroup is gone.
    #[serde(rename_all = "camelCase")]
    Exited {
        /// Its exit code, 128 + n if signal n ended it; absent if nobody saw it end.
        code: Option<i32>,
        /// The signal.
        #[serde(default)]
        signal: Option<i32>,
        /// The kernel killed something in the container for want of memory.
        #[serde(default)]
        oom_killed: bool,
        /// No restart follows.
        #[serde(default)]
        last: bool,
    },
    /// The policy will start the container again.
    #[serde(rename_all = "camelCase")]
    Restarting {
        /// After so many milliseconds.
        in_ms: u64,
        /// The how-manieth time, from 1 on.
        count: u32,
    },
    /// Somebody asked for the container's end while it waited for its restart: it stays as it is.
    RestartCancelled,
    /// Somebody asked for the container's end.
    #[serde(rename_all = "camelCase")]
    Stopping {
        /// The signal sent first.
        signal: i32,
        /// The first process has no handler for it, so it was killed at once instead of after the timeout.
        #[serde(default)]
        unhandled: bool,
    },
    /// A signal was sent on request.
    Killed {
        /// Which.
        signal: i32,
    },
    /// All processes are frozen.
    Paused,
    /// They go on.
    Resumed,
    /// The kernel killed a process of the container for want of memory.
    Oom,
    /// A probe has ended.
    Health(Health),
    /// One more process runs.
    #[serde(rename_all = "camelCase")]
    ExecStarted {
        /// Which.
        exec_id: String,
        /// It, in the monitor's PID namespace.
        pid: i32,
    },
    /// It could not be started.
    #[serde(rename_all = "camelCase")]
    ExecFailed {
        /// Which.
        exec_id: String,
        /// The runtime's words.
        message: String,
        /// Whose fault it is.
        kind: StartFailure,
    },
    /// It has ended.
    #[serde(rename_all = "camelCase")]
    ExecExited {
        /// Which.
        exec_id: String,
        /// Its exit code, 128 + n after signal n; absent if nobody saw it end.
        code: Option<i32>,
    },
    /// A client went away by its detach keys.
    #[serde(rename_all = "camelCase")]
    Detached {
        /// From which exec; absent for the container itself.
        #[serde(default)]
        exec_id: Option<String>,
    },
    /// Another monitor took over a container whose own was lost.
    Adopted {
        /// The first process.
        pid: i32,
    },
    /// Lines that could not be written to the log since the last such record.
    #[serde(rename_all = "camelCase")]
    LogDropped {
        /// How many.
        lines: u64,
        /// Why.
        message: String,
    },
    /// Something that a newer monitor knows.
    #[serde(other)]
    Unknown,
}

/// Whose fault it is that a program could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StartFailure {
    /// There is no such program: 127.
    NotFound,
    /// It cannot be executed: 126.
    NotExecutable,
    /// Something before it: 128 in the record, 125 for `docker run`.
    Other,
}

impl StartFailure {
    /// What inspect shows as the exit code; `docker run` makes its own from the words.
    pub fn exit_code(self) -> i32 {
        match self {
            Self::NotFound => 127,
            Self::NotExecutable => 126,
            Self::Other => 128,
        }
    }
}

/// What is known of a container's health after a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`, as Docker words them.
    pub status: String,
    /// How many probes failed in a row.
    pub failing_streak: u32,
    /// The one that has just ended; absent when a life begins.
    #[serde(default)]
    pub probe: Option<Probe>,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// When it began, in nanoseconds after 1970.
    pub start_ns: i64,
    /// When it had ended.
    pub end_ns: i64,
    /// 0 for health; -1 if the probe could not be run or took too long.
    pub exit_code: i32,
    /// The beginning of what it said, or why it could not.
    pub output: String,
}
