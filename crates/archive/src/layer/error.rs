//! Why an entry cannot be part of a layer.

use std::fmt;

use crate::tar::Quoted;

/// An entry that cannot be part of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerError {
    /// The name as stored.
    pub path: Vec<u8>,
    /// What it links to, if that is what is wrong.
    pub target: Option<Vec<u8>>,
    /// What is wrong.
    pub fault: LayerFault,
}

/// What is wrong with an entry of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerFault {
    /// A component is `..`.
    Parent,
    /// A component that is longer than a file's name can be.
    LongName,
    /// A nul byte.
    Nul,
    /// The root is something else than a directory.
    Root,
    /// A link to the root or to itself.
    Link,
    /// A whiteout of nothing, of `.` or of `..`, or one that is no file.
    Whiteout,
    /// Something inside a whiteout, or a link to one.
    Reserved,
    /// A character device 0:0, which is a whiteout to overlay and a device to others.
    OverlayWhiteout,
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer entry {}: ", Quoted(&self.path))?;
        if let Some(target) = &self.target {
            write!(f, "its link target {}: ", Quoted(target))?;
        }
        self.fault.fmt(f)
    }
}

impl fmt::Display for LayerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parent => "a path with \"..\"",
            Self::LongName => "a name of more than 255 bytes",
            Self::Nul => "a path with a nul byte",
            Self::Root => "the root is not a directory",
            Self::Link => "a hard link to the root or to itself",
            Self::Whiteout => "an invalid whiteout",
            Self::Reserved => "names that begin with \".wh.\" are reserved for whiteouts",
            Self::OverlayWhiteout => "a character device 0:0",
        })
    }
}

impl std::error::Error for LayerError {}
