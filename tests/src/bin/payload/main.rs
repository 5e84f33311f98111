//! The program inside the contest's containers: one static file, one subcommand per question.
//!
//! It answers on standard output, mostly in JSON, and never waits longer than two minutes, so that a
//! container that was lost by its test ends by itself. It knows nothing of the runtime under test.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test program: its output is its purpose"
)]

mod hook;
mod hunt;
mod load;

use std::fs;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// No subcommand outlives this.
const LONGEST: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("payload {}: {e}", words.join(" "));
            ExitCode::from(99)
        }
    }
}

fn run(words: &[&str]) -> io::Result<u8> {
    match *words {
        ["report", ref rest @ ..] => print_json(&dhow_tests::gather(owned(rest)))?,
        ["try", ref rest @ ..] => try_all(rest)?,
        ["exit", code] => return Ok(number(code)? as u8),
        ["echo", ref rest @ ..] => println!("{}", rest.join(" ")),
        ["cat"] => {
            io::copy(&mut io::stdin(), &mut io::stdout())?;
        }
        ["split"] => {
            println!("to stdout");
            eprintln!("to stderr");
        }
        ["spam", bytes] => spam(number(bytes)?)?,
        // Says that it runs, then waits to be killed.
        ["wait"] => {
            say("ready")?;
            thread::sleep(LONGEST);
            return Ok(98);
        }
        // Waits for a file to appear, then exits with the code in it.
        ["wait-for", path] => {
            say("ready")?;
            return wait_for(path);
        }
        ["wait-then", path, ref rest @ ..] => {
            say("ready")?;
            wait_for(path)?;
            return run(rest);
        }
        // Prints a counter, so that a frozen container can be told from a running one.
        ["tick"] => tick()?,
        ["ask"] => ask()?,
        ["signal-self", signal] => signal_self(number(signal)? as i32)?,
        ["spawn", count] => load::spawn(number(count)?)?,
        ["spawn-and-wait", count] => {
            load::spawn(number(count)?)?;
            say("ready")?;
            thread::sleep(LONGEST);
        }
        ["orphan"] => load::orphan()?,
        ["alloc", megabytes] => load::alloc(number(megabytes)? as usize)?,
        ["burn", milliseconds] => load::burn(Duration::from_millis(number(milliseconds)?)),
        ["hook", log, name, ref rest @ ..] => return hook::run(log, name, rest),
        ["hunt", milliseconds] => hunt::run(Duration::from_millis(number(milliseconds)?))?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "unknown subcommand")),
    }
    Ok(0)
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

fn number(word: &str) -> io::Result<u64> {
    word.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("number {word}")))
}

fn print_json<T: serde::Serialize>(value: &T) -> io::Result<()> {
    say(&serde_json::to_string(value)?)
}

/// Prints a line at once, in one write.
fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes())?;
    out.flush()
}

/// Tries operations, separated by `--`, and prints the outcome of each.
fn try_all(words: &[&str]) -> io::Result<()> {
    let attempts: Vec<_> =
        words.split(|w| *w == "--").map(|op| dhow_tests::attempt(&owned(op))).collect();
    print_json(&attempts)
}

fn spam(bytes: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let line = [b'x'; 1024];
    for _ in 0..bytes / 1024 {
        out.write_all(&line)?;
    }
    out.write_all(&line[..(bytes % 1024) as usize])?;
    out.flush()
}

fn wait_for(path: &str) -> io::Result<u8> {
    let start = Instant::now();
    while start.elapsed() < LONGEST {
        if let Ok(text) = fs::read_to_string(path) {
            return Ok(text.trim().parse().unwrap_or(0));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(98)
}

fn tick() -> io::Result<()> {
    let start = Instant::now();
    for count in 0.. {
        say(&count.to_string())?;
        if start.elapsed() > LONGEST {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Answers each line of standard input.
fn ask() -> io::Result<()> {
    say("ready")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.trim() {
            "quit" => break,
            "report" => print_json(&dhow_tests::gather(Vec::new()))?,
            other => say(&format!("heard {other}"))?,
        }
    }
    Ok(())
}

fn signal_self(number: i32) -> io::Result<()> {
    let signal = rustix::process::Signal::from_named_raw(number)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "signal"))?;
    rustix::process::kill_process(rustix::process::getpid(), signal)?;
    thread::sleep(Duration::from_secs(1));
    Ok(())
}
