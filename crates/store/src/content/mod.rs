//! Blobs by digest: written by streaming, named once they are whole and on disk.
//!
//! A blob is written as an [`Ingest`], a file of its own below `ingest/`, which whoever comes
//! later can continue. When it is whole and its hash is right it is synced, gets its name below
//! `blobs/`, and then its record. Only garbage collection takes the record and then the file away.
//!
//! Invariant: a file below `blobs/` has the bytes of its name; a record has a file. Everything is
//! reached from the root's descriptor, by names that we made.
//! Absent on purpose: what blobs mean.

mod blob;
mod error;
mod id;
mod ingest;
mod names;
mod sync;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dhow_spec::{Algorithm, Digest};
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::db::{Db, LeaseId};
use crate::steps::Steps;

pub use blob::{Blob, BlobReader};
pub use error::ContentError;
pub use id::IngestId;
pub use ingest::{Ingest, Stored};

use ingest::Keeper;
pub(crate) use names::{Departure, Names};

use sync::DirectorySync;

const INGEST: &str = "ingest";
const BLOBS: &str = "blobs";

/// The store's blobs; cloned freely.
#[derive(Debug, Clone)]
pub struct Content {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    db: Db,
    steps: Steps,
    names: Arc<Names>,
    ingests: OwnedFd,
    sha256: DirectorySync,
    sha512: DirectorySync,
}

/// What is to be written, and what of it is known before.
#[derive(Debug, Clone)]
pub struct Expected {
    /// What it is.
    pub id: IngestId,
    /// Its size in bytes, if it is known.
    pub size: Option<u64>,
    /// Most bytes that are taken.
    pub size_max: u64,
}

/// What [`Content::begin`] finds.
#[derive(Debug)]
pub enum Begun {
    /// The blob is there, and kept by the lease now.
    Exists(Stored),
    /// It is to be written, from [`Ingest::offset`] on.
    Ingest(Box<Ingest>),
}

/// A partly written blob that nobody writes right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialIngest {
    /// What it is.
    pub id: IngestId,
    /// How much of it there is.
    pub size_bytes: u64,
    /// When somebody last wrote to it, in milliseconds since 1970.
    pub written_ms: i64,
}

type Result<T> = std::result::Result<T, ContentError>;

impl Expected {
    /// A blob as a descriptor promises it.
    pub const fn blob(digest: Digest, size: u64) -> Self {
        Self { id: IngestId::of(digest), size: Some(size), size_max: size }
    }
}

