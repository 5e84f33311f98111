//! `cargo xtask clients`: everybody's clients push to a registry of ours and pull from it, with tokens, and through
//! another of ours that mirrors it.
//!
//! skopeo, umoci, podman, oras, the docker CLI (with an engine of ours behind it) and dhow itself. Everything
//! happens below one folder, in mount and network namespaces of its own; a program that is not there is said.
//! Each step is a command that has to end as it should and say what it should.

mod place;
mod steps;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lexopt::prelude::*;

use self::place::Place;
use crate::columns::Columns;
use crate::images::{Network, alone};
use crate::leftover;
use crate::task::{At, TaskError, progress, scratch};

const USAGE: &str = "\
cargo xtask clients [--only NAME ...] [--program PATH]
  --only     skopeo, umoci, podman, oras, docker, dhow (repeatable; all)
  --program  another dhow than that of the release build, else of the debug build
oras is taken from the PATH or from ~/go/bin (go install oras.land/oras/cmd/oras@latest).";

/// A client, and all that it does. Later ones take what earlier ones pushed.
const CLIENTS: [(&str, Steps); 6] = [
    ("skopeo", steps::skopeo),
    ("umoci", steps::umoci),
    ("podman", steps::podman),
    ("oras", steps::oras),
    ("docker", steps::docker),
    ("dhow", steps::dhow),
];

type Steps = fn(&Place, &mut Report) -> Result<(), TaskError>;

/// What came of each step.
struct Report {
    table: Columns,
    client: &'static str,
    faults: usize,
}

/// Runs all of it and prints a table.
pub(crate) fn run(mut arguments: lexopt::Parser) -> Result<(), TaskError> {
    let (mut only, mut inside, mut program) = (Vec::new(), false, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("only") => only.push(arguments.value()?.string()?),
            Long("program") => program = Some(PathBuf::from(arguments.value()?)),
            Long("inside") => inside = true,
            Long("help") | Short('h') => {
                println!("{USAGE}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if !inside {
        let mut words = vec!["clients".to_owned(), "--inside".to_owned()];
        words.extend(only.iter().map(|name| format!("--only={name}")));
        words.extend(program.map(|path| format!("--program={}", path.display())));
        return alone(&words, Network::Own);
    }
    let dir = scratch("clients")?.join(std::process::id().to_string());
    fs::create_dir_all(&dir).at("create", &dir)?;
    let mut report =
        Report { table: Columns::new(["client", "step", "result"]), client: "", faults: 0 };
    let result = all(&only, program, &dir, &mut report);
    progress("");
    print!("{}", report.table.render());
    leftover::remove_cgroups(&[place::cgroup()]);
    fs::remove_dir_all(&dir).at("remove", &dir)?;
    result?;
    if report.faults == 0 { Ok(()) } else { Err(TaskError::Bad) }
}

fn all(
    only: &[String],
    program: Option<PathBuf>,
    dir: &Path,
    report: &mut Report,
) -> Result<(), TaskError> {
    let place = Place::make(dir, program)?;
    for (name, steps) in CLIENTS {
        if only.is_empty() || only.iter().any(|wanted| wanted == name) {
            report.client = name;
            steps(&place, report)?;
        }
    }
    Ok(())
}

impl Report {
    /// Runs a command that has to succeed, and to say `wanted` if that is something. Gives what it printed.
    fn step(
        &mut self,
        what: &str,
        command: &mut Command,
        wanted: &str,
    ) -> Result<String, TaskError> {
        self.run(what, command, true, wanted)
    }

    /// The same with a command that has to fail.
    fn refused(
        &mut self,
        what: &str,
        command: &mut Command,
        wanted: &str,
    ) -> Result<(), TaskError> {
        self.run(what, command, false, wanted).map(drop)
    }

    fn run(
        &mut self,
        what: &str,
        command: &mut Command,
        succeeds: bool,
        wanted: &str,
    ) -> Result<String, TaskError> {
        progress(&format!("{}: {what}", self.client));
        let output = command.output().at("start", command.get_program())?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        let good = output.status.success() == succeeds
            && (said.contains(wanted) || errors.contains(wanted));
        self.row(what, if good { "good" } else { "BAD" });
        if !good {
            self.faults += 1;
            progress("");
            println!("{} {what}: {}\n{said}\n{errors}", self.client, output.status);
        }
        Ok(said)
    }

    /// Says that a client is not there.
    fn absent(&mut self, why: &str) {
        self.row(why, "skipped");
    }

    fn row(&mut self, what: &str, result: &str) {
        self.table.push([self.client, what, result]);
    }
}
