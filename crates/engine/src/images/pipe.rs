//! Bytes from one thread to another, in a fixed number of buffers.
//!
//! Invariant: never more than [`BUFFERS`] buffers exist for one pipe; a writer that fails or is dropped before
//! [`PipeWriter::finish`] is an error for the reader, never an end.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

const BUFFERS: usize = 4;
const BUFFER_BYTES: usize = 256 << 10;

/// Both ends.
pub(crate) fn pipe() -> (PipeWriter, PipeReader) {
    let (full, taken) = sync_channel(BUFFERS);
    let (back, empty) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        // There is room for all of them.
        let _ = back.send(Vec::new());
    }
    let reader = PipeReader { full: taken, back, current: Vec::new(), offset: 0, ended: false };
    (PipeWriter { full, empty }, reader)
}

/// Takes bytes; see the module.
pub(crate) struct PipeWriter {
    full: SyncSender<io::Result<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
}

impl PipeWriter {
    /// Passes on all that `source` has. That nobody reads any more is no error: whoever stopped knows why.
    pub(crate) fn copy(self, source: &mut impl Read) -> io::Result<()> {
        while let Ok(mut buffer) = self.empty.recv() {
            buffer.resize(BUFFER_BYTES, 0);
            match fill(source, &mut buffer) {
                Ok(count) => {
                    buffer.truncate(count);
                    // An empty buffer is the end.
                    if self.full.send(Ok(buffer)).is_err() || count == 0 {
                        return Ok(());
                    }
                }
                Err(error) => {
                    let copy = io::Error::new(error.kind(), error.to_string());
                    let _ = self.full.send(Err(copy));
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Fills the buffer unless the source ends.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Gives bytes; see the module.
pub(crate) struct PipeReader {
    full: Receiver<io::Result<Vec<u8>>>,
    back: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    offset: usize,
    ended: bool,
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.offset == self.current.len() && !self.ended {
            let used = std::mem::take(&mut self.current);
            // The writer may be gone, with everything sent.
            let _ = self.back.send(used);
            let next = self.full.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.current = next?;
            self.offset = 0;
            self.ended = self.current.is_empty();
        }
        let rest = &self.current[self.offset..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.offset += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_passes_in_order() {
        let (writer, mut reader) = pipe();
        let bytes: Vec<u8> = (0..3 * BUFFER_BYTES + 17).map(|n| (n % 251) as u8).collect();
        let source = bytes.clone();
        let writing = std::thread::spawn(move || writer.copy(&mut source.as_slice()));
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        assert!(got == bytes);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        writing.join().unwrap().unwrap();
    }

    #[test]
    fn a_failure_and_a_dropped_writer_are_no_end() {
        let (writer, mut reader) = pipe();
        let mut source = b"abc".as_slice().chain(Failing);
        assert!(writer.copy(&mut source).is_err());
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "worn out");
        let (writer, mut reader) = pipe();
        drop(writer);
        assert!(reader.read(&mut [0]).is_err());
    }

    #[test]
    fn a_writer_without_a_reader_stops() {
        let (writer, reader) = pipe();
        drop(reader);
        writer.copy(&mut io::repeat(1)).unwrap();
    }

    struct Failing;

    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("worn out"))
        }
    }
}
