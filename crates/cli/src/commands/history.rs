//! `history`: how an image came to be.

use super::images::platform;
use super::ps::age;
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{escape, query};
use crate::clock::{Moment, Zone};
use crate::failure::Failure;
use crate::format::{Heads, Row, ellipsis, render, short_id};
use crate::tree::{Command, Words};
use crate::units::human_size;

pub(super) const HISTORY: Command = Command {
    names: &["image history", "history"],
    usage: "[OPTIONS] IMAGE",
    about: "Show the history of an image",
    flags: &[&[
        Flag::text("format", super::FORMAT_HELP),
        Flag::switch("human", "Print sizes and dates for people").short('H').default("true"),
        Flag::switch("no-trunc", "Do not shorten anything"),
        Flag::text("platform", "Platform, if the image has several"),
        Flag::switch("quiet", "Only show image IDs").short('q'),
    ]],
    words: Words::Exactly(1),
    stops: false,
    run: history,
};

const TABLE: &str = "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";

const HEADS: Heads = &[
    ("ID", "IMAGE"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

fn history(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let pairs = cli.platform(matches).map(|text| ("platform", platform(&text)));
    let path = format!("/images/{}/history{}", escape(&matches.words[0]), query(pairs));
    let steps = cli.client()?.get(path)?;
    let (human, trunc) = (matches.on("human"), !matches.on("no-trunc"));
    let quiet = matches.on("quiet");
    let format = match matches.text("format") {
        "" | "table" if quiet => "{{.ID}}",
        "" | "table" if human => TABLE,
        "" | "table" => "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        format => format,
    };
    let rows = steps.items().iter().map(|step| {
        let (id, created) = (step.text("Id"), step.int("Created"));
        let by = step.text("CreatedBy").replace('\t', " ");
        let moment = Moment { seconds: created, nanoseconds: 0 };
        let never = created <= 0;
        let size = match human {
            true => human_size(step.number("Size"), 3),
            false => step.int("Size").to_string(),
        };
        Row::default()
            .with("ID", if trunc { short_id(id) } else { id })
            .with("CreatedAt", if never { String::new() } else { rfc3339(moment) })
            .with("CreatedSince", if never { "N/A".to_owned() } else { age(moment) })
            .with("CreatedBy", if trunc { ellipsis(&by, 45) } else { by })
            .with("Size", size)
            .with("Comment", step.text("Comment"))
    });
    cli.print(&render(format, HEADS, rows.collect())?)?;
    Ok(0)
}

/// To the second.
fn rfc3339(moment: Moment) -> String {
    moment.rfc3339_nano(&Zone::utc())
}
