//! The command line: Docker's commands, flags, output and exit codes, over an engine's socket.
//!
//! Thin: it parses, asks the engine and prints; what is decided, the engine decides. One thread and
//! blocking sockets, for most calls are over before a runtime would have started. Absent on purpose:
//! any knowledge of how the engine does things.

mod args;
mod build;
mod cli;
mod client;
mod clock;
mod commands;
mod config;
mod context;
#[cfg(test)]
mod coverage;
mod create;
mod credentials;
mod failure;
mod files;
mod format;
mod help;
mod json;
mod man;
mod progress;
mod session;
mod start;
mod tree;
mod units;

use std::ffi::OsString;
use std::io::Write;

pub use cli::Environment;

use cli::Cli;
use commands::COMMANDS;
use failure::Failure;
use tree::{Command, Found};

/// Runs the command line `words` (without the program's name) and gives its exit code. Called by the
/// name `docker`, it speaks of itself by that name.
pub fn main(name: &str, environment: Environment, words: impl IntoIterator<Item = OsString>) -> u8 {
    let program = if name == "docker" { "docker" } else { "dhow" };
    // Go's JSON would make the same of bytes that are no text.
    let words = words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match dispatch(program, environment, words) {
        Ok(code) => code,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                // If nobody takes the message there is nobody to tell.
                let _ = writeln!(std::io::stderr(), "{text}");
            }
            failure.code()
        }
    }
}

fn dispatch(
    program: &'static str,
    environment: Environment,
    words: Vec<String>,
) -> Result<u8, Failure> {
    let usage = |text| Failure::Usage { text, code: 125 };
    let global = args::parse(&[help::GLOBAL], true, words)
        .map_err(|mistake| usage(top_mistake(program, &mistake.to_string())))?;
    let words = global.words.clone();
    let (wants_help, wants_version) = (global.help, global.on("version"));
    let cli = Cli::new(program, environment, global);
    if wants_version {
        cli.say(&commands::short_version(program))?;
        return Ok(0);
    }
    if wants_help || words.is_empty() {
        cli.print(&help::all(program, COMMANDS))?;
        return Ok(0);
    }
    match words[0].as_str() {
        "help" => return help_for(&cli, &words[1..]),
        "__complete" => return commands::completion::complete(&cli, &words[1..]),
        "__man" if words.len() == 2 => {
            man::write(program, std::path::Path::new(&words[1]))?;
            return Ok(0);
        }
        _ => {}
    }
    match tree::find(COMMANDS, &words) {
        Found::Command(command, count) => run(&cli, command, count, words),
        Found::Group(group) => {
            let text = help::group(program, group, COMMANDS);
            // Whoever asked for it may want to read it in a pager.
            if words.len() > 1 {
                cli.print(&text)?;
            } else {
                cli.warn(text.trim_end());
            }
            Ok(0)
        }
        Found::Unbuilt(name) => {
            commands::plugin::run(&cli, &words)?;
            Err(Failure::NotBuilt { what: format!("'{program} {name}'") })
        }
        Found::Nothing(name) => {
            commands::plugin::run(&cli, &words)?;
            Err(Failure::Usage { text: unknown(program, &name), code: 1 })
        }
    }
}

fn top_mistake(program: &str, mistake: &str) -> String {
    format!(
        "{mistake}\n\nUsage:  {program} [OPTIONS] COMMAND [ARG...]\n\nRun '{program} --help' for more information"
    )
}

fn unknown(program: &str, name: &str) -> String {
    match name.split_once(' ') {
        None => format!(
            "{program}: unknown command: {program} {name}\n\nRun '{program} --help' for more information"
        ),
        Some((group, _)) => format!(
            "{program}: unknown command: {program} {name}\n\nUsage:  {program} {group}\n\nRun '{program} {group} --help' for more information"
        ),
    }
}

fn help_for(cli: &Cli, words: &[String]) -> Result<u8, Failure> {
    let program = cli.program;
    let text = match tree::find(COMMANDS, words) {
        Found::Command(command, count) => {
            help::command(program, &words[..count].join(" "), command)
        }
        Found::Group(group) => help::group(program, group, COMMANDS),
        Found::Unbuilt(name) => {
            return Err(Failure::NotBuilt { what: format!("'{program} {name}'") });
        }
        Found::Nothing(_) if words.is_empty() => help::all(program, COMMANDS),
        Found::Nothing(name) => {
            return Err(Failure::Usage { text: unknown(program, &name), code: 1 });
        }
    };
    cli.print(&text)?;
    Ok(0)
}

fn run(
    cli: &Cli,
    command: &'static Command,
    count: usize,
    words: Vec<String>,
) -> Result<u8, Failure> {
    let program = cli.program;
    let name = words[..count].join(" ");
    let usage = help::usage(program, &name, command);
    let more = format!("Run '{program} {name} --help' for more information");
    let matches =
        args::parse(command.flags, command.stops, words.into_iter().skip(count)).map_err(
            |mistake| Failure::Usage { text: format!("{mistake}\n\n{usage}\n\n{more}"), code: 125 },
        )?;
    if matches.help || matches.asks_for_help() {
        cli.print(&help::command(program, &name, command))?;
        return Ok(0);
    }
    command.words.check(matches.words.len()).map_err(|why| Failure::Usage {
        text: format!("{program}: '{program} {name}' {why}\n\n{usage}\n\n{more}"),
        code: 1,
    })?;
    (command.run)(cli, &matches)
}
