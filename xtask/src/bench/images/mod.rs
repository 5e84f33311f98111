//! `cargo xtask bench images`: what it costs to move images, beside docker, podman and containerd's `ctr`.
//!
//! Everything happens in a network namespace of its own, with two of Debian's registries on its loopback: one to
//! pull from, and an empty one to push to. Within a round the engines take turns at each operation, each in
//! folders that nobody had before: what is left of earlier ones is removed between rounds only, because ext4
//! makes files slowly for a while after many were removed. The floor is the same bytes through `pigz` and `tar`.
//! CPU time is that of client, daemon and all they start; the registry's is not counted. Nothing here is a test.

mod material;
mod peer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lexopt::prelude::*;

use self::material::Material;
pub(crate) use self::peer::docker_dir;
use self::peer::{Kind, Peer};
use super::meter::Meter;
use super::statistics::Summary;
use super::{Weather, summary};
use crate::columns::Columns;
use crate::images::{Build, Network, Registry, alone};
use crate::leftover;
use crate::task::{At, TaskError, find_program, progress, read, run as run_command};

const USAGE: &str = "\
cargo xtask bench images [--rounds N] [--only NAME ...] [--image NAME]
  --rounds  rounds (5)
  --only    engines: dhow, docker, podman, ctr (repeatable; all; the first is compared with the others)
  --image   large (one layer of 528 MB) or many (20 layers of 24 MB, about half of that packed); both";

/// After what was removed is gone for good.
const REST: Duration = Duration::from_secs(8);
/// For what a command leaves to others.
const SETTLE: Duration = Duration::from_millis(300);
const FLOOR: &str = "pigz | tar";

struct Plan {
    rounds: usize,
    kinds: Vec<Kind>,
    image: Option<String>,
    inside: bool,
}

impl Plan {
    /// The command line of the run inside.
    fn words(&self) -> Vec<String> {
        let mut words = ["bench", "images", "--inside"].map(str::to_owned).to_vec();
        words.push(format!("--rounds={}", self.rounds));
        words.extend(self.kinds.iter().map(|kind| format!("--only={}", kind.name())));
        words.extend(self.image.iter().map(|image| format!("--image={image}")));
        words
    }
}

/// Measured values, by what was done and by whom; one for each round.
#[derive(Default)]
struct Series {
    wall_s: BTreeMap<(String, String), Vec<f64>>,
    cpu_s: BTreeMap<(String, String), Vec<f64>>,
    peak_mb: BTreeMap<(String, String), Vec<f64>>,
}

/// What all measurements need.
struct Bench<'a> {
    dir: PathBuf,
    meter: &'a Meter,
    source: &'a Registry,
    sink: &'a Registry,
    series: Series,
}

/// Runs the whole benchmark and prints it.
pub(crate) fn run(arguments: lexopt::Parser) -> Result<(), TaskError> {
    let Some(plan) = parse(arguments)? else {
        println!("{USAGE}");
        return Ok(());
    };
    if !plan.inside {
        Build::Release.run()?;
        Material::all()?;
        for kind in &plan.kinds {
            kind.program()?;
        }
        return alone(&plan.words(), Network::Own);
    }
    let mut material = Material::all()?;
    material.retain(|one| plan.image.as_deref().is_none_or(|name| name == one.name));
    let registry = || Registry::start("bench images", None);
    let (Some(source), Some(sink)) = (registry(), registry()) else {
        let remedy = "apt-get install docker-registry";
        return Err(TaskError::Absent { what: "docker-registry", remedy });
    };
    for one in &material {
        let to = format!("docker://{}", source.name(&format!("{}:1", one.name)));
        let mut copy = Command::new("skopeo");
        run_command(copy.args(["copy", "--quiet", "--dest-tls-verify=false", &one.source(), &to]))?;
    }
    let cgroup = format!("dhow-bench.{}", std::process::id());
    let meter = Meter::enter(&cgroup)?;
    // Podman wants short paths.
    let dir = std::env::temp_dir().join(&cgroup);
    let bench = Bench {
        dir: dir.clone(),
        meter: &meter,
        source: &source,
        sink: &sink,
        series: Series::default(),
    };
    let before = Weather::now();
    let result = bench.rounds(&plan, &material);
    meter.leave()?;
    leftover::remove_cgroups(&[cgroup]);
    progress("");
    let series = result?;
    print_head(&material)?;
    println!("{} rounds; {}", plan.rounds, before.until(&Weather::now()));
    print!("{}", series.render(&plan));
    fs::remove_dir_all(&dir).at("remove", &dir)
}

