//! The official conformance suite of the distribution specification, all of its workflows.
//!
//! It comes as a Go module and is built below `target/`. Where there is no Go, or the module cannot be had,
//! the test is skipped, loudly.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::server::{Scratch, Server};

const MODULE: &str = "github.com/opencontainers/distribution-spec/conformance";
/// The newest version there is; it tests specification 1.1 and what was agreed upon since.
const VERSION: &str = "v0.0.0-20260831232431-97274622c111";
/// So many cases it has with everything turned on; fewer would be fewer workflows.
const CASES_MIN: usize = 1000;

/// The suite's program, built if it is not there.
fn suite() -> Result<PathBuf, &'static str> {
    let places = ["/usr/local/go/bin/go", "/usr/bin/go", "/usr/local/bin/go"];
    let go = places.iter().map(Path::new).find(|path| path.is_file()).ok_or("no Go")?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(VERSION);
    let program = folder.join("conformance");
    if program.is_file() {
        return Ok(program);
    }
    std::fs::create_dir_all(&folder).expect("a folder");
    #[expect(clippy::disallowed_methods, reason = "a program to test with")]
    let mut install = Command::new(go);
    install.arg("install").arg(format!("{MODULE}@{VERSION}")).env("GOBIN", &folder);
    let installed = install.stdin(Stdio::null()).status().expect("Go starts");
    if installed.success() { Ok(program) } else { Err("the module cannot be had") }
}

fn run(server: &Server, program: &Path, user: Option<&str>) -> (String, bool) {
    let scratch = Scratch::new();
    #[expect(clippy::disallowed_methods, reason = "a program to test with")]
    let mut command = Command::new(program);
    command.current_dir(scratch.path()).env_clear().stdin(Stdio::null());
    command.env("OCI_VERSION", "dev").env("OCI_DATA_SPARSE", "true");
    command.env("OCI_REGISTRY", server.address.to_string()).env("OCI_TLS", "disabled");
    command.env("OCI_RESULTS_DIR", scratch.path());
    if let Some(user) = user {
        command.env("OCI_USERNAME", user).env("OCI_PASSWORD", "pass word");
    }
    let output = command.output().expect("the suite");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

/// The numbers behind `word` in the suite's summary.
fn count(report: &str, word: &str) -> usize {
    let number = |line: &str| line.split(':').nth(1)?.trim().parse::<usize>().ok();
    let mut lines = report.lines().filter(|line| line.trim().starts_with(word));
    lines.find_map(number).unwrap_or(0)
}

fn judge(test: &str, config: &str, user: Option<&str>) {
    let program = match suite() {
        Ok(program) => program,
        Err(why) => return say(&format!("SKIPPED {test}: {why}")),
    };
    let server = Server::with(config);
    let (report, good) = run(&server, &program, user);
    let counts = ["Pass..", "FAIL..", "Skip.."].map(|word| count(&report, word));
    let lines: Vec<_> = report.lines().filter(|line| line.contains("FAIL")).collect();
    assert!(good, "{counts:?}\n{}", lines.join("\n"));
    let [passed, failed, skipped] = counts;
    assert_eq!((failed, skipped), (0, 0), "{report}");
    assert!(passed >= CASES_MIN, "only {passed} cases\n{report}");
}

#[test]
fn conformance() {
    judge("conformance", r#"{"repositories": [{"repositories": ["**"], "sparse": true}]}"#, None);
}

#[test]
fn conformance_with_tokens() {
    let config = r#"{"repositories": [{"repositories": ["**"], "sparse": true}],
        "access": {"htpasswd": "DIR/htpasswd", "rules": [{"repositories": ["conformance/**"],
            "users": ["ann"], "allow": ["pull", "push", "delete"]}]}}"#;
    judge("conformance_with_tokens", config, Some("ann"));
}

#[expect(clippy::print_stderr, reason = "a skip is said")]
fn say(line: &str) {
    eprintln!("{line}");
}
