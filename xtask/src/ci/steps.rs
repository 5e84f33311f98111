//! The steps that are one command or one task of this crate.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use dhow_tests::{Cell, Verdict};
use lexopt::Parser;
use rustix::process::geteuid;

use super::Tally;
use crate::task::{At, TaskError, find_program, run, scratch, workspace};
use crate::{contest as contests, guest, images, tidy as rules};

/// The rules that no compiler knows.
pub(super) fn tidy(_: &mut Tally) -> Result<(), TaskError> {
    rules::run(parser(&[]))
}

/// One layout for all.
pub(super) fn format(_: &mut Tally) -> Result<(), TaskError> {
    run(&mut cargo(&["fmt", "--all", "--check"]))
}

/// What may be linked in, as `deny.toml` says; advisories need a database from elsewhere.
pub(super) fn licences(tally: &mut Tally) -> Result<(), TaskError> {
    if find_program("cargo-deny").is_none() {
        tally.skip("licences", "no cargo-deny on this machine");
        return Ok(());
    }
    run(&mut cargo(&["deny", "--locked", "check", "licenses", "bans", "sources"]))
}

/// The compiler's and clippy's warnings are errors.
pub(super) fn lint(_: &mut Tally) -> Result<(), TaskError> {
    let lint = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    run(&mut cargo(&lint))
}

/// What a developer builds.
pub(super) fn build(_: &mut Tally) -> Result<(), TaskError> {
    run(&mut cargo(&["build", "--locked", "--workspace"]))
}

/// An image that archives find hard, by way of other programs.
pub(super) fn images(tally: &mut Tally) -> Result<(), TaskError> {
    if !geteuid().is_root() {
        tally.skip("images", "needs root: it mounts, and makes devices");
        return Ok(());
    }
    if let Some(name) = images::missing() {
        tally.skip("images", &format!("no {name} on this machine"));
        return Ok(());
    }
    images::run(parser(&["--quick"]))
}

/// What is shipped, and the contest's own programs.
pub(super) fn release(_: &mut Tally) -> Result<(), TaskError> {
    run(&mut cargo(&["build", "--locked", "--release", "--package", "dhow"]))
}

/// Our own scenarios against dhow, and against crun and runc where they are installed.
pub(super) fn contest(tally: &mut Tally) -> Result<(), TaskError> {
    if !geteuid().is_root() {
        tally.skip("contest", "needs root: it makes namespaces and cgroups");
        return Ok(());
    }
    for name in ["crun", "runc"].iter().filter(|name| find_program(name).is_none()) {
        tally.skip(&format!("contest of {name}"), "not installed");
    }
    let json = scratch("contest")?.join("own.json");
    let _ = fs::remove_file(&json);
    let result = contests::run(parser(&["--own", "--", "--json", &json.display().to_string()]));
    count(tally, &json)?;
    result
}

/// The validation programs of the specification's authors, by a process of their own.
pub(super) fn official(tally: &mut Tally) -> Option<Command> {
    if find_program("go").is_none() {
        tally.skip("official", "no Go on this machine");
        return None;
    }
    if !geteuid().is_root() {
        tally.skip("official", "needs root");
        return None;
    }
    // By our process: cargo may put another program in our file's place meanwhile.
    let mut command = Command::new(format!("/proc/{}/exe", std::process::id()));
    command.args(["contest", "--official"]);
    Some(command)
}

/// The contest again, where all controllers are on cgroup v2.
pub(super) fn guests(_: &mut Tally) -> Result<(), TaskError> {
    guest::run(parser(&["contest"]))
}

/// Our column of the contest's result. Its skips were judged by the contest itself.
fn count(tally: &mut Tally, json: &PathBuf) -> Result<(), TaskError> {
    // The contest broke off before it wrote anything: its own error says why.
    let Ok(text) = fs::read(json) else { return Ok(()) };
    let rows: Vec<Vec<Cell>> = serde_json::from_slice(&text).at("read", json)?;
    for cell in rows.iter().flatten().filter(|cell| cell.runtime == "dhow") {
        match &cell.verdict {
            Verdict::Pass => tally.passed += 1,
            Verdict::Fail(_) => tally.failed += 1,
            Verdict::Skip(reason) => tally.skipped.push(format!("{}: {reason}", cell.scenario)),
        }
    }
    Ok(())
}

pub(super) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(arguments).current_dir(workspace()).stdin(Stdio::null());
    cargo
}

fn parser(arguments: &[&str]) -> Parser {
    Parser::from_args(arguments)
}
