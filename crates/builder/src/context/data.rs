//! The file that contexts' bytes are in, one file behind the other.
//!
//! Invariant: what was given a place stays there; several contexts may write to one file at the same time.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use dhow_archive::hash::Hasher;
use dhow_spec::{Algorithm, Digest};

/// Bytes that are moved at once.
const PIECE_BYTES: u64 = 128 << 10;

/// A file that only grows.
#[derive(Debug)]
pub struct Data {
    file: File,
    end: AtomicU64,
}

/// Where some bytes are, and what they come to.
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) digest: Digest,
}

impl Data {
    /// Goes on behind what a file has.
    pub fn new(file: File) -> io::Result<Self> {
        let end = AtomicU64::new(file.metadata()?.len());
        Ok(Self { file, end })
    }

    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Keeps at most `size` bytes.
    pub(super) fn keep(&self, body: &mut dyn Read, size: u64) -> io::Result<Place> {
        let offset = self.end.fetch_add(size, Ordering::Relaxed);
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut buffer = vec![0; usize::try_from(size.min(PIECE_BYTES)).unwrap_or(0)];
        let mut done = 0;
        while done < size {
            let most = usize::try_from(size - done).unwrap_or(usize::MAX).min(buffer.len());
            let count = match body.read(&mut buffer[..most]) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(&buffer[..count]);
            self.file.write_all_at(&buffer[..count], offset + done)?;
            done += count as u64;
        }
        Ok(Place { offset, size: done, digest: hasher.finish().digest })
    }

    /// The bytes at a place.
    pub(super) fn open(&self, offset: u64, size: u64) -> Part<'_> {
        Part { file: &self.file, offset, left: size }
    }
}

/// The part of the file that is one file.
pub(super) struct Part<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.file.read_at(&mut buffer[..most], self.offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