fn parse(mut arguments: lexopt::Parser) -> Result<Option<Plan>, TaskError> {
    let mut plan = Plan { rounds: 5, kinds: Vec::new(), image: None, inside: false };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("rounds") => plan.rounds = arguments.value()?.parse()?,
            Long("image") => plan.image = Some(arguments.value()?.string()?),
            Long("inside") => plan.inside = true,
            Long("only") => {
                let name = arguments.value()?.string()?;
                let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == name) else {
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
    Ok((plan.rounds > 0).then_some(plan))
}

impl Bench<'_> {
    fn rounds(mut self, plan: &Plan, material: &[Material]) -> Result<Series, TaskError> {
        for number in 0..plan.rounds {
            for one in material {
                let dir = self.dir.join(format!("{number}-{}", one.name));
                progress(&format!("round {}, {}", number + 1, one.name));
                // Nobody is always the first.
                let mut kinds = plan.kinds.clone();
                kinds.rotate_left(number % plan.kinds.len());
                let result = self.round(one, &kinds, &dir);
                fs::remove_dir_all(&dir).at("remove", &dir)?;
                result?;
                run_command(&mut Command::new("sync"))?;
                sleep(REST);
            }
        }
        Ok(self.series)
    }

    fn round(&mut self, one: &Material, kinds: &[Kind], dir: &Path) -> Result<(), TaskError> {
        fs::create_dir_all(dir).at("create", dir)?;
        let start = |place: &str| {
            let peers =
                kinds.iter().map(|kind| Peer::start(*kind, &dir.join(place).join(kind.name())));
            peers.collect::<Result<Vec<_>, _>>()
        };
        let name = self.source.name(&format!("{}:1", one.name));
        let pushed = self.sink.name(&format!("{}:1", one.name));
        self.floor(one, dir)?;
        let peers = start("first")?;
        for peer in &peers {
            peer.forget_peak();
            let peak = self.time(&format!("pull {}", one.name), peer, &mut peer.pull(&name)?)?;
            let key = (format!("pull {}", one.name), peer.kind.name().to_owned());
            // A daemon's client is small, and not there when the daemon is at its peak.
            let kib = peer.peak_kib().max(peak);
            self.series.peak_mb.entry(key).or_default().push(kib as f64 / 1024.0);
        }
        for peer in &peers {
            run_command(peer.tag(&name, &pushed)?.stderr(Stdio::null()))?;
            self.time(&format!("push {}", one.name), peer, &mut peer.push(&pushed)?)?;
            self.empty_sink(dir, peer.kind)?;
        }
        let archive = |peer: &Peer| dir.join(format!("{}.tar", peer.kind.name()));
        for peer in &peers {
            let mut save = peer.save(&name, &archive(peer))?;
            self.time(&format!("save {}", one.name), peer, &mut save)?;
        }
        drop(peers);
        for peer in &start("second")? {
            let mut load = peer.load(&archive(peer))?;
            self.time(&format!("load {}", one.name), peer, &mut load)?;
        }
        Ok(())
    }

    /// Runs a command of an engine; gives the command's own most memory in KiB.
    fn time(&mut self, what: &str, peer: &Peer, command: &mut Command) -> Result<u64, TaskError> {
        self.time_of(what, peer.kind.name(), command)
    }

    fn time_of(&mut self, what: &str, who: &str, command: &mut Command) -> Result<u64, TaskError> {
        progress(&format!("{what}: {who}"));
        // Whoever makes sure that his files are on disk must not pay for those of the one before.
        run_command(&mut Command::new("sync"))?;
        sleep(SETTLE);
        let cpu = self.meter.read();
        let begun = Instant::now();
        let mut child = command.stderr(Stdio::piped()).spawn().at("start", who)?;
        let peak = wait_with_peak(&mut child)?;
        let wall = begun.elapsed();
        sleep(SETTLE);
        let cpu = self.meter.read().saturating_sub(cpu);
        let key = (what.to_owned(), who.to_owned());
        self.series.wall_s.entry(key.clone()).or_default().push(wall.as_secs_f64());
        self.series.cpu_s.entry(key).or_default().push(cpu.as_secs_f64());
        Ok(peak)
    }

    /// The layers, unpacked by those who do nothing else.
    fn floor(&mut self, one: &Material, dir: &Path) -> Result<(), TaskError> {
        if find_program("pigz").is_none() {
            return Ok(());
        }
        let place = dir.join("floor");
        fs::create_dir_all(&place).at("create", &place)?;
        let blobs = one.blobs()?;
        let mut command = Command::new("sh");
        // Recent pigz inflates in one thread and reads and writes in others, as good as it gets.
        let script = "for blob; do mkdir \"${blob##*/}\" && pigz -dc \"$blob\" | \
            tar -x --numeric-owner -C \"${blob##*/}\" || exit; done";
        command.args(["-c", script, "floor"]).args(blobs).current_dir(&place);
        self.time_of(&format!("pull {}", one.name), FLOOR, &mut command).map(drop)
    }

    /// What was pushed is put aside: many files removed now would slow down those who come next.
    fn empty_sink(&self, dir: &Path, kind: Kind) -> Result<(), TaskError> {
        let kept = self.sink.folder.join("docker");
        let aside = dir.join(format!("pushed-{}", kind.name()));
        run_command(Command::new("mv").arg(&kept).arg(&aside))
    }
}

