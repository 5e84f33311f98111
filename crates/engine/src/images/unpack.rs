//! One layer from a blob, perhaps still arriving, into a snapshot.
//!
//! Invariant: a snapshot that is kept holds what the layer's diff-id says; one that went wrong is removed.
//! Absent on purpose: the order of layers; that is the pull's.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dhow_archive::compress::Decoder;
use dhow_archive::hash::HashingReader;
use dhow_spec::Digest;
use dhow_store::{
    ApplyOptions, LeaseId, PrepareOptions, SnapshotKey, Snapshots, SnapshotsError, Unmakeable,
};

use super::error::LayerFault;
use super::options::ImageEngineOptions;
use super::part::{Interruption, Part, PartReader};
use super::pipe::pipe;

/// A layer's blob as it comes, and where it is to be unpacked.
pub(crate) struct Unpack<'a> {
    pub(crate) snapshots: &'a Snapshots,
    pub(crate) options: &'a ImageEngineOptions,
    pub(crate) lease: &'a LeaseId,
    pub(crate) key: &'a SnapshotKey,
    pub(crate) diff_id: Digest,
    pub(crate) cancel: &'a AtomicBool,
}

impl Unpack<'_> {
    /// Unpacks into an active snapshot on `parent`; again from the beginning if the download begins anew.
    pub(crate) fn run(
        &self,
        part: &Arc<Part>,
        parent: Option<&dhow_store::ChainId>,
        tell: &(dyn Fn(u64) + Sync),
    ) -> Result<(), LayerFault> {
        loop {
            let reader = part.reader().map_err(LayerFault::Interrupted)?;
            let unlimited = &PrepareOptions::UNLIMITED;
            self.snapshots.prepare(self.key, parent, Some(self.lease), unlimited)?;
            let source = Watched { reader, told: 0, tell };
            let Err(fault) = self.apply(source) else { return Ok(()) };
            self.snapshots.remove(self.key)?;
            match fault.interruption() {
                Some(Interruption::Restarted) => {}
                _ => return Err(fault),
            }
        }
    }

    /// Inflates and measures in a thread of its own, beside the one that makes files.
    fn apply(&self, source: impl Read + Send) -> Result<(), LayerFault> {
        let options = ApplyOptions {
            bytes_max: self.options.layer_bytes_max,
            entries_max: self.options.layer_entries_max,
            devices: Unmakeable::Skip,
            devices_allowed: self.options.devices_allowed,
            xattrs: Unmakeable::Skip,
            owners: &self.options.owners,
            cancel: Some(self.cancel),
        };
        let (writer, mut reader) = pipe();
        std::thread::scope(|scope| {
            let inflating = scope.spawn(move || -> io::Result<Digest> {
                let decoder = Decoder::new(source, self.options.decoder_limits())?;
                let mut tar = HashingReader::new(decoder, self.diff_id.algorithm());
                writer.copy(&mut tar)?;
                Ok(tar.finish().1.digest)
            });
            let applied = self.snapshots.apply(self.key, &mut reader, &options);
            // A thread that still inflates finds nobody there, and ends.
            drop(reader);
            let inflated = inflating.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
            match (applied, inflated) {
                (Ok(_), Ok(actual)) if actual == self.diff_id => Ok(()),
                (Ok(_), Ok(actual)) => Err(LayerFault::DiffId {
                    expected: Box::new(self.diff_id),
                    actual: Box::new(actual),
                }),
                // A stream that breaks off makes the unpacking fail as well, with less to say.
                (_, Err(error)) => Err(LayerFault::Stream(error)),
                (Err(error), Ok(_)) => Err(error.into()),
            }
        })
    }
}

/// Reads a part and tells how far it is.
struct Watched<'a> {
    reader: PartReader,
    told: u64,
    tell: &'a (dyn Fn(u64) + Sync),
}

/// Not more often than that many bytes.
const TELL_EVERY: u64 = 1 << 20;

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let done = self.reader.offset();
        if done - self.told >= TELL_EVERY {
            self.told = done;
            (self.tell)(done);
        }
        Ok(count)
    }
}

impl From<SnapshotsError> for LayerFault {
    fn from(error: SnapshotsError) -> Self {
        Self::Snapshot(error)
    }
}
