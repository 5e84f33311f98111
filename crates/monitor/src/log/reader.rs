//! Reading a container's log: the last lines, those of a time, and those that are still to come.
//!
//! Invariant: every line is given once, in the order in which it was written, whatever is put aside while it
//! is read. [`Reader::next`] never waits: it says that there is nothing at the moment, and [`Reader::watch`]
//! gives a descriptor that becomes readable when there may be more.
//! Absent on purpose: when a container has ended. Who follows knows that, reads once more, and stops.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::entry::Line;
use super::{aside, compressed, json, local};
use crate::protocol::{LogConfig, LogDriver};

/// What is read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// A line that is longer than any that we or Docker write is given up.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// Only so many, the last ones that are there; all if absent.
    pub tail: Option<u64>,
    /// Only those of this time or later, in nanoseconds after 1970.
    pub since_ns: Option<i64>,
    /// Only those of this time or earlier.
    pub until_ns: Option<i64>,
}

/// A log being read.
pub struct Reader {
    config: LogConfig,
    options: ReadOptions,
    /// Lines that were read to find the last ones.
    ready: VecDeque<Line>,
    /// Files still to be read, the oldest first.
    files: VecDeque<Source>,
    /// The file being read.
    current: Option<Open>,
    /// When the last line that was given came, for finding one's place again.
    last_ns: i64,
}

/// A file of the log.
#[derive(Debug, Clone)]
struct Source {
    path: PathBuf,
    gzip: bool,
}

struct Open {
    input: Box<dyn Read + Send>,
    gzip: bool,
    /// The file that is open, as long as it is: of a compressed one it says nothing.
    inode: u64,
    /// When its first line came: the same before and after compression.
    first_ns: Option<i64>,
    /// How much has been read.
    position: u64,
    buffer: Vec<u8>,
    /// How much of the buffer has been used.
    used: usize,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("path", &self.config.path).finish_non_exhaustive()
    }
}

impl Reader {
    /// Begins to read. A log that is not there has no lines.
    pub fn open(config: &LogConfig, options: ReadOptions) -> io::Result<Self> {
        let mut reader = Self {
            config: config.clone(),
            options,
            ready: VecDeque::new(),
            files: VecDeque::new(),
            current: None,
            last_ns: i64::MIN,
        };
        if config.driver == LogDriver::None {
            return Ok(reader);
        }
        reader.files = reader.present().into();
        if let Some(tail) = options.tail {
            reader.keep_last(tail)?;
        }
        Ok(reader)
    }

