//! `cargo xtask contest`: the runtimes side by side.
//!
//! Parts: our own scenarios (the `dhow-contest` program of the package `dhow-tests`), the official
//! validation programs, runc's own suite, engines that call a runtime. Without a choice the first two run. What decides the exit code
//! is our column alone; the others prove the tests.

use std::path::PathBuf;
use std::process::Command;

use lexopt::prelude::*;

use crate::contender::{self, Contender};
use crate::engines;
use crate::official;
use crate::runc_suite;
use crate::task::{At, TaskError, release_dir, workspace};

const USAGE: &str = "\
cargo xtask contest [--own] [--official] [--runc-suite] [--engines] [--filter PART] [--runtime NAME=PATH ...] [-- ARGS of the own suite]
  --own         our scenarios
  --official    the validation programs of runtime-tools
  --runc-suite  runc's own integration suite, newest release
  --engines     Podman and containerd with each as their runtime
  --filter      only cases whose name has PART
  --runtime     instead of dhow, crun and runc (repeatable)";

struct Choice {
    own: bool,
    official: bool,
    runc_suite: bool,
    engines: bool,
    filter: Option<String>,
    contenders: Vec<Contender>,
    rest: Vec<std::ffi::OsString>,
}

/// Runs the chosen parts, all of them even if one is not in order.
pub(crate) fn run(arguments: lexopt::Parser) -> Result<(), TaskError> {
    let Some(choice) = parse(arguments)? else {
        println!("{USAGE}");
        return Ok(());
    };
    let mut results = Vec::new();
    if choice.own {
        results.push(run_own(&choice));
    }
    if choice.official {
        results.push(official::run(&choice.contenders, choice.filter.as_deref()));
    }
    if choice.runc_suite {
        results.push(runc_suite::run(&choice.contenders, choice.filter.as_deref()));
    }
    if choice.engines {
        results.push(engines::run(&choice.contenders));
    }
    results.into_iter().collect()
}

fn parse(mut arguments: lexopt::Parser) -> Result<Option<Choice>, TaskError> {
    let mut choice = Choice {
        own: false,
        official: false,
        runc_suite: false,
        engines: false,
        filter: None,
        contenders: Vec::new(),
        rest: Vec::new(),
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("own") => choice.own = true,
            Long("official") => choice.official = true,
            Long("runc-suite") => choice.runc_suite = true,
            Long("engines") => choice.engines = true,
            Long("filter") => choice.filter = Some(arguments.value()?.string()?),
            Long("runtime") => {
                choice.contenders.push(Contender::parse(&arguments.value()?.string()?)?);
            }
            Long("help") | Short('h') => return Ok(None),
            Value(value) => {
                choice.rest.push(value);
                choice.rest.extend(arguments.raw_args()?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if !(choice.own || choice.official || choice.runc_suite || choice.engines) {
        (choice.own, choice.official) = (true, true);
    }
    if choice.contenders.is_empty() {
        choice.contenders = contender::all()?;
    }
    Ok(Some(choice))
}

/// Builds our scenarios and the payload beside them, and lets them print their own columns.
fn run_own(choice: &Choice) -> Result<(), TaskError> {
    crate::task::run(
        Command::new("cargo")
            .args(["build", "--quiet", "--release", "--package", "dhow-tests", "--bins"])
            .current_dir(workspace()),
    )?;
    let program: PathBuf = release_dir().join("dhow-contest");
    let mut command = Command::new(&program);
    for contender in &choice.contenders {
        let program = contender.program.display();
        command.arg("--runtime").arg(format!("{}={program}", contender.name));
        if contender.refuses_hybrid() {
            command.arg("--hide-unified").arg(&contender.name);
        }
    }
    if let Some(filter) = &choice.filter {
        command.arg("--only").arg(filter);
    }
    command.args(&choice.rest);
    match command.status().at("start", &program)?.success() {
        true => Ok(()),
        false => Err(TaskError::Bad),
    }
}
