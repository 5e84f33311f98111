//! What of the runtime and the host could be had from inside: open files, working directories, its
//! own program.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::hostile::replace;
use super::scenarios;
use crate::contest::{Case, Done, Outcome, check, check_eq, live_processes};

fn checks_no_host_directory(done: &Done) -> Outcome {
    let got: Vec<crate::Attempt> = done.json()?;
    for attempt in &got {
        let names = attempt.ok.as_deref().unwrap_or("");
        check!(
            !names.split(' ').any(|n| n == "usr" || n == "canaries"),
            "{:?} shows the host: {names}",
            attempt.op
        );
    }
    Ok(())
}

/// No file of the runtime can be the working directory: `/proc/self/fd/N` is refused.
fn cwd_is_fd(c: &Case) -> Outcome {
    replace(c, "link", Path::new("/proc/self/fd"))?;
    for number in 3..20 {
        for path in [format!("/proc/self/fd/{number}"), format!("/link/{number}")] {
            let config = c.config().set("/process/cwd", path.as_str()).args(&[
                "/bin/payload",
                "try",
                "ls",
                ".",
                "--",
                "ls",
                "../../../../..",
            ]);
            let done = c.run(&config)?;
            if done.code == 0 {
                checks_no_host_directory(&done)?;
                check!(false, "{path} was accepted as working directory");
            }
        }
    }
    c.nothing_left()
}

/// The same for `exec`.
fn exec_cwd_is_fd(c: &Case) -> Outcome {
    replace(c, "link", Path::new("/proc/self/fd"))?;
    let container = c.start_waiting(&c.config())?;
    for number in 3..15 {
        for path in [format!("/proc/self/fd/{number}"), format!("/link/{number}")] {
            let program = ["/bin/payload", "try", "ls", ".", "--", "ls", "../../../../.."];
            let done = container.exec(&["--cwd", &path], &program)?;
            if done.code == 0 {
                checks_no_host_directory(&done)?;
                check!(false, "{path} was accepted as working directory");
            }
        }
    }
    container.delete_force()
}

/// The program is a link to a file of the runtime.
fn program_is_fd(c: &Case) -> Outcome {
    for number in 3..12 {
        let path = format!("/proc/self/fd/{number}");
        let done = c.run(&c.config().args(&[path.as_str(), "report"]))?;
        check!(done.code != 0, "{path} was executed");
    }
    c.nothing_left()
}

/// The runtime as seen from a hostile container while things are executed in it.
fn hunted(c: &Case, programs: &[&[&str]]) -> Outcome<Value> {
    let hunter = c.create_container(&c.config().payload(&["hunt", "2500"]))?;
    hunter.start()?;
    hunter.wait_output("ready")?;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1800) {
        for program in programs {
            // Whether it works is not the question here.
            hunter.exec(&[], program)?;
        }
    }
    hunter.wait_status("stopped")?;
    let text = hunter.output();
    let caught = serde_json::from_str(text.lines().last().unwrap_or(""))?;
    hunter.delete()?;
    Ok(caught)
}

/// Whoever catches the runtime during `exec` cannot get its program for writing.
fn program_is_not_writable(c: &Case) -> Outcome {
    let before = fs::read(&c.runtime.path)?;
    c.bundle.executable("bin/self", b"#!/proc/self/exe\n")?;
    let caught = hunted(
        c,
        &[
            &["/bin/payload", "exit", "0"],
            // The old trick: have the runtime execute itself in the container.
            &["/proc/self/exe", "--version"],
            &["/proc/self/exe", "state", "x"],
            &["/bin/self"],
        ],
    )?;
    check_eq!(caught["writable"], json!([]), "programs opened for writing");
    check!(fs::read(&c.runtime.path)? == before, "the runtime's program has changed");
    Ok(())
}

/// Nor any of its open files.
fn files_are_not_visible(c: &Case) -> Outcome {
    let caught = hunted(c, &[&["/bin/payload", "exit", "0"]])?;
    check_eq!(caught["fds"], json!([]), "open files of the runtime, seen from inside");
    Ok(())
}

/// A created container holds none of them while it waits: its streams, and what it waits on.
fn created_holds_nothing(c: &Case) -> Outcome {
    let container = c.create_container(&c.config())?;
    let dir = format!("/proc/{}/fd", container.pid()?);
    let mut held = Vec::new();
    // It may be told to be created a moment before it has come to rest.
    let rests = c.wait_until("a created container holds nothing", || {
        held = not_its_own(&dir)?;
        Ok(held.is_empty())
    });
    check!(rests.is_ok(), "it holds {held:?}");
    container.delete_force()
}

/// The open files of a process that waits for its start, but for what it may have.
fn not_its_own(dir: &str) -> Outcome<Vec<String>> {
    let mut held = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // What has been closed since the directory was read is held no more.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.display().to_string();
        let stream = matches!(entry.file_name().to_str(), Some("0" | "1" | "2"));
        // runc and crun wait on a FIFO of this name, and hold their own program.
        let waiting = target.starts_with("socket:") || target.contains("exec.fifo");
        let own = ["anon_inode:", "pipe:", "/memfd:", "/runc"];
        let harmless = matches!(target.as_str(), "/" | "/proc" | "/1/task/1/fd" | "/dev/null");
        if !stream && !waiting && !harmless && !own.iter().any(|part| target.starts_with(part)) {
            held.push(target);
        }
    }
    Ok(held)
}

/// When the container runs, no process of the runtime's shares its program with it.
fn nothing_of_the_runtime_remains(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let live = live_processes();
    check_eq!(live.len(), 1, "processes of a detached container: {live:?}");
    container.delete_force()
}

scenarios![
    cwd_is_fd(60, 60),
    exec_cwd_is_fd(60, 60),
    program_is_fd,
    program_is_not_writable,
    files_are_not_visible,
    created_holds_nothing,
    nothing_of_the_runtime_remains,
];
