//! Who is told of differences.

use std::fmt;
use std::io::{self, Read, Write};

use dhow_archive::layer::{Change, LayerError};
use dhow_archive::tar::{TarError, Writer};

use crate::layer::owners::Owners;
use crate::layer::tree::TreeError;

/// What happened to a name, as `docker diff` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// It is otherwise than before, or something in it is.
    Modified,
    /// It is not there any more.
    Deleted,
}

/// How differences are to be told.
#[derive(Clone, Copy, Debug)]
pub struct DiffOptions<'a> {
    /// Of a directory of which nothing is left, all at once instead of name by name.
    pub opaque: bool,
    /// Turns owners on disk back into those that a layer says.
    pub owners: &'a Owners,
}

impl DiffOptions<'_> {
    /// For a layer.
    pub const LAYER: Self = Self { opaque: true, owners: &Owners::SAME };
    /// For somebody who wants to see every name.
    pub const NAMES: Self = Self { opaque: false, owners: &Owners::SAME };
}

/// Is told of differences, in the order of a layer.
pub trait DiffSink {
    /// One difference. The body is there for files, and need not be read: of a file with holes, it gives
    /// what lies between them.
    fn change(
        &mut self,
        kind: ChangeKind,
        change: Change,
        body: Option<&mut dyn Read>,
    ) -> Result<(), DiffError>;
}

/// Differences that could not be found out or told.
#[derive(Debug)]
pub enum DiffError {
    /// A tree could not be read.
    Tree(TreeError),
    /// Something that no layer can say, such as a name that means a whiteout.
    Layer(LayerError),
    /// The layer could not be written.
    Tar(TarError),
    /// The sink.
    Sink(io::Error),
}

impl fmt::Display for DiffError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(error) => error.fmt(f),
            Self::Layer(error) => error.fmt(f),
            Self::Tar(error) => error.fmt(f),
            Self::Sink(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DiffError {}

impl From<TreeError> for DiffError {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

/// Writes differences as a layer: the same differences, the same bytes.
#[derive(Debug)]
pub struct LayerWriter<W> {
    tar: Writer<W>,
}

impl<W: Write> LayerWriter<W> {
    /// A layer, written to `inner` in small pieces.
    pub const fn new(inner: W) -> Self {
        Self { tar: Writer::new(inner) }
    }

    /// Marks the end, and gives back what was written to.
    pub fn finish(self) -> Result<W, DiffError> {
        self.tar.finish().map_err(DiffError::Tar)
    }
}

impl<W: Write> DiffSink for LayerWriter<W> {
    fn change(
        &mut self,
        _: ChangeKind,
        change: Change,
        body: Option<&mut dyn Read>,
    ) -> Result<(), DiffError> {
        let entry = change.into_entry().map_err(DiffError::Layer)?;
        match body {
            Some(body) => self.tar.append(&entry, body).map_err(DiffError::Tar),
            None => self.tar.begin(&entry).map_err(DiffError::Tar),
        }
    }
}
