//! Files that `COPY` reads: of the context, of a stage, of an image. One way to follow links for all of them.
//!
//! Invariant: a path is followed as a process with that root would follow it, and never leaves it.

use std::fmt;
use std::io::{self, Read};

use dhow_archive::tar::{Device, Metadata};
use dhow_spec::Digest;

/// As many links as the kernel follows.
const LINKS_MAX: usize = 40;

/// Something in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// What it is.
    pub kind: FileKind,
    /// Its owner, mode, times, attributes.
    pub metadata: Metadata,
    /// What its bytes come to, where that is known already.
    pub digest: Option<Digest>,
}

/// What something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file of so many bytes.
    File(u64),
    /// A symbolic link to there.
    Symlink(Vec<u8>),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// What no archive has: a socket.
    Other,
}

/// A tree that could not be read.
#[derive(Debug)]
pub enum FilesError {
    /// Too many links, or links to themselves.
    Links {
        /// Where.
        path: Vec<u8>,
    },
    /// Reading failed.
    Io {
        /// Where.
        path: Vec<u8>,
        /// Why.
        error: io::Error,
    },
}

/// A tree. Paths have no slash at either end, no `.` or `..`; the root is empty. Nothing follows links.
pub trait Files {
    /// What is there.
    fn look(&self, path: &[u8]) -> Result<Option<FileInfo>, FilesError>;

    /// The names in a directory, in the order of their bytes.
    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, FilesError>;

    /// A file's bytes.
    fn open(&self, path: &[u8]) -> Result<Box<dyn Read + '_>, FilesError>;
}

/// Where a path leads, links followed; names that are not there stay as they are. `last` says whether a link at
/// its end is followed too.
pub(crate) fn follow(files: &dyn Files, path: &[u8], last: bool) -> Result<Vec<u8>, FilesError> {
    let mut here: Vec<u8> = Vec::new();
    let mut todo: Vec<Vec<u8>> = names_of(path).rev().map(<[u8]>::to_vec).collect();
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == b".." {
            here = parent(&here).to_vec();
            continue;
        }
        let next = join(&here, &name);
        let is_last = todo.is_empty();
        match files.look(&next)?.map(|info| info.kind) {
            Some(FileKind::Symlink(target)) if last || !is_last => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(FilesError::Links { path: path.to_vec() });
                }
                if target.starts_with(b"/") {
                    here.clear();
                }
                todo.extend(names_of(&target).rev().map(<[u8]>::to_vec));
            }
            _ => here = next,
        }
    }
    Ok(here)
}

/// The names of a path; empty ones and `.` do not count.
pub(crate) fn names_of(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

/// A path without `.`, `..` and slashes at its ends; above the root is the root.
pub(crate) fn clean(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for name in names_of(path) {
        if name == b".." {
            kept.pop();
        } else {
            kept.push(name);
        }
    }
    kept.join(&b'/')
}

pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match (directory.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => directory.to_vec(),
        _ => [directory, b"/", name].concat(),
    }
}

pub(crate) fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(b"", |at| &path[..at])
}

pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(path, |at| &path[at + 1..])
}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Links { path } => {
                write!(f, "/{}: too many symbolic links", String::from_utf8_lossy(path))
            }
            Self::Io { path, error } => write!(f, "/{}: {error}", String::from_utf8_lossy(path)),
        }
    }
}

impl std::error::Error for FilesError {}
