//! Usage lines and help, in Docker's layout.
//!
//! Absent on purpose: Docker's sentences; what a flag does is said in our own.

use std::fmt::Write;

use crate::args::Flag;
use crate::session;
use crate::tree::{Command, GROUPS, Group};

/// Flags before the command.
pub(crate) const GLOBAL: &[Flag] = &[
    Flag::text("config", "Directory of the client's configuration"),
    Flag::text("context", "Context that names the engine").short('c'),
    Flag::switch("debug", "Say more").short('D'),
    Flag::list("host", "Socket of the engine").short('H'),
    Flag::text("log-level", "Least important message to show").short('l').default("info"),
    Flag::switch("tls", "Use TLS; implied by --tlsverify"),
    Flag::text("tlscacert", "Certificates that are trusted"),
    Flag::text("tlscert", "Our certificate"),
    Flag::text("tlskey", "The key of our certificate"),
    Flag::switch("tlsverify", "Use TLS and check the engine"),
    Flag::switch("version", "Print version information and quit").short('v'),
];

/// The name under which the user called a command: as he did, else the canonical one.
fn called(program: &str, name: &str, usage: &str) -> String {
    let gap = if usage.is_empty() { "" } else { " " };
    format!("{program} {name}{gap}{usage}")
}

/// The line that begins with `Usage:`.
pub(crate) fn usage(program: &str, name: &str, command: &Command) -> String {
    format!("Usage:  {}", called(program, name, command.usage))
}

/// All about one command.
pub(crate) fn command(program: &str, name: &str, command: &Command) -> String {
    let mut out = format!("{}\n\n{}\n", usage(program, name, command), command.about);
    if command.names.len() > 1 {
        let names: Vec<_> = command.names.iter().map(|name| format!("{program} {name}")).collect();
        // Writing to a String cannot fail.
        let _ = write!(out, "\nAliases:\n  {}\n", names.join(", "));
    }
    let flags: Vec<&Flag> =
        command.flags.iter().flat_map(|table| table.iter()).filter(|flag| !flag.hidden).collect();
    if !flags.is_empty() {
        let _ = write!(out, "\nOptions:\n{}", options(flags));
    }
    out
}

fn options(mut flags: Vec<&Flag>) -> String {
    flags.sort_by_key(|flag| flag.long);
    let left = |flag: &Flag| {
        let short = flag.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
        let gap = if flag.kind.is_empty() { "" } else { " " };
        format!("  {short}--{}{gap}{}", flag.long, flag.kind)
    };
    let width = flags.iter().map(|flag| left(flag).len()).max().unwrap_or(0) + 3;
    let columns = match session::stdout_columns() {
        0 => 80,
        columns => columns.max(width + 30),
    };
    let mut out = String::new();
    for flag in flags {
        let mut line = format!("{:width$}", left(flag));
        let mut used = width;
        let shown = !matches!(flag.default, "" | "0" | "0s" | "true") && flag.long != "log-level";
        let default = match (shown, flag.kind) {
            (false, _) => String::new(),
            (true, "string") => format!(" (default {:?})", flag.default),
            (true, _) => format!(" (default {})", flag.default),
        };
        for word in format!("{}{default}", flag.help).split(' ') {
            if used > width && used + 1 + word.len() > columns {
                let _ = write!(line, "\n{:width$}", "");
                used = width;
            }
            if used > width {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += word.len();
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// All about a group.
pub(crate) fn group(program: &str, group: &Group, commands: &[&Command]) -> String {
    let mut out =
        format!("Usage:  {program} {} COMMAND\n\n{}\n\nCommands:\n", group.name, group.about);
    let mut lines: Vec<(&str, &str)> = commands
        .iter()
        .flat_map(|command| command.names.iter().map(move |name| (*name, command.about)))
        .filter_map(|(name, about)| {
            Some((name.strip_prefix(group.name)?.strip_prefix(' ')?, about))
        })
        .filter(|(name, _)| !matches!(*name, "list" | "remove" | "ps"))
        .collect();
    lines.sort_unstable();
    for (name, about) in lines {
        let _ = writeln!(out, "  {name:<11} {about}");
    }
    let _ = writeln!(
        out,
        "\nRun '{program} {} COMMAND --help' for more information on a command.",
        group.name
    );
    out
}

/// All that there is.
pub(crate) fn all(program: &str, commands: &[&Command]) -> String {
    let mut out = format!(
        "Usage:  {program} [OPTIONS] COMMAND\n\nRuns containers. The engine starts by itself when it is needed.\n"
    );
    const COMMON: [&str; 9] =
        ["run", "exec", "ps", "pull", "images", "logs", "stop", "version", "info"];
    let about = |name: &str| commands.iter().find(|command| command.names.contains(&name));
    out.push_str("\nCommon Commands:\n");
    for name in COMMON {
        if let Some(command) = about(name) {
            let _ = writeln!(out, "  {name:<11} {}", command.about);
        }
    }
    out.push_str("\nManagement Commands:\n");
    for group in GROUPS {
        let _ = writeln!(out, "  {:<11} {}", group.name, group.about);
    }
    let mut rest: Vec<(&str, &str)> = commands
        .iter()
        .flat_map(|command| command.names.iter().map(move |name| (*name, command.about)))
        .filter(|(name, _)| !name.contains(' ') && !COMMON.contains(name))
        .collect();
    rest.sort_unstable();
    out.push_str("\nCommands:\n");
    for (name, about) in rest {
        let _ = writeln!(out, "  {name:<11} {about}");
    }
    let _ = write!(out, "\nGlobal Options:\n{}", options(GLOBAL.iter().collect()));
    let _ = writeln!(out, "\nRun '{program} COMMAND --help' for more information on a command.");
    out
}
