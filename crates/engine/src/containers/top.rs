//! A container's processes as `ps` lists them, from `/proc`.
//!
//! Read here, not by `ps`: hosts without it have containers too. Columns are those of procps' `-ef`, `aux` and
//! `-o`, by the names that people use.
//!
//! Invariant: a column or option that we do not know is refused by name.
//! Absent on purpose: sorting, selections (the container is the selection), trees.

use std::collections::BTreeMap;
use std::fs;

use crate::error::Error;

/// A table of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Top {
    /// What the columns are called.
    pub titles: Vec<String>,
    /// One row for each process.
    pub processes: Vec<Vec<String>>,
}

/// What `/proc` tells of one process.
#[derive(Debug, Clone, Default)]
struct Process {
    pid: i32,
    ppid: i32,
    pgid: i32,
    sid: i32,
    tty: u64,
    state: char,
    flags: String,
    comm: String,
    args: String,
    uid: u32,
    euid: u32,
    gid: u32,
    nice: i64,
    priority: i64,
    threads: u64,
    utime: u64,
    stime: u64,
    start: u64,
    vsize: u64,
    rss_pages: u64,
    processor: u64,
}

/// What is the same for all processes.
struct Host {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
    boot_s: i64,
    now_s: i64,
    uptime_s: f64,
    memory_kib: u64,
}

const TICKS_PER_SECOND: u64 = 100;
const PAGE_KIB: u64 = 4;

type Column = (&'static str, &'static str, fn(&Process, &Host) -> String);

/// Names of columns, titles, and what is in them.
const COLUMNS: &[Column] = &[
    ("pid", "PID", |process, _| process.pid.to_string()),
    ("ppid", "PPID", |process, _| process.ppid.to_string()),
    ("pgid", "PGID", |process, _| process.pgid.to_string()),
    ("pgrp", "PGRP", |process, _| process.pgid.to_string()),
    ("sid", "SID", |process, _| process.sid.to_string()),
    ("sess", "SESS", |process, _| process.sid.to_string()),
    ("tty", "TT", |process, _| terminal(process.tty)),
    ("tt", "TT", |process, _| terminal(process.tty)),
    ("tname", "TTY", |process, _| terminal(process.tty)),
    ("s", "S", |process, _| process.state.to_string()),
    ("state", "S", |process, _| process.state.to_string()),
    ("stat", "STAT", |process, _| process.flags.clone()),
    ("comm", "COMMAND", |process, _| process.comm.clone()),
    ("ucmd", "CMD", |process, _| process.comm.clone()),
    ("ucomm", "COMMAND", |process, _| process.comm.clone()),
    ("cmd", "CMD", |process, _| process.args.clone()),
    ("args", "COMMAND", |process, _| process.args.clone()),
    ("command", "COMMAND", |process, _| process.args.clone()),
    ("user", "USER", |process, host| name(&host.users, process.euid)),
    ("euser", "EUSER", |process, host| name(&host.users, process.euid)),
    ("ruser", "RUSER", |process, host| name(&host.users, process.uid)),
    ("uname", "USER", |process, host| name(&host.users, process.euid)),
    ("uid", "UID", |process, _| process.euid.to_string()),
    ("euid", "EUID", |process, _| process.euid.to_string()),
    ("ruid", "RUID", |process, _| process.uid.to_string()),
    ("gid", "GID", |process, _| process.gid.to_string()),
    ("group", "GROUP", |process, host| name(&host.groups, process.gid)),
    ("ni", "NI", |process, _| process.nice.to_string()),
    ("nice", "NI", |process, _| process.nice.to_string()),
    ("pri", "PRI", |process, _| (39 - process.priority).to_string()),
    ("nlwp", "NLWP", |process, _| process.threads.to_string()),
    ("thcount", "THCNT", |process, _| process.threads.to_string()),
    ("psr", "PSR", |process, _| process.processor.to_string()),
    ("c", "C", |process, host| format!("{:.0}", host.share(process).min(99.0).floor())),
    ("pcpu", "%CPU", |process, host| format!("{:.1}", host.share(process))),
    ("%cpu", "%CPU", |process, host| format!("{:.1}", host.share(process))),
    ("pmem", "%MEM", |process, host| host.memory_share(process)),
    ("%mem", "%MEM", |process, host| host.memory_share(process)),
    ("rss", "RSS", |process, _| (process.rss_pages * PAGE_KIB).to_string()),
    ("rssize", "RSS", |process, _| (process.rss_pages * PAGE_KIB).to_string()),
    ("vsz", "VSZ", |process, _| (process.vsize / 1024).to_string()),
    ("vsize", "VSZ", |process, _| (process.vsize / 1024).to_string()),
    ("time", "TIME", |process, _| cpu_time(process)),
    ("cputime", "TIME", |process, _| cpu_time(process)),
    ("bsdtime", "TIME", |process, _| bsd_time(process)),
    ("etime", "ELAPSED", |process, host| elapsed(host.age_s(process))),
    ("etimes", "ELAPSED", |process, host| host.age_s(process).to_string()),
    ("stime", "STIME", |process, host| host.start_word(process)),
    ("start_time", "START", |process, host| host.start_word(process)),
    ("start", "STARTED", |process, host| host.start_word(process)),
    ("bsdstart", "START", |process, host| host.start_word(process)),
];

