//! `stats`.
//!
//! Two readings, a second apart, make one line: shares of CPU are worked out here, and the engine is
//! never asked to wait. Absent on purpose: Windows.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{escape, query};
use crate::failure::Failure;
use crate::format::{Format, Heads, Row, render, short_id};
use crate::json::Json;
use crate::tree::{Command, Words};
use crate::units::{binary_size, human_size};

pub(super) const STATS: Command = Command {
    names: &["container stats", "stats"],
    usage: "[OPTIONS] [CONTAINER...]",
    about: "Display a live stream of container(s) resource usage statistics",
    flags: &[&[
        Flag::switch("all", "Show all containers, not only those that run").short('a'),
        Flag::text("format", super::FORMAT_HELP),
        Flag::switch("no-stream", "Show the figures once"),
        Flag::switch("no-trunc", "Do not shorten anything"),
    ]],
    words: Words::AtLeast(0),
    stops: false,
    run: stats,
};

const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

const HEADS: Heads = &[
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

const INTERVAL: Duration = Duration::from_secs(1);

/// The CPU time of a container and of the host at the last reading.
type Seen = HashMap<String, (f64, f64)>;

fn stats(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let format = match matches.text("format") {
        "" => cli.config()?.text("statsFormat").to_owned(),
        format => format.to_owned(),
    };
    let format = match format.as_str() {
        "" | "table" => TABLE.to_owned(),
        format => format.to_owned(),
    };
    let source = format.strip_prefix("table").unwrap_or(&format);
    if format != "json" {
        Format::parse(source)?;
    }
    let once = matches.on("no-stream");
    let mut seen = Seen::new();
    read(cli, matches, &mut seen)?;
    loop {
        let begun = Instant::now();
        std::thread::sleep(INTERVAL);
        let rows = read(cli, matches, &mut seen)?;
        let text = render(&format, HEADS, rows)?;
        if once {
            cli.print(&text)?;
            return Ok(0);
        }
        // From the top, each line to its end, and nothing below.
        let lines: Vec<String> = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
        cli.print(&format!("\x1b[H{}\x1b[J", lines.concat()))?;
        std::thread::sleep(INTERVAL.saturating_sub(begun.elapsed()));
    }
}

/// The containers that are named, or all that run.
fn wanted(cli: &Cli, matches: &Matches) -> Result<Vec<String>, Failure> {
    if !matches.words.is_empty() {
        return Ok(matches.words.clone());
    }
    let all = Some(("all", "1".to_owned())).filter(|_| matches.on("all"));
    let list = cli.client()?.get(format!("/containers/json{}", query(all)))?;
    Ok(list.items().iter().map(|container| container.text("Id").to_owned()).collect())
}

fn read(cli: &Cli, matches: &Matches, seen: &mut Seen) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    let named = !matches.words.is_empty();
    for name in wanted(cli, matches)? {
        let path = format!("/containers/{}/stats?stream=0&one-shot=1", escape(&name));
        match cli.client()?.get(path) {
            Ok(stats) => rows.push(row(&name, &stats, seen, !matches.on("no-trunc"))),
            // It went between the list and now.
            Err(error) if error.is_not_found() && !named => {}
            Err(error) => return Err(error),
        }
    }
    Ok(rows)
}

