//! Layers in the making: a tar goes into the store's blob and into a snapshot in one pass.
//!
//! Invariant: what is given back is whole and on disk in both; what went wrong is removed, or ends with the lease.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use dhow_archive::hash::Hasher;
use dhow_archive::layer::Change;
use dhow_archive::tar::Time;
use dhow_builder::{Built, Fault, Layer, WorkError};
use dhow_spec::Algorithm;
use dhow_spec::image::{Compression, Descriptor, Family, History, MediaType, RootFs};
use dhow_store::{
    ApplyOptions, Begun, ChainId, ChangeKind, DiffError, DiffOptions, DiffSink, Expected, Ingest,
    IngestId, LayerWriter, PrepareOptions, SnapshotKey, Stored, chain_ids,
};

use super::worker::EngineWorker;
use crate::containers::new_id;
use crate::error::Error;

const BY: &str = "a build";
/// Pieces between the thread that writes a layer and the one that unpacks it.
const PIECES: usize = 16;
const PIECE_BYTES: usize = 256 << 10;

/// The chain of a root; `None` for nothing.
pub(super) fn top(layers: &[Layer]) -> Option<ChainId> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id).collect();
    chain_ids(&diff_ids).pop()
}

pub(super) fn failed(error: impl Into<Error>) -> WorkError {
    WorkError::Failed(Box::new(error.into()))
}

impl EngineWorker {
    /// A name that nothing else has.
    pub(super) fn key(&self) -> Result<SnapshotKey, Error> {
        let id = new_id()?;
        Ok(SnapshotKey::parse(&format!("build-{}", &id[..24])).expect("a word"))
    }

    /// An ingest for a layer whose digest is not known yet.
    pub(super) fn ingest(&self) -> Result<Box<Ingest>, Error> {
        let id = new_id()?;
        let id = IngestId::named(&format!("build-{}", &id[..24])).expect("a word");
        let expected = Expected { id, size: None, size_max: u64::MAX };
        let begun = self.shared.store.content().begin(self.lease(), expected, BY, Duration::ZERO);
        match begun.map_err(content)? {
            Begun::Ingest(ingest) => Ok(ingest),
            Begun::Exists(_) => unreachable!("a blob of unknown digest cannot be there"),
        }
    }

    /// Makes a layer of the tar that `write` writes.
    pub(super) fn make_layer(
        &self,
        below: &[Layer],
        write: &mut dyn FnMut(&mut dyn Write) -> Result<(), Fault>,
    ) -> Result<Layer, Fault> {
        let key = self.key().map_err(failed)?;
        let parent = top(below);
        let unlimited = PrepareOptions::UNLIMITED;
        let snapshots = &self.shared.snapshots;
        let prepared = snapshots.prepare(&key, parent.as_ref(), Some(self.lease()), &unlimited);
        prepared.map_err(|error| failed(Error::from(error)))?;
        let made = self.fill(&key, write);
        let (blob, diff_id) = match made {
            Ok(made) => made,
            Err(fault) => {
                // What cannot be removed now ends with the lease.
                let _ = snapshots.remove(&key);
                return Err(fault);
            }
        };
        let layer = Layer { diff_id, blob: plain(blob) };
        self.commit_snapshot(&key, below, &layer).map_err(failed)?;
        Ok(layer)
    }

