//! `cargo xtask bench registry`: what a registry carries, beside Debian's `docker-registry`.
//!
//! One large blob by one client, a thousand small ones and some of middle size by 64 clients at once, pushed and
//! pulled as docker and podman do it (`POST`, `PATCH`, `PUT`; `GET`). Both registries are started anew for each
//! round, over empty folders, with nothing written down for a request, and take turns. A third contender only
//! takes bytes and gives them: what the loopback carries. Nothing here is a test.

mod link;
mod load;
mod peer;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use lexopt::prelude::*;

use self::load::{ACTIONS, Action, Material};
use self::peer::{Kind, Peer};
use super::statistics::Summary;
use super::{Weather, summary};
use crate::columns::Columns;
use crate::task::{At, TaskError, progress, release_dir, scratch};

const USAGE: &str = "\
cargo xtask bench registry [--rounds N] [--large MB] [--small N] [--place DIR] [--program PATH]
  --rounds  rounds (5)
  --large   size of the large blob in MB (500)
  --small   how many small blobs (1000)
  --place   where the registries keep what they have (below target/; /dev/shm takes the disk out)
  --program another dhow than that of the release build";

struct Plan {
    rounds: usize,
    large_mb: usize,
    small: usize,
    place: PathBuf,
    program: PathBuf,
}

/// Measured values, by action and contender, one for each round.
#[derive(Default)]
struct Series {
    wall_s: BTreeMap<(usize, usize), Vec<f64>>,
    cpu_s: BTreeMap<(usize, usize), Vec<f64>>,
    /// By contender, in MB.
    peak: BTreeMap<usize, Vec<f64>>,
}

/// Runs the whole benchmark and prints it.
pub(super) fn run(arguments: lexopt::Parser) -> Result<(), TaskError> {
    let Some(plan) = parse(arguments)? else {
        println!("{USAGE}");
        return Ok(());
    };
    let folder = plan.place.join(format!("dhow-bench-registry-{}", std::process::id()));
    fs::create_dir_all(&folder).at("create", &folder)?;
    let result = measure(&plan, &folder);
    progress("");
    fs::remove_dir_all(&folder).at("remove", &folder)?;
    result
}

fn parse(mut arguments: lexopt::Parser) -> Result<Option<Plan>, TaskError> {
    let place = scratch("bench-registry")?;
    let mut plan =
        Plan { rounds: 5, large_mb: 500, small: 1000, place, program: release_dir().join("dhow") };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("rounds") => plan.rounds = arguments.value()?.parse()?,
            Long("large") => plan.large_mb = arguments.value()?.parse()?,
            Long("small") => plan.small = arguments.value()?.parse()?,
            Long("program") => plan.program = arguments.value()?.into(),
            Long("place") => plan.place = arguments.value()?.into(),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok((plan.rounds > 0 && plan.large_mb > 0 && plan.small > 0).then_some(plan))
}

fn measure(plan: &Plan, folder: &std::path::Path) -> Result<(), TaskError> {
    progress("bytes to push");
    let material = Material::make(plan.large_mb, plan.small, &folder.join("material"))?;
    let before = Weather::now();
    let mut series = Series::default();
    for number in 0..plan.rounds {
        for turn in 0..Kind::ALL.len() {
            let column = (turn + number) % Kind::ALL.len();
            progress(&format!("round {}: {}", number + 1, Kind::ALL[column].name()));
            round(column, plan, &material, folder, &mut series)?;
        }
    }
    progress("");
    println!("{} rounds, below {}", plan.rounds, plan.place.display());
    println!("{}", before.until(&Weather::now()));
    print!("{}", series.render(&material));
    Ok(())
}

/// One contender from its start to its end.
fn round(
    column: usize,
    plan: &Plan,
    material: &Material,
    folder: &std::path::Path,
    series: &mut Series,
) -> Result<(), TaskError> {
    let kind = Kind::ALL[column];
    let peer = Peer::start(kind, &plan.program, &folder.join("root"), material)?;
    for (row, action) in ACTIONS.iter().enumerate() {
        if kind == Kind::Loopback && !action.is_large() {
            continue;
        }
        let begun = peer.cpu_s();
        let wall = action.run(peer.address(), material).at("measure", kind.name())?;
        series.wall_s.entry((row, column)).or_default().push(wall.as_secs_f64());
        series.cpu_s.entry((row, column)).or_default().push(peer.cpu_s() - begun);
    }
    if let Some(peak) = peer.peak_mb() {
        series.peak.entry(column).or_default().push(peak);
    }
    peer.end()
}

impl Series {
    fn render(&self, material: &Material) -> String {
        let mut table = Columns::new([
            "action",
            "registry",
            "MB/s",
            "a second",
            "wall s",
            "quartiles",
            "cpu s",
            "speed ratio",
            "quartiles",
        ]);
        for (row, action) in ACTIONS.iter().enumerate() {
            for (column, kind) in Kind::ALL.iter().enumerate() {
                let Some(wall) = self.wall_s.get(&(row, column)) else { continue };
                table.push(self.row(row, column, *action, *kind, wall, material));
            }
        }
        for (column, kind) in Kind::ALL.iter().enumerate() {
            if let Some(peak) = self.peak.get(&column).and_then(|peaks| Summary::of(peaks)) {
                let most = format!("{:.0} MB", peak.median);
                table.push(["peak RSS", kind.name(), &most]);
            }
        }
        let first = Kind::ALL[0].name();
        format!("{}speed ratios are {first}'s to this one's, within a round\n", table.render())
    }

    fn row(
        &self,
        row: usize,
        column: usize,
        action: Action,
        kind: Kind,
        wall: &[f64],
        material: &Material,
    ) -> Vec<String> {
        let (count, bytes) = action.amount(material);
        let median = Summary::of(wall).map_or(f64::NAN, |summary| summary.median);
        let mut cells = vec![
            action.name().to_owned(),
            kind.name().to_owned(),
            format!("{:.0}", bytes as f64 / 1e6 / median),
            format!("{:.0}", count as f64 / median),
        ];
        cells.extend(summary(Summary::of(wall), 2));
        cells.extend(summary(Summary::of(&self.cpu_s[&(row, column)]), 1));
        if column > 0 {
            cells.extend(summary(Summary::of_ratios(wall, &self.wall_s[&(row, 0)]), 2));
        }
        cells
    }
}