const FULL: &[(&str, &str)] = &[
    ("euser", "UID"),
    ("pid", "PID"),
    ("ppid", "PPID"),
    ("c", "C"),
    ("stime", "STIME"),
    ("tname", "TTY"),
    ("time", "TIME"),
    ("cmd", "CMD"),
];
const PLAIN: &[(&str, &str)] =
    &[("pid", "PID"), ("tname", "TTY"), ("time", "TIME"), ("ucmd", "CMD")];
const BSD: &[(&str, &str)] = &[
    ("user", "USER"),
    ("pid", "PID"),
    ("%cpu", "%CPU"),
    ("%mem", "%MEM"),
    ("vsz", "VSZ"),
    ("rss", "RSS"),
    ("tname", "TTY"),
    ("stat", "STAT"),
    ("start_time", "START"),
    ("bsdtime", "TIME"),
    ("args", "COMMAND"),
];

/// Lists these processes with `ps`'s options.
pub(crate) fn list(pids: &[i32], options: &str) -> Result<Top, Error> {
    let columns = columns(options)?;
    let host = Host::look();
    let mut processes: Vec<Process> = pids.iter().filter_map(|pid| Process::look(*pid)).collect();
    processes.sort_by_key(|process| process.pid);
    let row = |process: &Process| {
        columns.iter().map(|(column, _)| (column.2)(process, &host)).collect::<Vec<_>>()
    };
    Ok(Top {
        titles: columns.iter().map(|(_, title)| title.clone()).collect(),
        processes: processes.iter().map(row).collect(),
    })
}

