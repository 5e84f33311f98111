//! `cargo xtask bench engine`: what a container costs with an engine around it, beside docker and podman.
//!
//! Everything happens in network and mount namespaces of its own. Within a round the engines take turns at each
//! command, after an idle gap, as a user at a prompt meets it; crowds (a hundred containers) are measured once for
//! each engine, alone. Ratios are taken within a round. CPU time is that of client, daemon and all they start,
//! where it stays in their cgroup. Nothing here is a test.

mod crowd;
mod peer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lexopt::prelude::*;

pub(crate) use self::peer::{Kind, Peer};
use super::meter::Meter;
use super::statistics::Summary;
use super::{Weather, summary};
use crate::busybox;
use crate::columns::Columns;
use crate::images::{Network, alone};
use crate::leftover;
use crate::task::{At, TaskError, progress, read, run as run_command, workspace};

const USAGE: &str = "\
cargo xtask bench engine [--rounds N] [--gap MS] [--only NAME ...] [--crowd N]
  --rounds  rounds of single commands (30)
  --gap     the idle gap before each in milliseconds (50)
  --only    engines: dhow, docker, podman (repeatable; all; the first is compared with the others)
  --crowd   containers that are started at once and then run side by side; 0 leaves this out (100)";

/// What [`pack`] calls the image.
pub(crate) const IMAGE: &str = "bench:1";

struct Plan {
    rounds: usize,
    gap: Duration,
    kinds: Vec<Kind>,
    crowd: usize,
    inside: bool,
}

impl Plan {
    /// The command line of the run inside.
    fn words(&self) -> Vec<String> {
        let mut words = ["bench", "engine", "--inside"].map(str::to_owned).to_vec();
        words.push(format!("--rounds={}", self.rounds));
        words.push(format!("--gap={}", self.gap.as_millis()));
        words.push(format!("--crowd={}", self.crowd));
        words.extend(self.kinds.iter().map(|kind| format!("--only={}", kind.name())));
        words
    }
}

/// One command that is timed, in the order of a container's life: what one leaves the next one uses.
struct Action {
    name: &'static str,
    words: &'static [&'static str],
}

const ACTIONS: &[Action] = &[
    Action { name: "run --rm, none", words: &["run", "--rm", "--network=none", IMAGE, "true"] },
    Action { name: "run --rm, bridge", words: &["run", "--rm", IMAGE, "true"] },
    Action { name: "run -d, bridge", words: &["run", "-d", "--name=one", IMAGE, "sh", "-c", LOOP] },
    Action { name: "exec", words: &["exec", "one", "true"] },
    Action { name: "ps", words: &["ps"] },
    Action { name: "stop", words: &["stop", "one"] },
    Action { name: "start", words: &["start", "one"] },
    Action { name: "rm -f", words: &["rm", "-f", "one"] },
];

/// Ends when it is told to, as servers do.
const LOOP: &str = "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done";

/// Measured values, by what was done and by whom; one for each round.
#[derive(Default)]
struct Series {
    wall_ms: BTreeMap<(usize, usize), Vec<f64>>,
    cpu_ms: BTreeMap<(usize, usize), Vec<f64>>,
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
        for kind in &plan.kinds {
            kind.program()?;
        }
        return alone(&plan.words(), Network::Own);
    }
    let cgroup = format!("dhow-bench.{}", std::process::id());
    let dir = std::env::temp_dir().join(&cgroup);
    fs::create_dir_all(&dir).at("create", &dir)?;
    // Bridges forward: in this namespace, which nobody else is in.
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
    let gap = Duration::from_millis(50);
    let mut plan = Plan { rounds: 30, gap, kinds: Vec::new(), crowd: 100, inside: false };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("rounds") => plan.rounds = arguments.value()?.parse()?,
            Long("gap") => plan.gap = Duration::from_millis(arguments.value()?.parse()?),
            Long("crowd") => plan.crowd = arguments.value()?.parse()?,
            Long("inside") => plan.inside = true,
            Long("only") => {
                let Some(kind) = Kind::named(&arguments.value()?.string()?) else {
                    return Ok(None);
                };
                plan.kinds.push(kind);
            }
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if plan.kinds.is_empty() {
        plan.kinds = Kind::ALL.to_vec();
    }
    Ok(Some(plan))
}

