//! `cargo xtask bench runtime`: what one container costs, side by side. `bench images`: what images cost.
//! `bench engine`: what a container costs with an engine around it. `bench network`: what networks carry.
//! `bench build`: what a build costs. `bench registry`: what a registry carries.
//!
//! Commands are interleaved (A B C A B C …), once with an idle gap before each start, as a user at a
//! prompt meets it, and once without: a tight loop hides the kernel's grace periods. Ratios are taken
//! within a round. Wall time is the report's; on a busy machine CPU time decides. Nothing here is a test.

mod build;
mod bundle;
mod daemon;
mod engine;
mod images;
mod lane;
mod meter;
mod network;
mod registry;
mod statistics;
mod weight;

pub(crate) use engine::{IMAGE, pack};

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use lexopt::prelude::*;

pub(crate) use self::engine::{Kind, Peer, pack_busybox};
use self::lane::{Lane, Operation};
use self::meter::Meter;
use self::statistics::Summary;
use crate::columns::Columns;
use crate::contender::{self, Contender};
use crate::leftover;
use crate::task::{TaskError, scratch};

const USAGE: &str = "\
cargo xtask bench runtime [--rounds N] [--gap MS] [--config FILE] [--runtime NAME=PATH ...]
  --rounds   rounds with and as many without the idle gap (40)
  --gap      the idle gap in milliseconds (50)
  --config   another config.json than the built-in one
  --runtime  instead of dhow, crun and runc (repeatable; the first is compared with the others)
cargo xtask bench images, engine, network, build and registry tell of themselves with --help.";

struct Plan {
    rounds: usize,
    gap: Duration,
    config: Option<PathBuf>,
    contenders: Vec<Contender>,
}

/// Measured values, by operation and contender, one for each round.
#[derive(Default)]
struct Series {
    wall_ms: BTreeMap<(usize, usize), Vec<f64>>,
    cpu_ms: BTreeMap<(usize, usize), Vec<f64>>,
}

/// Runs the whole benchmark and prints it.
pub(crate) fn run(arguments: lexopt::Parser) -> Result<(), TaskError> {
    let mut rest = arguments.clone();
    if let Some(Value(what)) = rest.next()? {
        match what.to_str() {
            Some("images") => return images::run(rest),
            Some("build") => return build::run(rest),
            Some("engine") => return engine::run(rest),
            Some("network") => return network::run(rest),
            Some("registry") => return registry::run(rest),
            _ => {}
        }
    }
    let Some(plan) = parse(arguments)? else {
        println!("{USAGE}");
        return Ok(());
    };
    let dir = scratch("bench")?;
    let cgroup = format!("dhow-bench.{}", std::process::id());
    for contender in &plan.contenders {
        let version = weight::version(&contender.program);
        println!("{}: {} ({version})", contender.name, contender.program.display());
    }
    let lanes = plan
        .contenders
        .iter()
        .map(|contender| Lane::new(contender.clone(), &dir, plan.config.as_deref(), &cgroup));
    let lanes: Vec<Lane> = lanes.collect::<Result<_, _>>()?;
    let meter = Meter::enter(&cgroup)?;
    let result = measure(&plan, &lanes, &meter, &dir);
    lanes.iter().for_each(Lane::clear);
    meter.leave()?;
    leftover::remove_cgroups(&[cgroup]);
    result
}

/// What `run` of the built-in bundle costs dhow whatever the weather: system calls, and peak memory in
/// KiB; `None` where the program that counts is not there.
pub(crate) fn weigh_run() -> Result<[Option<f64>; 2], TaskError> {
    let dir = scratch("bench")?;
    let cgroup = format!("dhow-budget.{}", std::process::id());
    let lane = Lane::new(contender::ours()?, &dir, None, &cgroup)?;
    let calls = weight::system_calls(&lane, Operation::Run, &dir);
    let peak = weight::peak_kib(&lane, Operation::Run, &dir);
    lane.clear();
    leftover::remove_cgroups(&[cgroup]);
    Ok([calls?, peak?])
}

/// Runs the built-in bundle once, behind the words of another program.
pub(crate) fn run_under(contender: Contender, prefix: &[String]) -> Result<(), TaskError> {
    let dir = scratch("bench")?;
    let cgroup = format!("dhow-steps.{}", std::process::id());
    let lane = Lane::new(contender, &dir, None, &cgroup)?;
    let result = weight::run(&lane, Operation::Run, prefix);
    lane.clear();
    leftover::remove_cgroups(&[cgroup]);
    result
}

fn parse(mut arguments: lexopt::Parser) -> Result<Option<Plan>, TaskError> {
    let mut plan =
        Plan { rounds: 40, gap: Duration::from_millis(50), config: None, contenders: Vec::new() };
    let mut what = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("rounds") => plan.rounds = arguments.value()?.parse()?,
            Long("gap") => plan.gap = Duration::from_millis(arguments.value()?.parse()?),
            Long("config") => plan.config = Some(arguments.value()?.into()),
            Long("runtime") => {
                plan.contenders.push(Contender::parse(&arguments.value()?.string()?)?)
            }
            Value(value) if what.is_none() => what = Some(value.string()?),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if what.as_deref() != Some("runtime") || plan.rounds == 0 {
        return Ok(None);
    }
    if plan.contenders.is_empty() {
        plan.contenders = contender::all()?;
    }
    Ok(Some(plan))
}

