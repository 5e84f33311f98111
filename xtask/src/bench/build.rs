//! `cargo xtask bench build`: what a build costs, beside docker's two builders and podman's.
//!
//! Fifteen instructions over a context of 10,000 files and 100 MB, three times in a row in each round: with nothing
//! remembered, with everything as it was, and with one small file changed. What builders remember is removed before
//! a round; the engines take turns, nobody is always the first. Everything happens in network and mount namespaces
//! of its own, with images that are here. Nothing here is a test.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lexopt::prelude::*;

use super::engine::{Kind, Peer, pack_busybox};
use super::meter::Meter;
use super::statistics::Summary;
use super::{Weather, summary};
use crate::columns::Columns;
use crate::images::{Network, alone};
use crate::leftover;
use crate::task::{At, TaskError, progress, read, run as run_command, workspace};

const USAGE: &str = "\
cargo xtask bench build [--rounds N] [--only NAME ...] [--files N]
  --rounds  rounds (10)
  --only    builders: dhow, docker, buildkit, podman (repeatable; all; the first is compared with the others)
  --files   files of the context, 10 KB each (10000)";

const FILE_BYTES: usize = 10_000;
const FILES_PER_DIRECTORY: usize = 100;
/// For what a build leaves to others.
const SETTLE: Duration = Duration::from_millis(500);

/// A builder: an engine, and whether BuildKit is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Builder {
    name: &'static str,
    kind: Kind,
    buildkit: bool,
}

const BUILDERS: [Builder; 4] = [
    Builder { name: "dhow", kind: Kind::Dhow, buildkit: false },
    Builder { name: "docker", kind: Kind::Docker, buildkit: false },
    Builder { name: "buildkit", kind: Kind::Docker, buildkit: true },
    Builder { name: "podman", kind: Kind::Podman, buildkit: false },
];

/// What is measured, in its order.
const ACTIONS: [&str; 3] = ["cold", "cached", "one file changed"];

const DOCKERFILE: &str = "\
FROM bench:1
ENV A=1 B=2
ARG MODE=fast
WORKDIR /app
COPY . /app/src
RUN cat /app/src/0/0 >/app/first
RUN find /app/src -type f | wc -l >/app/count
ENV C=$MODE
COPY 1 /app/one/
RUN echo done >/app/done
LABEL stage=bench
EXPOSE 8080
USER 0
VOLUME /data
CMD [\"sh\"]
";

struct Plan {
    rounds: usize,
    builders: Vec<Builder>,
    files: usize,
    inside: bool,
}

impl Plan {
    /// The command line of the run inside.
    fn words(&self) -> Vec<String> {
        let mut words = ["bench", "build", "--inside"].map(str::to_owned).to_vec();
        words.push(format!("--rounds={}", self.rounds));
        words.push(format!("--files={}", self.files));
        words.extend(self.builders.iter().map(|one| format!("--only={}", one.name)));
        words
    }
}

/// Measured values, by what was done and by whom; one for each round.
#[derive(Default)]
struct Series {
    wall_s: BTreeMap<(usize, usize), Vec<f64>>,
    cpu_s: BTreeMap<(usize, usize), Vec<f64>>,
}

/// Runs the whole benchmark and prints it.
pub(super) fn run(arguments: lexopt::Parser) -> Result<(), TaskError> {
    let Some(plan) = parse(arguments)? else {
        println!("{USAGE}");
        return Ok(());
    };
    if !plan.inside {
        let mut cargo = Command::new("cargo");
        run_command(cargo.args(["build", "--release", "-p", "dhow"]).current_dir(workspace()))?;
        for builder in &plan.builders {
            builder.kind.program()?;
        }
        return alone(&plan.words(), Network::Own);
    }
    let cgroup = format!("dhow-bench.{}", std::process::id());
    let dir = std::env::temp_dir().join(&cgroup);
    fs::create_dir_all(&dir).at("create", &dir)?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").at("write", "ip_forward")?;
    let meter = Meter::enter(&cgroup)?;
    let result = measure(&plan, &meter, &dir, &cgroup);
    meter.leave()?;
    progress("");
    leftover::remove_cgroups(&[cgroup]);
    fs::remove_dir_all(&dir).at("remove", &dir)?;
    result
}

fn parse(mut arguments: lexopt::Parser) -> Result<Option<Plan>, TaskError> {
    let mut plan = Plan { rounds: 10, builders: Vec::new(), files: 10_000, inside: false };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("rounds") => plan.rounds = arguments.value()?.parse()?,
            Long("files") => plan.files = arguments.value()?.parse()?,
            Long("inside") => plan.inside = true,
            Long("only") => {
                let name = arguments.value()?.string()?;
                let Some(one) = BUILDERS.into_iter().find(|one| one.name == name) else {
                    return Ok(None);
                };
                plan.builders.push(one);
            }
            Long("help") | Short('h') => return Ok(None),
            Value(word) if word == "build" => {}
            other => return Err(other.unexpected().into()),
        }
    }
    if plan.builders.is_empty() {
        plan.builders = BUILDERS.to_vec();
    }
    Ok((plan.rounds > 0 && plan.files > 2 * FILES_PER_DIRECTORY).then_some(plan))
}

