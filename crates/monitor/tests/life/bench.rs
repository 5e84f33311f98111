//! `life bench [N]`: what a monitor costs, as numbers and not as a test.
//!
//! Starts N containers, and prints the memory of their monitors while all of them wait, and the times from
//! asking for a monitor to its container's program.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use dhow_monitor::{Reply, Request};

use super::Place;

/// Kilobytes of one field of `smaps_rollup`.
fn kilobytes(rollup: &str, field: &str) -> u64 {
    let line = rollup.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

pub(crate) fn run(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let count = words.next().and_then(|word| word.to_str()?.parse().ok()).unwrap_or(10);
    // Another program than this one, as `dhow`, can be the monitor.
    let program = words.next().map_or_else(|| std::env::current_exe().unwrap(), Into::into);
    let mut running = Vec::new();
    let (mut spawns, mut starts) = (Vec::new(), Vec::new());
    for number in 0..count {
        std::thread::sleep(Duration::from_millis(50));
        let place = Place::new(&format!("bench{number}"));
        let launch = place.launch("exec sleep 1000");
        let begun = Instant::now();
        let started = dhow_monitor::start(&program, &launch, None).unwrap();
        started.connection.send(&Request::Start, &[]).unwrap();
        spawns.push(begun.elapsed());
        match started.connection.recv(60_000).unwrap() {
            Some((Reply::Started { .. }, _)) => {}
            other => panic!("{other:?}"),
        }
        starts.push(begun.elapsed());
        running.push((place, started));
    }
    std::thread::sleep(Duration::from_millis(500));
    let mut fields = [("Pss:", 0), ("Pss_Anon:", 0), ("Pss_File:", 0), ("Rss:", 0)];
    for (_, started) in &running {
        let path = format!("/proc/{}/smaps_rollup", started.child.pid.as_raw_nonzero());
        let rollup = std::fs::read_to_string(path).unwrap();
        for (field, sum) in &mut fields {
            *sum += kilobytes(&rollup, field);
        }
    }
    for (field, sum) in fields {
        println!("{field:10} {} kB on average of {count}", sum / count as u64);
    }
    for (name, mut times) in [("asked", spawns), ("running", starts)] {
        times.sort();
        println!("{name:10} best {:?}, median {:?}", times[0], times[times.len() / 2]);
    }
    for (place, started) in running {
        started.connection.send(&Request::Kill { signal: 9 }, &[]).unwrap();
        started.child.wait().unwrap();
        place.check_clean();
    }
    ExitCode::SUCCESS
}
