//! A blob being written.
//!
//! Invariant: the file below `ingest/` is a beginning of the blob, or what [`Ingest::commit`]
//! finds not to be; bytes are hashed as they are written, or beside that on another thread, and a
//! later process hashes them again before it goes on. A full disk gets everything back that was written; a cut connection or a
//! killed process leaves it for who comes next.

use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use dhow_archive::hash::{Hasher, Measured};
use dhow_spec::{Algorithm, Digest, RepositoryPath};
use rustix::fs::{Advice, Mode, OFlags};

use super::names::Claim;
use super::{Content, ContentError, Expected, INGEST, blob_path};
use crate::db::{Durability, LeaseId, Repositories, RepositoryError};

const BUFFER: usize = 256 << 10;
/// The disk begins with an upload's bytes when there are so many: little is left to wait for at the end.
const WINDOW: u64 = 16 << 20;
/// So many files are synced side by side.
const SYNCS: usize = 8;

/// A blob that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// A blob being written; dropped half-way, it can be continued.
#[derive(Debug)]
pub struct Ingest {
    content: Content,
    keeper: Keeper,
    expected: Expected,
    file: File,
    hasher: Hasher,
    hasher_algorithm: Algorithm,
    offset: u64,
    _claim: Claim,
}

/// What keeps a blob from the moment on that it is there.
#[derive(Debug)]
pub(super) enum Keeper {
    /// A lease.
    Lease(LeaseId),
    /// A repository, within its quota.
    Repository(RepositoryPath, Option<u64>),
    /// That is said at the end.
    Later,
}

type Result<T> = std::result::Result<T, ContentError>;

