//! The bytes of an archive, through one buffer of fixed size.
//!
//! Invariant: what is handed out was read once and is not copied again, but for a block that lies
//! across the end of the buffer.

use std::io::{self, Read};

use super::error::Fault;
use super::header::{BLOCK, Block};

const CAPACITY: usize = 128 << 10;

#[derive(Debug)]
pub(super) struct Source<R> {
    inner: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<R: Read> Source<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, buffer: vec![0; CAPACITY].into_boxed_slice(), start: 0, end: 0 }
    }

    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    /// The next block; `None` where the bytes end before it.
    pub(super) fn block(&mut self) -> Result<Option<Block>, Fault> {
        while self.end - self.start < BLOCK {
            if self.buffer.len() - self.start < BLOCK {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            let empty = self.start == self.end;
            match self.read()? {
                0 if empty => return Ok(None),
                0 => return Err(Fault::Truncated),
                _ => {}
            }
        }
        let block = self.buffer[self.start..].first_chunk().copied();
        self.start += BLOCK;
        Ok(block)
    }

    /// Some of the next bytes: at least one, at most `max`; fails where there are none.
    pub(super) fn some(&mut self, max: u64) -> Result<&[u8], Fault> {
        match self.up_to(max)? {
            [] => Err(Fault::Truncated),
            bytes => Ok(bytes),
        }
    }

    /// Some of the next bytes: at most `max`; none only at the end.
    pub(super) fn up_to(&mut self, max: u64) -> Result<&[u8], Fault> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.read()?;
        }
        let available = self.end - self.start;
        let taken = usize::try_from(max).map_or(available, |max| max.min(available));
        self.start += taken;
        Ok(&self.buffer[self.start - taken..self.start])
    }

    pub(super) fn skip(&mut self, mut count: u64) -> Result<(), Fault> {
        while count > 0 {
            count -= self.some(count)?.len() as u64;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<usize, io::Error> {
        loop {
            match self.inner.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives as many bytes at a time as it is told.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len());
            self.0.read(&mut buffer[..count])
        }
    }

    #[test]
    fn blocks_and_bytes_in_any_portion() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        for portion in [1, 7, 511, 513, 100_000, usize::MAX] {
            let mut source = Source::new(Drip(&bytes, portion));
            let mut seen = Vec::new();
            while seen.len() < 290_000 {
                let block = source.block().expect("a block").expect("not the end");
                seen.extend_from_slice(&block);
                let mut left = 700;
                while left > 0 {
                    let some = source.some(left).expect("some");
                    seen.extend_from_slice(some);
                    left -= some.len() as u64;
                }
            }
            assert_eq!(seen, bytes[..seen.len()], "in portions of {portion}");
        }
    }

    #[test]
    fn the_end() {
        let mut source = Source::new(&[0; BLOCK + 1][..]);
        assert!(source.block().expect("a block").is_some());
        assert!(matches!(source.block(), Err(Fault::Truncated)));
        let mut source = Source::new(&[0; BLOCK][..]);
        source.skip(BLOCK as u64).expect("all of it");
        assert!(source.block().expect("the end").is_none());
        assert!(matches!(source.some(1), Err(Fault::Truncated)));
        assert!(source.up_to(1).expect("the end").is_empty());
    }
}