    fn fill(
        &self,
        key: &SnapshotKey,
        write: &mut dyn FnMut(&mut dyn Write) -> Result<(), Fault>,
    ) -> Result<(Stored, dhow_spec::Digest), Fault> {
        let mut ingest = self.ingest().map_err(failed)?;
        let (pieces, received) = sync_channel(PIECES);
        let (written, applied) = std::thread::scope(|scope| {
            let applying = scope.spawn(|| {
                let options =
                    ApplyOptions { cancel: Some(self.cancel.flag()), ..ApplyOptions::EXACT };
                let mut source = Pieces { received, current: Vec::new(), at: 0 };
                let applied = self.shared.snapshots.apply(key, &mut source, &options);
                applied.map(drop).map_err(Error::from)
            });
            let mut tee = Tee {
                ingest: &mut ingest,
                hasher: Hasher::new(Algorithm::Sha256),
                pieces: Some(pieces),
                buffer: Vec::with_capacity(PIECE_BYTES),
            };
            let written = write(&mut tee).and_then(|()| Ok(tee.finish()?));
            drop(tee);
            let applied = applying.join();
            (written, applied.unwrap_or(Err(Error::Closing)))
        });
        match (written, applied) {
            (Ok(diff_id), Ok(())) => {
                let blob = ingest.commit().map_err(|error| failed(content(error)))?;
                Ok((blob, diff_id))
            }
            (written, applied) => {
                let _ = ingest.discard();
                if self.cancel.is_cancelled() {
                    return Err(Fault::Work(WorkError::Cancelled));
                }
                // A pipe that broke says less than why it did.
                match (written, applied) {
                    (Err(Fault::Io(_) | Fault::Tar(_)), Err(error)) | (Ok(_), Err(error)) => {
                        Err(Fault::Work(failed(error)))
                    }
                    (Err(fault), _) => Err(fault),
                    (Ok(_), Ok(())) => unreachable!("both went well"),
                }
            }
        }
    }

    /// Commits a snapshot under its chain; somebody else may have been first.
    pub(super) fn commit_snapshot(
        &self,
        key: &SnapshotKey,
        below: &[Layer],
        layer: &Layer,
    ) -> Result<(), Error> {
        let snapshots = &self.shared.snapshots;
        let whole: Vec<Layer> = below.iter().chain([layer]).cloned().collect();
        let name = top(&whole).expect("one layer at least");
        // Its lease goes over to the committed snapshot.
        match snapshots.commit(key, &name, top(below).as_ref()) {
            Ok(_) => {
                snapshots.keep(&name, self.lease())?;
                Ok(())
            }
            Err(error) => {
                let there = snapshots.keep(&name, self.lease())?;
                snapshots.remove(key)?;
                if there { Ok(()) } else { Err(error.into()) }
            }
        }
    }

    /// Puts a layer whose blob is here onto another root.
    pub(super) fn stack_layer(&self, below: &[Layer], layer: &Layer) -> Result<(), Error> {
        let snapshots = &self.shared.snapshots;
        let whole: Vec<Layer> = below.iter().chain([layer]).cloned().collect();
        let name = top(&whole).expect("one layer at least");
        if snapshots.keep(&name, self.lease())? {
            return Ok(());
        }
        let key = self.key()?;
        let unlimited = PrepareOptions::UNLIMITED;
        snapshots.prepare(&key, top(below).as_ref(), Some(self.lease()), &unlimited)?;
        let blob = self.shared.store.content().open_blob(&layer.blob.digest).map_err(content)?;
        let applied = snapshots.apply(&key, &mut blob.reader(), &ApplyOptions::EXACT);
        if let Err(error) = applied {
            snapshots.remove(&key)?;
            return Err(error.into());
        }
        self.commit_snapshot(&key, below, layer)
    }

    /// Keeps what is otherwise in a snapshot as a blob.
    pub(super) fn keep_diff(&self, key: &SnapshotKey, epoch: Option<i64>) -> Result<Layer, Error> {
        let mut ingest = self.ingest()?;
        let mut tee = Tee {
            ingest: &mut ingest,
            hasher: Hasher::new(Algorithm::Sha256),
            pieces: None,
            buffer: Vec::with_capacity(PIECE_BYTES),
        };
        let mut sink = Dated { inner: LayerWriter::new(&mut tee), epoch };
        let told = self
            .shared
            .snapshots
            .diff(key, &DiffOptions::LAYER, &mut sink)
            .map_err(Error::from)
            .and_then(|()| {
                let written = sink.inner.finish();
                written.map(drop).map_err(|error| diff_error(&error))
            });
        let finished =
            told.and_then(|()| tee.finish().map_err(|error| Error::io("write", "a layer", error)));
        match finished {
            Ok(diff_id) => {
                let blob = ingest.commit().map_err(content)?;
                Ok(Layer { diff_id, blob: plain(blob) })
            }
            Err(error) => {
                let _ = ingest.discard();
                Err(error)
            }
        }
    }

