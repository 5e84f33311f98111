//! Who may depend on whom, read from the packages' `Cargo.toml` and from `Cargo.lock`.
//!
//! A new arrow between crates is a decision to write down in `docs/decisions/` and here. Only as much
//! of TOML is understood as these files use: tables, and one key a line.

use std::collections::BTreeMap;

use super::Faults;
use super::tree::Tree;

/// A crate below `crates/`, and those of ours that it may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("spec", &[]),
    ("archive", &["spec", "sys"]),
    ("builder", &["archive", "spec"]),
    ("cli", &["archive", "spec", "sys", "wire"]),
    ("distribution", &["spec"]),
    (
        "engine",
        &[
            "archive",
            "builder",
            "distribution",
            "monitor",
            "network",
            "runtime",
            "spec",
            "store",
            "sys",
        ],
    ),
    ("monitor", &["network", "runtime", "spec", "sys"]),
    ("network", &["spec", "sys"]),
    ("registry", &["distribution", "spec", "store"]),
    ("runtime", &["spec", "sys"]),
    ("server", &["engine", "spec", "wire"]),
    ("store", &["archive", "spec", "sys"]),
    ("wire", &["spec"]),
    // It only wires the others together.
    (
        "dhow",
        &[
            "archive",
            "cli",
            "distribution",
            "engine",
            "monitor",
            "network",
            "registry",
            "runtime",
            "server",
            "spec",
            "store",
            "sys",
            "wire",
        ],
    ),
];

/// Packages beside `crates/`; they judge the programs from outside and know none of our crates.
const TOOLS: &[(&str, &[&str])] = &[
    ("tests", &[]),
    ("xtask", &["tests"]),
    // The exception: these are properties of functions that no program of ours shows as they are.
    ("fuzz", &["archive", "spec"]),
    (LIBFUZZER, &["fuzz"]),
];

/// Not in the workspace, and with an entry point that is unsafe.
const LIBFUZZER: &str = "fuzz/libfuzzer";

/// Packages that may be there twice, each because of one that cannot be helped.
const TWICE: &[&str] = &[
    "getrandom",   // ring's, beside that of the tests' random documents
    "syn",         // written down for a part of the tests' certificates that is not built
    "windows-sys", // ring's, never built here
];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Each package's own dependencies against the table.
pub(super) fn of_crates(tree: &Tree) -> Faults {
    let mut faults = Vec::new();
    for (path, text) in packages(tree) {
        let name = path.trim_start_matches("crates/").trim_end_matches("/Cargo.toml");
        let table = if path.starts_with("crates/") { ARROWS } else { TOOLS };
        let Some((_, may)) = table.iter().find(|(known, _)| *known == name) else {
            faults.push(format!("{path}: not in the table of arrows"));
            continue;
        };
        let ours = lines(text).filter(|(table, _, _)| table.ends_with("dependencies"));
        for (_, number, line) in ours {
            let Some(used) = line.strip_prefix("dhow-") else { continue };
            let used = used.split(['.', ' ', '=']).next().unwrap_or_default();
            if !may.contains(&used) {
                faults.push(format!("{path}:{number}: {name} may not know {used}"));
            }
        }
    }
    faults
}

/// `unsafe` is forbidden by the workspace's lints; only `sys` has lints of its own.
pub(super) fn lints(tree: &Tree) -> Faults {
    let inherits = |text: &str| {
        lines(text).any(|(table, _, line)| table == "lints" && line == "workspace = true")
    };
    let is_exempt = |path: &str| path == "crates/sys/Cargo.toml" || path.starts_with(LIBFUZZER);
    let strict = packages(tree).filter(|(path, _)| !is_exempt(path));
    let mut faults: Faults = strict
        .filter(|(_, text)| !inherits(text))
        .map(|(path, _)| format!("{path}: no `[lints] workspace = true`"))
        .collect();
    let forbidden = |(table, _, line): (&str, usize, &str)| {
        table == "workspace.lints.rust" && line == "unsafe_code = \"forbid\""
    };
    if !lines(tree.text("Cargo.toml").unwrap_or_default()).any(forbidden) {
        faults.push("Cargo.toml: the workspace does not forbid unsafe_code".to_owned());
    }
    faults
}

/// Two versions of one package are compiled twice, and a git dependency may vanish.
pub(super) fn lock_file(tree: &Tree) -> Faults {
    let mut faults = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, number, line) in lines(tree.text("Cargo.lock").unwrap_or_default()) {
        let Some((key, value)) = line.split_once(" = ") else { continue };
        let value = value.trim_matches('"');
        match key {
            "name" => {
                if let Some(first) = seen.insert(value, number)
                    && !TWICE.contains(&value)
                {
                    faults.push(format!("Cargo.lock:{number}: {value} again (line {first})"));
                }
            }
            "source" if value != REGISTRY => {
                faults.push(format!("Cargo.lock:{number}: a package from {value}"));
            }
            _ => {}
        }
    }
    faults
}

/// The path and text of every package's `Cargo.toml`.
fn packages(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.ending("/Cargo.toml")
}

/// Every key with the name of its table and the number of its line.
fn lines(text: &str) -> impl Iterator<Item = (&str, usize, &str)> {
    let mut table = "";
    text.lines().map(str::trim).enumerate().filter_map(move |(index, line)| {
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']);
            return None;
        }
        (!line.is_empty() && !line.starts_with('#')).then_some((table, index + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree::of_texts;
    use super::*;

    #[test]
    fn a_forbidden_arrow_is_found() {
        let sys = "[package]\nname = \"x\"\n[dev-dependencies]\ndhow-spec.workspace = true\n";
        let runtime = "[dependencies]\ndhow-sys = { path = \"../sys\" }\nserde.workspace = true\n";
        let tree =
            of_texts(&[("crates/sys/Cargo.toml", sys), ("crates/runtime/Cargo.toml", runtime)]);
        assert_eq!(of_crates(&tree), ["crates/sys/Cargo.toml:4: sys may not know spec"]);
    }

    #[test]
    fn an_unknown_crate_is_found() {
        let tree = of_texts(&[("crates/new/Cargo.toml", "")]);
        assert_eq!(of_crates(&tree), ["crates/new/Cargo.toml: not in the table of arrows"]);
    }

    #[test]
    fn opting_out_of_the_lints_is_found() {
        let root = "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n";
        let good = "[lints]\nworkspace = true\n";
        let tree = of_texts(&[("Cargo.toml", root), ("crates/spec/Cargo.toml", good)]);
        assert_eq!(lints(&tree), Faults::new());
        let tree =
            of_texts(&[("Cargo.toml", "unsafe_code = \"forbid\""), ("xtask/Cargo.toml", "")]);
        assert_eq!(lints(&tree).len(), 2);
    }

    #[test]
    fn duplicates_and_strange_sources_are_found() {
        let lock =
            "[[package]]\nname = \"a\"\nsource = \"git+https://x\"\n[[package]]\nname = \"a\"\n";
        let tree = of_texts(&[("Cargo.lock", lock)]);
        assert_eq!(
            lock_file(&tree),
            ["Cargo.lock:3: a package from git+https://x", "Cargo.lock:5: a again (line 2)"]
        );
    }
}
