//! How much of an archive we are ready to hold, and which dialects we read.

/// What a reader accepts.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Longest path or link target in bytes.
    pub path_bytes_max: usize,
    /// Largest extended header in bytes; extended attributes are part of it.
    pub extension_bytes_max: u64,
    /// Most pieces of data in one file with holes.
    pub extents_max: usize,
    /// What to do with global headers that change entries.
    pub globals: Globals,
}

/// What to do with a global header that changes entries, other than by a comment.
///
/// GNU tar, libarchive and Python apply it, as POSIX says; Go, and with it all of Docker, does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Globals {
    /// Do as POSIX says.
    Apply,
    /// Refuse the archive.
    Refuse,
}

impl Options {
    /// For layers of images: two engines must see one file system in them.
    pub const LAYER: Self = Self {
        // Eight times what one system call takes: deeper trees are made step by step.
        path_bytes_max: 8 * 4096,
        extension_bytes_max: 1 << 20,
        extents_max: 1 << 18,
        globals: Globals::Refuse,
    };

    /// For archives that people make and unpack here.
    pub const GENERAL: Self = Self { globals: Globals::Apply, ..Self::LAYER };
}