    /// Makes one layer of all that are above the base.
    pub(super) fn squash(&self, built: Built) -> Result<Built, Error> {
        let Built { mut config, layers } = built;
        let Some(name) = top(&layers) else { return Ok(Built { config, layers }) };
        let mut ingest = self.ingest()?;
        let mut tee = Tee {
            ingest: &mut ingest,
            hasher: Hasher::new(Algorithm::Sha256),
            pieces: None,
            buffer: Vec::with_capacity(PIECE_BYTES),
        };
        let mut writer = LayerWriter::new(&mut tee);
        self.shared.snapshots.export_of_committed(&name, &DiffOptions::LAYER, &mut writer)?;
        writer.finish().map_err(|error| diff_error(&error))?;
        let diff_id = tee.finish().map_err(|error| Error::io("write", "a layer", error))?;
        let blob = ingest.commit().map_err(content)?;
        let layer = Layer { diff_id, blob: plain(blob) };
        self.stack_layer(&[], &layer)?;
        for line in &mut config.history {
            line.empty_layer = true;
        }
        config.history.push(History {
            created: config.created.clone(),
            comment: Some(format!("merge {} layers", layers.len())),
            ..History::default()
        });
        config.rootfs = RootFs::new(vec![diff_id]);
        Ok(Built { config, layers: vec![layer] })
    }
}

fn plain(blob: Stored) -> Descriptor {
    let media_type = MediaType::layer(Family::Oci, Compression::None);
    Descriptor::new(media_type, blob.digest, blob.size)
}

pub(super) fn content(error: dhow_store::ContentError) -> Error {
    Error::io("keep", "a layer", io::Error::other(error))
}

fn diff_error(error: &DiffError) -> Error {
    Error::io("write", "a layer", io::Error::other(error.to_string()))
}

/// Writes to the blob, the digest, and whoever unpacks.
struct Tee<'a> {
    ingest: &'a mut Ingest,
    hasher: Hasher,
    pieces: Option<SyncSender<Vec<u8>>>,
    buffer: Vec<u8>,
}

impl Tee<'_> {
    fn pass_on(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.hasher.update(&self.buffer);
        self.ingest.write(&self.buffer).map_err(io::Error::other)?;
        match &self.pieces {
            None => self.buffer.clear(),
            Some(pieces) => {
                let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES));
                pieces.send(full).map_err(|_| io::ErrorKind::BrokenPipe)?;
            }
        }
        Ok(())
    }

    /// Sends what is left, and the end.
    fn finish(&mut self) -> io::Result<dhow_spec::Digest> {
        self.pass_on()?;
        if let Some(pieces) = self.pieces.take() {
            pieces.send(Vec::new()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        let hasher = std::mem::replace(&mut self.hasher, Hasher::new(Algorithm::Sha256));
        Ok(hasher.finish().digest)
    }
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES {
            self.pass_on()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the tee sends; an empty piece is the end, and a sender that goes without one is a failure.
struct Pieces {
    received: Receiver<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            self.current = self.received.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.at = 0;
        }
        let rest = &self.current[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

/// Passes changes on with no time later than one.
struct Dated<S> {
    inner: S,
    epoch: Option<i64>,
}

impl<S: DiffSink> DiffSink for Dated<S> {
    fn change(
        &mut self,
        kind: ChangeKind,
        mut change: Change,
        body: Option<&mut dyn Read>,
    ) -> Result<(), DiffError> {
        if let (Some(epoch), Change::Put { metadata, .. } | Change::Link { metadata, .. }) =
            (self.epoch, &mut change)
            && metadata.modified.seconds >= epoch
        {
            metadata.modified = Time { seconds: epoch, nanoseconds: 0 };
        }
        self.inner.change(kind, change, body)
    }
}
