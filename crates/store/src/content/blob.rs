//! A blob, open for reading.
//!
//! Invariant: what is read is a whole blob, even if garbage collection takes its name away in the
//! meantime.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use dhow_spec::Digest;

/// A blob, open for reading from many threads at once.
#[derive(Debug)]
pub struct Blob {
    file: File,
    digest: Digest,
    size: u64,
}

/// Reads a part of a blob, front to back.
#[derive(Debug)]
pub struct BlobReader<B> {
    blob: B,
    range: Range<u64>,
}

impl Blob {
    pub(super) fn new(file: File, digest: Digest) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file, digest, size })
    }

    /// The file itself.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Its digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills the buffer from `offset` on; gives less only at the end.
    pub fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
        let wanted = buffer.len();
        while !buffer.is_empty() {
            match self.file.read_at(buffer, offset) {
                Ok(0) => break,
                Ok(count) => {
                    buffer = &mut buffer[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(wanted - buffer.len())
    }

    /// Reads all of it.
    pub fn reader(&self) -> BlobReader<&Self> {
        BlobReader { range: 0..self.size, blob: self }
    }

    /// Reads what of it lies in `range`.
    pub fn range(&self, range: Range<u64>) -> BlobReader<&Self> {
        BlobReader { range: range.start..range.end.min(self.size), blob: self }
    }

    /// Reads all of it, and keeps it open.
    pub fn into_reader(self) -> BlobReader<Self> {
        BlobReader { range: 0..self.size, blob: self }
    }
}

impl AsFd for Blob {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl<B: std::borrow::Borrow<Blob>> Read for BlobReader<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.range.end.saturating_sub(self.range.start);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.blob.borrow().file.read_at(&mut buffer[..length], self.range.start)?;
        self.range.start += count as u64;
        Ok(count)
    }
}