    /// A descriptor that becomes readable when something may have been written. Read it empty, then ask
    /// [`Reader::next`] until that has nothing.
    pub fn watch(&self) -> io::Result<OwnedFd> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let directory = self.config.path.parent().unwrap_or(std::path::Path::new("/"));
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        inotify::add_watch(&fd, directory, flags)?;
        Ok(fd)
    }

    /// The next line; `None` if there is none at the moment.
    #[expect(clippy::should_implement_trait, reason = "an iterator that ends would stay ended")]
    pub fn next(&mut self) -> io::Result<Option<Line>> {
        if let Some(line) = self.ready.pop_front() {
            return Ok(Some(line));
        }
        while let Some(line) = self.read_line()? {
            if self.options.until_ns.is_some_and(|until| line.time_ns > until) {
                continue;
            }
            if self.options.since_ns.is_none_or(|since| line.time_ns >= since) {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    /// Reads to the end of what is there, and keeps the last lines of those that are wanted.
    fn keep_last(&mut self, tail: u64) -> io::Result<()> {
        let tail = usize::try_from(tail).unwrap_or(usize::MAX);
        self.skip_old_files(tail)?;
        let mut kept = VecDeque::new();
        // Parts of a long line count as one line.
        let mut lines = 0;
        while let Some(line) = self.next()? {
            lines += usize::from(!line.partial);
            kept.push_back(line);
            while lines > tail {
                match kept.pop_front() {
                    Some(line) => lines -= usize::from(!line.partial),
                    None => break,
                }
            }
        }
        if tail == 0 {
            kept.clear();
        }
        self.ready = kept;
        Ok(())
    }

    /// The newest files that surely have enough lines are all that has to be read.
    fn skip_old_files(&mut self, tail: usize) -> io::Result<()> {
        if self.options.until_ns.is_some() || self.config.driver != LogDriver::JsonFile {
            return Ok(());
        }
        let mut lines = 0;
        for (at, source) in self.files.iter().enumerate().rev() {
            lines += count_lines(source)?;
            if lines > tail {
                self.files.drain(..at);
                return Ok(());
            }
        }
        Ok(())
    }

    /// The log's files, the oldest first.
    fn present(&self) -> Vec<Source> {
        let path = &self.config.path;
        let mut files = Vec::new();
        for age in (1..self.config.max_file.max(1)).rev() {
            let (plain, packed) = (aside(path, age), compressed(path, age));
            // While it is being compressed both are there, and the plain one is whole.
            if plain.exists() {
                files.push(Source { path: plain, gzip: false });
            } else if packed.exists() {
                files.push(Source { path: packed, gzip: true });
            }
        }
        files.push(Source { path: path.clone(), gzip: false });
        files
    }

    fn read_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if self.current.is_none() && !self.open_next()? {
                return Ok(None);
            }
            if let Some(line) = self.take_line() {
                self.last_ns = line.time_ns;
                if let Some(open) = &mut self.current {
                    open.first_ns.get_or_insert(line.time_ns);
                }
                return Ok(Some(line));
            }
            if !self.fill()? && !self.leave_file()? {
                return Ok(None);
            }
        }
    }

    /// Opens the next file. The one before stays open until then: its identity cannot become another's.
    fn open_next(&mut self) -> io::Result<bool> {
        while let Some(source) = self.files.pop_front() {
            match open(&source) {
                Ok(open) => {
                    self.current = Some(open);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if self.files.is_empty() {
                        // The newest one is yet to be made.
                        self.files.push_back(source);
                        return Ok(false);
                    }
                    // They have moved: compressed, or put aside once more.
                    self.files = self.newer_files().into();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Takes one line out of the buffer, if a whole one is there.
    fn take_line(&mut self) -> Option<Line> {
        let open = self.current.as_mut()?;
        loop {
            let rest = &open.buffer[open.used..];
            match self.config.driver {
                LogDriver::Local => match local::decode(rest) {
                    local::Found::Entry(line, length) => {
                        open.used += length;
                        return Some(line);
                    }
                    local::Found::Short => return None,
                    local::Found::Damaged => {
                        // Nothing behind it can be found.
                        open.used = open.buffer.len();
                        return None;
                    }
                },
                _ => {
                    let end = rest.iter().position(|byte| *byte == b'\n')?;
                    let line = json::decode(&rest[..end]);
                    open.used += end + 1;
                    if line.is_some() {
                        return line;
                    }
                }
            }
        }
    }

    /// Reads more of the current file; whether there was more.
    fn fill(&mut self) -> io::Result<bool> {
        let Some(open) = &mut self.current else { return Ok(false) };
        open.buffer.drain(..open.used);
        open.used = 0;
        if open.buffer.len() > LINE_BYTES_MAX {
            open.buffer.clear();
        }
        let start = open.buffer.len();
        open.buffer.resize(start + CHUNK_BYTES, 0);
        let count = match open.input.read(&mut open.buffer[start..]) {
            Ok(count) => count,
            Err(error) => {
                open.buffer.truncate(start);
                // A compressed file that is damaged has no more lines; the next one may.
                return if open.gzip { Ok(false) } else { Err(error) };
            }
        };
        open.buffer.truncate(start + count);
        open.position += count as u64;
        Ok(count > 0)
    }

    /// At a file's end: goes on to the next one if this one has been put aside. Says whether there is more.
    fn leave_file(&mut self) -> io::Result<bool> {
        if !self.files.is_empty() {
            return self.open_next();
        }
        let Some(open) = &self.current else { return Ok(false) };
        let now = match std::fs::metadata(&self.config.path) {
            Ok(now) => now,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let same = now.ino() == open.inode && !open.gzip;
        if same && now.len() >= open.position {
            return Ok(false);
        }
        if same {
            // A log of one file is emptied instead of put aside.
            self.files.push_back(Source { path: self.config.path.clone(), gzip: false });
            return self.open_next();
        }
        // Between our last look and its moving aside, something may have been written.
        if self.fill()? {
            return Ok(true);
        }
        self.files = self.newer_files().into();
        self.open_next()
    }

    /// The files that came after the one that was read last; if that is gone, those with lines later than the
    /// last one given.
    fn newer_files(&self) -> Vec<Source> {
        let files = self.present();
        let Some(open) = &self.current else { return files };
        let first: Vec<Option<i64>> = files
            .iter()
            .map(|source| first_line(source, self.config.driver).map(|line| line.time_ns))
            .collect();
        let same = first.iter().rposition(|first| first.is_some() && *first == open.first_ns);
        let later = || {
            let later = |first: &Option<i64>| first.is_none_or(|first| first > self.last_ns);
            first.iter().position(later).unwrap_or(files.len() - 1)
        };
        files[same.map_or_else(later, |at| at + 1)..].to_vec()
    }
}

fn open(source: &Source) -> io::Result<Open> {
    let file = File::open(&source.path)?;
    let inode = file.metadata()?.ino();
    let input: Box<dyn Read + Send> = match source.gzip {
        true => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file))),
        false => Box::new(file),
    };
    Ok(Open {
        input,
        gzip: source.gzip,
        inode,
        first_ns: None,
        position: 0,
        buffer: Vec::new(),
        used: 0,
    })
}

fn count_lines(source: &Source) -> io::Result<usize> {
    let mut input = match open(source) {
        Ok(open) => BufReader::with_capacity(CHUNK_BYTES, open.input),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut lines = 0;
    loop {
        let chunk = match input.fill_buf() {
            Ok(chunk) => chunk,
            Err(_) if source.gzip => return Ok(lines),
            Err(error) => return Err(error),
        };
        if chunk.is_empty() {
            return Ok(lines);
        }
        // Only lines that end in the escaped line end count: the others are parts.
        lines += chunk.iter().filter(|byte| **byte == b'\n').count();
        let length = chunk.len();
        input.consume(length);
    }
}

fn first_line(source: &Source, driver: LogDriver) -> Option<Line> {
    let mut head = vec![0; CHUNK_BYTES];
    let mut open = open(source).ok()?;
    let mut length = 0;
    while length < head.len() {
        match open.input.read(&mut head[length..]).ok()? {
            0 => break,
            count => length += count,
        }
    }
    match driver {
        LogDriver::Local => match local::decode(&head[..length]) {
            local::Found::Entry(line, _) => Some(line),
            _ => None,
        },
        _ => json::decode(head[..length].split(|byte| *byte == b'\n').next()?),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LogStream, Writer};
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("dhow-log-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn config(&self, driver: LogDriver, max_size: Option<u64>, max_file: u32) -> LogConfig {
            let path = self.0.join("c-json.log");
            let attributes = Default::default();
            LogConfig { driver, path, max_size, max_file, compress: false, attributes }
        }

        fn files(&self) -> Vec<String> {
            let entries = std::fs::read_dir(&self.0).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn rest(reader: &mut Reader) -> Vec<String> {
        std::iter::from_fn(|| reader.next().unwrap())
            .map(|line| String::from_utf8(line.bytes).unwrap().trim_end().to_owned())
            .collect()
    }

    fn read(config: &LogConfig, options: ReadOptions) -> Vec<String> {
        rest(&mut Reader::open(config, options).unwrap())
    }

    fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    }

    fn put(writer: &mut Writer, range: std::ops::Range<u32>) {
        for number in range {
            writer.write_at(LogStream::Stdout, format!("{number}\n").as_bytes(), number.into());
        }
    }

    #[test]
    fn lines_are_found_by_number_and_by_time_in_both_formats() {
        for driver in [LogDriver::JsonFile, LogDriver::Local] {
            let place = Place::new(&format!("find-{driver:?}"));
            let config = place.config(driver, None, 1);
            assert!(read(&config, ReadOptions::default()).is_empty());
            let mut writer = Writer::open(&config).unwrap();
            put(&mut writer, 0..20);
            assert_eq!(read(&config, ReadOptions::default()), numbers(0..20));
            let some = |tail, since_ns, until_ns| ReadOptions { tail, since_ns, until_ns };
            assert_eq!(read(&config, some(Some(3), None, None)), numbers(17..20));
            assert!(read(&config, some(Some(0), None, None)).is_empty());
            assert_eq!(read(&config, some(Some(99), None, None)), numbers(0..20));
            assert_eq!(read(&config, some(None, Some(15), None)), numbers(15..20));
            assert_eq!(read(&config, some(None, Some(5), Some(7))), numbers(5..8));
            assert_eq!(read(&config, some(Some(2), None, Some(7))), numbers(6..8));
        }
    }

    #[test]
    fn files_are_put_aside_bounded_and_read_as_one() {
        for (driver, compress) in
            [(LogDriver::JsonFile, false), (LogDriver::JsonFile, true), (LogDriver::Local, true)]
        {
            let place = Place::new(&format!("rotate-{driver:?}-{compress}"));
            let config = LogConfig { compress, ..place.config(driver, Some(1000), 3) };
            let mut writer = Writer::open(&config).unwrap();
            put(&mut writer, 0..500);
            writer.finish_compressing();
            let end = if compress { ".gz" } else { "" };
            let expected = ["", ".1", ".2"].map(|age| match age {
                "" => "c-json.log".to_owned(),
                age => format!("c-json.log{age}{end}"),
            });
            assert_eq!(place.files(), expected);
            assert!(std::fs::metadata(&config.path).unwrap().len() < 1100);
            let lines = read(&config, ReadOptions::default());
            let first: u32 = lines[0].parse().unwrap();
            assert!(first > 350 && lines.len() > 20, "{first}");
            assert_eq!(lines, numbers(first..500));
            let tail = ReadOptions { tail: Some(25), ..ReadOptions::default() };
            assert_eq!(read(&config, tail), numbers(475..500));
        }
    }

    #[test]
    fn following_loses_and_doubles_nothing_across_rotations() {
        for (driver, compress) in
            [(LogDriver::JsonFile, false), (LogDriver::Local, false), (LogDriver::JsonFile, true)]
        {
            let place = Place::new(&format!("follow-{driver:?}-{compress}"));
            let config = LogConfig { compress, ..place.config(driver, Some(700), 5) };
            let mut reader =
                Reader::open(&config, ReadOptions { tail: Some(0), ..Default::default() }).unwrap();
            let mut writer = Writer::open(&config).unwrap();
            let (mut next, mut seen) = (0, Vec::new());
            for step in (1..30).cycle().take(200) {
                put(&mut writer, next..next + step % 23);
                next += step % 23;
                seen.extend(rest(&mut reader));
            }
            let expected = numbers(0..next);
            let wrong = seen.iter().zip(&expected).position(|(seen, wanted)| seen != wanted);
            assert_eq!((wrong, seen.len()), (None, expected.len()), "{driver:?} {compress}");
        }
    }

    #[test]
    fn one_file_is_emptied_when_it_is_full() {
        let place = Place::new("one");
        let config = place.config(LogDriver::JsonFile, Some(700), 1);
        let mut writer = Writer::open(&config).unwrap();
        let mut reader = Reader::open(&config, ReadOptions::default()).unwrap();
        let mut seen = Vec::new();
        for number in 0..100 {
            put(&mut writer, number..number + 1);
            seen.extend(rest(&mut reader));
        }
        assert_eq!(place.files(), ["c-json.log"]);
        assert_eq!(seen.last().unwrap(), "99");
    }

    #[test]
    fn a_torn_line_harms_no_other_and_a_failing_disk_is_counted() {
        let place = Place::new("torn");
        let config = place.config(LogDriver::JsonFile, None, 1);
        std::fs::write(&config.path, "{\"log\":\"to").unwrap();
        put(&mut Writer::open(&config).unwrap(), 1..3);
        assert_eq!(read(&config, ReadOptions::default()), numbers(1..3));
        let full = LogConfig { path: "/dev/full".into(), ..config };
        let mut writer = Writer::open(&full).unwrap();
        put(&mut writer, 0..5);
        let (lines, why) = writer.take_dropped().unwrap();
        assert_eq!(lines, 5, "{why}");
        assert_eq!(writer.take_dropped(), None);
    }
}
