//! `update`: other limits for a running container.
//!
//! A document gives the limits, options change single ones in it; what neither names stays as it is.

use std::io::Read;
use std::path::{Path, PathBuf};

use dhow_spec::runtime::{BlockIo, Cpu, Memory, Pids, Resources};
use dhow_sys::Errno;

use super::arguments::{Arg, Arguments, CONTAINER, UsageError, name, unexpected};
use super::help::{Help, Topic};
use super::{Command, Context, Failure};
use crate::error::Error;

pub(super) const COMMAND: Command = Command { name: "update", help: &HELP, failure: 1, run };

const HELP: Help = Help {
    usage: "[OPTIONS] CONTAINER",
    about: "Changes limits of a container, those that are named and no others.",
    topics: &[Topic {
        title: "OPTIONS",
        entries: &[
            ("-r, --resources FILE|-", "a resources document, or - for standard input"),
            ("--blkio-weight N", "block I/O weight, 10 to 1000"),
            ("--cpu-period USEC", "CPU period"),
            ("--cpu-quota USEC", "CPU time in a period, -1 for no limit"),
            ("--cpu-burst USEC", "unused CPU time that may be saved up"),
            ("--cpu-share N", "CPU weight in version 1's scale"),
            ("--cpu-rt-period USEC", "period of real-time tasks"),
            ("--cpu-rt-runtime USEC", "time of real-time tasks in a period"),
            ("--cpu-idle 0|1", "1: only CPU time that is left over"),
            ("--cpuset-cpus LIST", "CPUs to use"),
            ("--cpuset-mems LIST", "memory nodes to use"),
            ("--memory SIZE", "memory, -1 for no limit"),
            ("--memory-reservation SIZE", "memory that is left to it under pressure"),
            ("--memory-swap SIZE", "memory and swap together, -1 for no limit"),
            ("--kernel-memory SIZE", "kernel memory (version 1, discouraged)"),
            ("--kernel-memory-tcp SIZE", "TCP buffers (version 1, discouraged)"),
            ("--pids-limit N", "number of tasks, -1 for no limit"),
        ],
    }],
};

/// One option's effect.
type Change = Box<dyn FnOnce(&mut Resources)>;

struct Update {
    id: String,
    document: Option<PathBuf>,
    changes: Vec<Change>,
}

fn parse(mut arguments: Arguments) -> Result<Update, UsageError> {
    let (mut id, mut document, mut changes) = (None, None, Vec::new());
    while let Some(argument) = arguments.next()? {
        let change = match argument {
            Arg::Value(value) if id.is_none() => {
                id = Some(name(value, CONTAINER)?);
                continue;
            }
            Arg::Short('r') | Arg::Long("resources") => {
                document = Some(arguments.path()?);
                continue;
            }
            Arg::Long(option) => {
                let Some(setting) = setting(option) else {
                    return Err(unexpected(Arg::Long(option)));
                };
                setting(&mut arguments)?
            }
            other => return Err(unexpected(other)),
        };
        changes.push(change);
    }
    let id = id.ok_or(UsageError::Missing { what: CONTAINER })?;
    Ok(Update { id, document, changes })
}

/// Reads an option's value.
type Setting = fn(&mut Arguments) -> Result<Change, UsageError>;

/// The option that sets a limit, if it is one.
fn setting(option: &str) -> Option<Setting> {
    Some(match option {
        "blkio-weight" => |a| number(a, |r, n| block_io(r).weight = Some(n)),
        "cpu-period" => |a| number(a, |r, n| cpu(r).period = Some(n)),
        "cpu-quota" => |a| number(a, |r, n| cpu(r).quota = Some(n)),
        "cpu-burst" => |a| number(a, |r, n| cpu(r).burst = Some(n)),
        "cpu-share" => |a| number(a, |r, n| cpu(r).shares = Some(n)),
        "cpu-rt-period" => |a| number(a, |r, n| cpu(r).realtime_period = Some(n)),
        "cpu-rt-runtime" => |a| number(a, |r, n| cpu(r).realtime_runtime = Some(n)),
        "cpu-idle" => |a| number(a, |r, n| cpu(r).idle = Some(n)),
        "cpuset-cpus" => |a| text(a, |r, list| cpu(r).cpus = Some(list)),
        "cpuset-mems" => |a| text(a, |r, list| cpu(r).mems = Some(list)),
        "memory" => |a| size(a, |r, n| memory(r).limit = Some(n)),
        "memory-reservation" => |a| size(a, |r, n| memory(r).reservation = Some(n)),
        "memory-swap" => |a| size(a, |r, n| memory(r).swap = Some(n)),
        "kernel-memory" => |a| size(a, |r, n| memory(r).kernel = Some(n)),
        "kernel-memory-tcp" => |a| size(a, |r, n| memory(r).kernel_tcp = Some(n)),
        "pids-limit" => |a| number(a, |r, n| r.pids = Some(Pids { limit: Some(n) })),
        _ => return None,
    })
}

fn number<T: std::str::FromStr + 'static>(
    arguments: &mut Arguments,
    set: fn(&mut Resources, T),
) -> Result<Change, UsageError> {
    let value = arguments.parsed("a number that fits")?;
    Ok(Box::new(move |resources| set(resources, value)))
}

