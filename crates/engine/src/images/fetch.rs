//! One blob from a registry into the store, readable on the way.
//!
//! Invariant: whoever reads the [`Part`] hears of the end, whole or not, on every way out.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dhow_distribution::{Client, Sink, Verifier};
use dhow_spec::Repository;
use dhow_spec::image::Descriptor;
use dhow_store::{Begun, Content, ContentError, Expected, Ingest, LeaseId};
use tokio::runtime::Handle;

use super::error::BlobFault;
use super::part::Part;
use super::progress::Transfers;

/// As long as somebody else may take for the same blob before we give up on him.
const PATIENCE: Duration = Duration::from_secs(3600);
const BUFFER: usize = 256 << 10;

/// Where a blob comes from and goes to.
#[derive(Clone)]
pub(crate) struct Fetch {
    pub(crate) client: Client,
    pub(crate) content: Content,
    pub(crate) lease: LeaseId,
    /// Where to look for what is not here; nowhere, if absent.
    pub(crate) repository: Option<Repository>,
    pub(crate) watcher: Transfers,
    /// Who asks, in words for others who want the same.
    pub(crate) by: String,
    /// Turns true when nobody wants it any more.
    pub(crate) cancel: Arc<AtomicBool>,
}

impl Fetch {
    /// Brings a blob here, unless it is. Blocks; to be called where that is allowed.
    pub(crate) fn blob(
        &self,
        runtime: &Handle,
        descriptor: &Descriptor,
        part: &Arc<Part>,
    ) -> Result<(), BlobFault> {
        let _end = AbandonOnDrop(part);
        let expected = Expected::blob(descriptor.digest, descriptor.size);
        let ingest = match self.content.begin(&self.lease, expected, &self.by, PATIENCE)? {
            Begun::Exists(stored) => {
                let blob = self.content.open_blob(&stored.digest)?;
                part.begin(blob.into_file(), stored.size);
                part.whole();
                return Ok(());
            }
            Begun::Ingest(ingest) => *ingest,
        };
        let Some(repository) = &self.repository else {
            ingest.discard()?;
            return Err(ContentError::NotFound { digest: descriptor.digest }.into());
        };
        part.begin(ingest.file()?, ingest.offset());
        let cancel = self.cancel.clone();
        let mut sink = PartSink { ingest, part: part.clone(), cancel, fault: None };
        let fetched =
            runtime.block_on(self.client.fetch(repository, descriptor, &mut sink, &self.watcher));
        match (fetched, sink.fault) {
            (Ok(()), _) => {}
            // What the store says is nearer to the cause than that the sink failed.
            (Err(_), Some(fault)) => return Err(fault.into()),
            (Err(_), None) if self.cancel.load(Ordering::Relaxed) => {
                return Err(BlobFault::Unwanted);
            }
            (Err(error), None) => return Err(error.into()),
        }
        sink.ingest.commit()?;
        self.content.add_source(&descriptor.digest, repository)?;
        Ok(())
    }
}

struct AbandonOnDrop<'a>(&'a Part);

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Writes what arrives into an ingest, and tells the part's readers. Its calls block: it is made for a thread
/// that has nothing else to do.
struct PartSink {
    ingest: Ingest,
    part: Arc<Part>,
    cancel: Arc<AtomicBool>,
    fault: Option<ContentError>,
}

impl PartSink {
    fn keep<T>(&mut self, result: Result<T, ContentError>) -> io::Result<T> {
        result.map_err(|fault| {
            let error = io::Error::other(fault.to_string());
            self.fault = Some(fault);
            error
        })
    }
}

impl Sink for PartSink {
    async fn begin(&mut self, verifier: &mut Verifier) -> io::Result<()> {
        let file = self.ingest.file();
        let file = self.keep(file)?;
        let (mut offset, mut buffer) = (0, vec![0; BUFFER]);
        while offset < self.ingest.offset() {
            let left = (self.ingest.offset() - offset).min(BUFFER as u64) as usize;
            let count = file.read_at(&mut buffer[..left], offset)?;
            if count == 0 || verifier.update(&buffer[..count]).is_err() {
                verifier.rewind();
                return self.rewind().await;
            }
            offset += count as u64;
        }
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody wants it any more"));
        }
        let written = self.ingest.write(&bytes);
        self.keep(written)?;
        self.part.grown(self.ingest.offset());
        Ok(())
    }

    async fn rewind(&mut self) -> io::Result<()> {
        let restarted = self.ingest.restart();
        self.keep(restarted)?;
        let file = self.ingest.file();
        let file = self.keep(file)?;
        self.part.begin(file, 0);
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.part.whole();
        Ok(())
    }
}