fn columns(options: &str) -> Result<Vec<(&'static Column, String)>, Error> {
    let mut words = options.split_whitespace().peekable();
    let mut chosen: Vec<(&'static Column, String)> = Vec::new();
    let mut standard = None;
    while let Some(word) = words.next() {
        let format = match word {
            "-o" | "o" | "--format" | "-eo" | "-ao" | "-Ao" | "axo" | "-axo" => {
                Some(words.next().ok_or_else(|| refused(word))?)
            }
            _ => word.strip_prefix("-o").or_else(|| word.strip_prefix("--format=")),
        };
        if let Some(format) = format {
            append(&mut chosen, format)?;
            continue;
        }
        match word {
            "-ef" | "-f" | "-Af" | "-aef" | "-efww" | "-fe" => standard = Some(FULL),
            "aux" | "-aux" | "u" | "axu" | "auxww" | "uax" => standard = Some(BSD),
            "-e" | "-A" | "-a" | "a" | "x" | "ax" | "-ax" | "-w" | "-ww" | "w" | "ww" => {
                standard = standard.or(Some(PLAIN));
            }
            other => return Err(refused(other)),
        }
    }
    if chosen.is_empty() {
        let standard = standard.unwrap_or(FULL);
        let find = |(name, title): &(&str, &str)| Ok((column(name)?, (*title).to_owned()));
        return standard.iter().map(find).collect();
    }
    if !chosen.iter().any(|(column, _)| column.0 == "pid") {
        return Err(Error::Invalid { message: "Couldn't find PID field in ps output".to_owned() });
    }
    Ok(chosen)
}

/// `pid,user=WHO,cmd`: a title after `=` goes on to the end.
fn append(chosen: &mut Vec<(&'static Column, String)>, format: &str) -> Result<(), Error> {
    let mut rest = format;
    while !rest.is_empty() {
        let end = rest.find([',', '=']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let column = column(name)?;
        match after.strip_prefix('=') {
            Some(title) => {
                chosen.push((column, title.to_owned()));
                return Ok(());
            }
            None => chosen.push((column, column.1.to_owned())),
        }
        rest = after.strip_prefix(',').unwrap_or("");
    }
    Ok(())
}

fn column(name: &str) -> Result<&'static Column, Error> {
    let lower = name.to_ascii_lowercase();
    COLUMNS.iter().find(|column| column.0 == lower).ok_or_else(|| Error::Invalid {
        message: format!("ps: error: unknown user-defined format specifier \"{name}\""),
    })
}

fn refused(word: &str) -> Error {
    Error::Unsupported { what: format!("the ps option {word:?}") }
}

impl Process {
    /// What `/proc` says; nothing if it has ended.
    fn look(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let args = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Self::parse(pid, &stat, &status, &args)
    }

    fn parse(pid: i32, stat: &str, status: &str, args: &[u8]) -> Option<Self> {
        // A program's name may hold parentheses and spaces: the last one ends it.
        let (head, tail) = stat.rsplit_once(')')?;
        let comm = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let number =
            |at: usize| fields.get(at).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let large =
            |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let small = |at: usize| i32::try_from(number(at)).unwrap_or(0);
        let ids = |name: &str| -> Vec<u32> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or("").split_whitespace().filter_map(|id| id.parse().ok()).collect()
        };
        let (uids, gids) = (ids("Uid:"), ids("Gid:"));
        let id = |ids: &[u32], at: usize| ids.get(at).copied().unwrap_or(0);
        let words: Vec<_> = args
            .split(|byte| *byte == 0)
            .map(String::from_utf8_lossy)
            .filter(|word| !word.is_empty())
            .collect();
        let args = if words.is_empty() { format!("[{comm}]") } else { words.join(" ") };
        let state = fields.first()?.chars().next()?;
        let mut process = Self {
            pid,
            ppid: small(1),
            pgid: small(2),
            sid: small(3),
            tty: large(4),
            state,
            flags: String::new(),
            comm,
            args,
            uid: id(&uids, 0),
            euid: id(&uids, 1),
            gid: id(&gids, 1),
            utime: large(11),
            stime: large(12),
            priority: number(15),
            nice: number(16),
            threads: large(17),
            start: large(19),
            vsize: large(20),
            rss_pages: large(21),
            processor: large(36),
        };
        process.flags = process.stat_word(number(5));
        Some(process)
    }

    /// The state with BSD's marks.
    fn stat_word(&self, foreground: i64) -> String {
        let mut word = self.state.to_string();
        let mut mark = |is: bool, mark: char| {
            if is {
                word.push(mark);
            }
        };
        mark(self.nice < 0, '<');
        mark(self.nice > 0, 'N');
        mark(self.sid == self.pid, 's');
        mark(self.threads > 1, 'l');
        mark(self.tty != 0 && foreground == i64::from(self.pgid), '+');
        word
    }
}

impl Host {
    fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        let uptime = read("/proc/uptime");
        Self {
            users: ids(&read("/etc/passwd")),
            groups: ids(&read("/etc/group")),
            boot_s: i64::try_from(field(&read("/proc/stat"), "btime")).unwrap_or(0),
            now_s: crate::clock::now_ns() / 1_000_000_000,
            uptime_s: uptime.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0),
            memory_kib: field(&read("/proc/meminfo"), "MemTotal:"),
        }
    }

    fn age_s(&self, process: &Process) -> u64 {
        let started = process.start / TICKS_PER_SECOND;
        (self.uptime_s as u64).saturating_sub(started)
    }

    /// Of one processor, over its life.
    fn share(&self, process: &Process) -> f64 {
        let used = (process.utime + process.stime) as f64 / TICKS_PER_SECOND as f64;
        let age = self.uptime_s - process.start as f64 / TICKS_PER_SECOND as f64;
        if age > 0.0 { used * 100.0 / age } else { 0.0 }
    }

    fn memory_share(&self, process: &Process) -> String {
        let all = self.memory_kib.max(1) as f64;
        format!("{:.1}", (process.rss_pages * PAGE_KIB) as f64 * 100.0 / all)
    }

    /// The hour on the first day, then the date. In UTC: the engine's, not the caller's, time zone is known here.
    fn start_word(&self, process: &Process) -> String {
        let start_s = self.boot_s + (process.start / TICKS_PER_SECOND) as i64;
        let stamp = dhow_spec::image::Timestamp::from_unix(start_s, 0);
        let Some(text) = stamp.as_ref().map(dhow_spec::image::Timestamp::as_str) else {
            return "-".to_owned();
        };
        if self.now_s - start_s < 24 * 3600 {
            return text[11..16].to_owned();
        }
        let months =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month = text[5..7].parse::<usize>().ok().and_then(|month| months.get(month - 1));
        format!("{}{}", month.unwrap_or(&"-"), &text[8..10])
    }
}

