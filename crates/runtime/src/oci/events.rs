//! `events`: what a container uses, at intervals, and when it runs out of memory.
//!
//! Lines of JSON in runc's words; the command ends with the container.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use dhow_sys::Errno;
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::Serialize;

use super::arguments::{Arg, Arguments, CONTAINER, UsageError, name, unexpected};
use super::help::{Help, Topic};
use super::{Command, Context, Failure, print, warn};
use crate::cgroup::{OomEvent, OomWatch, Stats};
use crate::container::Container;
use crate::error::Error;

pub(super) const COMMAND: Command = Command { name: "events", help: &HELP, failure: 1, run };

const HELP: Help = Help {
    usage: "[OPTIONS] CONTAINER",
    about: "Prints what a container uses, and when it runs out of memory, as lines of JSON.",
    topics: &[Topic {
        title: "OPTIONS",
        entries: &[
            ("--interval TIME", "how often to look, such as 500ms; 5s if absent"),
            ("--stats", "look once and exit"),
        ],
    }],
};

#[derive(Debug, PartialEq, Eq)]
struct Events {
    id: String,
    interval: Duration,
    once: bool,
}

fn parse(mut arguments: Arguments) -> Result<Events, UsageError> {
    let (mut id, mut interval, mut once) = (None, Duration::from_secs(5), false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("interval") => interval = arguments.chosen("a time such as 1s", duration)?,
            Arg::Long("stats") => once = arguments.switch()?,
            Arg::Value(value) if id.is_none() => id = Some(name(value, CONTAINER)?),
            other => return Err(unexpected(other)),
        }
    }
    let id = id.ok_or(UsageError::Missing { what: CONTAINER })?;
    Ok(Events { id, interval, once })
}

/// Go's notation, `1m30s` or `1.5h`; nothing but a positive time.
fn duration(word: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("μs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let mut rest = word;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
}

/// One line.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

/// What was counted; the parts that no cgroup counts are there for who expects them.
#[derive(Serialize)]
struct Data<'a> {
    #[serde(flatten)]
    stats: &'a Stats,
    intel_rdt: Empty,
    network_interfaces: Option<Empty>,
}

#[derive(Serialize)]
struct Empty {}

fn line(event: &Event<'_>) -> String {
    // Numbers under plain names always print.
    serde_json::to_string(event).unwrap_or_default() + "\n"
}

fn stats_line(id: &str, stats: &Stats) -> String {
    let data = Data { stats, intel_rdt: Empty {}, network_interfaces: None };
    line(&Event { kind: "stats", id, data: Some(data) })
}

fn oom_line(id: &str) -> String {
    line(&Event { kind: "oom", id, data: None })
}

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let Events { id, interval, once } = parse(arguments)?;
    let container = context.container(&id)?;
    print(&stats_line(&id, &container.stats()?))?;
    if !once {
        follow(&container, interval)?;
    }
    Ok(0)
}

/// Prints until the container has ended.
fn follow(container: &Container, interval: Duration) -> Result<(), Failure> {
    let id = container.id().as_str();
    let Some(process) = container.pidfd() else { return Ok(()) };
    let mut watch = match container.watch_oom() {
        Ok(watch) => Some(watch),
        Err(error) => {
            warn(&format!("out of memory will not be seen: {error}"));
            None
        }
    };
    let mut next = Instant::now() + interval;
    loop {
        if Instant::now() >= next {
            match container.stats() {
                Ok(stats) => print(&stats_line(id, &stats))?,
                // Its cgroup has gone before we knew of its end.
                Err(_) if container.pid().is_none() => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            next += interval;
        }
        let left = next.saturating_duration_since(Instant::now());
        let ended = wait(process.as_fd(), watch.as_ref(), left)?;
        let event = watch.as_mut().map_or(Ok(OomEvent::Nothing), OomWatch::take);
        match event? {
            OomEvent::Oom => print(&oom_line(id))?,
            OomEvent::Ended => return Ok(()),
            OomEvent::Nothing => {}
        }
        if ended {
            return Ok(());
        }
    }
}

/// Waits for an event, the end or the time; says whether it is the end.
fn wait(
    process: std::os::fd::BorrowedFd<'_>,
    watch: Option<&OomWatch>,
    left: Duration,
) -> Result<bool, Error> {
    let timeout = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    let mut polled = vec![PollFd::from_borrowed_fd(process, PollFlags::IN)];
    polled.extend(watch.map(|watch| PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)));
    match rustix::event::poll(&mut polled, Some(&timeout)) {
        Ok(_) => Ok(!polled[0].revents().is_empty()),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(Error::call("wait for events")(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::arguments::words;
    use super::*;

    #[test]
    fn every_option_is_read_before_and_after_the_container() {
        for (line, milliseconds, once) in [
            ("c1", 5000, false),
            ("--stats c1", 5000, true),
            ("c1 --interval 100ms", 100, false),
            ("--interval=1m0.5s --stats c1", 60500, true),
        ] {
            let interval = Duration::from_millis(milliseconds);
            let expected = Events { id: "c1".to_owned(), interval, once };
            assert_eq!(parse(words(line)).unwrap(), expected, "{line}");
        }
        for line in ["", "a b", "--interval 5 c1", "--all c1"] {
            assert!(parse(words(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn times_are_read_as_go_does() {
        for (word, nanos) in
            [("1ns", 1), ("1.5us", 1500), ("2µs", 2000), ("1h1m1s", 3_661_000_000_000)]
        {
            assert_eq!(duration(word), Some(Duration::from_nanos(nanos)), "{word}");
        }
        for word in ["", "0s", "-1s", "5", "s", "1x", "1.2.3s", "1e3s", "999999999999999999999h"] {
            assert_eq!(duration(word), None, "{word}");
        }
    }

    #[test]
    fn lines_are_those_of_runc() {
        let line = stats_line("c1", &Stats::default());
        assert!(
            line.starts_with(r#"{"type":"stats","id":"c1","data":{"cpu":{"usage":{"#),
            "{line}"
        );
        assert!(line.ends_with("\"intel_rdt\":{},\"network_interfaces\":null}}\n"), "{line}");
        assert_eq!(oom_line("c1"), "{\"type\":\"oom\",\"id\":\"c1\"}\n");
    }
}
