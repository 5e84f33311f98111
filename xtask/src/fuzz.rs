//! `cargo xtask fuzz`: libFuzzer looks for bytes with which a property of `dhow-fuzz` does not hold.
//!
//! What it finds on its way is kept below `target/`; `--keep` adds to `fuzz/corpus` the small inputs that reach
//! what the others do not. A finding stays as `target/fuzz/findings/TARGET-…`, and the task fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lexopt::prelude::*;

use crate::task::{At, TaskError, run as run_command, scratch, workspace};

const USAGE: &str = "\
cargo xtask fuzz [--seconds N] [--keep] [TARGET ...]
  --seconds  for each target (600)
  --keep     afterwards, keep the inputs that reach further than those of fuzz/corpus
  TARGET     tar, manifest, reference (all)
It needs a nightly compiler and a C++ one.";

const TARGETS: [&str; 3] = ["tar", "manifest", "reference"];

/// What cargo-fuzz would hand to the compiler, without a sanitizer: what is tried has no unsafe code.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0 -Ccodegen-units=1 --cfg fuzzing";

/// Kept inputs are part of the repository.
const KEPT_BYTES_MAX: u32 = 4096;

struct Plan {
    seconds: u32,
    keep: bool,
    targets: Vec<String>,
}

/// Fuzzes one target after the other.
pub(crate) fn run(arguments: lexopt::Parser) -> Result<(), TaskError> {
    let Some(plan) = parse(arguments)? else {
        println!("{USAGE}");
        return Ok(());
    };
    let dir = scratch("fuzz")?;
    build(&dir)?;
    let findings = dir.join("findings");
    fs::create_dir_all(&findings).at("create", &findings)?;
    for target in &plan.targets {
        println!("{target}: {} s", plan.seconds);
        let (kept, found) =
            (workspace().join("fuzz/corpus").join(target), dir.join("corpus").join(target));
        fs::create_dir_all(&found).at("create", &found)?;
        let mut fuzzer = fuzzer(&dir, target)?;
        fuzzer.args(["-rss_limit_mb=512", "-timeout=10", "-print_final_stats=1"]);
        fuzzer.arg(format!("-max_total_time={}", plan.seconds));
        fuzzer.arg(format!("-artifact_prefix={}/{target}-", findings.display()));
        run_command(fuzzer.arg(&found).arg(&kept))?;
        if plan.keep {
            let mut fuzzer = self::fuzzer(&dir, target)?;
            fuzzer.args(["-set_cover_merge=1", &format!("-max_len={KEPT_BYTES_MAX}")]);
            run_command(fuzzer.arg(&kept).arg(&found))?;
        }
    }
    Ok(())
}

fn parse(mut arguments: lexopt::Parser) -> Result<Option<Plan>, TaskError> {
    let mut plan = Plan { seconds: 600, keep: false, targets: Vec::new() };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("seconds") => plan.seconds = arguments.value()?.parse()?,
            Long("keep") => plan.keep = true,
            Value(name) if TARGETS.iter().any(|known| name == *known) => {
                plan.targets.push(name.string()?);
            }
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if plan.targets.is_empty() {
        plan.targets = TARGETS.map(str::to_owned).to_vec();
    }
    Ok(Some(plan))
}

fn build(dir: &Path) -> Result<(), TaskError> {
    let mut cargo = Command::new("cargo");
    // The compiler that runs this task chose itself for its children.
    cargo.env_remove("RUSTUP_TOOLCHAIN").env("RUSTFLAGS", RUSTFLAGS);
    cargo.args(["+nightly", "build", "--quiet", "--release", "--target-dir"]).arg(dir);
    run_command(cargo.current_dir(workspace().join("fuzz/libfuzzer")))
}

/// The target's program, at the lowest priority.
fn fuzzer(dir: &Path, target: &str) -> Result<Command, TaskError> {
    let builds = fs::read_dir(dir).at("read", dir)?.filter_map(Result::ok);
    let programs = builds.map(|entry| entry.path().join("release").join(target));
    let program: PathBuf = programs
        .into_iter()
        .find(|path| path.is_file())
        .ok_or(TaskError::Absent { what: "the fuzzer", remedy: "see what cargo said" })?;
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(program);
    Ok(command)
}