impl Ingest {
    pub(super) fn open(
        content: &Content,
        keeper: Keeper,
        expected: Expected,
        claim: Claim,
    ) -> Result<Self> {
        let name = expected.id.file_name();
        let path = || Path::new(INGEST).join(&name);
        content.step("ingest.create", path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let file = rustix::fs::openat(&content.shared.ingests, &name, flags, mode)
            .map_err(|error| super::io("create", path(), error.into()))?;
        let hasher_algorithm = expected.id.algorithm();
        let (content, hasher) = (content.clone(), Hasher::new(hasher_algorithm));
        let (file, offset) = (File::from(file), 0);
        let mut ingest = Self {
            content,
            keeper,
            expected,
            file,
            hasher,
            hasher_algorithm,
            offset,
            _claim: claim,
        };
        ingest.resume()?;
        Ok(ingest)
    }

    /// Hashes what is there already.
    fn resume(&mut self) -> Result<()> {
        let found = self.file.metadata().map_err(|error| self.io("look at", error))?.len();
        if found == 0 {
            return Ok(());
        }
        let mut buffer = vec![0; BUFFER];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    self.hasher.update(&buffer[..count]);
                    self.offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io("read", error)),
            }
        }
        // More than there can be is a beginning of nothing.
        if self.offset > self.limit() { self.restart() } else { Ok(()) }
    }

    /// How many bytes are there: what comes next belongs here.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The file, for reading what is there while more is being written; emptied when the ingest begins anew.
    pub fn file(&self) -> Result<File> {
        self.file.try_clone().map_err(|error| self.io("open", error))
    }

    /// Begins anew, for a source that cannot begin in the middle.
    pub fn restart(&mut self) -> Result<()> {
        if self.offset > 0 {
            self.file.set_len(0).map_err(|error| self.io("empty", error))?;
            io::Seek::rewind(&mut self.file).map_err(|error| self.io("rewind", error))?;
            self.hasher = Hasher::new(self.hasher_algorithm);
            self.offset = 0;
        }
        Ok(())
    }

    /// Adds bytes. After an error nothing more can be done but [`Ingest::discard`] or dropping it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_unhashed(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// The hash of what is there, for whoever adds to it what [`Ingest::write_unhashed`] is given meanwhile.
    pub fn lend_hash(&mut self) -> Hasher {
        std::mem::replace(&mut self.hasher, Hasher::new(self.hasher_algorithm))
    }

    /// Takes it back. One that never comes back, or not with all bytes, is made anew at the end.
    pub fn give_hash_back(&mut self, hasher: Hasher) {
        self.hasher = hasher;
    }

    /// Adds bytes that somebody else hashes, who was lent the hash.
    pub fn write_unhashed(&mut self, bytes: &[u8]) -> Result<()> {
        let offset = self.offset + bytes.len() as u64;
        if offset > self.limit() {
            let error = self.too_long(offset);
            self.content.unlink_ingest(&self.expected.id)?;
            return Err(error);
        }
        self.content.step("ingest.write", || self.path())?;
        if let Err(error) = self.file.write_all(bytes) {
            return Err(self.failed("write", error));
        }
        self.begin_writing_back(offset);
        self.offset = offset;
        Ok(())
    }

    /// Has the kernel begin to bring a large upload to disk. What is dirty this only starts to write; it stays in
    /// memory.
    fn begin_writing_back(&self, offset: u64) {
        let (before, now) = (self.offset / WINDOW, offset / WINDOW);
        if before < now && matches!(self.keeper, Keeper::Later) {
            let length = NonZeroU64::new((now - before) * WINDOW);
            // Without it everything is written at the end.
            let _ = rustix::fs::fadvise(&self.file, before * WINDOW, length, Advice::DontNeed);
        }
    }

    /// Makes sure that the hash is that of all bytes.
    fn settle_hash(&mut self) -> Result<()> {
        if self.hasher.size() == self.offset { Ok(()) } else { self.hash_by(self.hasher_algorithm) }
    }

    /// Ends the blob: checks it, brings it to disk, names and records it.
    pub fn commit(self) -> Result<Stored> {
        let content = self.content.clone();
        let mut stored = content.commit_all(vec![self])?;
        Ok(stored.pop().expect("one for one"))
    }

    /// Ends an upload as the blob `digest` of a repository that may hold `bytes_max`. One that does
    /// not hash to it is not kept. Bytes that the store has already are given back.
    pub fn commit_to(
        mut self,
        repository: &RepositoryPath,
        digest: &Digest,
        bytes_max: Option<u64>,
    ) -> Result<Stored> {
        if self.hasher_algorithm != digest.algorithm() {
            self.hash_by(digest.algorithm())?;
        }
        self.settle_hash()?;
        let measured = self.hasher.clone().finish();
        if measured.digest != *digest {
            self.content.unlink_ingest(&self.expected.id)?;
            let (expected, actual) = (Box::new(*digest), Box::new(measured.digest));
            return Err(ContentError::Corrupt { expected, actual });
        }
        let records = Repositories::new(self.content.shared.db.clone());
        match records.adopt_blob(repository, digest, bytes_max) {
            Ok(Some(size)) if self.content.blob_file(digest).is_ok() => {
                self.content.unlink_ingest(&self.expected.id)?;
                return Ok(Stored { digest: *digest, size });
            }
            Ok(_) => {}
            Err(RepositoryError::OverQuota { max }) => {
                self.content.unlink_ingest(&self.expected.id)?;
                return Err(ContentError::OverQuota { repository: repository.to_string(), max });
            }
            Err(RepositoryError::Db(error)) => return Err(error.into()),
            Err(_) => unreachable!("adopting a blob checks nothing else"),
        }
        self.keeper = Keeper::Repository(repository.clone(), bytes_max);
        self.commit()
    }

    /// Hashes all that is there anew, by another algorithm.
    fn hash_by(&mut self, algorithm: Algorithm) -> Result<()> {
        io::Seek::rewind(&mut self.file).map_err(|error| self.io("rewind", error))?;
        (self.hasher, self.hasher_algorithm, self.offset) = (Hasher::new(algorithm), algorithm, 0);
        self.resume()
    }

    /// Gives back what was written.
    pub fn discard(self) -> Result<()> {
        self.content.unlink_ingest(&self.expected.id)
    }

    /// Checks size and hash. Bytes that are wrong are not kept: nobody could continue with them.
    fn check(&self) -> Result<Measured> {
        let measured = self.hasher.clone().finish();
        let error = match (self.expected.size, self.expected.id.digest()) {
            (Some(size), _) if measured.size != size => {
                let (ingest, actual) = (self.expected.id.clone(), measured.size);
                let error = ContentError::Size { ingest, expected: size, actual };
                // What is too short can still become whole.
                return Err(error);
            }
            (_, Some(expected)) if measured.digest != expected => ContentError::Corrupt {
                expected: Box::new(expected),
                actual: Box::new(measured.digest),
            },
            _ => return Ok(measured),
        };
        self.content.unlink_ingest(&self.expected.id)?;
        Err(error)
    }

    fn limit(&self) -> u64 {
        self.expected.size.unwrap_or(u64::MAX).min(self.expected.size_max)
    }

    fn too_long(&self, actual: u64) -> ContentError {
        let ingest = self.expected.id.clone();
        match self.expected.size {
            Some(expected) if expected <= self.expected.size_max => {
                ContentError::Size { ingest, expected, actual }
            }
            _ => ContentError::TooLarge { ingest, max: self.expected.size_max },
        }
    }

    /// Gives everything back if the disk is full.
    fn failed(&self, doing: &'static str, error: io::Error) -> ContentError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                match self.content.unlink_ingest(&self.expected.id) {
                    Ok(()) => ContentError::NoSpace { ingest: self.expected.id.clone() },
                    Err(error) => error,
                }
            }
            _ => self.io(doing, error),
        }
    }

    fn sync(&self) -> Result<()> {
        self.content.step("ingest.sync", || self.path())?;
        self.file.sync_data().map_err(|error| self.failed("sync", error))
    }

    fn path(&self) -> PathBuf {
        Path::new(INGEST).join(self.expected.id.file_name())
    }

    fn io(&self, doing: &'static str, error: io::Error) -> ContentError {
        super::io(doing, self.path(), error)
    }
}

