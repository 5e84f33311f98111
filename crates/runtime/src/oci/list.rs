//! `list`: every container below the state root.

use super::arguments::{Arg, Arguments, UsageError, unexpected};
use super::document::Document;
use super::help::{Help, Topic};
use super::{Command, Context, Failure, print, warn};
use crate::container::Container;

pub(super) const COMMAND: Command = Command { name: "list", help: &HELP, failure: 1, run };

const HELP: Help = Help {
    usage: "[OPTIONS]",
    about: "Lists the containers of this state directory.",
    topics: &[Topic {
        title: "OPTIONS",
        entries: &[
            ("-f, --format table|json", "how to print them; a table if absent"),
            ("-q, --quiet", "print ids only"),
        ],
    }],
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Table,
    Json,
    Ids,
}

fn parse(mut arguments: Arguments) -> Result<Form, UsageError> {
    let mut form = Form::Table;
    let mut quiet = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Short('f') | Arg::Long("format") => {
                form = arguments.chosen("table or json", |word| match word {
                    "table" => Some(Form::Table),
                    "json" => Some(Form::Json),
                    _ => None,
                })?;
            }
            Arg::Short('q') | Arg::Long("quiet") => quiet = arguments.switch()?,
            other => return Err(unexpected(other)),
        }
    }
    Ok(if quiet { Form::Ids } else { form })
}

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let form = parse(arguments)?;
    let root = context.state_root()?;
    let ids = root.list()?;
    if form == Form::Ids {
        print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>())?;
        return Ok(0);
    }
    let mut documents = Vec::with_capacity(ids.len());
    for id in ids {
        match Container::load(&root, &id).and_then(|container| Document::of(&container)) {
            Ok(document) => documents.push(document),
            // One that was deleted meanwhile, or is damaged, hides no other.
            Err(error) => warn(&format!("load container {id}: {error}")),
        }
    }
    print(&match form {
        Form::Json => json(&documents),
        Form::Table | Form::Ids => table(&documents),
    })?;
    Ok(0)
}

fn json(documents: &[Document]) -> String {
    // Plain strings and numbers always print.
    serde_json::to_string(documents).unwrap_or_default() + "\n"
}

const TITLES: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
/// Of every column but the last: runc's.
const WIDTH_MIN: usize = 12;
const PADDING: usize = 3;

fn table(documents: &[Document]) -> String {
    let mut rows = vec![TITLES.map(str::to_owned)];
    rows.extend(documents.iter().map(|document| {
        let Document { id, pid, status, bundle, created, owner, .. } = document;
        let pid = pid.to_string();
        [id, &pid, status, bundle, created, owner].map(String::clone)
    }));
    let widths: Vec<usize> = (0..TITLES.len() - 1)
        .map(|column| rows.iter().map(|row| row[column].chars().count() + PADDING).max())
        .map(|width| width.unwrap_or(0).max(WIDTH_MIN))
        .collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, &width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(&row[TITLES.len() - 1]);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::arguments::words;
    use super::super::document::sample;
    use super::*;

    #[test]
    fn every_option_is_read() {
        for (line, form) in [
            ("", Form::Table),
            ("-f json", Form::Json),
            ("--format table", Form::Table),
            ("--format=json", Form::Json),
            ("-q", Form::Ids),
            ("--quiet -f json", Form::Ids),
        ] {
            assert_eq!(parse(words(line)).unwrap(), form, "{line}");
        }
        for line in ["-f xml", "c1", "--all"] {
            assert!(parse(words(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn the_table_is_that_of_runc() {
        let documents =
            [sample("x1", 21888, "running", "/tmp/cliexp/b"), sample("x2", 0, "stopped", "/b")];
        assert_eq!(
            table(&documents[..1]),
            "ID          PID         STATUS      BUNDLE          CREATED                          OWNER\n\
             x1          21888       running     /tmp/cliexp/b   2026-11-22T05:41:41.770136118Z   root\n"
        );
        assert_eq!(table(&documents).lines().count(), 3);
        assert_eq!(
            table(&[]),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
    }

    #[test]
    fn the_json_is_that_of_runc() {
        assert_eq!(
            json(&[sample("x1", 21888, "running", "/b")]),
            "[{\"ociVersion\":\"1.3.0\",\"id\":\"x1\",\"pid\":21888,\"status\":\"running\",\
             \"bundle\":\"/b\",\"rootfs\":\"/b/rootfs\",\
             \"created\":\"2026-11-22T05:41:41.770136118Z\",\"owner\":\"root\"}]\n"
        );
        assert_eq!(json(&[]), "[]\n");
    }
}
