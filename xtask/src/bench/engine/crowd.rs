//! Many containers: how fast they start eight at a time, what they weigh while they run, how a listing of them
//! takes, how fast they go, and how many short ones a second eight clients get.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::peer::{Kind, Peer};
use super::{IMAGE, timed};
use crate::columns::Columns;
use crate::task::{At, TaskError, progress};

/// For what starting leaves to others, before memory is read.
const SETTLE: Duration = Duration::from_secs(2);
const LISTINGS: usize = 15;
/// How long short containers are run.
const STEADY: Duration = Duration::from_secs(5);
const CLIENTS: usize = 8;

/// Measures each engine after the other.
pub(super) fn measure(peers: &[Peer], count: usize) -> Result<Columns, TaskError> {
    let mut table = Columns::new([
        "engine".to_owned(),
        "at rest MB".to_owned(),
        format!("{count} starts s"),
        "ps ms".to_owned(),
        "each PSS MB".to_owned(),
        "engine MB".to_owned(),
        "rm -f s".to_owned(),
        format!("run --rm, {CLIENTS} clients /s"),
    ]);
    for peer in peers {
        progress(&format!("{count} containers of {}", peer.kind.name()));
        let rest = megabytes(&peer.daemons());
        let names: Vec<String> = (0..count).map(|number| format!("crowd{number}")).collect();
        let started = start(peer, &names)?;
        sleep(SETTLE);
        let listing = listing(peer)?;
        let attendants = peer.attendants();
        let each = megabytes(&attendants) / count as f64;
        let daemons: Vec<u32> =
            peer.daemons().into_iter().filter(|pid| !attendants.contains(pid)).collect();
        // Monitors may be children of the engine, containers of monitors: only what runs its program is meant.
        let engine = megabytes(&engines(peer.kind, daemons));
        let mut words = vec!["rm", "-f"];
        words.extend(names.iter().map(String::as_str));
        let removed = timed(&mut peer.command(&words)?, "rm -f", peer.kind)?;
        let rate = steady(peer)?;
        let values =
            [rest, started.as_secs_f64(), listing, each, engine, removed.as_secs_f64(), rate];
        let cells = values.into_iter().map(|value| format!("{value:.2}"));
        table.push(std::iter::once(peer.kind.name().to_owned()).chain(cells));
    }
    progress("");
    Ok(table)
}

/// Starts them all, eight clients at a time.
fn start(peer: &Peer, names: &[String]) -> Result<Duration, TaskError> {
    let mut waiting = names.iter();
    let mut running = Vec::new();
    let begun = Instant::now();
    loop {
        while running.len() < CLIENTS {
            let Some(name) = waiting.next() else { break };
            let name = format!("--name={name}");
            let mut command = peer.run(&["-d", &name, IMAGE, "sleep", "10000"])?;
            running.push(
                command
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .at("start", "a client")?,
            );
        }
        if running.is_empty() {
            return Ok(begun.elapsed());
        }
        // They take about the same time each, so the oldest is the next to end.
        finish(running.remove(0), peer)?;
    }
}

fn finish(mut client: std::process::Child, peer: &Peer) -> Result<(), TaskError> {
    let status = client.wait().at("wait for", "a client")?;
    if status.success() {
        return Ok(());
    }
    let line = format!("run of {}", peer.kind.name());
    Err(TaskError::Program { line, code: status.code() })
}

/// The median of some listings, in milliseconds.
fn listing(peer: &Peer) -> Result<f64, TaskError> {
    let mut times = Vec::new();
    for _ in 0..LISTINGS {
        times.push(timed(&mut peer.command(&["ps"])?, "ps", peer.kind)?.as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Short containers a second.
fn steady(peer: &Peer) -> Result<f64, TaskError> {
    let mut running = Vec::new();
    let mut done = 0;
    let begun = Instant::now();
    loop {
        while running.len() < CLIENTS && begun.elapsed() < STEADY {
            let mut command = peer.run(&["--rm", IMAGE, "true"])?;
            running.push(
                command
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .at("start", "a client")?,
            );
        }
        if running.is_empty() {
            return Ok(f64::from(done) / begun.elapsed().as_secs_f64());
        }
        finish(running.remove(0), peer)?;
        done += 1;
    }
}

fn engines(kind: Kind, pids: Vec<u32>) -> Vec<u32> {
    let names: &[&str] = match kind {
        Kind::Dhow => &["dhow"],
        Kind::Docker => &["dockerd", "containerd"],
        Kind::Podman => &[],
    };
    let named = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        names.contains(&name.trim())
    };
    pids.into_iter().filter(named).collect()
}

/// The proportional set size of some processes together.
fn megabytes(pids: &[u32]) -> f64 {
    let kib = pids.iter().filter_map(|pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    });
    kib.sum::<f64>() / 1024.0
}
