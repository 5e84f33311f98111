//! Documents that stay true as far as a program can tell.

use super::Faults;
use super::tree::Tree;

/// Folders whose files documents may name between backticks.
const PLACES: [&str; 5] = ["crates/", "docs/", "tests/", "xtask/", ".ci/"];

/// A newcomer finds each crate on the map.
pub(super) fn crates_named(tree: &Tree) -> Faults {
    let map = tree.text("ARCHITECTURE.md").unwrap_or_default();
    let packages = tree.ending("/Cargo.toml").map(|(path, _)| path.trim_end_matches("/Cargo.toml"));
    let missing = packages.filter(|package| !map.contains(&format!("`{package}`")));
    missing.map(|package| format!("ARCHITECTURE.md: does not name `{package}`")).collect()
}

/// Relative links, and paths between backticks, lead to files of the repository.
pub(super) fn links(tree: &Tree) -> Faults {
    let mut faults = Vec::new();
    for (path, text) in tree.ending(".md") {
        let base = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (index, line) in text.lines().enumerate() {
            let linked = targets(line).map(|target| resolve(base, target));
            let quoted = quotations(line).map(str::to_owned);
            let absent = linked.chain(quoted).filter(|target| !tree.has(target));
            faults.extend(absent.map(|target| format!("{path}:{}: no {target}", index + 1)));
        }
    }
    faults
}

/// What `](…)` points to, but for other sites and places within the page.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

/// Paths of this repository between backticks, but for patterns.
fn quotations(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    let places = quoted.filter(|text| PLACES.iter().any(|place| text.starts_with(place)));
    places.filter(|text| !text.contains(['*', '<', '{', ' ', '…']))
}

fn resolve(base: &str, target: &str) -> String {
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match part {
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::tree::of_texts;
    use super::*;

    #[test]
    fn a_crate_off_the_map_is_found() {
        let tree = of_texts(&[
            ("ARCHITECTURE.md", "`crates/sys` is small"),
            ("crates/sys/Cargo.toml", ""),
            ("xtask/Cargo.toml", ""),
        ]);
        assert_eq!(crates_named(&tree), ["ARCHITECTURE.md: does not name `xtask`"]);
    }

    #[test]
    fn dead_links_are_found() {
        let text = "[a](b.md) [c](../LICENSE#x) [d](gone.md) [e](https://x.example/y) [f](#g)\n\
                    `crates/sys/src` `crates/gone` `docs/*.md` `LICENSE`\n";
        let tree = of_texts(&[
            ("docs/a.md", text),
            ("docs/b.md", ""),
            ("LICENSE", ""),
            ("crates/sys/src/lib.rs", ""),
        ]);
        assert_eq!(links(&tree), ["docs/a.md:1: no docs/gone.md", "docs/a.md:2: no crates/gone"]);
    }
}
