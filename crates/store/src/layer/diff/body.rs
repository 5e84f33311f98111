//! A file's data, as a layer has it: without its holes.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use dhow_archive::tar::{Content, Extent, SparseMap};
use rustix::fs::{SeekFrom, Stat};
use rustix::io::Errno;

use crate::layer::error::ApplyFault;
use crate::layer::tree::TreeError;

/// A file with more pieces than this is told without holes: no reader would take its map.
const EXTENTS_MAX: usize = 1 << 16;

/// A file that is read from front to back.
pub(crate) struct Body {
    file: OwnedFd,
    size: u64,
    map: Option<SparseMap>,
    extent: usize,
    offset: u64,
    path: Vec<u8>,
    failure: Option<Errno>,
}

impl Body {
    pub(crate) fn new(file: OwnedFd, stat: &Stat, path: Vec<u8>) -> Result<Self, TreeError> {
        // The data may be in a layer further down than what `stat` tells of.
        let data = rustix::fs::fstat(&file);
        let error = |path: &[u8], errno| TreeError {
            path: path.to_vec(),
            fault: ApplyFault::Kernel { doing: "look for holes", errno },
        };
        let data = data.map_err(|errno| error(&path, errno))?;
        let size = stat.st_size as u64;
        let has_holes = (data.st_blocks as u64).saturating_mul(512) < size;
        let map =
            if has_holes { map(&file, size).map_err(|errno| error(&path, errno))? } else { None };
        Ok(Self { file, size, map, extent: 0, offset: 0, path, failure: None })
    }

    pub(crate) fn content(&self) -> Content {
        Content { size: self.size, map: self.map.clone() }
    }

    /// Why it could not be read to its end.
    pub(crate) fn failure(self) -> Option<TreeError> {
        let fault = |errno| ApplyFault::Kernel { doing: "read a file", errno };
        self.failure.map(|errno| TreeError { path: self.path, fault: fault(errno) })
    }

    /// How much data comes next without a gap.
    fn left(&mut self) -> u64 {
        let Some(map) = &self.map else { return self.size - self.offset };
        while let Some(extent) = map.extents().get(self.extent) {
            self.offset = self.offset.max(extent.offset);
            let left = extent.offset + extent.length - self.offset;
            if left > 0 {
                return left;
            }
            self.extent += 1;
        }
        0
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.left()).unwrap_or(usize::MAX).min(buffer.len());
        if left == 0 {
            return Ok(0);
        }
        match rustix::io::pread(self.file.as_fd(), &mut buffer[..left], self.offset) {
            Ok(0) => {
                // It has become shorter meanwhile.
                self.failure = Some(Errno::STALE);
                Err(Errno::STALE.into())
            }
            Ok(count) => {
                self.offset += count as u64;
                Ok(count)
            }
            Err(errno) => {
                self.failure = Some(errno);
                Err(errno.into())
            }
        }
    }
}

/// Where a file has data; `None` where it is not worth a map.
fn map(file: &OwnedFd, size: u64) -> Result<Option<SparseMap>, Errno> {
    let mut extents = Vec::new();
    let mut offset = 0;
    while offset < size && extents.len() <= EXTENTS_MAX {
        let data = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Ok(data) => data,
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(data))?.min(size);
        if end > data {
            extents.push(Extent { offset: data, length: end - data });
        }
        offset = end.max(data);
        if end <= data {
            break;
        }
    }
    let is_whole = matches!(extents[..], [Extent { offset: 0, length }] if length == size);
    if is_whole || extents.len() > EXTENTS_MAX {
        return Ok(None);
    }
    Ok(SparseMap::new(&extents, size))
}
