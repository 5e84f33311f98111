//! What nothing keeps, found and forgotten in one transaction.
//!
//! Invariant: marking and deleting see the same state, for it is one transaction of the one
//! writer: what a pull records before is marked, and what it records after was never a candidate.

use std::sync::Arc;

use dhow_spec::Digest;
use rusqlite::{Connection, Row, params};

use super::snapshots::{self, SnapshotRecord};
use super::{Db, DbError, Durability};
use crate::content::{Departure, Names};

/// Blobs that something keeps. Roots are images, repositories, leases and what builds remember; `?1` is now.
const ALIVE_BLOBS: &str = "WITH RECURSIVE alive_blobs (digest) AS (
    SELECT target FROM images
    UNION SELECT digest FROM repository_blobs
    UNION SELECT digest FROM repository_manifests
    UNION SELECT digest FROM lease_blobs JOIN leases ON lease = id
        WHERE expires_ms IS NULL OR expires_ms > ?1
    UNION SELECT blob FROM build_cache WHERE blob IS NOT NULL
    UNION SELECT child FROM links JOIN alive_blobs ON parent = digest
)";

/// Snapshots that something keeps: those of a kept configuration, of a lease, of a build's record, those
/// that belong to somebody until removed, and what they stand on.
const ALIVE_SNAPSHOTS: &str = ", alive_snapshots (id) AS (
    SELECT id FROM snapshots WHERE key IS NOT NULL AND leased = 0
    UNION SELECT snapshot FROM lease_snapshots JOIN leases ON lease = leases.id
        WHERE expires_ms IS NULL OR expires_ms > ?1
    UNION SELECT snapshots.id FROM build_cache JOIN snapshots ON snapshots.name = snapshot
    UNION SELECT snapshots.id FROM chains
        JOIN alive_blobs ON config = alive_blobs.digest JOIN snapshots USING (name)
    UNION SELECT parent FROM snapshots JOIN alive_snapshots USING (id) WHERE parent IS NOT NULL
)";

/// What was forgotten: its files are to be removed.
#[derive(Debug)]
pub(crate) struct Forgotten {
    pub(crate) blobs: Departure,
    pub(crate) blob_bytes: u64,
    pub(crate) snapshots: Vec<SnapshotRecord>,
}

impl Db {
    /// Forgets what nothing keeps. Survives a power cut, for files are removed next.
    pub(crate) fn sweep(&self, names: &Arc<Names>) -> Result<Forgotten, DbError> {
        self.make_room(|| {
            let (db, names) = (self.clone(), names.clone());
            self.write(Durability::Power, move |connection| {
                sweep(connection, &names, db.clock().now_ms()).map_err(|error| db.error(error))
            })
        })
    }

    /// Blobs that nothing keeps, with their sizes: what a sweep would take.
    pub(crate) fn unkept_blobs(&self) -> Result<Vec<(Digest, u64)>, DbError> {
        let now = self.clock().now_ms();
        self.read(|connection| unkept(connection, now).map_err(|error| self.error(error)))
    }
}

fn sweep(connection: &Connection, names: &Arc<Names>, now: i64) -> rusqlite::Result<Forgotten> {
    let dead = unkept(connection, now)?;
    let blobs = names.leave(dead.iter().map(|(digest, _)| *digest).collect());
    let snapshots = unkept_snapshots(connection, now)?;
    let mut delete = connection.prepare_cached("DELETE FROM blobs WHERE digest = ?1")?;
    for digest in blobs.digests() {
        delete.execute([digest.to_string()])?;
    }
    // Children have higher numbers than the parents they were prepared on, but parents may come
    // late: the references are checked at the end of the transaction.
    connection.execute_batch("PRAGMA defer_foreign_keys = ON")?;
    let mut delete = connection.prepare_cached("DELETE FROM snapshots WHERE id = ?1")?;
    for snapshot in &snapshots {
        delete.execute([snapshot.number.as_i64()])?;
    }
    connection.execute("DELETE FROM leases WHERE expires_ms <= ?1", params![now])?;
    let unkept_sources = format!(
        "{ALIVE_BLOBS} DELETE FROM sources
         WHERE digest NOT IN (SELECT digest FROM alive_blobs)"
    );
    connection.prepare_cached(&unkept_sources)?.execute([now])?;
    let gone = |(digest, _): &&(Digest, u64)| blobs.digests().contains(digest);
    let blob_bytes = match blobs.digests().len() == dead.len() {
        true => dead.iter().map(|(_, size)| size).sum(),
        false => dead.iter().filter(gone).map(|(_, size)| size).sum(),
    };
    Ok(Forgotten { blobs, blob_bytes, snapshots })
}

fn unkept(connection: &Connection, now: i64) -> rusqlite::Result<Vec<(Digest, u64)>> {
    let sql = format!(
        "{ALIVE_BLOBS} SELECT digest, size FROM blobs
         WHERE digest NOT IN (SELECT digest FROM alive_blobs) ORDER BY digest"
    );
    let read =
        |row: &Row<'_>| Ok((super::read_digest(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs()));
    connection.prepare_cached(&sql)?.query_map([now], read)?.collect()
}

fn unkept_snapshots(connection: &Connection, now: i64) -> rusqlite::Result<Vec<SnapshotRecord>> {
    let sql = format!(
        "{ALIVE_BLOBS}{ALIVE_SNAPSHOTS}
         SELECT s.*, p.name AS parent_name FROM snapshots s
         LEFT JOIN snapshots p ON p.id = s.parent
         WHERE s.id NOT IN (SELECT id FROM alive_snapshots) ORDER BY s.id DESC"
    );
    connection.prepare_cached(&sql)?.query_map([now], snapshots::read_record)?.collect()
}
