//! Writing a container's log: lines cut, encoded, appended, and files put aside when they are full.
//!
//! Invariant: what a call returned from is in the file; nothing is kept back but the beginning of a line that
//! has not ended. A line that cannot be written (a full disk) is dropped and counted: the container goes on.
//! Absent on purpose: threads. A file that was put aside is compressed by a process of its own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dhow_sys::{Child, Clone, Memory, Namespaces, clone_child, exit_now};

use super::entry::LogStream;
use super::split::Splitter;
use super::{aside, compressed, json, local};
use crate::clock;
use crate::protocol::{LogConfig, LogDriver};

/// What has been encoded and not written: at most so much is held before it goes to the file.
const BATCH_BYTES: usize = 64 * 1024;

/// Lines that were read at once get times one nanosecond apart; they are fewer than this.
const SAME_READ_NS: i64 = 100_000;

/// A log being written.
#[derive(Debug)]
pub struct Writer {
    config: LogConfig,
    /// None for the driver `none`, and while the file cannot be opened.
    file: Option<File>,
    size: u64,
    attributes: String,
    stdout: Splitter,
    stderr: Splitter,
    batch: Vec<u8>,
    batch_lines: u64,
    dropped: Dropped,
    /// When the last line came. A reader tells lines and files apart by their times, so no two are the same.
    last_ns: i64,
    compressor: Option<Child>,
}

/// Lines that are lost.
#[derive(Debug, Default)]
struct Dropped {
    lines: u64,
    why: String,
}

impl Writer {
    /// Opens the log, going on where an earlier writer stopped.
    pub fn open(config: &LogConfig) -> io::Result<Self> {
        let mut writer = Self {
            config: config.clone(),
            file: None,
            size: 0,
            attributes: json::attributes(&config.attributes),
            stdout: Splitter::new(LogStream::Stdout),
            stderr: Splitter::new(LogStream::Stderr),
            batch: Vec::new(),
            batch_lines: 0,
            dropped: Dropped::default(),
            last_ns: i64::MIN,
            compressor: None,
        };
        if config.driver != LogDriver::None {
            writer.open_file()?;
        }
        Ok(writer)
    }

