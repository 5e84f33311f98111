//! Writes an archive entry by entry.
//!
//! Invariant: the bytes are those of the entries and nothing else — no clock, no owner of ours, no
//! block factor. A body is as long as its entry said, or writing fails.

use std::io::{self, Read, Write};

use super::encode::{self, Head};
use super::entry::Entry;
use super::error::{Fault, TarError};
use super::header::BLOCK;

/// Writes an archive entry by entry: [`Writer::begin`], then the body's data as [`Write`].
#[derive(Debug)]
pub struct Writer<W> {
    inner: W,
    index: u64,
    path: Vec<u8>,
    /// Data that is still to come, and what fills it up to whole blocks.
    data: u64,
    padding: u64,
}

impl<W: Write> Writer<W> {
    /// A writer of an archive; nothing is buffered.
    pub const fn new(inner: W) -> Self {
        Self { inner, index: 0, path: Vec::new(), data: 0, padding: 0 }
    }

    /// Begins an entry. What must follow is its data, for a file with holes only what lies between
    /// them, one extent after the other.
    pub fn begin(&mut self, entry: &Entry) -> Result<(), TarError> {
        self.end_body()?;
        self.index += 1;
        self.path.clone_from(&entry.path);
        let Head { bytes, data, padding } =
            encode::encode(entry).map_err(|fault| self.error(fault))?;
        self.inner.write_all(&bytes).map_err(|error| self.error(error.into()))?;
        (self.data, self.padding) = (data, padding);
        Ok(())
    }

    /// An entry with its data at once.
    pub fn append(&mut self, entry: &Entry, mut data: impl Read) -> Result<(), TarError> {
        self.begin(entry)?;
        io::copy(&mut data, self).map_err(|error| match error.downcast::<TarError>() {
            Ok(error) => error,
            Err(error) => self.error(error.into()),
        })?;
        Ok(())
    }

    /// Marks the end, and gives back what was written to.
    pub fn finish(mut self) -> Result<W, TarError> {
        self.end_body()?;
        self.inner.write_all(&[0; 2 * BLOCK]).map_err(|error| self.error(error.into()))?;
        Ok(self.inner)
    }

    fn end_body(&mut self) -> Result<(), TarError> {
        if self.data > 0 {
            return Err(self.error(Fault::Missing { size: self.data }));
        }
        let padding = std::mem::take(&mut self.padding) as usize;
        self.inner.write_all(&[0; BLOCK][..padding]).map_err(|error| self.error(error.into()))
    }

    fn error(&self, fault: Fault) -> TarError {
        TarError { index: self.index, path: Some(self.path.clone()), fault }
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.data {
            return Err(self.error(Fault::Excess).into());
        }
        let written = self.inner.write(bytes)?;
        self.data -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