fn measure(plan: &Plan, meter: &Meter, dir: &Path, cgroup: &str) -> Result<(), TaskError> {
    let archive = pack_busybox(dir)?;
    let mut peers = Vec::new();
    for kind in &plan.kinds {
        let peer = Peer::start(*kind, &dir.join(kind.name()), cgroup)?;
        run_command(
            peer.command(&["load"])?.stdin(fs::File::open(&archive).at("open", &archive)?),
        )?;
        let version = read(&mut peer.command(&["--version"])?)?;
        println!("{}: {}", kind.name(), version.trim());
        peers.push(peer);
    }
    let before = Weather::now();
    let mut series = Series::default();
    // One round to warm the caches, not counted.
    round(&peers, meter, plan.gap, 0, &mut Series::default())?;
    for number in 0..plan.rounds {
        progress(&format!("round {}", number + 1));
        round(&peers, meter, plan.gap, number, &mut series)?;
    }
    progress("");
    println!("\n{} rounds, {} ms idle before each", plan.rounds, plan.gap.as_millis());
    println!("{}", before.until(&Weather::now()));
    print!("{}", times(&peers, &series));
    if plan.crowd > 0 {
        print!("\n{}", crowd::measure(&peers, plan.crowd)?.render());
    }
    Ok(())
}

/// The host's busybox as an archive that every engine loads.
pub(crate) fn pack_busybox(dir: &Path) -> Result<PathBuf, TaskError> {
    let root = dir.join("root");
    fs::create_dir(&root).at("create", &root)?;
    busybox::make_rootfs(&root)?;
    pack(dir, &root)
}

/// A root as an archive of an image of one layer that every engine loads.
pub(crate) fn pack(dir: &Path, root: &Path) -> Result<PathBuf, TaskError> {
    let layer = dir.join("layer.tar");
    run_command(Command::new("tar").arg("-cf").arg(&layer).arg("-C").arg(root).arg("."))?;
    let digest = read(Command::new("sha256sum").arg(&layer))?;
    let digest = digest.split_whitespace().next().unwrap_or_default();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        // podman builds on nothing that has layers and no history.
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "bench" }],
    });
    let manifest = serde_json::json!([
        { "Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"] }
    ]);
    for (name, value) in [("config.json", &config), ("manifest.json", &manifest)] {
        let path = dir.join(name);
        fs::write(&path, value.to_string()).at("write", &path)?;
    }
    let archive = dir.join("image.tar");
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(&archive).arg("-C").arg(dir);
    run_command(tar.args(["manifest.json", "config.json", "layer.tar"]))?;
    Ok(archive)
}

fn round(
    peers: &[Peer],
    meter: &Meter,
    gap: Duration,
    number: usize,
    series: &mut Series,
) -> Result<(), TaskError> {
    for (row, action) in ACTIONS.iter().enumerate() {
        for step in 0..peers.len() {
            // Nobody is always the first.
            let column = (number + step) % peers.len();
            let peer = &peers[column];
            let mut command = match action.words.split_first() {
                Some((&"run", rest)) => peer.run(rest)?,
                _ => peer.command(action.words)?,
            };
            sleep(gap);
            let begun = meter.read();
            let wall = timed(&mut command, action.name, peer.kind)?;
            // What the command left to others is done during the gap: read after it.
            sleep(gap);
            let cpu = meter.read().saturating_sub(begun);
            series.wall_ms.entry((row, column)).or_default().push(wall.as_secs_f64() * 1e3);
            series.cpu_ms.entry((row, column)).or_default().push(cpu.as_secs_f64() * 1e3);
        }
    }
    Ok(())
}

/// How long a command that must succeed takes.
pub(super) fn timed(command: &mut Command, what: &str, kind: Kind) -> Result<Duration, TaskError> {
    let begun = Instant::now();
    let output = command.stderr(Stdio::piped()).output().at("start", kind.name())?;
    let wall = begun.elapsed();
    if output.status.success() {
        return Ok(wall);
    }
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    let line = format!("{what} of {}", kind.name());
    Err(TaskError::Program { line, code: output.status.code() })
}

fn times(peers: &[Peer], series: &Series) -> String {
    let mut table = Columns::new([
        "command",
        "engine",
        "wall ms",
        "quartiles",
        "p90",
        "cpu ms",
        "quartiles",
        "p90",
        "wall ratio",
        "quartiles",
        "p90",
    ]);
    for (row, action) in ACTIONS.iter().enumerate() {
        for (column, peer) in peers.iter().enumerate() {
            let Some(wall) = series.wall_ms.get(&(row, column)) else { continue };
            let mut cells = vec![action.name.to_owned(), peer.kind.name().to_owned()];
            cells.extend(summary(Summary::of(wall), 3));
            cells.extend(summary(Summary::of(&series.cpu_ms[&(row, column)]), 3));
            if column > 0 {
                cells.extend(summary(Summary::of_ratios(&series.wall_ms[&(row, 0)], wall), 3));
            }
            table.push(cells);
        }
    }
    let first = peers.first().map_or("", |peer| peer.kind.name());
    format!("{}ratios are {first} / this engine, within a round\n", table.render())
}
