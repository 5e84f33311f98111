//! `search`: repositories of a registry by a word.

use super::filters_json;
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{Payload, Request, query};
use crate::failure::Failure;
use crate::format::{Heads, Row, ellipsis, render};
use crate::json::Json;
use crate::tree::{Command, Words};

pub(super) const SEARCH: Command = Command {
    names: &["search"],
    usage: "[OPTIONS] [REGISTRY/]TERM",
    about: "Search a registry for images",
    flags: &[&[
        Flag::filter("Show only what matches (is-official=true, stars=3)").short('f'),
        Flag::text("format", super::FORMAT_HELP),
        Flag::int("limit", "How many to show at most (1 to 100)"),
        Flag::switch("no-trunc", "Do not shorten anything"),
    ]],
    words: Words::Exactly(1),
    stops: false,
    run: search,
};

const TABLE: &str = "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";

const HEADS: Heads = &[
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("StarCount", "STARS"),
    ("IsOfficial", "OFFICIAL"),
    ("IsAutomated", "AUTOMATED"),
];

/// A description's share of a line.
const DESCRIPTION_MAX: usize = 45;

fn search(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let term = &matches.words[0];
    let mut pairs = vec![("term", term.clone())];
    if matches.changed("limit") {
        pairs.push(("limit", matches.int("limit").to_string()));
    }
    let filters = filters_json(matches).encode();
    if !filters.is_empty() {
        pairs.push(("filters", filters));
    }
    let registry = term.split_once('/').map_or("", |(registry, _)| registry);
    let registry = if registry.contains(['.', ':']) { registry } else { "docker.io" };
    let auth = cli.config()?.auth(registry)?;
    let found = cli.client()?.json(Request {
        method: "GET",
        path: format!("/images/search{}", query(pairs)),
        headers: vec![("X-Registry-Auth", auth)],
        payload: Payload::Empty,
    })?;
    let mut found: Vec<&Json> = found.items().iter().collect();
    found.sort_by_key(|one| std::cmp::Reverse(one.int("star_count")));
    let ok = |is: bool| if is { "[OK]" } else { "" };
    let rows = found.into_iter().map(|one| {
        let description = one.text("description").replace(['\n', '\r'], " ");
        let description = match matches.on("no-trunc") {
            true => description,
            false => ellipsis(&description, DESCRIPTION_MAX),
        };
        Row::default()
            .with("Name", one.text("name"))
            .with("Description", description)
            .with("StarCount", one.int("star_count").to_string())
            .with("IsOfficial", ok(one.on("is_official")))
            .with("IsAutomated", ok(one.on("is_automated")))
    });
    let format = match matches.text("format") {
        "" | "table" => TABLE,
        format => format,
    };
    cli.print(&render(format, HEADS, rows.collect())?)?;
    Ok(0)
}