impl Content {
    /// Opens the directories below `root`, and makes those that are missing.
    pub(crate) fn open(root: BorrowedFd<'_>, db: Db, steps: Steps) -> Result<Self> {
        let blobs = make_directory(root, BLOBS)?;
        let named = |algorithm: Algorithm| {
            make_directory(blobs.as_fd(), algorithm.as_str()).map(DirectorySync::new)
        };
        let (sha256, sha512) = (named(Algorithm::Sha256)?, named(Algorithm::Sha512)?);
        let (ingests, names) = (make_directory(root, INGEST)?, Arc::default());
        let shared = Shared { db, steps, names, ingests, sha256, sha512 };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Begins to write what is not there yet, for a lease that keeps it from then on. `by` tells
    /// others who writes; if somebody already does, waits up to `patience` for the end of that.
    pub fn begin(
        &self,
        lease: &LeaseId,
        expected: Expected,
        by: &str,
        patience: Duration,
    ) -> Result<Begun> {
        let claim = self.shared.names.claim(&expected.id, by, patience)?;
        if let Some(digest) = expected.id.digest()
            && let Some(stored) = self.keep(lease, &digest)?
        {
            return match expected.size {
                Some(size) if size != stored.size => Err(ContentError::Size {
                    ingest: expected.id,
                    expected: size,
                    actual: stored.size,
                }),
                _ => Ok(Begun::Exists(stored)),
            };
        }
        Ingest::open(self, Keeper::Lease(lease.clone()), expected, claim)
            .map(|ingest| Begun::Ingest(Box::new(ingest)))
    }

    /// Begins or continues an upload, which [`Ingest::commit_to`] ends. `Busy` if somebody writes it.
    pub fn begin_upload(&self, id: IngestId, size_max: u64, by: &str) -> Result<Ingest> {
        let claim = self.shared.names.claim(&id, by, Duration::ZERO)?;
        Ingest::open(self, Keeper::Later, Expected { id, size: None, size_max }, claim)
    }

    /// Whether something of it was written, now or by an earlier process.
    pub fn has_ingest(&self, id: &IngestId) -> bool {
        let name = id.file_name();
        rustix::fs::statat(&self.shared.ingests, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Writes a blob that is in memory already.
    pub fn put(&self, lease: &LeaseId, bytes: &[u8], by: &str) -> Result<Stored> {
        self.put_by(lease, bytes, Algorithm::Sha256, by)
    }

    /// The same, under a digest by that algorithm.
    pub fn put_by(
        &self,
        lease: &LeaseId,
        bytes: &[u8],
        algorithm: Algorithm,
        by: &str,
    ) -> Result<Stored> {
        let expected = Expected::blob(measure(bytes, algorithm), bytes.len() as u64);
        match self.begin(lease, expected, by, Duration::from_secs(60))? {
            Begun::Exists(stored) => Ok(stored),
            Begun::Ingest(mut ingest) => {
                ingest.restart()?;
                ingest.write(bytes)?;
                ingest.commit()
            }
        }
    }

    /// Lets the lease keep a blob, if it is there.
    pub fn keep(&self, lease: &LeaseId, digest: &Digest) -> Result<Option<Stored>> {
        let kept = self.shared.db.keep_blob(lease, digest)?;
        let Some(size) = kept else { return Ok(None) };
        // A record without its file is a matter for `check`; whoever wants it can have it again.
        match self.blob_file(digest) {
            Ok(file) if blob_size(&file, digest)? == size => {
                Ok(Some(Stored { digest: *digest, size }))
            }
            Ok(_) | Err(ContentError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a blob.
    pub fn open_blob(&self, digest: &Digest) -> Result<Blob> {
        let file = self.blob_file(digest)?;
        Blob::new(file, *digest).map_err(|error| io("look at", blob_path(digest), error))
    }

    /// Reads a small blob, and makes sure of its bytes.
    pub fn read(&self, digest: &Digest, size_max: u64) -> Result<Vec<u8>> {
        let blob = self.open_blob(digest)?;
        if blob.size() > size_max {
            return Err(ContentError::TooLarge { ingest: IngestId::of(*digest), max: size_max });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(blob.size()).unwrap_or_default());
        let read = blob.reader().read_to_end(&mut bytes);
        read.map_err(|error| io("read", blob_path(digest), error))?;
        let actual = measure(&bytes, digest.algorithm());
        if actual == *digest {
            Ok(bytes)
        } else {
            Err(ContentError::Corrupt { expected: Box::new(*digest), actual: Box::new(actual) })
        }
    }

    /// Whether the blob is there.
    pub fn contains(&self, digest: &Digest) -> Result<bool> {
        match self.blob_file(digest) {
            Ok(_) => Ok(true),
            Err(ContentError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Notes that a repository has served the blob.
    pub fn add_source(&self, digest: &Digest, repository: &dhow_spec::Repository) -> Result<()> {
        Ok(self.shared.db.add_source(digest, repository)?)
    }

    /// Repositories that have served the blob, in the order of their names; also of one that an image names and
    /// that was discarded.
    pub fn sources(&self, digest: &Digest) -> Result<Vec<dhow_spec::Repository>> {
        Ok(self.shared.db.sources(digest)?)
    }

    /// What was begun and is not being written.
    pub fn partial_ingests(&self) -> Result<Vec<PartialIngest>> {
        let mut found = Vec::new();
        for name in names_in(self.shared.ingests.as_fd(), Path::new(INGEST))? {
            let Some(id) = IngestId::of_file(&name) else { continue };
            if self.shared.names.is_claimed(&id) {
                continue;
            }
            match rustix::fs::statat(&self.shared.ingests, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => found.push(PartialIngest {
                    id,
                    size_bytes: stat.st_size.unsigned_abs(),
                    written_ms: stat.st_mtime.saturating_mul(1000),
                }),
                Err(Errno::NOENT) => {}
                Err(error) => {
                    return Err(io("look at", Path::new(INGEST).join(&name), error.into()));
                }
            }
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// Gives back what was begun; nothing if somebody writes it.
    pub fn discard(&self, id: &IngestId) -> Result<()> {
        let Ok(_claim) = self.shared.names.claim(id, "its removal", Duration::ZERO) else {
            return Ok(());
        };
        self.unlink_ingest(id)
    }

    pub(crate) fn names(&self) -> &Arc<Names> {
        &self.shared.names
    }

    /// Digests of all files below `blobs/`, recorded or not, and what there is beside them.
    pub(crate) fn files(&self) -> Result<(Vec<Digest>, Vec<PathBuf>)> {
        let (mut digests, mut strangers) = (Vec::new(), Vec::new());
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let path = Path::new(BLOBS).join(algorithm.as_str());
            for name in names_in(self.shared.directory(algorithm).as_fd(), &path)? {
                match Digest::parse(&format!("{algorithm}:{name}")) {
                    Ok(digest) => digests.push(digest),
                    Err(_) => strangers.push(path.join(name)),
                }
            }
        }
        Ok((digests, strangers))
    }

    /// Removes a blob's file, whose record is gone.
    pub(crate) fn unlink_blob(&self, digest: &Digest) -> Result<()> {
        let path = || blob_path(digest);
        self.step("blob.unlink", path)?;
        let directory = self.shared.directory(digest.algorithm());
        match rustix::fs::unlinkat(directory, digest.hex(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(io("remove", path(), error.into())),
        }
    }

    fn unlink_ingest(&self, id: &IngestId) -> Result<()> {
        let name = id.file_name();
        match rustix::fs::unlinkat(&self.shared.ingests, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(io("remove", Path::new(INGEST).join(name), error.into())),
        }
    }

    fn blob_file(&self, digest: &Digest) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let directory = self.shared.directory(digest.algorithm());
        match rustix::fs::openat(directory, digest.hex(), flags, Mode::empty()) {
            Ok(file) => Ok(File::from(file)),
            Err(Errno::NOENT) => Err(ContentError::NotFound { digest: *digest }),
            Err(error) => Err(io("open", blob_path(digest), error.into())),
        }
    }

    fn step(&self, name: &'static str, path: impl FnOnce() -> PathBuf) -> Result<()> {
        self.shared.steps.at(name).map_err(|error| io(name, path(), error))
    }
}

impl Shared {
    fn directory(&self, algorithm: Algorithm) -> &DirectorySync {
        match algorithm {
            Algorithm::Sha256 => &self.sha256,
            Algorithm::Sha512 => &self.sha512,
        }
    }
}

/// The digest of bytes that are in memory.
pub fn measure(bytes: &[u8], algorithm: Algorithm) -> Digest {
    let mut hasher = dhow_archive::hash::Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish().digest
}

fn blob_size(file: &File, digest: &Digest) -> Result<u64> {
    let found = file.metadata().map_err(|error| io("look at", blob_path(digest), error))?;
    Ok(found.len())
}

fn blob_path(digest: &Digest) -> PathBuf {
    Path::new(BLOBS).join(digest.algorithm().as_str()).join(digest.hex())
}

fn io(doing: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> ContentError {
    ContentError::Io { doing, path: path.into(), source }
}

/// Opens a directory, made if it is missing.
fn make_directory(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(io("make", name, error.into())),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(parent, name, flags, Mode::empty())
        .map_err(|error| io("open", name, error.into()))
}

/// The names in a directory; ones that are not UTF-8 are not ours, and told with marks in place.
fn names_in(directory: BorrowedFd<'_>, path: &Path) -> Result<Vec<String>> {
    let failed = |error: Errno| io("list", path, error.into());
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy();
        if name != "." && name != ".." {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}
