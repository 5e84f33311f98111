//! `cargo xtask bench network`: what containers' networks carry and cost, beside docker and podman.
//!
//! Each engine is the host of a network namespace of its own, with the world at the other end of a pair of devices,
//! so that no engine's rules are in another's way. Within a round they take turns at each line, after an idle gap;
//! ratios are taken within a round. Nothing here is a test.

mod load;
mod place;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use lexopt::prelude::*;

use self::load::{STREAM_PORT, WEB_PORT};
use self::place::{HOST, Place};
use super::engine::{IMAGE, Kind, Peer, pack, timed};
use super::statistics::Summary;
use super::{Weather, summary};
use crate::columns::Columns;
use crate::images::{Network, alone};
use crate::leftover;
use crate::task::{At, TaskError, progress, read, run as run_command, workspace};

const USAGE: &str = "\
cargo xtask bench network [--rounds N] [--seconds N] [--ports N] [--only NAME ...] [--built]
  --rounds   how often each line is measured (10)
  --seconds  how long each stream lasts (2)
  --ports    how many ports are published at once (1000); 0 leaves this out
  --only     engines: dhow, docker, podman (repeatable; all; the first is compared with the others)
  --built    measure the program that is there, without building it";

/// Before each line.
const GAP: Duration = Duration::from_millis(50);
/// Where the servers are published on the host.
const STREAM_PUBLISHED: u16 = 15201;
const WEB_PUBLISHED: u16 = 18080;
const MANY_FIRST: usize = 20000;

struct Plan {
    rounds: usize,
    seconds: u64,
    ports: usize,
    kinds: Vec<Kind>,
    built: bool,
    inside: bool,
}

/// An engine with its servers running, in its own network.
struct Stage {
    peer: Peer,
    host: Place,
    world: Place,
    server: String,
    root: PathBuf,
}

/// What is measured: which way is better, and the figure of one round.
struct Line {
    name: &'static str,
    unit: &'static str,
    is_more_better: bool,
    measure: fn(&Stage, &Plan) -> Result<f64, TaskError>,
}

const fn more(
    name: &'static str,
    unit: &'static str,
    measure: fn(&Stage, &Plan) -> Result<f64, TaskError>,
) -> Line {
    Line { name, unit, is_more_better: true, measure }
}

const fn less(
    name: &'static str,
    unit: &'static str,
    measure: fn(&Stage, &Plan) -> Result<f64, TaskError>,
) -> Line {
    Line { name, unit, is_more_better: false, measure }
}

const LINES: &[Line] = &[
    more("container to container", "Gbit/s", |stage, plan| {
        let mut words = vec!["exec".to_owned(), "client".to_owned(), "/usr/bin/iperf3".to_owned()];
        words.extend(load::stream_words(&stage.server, STREAM_PORT, plan.seconds));
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        stage.host.enter()?;
        load::stream(&mut stage.peer.command(&words)?)
    }),
    more("host to 127.0.0.1", "Gbit/s", |stage, plan| {
        stage.host.enter()?;
        stage.stream("127.0.0.1", plan)
    }),
    more("host to [::1]", "Gbit/s", |stage, plan| {
        stage.host.enter()?;
        stage.stream("::1", plan)
    }),
    more("outside to published", "Gbit/s", |stage, plan| {
        stage.world.enter()?;
        stage.stream(HOST, plan)
    }),
    more("connections, 127.0.0.1", "/s", |stage, plan| {
        stage.host.enter()?;
        Ok(stage.rate("127.0.0.1", plan)?.per_second)
    }),
    more("connections, outside", "/s", |stage, plan| {
        stage.world.enter()?;
        Ok(stage.rate(HOST, plan)?.per_second)
    }),
    less("latency, outside, median", "us", |stage, plan| {
        stage.world.enter()?;
        Ok(stage.rate(HOST, plan)?.median_us)
    }),
    less("latency, outside, p99", "us", |stage, plan| {
        stage.world.enter()?;
        Ok(stage.rate(HOST, plan)?.p99_us)
    }),
    less("run --rm, none", "ms", |stage, _| stage.run(&["--rm", "--network=none", IMAGE, "true"])),
    less("run --rm, bridge", "ms", |stage, _| stage.run(&["--rm", IMAGE, "true"])),
    less("bridge over none", "ms", |stage, _| {
        let none = stage.run(&["--rm", "--network=none", IMAGE, "true"])?;
        sleep(GAP);
        Ok(stage.run(&["--rm", IMAGE, "true"])? - none)
    }),
];

