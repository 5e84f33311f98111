//! Records of blobs: that they are there, who may have them again, who keeps them.
//!
//! Invariant: a blob is recorded together with what keeps it.

use dhow_spec::{Digest, Repository};
use rusqlite::{Connection, OptionalExtension, params};

use super::leases::{self, LeaseId};
use super::{Db, DbError, Durability};
use crate::content::{ContentError, Stored};

impl Db {
    /// Records blobs whose files are named and on disk, kept by a lease.
    pub(crate) fn record_blobs(
        &self,
        durability: Durability,
        lease: &LeaseId,
        blobs: &[Stored],
    ) -> Result<(), ContentError> {
        let (db, lease, blobs) = (self.clone(), lease.clone(), blobs.to_vec());
        self.write(durability, move |connection| {
            let now = db.clock().now_ms();
            let sql = |error| ContentError::Db(db.error(error));
            if !leases::is_alive(connection, lease.as_str(), now).map_err(sql)? {
                return Err(ContentError::NoLease { lease: lease.to_string() });
            }
            for blob in &blobs {
                record(connection, lease.as_str(), blob, now).map_err(sql)?;
            }
            Ok(())
        })
    }

    /// Lets a lease keep a blob; gives its size if it is recorded.
    pub(crate) fn keep_blob(
        &self,
        lease: &LeaseId,
        digest: &Digest,
    ) -> Result<Option<u64>, ContentError> {
        let (db, lease, digest) = (self.clone(), lease.clone(), digest.to_string());
        self.write(Durability::Process, move |connection| {
            let sql = |error| ContentError::Db(db.error(error));
            if !leases::is_alive(connection, lease.as_str(), db.clock().now_ms()).map_err(sql)? {
                return Err(ContentError::NoLease { lease: lease.to_string() });
            }
            let size = find(connection, &digest).map_err(sql)?;
            if size.is_some() {
                attach(connection, lease.as_str(), &digest).map_err(sql)?;
            }
            Ok(size)
        })
    }

    /// Notes that a repository has served a blob; a blob that is gone needs no note.
    pub(crate) fn add_source(
        &self,
        digest: &Digest,
        repository: &Repository,
    ) -> Result<(), DbError> {
        let (db, digest, repository) = (self.clone(), digest.to_string(), repository.to_string());
        self.write(Durability::Process, move |connection| {
            connection
                .execute(
                    "INSERT OR IGNORE INTO sources (digest, repository)
                     SELECT digest, ?2 FROM blobs WHERE digest = ?1",
                    params![digest, repository],
                )
                .map(|_| ())
                .map_err(|error| db.error(error))
        })
    }

    /// Repositories that have served a blob, which need not be here any more.
    pub(crate) fn sources(&self, digest: &Digest) -> Result<Vec<Repository>, DbError> {
        let texts: Vec<String> = self.read(|connection| {
            connection
                .prepare_cached("SELECT repository FROM sources WHERE digest = ?1 ORDER BY 1")
                .and_then(|mut query| {
                    query.query_map([digest.to_string()], |row| row.get(0))?.collect()
                })
                .map_err(|error| self.error(error))
        })?;
        // What was printed can be read again, unless somebody edited the file.
        Ok(texts.iter().filter_map(|text| Repository::parse(text).ok()).collect())
    }

    /// Whether a blob is recorded.
    pub(crate) fn has_blob(&self, digest: &Digest) -> Result<bool, DbError> {
        self.read(|connection| {
            let found = find(connection, &digest.to_string());
            found.map(|size| size.is_some()).map_err(|error| self.error(error))
        })
    }

    /// All recorded blobs, in the order of their digests.
    pub(crate) fn blobs(&self) -> Result<Vec<Stored>, DbError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT digest, size FROM blobs ORDER BY digest")
                .and_then(|mut query| {
                    let read = |row: &rusqlite::Row<'_>| {
                        let size = row.get::<_, i64>(1)?.unsigned_abs();
                        Ok(Stored { digest: super::read_digest(row, 0)?, size })
                    };
                    query.query_map([], read)?.collect()
                })
                .map_err(|error| self.error(error))
        })
    }

    /// Forgets a blob whose file is gone or wrong.
    pub(crate) fn forget_blob(&self, digest: &Digest) -> Result<(), DbError> {
        self.make_room(|| {
            let (db, digest) = (self.clone(), digest.to_string());
            self.write(Durability::Power, move |connection| {
                connection
                    .execute("DELETE FROM blobs WHERE digest = ?1", [digest])
                    .map(|_| ())
                    .map_err(|error| db.error(error))
            })
        })
    }
}

fn record(connection: &Connection, lease: &str, blob: &Stored, now: i64) -> rusqlite::Result<()> {
    record_alone(connection, blob, now)?;
    attach(connection, lease, &blob.digest.to_string())
}

/// For callers that record in the same transaction what keeps it.
pub(super) fn record_alone(
    connection: &Connection,
    blob: &Stored,
    now: i64,
) -> rusqlite::Result<()> {
    let digest = blob.digest.to_string();
    let size = i64::try_from(blob.size).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "INSERT INTO blobs (digest, size, created_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (digest) DO UPDATE SET size = excluded.size",
        )?
        .execute(params![digest, size, now])
        .map(|_| ())
}

fn attach(connection: &Connection, lease: &str, digest: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO lease_blobs (lease, digest) VALUES (?1, ?2)")?
        .execute(params![lease, digest])
        .map(|_| ())
}

pub(super) fn find(connection: &Connection, digest: &str) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT size FROM blobs WHERE digest = ?1")?
        .query_row([digest], |row| row.get::<_, i64>(0))
        .optional()
        .map(|size| size.map(i64::unsigned_abs))
}
