//! That nothing of Docker's command line is missing by oversight: its commands and flags (`docker.txt`) against
//! our tables.

use crate::args::Flag;
use crate::commands::{COMMANDS, REFUSED};
use crate::help::GLOBAL;
use crate::tree::{Found, find};

const DOCKER: &str = include_str!("docker.txt");

/// Flags that change nothing, and why.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("compress", "the engine is on this machine, or behind ssh, which compresses by itself"),
    ("debug", "nothing more is known than what is said"),
    ("default-stack-orchestrator", "of Docker's past, and without effect there, too"),
];

/// Commands as Docker has them, each with its flags as `(long, short)`.
fn commands() -> impl Iterator<Item = (&'static str, Vec<(&'static str, Option<char>)>)> {
    DOCKER.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, flags) = line.split_once(':').expect("a command and its flags");
        let flag = |word: &'static str| match word.split_once('/') {
            Some((long, short)) => (long, short.chars().next()),
            None => (word, None),
        };
        (name, flags.split_whitespace().map(flag).collect())
    })
}

#[test]
fn every_command_has_every_flag() {
    let mut missing = Vec::new();
    for (name, flags) in commands() {
        let words: Vec<String> = name.split(' ').map(str::to_owned).collect();
        let tables: Vec<&Flag> = match find(COMMANDS, &words) {
            _ if name == "*" => GLOBAL.iter().collect(),
            Found::Command(command, _) => command.flags.iter().copied().flatten().collect(),
            Found::Group(_) => Vec::new(),
            // Refused by name, with everything behind it.
            Found::Unbuilt(_) => continue,
            Found::Nothing(_) => {
                missing.push(name.to_owned());
                continue;
            }
        };
        for (long, short) in flags {
            let ours = tables.iter().find(|flag| flag.long == long);
            if ours.is_none_or(|flag| short.is_some() && flag.short != short) {
                missing.push(format!("{name} --{long} {short:?}"));
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}

/// A flag that has an effect, or a refusal, is one that is asked for by its name outside the tables.
#[test]
fn every_flag_is_looked_at() {
    let mut sources = String::new();
    let mut directories =
        vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("our sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                sources.push_str(&std::fs::read_to_string(path).expect("a source"));
            }
        }
    }
    let tables: Vec<_> = sources.match_indices("Flag::").map(|(at, _)| at).collect();
    let in_table = |at: usize| {
        // `Flag::switch("all"`: the name is the first word behind the kind.
        let before = tables.partition_point(|start| *start < at).checked_sub(1);
        before.is_some_and(|index| !sources[tables[index]..at].contains('"'))
    };
    let mut unread = Vec::new();
    let all = COMMANDS.iter().flat_map(|command| command.flags.iter().copied().flatten());
    let is_refused =
        |flag: &Flag| REFUSED.iter().any(|all| all.iter().any(|one| one.long == flag.long));
    let is_known = |flag: &Flag| WITHOUT_EFFECT.iter().any(|(long, _)| *long == flag.long);
    for flag in all.chain(GLOBAL).filter(|flag| flag.stands_for.is_none()) {
        if is_refused(flag) || is_known(flag) {
            continue;
        }
        let word = format!("\"{}\"", flag.long);
        if !sources.match_indices(&word).any(|(at, _)| !in_table(at)) {
            unread.push(flag.long);
        }
    }
    unread.sort_unstable();
    unread.dedup();
    assert_eq!(unread, [""; 0]);
}
