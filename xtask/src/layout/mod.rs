//! `cargo xtask layout`: writes `crates/dhow/layout.ld` anew from what a container's start executes.
//!
//! The program is built with its symbols, `dhow oci run` of a container that does nothing goes step by step under a
//! tracer of ours (a C program, for the processor's registers), and the functions that it came by are the list. The
//! explanation at the head of the file stays.
//!
//! Absent on purpose: the order among them. The kernel brings in whole pieces of the file, and all of the list is run.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench;
use crate::contender::Contender;
use crate::task::{At, TaskError, read, run as run_command, scratch, workspace};

const STEPS: &str = include_str!("steps.c");
const LAYOUT: &str = "crates/dhow/layout.ld";
/// Where the list begins and ends in the file.
const HEAD: &str = "  .text.start : {\n";
const TAIL: &str = "  }\n}\nINSERT BEFORE .text;\n";

/// A function of the program.
struct Function<'a> {
    address: u64,
    name: &'a str,
}

/// Builds, steps, writes.
pub(super) fn run(mut arguments: lexopt::Parser) -> Result<(), TaskError> {
    if let Some(argument) = arguments.next()? {
        return Err(argument.unexpected().into());
    }
    let dir = scratch("layout")?;
    let program = build(&dir)?;
    let steps = compile(&dir)?;
    let table = read(Command::new("nm").args(["--defined-only", "--numeric-sort"]).arg(&program))?;
    let functions = functions(&table);
    let (Some(first), Some(last)) = (functions.first(), functions.last()) else {
        return Err(TaskError::Usage(format!("{} has no symbols", program.display()).into()));
    };
    let places = dir.join("places");
    let mut prefix = vec![steps.display().to_string()];
    prefix.extend([first.address, last.address].map(|address| format!("{address:x}")));
    prefix.push(places.display().to_string());
    let link = dir.join("dhow-oci");
    let _ = fs::remove_file(&link);
    symlink(&program, &link).at("link", &link)?;
    bench::run_under(Contender { name: "dhow".to_owned(), program: link }, &prefix)?;
    let places = fs::read_to_string(&places).at("read", &places)?;
    let names = executed(&functions, &places);
    let path = workspace().join(LAYOUT);
    let old = fs::read_to_string(&path).at("read", &path)?;
    let head = old.split_once(HEAD).map_or(old.as_str(), |(head, _)| head);
    fs::write(&path, render(head, &names)).at("write", &path)?;
    println!("{} functions in {LAYOUT}", names.len());
    Ok(())
}

/// The shipped program, but for its symbols.
fn build(dir: &Path) -> Result<PathBuf, TaskError> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--release", "--package", "dhow", "--target-dir"]).arg(dir);
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "false").current_dir(workspace());
    run_command(&mut cargo)?;
    // The folder is called after the target.
    let entries = fs::read_dir(dir).at("read", dir)?.filter_map(Result::ok);
    let mut programs = entries.map(|entry| entry.path().join("release/dhow"));
    programs
        .find(|program| program.is_file())
        .ok_or_else(|| TaskError::Usage(format!("no program below {}", dir.display()).into()))
}

fn compile(dir: &Path) -> Result<PathBuf, TaskError> {
    let (source, program) = (dir.join("steps.c"), dir.join("steps"));
    fs::write(&source, STEPS).at("write", &source)?;
    run_command(Command::new("cc").args(["-O2", "-Wall", "-o"]).arg(&program).arg(&source))?;
    Ok(program)
}

/// Code in the order of its addresses.
fn functions(table: &str) -> Vec<Function<'_>> {
    let parse = |line: &'_ str| {
        let mut words = line.split_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let kind = words.next()?;
        matches!(kind, "t" | "T" | "w" | "W").then_some((address, words.next()?.len()))
    };
    let mut functions = Vec::new();
    for line in table.lines() {
        if let Some((address, length)) = parse(line) {
            let line = line.trim_end();
            functions.push(Function { address, name: &line[line.len() - length..] });
        }
    }
    functions
}

/// The patterns of those that were come by.
fn executed(functions: &[Function<'_>], places: &str) -> BTreeSet<String> {
    let addresses = places.lines().filter_map(|line| u64::from_str_radix(line, 16).ok());
    let function = |address| {
        let after = functions.partition_point(|function| function.address <= address);
        after.checked_sub(1).map(|index| functions[index].name)
    };
    // What C's libraries have lies in sections that have no names of their own.
    addresses.filter_map(function).filter(|name| name.starts_with("_R")).map(pattern).collect()
}

/// A name without what differs from build to build: the hashes of crates, and numbers behind a dot.
fn pattern(name: &str) -> String {
    let name = name.split_once('.').map_or(name, |(name, _)| name);
    let mut pattern = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("Cs") {
        let hash = after.find('_').filter(|end| after[..*end].bytes().all(is_base_62));
        let Some(end) = hash else {
            pattern.push_str(before);
            pattern.push_str("Cs");
            rest = after;
            continue;
        };
        pattern.push_str(before);
        pattern.push_str("Cs*_");
        rest = &after[end + 1..];
    }
    pattern.push_str(rest);
    pattern
}

fn is_base_62(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn render(head: &str, names: &BTreeSet<String>) -> String {
    let lines: String = names.iter().map(|name| format!("    *(.text*.{name})\n")).collect();
    format!("{head}{HEAD}{lines}{TAIL}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_become_functions() {
        let table = "0000000000401000 T _RNvCs4fqI2P2rA04_4dhow4main\n\
                     0000000000401080 t memcpy\n\
                     0000000000401100 t _RNvNtCsab_4core3fmt5write.llvm.17\n\
                     0000000000402000 D data\n";
        let functions = functions(table);
        assert_eq!(functions.len(), 3);
        let names = executed(&functions, "401004\n401090\n40107f\n401234\n");
        let expected = ["_RNvCs*_4dhow4main", "_RNvNtCs*_4core3fmt5write"];
        assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_head_stays() {
        let names = BTreeSet::from(["_Ra".to_owned()]);
        let text = render("/* why */\nSECTIONS\n{\n", &names);
        let again = text.split_once(HEAD).map(|(head, _)| render(head, &names));
        assert_eq!(again.as_deref(), Some(text.as_str()));
        assert!(text.contains("    *(.text*._Ra)\n"), "{text}");
    }
}
