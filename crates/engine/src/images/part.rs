//! A blob that is still being written, and those who read it behind the writer.
//!
//! Invariant: a reader sees only bytes that the writer has told of; when the writer begins anew, every reader
//! hears of it before it sees another byte.
//! Absent on purpose: whether the bytes are right; the writer knows that at the end, and says so.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How a blob comes along; shared by its writer and its readers.
#[derive(Debug, Default)]
pub(crate) struct Part {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<File>>,
    length: u64,
    /// How often it was begun.
    round: u32,
    end: Option<End>,
}

/// Nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All of it is there.
    Whole,
    /// The writer has given up, and says elsewhere why.
    Abandoned,
}

/// Why a reader gets nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// The bytes so far were wrong; the next ones are of a new beginning.
    Restarted,
    /// The writer has given up.
    Abandoned,
}

impl Part {
    /// The writer has a file, with `length` bytes in it already.
    pub(crate) fn begin(&self, file: File, length: u64) {
        let mut state = self.lock();
        state.round += 1;
        state.file = Some(Arc::new(file));
        state.length = length;
        state.end = None;
        self.changed.notify_all();
    }

    /// There are `length` bytes now.
    pub(crate) fn grown(&self, length: u64) {
        self.lock().length = length;
        self.changed.notify_all();
    }

    /// All bytes are there.
    pub(crate) fn whole(&self) {
        self.end(End::Whole);
    }

    /// The writer gives up, if it was not done.
    pub(crate) fn abandon(&self) {
        self.end(End::Abandoned);
    }

    fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// Reads from the beginning, as soon as there is one.
    pub(crate) fn reader(self: &Arc<Self>) -> Result<PartReader, Interruption> {
        let mut state = self.lock();
        loop {
            if let Some(file) = &state.file {
                let (file, round) = (file.clone(), state.round);
                return Ok(PartReader { part: self.clone(), file, round, offset: 0 });
            }
            if state.end.is_some() {
                return Err(Interruption::Abandoned);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a blob while it is being written.
#[derive(Debug)]
pub(crate) struct PartReader {
    part: Arc<Part>,
    file: Arc<File>,
    round: u32,
    offset: u64,
}

impl PartReader {
    /// How many bytes it has given.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Waits for bytes behind the offset; tells how many there are, none at the end.
    fn wait(&self) -> Result<u64, Interruption> {
        let mut state = self.part.lock();
        loop {
            if state.round != self.round {
                return Err(Interruption::Restarted);
            }
            if state.length > self.offset {
                return Ok(state.length - self.offset);
            }
            match state.end {
                Some(End::Whole) => return Ok(0),
                Some(End::Abandoned) => return Err(Interruption::Abandoned),
                None => {}
            }
            state = self.part.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = usize::try_from(self.wait()?).unwrap_or(usize::MAX);
        let length = buffer.len().min(ready);
        let count = self.file.read_at(&mut buffer[..length], self.offset)?;
        if count == 0 && length > 0 {
            // The file was emptied, and the new beginning has not been told yet.
            return Err(Interruption::Restarted.into());
        }
        self.offset += count as u64;
        Ok(count)
    }
}

impl std::fmt::Display for Interruption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Restarted => "the download began anew",
            Self::Abandoned => "the download has ended",
        })
    }
}

impl std::error::Error for Interruption {}

impl From<Interruption> for io::Error {
    fn from(interruption: Interruption) -> Self {
        Self::other(interruption)
    }
}

impl Interruption {
    /// The interruption that an error came from, however deep.
    pub(crate) fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(*found);
            }
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = match inner {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file() -> File {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        File::from(rustix::fs::memfd_create(c"part", flags).unwrap())
    }

    #[test]
    fn a_reader_waits_for_its_writer() {
        let part = Arc::new(Part::default());
        let mut writer = file();
        writer.write_all(b"one ").unwrap();
        let reading = std::thread::spawn({
            let part = part.clone();
            move || {
                let mut text = String::new();
                part.reader().unwrap().read_to_string(&mut text).unwrap();
                text
            }
        });
        part.begin(writer.try_clone().unwrap(), 4);
        for (text, length) in [("two ", 8), ("three", 13)] {
            writer.write_all(text.as_bytes()).unwrap();
            part.grown(length);
        }
        part.whole();
        assert_eq!(reading.join().unwrap(), "one two three");
    }

    #[test]
    fn nobody_reads_across_a_new_beginning() {
        let part = Arc::new(Part::default());
        let mut writer = file();
        writer.write_all(b"wrong").unwrap();
        part.begin(writer.try_clone().unwrap(), 5);
        let mut reader = part.reader().unwrap();
        let mut buffer = [0; 3];
        reader.read_exact(&mut buffer).unwrap();
        part.begin(file(), 0);
        let error = reader.read(&mut buffer).unwrap_err();
        assert_eq!(Interruption::of(&error), Some(Interruption::Restarted));
    }

    #[test]
    fn an_end_without_a_blob_is_heard_of() {
        let part = Arc::new(Part::default());
        part.abandon();
        assert_eq!(part.reader().unwrap_err(), Interruption::Abandoned);
        part.begin(file(), 0);
        let mut reader = part.reader().unwrap();
        part.abandon();
        // Too late to change its mind.
        part.whole();
        let error = reader.read(&mut [0]).unwrap_err();
        assert_eq!(Interruption::of(&error), Some(Interruption::Abandoned));
    }
}