fn measure(
    plan: &Plan,
    lanes: &[Lane],
    meter: &Meter,
    dir: &std::path::Path,
) -> Result<(), TaskError> {
    for gap in [plan.gap, Duration::ZERO] {
        let before = Weather::now();
        let mut series = Series::default();
        // One round to warm the caches, not counted.
        round(lanes, meter, gap, &mut Series::default())?;
        for _ in 0..plan.rounds {
            round(lanes, meter, gap, &mut series)?;
        }
        println!("\n{} rounds, {} ms idle before each start", plan.rounds, gap.as_millis());
        println!("{}", before.until(&Weather::now()));
        print!("{}", times(lanes, &series));
    }
    print_weights(lanes, dir)
}

fn round(
    lanes: &[Lane],
    meter: &Meter,
    gap: Duration,
    series: &mut Series,
) -> Result<(), TaskError> {
    for (row, operation) in Operation::ALL.into_iter().enumerate() {
        for (column, lane) in lanes.iter().enumerate() {
            if operation == Operation::Delete {
                lane.kill()?;
            }
            sleep(gap);
            let begun = meter.read();
            let wall = lane.time(operation)?;
            // What the command left to others (a container that gets ready, the kernel's clean-up of
            // a process) is done during the gap: read after it.
            sleep(gap);
            let cpu = meter.read().saturating_sub(begun);
            series.wall_ms.entry((row, column)).or_default().push(wall.as_secs_f64() * 1e3);
            series.cpu_ms.entry((row, column)).or_default().push(cpu.as_secs_f64() * 1e3);
        }
    }
    Ok(())
}

fn times(lanes: &[Lane], series: &Series) -> String {
    let mut table = Columns::new([
        "command",
        "runtime",
        "wall ms",
        "quartiles",
        "p90",
        "cpu ms",
        "quartiles",
        "p90",
        "wall ratio",
        "quartiles",
        "p90",
        "cpu ratio",
        "quartiles",
    ]);
    for (row, operation) in Operation::ALL.into_iter().enumerate() {
        for (column, lane) in lanes.iter().enumerate() {
            let cell = (row, column);
            let mut cells = vec![operation.name().to_owned(), lane.name().to_owned()];
            cells.extend(summary(Summary::of(&series.wall_ms[&cell]), 3));
            cells.extend(summary(Summary::of(&series.cpu_ms[&cell]), 3));
            if column > 0 {
                let (wall, cpu) = (&series.wall_ms, &series.cpu_ms);
                cells.extend(summary(Summary::of_ratios(&wall[&(row, 0)], &wall[&cell]), 3));
                cells.extend(summary(Summary::of_ratios(&cpu[&(row, 0)], &cpu[&cell]), 2));
            }
            table.push(cells);
        }
    }
    let note = lanes.first().map(Lane::name).unwrap_or_default();
    format!("{}ratios are {note} / this runtime, within a round\n", table.render())
}

fn summary(summary: Option<Summary>, columns: usize) -> Vec<String> {
    let Some(s) = summary else { return vec![String::new(); columns] };
    let all = [
        format!("{:.2}", s.median),
        format!("{:.2}-{:.2}", s.low, s.high),
        format!("{:.2}", s.p90),
    ];
    all.into_iter().take(columns).collect()
}

fn print_weights(lanes: &[Lane], dir: &std::path::Path) -> Result<(), TaskError> {
    let mut table = Columns::new(["command", "runtime", "system calls", "peak RSS KiB"]);
    for operation in Operation::ALL {
        for lane in lanes {
            let calls = weight::system_calls(lane, operation, dir)?;
            let peak = weight::peak_kib(lane, operation, dir)?;
            let [calls, peak] = [calls, peak]
                .map(|value| value.map_or("not measured".to_owned(), |v| format!("{v:.0}")));
            table.push([operation.name(), lane.name(), &calls, &peak]);
        }
    }
    print!("\n{}", table.render());
    Ok(())
}

/// How busy the machine is with other things.
struct Weather {
    load: String,
    steal_ticks: u64,
    total_ticks: u64,
}

impl Weather {
    fn now() -> Weather {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks: Vec<u64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .filter_map(|word| word.parse().ok())
            .collect();
        Weather {
            load: load.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
            steal_ticks: ticks.get(7).copied().unwrap_or(0),
            total_ticks: ticks.iter().take(8).sum(),
        }
    }

    fn until(&self, after: &Weather) -> String {
        let total = after.total_ticks.saturating_sub(self.total_ticks).max(1);
        let steal =
            100.0 * after.steal_ticks.saturating_sub(self.steal_ticks) as f64 / total as f64;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        format!("load {} before, {} after, {cpus} CPUs, {steal:.1} % stolen", self.load, after.load)
    }
}