/// Runs the whole benchmark and prints it.
pub(super) fn run(arguments: lexopt::Parser) -> Result<(), TaskError> {
    let Some(plan) = parse(arguments)? else {
        println!("{USAGE}");
        return Ok(());
    };
    if !plan.inside {
        if !plan.built {
            let mut cargo = Command::new("cargo");
            run_command(cargo.args(["build", "--release", "-p", "dhow"]).current_dir(workspace()))?;
        }
        for kind in &plan.kinds {
            kind.program()?;
        }
        // Inside nothing can be fetched.
        load::servers()?;
        return alone(&plan.words(), Network::Own);
    }
    let cgroup = format!("dhow-bench.{}", std::process::id());
    let dir = std::env::temp_dir().join(&cgroup);
    fs::create_dir_all(&dir).at("create", &dir)?;
    let result = measure(&plan, &dir, &cgroup);
    progress("");
    leftover::remove_cgroups(&[cgroup]);
    let removed = fs::remove_dir_all(&dir).at("remove", &dir);
    result.and(removed)
}

fn parse(mut arguments: lexopt::Parser) -> Result<Option<Plan>, TaskError> {
    let kinds = Vec::new();
    let mut plan = Plan { rounds: 10, seconds: 2, ports: 1000, kinds, built: false, inside: false };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("rounds") => plan.rounds = arguments.value()?.parse()?,
            Long("seconds") => plan.seconds = arguments.value()?.parse()?,
            Long("ports") => plan.ports = arguments.value()?.parse()?,
            Long("built") => plan.built = true,
            Long("inside") => plan.inside = true,
            Long("only") => match Kind::named(&arguments.value()?.string()?) {
                Some(kind) => plan.kinds.push(kind),
                None => return Ok(None),
            },
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if plan.kinds.is_empty() {
        plan.kinds = Kind::ALL.to_vec();
    }
    Ok(Some(plan))
}

impl Plan {
    /// The command line of the run inside.
    fn words(&self) -> Vec<String> {
        let mut words = ["bench", "network", "--inside"].map(str::to_owned).to_vec();
        words.push(format!("--rounds={}", self.rounds));
        words.push(format!("--seconds={}", self.seconds));
        words.push(format!("--ports={}", self.ports));
        words.extend(self.kinds.iter().map(|kind| format!("--only={}", kind.name())));
        words
    }
}

fn measure(plan: &Plan, dir: &Path, cgroup: &str) -> Result<(), TaskError> {
    let root = dir.join("root");
    fs::create_dir(&root).at("create", &root)?;
    load::make_root(&root)?;
    let archive = pack(dir, &root)?;
    let mut stages = Vec::new();
    for kind in &plan.kinds {
        progress(kind.name());
        let stage = Stage::set(*kind, &dir.join(kind.name()), cgroup, &archive, &root)?;
        println!("{}: {}", kind.name(), read(&mut stage.peer.command(&["--version"])?)?.trim());
        stages.push(stage);
    }
    let before = Weather::now();
    let mut values = vec![vec![Vec::new(); stages.len()]; LINES.len()];
    for round in 0..plan.rounds {
        progress(&format!("round {}", round + 1));
        for (row, line) in LINES.iter().enumerate() {
            for step in 0..stages.len() {
                // Nobody is always the first.
                let column = (round + step) % stages.len();
                sleep(GAP);
                match (line.measure)(&stages[column], plan) {
                    Ok(value) => values[row][column].push(value),
                    // What an engine does not have is no line of its own.
                    Err(error) => {
                        progress("");
                        eprintln!("{}, {}: {error}", line.name, stages[column].peer.kind.name());
                    }
                }
            }
        }
    }
    progress("");
    println!("\n{} rounds, {} s a stream", plan.rounds, plan.seconds);
    println!("{}", before.until(&Weather::now()));
    print!("{}", told(&stages, &values));
    if plan.ports > 0 {
        for stage in &stages {
            progress(&format!("{} ports of {}", plan.ports, stage.peer.kind.name()));
            let more = stage.many_ports(plan.ports)?;
            println!("{}: {} ports published in {more:.1} ms", stage.peer.kind.name(), plan.ports);
        }
    }
    Ok(())
}

