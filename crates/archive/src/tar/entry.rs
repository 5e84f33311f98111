//! What stands in an archive, as plain values.
//!
//! Invariant: a [`SparseMap`]'s extents are in order, apart from each other and not empty.
//! Absent on purpose: what a name means to a layer (`crate::layer`); names here are as stored.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Extended attributes by name; names and values are bytes, in the order of the names.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// One file, directory, link or device of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path as stored: not empty, without nul, otherwise anything.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Whose it is, when it changed.
    pub metadata: Metadata,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file; the only kind with a body.
    File(Content),
    /// Another name of an earlier entry.
    HardLink {
        /// That entry's path, as stored.
        target: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// What it says.
        target: Vec<u8>,
    },
    /// A directory.
    Directory,
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// The body of a file, as announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The file's size in bytes, holes included.
    pub size: u64,
    /// Where its data lies; `None` if it has no holes.
    pub map: Option<SparseMap>,
}

/// Which device a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// Whose an entry is, and when it changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permissions with set-user-id, set-group-id and sticky: 12 bits.
    pub mode: u16,
    /// Owner; never the number that means "leave it" to the kernel.
    pub uid: u32,
    /// Group; the same holds.
    pub gid: u32,
    /// The owner's name; may be empty.
    pub uname: Vec<u8>,
    /// The group's name; may be empty.
    pub gname: Vec<u8>,
    /// When its content changed.
    pub modified: Time,
    /// When it was read last.
    pub accessed: Option<Time>,
    /// When its inode changed.
    pub changed: Option<Time>,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

/// A moment, to the nanosecond; before 1970 the seconds are negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds since 1970, rounded down.
    pub seconds: i64,
    /// What is to be added: less than 10⁹.
    pub nanoseconds: u32,
}

/// Some of a file's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// Where a file with holes has data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseMap(Arc<[Extent]>);

impl Content {
    /// A file of so many bytes without holes.
    pub const fn plain(size: u64) -> Self {
        Self { size, map: None }
    }

    /// How many bytes of data there are.
    pub fn data_size(&self) -> u64 {
        self.map.as_ref().map_or(self.size, SparseMap::data_size)
    }
}

impl SparseMap {
    /// Takes extents that are in order, apart and within `size`; empty ones are left out.
    pub fn new(extents: &[Extent], size: u64) -> Option<Self> {
        let mut end = 0;
        for extent in extents {
            if extent.offset < end {
                return None;
            }
            end = extent.offset.checked_add(extent.length)?;
        }
        let within = end <= size && size <= i64::MAX as u64;
        within.then(|| Self(extents.iter().copied().filter(|extent| extent.length > 0).collect()))
    }

    /// The extents, in order.
    pub fn extents(&self) -> &[Extent] {
        &self.0
    }

    /// How many bytes of data they hold.
    pub fn data_size(&self) -> u64 {
        self.0.iter().map(|extent| extent.length).sum()
    }
}

impl Extent {
    /// Where it ends; extents of a map never reach past the largest number.
    pub(super) fn end(self) -> u64 {
        self.offset + self.length
    }
}

impl Kind {
    /// The body, if it is of a kind that has one.
    pub fn content(&self) -> Option<&Content> {
        match self {
            Self::File(content) => Some(content),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_in_order() {
        let map = |extents: &[(u64, u64)], size| {
            let extents: Vec<_> =
                extents.iter().map(|&(offset, length)| Extent { offset, length }).collect();
            SparseMap::new(&extents, size)
        };
        let kept = map(&[(0, 0), (4, 2), (6, 1), (9, 0)], 9).expect("in order");
        assert_eq!(kept.extents().len(), 2);
        assert_eq!(kept.data_size(), 3);
        assert_eq!(map(&[], 0).expect("nothing").data_size(), 0);
        assert_eq!(map(&[(4, 2), (5, 1)], 9), None, "overlap");
        assert_eq!(map(&[(4, 2), (0, 1)], 9), None, "disorder");
        assert_eq!(map(&[(4, 6)], 9), None, "past the end");
        assert_eq!(map(&[(u64::MAX, 2)], u64::MAX), None, "overflow");
        assert_eq!(map(&[], u64::MAX), None, "larger than any file");
    }
}