fn text(arguments: &mut Arguments, set: fn(&mut Resources, String)) -> Result<Change, UsageError> {
    let value = arguments.text()?;
    Ok(Box::new(move |resources| set(resources, value)))
}

fn size(arguments: &mut Arguments, set: fn(&mut Resources, i64)) -> Result<Change, UsageError> {
    let value = arguments.chosen("a size such as 64m, or -1", bytes)?;
    Ok(Box::new(move |resources| set(resources, value)))
}

/// `1.5g`, `64M`, `64MiB`, `1024`, `-1`: binary multiples, as engines write sizes of memory.
fn bytes(word: &str) -> Option<i64> {
    if word == "-1" {
        return Some(-1);
    }
    let lower = word.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let shift = match lower[digits.len()..].trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    if let Ok(whole) = digits.parse::<u64>() {
        return i64::try_from(whole).ok()?.checked_mul(1 << shift);
    }
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    let fraction = digits.parse::<f64>().ok().filter(|_| digits.chars().all(plain))?;
    let value = fraction * (1u64 << shift) as f64;
    (value < i64::MAX as f64).then_some(value as i64)
}

fn cpu(resources: &mut Resources) -> &mut Cpu {
    resources.cpu.get_or_insert_default()
}

fn memory(resources: &mut Resources) -> &mut Memory {
    resources.memory.get_or_insert_default()
}

fn block_io(resources: &mut Resources) -> &mut BlockIo {
    resources.block_io.get_or_insert_default()
}

fn run(context: &Context<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let Update { id, document, changes } = parse(arguments)?;
    let container = context.container(&id)?;
    let mut resources = match &document {
        Some(path) => read(path)?,
        None => Resources::default(),
    };
    changes.into_iter().for_each(|change| change(&mut resources));
    container.update(&resources)?;
    Ok(0)
}

fn read(path: &Path) -> Result<Resources, Error> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    let bytes = bytes.map_err(|error| {
        Error::file("read", path, Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })?;
    Resources::parse(&bytes)
        .map_err(|source| Error::Document { path: path.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::super::arguments::words;
    use super::*;

    fn changed(line: &str) -> Resources {
        let mut resources = Resources::default();
        let update = parse(words(line)).unwrap();
        assert_eq!(update.id, "c1");
        update.changes.into_iter().for_each(|change| change(&mut resources));
        resources
    }

    #[test]
    fn every_option_sets_its_limit() {
        let resources = changed(
            "--blkio-weight 500 --cpu-period 1 --cpu-quota -1 --cpu-burst 3 --cpu-share 4 \
             --cpu-rt-period 5 --cpu-rt-runtime 6 c1 --cpu-idle 1 --cpuset-cpus 0-1 \
             --cpuset-mems 0 --memory 50M --memory-reservation 8k --memory-swap -1 \
             --kernel-memory 9 --kernel-memory-tcp 10 --pids-limit 11",
        );
        let expected = Resources {
            block_io: Some(BlockIo { weight: Some(500), ..BlockIo::default() }),
            cpu: Some(Cpu {
                period: Some(1),
                quota: Some(-1),
                burst: Some(3),
                shares: Some(4),
                realtime_period: Some(5),
                realtime_runtime: Some(6),
                idle: Some(1),
                cpus: Some("0-1".to_owned()),
                mems: Some("0".to_owned()),
            }),
            memory: Some(Memory {
                limit: Some(50 << 20),
                reservation: Some(8 << 10),
                swap: Some(-1),
                kernel: Some(9),
                kernel_tcp: Some(10),
                ..Memory::default()
            }),
            pids: Some(Pids { limit: Some(11) }),
            ..Resources::default()
        };
        assert_eq!(resources, expected);
        assert_eq!(parse(words("-r - c1")).unwrap().document, Some("-".into()));
        assert_eq!(parse(words("c1 --resources=/f")).unwrap().document, Some("/f".into()));
    }

    #[test]
    fn sizes_are_read_as_engines_write_them() {
        for (word, size) in [
            ("0", 0),
            ("1024", 1024),
            ("64b", 64),
            ("1.5g", 3 << 29),
            ("64MiB", 64 << 20),
            ("2 GB", 2 << 30),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(bytes(word), Some(size), "{word}");
        }
        for word in ["", "m", "-2", "1x", "1.2.3", "inf", "1e3", "9223372036854775808", "9000p"] {
            assert_eq!(bytes(word), None, "{word}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (line, message) in [
            ("", "the container's id is missing"),
            ("c1 d1", "unexpected argument \"d1\""),
            ("--memory much c1", "--memory: \"much\" is not a size such as 64m, or -1"),
            ("--cpu-share -1 c1", "--cpu-share: \"-1\" is not a number that fits"),
            ("--blkio-weight 65536 c1", "--blkio-weight: \"65536\" is not a number that fits"),
            ("--bogus c1", "unknown option --bogus"),
        ] {
            assert_eq!(parse(words(line)).err().unwrap().to_string(), message);
        }
    }
}
