//! The body of an entry: its data and holes, piece by piece or as bytes.

use std::io::{self, Read};

use super::entry::{Content, SparseMap};
use super::error::{Fault, TarError};
use super::header::BLOCK;
use super::reader::Reader;
use super::source::Source;

/// A part of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Some of its data.
    Data {
        /// Where in the file.
        offset: u64,
        /// At least one byte.
        bytes: &'a [u8],
    },
    /// Nothing but zeros, that need not be written.
    Hole {
        /// Where in the file.
        offset: u64,
        /// At least one byte.
        length: u64,
    },
}

/// The body of the entry that the reader gave last; empty for what has none.
///
/// As a [`Read`] it gives the file as a whole, zeros in its holes. [`Body::piece`] copies nothing.
#[derive(Debug)]
pub struct Body<'a, R> {
    reader: &'a mut Reader<R>,
}

/// How far a body was read.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    map: Option<SparseMap>,
    /// The extent that comes next or that we are in.
    extent: usize,
    offset: u64,
    size: u64,
    /// Bytes of data and of padding that the archive still holds.
    data: u64,
    padding: u64,
}

/// What comes next in a file.
enum Next {
    End,
    Data(u64),
    Hole(u64),
}

impl Cursor {
    /// At the beginning of a file, of which the archive holds `data` bytes.
    pub(super) fn new(content: &Content, data: u64, padding: u64) -> Self {
        let Content { size, map } = content.clone();
        Self { map, extent: 0, offset: 0, size, data, padding }
    }

    fn next(&mut self) -> Next {
        let left = self.size - self.offset;
        let Some(map) = &self.map else {
            return if left == 0 { Next::End } else { Next::Data(left) };
        };
        let extents = map.extents();
        while extents.get(self.extent).is_some_and(|extent| extent.end() <= self.offset) {
            self.extent += 1;
        }
        match extents.get(self.extent) {
            _ if left == 0 => Next::End,
            None => Next::Hole(left),
            Some(extent) if self.offset < extent.offset => Next::Hole(extent.offset - self.offset),
            Some(extent) => Next::Data(extent.end() - self.offset),
        }
    }

    /// The next piece, at most `max` bytes of it.
    pub(super) fn piece<'a, R: Read>(
        &mut self,
        source: &'a mut Source<R>,
        max: u64,
    ) -> Result<Option<Piece<'a>>, Fault> {
        let offset = self.offset;
        match self.next() {
            Next::End => Ok(None),
            Next::Hole(length) => {
                let length = length.min(max);
                self.offset += length;
                Ok(Some(Piece::Hole { offset, length }))
            }
            Next::Data(length) => {
                let bytes = source.some(length.min(max))?;
                self.offset += bytes.len() as u64;
                self.data -= bytes.len() as u64;
                Ok(Some(Piece::Data { offset, bytes }))
            }
        }
    }

    /// Leaves out what was not read.
    pub(super) fn skip<R: Read>(&mut self, source: &mut Source<R>) -> Result<(), Fault> {
        let Self { data, padding, .. } = std::mem::take(self);
        source.skip(data)?;
        source.skip(padding)
    }
}

/// How many bytes fill a body up to whole blocks.
pub(super) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

impl<'a, R: Read> Body<'a, R> {
    pub(super) fn new(reader: &'a mut Reader<R>) -> Self {
        Self { reader }
    }

    /// The next piece of the file; `None` at its end.
    pub fn piece(&mut self) -> Result<Option<Piece<'_>>, TarError> {
        self.reader.piece(u64::MAX)
    }
}

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.reader.piece(buffer.len() as u64)? {
            None => Ok(0),
            Some(Piece::Data { bytes, .. }) => {
                buffer[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
            Some(Piece::Hole { length, .. }) => {
                // No more than the buffer holds: that was asked for.
                let length = length as usize;
                buffer[..length].fill(0);
                Ok(length)
            }
        }
    }
}