/// Names by number, from a file of `/etc/passwd`'s form.
fn ids(text: &str) -> BTreeMap<u32, String> {
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    let mut found = BTreeMap::new();
    for (id, name) in text.lines().filter_map(entry) {
        found.entry(id).or_insert(name);
    }
    found
}

fn name(names: &BTreeMap<u32, String>, id: u32) -> String {
    names.get(&id).cloned().unwrap_or_else(|| id.to_string())
}

fn terminal(number: u64) -> String {
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
    match (major, minor) {
        (0, 0) => "?".to_owned(),
        (136..=143, minor) => format!("pts/{}", minor + (major - 136) * 256),
        (4, minor @ 0..64) => format!("tty{minor}"),
        (4, minor) => format!("ttyS{}", minor - 64),
        _ => "?".to_owned(),
    }
}

fn cpu_time(process: &Process) -> String {
    let seconds = (process.utime + process.stime) / TICKS_PER_SECOND;
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let rest = format!("{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    if days > 0 { format!("{days}-{rest}") } else { rest }
}

fn bsd_time(process: &Process) -> String {
    let seconds = (process.utime + process.stime) / TICKS_PER_SECOND;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn elapsed(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let seconds = seconds % 60;
    match (days, hours) {
        (0, 0) => format!("{minutes:02}:{seconds:02}"),
        (0, hours) => format!("{hours:02}:{minutes:02}:{seconds:02}"),
        (days, hours) => format!("{days}-{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(options: &str) -> String {
        let columns = columns(options).expect(options);
        columns.iter().map(|(_, title)| title.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn columns_by_option() {
        assert_eq!(titles(""), "UID PID PPID C STIME TTY TIME CMD");
        assert_eq!(titles("-ef"), titles(""));
        assert_eq!(titles("aux"), "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND");
        assert_eq!(titles("-o pid,comm"), "PID COMMAND");
        assert_eq!(titles("-eo pid,user=WHO"), "PID WHO");
        assert_eq!(titles("-opid -o cmd"), "PID CMD");
        let error = columns("-o comm").expect_err("no pid").to_string();
        assert_eq!(error, "Couldn't find PID field in ps output");
        let error = columns("-o pid,colour").expect_err("unknown").to_string();
        assert_eq!(error, "ps: error: unknown user-defined format specifier \"colour\"");
        columns("--forest").expect_err("unknown");
    }

    #[test]
    fn a_process_with_a_strange_name() {
        let stat = "42 (a) b (c) S 7 42 42 34816 42 4194304 1 0 0 0 123 77 0 0 20 0 3 0 500 4096000 250 \
                    18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0";
        let status = "Name:\tx\nUid:\t1000\t1001\t1001\t1001\nGid:\t5\t6\t6\t6\n";
        let process = Process::parse(42, stat, status, b"sleep\0 9\0").expect("a process");
        assert_eq!(process.comm, "a) b (c");
        assert_eq!((process.ppid, process.euid, process.uid, process.gid), (7, 1001, 1000, 6));
        assert_eq!((process.args.as_str(), process.flags.as_str()), ("sleep  9", "Ssl+"));
        assert_eq!(terminal(process.tty), "pts/0");
        assert_eq!((cpu_time(&process), bsd_time(&process)), ("00:00:02".into(), "0:02".into()));
    }

    #[test]
    fn ourselves() {
        let me = i32::try_from(std::process::id()).expect("a pid");
        let top = list(&[me, i32::MAX], "-o pid,ppid,comm,etime").expect("a table");
        assert_eq!(
            (top.processes.len(), top.processes[0][0].as_str()),
            (1, me.to_string().as_str())
        );
    }
}
