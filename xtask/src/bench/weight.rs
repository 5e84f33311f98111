//! What does not depend on the weather: system calls and peak memory of each command.
//!
//! System calls are those of the command and all that it starts (`strace -f -c`), so `run`, `create` and
//! `exec` contain the container's side as well. Peak memory is the largest resident set of any single
//! process among those that the command waited for (`time -f %M`).

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::lane::{Lane, Operation};
use super::statistics::Summary;
use crate::task::{At, TaskError, find_program};

const SAMPLES: usize = 5;
const CREATE_POLLS: usize = 500;

/// Median number of system calls of `operation`, or `None` where there is no strace.
pub(crate) fn system_calls(
    lane: &Lane,
    operation: Operation,
    dir: &Path,
) -> Result<Option<f64>, TaskError> {
    let Some(strace) = find_program("strace") else { return Ok(None) };
    let report = dir.join("strace");
    let prefix = words(&[&strace.display(), &"-f", &"-q", &"-c", &"-o", &report.display()]);
    samples(lane, operation, &prefix, || total_calls(&read(&report)))
}

/// Median peak resident set in KiB, or `None` where there is no `time` program.
pub(crate) fn peak_kib(
    lane: &Lane,
    operation: Operation,
    dir: &Path,
) -> Result<Option<f64>, TaskError> {
    let Some(time) = find_program("time") else { return Ok(None) };
    let report = dir.join("time");
    let prefix = words(&[&time.display(), &"-q", &"-f", &"%M", &"-o", &report.display()]);
    samples(lane, operation, &prefix, || read(&report).trim().parse().ok())
}

fn samples(
    lane: &Lane,
    operation: Operation,
    prefix: &[String],
    result: impl Fn() -> Option<f64>,
) -> Result<Option<f64>, TaskError> {
    let mut values = Vec::new();
    for _ in 0..SAMPLES {
        lane.clear();
        prepare(lane, operation)?;
        run(lane, operation, prefix)?;
        values.extend(result());
        lane.clear();
    }
    Ok(Summary::of(&values).map(|summary| summary.median))
}

/// Brings the long container to where `operation` finds it.
fn prepare(lane: &Lane, operation: Operation) -> Result<(), TaskError> {
    match operation {
        Operation::Run | Operation::Create => {}
        Operation::Start => drop(lane.time(Operation::Create)?),
        Operation::Exec | Operation::Delete => {
            lane.time(Operation::Create)?;
            lane.time(Operation::Start)?;
        }
    }
    if operation == Operation::Delete { lane.kill() } else { Ok(()) }
}

/// A tracer that follows children waits for the created container's first process: it is ended here.
pub(super) fn run(lane: &Lane, operation: Operation, prefix: &[String]) -> Result<(), TaskError> {
    lane.enter()?;
    let mut command = lane.command(operation, prefix);
    let mut child = command.stderr(Stdio::null()).spawn().at("start", &prefix[0])?;
    if operation == Operation::Create {
        for _ in 0..CREATE_POLLS {
            if lane.pid().is_some() {
                break;
            }
            sleep(Duration::from_millis(10));
        }
        sleep(Duration::from_millis(300));
        lane.clear();
    }
    child.wait().at("wait for", &prefix[0])?;
    Ok(())
}

/// The figure in the last line of strace's table: percent, seconds, microseconds a call, calls, errors.
fn total_calls(table: &str) -> Option<f64> {
    let line = table.lines().find(|line| line.trim_end().ends_with("total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

fn words(parts: &[&dyn std::fmt::Display]) -> Vec<String> {
    parts.iter().map(|part| part.to_string()).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The version line of a contender, for the report's head.
pub(crate) fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("version unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_from_the_total() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                      50.00    0.000100           1        70         2 mount\n\
                     100.00    0.000200           1       786        50 total\n";
        assert_eq!(total_calls(table), Some(786.0));
        assert_eq!(total_calls(""), None);
    }
}
