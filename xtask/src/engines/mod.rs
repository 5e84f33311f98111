//! Engines that call an OCI runtime: Debian's Podman and containerd's `ctr`, driven through the life of
//! a container with each contender as their runtime.
//!
//! Everything they write is in one temporary folder, their cgroups have names of their own, nothing touches the
//! network. An engine that is not installed is skipped, loudly.

mod containerd;
mod podman;

use std::process::Command;
use std::time::Duration;

use crate::child::{self, Ending};
use crate::columns::Columns;
use crate::contender::Contender;
use crate::host::Host;
use crate::leftover;
use crate::task::{At, TaskError, find_program, progress};

const STEP_LIMIT: Duration = Duration::from_secs(30);

/// One command, what it must exit with, and what it must say.
#[derive(Debug)]
struct Step {
    name: &'static str,
    words: Vec<String>,
    code: i32,
    says: &'static str,
}

impl Step {
    fn new(name: &'static str, words: &[&str], code: i32, says: &'static str) -> Step {
        Step { name, words: words.iter().map(|word| (*word).to_owned()).collect(), code, says }
    }

    /// Nothing if it went as it must, else what happened instead.
    fn run(&self) -> Result<Option<String>, TaskError> {
        let mut command = Command::new(&self.words[0]);
        let outcome = child::run(command.args(&self.words[1..]), STEP_LIMIT);
        let outcome = outcome.at("run", &self.words[0])?;
        if outcome.ending == Ending::Code(self.code) && outcome.stdout.contains(self.says) {
            return Ok(None);
        }
        let (stdout, stderr) = (outcome.stdout.trim(), outcome.stderr.trim());
        Ok(Some(format!("{:?}, stdout {stdout:?}, stderr {stderr:?}", outcome.ending)))
    }
}

type Session = fn(&Contender, &std::path::Path, &str) -> Result<Vec<Verdict>, TaskError>;
type Verdict = (&'static str, Option<String>);

/// Name, a program that must be there, and the function that goes through the steps.
const ENGINES: [(&str, &str, Session); 2] =
    [("podman", "podman", podman::session), ("containerd", "ctr", containerd::session)];

/// Runs all engines with all contenders; `Bad` if a step fails with ours.
pub(crate) fn run(contenders: &[Contender]) -> Result<(), TaskError> {
    let mut bad = false;
    for (engine, program, session) in ENGINES {
        if find_program(program).is_none() {
            eprintln!("SKIPPED: {engine} with the contenders as runtimes (no {program} here)");
            continue;
        }
        let mut all = Vec::new();
        for contender in contenders {
            progress(&format!("{engine} with {}", contender.name));
            all.push(run_one(engine, session, contender)?);
        }
        progress("");
        bad |= report(engine, contenders, &all);
    }
    if bad { Err(TaskError::Bad) } else { Ok(()) }
}

fn run_one(
    engine: &str,
    session: Session,
    contender: &Contender,
) -> Result<Vec<Verdict>, TaskError> {
    let cgroup = format!("dhow-{engine}-{}.{}", contender.name, std::process::id());
    // Sockets and Podman want short paths: not below `target/`.
    let dir = std::env::temp_dir().join(&cgroup);
    std::fs::create_dir_all(&dir).at("create", &dir)?;
    let home = Host::current()?;
    Host::with_private_cgroup_dir(contender)?.enter()?;
    let result = session(contender, &dir, &cgroup);
    home.enter()?;
    leftover::remove_cgroups(&[cgroup]);
    std::fs::remove_dir_all(&dir).at("remove", &dir)?;
    result
}

/// Goes through `steps`; every one is tried, because a later one may be what cleans up.
fn run_steps(steps: &[Step]) -> Result<Vec<Verdict>, TaskError> {
    steps.iter().map(|step| Ok((step.name, step.run()?))).collect()
}

fn report(engine: &str, contenders: &[Contender], all: &[Vec<Verdict>]) -> bool {
    let head = std::iter::once(engine).chain(contenders.iter().map(|c| c.name.as_str()));
    let mut table = Columns::new(head);
    for (number, (name, _)) in all.first().into_iter().flatten().enumerate() {
        let word = |verdicts: &Vec<Verdict>| match verdicts[number].1 {
            None => "ok",
            Some(_) => "FAIL",
        };
        table.push(std::iter::once(*name).chain(all.iter().map(word)));
    }
    print!("{}", table.render());
    let mut bad = false;
    for (contender, verdicts) in contenders.iter().zip(all) {
        for (name, reason) in verdicts {
            if let Some(reason) = reason {
                println!("{engine} with {}: {name}: {reason}", contender.name);
                bad |= contender.is_ours();
            }
        }
    }
    bad
}
