//! The contest's scenarios against our own binary, a test per module of scenarios.
//!
//! Each case is a fresh process of `dhow-contest`. The binary under test lies beside it, where
//! `cargo build` puts it: these tests do not build it. Without root they say so and pass.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test starts the program that it tests, and says what it skips"
)]

use std::path::Path;
use std::process::Command;

/// Runs the scenarios of a module; fails with the whole table if one fails.
fn module(name: &str) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED {name}: needs root");
        return;
    }
    let contest = Path::new(env!("CARGO_BIN_EXE_dhow-contest"));
    assert!(Path::new(env!("CARGO_BIN_EXE_payload")).exists());
    let dhow = contest.with_file_name("dhow");
    assert!(dhow.exists(), "{} is not there: `cargo build` comes first", dhow.display());
    let output = Command::new(contest)
        .args(["--only", &format!("{name}::"), "--jobs", "1", "--runtime"])
        .arg(format!("dhow={},oci", dhow.display()))
        .output()
        .expect("the contest was built with this test");
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{said}");
    assert!(text.contains("pass"), "no scenario passed:\n{text}{said}");
    // Skips with leave are part of the report.
    let skips = text.lines().filter_map(|line| line.strip_prefix("skip  dhow "));
    skips.for_each(|skip| eprintln!("SKIPPED {skip}"));
}

macro_rules! modules {
    ($($name:ident),*) => {
        $(#[test] fn $name() { module(stringify!($name)); })*

        #[test]
        fn no_module_is_forgotten() {
            let known = [$(stringify!($name)),*];
            for scenario in dhow_tests::matching("") {
                let name = scenario.name();
                let module = name.split("::").next().unwrap_or("");
                assert!(known.contains(&module), "no test runs the scenarios of {module}");
            }
        }
    };
}

modules!(
    namespaces,
    mounts,
    idmaps,
    propagation,
    rootfs,
    process,
    capabilities,
    seccomp,
    cgroups,
    devices,
    control,
    hooks,
    terminal,
    lifecycle,
    signals,
    exec,
    errors,
    hostile,
    leaks,
    crashes,
    rootless,
    features,
    cli
);
