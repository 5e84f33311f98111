//! `cargo xtask ci`: all that a change must pass, on a machine that has nothing but Rust and a C linker.
//!
//! A step is a function and one line in [`STEPS`]; all of them run, even after one has failed, and the
//! summary names each with its wall and CPU time. What a step cannot do here it skips with a reason; skipped tests
//! must be on the checked-in list. Guests are slow and run only on demand. Time is shown, never judged.

mod budget;
mod packages;
mod steps;
mod suite;

use std::time::{Duration, Instant};

use lexopt::prelude::*;

use crate::columns::Columns;
use crate::task::TaskError;

const USAGE: &str = "\
cargo xtask ci [--guests]
  --guests  also the contest on a stock kernel with pure cgroup v2 (slow)";

type Step = fn(&mut Tally) -> Result<(), TaskError>;

const STEPS: &[(&str, Step)] = &[
    ("packages", packages::install),
    ("tidy", steps::tidy),
    ("format", steps::format),
    ("licences", steps::licences),
    ("lint", steps::lint),
    ("build", steps::build),
    ("test", suite::run),
    ("images", steps::images),
    ("release", steps::release),
    ("contest", steps::contest),
    ("official", steps::official),
    ("budget", budget::check),
];
const GUESTS: (&str, Step) = ("guests", steps::guests);

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
    for (name, step) in chosen {
        println!("== {name}");
        let (mut tally, begin, used) = (Tally::default(), Instant::now(), children_cpu());
        let result = step(&mut tally);
        if let Err(error) = &result {
            println!("{name}: {error}");
        }
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