    fn open_file(&mut self) -> io::Result<()> {
        let path = &self.config.path;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut file = File::options().append(true).create(true).mode(0o640).open(path)?;
        self.size = file.metadata()?.len();
        if self.config.driver == LogDriver::JsonFile && !ends_in_line(path, self.size)? {
            // What a crash left of a line must not swallow the next one.
            file.write_all(b"\n")?;
            self.size += 1;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Takes what was read from a stream just now.
    pub fn write(&mut self, stream: LogStream, bytes: &[u8]) {
        self.write_at(stream, bytes, clock::now_ns());
    }

    /// The same, at a given time.
    pub(crate) fn write_at(&mut self, stream: LogStream, bytes: &[u8], time_ns: i64) {
        self.feed(stream, Some(bytes), time_ns);
    }

    /// The streams have ended: the last words that have no line end are written too.
    pub fn end(&mut self) {
        let now = clock::now_ns();
        self.feed(LogStream::Stdout, None, now);
        self.feed(LogStream::Stderr, None, now);
    }

    fn feed(&mut self, stream: LogStream, bytes: Option<&[u8]>, time_ns: i64) {
        if self.config.driver == LogDriver::None {
            return;
        }
        // Taken out for the time of the loop: the rest of the writer is needed inside.
        let place = match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        };
        let mut splitter = std::mem::replace(place, Splitter::new(stream));
        let mut give = |entry: &super::entry::Entry<'_>| {
            let time_ns = match self.last_ns.checked_sub(entry.time_ns) {
                Some(0..SAME_READ_NS) if entry.partial.is_none() => self.last_ns + 1,
                _ => entry.time_ns,
            };
            self.last_ns = time_ns;
            let entry = &super::entry::Entry { time_ns, ..*entry };
            let full = self
                .config
                .max_size
                .is_some_and(|max| max > 0 && self.size + self.batch.len() as u64 >= max);
            if full {
                self.flush();
                self.rotate();
            }
            match self.config.driver {
                LogDriver::JsonFile => json::encode(entry, &self.attributes, &mut self.batch),
                LogDriver::Local => local::encode(entry, &mut self.batch),
                LogDriver::None => {}
            }
            self.batch_lines += 1;
            if self.batch.len() >= BATCH_BYTES {
                self.flush();
            }
        };
        match bytes {
            Some(bytes) => splitter.push(bytes, time_ns, &mut give),
            None => splitter.end(time_ns, &mut give),
        }
        match stream {
            LogStream::Stdout => self.stdout = splitter,
            LogStream::Stderr => self.stderr = splitter,
        }
        self.flush();
    }

    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if let Err(error) = self.append() {
            self.dropped.lines += self.batch_lines;
            self.dropped.why = error.to_string();
        }
        self.batch.clear();
        self.batch.shrink_to(BATCH_BYTES / 8);
        self.batch_lines = 0;
    }

    fn append(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.open_file()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write_all(&self.batch) {
            // Half a line would be glued to the next one. If not even this works, opening again will see it.
            if file.set_len(self.size).is_err() {
                self.file = None;
            }
            return Err(error);
        }
        self.size += self.batch.len() as u64;
        Ok(())
    }

    /// Lines lost since this was last asked, and why the last of them was.
    pub fn take_dropped(&mut self) -> Option<(u64, String)> {
        let dropped = std::mem::take(&mut self.dropped);
        (dropped.lines > 0).then_some((dropped.lines, dropped.why))
    }

    /// Puts the file aside and begins a new one. If that fails, the old one goes on: a log that is too long
    /// is better than none.
    fn rotate(&mut self) {
        self.finish_compressing();
        if let Err(error) = self.try_rotate() {
            self.dropped.why = error.to_string();
        }
    }

    fn try_rotate(&mut self) -> io::Result<()> {
        let path = self.config.path.clone();
        let most = self.config.max_file.max(1);
        if most == 1 {
            let Some(file) = &self.file else { return Ok(()) };
            file.set_len(0)?;
            self.size = 0;
            return Ok(());
        }
        for gone in [aside(&path, most - 1), compressed(&path, most - 1)] {
            unless_missing(std::fs::remove_file(gone))?;
        }
        for age in (1..most - 1).rev() {
            for form in [aside, compressed] {
                unless_missing(std::fs::rename(form(&path, age), form(&path, age + 1)))?;
            }
        }
        unless_missing(std::fs::rename(&path, aside(&path, 1)))?;
        self.file = None;
        self.open_file()?;
        if self.config.compress {
            self.compress(&aside(&path, 1), &compressed(&path, 1));
        }
        Ok(())
    }

    /// Compresses in a copy of this process. The copy allocates nothing: everything is made before.
    fn compress(&mut self, from: &Path, to: &Path) {
        let Ok(mut work) = Compression::begin(from, to) else { return };
        let clone = Clone {
            namespaces: Namespaces::empty(),
            cgroup: None,
            memory: Memory::Copied,
            sibling: false,
        };
        let child = clone_child(&clone, || exit_now(if work.run().is_ok() { 0 } else { 1 }));
        // An encoder writes its end when it is dropped; that is the copy's to do.
        work.encoder.get_mut().0 = None;
        if child.is_err() {
            // Not compressed is not lost.
            let _ = std::fs::remove_file(&work.unfinished);
        }
        self.compressor = child.ok();
    }

    /// The pid of the process that compresses, for whoever reaps the children of this one.
    pub fn compressor(&self) -> Option<rustix::process::Pid> {
        self.compressor.as_ref().map(|child| child.pid)
    }

    /// Waits for the process that compresses. Files must not move under its hands.
    pub fn finish_compressing(&mut self) {
        if let Some(child) = self.compressor.take() {
            // Whoever reaps all children may have been faster.
            let _ = child.wait();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.finish_compressing();
    }
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn ends_in_line(path: &Path, size: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    if size == 0 {
        return Ok(true);
    }
    let mut last = [0];
    File::open(path)?.read_exact_at(&mut last, size - 1)?;
    Ok(last == *b"\n")
}

/// A file on its way to its compressed form.
struct Compression {
    from: PathBuf,
    input: File,
    encoder: flate2::write::GzEncoder<Output>,
    buffer: Vec<u8>,
    /// Where it is written first: a reader finds the file or its compressed form, never half of that.
    unfinished: PathBuf,
    to: PathBuf,
}

/// A file until it is taken away; then nothing goes anywhere.
struct Output(Option<File>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.as_mut().map_or(Ok(bytes.len()), |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Compression {
    fn begin(from: &Path, to: &Path) -> io::Result<Self> {
        let unfinished = to.with_extension("gz.new");
        let input = File::open(from)?;
        let output = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&unfinished)?;
        let encoder =
            flate2::write::GzEncoder::new(Output(Some(output)), flate2::Compression::fast());
        let (from, to, buffer) = (from.to_owned(), to.to_owned(), vec![0; BATCH_BYTES]);
        Ok(Self { from, input, encoder, buffer, unfinished, to })
    }

    fn run(&mut self) -> io::Result<()> {
        let done = self.write().and_then(|()| std::fs::rename(&self.unfinished, &self.to));
        match done {
            Ok(()) => std::fs::remove_file(&self.from),
            Err(error) => {
                let _ = std::fs::remove_file(&self.unfinished);
                Err(error)
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        loop {
            match self.input.read(&mut self.buffer)? {
                0 => return self.encoder.try_finish(),
                count => self.encoder.write_all(&self.buffer[..count])?,
            }
        }
    }
}
