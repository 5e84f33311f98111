//! What a directory holds, sorted.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, RawDir};
use rustix::io::Errno;

/// Names and kinds of a directory; taken from the back, they come in the order of their bytes.
#[derive(Debug)]
pub(crate) struct Listing(Vec<(Vec<u8>, FileType)>);

impl Listing {
    /// Reads a directory from its beginning; a kind that the file system does not tell is looked up.
    pub(crate) fn read(dir: BorrowedFd<'_>) -> Result<Self, Errno> {
        // Who looks at one descriptor twice must see the same.
        rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0))?;
        let mut buffer = Vec::with_capacity(32 << 10);
        let mut names = Vec::new();
        let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push((name.to_vec(), entry.file_type()));
            }
        }
        for (name, kind) in &mut names {
            if *kind == FileType::Unknown {
                let stat = rustix::fs::statat(dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
                *kind = FileType::from_raw_mode(stat.st_mode);
            }
        }
        names.sort_unstable_by(|one, other| other.0.cmp(&one.0));
        Ok(Self(names))
    }

    /// The next name.
    pub(crate) fn pop(&mut self) -> Option<(Vec<u8>, FileType)> {
        self.0.pop()
    }

    /// The names in order.
    pub(crate) fn into_sorted(self) -> impl Iterator<Item = (Vec<u8>, FileType)> {
        self.0.into_iter().rev()
    }
}
