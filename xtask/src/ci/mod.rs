//! `cargo xtask ci`: all that a change must pass, on a machine that has nothing but Rust and a C linker.
//!
//! A step is a function and one line in [`STEPS`]; all of them run, even after one has failed, and the
//! summary names each with its wall and CPU time. What a step cannot do here it skips with a reason; skipped tests
//! must be on the checked-in list. Guests are slow and run only on demand. Time is shown, never judged.

mod budget;
mod packages;
mod steps;
mod suite;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lexopt::prelude::*;

use crate::columns::Columns;
use crate::task::{At, TaskError, scratch};

const USAGE: &str = "\
cargo xtask ci [--guests]
  --guests  also the contest on a stock kernel with pure cgroup v2 (slow)";

#[derive(Clone, Copy)]
enum Step {
    /// Done when its turn comes.
    Here(fn(&mut Tally) -> Result<(), TaskError>),
    /// A program that mostly waits: begun when its turn comes, and waited for after all others.
    Beside(fn(&mut Tally) -> Option<Command>),
}
use Step::{Beside, Here};

const STEPS: &[(&str, Step)] = &[
    ("packages", Here(packages::install)),
    ("tidy", Here(steps::tidy)),
    ("format", Here(steps::format)),
    ("licences", Here(steps::licences)),
    ("lint", Here(steps::lint)),
    ("build", Here(steps::build)),
    ("release", Here(steps::release)),
    ("official", Beside(steps::official)),
    ("test", Here(suite::run)),
    ("images", Here(steps::images)),
    ("contest", Here(steps::contest)),
    ("budget", Here(budget::check)),
];
const GUESTS: (&str, Step) = ("guests", Here(steps::guests));

/// What was counted. A step that counts nothing itself is one check.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: Vec<String>,
}

impl Tally {
    /// Notes that something was not tried, and why; the summary says it aloud.
    fn skip(&mut self, what: &str, reason: &str) {
        println!("skipping {what}: {reason}");
        self.skipped.push(format!("{what}: {reason}"));
    }

    /// Counts what a step came to.
    fn add(&mut self, mut step: Tally, result: &Result<(), TaskError>) {
        let counted = step.passed + step.failed > 0;
        match result {
            Ok(()) if !counted && step.skipped.is_empty() => step.passed = 1,
            Err(_) if step.failed == 0 => step.failed = 1,
            _ => {}
        }
        self.passed += step.passed;
        self.failed += step.failed;
        self.skipped.append(&mut step.skipped);
    }
}

/// Runs the steps; `Bad` if one of them was not in order.
pub(crate) fn run(mut arguments: lexopt::Parser) -> Result<(), TaskError> {
    let mut chosen = STEPS.to_vec();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("guests") => chosen.push(GUESTS),
            Long("help") | Short('h') => {
                println!("{USAGE}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let start = Instant::now();
    let (mut total, mut table) =
        (Tally::default(), Columns::new(["step", "result", "seconds", "CPU"]));
    let mut beside = Vec::new();
    for (name, step) in chosen {
        println!("== {name}");
        let (mut tally, begin, used) = (Tally::default(), Instant::now(), children_cpu());
        let result = match step {
            Here(step) => step(&mut tally),
            Beside(command) => match command(&mut tally).map(Companion::begin) {
                None => Ok(()),
                Some(Ok(companion)) => {
                    beside.push((name, begin, companion));
                    continue;
                }
                Some(Err(error)) => Err(error),
            },
        };
        if let Err(error) = &result {
            println!("{name}: {error}");
        }
        let cpu = children_cpu().saturating_sub(used);
        table.push([name, word(&tally, &result), &seconds(begin.elapsed()), &seconds(cpu)]);
        total.add(tally, &result);
    }
    for (name, begin, companion) in beside {
        println!("== {name}");
        let used = children_cpu();
        let (tally, result) = (Tally::default(), companion.end());
        let cpu = children_cpu().saturating_sub(used);
        table.push([name, word(&tally, &result), &seconds(begin.elapsed()), &seconds(cpu)]);
        total.add(tally, &result);
    }
    table.push(["all", "", &seconds(start.elapsed()), &seconds(children_cpu())]);
    println!("== summary\n{}", table.render());
    total.skipped.iter().for_each(|skip| println!("SKIPPED {skip}"));
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped.len());
    if total.failed == 0 { Ok(()) } else { Err(TaskError::Bad) }
}

/// A program beside the other steps; what it says is kept until it has ended.
struct Companion {
    child: Child,
    said: PathBuf,
}

impl Companion {
    fn begin(mut command: Command) -> Result<Self, TaskError> {
        let said = scratch("ci")?.join(format!("beside.{}", std::process::id()));
        let file = File::create(&said).at("create", &said)?;
        let both = file.try_clone().at("duplicate", &said)?;
        command.stdin(Stdio::null()).stdout(file).stderr(both);
        let child = command.spawn().at("start", command.get_program())?;
        Ok(Self { child, said })
    }

    fn end(mut self) -> Result<(), TaskError> {
        let status = self.child.wait().at("wait for", &self.said)?;
        print!("{}", fs::read_to_string(&self.said).at("read", &self.said)?);
        fs::remove_file(&self.said).at("remove", &self.said)?;
        if status.success() { Ok(()) } else { Err(TaskError::Bad) }
    }
}

fn word(tally: &Tally, result: &Result<(), TaskError>) -> &'static str {
    match result {
        Err(_) => "FAILED",
        Ok(()) if tally.passed == 0 && !tally.skipped.is_empty() => "skipped",
        Ok(()) => "ok",
    }
}

/// What the processes that this one waited for, and theirs, have used; nothing where procfs is not there.
fn children_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name may contain blanks; after it come state and numbers. Fields 16 and 17 of the whole.
    let after = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after.split(' ').skip(13).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 1000 / rustix::param::clock_ticks_per_second())
}

fn seconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_counts_itself_or_its_tests() {
        let mut total = Tally::default();
        total.add(Tally::default(), &Ok(()));
        total.add(Tally { passed: 3, ..Tally::default() }, &Ok(()));
        total.add(Tally { skipped: vec!["x: y".into()], ..Tally::default() }, &Ok(()));
        assert_eq!((total.passed, total.failed, total.skipped.len()), (4, 0, 1));
        total.add(Tally::default(), &Err(TaskError::Bad));
        total.add(Tally { passed: 3, failed: 2, ..Tally::default() }, &Err(TaskError::Bad));
        assert_eq!((total.passed, total.failed), (7, 3));
    }
}