fn row(name: &str, stats: &Json, seen: &mut Seen, trunc: bool) -> Row {
    let id = stats.text("id");
    let base = Row::default()
        .with("Container", if trunc && name == id { short_id(name) } else { name })
        .with("Name", stats.text("name").trim_start_matches('/'))
        .with("ID", if trunc { short_id(id) } else { id });
    let memory = stats.get("memory_stats");
    let cpu = stats.get("cpu_stats");
    let now = (cpu.get("cpu_usage").number("total_usage"), cpu.number("system_cpu_usage"));
    let before = seen.insert(name.to_owned(), now);
    // A container that does not run has no reading.
    if now.0 == 0.0 && memory.number("limit") == 0.0 {
        return ["CPUPerc", "MemPerc", "NetIO", "BlockIO", "PIDs"]
            .into_iter()
            .fold(base.with("MemUsage", "-- / --"), |row, column| row.with(column, "--"));
    }
    let used = used_memory(memory);
    let limit = memory.number("limit");
    let percent = if limit > 0.0 { used / limit * 100.0 } else { 0.0 };
    let (received, sent) = network(stats.get("networks"));
    let (reads, writes) = blocks(stats.get("blkio_stats"));
    base.with("CPUPerc", format!("{:.2}%", cpu_percent(before.unwrap_or(now), now, cpu)))
        .with("MemUsage", format!("{} / {}", binary_size(used), binary_size(limit)))
        .with("MemPerc", format!("{percent:.2}%"))
        .with("NetIO", format!("{} / {}", human_size(received, 3), human_size(sent, 3)))
        .with("BlockIO", format!("{} / {}", human_size(reads, 3), human_size(writes, 3)))
        .with("PIDs", stats.get("pids_stats").int("current").to_string())
}

fn cpu_percent(before: (f64, f64), now: (f64, f64), cpu: &Json) -> f64 {
    let (used, passed) = (now.0 - before.0, now.1 - before.1);
    let cpus = match cpu.number("online_cpus") {
        0.0 => cpu.get("cpu_usage").get("percpu_usage").items().len() as f64,
        cpus => cpus,
    };
    if used > 0.0 && passed > 0.0 { used / passed * cpus * 100.0 } else { 0.0 }
}

/// Without the page cache that could be dropped at once.
fn used_memory(memory: &Json) -> f64 {
    let usage = memory.number("usage");
    let details = memory.get("stats");
    let key = match details.find("total_inactive_file") {
        Some(_) => "total_inactive_file",
        None => "inactive_file",
    };
    let cache = details.number(key);
    if cache < usage { usage - cache } else { usage }
}

fn network(networks: &Json) -> (f64, f64) {
    let each = networks.fields().iter().map(|(_, network)| network);
    let sum = |total: (f64, f64), network: &Json| {
        (total.0 + network.number("rx_bytes"), total.1 + network.number("tx_bytes"))
    };
    each.fold((0.0, 0.0), sum)
}

fn blocks(blkio: &Json) -> (f64, f64) {
    let sum = |(reads, writes): (f64, f64), entry: &Json| {
        let value = entry.number("value");
        match entry.text("op").as_bytes().first() {
            Some(b'r' | b'R') => (reads + value, writes),
            Some(b'w' | b'W') => (reads, writes + value),
            _ => (reads, writes),
        }
    };
    blkio.get("io_service_bytes_recursive").items().iter().fold((0.0, 0.0), sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_running_container() {
        let reading = |cpu: i64, system: i64| {
            let text = format!(
                r#"{{"id":"0123456789abcdef","name":"/web",
                "cpu_stats":{{"cpu_usage":{{"total_usage":{cpu}}},"system_cpu_usage":{system},"online_cpus":2}},
                "memory_stats":{{"usage":3145728,"limit":1073741824,"stats":{{"inactive_file":1048576}}}},
                "networks":{{"eth0":{{"rx_bytes":1500,"tx_bytes":20}}}},
                "blkio_stats":{{"io_service_bytes_recursive":[{{"op":"read","value":2000}}]}},
                "pids_stats":{{"current":3}}}}"#
            );
            Json::parse(text.as_bytes()).unwrap()
        };
        let mut seen = Seen::new();
        row("web", &reading(100, 1000), &mut seen, true);
        let rows = vec![row("web", &reading(200, 2000), &mut seen, true)];
        let text = render(TABLE, HEADS, rows).unwrap();
        let line = text.lines().nth(1).unwrap();
        assert_eq!(
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>(),
            [
                "0123456789ab",
                "web",
                "20.00%",
                "2MiB / 1GiB",
                "0.20%",
                "1.5kB / 20B",
                "2kB / 0B",
                "3"
            ]
        );
    }
}
