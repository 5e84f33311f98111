//! `dhow-contest`: runs the scenarios against OCI runtimes and prints the results side by side.
//!
//! Exits with 1 if the runtime named `dhow` fails a scenario, or skips one without leave
//! (`allowed-skips.txt`); other runtimes' failures are shown and change nothing.
//! The same program, with `--case`, runs a single case in the process that was made for it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test program with a table as its output"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dhow_tests::{
    AllowedSkips, Cell, Contest, KnownFaults, Order, Runtime, Verdict, find, heading, matching,
    print_reasons, row, run_case,
};
use lexopt::prelude::*;

const USAGE: &str = "\
dhow-contest --runtime NAME=PATH[,ARG...] [--runtime ...] [options]
  --only PATTERN       only scenarios whose name contains PATTERN (=NAME: exactly); may be repeated
  --skip PATTERN       not these
  --hide-unified NAME  run this runtime with /sys/fs/cgroup/unified unmounted (crun on hybrid hosts)
  --jobs N             cases at a time (default: as many as processors)
  --patience N         multiply all time limits (default 1)
  --stress             long loops: 10000 containers, 1000 under load
  --json FILE          write all results there
  --strict             also fail for unexplained failures of the other runtimes
  --list               print the names of the scenarios and exit";

#[derive(Default)]
struct Options {
    runtimes: Vec<Runtime>,
    only: Vec<String>,
    skip: Vec<String>,
    hide_unified: Vec<String>,
    jobs: Option<usize>,
    patience: u32,
    stress: bool,
    strict: bool,
    list: bool,
    json: Option<PathBuf>,
    case: Option<String>,
    token: String,
    dir: PathBuf,
}

fn main() -> ExitCode {
    let options = match parse() {
        Ok(options) => options,
        Err(e) => {
            eprintln!("dhow-contest: {e}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("dhow-contest: {e}");
            ExitCode::from(2)
        }
    }
}

fn parse() -> Result<Options, lexopt::Error> {
    let mut options = Options { patience: 1, ..Options::default() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("runtime") => {
                let text = parser.value()?.string()?;
                let runtime = Runtime::parse(&text).ok_or("a runtime is NAME=PATH[,ARG...]")?;
                options.runtimes.push(runtime);
            }
            Long("only") => options.only.push(parser.value()?.string()?),
            Long("skip") => options.skip.push(parser.value()?.string()?),
            Long("hide-unified") => options.hide_unified.push(parser.value()?.string()?),
            Long("jobs") => options.jobs = Some(parser.value()?.parse()?),
            Long("patience") => options.patience = parser.value()?.parse()?,
            Long("stress") => options.stress = true,
            Long("strict") => options.strict = true,
            Long("list") => options.list = true,
            Long("json") => options.json = Some(parser.value()?.into()),
            Long("case") => options.case = Some(parser.value()?.string()?),
            Long("token") => options.token = parser.value()?.string()?,
            Long("dir") => options.dir = parser.value()?.into(),
            Long("help") => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            other => return Err(other.unexpected()),
        }
    }
    for runtime in &mut options.runtimes {
        runtime.hide_unified = options.hide_unified.contains(&runtime.name);
    }
    Ok(options)
}

fn run(options: Options) -> Result<bool, String> {
    if let Some(name) = options.case.clone() {
        return run_single(&options, &name);
    }
    let mut scenarios = matching("");
    scenarios.retain(|s| {
        let name = s.name();
        let hit = |p: &String| match p.strip_prefix('=') {
            Some(exact) => name == exact,
            None => name.contains(p.as_str()),
        };
        (options.only.is_empty() || options.only.iter().any(hit)) && !options.skip.iter().any(hit)
    });
    if options.list {
        scenarios.iter().for_each(|s| println!("{}", s.name()));
        return Ok(true);
    }
    if options.runtimes.is_empty() {
        return Err(format!("no runtime was given\n{USAGE}"));
    }
    if !rustix::process::geteuid().is_root() {
        return Err("the contest needs root: it makes namespaces and cgroups".into());
    }
    hold(&options, scenarios)
}

fn hold(options: &Options, scenarios: Vec<&'static dhow_tests::Scenario>) -> Result<bool, String> {
    let faults = KnownFaults::checked_in();
    let contest = Contest {
        runtimes: options.runtimes.clone(),
        scenarios,
        program: std::env::current_exe().map_err(|e| e.to_string())?,
        jobs: options
            .jobs
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        patience: options.patience.max(1),
        stress: options.stress,
    };
    let names: Vec<&str> = options.runtimes.iter().map(|r| r.name.as_str()).collect();
    println!("{}", heading(&names));
    let rows = contest.hold(|cells| {
        println!("{}", row(cells, &faults));
        // A row that cannot be shown now is in the JSON file all the same.
        let _ = std::io::stdout().flush();
    });
    print_reasons(&mut std::io::stdout(), &rows, &faults).map_err(|e| e.to_string())?;
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&rows).map_err(|e| e.to_string())?;
        std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let skips = AllowedSkips::checked_in();
    let wrong: Vec<&Cell> =
        rows.iter().flatten().filter(|c| is_wrong(c, options.strict, &skips, &faults)).collect();
    for cell in &wrong {
        if let Verdict::Skip(reason) = &cell.verdict {
            println!("skipped without leave: {} {}: {reason}", cell.runtime, cell.scenario);
        }
    }
    Ok(wrong.is_empty())
}

fn is_wrong(cell: &Cell, strict: bool, skips: &AllowedSkips, faults: &KnownFaults) -> bool {
    match &cell.verdict {
        Verdict::Pass => false,
        Verdict::Skip(reason) => cell.runtime == "dhow" && !skips.allow(&cell.scenario, reason),
        Verdict::Fail(_) if cell.runtime == "dhow" => true,
        Verdict::Fail(_) => strict && faults.explain(&cell.runtime, &cell.scenario).is_none(),
    }
}

/// Runs one case and prints its cell as the last line.
fn run_single(options: &Options, name: &str) -> Result<bool, String> {
    let scenario = find(name).ok_or_else(|| format!("no scenario is called {name}"))?;
    let runtime = options.runtimes.first().ok_or("no runtime was given")?;
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let payload = own.parent().unwrap_or(Path::new("/")).join("payload");
    let cell = run_case(&Order {
        scenario,
        runtime: runtime.clone(),
        dir: options.dir.clone(),
        token: options.token.clone(),
        payload,
        patience: options.patience,
        stress: options.stress,
    });
    println!("\n{}", serde_json::to_string(&cell).map_err(|e| e.to_string())?);
    Ok(true)
}