fn measure(plan: &Plan, meter: &Meter, dir: &Path, cgroup: &str) -> Result<(), TaskError> {
    let archive = pack_busybox(dir)?;
    let context = dir.join("context");
    write_context(&context, plan.files)?;
    let mut peers = Vec::new();
    for builder in &plan.builders {
        let peer = Peer::start(builder.kind, &dir.join(builder.name), cgroup)?;
        let input = fs::File::open(&archive).at("open", &archive)?;
        run_command(peer.command(&["load"])?.stdin(input))?;
        let version = read(&mut peer.command(&["--version"])?)?;
        println!("{}: {}", builder.name, version.trim());
        peers.push(peer);
    }
    let before = Weather::now();
    let mut series = Series::default();
    for number in 0..plan.rounds {
        for step in 0..peers.len() {
            let column = (number + step) % peers.len();
            let (builder, peer) = (plan.builders[column], &peers[column]);
            progress(&format!("round {}, {}", number + 1, builder.name));
            forget(builder, peer)?;
            for row in 0..ACTIONS.len() {
                if row == 2 {
                    let text = format!("changed in round {number} for {}\n", builder.name);
                    fs::write(context.join("1/0"), text).at("write", &context)?;
                }
                run_command(&mut Command::new("sync"))?;
                sleep(SETTLE);
                let cpu = meter.read();
                let wall = build(builder, peer, &context)?;
                sleep(SETTLE);
                let cpu = meter.read().saturating_sub(cpu);
                series.wall_s.entry((row, column)).or_default().push(wall.as_secs_f64());
                series.cpu_s.entry((row, column)).or_default().push(cpu.as_secs_f64());
            }
        }
    }
    progress("");
    println!("\n{} rounds, {} files of {FILE_BYTES} bytes", plan.rounds, plan.files);
    println!("{}", before.until(&Weather::now()));
    print!("{}", series.render(&plan.builders));
    Ok(())
}

/// Files that do not compress to nothing, in directories of a hundred.
fn write_context(place: &Path, files: usize) -> Result<(), TaskError> {
    let mut state = 1_u64;
    for number in 0..files {
        let directory = place.join((number / FILES_PER_DIRECTORY).to_string());
        fs::create_dir_all(&directory).at("create", &directory)?;
        let mut bytes = Vec::with_capacity(FILE_BYTES);
        while bytes.len() < FILE_BYTES {
            // A small generator of numbers is enough.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.extend_from_slice(format!("{:x} ", state >> 33).as_bytes());
        }
        bytes.truncate(FILE_BYTES);
        let path = directory.join((number % FILES_PER_DIRECTORY).to_string());
        fs::write(&path, bytes).at("write", &path)?;
    }
    let path = place.join("Dockerfile");
    fs::write(&path, DOCKERFILE).at("write", &path)
}

/// Removes what the builder remembers, and what it built.
fn forget(builder: Builder, peer: &Peer) -> Result<(), TaskError> {
    // Of what is not there nothing need be said.
    let quiet = |words: &[&str]| -> Result<(), TaskError> {
        let mut command = peer.command(words)?;
        let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        ended.map(drop).at("start", builder.name)
    };
    quiet(&["rmi", "-f", "bench-built"])?;
    match builder.kind {
        Kind::Podman => quiet(&["image", "prune", "-f"])?,
        Kind::Dhow | Kind::Docker => {
            quiet(&["builder", "prune", "-af"])?;
            quiet(&["image", "prune", "-f"])?;
        }
    }
    Ok(())
}

fn build(builder: Builder, peer: &Peer, context: &Path) -> Result<Duration, TaskError> {
    let mut words = vec!["build", "-q", "-t", "bench-built"];
    if builder.kind == Kind::Podman {
        // Its own choice is to remember nothing, and this host's hard limits are below what it asks for.
        words.extend(["--layers", "--network=none"]);
        words.extend(["--ulimit", "nofile=1024:20000", "--ulimit", "nproc=4096:4096"]);
    }
    let place = context.display().to_string();
    words.push(&place);
    let mut command = peer.command(&words)?;
    command.env("DOCKER_BUILDKIT", if builder.buildkit { "1" } else { "0" });
    let begun = Instant::now();
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.at("start", builder.name)?;
    let wall = begun.elapsed();
    if output.status.success() {
        return Ok(wall);
    }
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    let line = format!("build of {}", builder.name);
    Err(TaskError::Program { line, code: output.status.code() })
}

impl Series {
    fn render(&self, builders: &[Builder]) -> String {
        let mut table = Columns::new([
            "build",
            "builder",
            "wall s",
            "quartiles",
            "p90",
            "cpu s",
            "quartiles",
            "p90",
            "wall ratio",
            "quartiles",
            "p90",
            "cpu ratio",
            "quartiles",
        ]);
        for (row, action) in ACTIONS.iter().enumerate() {
            for (column, builder) in builders.iter().enumerate() {
                let Some(wall) = self.wall_s.get(&(row, column)) else { continue };
                let cpu = &self.cpu_s[&(row, column)];
                let mut cells = vec![(*action).to_owned(), builder.name.to_owned()];
                cells.extend(summary(Summary::of(wall), 3));
                cells.extend(summary(Summary::of(cpu), 3));
                if column > 0 {
                    cells.extend(summary(Summary::of_ratios(&self.wall_s[&(row, 0)], wall), 3));
                    cells.extend(summary(Summary::of_ratios(&self.cpu_s[&(row, 0)], cpu), 2));
                }
                table.push(cells);
            }
        }
        let first = builders.first().map_or("", |builder| builder.name);
        format!("{}ratios are {first} / this builder, within a round\n", table.render())
    }
}
