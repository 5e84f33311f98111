//! Uploads: their names, and the files that are open between two requests.
//!
//! A name proves the repository that it was given for: it carries a keyed hash of both, so that no table of
//! uploads is kept, and one repository's name is nothing in another. The bytes are an ingest of the store,
//! which a later process goes on with.
//!
//! Invariant: one request at a time has an upload. Files and memory that open uploads take are bounded; what
//! has been idle is closed, and hashed again when somebody comes back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dhow_spec::RepositoryPath;
use dhow_store::{Content, Ingest, IngestId};
use ring::hmac;

use crate::http::error::{ApiError, Code};

/// Files of uploads that stay open between two requests.
const OPEN_MAX: usize = 512;
/// What has been idle so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Bytes that all uploads together have in memory, as far as each can do with its share.
const MEMORY: usize = 8 << 20;
const SHARE_MIN: usize = 64 << 10;
const SHARE_MAX: usize = 512 << 10;
const RANDOM_BYTES: usize = 16;

/// The uploads of a registry; cloned freely.
#[derive(Clone)]
pub(crate) struct Uploads {
    content: Content,
    key: hmac::Key,
    size_max: u64,
    open: Arc<Mutex<HashMap<String, Held>>>,
    receiving: Arc<AtomicUsize>,
}

/// A body that comes.
pub(crate) struct Receiving(Arc<AtomicUsize>);

impl Receiving {
    /// How many bytes of it are gathered, while as many are written.
    pub(crate) fn share(&self) -> usize {
        let count = self.0.load(Ordering::Relaxed).max(1);
        (MEMORY / 2 / count).clamp(SHARE_MIN, SHARE_MAX)
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Held {
    ingest: Box<Ingest>,
    since: Instant,
}

/// An upload's name, proven to be one of the repository's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadId(String);

impl UploadId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn ingest(&self) -> IngestId {
        IngestId::named(&self.0).expect("digits and a dash")
    }
}

impl Uploads {
    /// `secret` outlives the process, or else uploads do not.
    pub(crate) fn new(content: Content, secret: &[u8], size_max: u64) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self { content, key, size_max, open: Arc::default(), receiving: Arc::default() }
    }

    /// Begins an upload. Waits for the disk.
    pub(crate) fn begin(
        &self,
        repository: &RepositoryPath,
    ) -> Result<(UploadId, Box<Ingest>), ApiError> {
        let mut random = [0; RANDOM_BYTES];
        crate::secret::fill(&mut random).map_err(ApiError::internal)?;
        let random = crate::secret::hex(&random);
        let proof = hmac::sign(&self.key, &message(repository, &random));
        let id = UploadId(format!("{random}-{}", crate::secret::hex(proof.as_ref())));
        let ingest = self.content.begin_upload(id.ingest(), self.size_max, "an upload")?;
        Ok((id, Box::new(ingest)))
    }

    /// Reads a name; refuses one that was not given for this repository.
    pub(crate) fn parse(
        &self,
        repository: &RepositoryPath,
        text: &str,
    ) -> Result<UploadId, ApiError> {
        let proven = text.split_once('-').is_some_and(|(random, proof)| {
            let proof = crate::secret::unhex(proof).unwrap_or_default();
            random.len() == RANDOM_BYTES * 2
                && hmac::verify(&self.key, &message(repository, random), &proof).is_ok()
        });
        // A name that is spelled otherwise would be another file.
        let plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        if proven && plain { Ok(UploadId(text.to_owned())) } else { Err(unknown(text)) }
    }

    /// Takes an upload to write to it. Waits for the disk.
    pub(crate) fn take(&self, id: &UploadId) -> Result<Box<Ingest>, ApiError> {
        if let Some(held) = self.open().remove(&id.0) {
            return Ok(held.ingest);
        }
        if !self.content.has_ingest(&id.ingest()) {
            return Err(unknown(&id.0));
        }
        Ok(Box::new(self.content.begin_upload(id.ingest(), self.size_max, "an upload")?))
    }

    /// How much of it there is, if it is open and nobody writes it.
    pub(crate) fn offset(&self, id: &UploadId) -> Option<u64> {
        self.open().get(&id.0).map(|held| held.ingest.offset())
    }

    /// Gives it back for the next request.
    pub(crate) fn put_back(&self, id: &UploadId, ingest: Box<Ingest>) {
        let mut open = self.open();
        if open.len() >= OPEN_MAX {
            let oldest = open.iter().min_by_key(|(_, held)| held.since).map(|(id, _)| id.clone());
            oldest.and_then(|oldest| open.remove(&oldest));
        }
        open.insert(id.0.clone(), Held { ingest, since: Instant::now() });
    }

    /// Closes what has been idle.
    pub(crate) fn close_idle(&self) {
        self.open().retain(|_, held| held.since.elapsed() < IDLE);
    }

    /// Closes everything, so that what is too old can be given up.
    pub(crate) fn close_older(&self, than: Duration) {
        self.open().retain(|_, held| held.since.elapsed() < than);
    }

    /// Files that are open.
    pub(crate) fn count(&self) -> usize {
        self.open().len()
    }

    /// Counts a body that comes, as long as the value lives.
    pub(crate) fn receive(&self) -> Receiving {
        self.receiving.fetch_add(1, Ordering::Relaxed);
        Receiving(self.receiving.clone())
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn message(repository: &RepositoryPath, random: &str) -> Vec<u8> {
    format!("upload\0{random}\0{repository}").into_bytes()
}

fn unknown(id: &str) -> ApiError {
    let id: String = id.chars().take(64).collect();
    ApiError::new(Code::BlobUploadUnknown, "no such upload").about("upload", id)
}
