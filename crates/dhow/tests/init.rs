//! The small init as a program: what it starts, what it hands on, how it ends.
#![allow(clippy::disallowed_methods, reason = "the program is what is tested")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};

fn init(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dhow"));
    command.arg0("docker-init").arg("--").args(words);
    command
}

fn output(words: &[&str]) -> Output {
    init(words).output().expect("the program")
}

#[test]
fn it_ends_as_its_program_did() {
    let code = |words: &[&str]| output(words).status.code();
    assert_eq!(code(&["true"]), Some(0));
    assert_eq!(code(&["sh", "-c", "exit 7"]), Some(7));
    assert_eq!(code(&["sh", "-c", "kill -9 $$"]), Some(137));
    assert_eq!(code(&["no-such-program"]), Some(127));
    assert_eq!(code(&["/etc/passwd"]), Some(126));
    let missing = output(&["no-such-program"]).stderr;
    let missing = String::from_utf8_lossy(&missing).into_owned();
    assert_eq!(missing, "init: exec no-such-program: no such file or directory\n");
}

#[test]
fn programs_find_signals_as_usual() {
    let found = output(&["grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"]).stdout;
    let found = String::from_utf8_lossy(&found).into_owned();
    for line in found.lines() {
        assert!(line.ends_with("\t0000000000000000"), "{line}");
    }
    assert_eq!(found.lines().count(), 2);
}

/// Starts a script, and gives it back once it has said `ready`.
fn started(script: &str) -> (Child, impl BufRead) {
    let mut child =
        init(&["sh", "-c", script]).stdout(Stdio::piped()).spawn().expect("the program");
    let mut lines = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    (child, lines)
}

#[test]
fn signals_are_handed_on() {
    let (mut child, mut lines) =
        started("trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    assert_eq!(line, "asked\n");
    assert_eq!(child.wait().expect("its end").code(), Some(3));
}

#[test]
fn what_others_leave_behind_is_taken_in() {
    // The inner shell's child outlives it, and ends while the program still runs.
    let script = "sh -c 'sleep 0.1 & echo $!' > /dev/null; echo ready; sleep 0.6; \
                  for f in /proc/[0-9]*/stat; do read -r p c s pp rest < $f 2>/dev/null && \
                  [ \"$pp\" = \"$PPID\" ] && [ \"$s\" = Z ] && echo zombie; done; exit 0";
    let (mut child, lines) = started(script);
    assert_eq!(lines.lines().count(), 0);
    assert_eq!(child.wait().expect("its end").code(), Some(0));
}