/// Waits for a command that must succeed; its most memory in KiB, or that of the largest that it waited for.
fn wait_with_peak(child: &mut std::process::Child) -> Result<u64, TaskError> {
    let mut said = String::new();
    let pid = child.id();
    if let Some(mut stderr) = child.stderr.take() {
        // It is read to its end before the process is waited for, so the peak is read on the way.
        let mut peak = 0;
        let status = format!("/proc/{pid}/status");
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| std::io::Read::read_to_string(&mut stderr, &mut said));
            while !reading.is_finished() {
                peak = peak.max(high_water(&status));
                sleep(Duration::from_millis(5));
            }
        });
        let status = child.wait().at("wait for", "a command")?;
        if status.success() {
            return Ok(peak);
        }
        eprint!("{said}");
        return Err(TaskError::Program {
            line: "an engine's command".to_owned(),
            code: status.code(),
        });
    }
    child.wait().at("wait for", "a command")?;
    Ok(0)
}

fn high_water(status: &str) -> u64 {
    let text = fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn print_head(material: &[Material]) -> Result<(), TaskError> {
    for one in material {
        let blobs = one.blobs()?;
        let sizes = blobs.iter().map(|blob| fs::metadata(blob).map(|it| it.len()));
        let sizes: Vec<u64> = sizes.collect::<Result<_, _>>().at("look at", "a layer")?;
        let megabytes = sizes.iter().sum::<u64>() as f64 / 1e6;
        println!("{}: {} layers, {megabytes:.0} MB packed", one.name, sizes.len());
    }
    for kind in [Kind::Docker, Kind::Podman, Kind::Ctr] {
        let version = read(Command::new(kind.program()?).arg("--version"))?;
        println!("{}: {}", kind.name(), version.trim());
    }
    Ok(())
}

impl Series {
    fn render(&self, plan: &Plan) -> String {
        let head = [
            "what",
            "who",
            "wall s",
            "quartiles",
            "cpu s",
            "quartiles",
            "wall ratio",
            "quartiles",
            "cpu ratio",
            "quartiles",
            "peak MB",
        ];
        let mut table = Columns::new(head);
        let first = plan.kinds[0].name();
        let mut keys: Vec<_> = self.wall_s.keys().collect();
        let order = ["pull", "push", "save", "load"];
        let place = |what: &str| order.iter().position(|word| what.starts_with(word));
        let name = |who: &str| Kind::ALL.iter().position(|kind| kind.name() == who);
        keys.sort_by_key(|(what, who)| {
            let image = what.split(' ').nth(1).map(str::to_owned);
            (image, place(what), name(who).unwrap_or(usize::MAX))
        });
        for key in keys {
            let (what, who) = key;
            let ours = (what.clone(), first.to_owned());
            let mut cells = vec![what.clone(), who.clone()];
            cells.extend(summary(Summary::of(&self.wall_s[key]), 2));
            cells.extend(summary(Summary::of(&self.cpu_s[key]), 2));
            for series in [&self.wall_s, &self.cpu_s] {
                let ratios = series.get(&ours).filter(|_| who != first);
                let ratios = ratios.and_then(|ours| Summary::of_ratios(ours, &series[key]));
                let ratios = summary(ratios, 2);
                cells.extend(if ratios.len() == 2 { ratios } else { vec![String::new(); 2] });
            }
            let peak = self.peak_mb.get(key).and_then(|values| Summary::of(values));
            cells.extend(peak.map(|peak| format!("{:.0}", peak.median)));
            table.push(cells);
        }
        format!("{}ratios are {first} / this one, within a round\n", table.render())
    }
}
