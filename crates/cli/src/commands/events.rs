//! `events`.

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use super::attached::RETURN_MAX;
use super::filters;
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::query;
use crate::clock::{Moment, Zone, parse_since};
use crate::failure::Failure;
use crate::format::Format;
use crate::json::Json;
use crate::tree::{Command, Words};

pub(super) const EVENTS: Command = Command {
    names: &["system events", "events"],
    usage: "[OPTIONS]",
    about: "Get real time events from the engine",
    flags: &[&[
        Flag::filter("Show only events that match").short('f'),
        Flag::text("format", super::INSPECT_FORMAT_HELP),
        Flag::text("since", "Begin with the events since this time"),
        Flag::text("until", "End with the events of this time"),
    ]],
    words: Words::None,
    stops: false,
    run: events,
};

fn events(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let format = match matches.text("format") {
        "" => None,
        "json" => Some("{{json .}}"),
        template => Some(template),
    };
    let format = format.map(Format::parse).transpose().map_err(|error| {
        let message = format!("Error parsing format: {error}");
        Failure::Stream { message, code: 64 }
    })?;
    let zone = cli.zone();
    let time = |flag: &'static str| {
        let read = |text| parse_since(text, Moment::now(), &zone);
        let invalid = |why| Failure::Invalid(format!("invalid value for {flag:?}: {why}"));
        matches.some(flag).map(read).transpose().map_err(invalid)
    };
    let (mut since, until) = (time("since")?, time("until")?);
    let mut last = 0;
    let mut gone: Option<Instant> = None;
    loop {
        let mut pairs = Vec::new();
        pairs.extend(since.clone().map(|time| ("since", time)));
        pairs.extend(until.clone().map(|time| ("until", time)));
        pairs.extend(filters(matches));
        match cli.client()?.stream(format!("/events{}", query(pairs))) {
            Ok(answer) => {
                gone = None;
                let whole =
                    show(cli, BufReader::new(answer.body), format.as_ref(), &zone, &mut last)?;
                if whole || until.is_some() {
                    return Ok(0);
                }
            }
            Err(error @ (Failure::Unreachable { .. } | Failure::Lost { .. })) => {
                if gone.is_none_or(|since| since.elapsed() > RETURN_MAX) {
                    return Err(error);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) => return Err(error),
        }
        if gone.is_none() {
            gone = Some(Instant::now());
            // From right behind the last one that was shown.
            let from = if last == 0 { Moment::now() } else { Moment::of_nanoseconds(last + 1) };
            since = Some(from.api());
        }
    }
}

/// Prints events to the end; false if the connection broke.
fn show(
    cli: &Cli,
    mut source: impl BufRead,
    format: Option<&Format>,
    zone: &Zone,
    last: &mut i64,
) -> Result<bool, Failure> {
    let mut line = Vec::new();
    loop {
        line.clear();
        match source.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(_) => return Ok(false),
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let event = Json::parse(&line).map_err(|source| Failure::Answer { source })?;
        *last = event.int("timeNano");
        match format {
            None => cli.say(&pretty(&event, zone))?,
            Some(format) => {
                let event = sorted(event);
                cli.say(&format.fill_with(&with_go_names(&event), &event)?)?;
            }
        }
    }
}

/// Go writes a map in the order of its keys.
fn sorted(mut event: Json) -> Json {
    let mut actor = event.get("Actor").clone();
    let mut attributes = actor.get("Attributes").fields().to_vec();
    attributes.sort_by(|left, right| left.0.cmp(&right.0));
    if actor.find("Attributes").is_some() {
        actor.set("Attributes", Json::Object(attributes));
        event.set("Actor", actor);
    }
    event
}

/// Templates use the names that the fields have in Go.
fn with_go_names(event: &Json) -> Json {
    let mut out = event.clone();
    for (name, key) in [("Time", "time"), ("TimeNano", "timeNano"), ("Scope", "scope")] {
        out.set(name, event.get(key).clone());
    }
    let actor = event.get("Actor");
    for (name, value) in [
        ("ID", actor.get("ID").clone()),
        ("Status", event.get("Action").clone()),
        ("From", actor.get("Attributes").get("image").clone()),
    ] {
        out.set(name, value);
    }
    out
}

fn pretty(event: &Json, zone: &Zone) -> String {
    let mut out = String::new();
    let time = event.int("timeNano");
    if time != 0 {
        out = format!("{} ", Moment::of_nanoseconds(time).rfc3339_nano(zone));
    } else if event.int("time") != 0 {
        let moment = Moment { seconds: event.int("time"), nanoseconds: 0 };
        out = format!("{} ", moment.rfc3339_nano(zone));
    }
    let actor = event.get("Actor");
    // A String takes everything.
    let _ = write!(out, "{} {} {}", event.text("Type"), event.text("Action"), actor.text("ID"));
    let mut attributes: Vec<_> = actor.get("Attributes").fields().iter().collect();
    attributes.sort_by(|left, right| left.0.cmp(&right.0));
    if !attributes.is_empty() {
        let pairs = attributes.iter().map(|(key, value)| format!("{key}={}", value.as_str()));
        let _ = write!(out, " ({})", pairs.collect::<Vec<_>>().join(", "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_docker() {
        let event = Json::parse(
            br#"{"Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"name":"web","image":"x"}},"timeNano":1136214245000000001}"#,
        )
        .unwrap();
        assert_eq!(
            pretty(&event, &Zone::utc()),
            "2006-01-02T15:04:05.000000001Z container start abc (image=x, name=web)"
        );
    }
}
