//! `logs`.
//!
//! While it follows, an engine that goes away is waited for and asked for what came since. Absent on
//! purpose: knowing whether the container has a terminal; the answer's type says so.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use dhow_wire::{FrameReader, Stream};

use super::attached::RETURN_MAX;
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{Answer, escape, query};
use crate::clock::{Moment, parse_since};
use crate::failure::Failure;
use crate::tree::{Command, Words};

pub(super) const LOGS: Command = Command {
    names: &["container logs", "logs"],
    usage: "[OPTIONS] CONTAINER",
    about: "Fetch the logs of a container",
    flags: &[&[
        Flag::switch("details", "Show what else was given to the log"),
        Flag::switch("follow", "Go on with new output").short('f'),
        Flag::text("since", "Show what came since a time, or a span such as 42m"),
        Flag::text("tail", "Number of lines from the end").short('n').default("all"),
        Flag::switch("timestamps", "Show when each line came").short('t'),
        Flag::text("until", "Show what came before a time, or a span such as 42m"),
    ]],
    words: Words::Exactly(1),
    stops: false,
    run: logs,
};

fn logs(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let name = &matches.words[0];
    let follow = matches.on("follow");
    let zone = cli.zone();
    let time = |flag: &'static str| {
        let read = |text| parse_since(text, Moment::now(), &zone);
        let invalid = |why| Failure::Invalid(format!("invalid value for {flag:?}: {why}"));
        matches.some(flag).map(read).transpose().map_err(invalid)
    };
    let (mut since, until) = (time("since")?, time("until")?);
    let mut tail = matches.text("tail").to_owned();
    let mut gone: Option<Instant> = None;
    loop {
        let mut pairs = vec![("stdout", "1".to_owned()), ("stderr", "1".to_owned())];
        for (key, on) in [
            ("follow", follow),
            ("timestamps", matches.on("timestamps")),
            ("details", matches.on("details")),
        ] {
            if on {
                pairs.push((key, "1".to_owned()));
            }
        }
        pairs.extend(since.clone().map(|time| ("since", time)));
        pairs.extend(until.clone().map(|time| ("until", time)));
        pairs.push(("tail", tail.clone()));
        let path = format!("/containers/{}/logs{}", escape(name), query(pairs));
        let ended = match cli.client()?.stream(path) {
            Ok(answer) => {
                gone = None;
                copy(cli, name, answer)?
            }
            Err(error @ (Failure::Unreachable { .. } | Failure::Lost { .. })) => {
                if gone.is_none_or(|since| since.elapsed() > RETURN_MAX) {
                    return Err(error);
                }
                std::thread::sleep(Duration::from_millis(100));
                Ended::Lost
            }
            Err(error) => return Err(error),
        };
        if !follow || ended == Ended::Whole {
            return Ok(0);
        }
        // What was shown until now is not shown again.
        if gone.is_none() {
            gone = Some(Instant::now());
            since = Some(Moment::now().api());
            "all".clone_into(&mut tail);
        }
    }
}

#[derive(Eq, PartialEq)]
enum Ended {
    Whole,
    /// The connection broke in the middle.
    Lost,
}

fn copy(cli: &Cli, name: &str, mut answer: Answer) -> Result<Ended, Failure> {
    let kind = answer.head.header("content-type").unwrap_or_default();
    let raw = match kind {
        "application/vnd.docker.raw-stream" => true,
        "application/vnd.docker.multiplexed-stream" => false,
        // An older engine does not say.
        _ => {
            let container = cli.client()?.get(format!("/containers/{}/json", escape(name)))?;
            container.get("Config").on("Tty")
        }
    };
    let mut frames = FrameReader::default();
    let mut buffer = vec![0; 64 << 10];
    let mut out = io::stdout().lock();
    let written = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Exit(1)),
        result => result.map_err(Failure::io("write", "output")),
    };
    loop {
        let count = match answer.body.read(&mut buffer) {
            Ok(0) => return Ok(Ended::Whole),
            Ok(count) => count,
            Err(_) => return Ok(Ended::Lost),
        };
        let mut rest = &buffer[..count];
        if raw {
            written(out.write_all(rest).and_then(|()| out.flush()))?;
            continue;
        }
        loop {
            let frame = frames.next(&mut rest);
            let frame = frame.map_err(|error| Failure::Invalid(error.to_string()))?;
            let Some(frame) = frame else { break };
            match frame.stream {
                Stream::Stdout => written(out.write_all(frame.bytes))?,
                Stream::Stderr => {
                    written(out.flush())?;
                    written(io::stderr().write_all(frame.bytes))?;
                }
                Stream::System => {
                    let text = String::from_utf8_lossy(frame.bytes).into_owned();
                    return Err(Failure::Invalid(format!("error from daemon in stream: {text}")));
                }
                Stream::Stdin => {}
            }
        }
        written(out.flush())?;
    }
}
