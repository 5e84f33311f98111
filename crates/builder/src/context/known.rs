//! Files that were sent before and are here still.
//!
//! Invariant: a file counts as known only while its stamp and size are what they were before its bytes were read.
//! On a disk it is a listing whose files each stand before an offset and a digest.

use std::collections::HashMap;
use std::io::{BufRead, Write};

use dhow_archive::listing::{self, Listed, ListedKind, ListingError, Stamp};
use dhow_archive::tar::Time;
use dhow_spec::Digest;

/// Files by their paths.
#[derive(Debug, Default)]
pub struct Known {
    files: HashMap<Vec<u8>, KnownFile>,
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownFile {
    pub(super) stamp: Stamp,
    pub(super) size: u64,
    pub(super) offset: u64,
    pub(super) digest: Digest,
}

impl Known {
    /// Reads what was written.
    pub fn read(source: &mut impl BufRead) -> Result<Self, ListingError> {
        listing::read_head(source)?;
        let mut known = Self::default();
        while let Some(listed) = listing::read(source)? {
            let mut offset = [0; 8];
            let mut digest = [0; 32];
            source.read_exact(&mut offset).map_err(ListingError::Io)?;
            source.read_exact(&mut digest).map_err(ListingError::Io)?;
            let ListedKind::File { size, stamp: Some(stamp) } = listed.kind else { continue };
            let (offset, digest) = (u64::from_le_bytes(offset), Digest::Sha256(digest));
            known.put(listed.path, KnownFile { stamp, size, offset, digest });
        }
        Ok(known)
    }

    /// Writes all files.
    pub fn write(&self, sink: &mut impl Write) -> std::io::Result<()> {
        listing::begin(sink)?;
        for (path, file) in &self.files {
            let Digest::Sha256(digest) = file.digest else { continue };
            let kind = ListedKind::File { size: file.size, stamp: Some(file.stamp) };
            let listed = Listed { path: path.clone(), kind, mode: 0, modified: Time::default() };
            listing::write(sink, &listed)?;
            sink.write_all(&file.offset.to_le_bytes())?;
            sink.write_all(&digest)?;
        }
        listing::end(sink)
    }

    /// Bytes of all files together.
    pub fn size(&self) -> u64 {
        self.files.values().map(|file| file.size).sum()
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn put(&mut self, path: Vec<u8>, file: KnownFile) {
        self.files.insert(path, file);
    }

    /// The file of that path, if it is still the same.
    pub(super) fn find(&self, path: &[u8], size: u64, stamp: Option<Stamp>) -> Option<&KnownFile> {
        let stamp = stamp?;
        self.files.get(path).filter(|file| file.size == size && file.stamp == stamp)
    }
}
