//! From what a container changed to an image of one more layer.
//!
//! Invariant: the layer is a plain tar, so that its digest is its diff-id; the layers below are the ones that the
//! image had, by the same descriptors.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

use dhow_archive::layer::Change;
use dhow_spec::image::{Compression, Descriptor, Family, Manifest, MediaType};

use super::contents::ingest_id;
use super::error::LoadError;
use super::import::Import;
use super::load::Loaded;
use crate::content::{Begun, ContentError, Expected, Ingest, Stored};
use crate::db::{LeaseId, SnapshotKey};
use crate::layer::{ChangeKind, DiffError, DiffOptions, DiffSink, LayerWriter};
use crate::snapshot::{Snapshots, SnapshotsError};
use crate::store::Store;

const BY: &str = "committing a container";
const BUFFER: usize = 256 << 10;

/// What a container has otherwise than its image.
#[derive(Clone, Copy)]
pub struct Changes<'a> {
    /// The driver's snapshots.
    pub snapshots: &'a Snapshots,
    /// The container's.
    pub key: &'a SnapshotKey,
    /// What is not the container's own doing.
    pub is_left_out: &'a dyn Fn(ChangeKind, &Change) -> bool,
}

/// Why a container did not become an image.
#[derive(Debug)]
pub enum CommitError {
    /// What it changed could not be read.
    Snapshot(SnapshotsError),
    /// The layer could not be ended.
    Layer(DiffError),
    /// What was made of it could not be kept.
    Content(ContentError),
    /// The image could not be recorded.
    Record(LoadError),
}

impl Store {
    /// Makes an image of `base`'s layers and of what a container has otherwise; `commit`'s configuration is
    /// `base`'s. Its blobs are kept by the lease, which the caller ends afterwards.
    pub fn commit(
        &self,
        lease: &LeaseId,
        base: &Manifest,
        changes: Changes<'_>,
        commit: Import,
    ) -> Result<Loaded, CommitError> {
        let Import { name, mut config, step } = commit;
        let layer = self.commit_layer(lease, changes)?;
        config.rootfs.diff_ids.push(layer.digest);
        config.history.push(step);
        let config = self.content().put(lease, config.to_json().as_bytes(), BY)?;
        let point = |kind, stored: Stored| Descriptor::new(kind, stored.digest, stored.size);
        let mut layers = base.layers.clone();
        layers.push(point(MediaType::layer(Family::Oci, Compression::None), layer));
        let manifest = Manifest::new(point(MediaType::Config(Family::Oci), config), layers);
        let manifest = self.content().put(lease, manifest.to_json().as_bytes(), BY)?;
        let target = point(MediaType::Manifest(Family::Oci), manifest);
        self.record(name, target).map_err(CommitError::Record)
    }

    fn commit_layer(&self, lease: &LeaseId, changes: Changes<'_>) -> Result<Stored, CommitError> {
        let expected = Expected { id: ingest_id(None), size: None, size_max: u64::MAX };
        let begun = self.content().begin(lease, expected, BY, Duration::ZERO)?;
        let Begun::Ingest(mut ingest) = begun else {
            unreachable!("a blob of unknown digest cannot be there")
        };
        // A process before us may have died with this name.
        ingest.restart()?;
        match write(&mut ingest, changes) {
            Ok(()) => Ok(ingest.commit()?),
            Err(error) => {
                ingest.discard()?;
                Err(error)
            }
        }
    }
}

fn write(ingest: &mut Ingest, changes: Changes<'_>) -> Result<(), CommitError> {
    let sink = io::BufWriter::with_capacity(BUFFER, ToIngest(ingest));
    let mut kept = Kept { writer: LayerWriter::new(sink), is_left_out: changes.is_left_out };
    changes
        .snapshots
        .diff(changes.key, &DiffOptions::LAYER, &mut kept)
        .map_err(CommitError::Snapshot)?;
    let mut sink = kept.writer.finish().map_err(CommitError::Layer)?;
    sink.flush().map_err(|error| CommitError::Layer(DiffError::Sink(error)))
}

/// A layer without what is left out.
struct Kept<'a, W> {
    writer: LayerWriter<W>,
    is_left_out: &'a dyn Fn(ChangeKind, &Change) -> bool,
}

impl<W: Write> DiffSink for Kept<'_, W> {
    fn change(
        &mut self,
        kind: ChangeKind,
        change: Change,
        body: Option<&mut dyn Read>,
    ) -> Result<(), DiffError> {
        if (self.is_left_out)(kind, &change) {
            return Ok(());
        }
        self.writer.change(kind, change, body)
    }
}

struct ToIngest<'a>(&'a mut Ingest);

impl Write for ToIngest<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Changes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("key", self.key).finish_non_exhaustive()
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot(error) => error.fmt(f),
            Self::Layer(error) => error.fmt(f),
            Self::Content(error) => error.fmt(f),
            Self::Record(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CommitError {}

impl From<ContentError> for CommitError {
    fn from(error: ContentError) -> Self {
        Self::Content(error)
    }
}
