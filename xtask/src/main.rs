//! `cargo xtask TASK`: what developers and CI run, one word each.
//!
//! A task is one module and one line in [`TASKS`]. Tasks start programs and print, which the crates of
//! the workspace may not; nothing here is part of what is shipped.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "developer tasks start programs, read the environment and talk to the developer"
)]

mod apt;
mod bench;
mod builds;
mod busybox;
mod child;
mod ci;
mod clients;
mod columns;
mod contender;
mod contest;
mod differ;
mod dist;
mod engines;
mod fuzz;
mod guest;
mod host;
mod images;
mod layout;
mod leftover;
mod official;
mod runc_suite;
mod tap;
mod task;
mod tidy;

use std::process::ExitCode;

use task::TaskError;

type Task = fn(lexopt::Parser) -> Result<(), TaskError>;

/// Name, first line of help, and the function.
const TASKS: &[(&str, &str, Task)] = &[
    ("bench", "what containers and images cost, beside others", bench::run),
    ("builds", "the same Dockerfiles built by others and by us", builds::run),
    ("ci", "all that a change must pass", ci::run),
    ("clients", "everybody's clients with a registry of ours", clients::run),
    ("contest", "dhow, crun and runc judged side by side", contest::run),
    ("differ", "requests to a real dockerd and to dhow, compared", differ::run),
    ("dist", "what people install: a tarball and Debian packages", dist::run_task),
    ("fuzz", "bytes with which a promise does not hold, looked for", fuzz::run),
    ("guest", "a command on a pure cgroup v2 kernel", guest::run),
    ("images", "real images, by way of others' programs", images::run),
    ("layout", "the order of the program's code, from what a start executes", layout::run),
    ("tidy", "rules of this repository that no compiler knows", tidy::run),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next().unwrap_or_default();
    let Some((_, _, task)) = TASKS.iter().find(|(known, _, _)| name.to_str() == Some(known)) else {
        eprintln!("usage: cargo xtask TASK [ARGUMENT...]");
        for (name, help, _) in TASKS {
            eprintln!("  {name:10} {help}");
        }
        return ExitCode::from(2);
    };
    match task(lexopt::Parser::from_args(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(TaskError::Code(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("xtask {}: {error}", name.display());
            ExitCode::from(if matches!(error, TaskError::Usage(_)) { 2 } else { 1 })
        }
    }
}