impl Stage {
    /// Starts an engine, and the servers in it.
    fn set(
        kind: Kind,
        dir: &Path,
        cgroup: &str,
        archive: &Path,
        root: &Path,
    ) -> Result<Self, TaskError> {
        let (host, world) = Place::host_and_world()?;
        host.enter()?;
        let peer = Peer::start(kind, dir, cgroup)?;
        let input = fs::File::open(archive).at("open", archive)?;
        run_command(peer.command(&["load", "--quiet"])?.stdin(input))?;
        let ports = [
            format!("-p={STREAM_PUBLISHED}:{STREAM_PORT}"),
            format!("-p={WEB_PUBLISHED}:{WEB_PORT}"),
        ];
        let [stream, web] = ports.each_ref().map(String::as_str);
        let words = ["-d", "--name=server", stream, web, IMAGE, "sh", "-c", load::SERVE];
        let mut stage = Self { peer, host, world, server: String::new(), root: root.to_owned() };
        read(&mut stage.peer.run(&words)?)?;
        read(&mut stage.peer.run(&["-d", "--name=client", IMAGE, "sleep", "100000"])?)?;
        let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let server = read(&mut stage.peer.command(&["inspect", "-f", address, "server"])?)?;
        server.trim().clone_into(&mut stage.server);
        load::wait(address_of("127.0.0.1"), WEB_PUBLISHED)?;
        stage.world.enter()?;
        load::wait(address_of(HOST), WEB_PUBLISHED)?;
        Ok(stage)
    }

    /// From where this process is to the published port.
    fn stream(&self, to: &str, plan: &Plan) -> Result<f64, TaskError> {
        let words = load::stream_words(to, STREAM_PUBLISHED, plan.seconds);
        load::stream(load::stream_client(&self.root)?.args(words))
    }

    fn rate(&self, to: &str, plan: &Plan) -> Result<load::Rate, TaskError> {
        load::connections(address_of(to), WEB_PUBLISHED, Duration::from_secs(plan.seconds))
    }

    /// Milliseconds that `run` with these words takes.
    fn run(&self, words: &[&str]) -> Result<f64, TaskError> {
        self.host.enter()?;
        let wall = timed(&mut self.peer.run(words)?, "run", self.peer.kind)?;
        Ok(wall.as_secs_f64() * 1e3)
    }

    /// Milliseconds by which a container starts later for its published ports.
    fn many_ports(&self, count: usize) -> Result<f64, TaskError> {
        let last = MANY_FIRST + count - 1;
        let ports = format!("-p={MANY_FIRST}-{last}:{MANY_FIRST}-{last}");
        let without = self.run(&["-d", "--name=none", IMAGE, "sleep", "100000"])?;
        let with = self.run(&["-d", "--name=many", &ports, IMAGE, "sleep", "100000"])?;
        Ok(with - without)
    }

    /// Takes its containers away.
    fn end(&self) -> Result<(), TaskError> {
        self.host.enter()?;
        let all = read(&mut self.peer.command(&["ps", "-a", "-q"])?)?;
        let mut words = vec!["rm", "-f"];
        words.extend(all.lines());
        read(&mut self.peer.command(&words)?).map(drop)
    }
}

impl Drop for Stage {
    /// Containers outlive the end of an engine.
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn address_of(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn told(stages: &[Stage], values: &[Vec<Vec<f64>>]) -> String {
    let heads =
        ["line", "engine", "unit", "median", "quartiles", "p90", "ratio", "quartiles", "p90"];
    let mut table = Columns::new(heads);
    for (line, all) in LINES.iter().zip(values) {
        for (column, (stage, own)) in stages.iter().zip(all).enumerate() {
            let mut cells =
                [line.name, stage.peer.kind.name(), line.unit].map(str::to_owned).to_vec();
            cells.extend(summary(Summary::of(own), 3));
            if column > 0 {
                let (ours, theirs) = match line.is_more_better {
                    true => (own, &all[0]),
                    false => (&all[0], own),
                };
                cells.extend(summary(Summary::of_ratios(ours, theirs), 3));
            }
            table.push(cells);
        }
    }
    let first = stages.first().map_or("", |stage| stage.peer.kind.name());
    format!("{}below 1 the ratio is in favour of {first}\n", table.render())
}
