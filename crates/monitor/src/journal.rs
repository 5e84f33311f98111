//! The file of a container's records: appended before anybody is told, read by whoever comes later.
//!
//! One record per line: eight hexadecimal digits of CRC-32 over the rest, a space, the record as JSON. A line
//! that was torn by a crash does not have its sum, and counts as never written: appending cuts it off, reading
//! stops before it.
//! Invariant: numbers rise. The file is bounded: what an engine has stored is forgotten when it grows, and of
//! probes only the last few are kept.
//! Absent on purpose: fsync. A record survives the death of every process; after a power cut the container is
//! gone as well.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::protocol::{Event, Record};

/// Beyond this size the file is written anew, without what need not be kept.
const SIZE_BYTES_MAX: u64 = 256 * 1024;
/// So many probes are kept when nobody has stored them, as many as Docker shows.
const PROBES_MAX: usize = 5;
/// "CRC", a space.
const SUM_LENGTH: usize = 9;

/// A journal being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    size: u64,
    size_max: u64,
    next: u64,
    /// An engine has these.
    stored: u64,
}

impl Journal {
    /// Opens the file, made if it is not there, and cuts off what a crash left of a last line.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (mut next, mut end) = (1, 0);
        for (record, line_end) in Lines::of(&bytes) {
            next = record.number + 1;
            end = line_end as u64;
        }
        if end != bytes.len() as u64 {
            file.set_len(end)?;
        }
        file.seek(SeekFrom::Start(end))?;
        let path = path.to_owned();
        Ok(Self { path, file, size: end, size_max: SIZE_BYTES_MAX, next, stored: 0 })
    }

    /// The number of the last record, 0 if there is none.
    pub fn last(&self) -> u64 {
        self.next - 1
    }

    /// Writes down what happened at `time_ns`. The record counts as told from here on, even if the file could
    /// not be written: its number is not given again.
    pub fn append(&mut self, time_ns: i64, event: Event) -> (Record, io::Result<()>) {
        let record = Record { number: self.next, time_ns, event };
        self.next += 1;
        let written = self.write(&record);
        (record, written)
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        let line = line_of(record);
        if self.size + line.len() as u64 > self.size_max {
            self.compact()?;
        }
        if let Err(error) = self.file.write_all(&line) {
            // Half a line would hide all that follow.
            self.file.set_len(self.size)?;
            self.file.seek(SeekFrom::Start(self.size))?;
            return Err(error);
        }
        self.size += line.len() as u64;
        Ok(())
    }

    /// An engine has all records up to `number`.
    pub fn stored(&mut self, number: u64) {
        self.stored = self.stored.max(number.min(self.last()));
    }

    /// Writes the file anew with what has to be kept. The last record stays, for its number.
    fn compact(&mut self) -> io::Result<()> {
        let all = read(&self.path, 0)?;
        let probes = all.iter().filter(|record| is_probe(record)).count();
        let mut skip_probes = probes.saturating_sub(PROBES_MAX);
        let last = all.last().map_or(0, |record| record.number);
        let mut kept = Vec::new();
        for record in &all {
            let surplus = is_probe(record) && skip_probes > 0;
            skip_probes -= usize::from(surplus);
            if record.number == last || (record.number > self.stored && !surplus) {
                kept.extend(line_of(record));
            }
        }
        let new = self.path.with_extension("new");
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&kept)?;
        std::fs::rename(&new, &self.path)?;
        self.file = file;
        self.size = kept.len() as u64;
        // Whatever could not be dropped must not be copied for every record to come.
        self.size_max = SIZE_BYTES_MAX.max(2 * self.size);
        Ok(())
    }
}

fn is_probe(record: &Record) -> bool {
    matches!(record.event, Event::Health(_))
}

/// All whole records after number `after`. A file that is not there has none.
pub fn read(path: &Path, after: u64) -> io::Result<Vec<Record>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    Ok(Lines::of(&bytes).map(|(record, _)| record).filter(|record| record.number > after).collect())
}

/// The whole records of a file's bytes, each with the place where its line ends.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl Iterator for Lines<'_> {
    type Item = (Record, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        let record = parse(&rest[..length])?;
        self.at += length + 1;
        Some((record, self.at))
    }
}

