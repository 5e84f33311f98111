//! What stands in the files: first lines, leftovers, names that mean nothing to a stranger.
//!
//! Words that are looked for are spelled in two pieces here, so that this file does not find itself.

use super::Faults;
use super::tree::Tree;

/// Calls and attributes of work that is not done, or of tests that do not run.
const UNFINISHED: &[&str] = &[
    concat!("#[ign", "ore"),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("db", "g!("),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
];

/// Folders of one machine, and hosts that packages are fetched from: a stranger's are others.
const FOREIGN: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("deb.", "debian.org"),
    concat!("snapshot.", "debian.org"),
    concat!("proxy.", "golang.org"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("registry.", "npmjs.org"),
    concat!("py", "pi.org"),
];

const ALLOWED_SKIPS: &str = "tests/allowed-skips.txt";

/// Every source file says first what it is.
pub(super) fn first_lines(tree: &Tree) -> Faults {
    let without = tree.ending(".rs").filter(|(_, text)| !text.starts_with("//!"));
    without.map(|(path, _)| format!("{path}:1: does not begin with //!")).collect()
}

/// Source code is finished, and every test runs.
pub(super) fn leftovers(tree: &Tree) -> Faults {
    find(tree.ending(".rs"), UNFINISHED)
}

/// No text knows the machine that it was written on.
pub(super) fn foreign_names(tree: &Tree) -> Faults {
    find(tree.ending(""), FOREIGN)
}

/// The list of skips shrinks with the tests it excuses. A name with `::` is a scenario of the contest,
/// which checks those itself.
pub(super) fn allowed_skips(tree: &Tree) -> Faults {
    let list = tree.text(ALLOWED_SKIPS).unwrap_or_default().lines().enumerate();
    let names = list.filter_map(|(index, line)| Some((index, line.split_once(": ")?.0)));
    let tests = names.filter(|(_, name)| !name.starts_with('#') && !name.contains("::"));
    let exists = |name: &str| {
        let head = format!("fn {}", name.trim_end_matches('*'));
        tree.ending(".rs").any(|(_, text)| text.contains(&head))
    };
    tests
        .filter(|(_, name)| !exists(name))
        .map(|(index, name)| format!("{ALLOWED_SKIPS}:{}: no test is called {name}", index + 1))
        .collect()
}

fn find<'a>(files: impl Iterator<Item = (&'a str, &'a str)>, words: &[&str]) -> Faults {
    let mut faults = Vec::new();
    for (path, text) in files {
        for (index, line) in text.lines().enumerate() {
            let hits = words.iter().filter(|word| line.contains(**word));
            faults.extend(hits.map(|word| format!("{path}:{}: {word}", index + 1)));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::super::tree::of_texts;
    use super::*;

    #[test]
    fn a_source_without_a_head_is_found() {
        let tree = of_texts(&[("a.rs", "//! A.\n"), ("b.rs", "\n//! B.\n"), ("c.txt", "")]);
        assert_eq!(first_lines(&tree), ["b.rs:1: does not begin with //!"]);
    }

    #[test]
    fn unfinished_work_is_found() {
        let text = format!("fn f() {{\n    {})\n}}\n", UNFINISHED[1]);
        let tree = of_texts(&[("a.rs", &text), ("a.md", &text)]);
        assert_eq!(leftovers(&tree), [format!("a.rs:2: {}", UNFINISHED[1])]);
    }

    #[test]
    fn foreign_names_are_found_in_every_text() {
        let tree = of_texts(&[("a.md", &format!("see {}x\n", FOREIGN[0]))]);
        assert_eq!(foreign_names(&tree).len(), 1);
    }

    #[test]
    fn a_skip_without_its_test_is_found() {
        let list = "# c: d\nmodule::scenario: x\nthere: y\ngone: z\n";
        let tree = of_texts(&[(ALLOWED_SKIPS, list), ("a.rs", "fn there() {}")]);
        assert_eq!(allowed_skips(&tree), ["tests/allowed-skips.txt:4: no test is called gone"]);
    }
}
