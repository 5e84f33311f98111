//! Signals: by name and number, to one and to all, and through a runtime in the foreground.

use super::scenarios;
use crate::contest::{Case, Outcome, check, check_eq, live_processes};
use crate::machine::{Machine, Program};

/// A program that blocks all signals, says so, and exits with the number of the first that comes.
fn first_signal() -> Program {
    let mut program = Program::new(Machine::X86_64);
    let all = program.data(&[0xff; 8]);
    // Not SIGURG, which Go programs send themselves and runc hands on.
    let waited = program.data(&(!(1u64 << 22)).to_le_bytes());
    let ready = program.data(b"ready\n\0\0");
    program.call(14, &[0.into(), all, 0.into(), 8.into()]); // rt_sigprocmask(SIG_BLOCK)
    program.print(ready, 6);
    program.call(128, &[waited, 0.into(), 0.into(), 8.into()]); // rt_sigtimedwait, without a timeout
    program.exit_with_result();
    program
}

/// A created container is killed before it ever ran.
fn kill_created(c: &Case) -> Outcome {
    let container = c.create_container(&c.config().payload(&["wait"]))?;
    container.kill("KILL")?;
    container.wait_status("stopped")?;
    container.delete()?;
    c.nothing_left()
}

/// A stopped container cannot be killed.
fn kill_stopped(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    container.stop()?;
    c.runtime(&["kill", &c.token, "TERM"])?
        .fails_naming(&["not running|stopped|no such process"])?;
    container.delete()
}

fn signal(c: &Case, args: &[&str], expected: i32) -> Outcome {
    c.bundle.program("first-signal", &first_signal())?;
    let container = c.create_container(&c.config().args(&["/bin/first-signal"]))?;
    let pid = container.pid()?;
    container.start()?;
    container.wait_output("ready")?;
    c.runtime(&[&["kill", c.token.as_str()], args].concat())?.ok()?;
    check_eq!(container.wait_exit(pid)?, expected, "the signal that arrived for `kill {args:?}`");
    container.delete()
}

/// Signals go by name, with and without `SIG`, and by number.
fn kill_by_name_and_number(c: &Case) -> Outcome {
    for (word, number) in [("TERM", 15), ("SIGHUP", 1), ("10", 10), ("INT", 2), ("SIGUSR2", 12)] {
        signal(c, &[word], number)?;
    }
    Ok(())
}

/// Real-time signals go by number.
fn kill_realtime(c: &Case) -> Outcome {
    signal(c, &["37"], 37)
}

/// Without a word, `kill` means TERM.
fn kill_default(c: &Case) -> Outcome {
    signal(c, &[], 15)
}

/// A signal nobody knows is named, and nothing is sent.
fn kill_unknown_signal(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    c.runtime(&["kill", &c.token, "SIGNONSENSE"])?.fails_naming(&["SIGNONSENSE"])?;
    c.runtime(&["kill", &c.token, "999"])?.fails_naming(&["signal"])?;
    container.check_status("running")?;
    container.stop()?;
    container.delete()
}

/// Without a pid namespace, `kill --all` reaches every process of the container.
fn kill_all(c: &Case) -> Outcome {
    let config = c.config().without_namespace("pid").payload(&["spawn-and-wait", "3"]);
    let container = c.create_container(&config)?;
    container.start()?;
    container.wait_output("ready")?;
    check!(live_processes().len() >= 4, "processes: {:?}", live_processes());
    c.runtime(&["kill", "--all", &c.token, "KILL"])?.ok()?;
    container.wait_status("stopped")?;
    c.wait_until("all processes are gone", || Ok(live_processes().is_empty()))?;
    container.delete()
}

/// A created container ends at TERM, although its program is not there to handle it.
fn term_ends_created(c: &Case) -> Outcome {
    let container = c.create_container(&c.config().payload(&["wait"]))?;
    container.kill("TERM")?;
    container.wait_status("stopped")?;
    container.delete()
}

/// Without a pid namespace, KILL reaches the other processes also when the first one has gone.
fn kill_after_first(c: &Case) -> Outcome {
    let config = c.config().without_namespace("pid").payload(&["spawn-and-wait", "3"]);
    let container = c.create_container(&config)?;
    container.start()?;
    container.wait_output("ready")?;
    let pid = container.pid()?.to_string();
    c.program("kill", &["-s", "KILL", &pid])?.ok()?;
    container.wait_status("stopped")?;
    check!(live_processes().len() >= 3, "processes: {:?}", live_processes());
    container.kill("KILL")?;
    c.wait_until("all processes are gone", || Ok(live_processes().is_empty()))?;
    container.delete()
}

/// `run` in the foreground hands signals on to the container.
fn signals_are_forwarded(c: &Case) -> Outcome {
    c.bundle.program("first-signal", &first_signal())?;
    for (name, number) in [("TERM", 15), ("USR1", 10), ("HUP", 1), ("INT", 2)] {
        let running = c.run_call(&c.config().args(&["/bin/first-signal"]))?.spawn()?;
        running.wait_output("ready")?;
        c.program("kill", &["-s", name, &running.pid().to_string()])?.ok()?;
        running.finish()?.code_is(number)?;
    }
    Ok(())
}

scenarios![
    kill_created,
    kill_stopped,
    kill_by_name_and_number,
    kill_realtime,
    kill_default,
    kill_unknown_signal,
    kill_all,
    kill_after_first,
    term_ends_created,
    signals_are_forwarded,
];
