//! Maps of files with holes, in the four ways that GNU tar has written them.
//!
//! Invariant: a map that comes out is in order, within the file, and covers exactly the data that
//! the archive holds for it; how many extents it may have is the caller's limit.

use super::decimal;
use super::entry::{Extent, SparseMap};
use super::error::Fault;
use super::header::{BLOCK, Block};
use super::number;

const NUMBER: usize = 12;
const PAIR: usize = 2 * NUMBER;
/// Where a header of type `S` has its first pairs, and the byte that says whether a block follows.
const HEADER_PAIRS: std::ops::Range<usize> = 386..386 + 4 * PAIR;
const HEADER_MORE: usize = 482;
const BLOCK_PAIRS: std::ops::Range<usize> = 0..21 * PAIR;
const BLOCK_MORE: usize = 504;

/// A map as it comes together.
#[derive(Debug)]
pub(super) struct Builder {
    extents: Vec<Extent>,
    max: usize,
}

impl Builder {
    pub(super) const fn new(max: usize) -> Self {
        Self { extents: Vec::new(), max }
    }

    pub(super) const fn len(&self) -> usize {
        self.extents.len()
    }

    pub(super) fn push(&mut self, offset: u64, length: u64) -> Result<(), Fault> {
        if self.extents.len() == self.max {
            return Err(Fault::TooLong { field: "map of its holes", max: self.max as u64 });
        }
        self.extents.push(Extent { offset, length });
        Ok(())
    }

    /// Takes the pairs of a header of type `S`; true if a block with more follows.
    pub(super) fn header(&mut self, block: &Block) -> Result<bool, Fault> {
        self.pairs(&block[HEADER_PAIRS])?;
        Ok(block[HEADER_MORE] != 0)
    }

    /// Takes the pairs of a block behind it; true if another follows.
    pub(super) fn block(&mut self, block: &Block) -> Result<bool, Fault> {
        self.pairs(&block[BLOCK_PAIRS])?;
        Ok(block[BLOCK_MORE] != 0)
    }

    /// A pair that begins with a nul is the end of the list; Go looks at its first number for
    /// that, GNU tar at the second.
    fn pairs(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        for pair in bytes.chunks_exact(PAIR) {
            let (offset, length) = pair.split_at(NUMBER);
            if offset[0] == 0 && length[0] == 0 {
                break;
            }
            if offset[0] == 0 || length[0] == 0 {
                return Err(Fault::SparseMap);
            }
            let value = |field| number::parse(field)?.try_into().ok();
            let (offset, length) = value(offset).zip(value(length)).ok_or(Fault::SparseMap)?;
            self.push(offset, length)?;
        }
        Ok(())
    }

    /// Takes the list of version 0.1: numbers with commas between them.
    pub(super) fn list(&mut self, text: &[u8]) -> Result<(), Fault> {
        let mut numbers = text.split(|byte| *byte == b',').map(decimal::parse);
        while let Some(offset) = numbers.next() {
            let length = numbers.next().flatten();
            let (offset, length) = offset.zip(length).ok_or(Fault::SparseMap)?;
            self.push(offset, length)?;
        }
        Ok(())
    }

    /// The map of a file of `size` bytes of which the archive holds `data`.
    pub(super) fn finish(self, size: u64, data: u64) -> Result<SparseMap, Fault> {
        let map = SparseMap::new(&self.extents, size).ok_or(Fault::SparseMap)?;
        if map.data_size() == data { Ok(map) } else { Err(Fault::SparseMap) }
    }
}

/// Reads the map of version 1.0, that stands before the data: a count, then that many pairs, each
/// number on a line of its own, filled up to a block.
#[derive(Debug)]
pub(super) struct Leading {
    builder: Builder,
    /// How many numbers are missing; unknown before the first line.
    missing: Option<u64>,
    offset: Option<u64>,
    line: Vec<u8>,
    /// Bytes of the archive that the map took.
    pub(super) taken: u64,
}

/// Digits of the largest number.
const LINE_BYTES_MAX: usize = 20;

impl Leading {
    pub(super) const fn new(max: usize) -> Self {
        let builder = Builder::new(max);
        Self { builder, missing: None, offset: None, line: Vec::new(), taken: 0 }
    }

