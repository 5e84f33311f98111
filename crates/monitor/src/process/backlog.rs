//! What a client has not taken yet: some of it in memory, much of it in a file without a name.
//!
//! Invariant: bytes come out as they went in. Memory is bounded; beyond that the disk holds what a pager on
//! the other side has not read, up to a bound of its own, after which the client is too slow to be served.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// This much is held in memory.
const MEMORY_BYTES_MAX: usize = 256 * 1024;
/// And this much on disk.
const FILE_BYTES_MAX: u64 = 1 << 32;
/// What is read back at a time.
const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct Backlog {
    memory: Vec<u8>,
    /// How much of the memory has gone out.
    used: usize,
    /// What comes after the memory.
    file: Option<Spill>,
}

#[derive(Debug)]
struct Spill {
    file: File,
    read: u64,
    written: u64,
}

/// The client is too slow, or the disk is full.
#[derive(Debug)]
pub(super) struct TooSlow;

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.used == self.memory.len() && self.file.is_none()
    }

    /// Whether a source that can wait should.
    pub(super) fn is_long(&self) -> bool {
        self.memory.len() - self.used >= CHUNK_BYTES || self.file.is_some()
    }

    /// Adds bytes; a file is made in `directory` if it takes one.
    pub(super) fn push(&mut self, bytes: &[u8], directory: &Path) -> Result<(), TooSlow> {
        let held = self.memory.len() - self.used;
        if self.file.is_none() && held + bytes.len() <= MEMORY_BYTES_MAX {
            if self.used > 0 {
                self.memory.drain(..self.used);
                self.used = 0;
            }
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        if self.file.is_none() {
            let file = unnamed(directory).map_err(|_| TooSlow)?;
            self.file = Some(Spill { file, read: 0, written: 0 });
        }
        let Some(spill) = &mut self.file else { return Err(TooSlow) };
        if spill.written - spill.read + bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(TooSlow);
        }
        spill.file.write_all_at(bytes, spill.written).map_err(|_| TooSlow)?;
        spill.written += bytes.len() as u64;
        Ok(())
    }

    /// The next bytes, if there are any; [`Backlog::consume`] says how many have gone.
    pub(super) fn front(&mut self) -> Result<&[u8], TooSlow> {
        if self.used == self.memory.len() {
            self.memory.clear();
            self.used = 0;
            self.refill()?;
        }
        Ok(&self.memory[self.used..])
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.used = (self.used + count).min(self.memory.len());
        if self.is_empty() {
            *self = Self::default();
        }
    }

    fn refill(&mut self) -> Result<(), TooSlow> {
        let Some(spill) = &mut self.file else { return Ok(()) };
        let count = usize::try_from(spill.written - spill.read).unwrap_or(CHUNK_BYTES);
        self.memory.resize(count.min(CHUNK_BYTES), 0);
        spill.file.read_exact_at(&mut self.memory, spill.read).map_err(|_| TooSlow)?;
        spill.read += self.memory.len() as u64;
        if spill.read == spill.written {
            self.file = None;
        }
        Ok(())
    }
}

fn unnamed(directory: &Path) -> Result<File, Errno> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_wherever_they_were() {
        let directory = std::env::temp_dir();
        let mut backlog = Backlog::default();
        let (mut put, mut taken) = (0u32, 0u32);
        // More goes in than comes out, then the rest comes out.
        for round in 0..600 {
            if round < 300 {
                let bytes: Vec<u8> = (put..put + 1000).flat_map(u32::to_be_bytes).collect();
                backlog.push(&bytes, &directory).unwrap();
                put += 1000;
            }
            for _ in 0..=usize::from(round >= 300) * 4 {
                let front = backlog.front().unwrap();
                let count = front.len().min(2400) / 4 * 4;
                for four in front[..count].chunks(4) {
                    assert_eq!(four, taken.to_be_bytes());
                    taken += 1;
                }
                backlog.consume(count);
            }
            assert!(backlog.memory.len() <= MEMORY_BYTES_MAX);
        }
        assert_eq!((taken, backlog.is_empty()), (put, true));
    }

    #[test]
    fn without_a_place_for_a_file_a_slow_client_is_known_as_one() {
        let mut backlog = Backlog::default();
        let nowhere = Path::new("/proc/self/no-such-directory");
        let pushed = (0..100).find(|_| backlog.push(&[0; 10_000], nowhere).is_err());
        assert_eq!(pushed, Some(26));
        assert!(backlog.is_long());
    }
}