/// Syncs side by side: a journal takes those that come together as one, each alone costs a commit.
fn sync_all(ingests: &[Ingest]) -> Result<()> {
    let mut lanes = ingests.chunks(ingests.len().div_ceil(SYNCS).max(1));
    let first = lanes.next().unwrap_or_default();
    let sync = |lane: &[Ingest]| lane.iter().try_for_each(Ingest::sync);
    std::thread::scope(|scope| {
        let others: Vec<_> = lanes.map(|lane| scope.spawn(move || sync(lane))).collect();
        let first = sync(first);
        // A panic there was our bug and goes on here.
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        others.into_iter().map(join).fold(first, Result::and)
    })
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::write(self, bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Content {
    /// Ends many blobs with one sync of the directory and one transaction: all or none get their
    /// records.
    pub fn commit_all(&self, mut ingests: Vec<Ingest>) -> Result<Vec<Stored>> {
        let mut stored = Vec::with_capacity(ingests.len());
        for ingest in &mut ingests {
            ingest.settle_hash()?;
            let Measured { digest, size } = ingest.check()?;
            stored.push(Stored { digest, size });
        }
        sync_all(&ingests)?;
        let arrivals: Vec<_> =
            stored.iter().map(|stored| self.shared.names.arrive(stored.digest)).collect();
        let result = self.name_all(&ingests, &stored);
        drop(arrivals);
        if let Err(error) = result {
            self.take_back(&stored)?;
            return Err(error);
        }
        Ok(stored)
    }

    fn name_all(&self, ingests: &[Ingest], stored: &[Stored]) -> Result<()> {
        let (Some(first), Some(one)) = (ingests.first(), stored.first()) else { return Ok(()) };
        for (ingest, stored) in ingests.iter().zip(stored) {
            self.name(ingest, &stored.digest)?;
        }
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            if let Some(one) = stored.iter().find(|one| one.digest.algorithm() == algorithm) {
                self.step("blob.sync", || blob_path(&one.digest))?;
                let synced = self.shared.directory(algorithm).sync();
                synced.map_err(|error| super::io("sync", super::BLOBS, error))?;
            }
        }
        self.step("blob.record", || blob_path(&one.digest))?;
        match &first.keeper {
            Keeper::Lease(lease) => self.shared.db.record_blobs(Durability::Process, lease, stored),
            Keeper::Repository(path, bytes_max) => stored.iter().try_for_each(|stored| {
                self.shared.db.record_repository_blob(path, *bytes_max, *stored)
            }),
            Keeper::Later => Err(ContentError::NoLease { lease: first.expected.id.to_string() }),
        }
    }

    /// Removes files that got a name and no record, whoever gave it.
    fn take_back(&self, stored: &[Stored]) -> Result<()> {
        let digests = stored.iter().map(|stored| stored.digest).collect();
        let departure = self.shared.names.leave(digests);
        for digest in departure.digests() {
            if !self.shared.db.has_blob(digest)? {
                self.unlink_blob(digest)?;
            }
        }
        Ok(())
    }

    fn name(&self, ingest: &Ingest, digest: &Digest) -> Result<()> {
        self.step("blob.name", || blob_path(digest))?;
        let directory = self.shared.directory(digest.algorithm());
        let from = ingest.expected.id.file_name();
        rustix::fs::renameat(&self.shared.ingests, from, directory, digest.hex())
            .map_err(|error| super::io("name", blob_path(digest), error.into()))
    }
}
