//! Man pages, made of the same tables as `--help`: one for the program and one for each command.
//!
//! Invariant: a page says what the command takes, for it is printed from what reads the command line.

use std::fmt::Write;
use std::path::Path;

use crate::args::Flag;
use crate::commands::COMMANDS;
use crate::config::write_public;
use crate::failure::Failure;
use crate::help::GLOBAL;
use crate::tree::{Command, GROUPS};

/// Writes all pages into a directory.
pub(crate) fn write(program: &str, directory: &Path) -> Result<(), Failure> {
    let write = |name: &str, text: &str| write_public(&directory.join(format!("{name}.1")), text);
    write(program, &overview(program))?;
    for command in COMMANDS {
        for (place, name) in command.names.iter().enumerate() {
            let file = format!("{program}-{}", name.replace(' ', "-"));
            let text = match place {
                0 => page(program, command),
                _ => format!(".so man1/{program}-{}.1\n", command.names[0].replace(' ', "-")),
            };
            write(&file, &text)?;
        }
    }
    Ok(())
}

fn head(title: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH \"{}\" \"1\" \"\" \"dhow {version}\" \"User Commands\"\n", title.to_uppercase())
}

fn page(program: &str, command: &Command) -> String {
    let name = command.names[0];
    let file = format!("{program}-{}", name.replace(' ', "-"));
    let mut out = head(&file);
    // Writing to a String cannot fail.
    let _ = write!(out, ".SH NAME\n{} \\- {}\n", escape(&file), escape(command.about));
    out.push_str(".SH SYNOPSIS\n");
    for usage in command.usage.split('\n') {
        let usage = usage.trim().trim_start_matches("docker ").trim_start_matches(name);
        let _ = write!(out, ".B {program} {name}\n{}\n.br\n", escape(usage.trim()));
    }
    if command.names.len() > 1 {
        let names: Vec<_> = command.names.iter().map(|name| format!("{program} {name}")).collect();
        let _ = write!(out, ".SH ALIASES\n{}\n", escape(&names.join(", ")));
    }
    let flags: Vec<&Flag> =
        command.flags.iter().flat_map(|table| table.iter()).filter(|flag| !flag.hidden).collect();
    if !flags.is_empty() {
        out.push_str(".SH OPTIONS\n");
        options(&mut out, flags);
    }
    let _ = write!(out, ".SH SEE ALSO\n.BR {program} (1)\n");
    out
}

fn options(out: &mut String, mut flags: Vec<&Flag>) {
    flags.sort_by_key(|flag| flag.long);
    for flag in flags {
        let short = flag.short.map(|short| format!("\\fB\\-{short}\\fR, ")).unwrap_or_default();
        let long = escape(flag.long);
        let kind = match flag.kind {
            "" => String::new(),
            kind => format!(" \\fI{kind}\\fR"),
        };
        let _ = write!(out, ".TP\n{short}\\fB\\-\\-{long}\\fR{kind}\n{}", escape(flag.help));
        if !matches!(flag.default, "" | "0" | "0s" | "true") {
            let _ = write!(out, " (default {})", escape(flag.default));
        }
        out.push('\n');
    }
}

fn overview(program: &str) -> String {
    let mut out = head(program);
    let _ = write!(out, ".SH NAME\n{program} \\- run containers\n");
    let _ = write!(out, ".SH SYNOPSIS\n.B {program}\n[OPTIONS] COMMAND\n");
    out.push_str(
        ".SH DESCRIPTION\nRuns containers. The engine starts by itself when it is needed.\n",
    );
    out.push_str(".SH OPTIONS\n");
    options(&mut out, GLOBAL.iter().collect());
    out.push_str(".SH COMMANDS\n");
    let mut commands: Vec<&&Command> = COMMANDS.iter().collect();
    commands.sort_by_key(|command| command.names[0]);
    for command in commands {
        let file = format!("{program}-{}", command.names[0].replace(' ', "-"));
        let _ = write!(out, ".TP\n.BR {} (1)\n{}\n", escape(&file), escape(command.about));
    }
    out.push_str(".SH GROUPS\n");
    for group in GROUPS {
        let _ = write!(out, ".TP\n.B {}\n{}\n", group.name, escape(group.about));
    }
    out
}

/// Text that roff takes for text.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_on_its_page() {
        for command in COMMANDS {
            let page = page("dhow", command);
            let flags = command.flags.iter().flat_map(|table| table.iter());
            for flag in flags.filter(|flag| !flag.hidden) {
                assert!(page.contains(&escape(flag.long)), "{} --{}", command.names[0], flag.long);
                assert!(!flag.help.is_empty(), "{} --{}", command.names[0], flag.long);
            }
        }
    }

    #[test]
    fn roff_takes_text_for_text() {
        assert_eq!(escape(".a-b\\"), "\\&.a\\-b\\e");
        assert!(overview("dhow").contains("dhow\\-container\\-run"));
    }
}
