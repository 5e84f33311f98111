//! `cargo xtask tidy`: rules of this repository that no compiler knows.
//!
//! A rule is a function from the [`Tree`] to the faults that it found, and one line in [`RULES`]. Rules
//! read files and nothing else; the same rules run as a test of this crate. What a compiler or clippy
//! can be told (no `unsafe`, documented items, banned calls) is told to them in the workspace's lints,
//! and here it is only checked that no crate opts out.

mod arrows;
mod documents;
mod sources;
mod tree;

use crate::task::{TaskError, workspace};
use tree::Tree;

/// What a rule found: `FILE:LINE: what is wrong`.
type Faults = Vec<String>;

type Rule = fn(&Tree) -> Faults;

/// What a rule asks for, and the function that looks.
const RULES: &[(&str, Rule)] = &[
    ("crates know only whom they may", arrows::of_crates),
    ("every package inherits the lints", arrows::lints),
    ("packages come from the public registry, one version each", arrows::lock_file),
    ("no file is large", tree::sizes),
    ("sources begin with what they are", sources::first_lines),
    ("nothing is unfinished or left out", sources::leftovers),
    ("nothing names a machine or a host of packages", sources::foreign_names),
    ("allowed skips belong to tests that exist", sources::allowed_skips),
    ("ARCHITECTURE.md names every crate", documents::crates_named),
    ("documents point to what is there", documents::links),
];

/// Checks all rules and says what breaks them.
pub(crate) fn run(mut arguments: lexopt::Parser) -> Result<(), TaskError> {
    if let Some(argument) = arguments.next()? {
        return Err(argument.unexpected().into());
    }
    let faults = check()?;
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() { Ok(()) } else { Err(TaskError::Bad) }
}

fn check() -> Result<Faults, TaskError> {
    let tree = Tree::of(&workspace())?;
    let mut faults = Vec::new();
    for (rule, find) in RULES {
        faults.extend(find(&tree).into_iter().map(|fault| format!("{fault} ({rule})")));
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        let faults = super::check().expect("the repository can be read");
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}