fn line_of(record: &Record) -> Vec<u8> {
    let json = serde_json::to_vec(record).unwrap_or_default();
    let mut line = format!("{:08x} ", crc32(&json)).into_bytes();
    line.extend(json);
    line.push(b'\n');
    line
}

fn parse(line: &[u8]) -> Option<Record> {
    let (sum, json) = line.split_at_checked(SUM_LENGTH)?;
    let sum = std::str::from_utf8(sum.strip_suffix(b" ")?).ok()?;
    if u32::from_str_radix(sum, 16).ok()? != crc32(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// CRC-32 as in gzip. Lines are short and rare: no table.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = !0u32;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Health, Probe};

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("dhow-journal-{name}-{}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            Self(path)
        }

        fn numbers(&self, after: u64) -> Vec<u64> {
            read(&self.0, after).unwrap().iter().map(|record| record.number).collect()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn add(journal: &mut Journal, event: Event) -> u64 {
        let (record, written) = journal.append(5, event);
        written.unwrap();
        record.number
    }

    fn probe(output: String) -> Event {
        let probe = Probe { start_ns: 1, end_ns: 2, exit_code: 0, output };
        Event::Health(Health { status: "healthy".into(), failing_streak: 0, probe: Some(probe) })
    }

    #[test]
    fn the_sum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn numbers_go_on_where_an_earlier_life_stopped() {
        let place = Place::new("numbers");
        assert!(place.numbers(0).is_empty());
        let mut journal = Journal::open(&place.0).unwrap();
        assert_eq!(journal.last(), 0);
        assert_eq!(add(&mut journal, Event::Started { pid: 4, restart_count: 0 }), 1);
        assert_eq!(add(&mut journal, Event::Paused), 2);
        drop(journal);
        let mut journal = Journal::open(&place.0).unwrap();
        assert_eq!((journal.last(), add(&mut journal, Event::Resumed)), (2, 3));
        assert_eq!(place.numbers(0), [1, 2, 3]);
        assert_eq!(place.numbers(2), [3]);
        let first = &read(&place.0, 0).unwrap()[0];
        assert_eq!(
            (first.time_ns, &first.event),
            (5, &Event::Started { pid: 4, restart_count: 0 })
        );
    }

    #[test]
    fn a_torn_tail_was_never_written() {
        let place = Place::new("torn");
        let mut journal = Journal::open(&place.0).unwrap();
        add(&mut journal, Event::Paused);
        add(&mut journal, Event::Resumed);
        drop(journal);
        let whole = std::fs::read(&place.0).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for end in first..whole.len() {
            std::fs::write(&place.0, &whole[..end]).unwrap();
            assert_eq!(place.numbers(0), [1], "torn at {end}");
            assert_eq!(Journal::open(&place.0).unwrap().last(), 1);
            assert_eq!(std::fs::metadata(&place.0).unwrap().len(), first as u64);
        }
        // Bytes that never reached the disk are zeroes after a power cut.
        let mut zeroes = whole.clone();
        zeroes[first + 12..].fill(0);
        std::fs::write(&place.0, &zeroes).unwrap();
        let mut journal = Journal::open(&place.0).unwrap();
        assert_eq!(add(&mut journal, Event::Oom), 2);
        assert_eq!(place.numbers(0), [1, 2]);
    }

    #[test]
    fn it_is_bounded_by_what_is_stored_and_by_dropping_probes() {
        let place = Place::new("bounded");
        let mut journal = Journal::open(&place.0).unwrap();
        let started = add(&mut journal, Event::Started { pid: 4, restart_count: 0 });
        for _ in 0..200 {
            add(&mut journal, probe("x".repeat(4096)));
        }
        let length = std::fs::metadata(&place.0).unwrap().len();
        assert!(length <= SIZE_BYTES_MAX, "{length}");
        let numbers = place.numbers(0);
        assert_eq!((numbers[0], *numbers.last().unwrap()), (started, 201));
        journal.stored(150);
        for _ in 0..100 {
            add(&mut journal, probe("x".repeat(4096)));
        }
        assert!(place.numbers(0)[0] > 150);
        assert_eq!(Journal::open(&place.0).unwrap().last(), 301);
    }
}
