//! The command line: the same commands by Docker's client at dockerd, by Docker's client at dhow, and by dhow's.
//!
//! Each engine is fresh and hears all of them in their order; a command sees what those before it left. Absent on
//! purpose: the words of errors, which change with Docker's versions (`--stderr` shows them beside the rest).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Engine;
use super::mask::mask;
use crate::child::{self, Ending};
use crate::task::{At, TaskError};

const TEXT: &str = include_str!("../../differ/commands.txt");
const PATIENCE: Duration = Duration::from_secs(60);

/// Who asks whom; the first is the measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Docker,
    Engine,
    Client,
}

pub(super) const COLUMNS: [Column; 3] = [Column::Docker, Column::Engine, Column::Client];

impl Column {
    pub(super) fn name(self) -> &'static str {
        match self {
            Column::Docker => "docker",
            Column::Engine => "engine",
            Column::Client => "client",
        }
    }
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    code: String,
    stdout: String,
    stderr: String,
}

struct Case {
    name: &'static str,
    script: &'static str,
}

fn cases() -> impl Iterator<Item = Case> {
    TEXT.lines().filter(|line| !line.starts_with(['#', '!'])).filter_map(|line| {
        let (name, script) = line.split_once(": ")?;
        Some(Case { name, script })
    })
}

/// Runs all commands at one engine; `client` is what `docker` is.
pub(super) fn run_all(engine: &Engine, client: &[String]) -> Result<Vec<Said>, TaskError> {
    let programs = engine.place.join("programs");
    let work = engine.place.join("work");
    for dir in [&programs, &work] {
        fs::create_dir_all(dir).at("create", dir)?;
    }
    let docker = programs.join("docker");
    let quoted: Vec<_> = client.iter().map(|word| format!("'{word}'")).collect();
    fs::write(&docker, format!("#!/bin/sh\nexec {} \"$@\"\n", quoted.join(" ")))
        .at("write", &docker)?;
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).at("change", &docker)?;
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let one = |case: Case| {
        let mut shell = Command::new("sh");
        shell.args(["-c", case.script]).current_dir(&work).env("PATH", &path);
        shell.env("HOME", &work).env("DOCKER_HOST", &engine.host).env("DHOW_HOST", &engine.host);
        shell.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_CONFIG");
        let outcome = child::run(&mut shell, PATIENCE).at("run", case.name)?;
        let code = match outcome.ending {
            Ending::Code(code) => code.to_string(),
            Ending::TimedOut => "no end".to_owned(),
        };
        let hide = |text: &str| mask(&text.replace(&*work.to_string_lossy(), "WORK"));
        Ok(Said { code, stdout: hide(&outcome.stdout), stderr: hide(&outcome.stderr) })
    };
    cases().map(one).collect()
}

/// Prints what is not explained, and explanations that explain nothing; gives how many differ.
pub(super) fn judge(columns: &[(Column, Vec<Said>)], with_stderr: bool) -> usize {
    let accepted: Vec<[&str; 2]> = TEXT
        .lines()
        .filter_map(|line| line.strip_prefix("! "))
        .filter_map(|line| {
            let mut words = line.splitn(3, ' ');
            Some([words.next()?, words.next()?])
        })
        .collect();
    let (mut used, mut unexplained) = (BTreeSet::new(), 0);
    let Some(((_, measure), others)) = columns.split_first() else { return 0 };
    for (column, said) in others {
        for (case, (theirs, ours)) in cases().zip(measure.iter().zip(said)) {
            let same = theirs.code == ours.code
                && theirs.stdout == ours.stdout
                && (!with_stderr || theirs.stderr == ours.stderr);
            if same {
                continue;
            }
            let fits = |name: &str| match name.strip_suffix('*') {
                Some(start) => case.name.starts_with(start),
                None => name == case.name,
            };
            let known = accepted
                .iter()
                .position(|[name, who]| fits(name) && (*who == "*" || *who == column.name()));
            if let Some(known) = known {
                used.insert(known);
                continue;
            }
            unexplained += 1;
            println!("{} ({}): {}", case.name, column.name(), case.script);
            show("docker", theirs);
            show("dhow", ours);
        }
    }
    for (at, [name, who]) in accepted.iter().enumerate() {
        if !used.contains(&at) {
            println!("accepted and not seen: {name} {who}");
        }
    }
    println!("{} commands, {unexplained} differences that are not explained", cases().count());
    unexplained
}

fn show(who: &str, said: &Said) {
    println!("  {who}: exit code {}", said.code);
    for (stream, text) in [("out", &said.stdout), ("err", &said.stderr)] {
        text.lines().take(12).for_each(|line| println!("    {stream}| {line}"));
    }
}

/// Where the engine's folder is told apart from what is compared.
pub(super) fn place(dir: &Path, column: Column) -> std::path::PathBuf {
    dir.join(format!("commands-{}", column.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_have_names_of_their_own() {
        let mut names: Vec<_> = cases().map(|case| case.name).collect();
        let all = names.len();
        assert_eq!(all, TEXT.lines().filter(|line| !line.starts_with(['#', '!'])).count());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(cases().all(|case| case.script.contains("docker ")));
    }
}