    /// Takes the next block; true if another follows.
    pub(super) fn block(&mut self, block: &Block) -> Result<bool, Fault> {
        self.taken += BLOCK as u64;
        for byte in block {
            if self.missing == Some(0) {
                break;
            }
            match byte {
                b'\n' => self.number()?,
                _ if self.line.len() == LINE_BYTES_MAX => return Err(Fault::SparseMap),
                _ => self.line.push(*byte),
            }
        }
        Ok(self.missing != Some(0))
    }

    fn number(&mut self) -> Result<(), Fault> {
        let number = decimal::parse(&self.line).ok_or(Fault::SparseMap)?;
        self.line.clear();
        let Some(missing) = self.missing else {
            self.missing = Some(number.checked_mul(2).ok_or(Fault::SparseMap)?);
            return Ok(());
        };
        self.missing = Some(missing - 1);
        match self.offset.take() {
            None => self.offset = Some(number),
            Some(offset) => self.builder.push(offset, number)?,
        }
        Ok(())
    }

    /// The map of a file of `size` bytes, `data` of which the archive holds behind it.
    pub(super) fn finish(self, size: u64, data: u64) -> Result<SparseMap, Fault> {
        self.builder.finish(size, data)
    }
}

/// Prints the map of a file of `size` bytes in version 1.0, filled up to a block.
///
/// A hole at the end is an extent of nothing there: GNU tar makes a file no longer than its map.
pub(super) fn print_leading(map: &SparseMap, size: u64) -> Vec<u8> {
    let end = map.extents().last().map_or(0, |extent| extent.end());
    let mark = (end < size).then_some(Extent { offset: size, length: 0 });
    let mut lines = format!("{}\n", map.extents().len() + usize::from(mark.is_some()));
    for extent in map.extents().iter().chain(&mark) {
        lines.push_str(&format!("{}\n{}\n", extent.offset, extent.length));
    }
    let mut bytes = lines.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(map: &SparseMap) -> Vec<(u64, u64)> {
        map.extents().iter().map(|extent| (extent.offset, extent.length)).collect()
    }

    #[test]
    fn lists() {
        let list = |text: &[u8]| {
            let mut builder = Builder::new(3);
            builder.list(text).and_then(|()| builder.finish(10, 4))
        };
        assert_eq!(extents(&list(b"0,3,8,1").expect("a map")), [(0, 3), (8, 1)]);
        assert_eq!(extents(&list(b"0,3,8,1,10,0").expect("a map")), [(0, 3), (8, 1)]);
        for text in [&b""[..], b"0", b"0,3,8", b"0,3,8,1,", b"0,3,,1", b"0,4,11,0", b"8,1,0,3"] {
            assert!(matches!(list(text), Err(Fault::SparseMap)), "{}", text.escape_ascii());
        }
        assert!(matches!(list(b"0,1,1,1,2,1,3,1"), Err(Fault::TooLong { max: 3, .. })));
        assert!(matches!(list(b"0,3"), Err(Fault::SparseMap)), "does not cover the data");
    }

    #[test]
    fn leading_maps_over_several_blocks() {
        let all: Vec<_> =
            (0..100).map(|n| Extent { offset: 1_000_000 + n * 10, length: 5 }).collect();
        let map = SparseMap::new(&all, 2_000_000).expect("in order");
        let bytes = print_leading(&map, 2_000_000);
        let (blocks, []) = bytes.as_chunks::<BLOCK>() else { panic!("whole blocks") };
        let mut leading = Leading::new(101);
        for (place, block) in blocks.iter().enumerate() {
            let more = leading.block(block).expect("a map");
            assert_eq!(more, place + 1 < blocks.len());
        }
        assert_eq!(leading.taken, bytes.len() as u64);
        assert_eq!(leading.finish(2_000_000, 500).expect("the map"), map);
    }

    #[test]
    fn leading_maps_that_are_none() {
        let leading = |text: &[u8]| {
            let mut block = [0; BLOCK];
            block[..text.len()].copy_from_slice(text);
            Leading::new(3).block(&block)
        };
        assert!(!leading(b"0\n").expect("no data at all"));
        assert!(!leading(b"1\n0\n5\nrest").expect("padding is not looked at"));
        for text in [&b"1\n0\nx\n"[..], b"\n", b"-1\n", b"99999999999999999999\n", b"1\n0\n5"] {
            assert!(leading(text).is_err(), "{}", text.escape_ascii());
        }
        assert!(matches!(leading(b"18446744073709551615\n"), Err(Fault::SparseMap)));
        assert!(matches!(leading(b"9\n0\n0\n0\n0\n0\n0\n0\n0\n"), Err(Fault::TooLong { .. })));
    }
}
