//! Layers that are unpacked and can be had again, forgotten in one transaction.
//!
//! Invariant: nothing goes whose bytes are nowhere else: every image here that has the blob for a layer is
//! unpacked, and a repository has served it. What a lease, a repository of ours or a build keeps stays.

use std::sync::Arc;

use rusqlite::{Connection, Row};

use super::{Db, DbError, Durability};
use crate::content::{Departure, Names};

/// Manifests of images all of whose layers are snapshots; then blobs that only those have. `?1` is now.
const CANDIDATES: &str = "WITH unpacked (manifest) AS (
    SELECT manifest.digest FROM documents manifest
    JOIN links ON links.parent = manifest.digest
    JOIN documents config ON config.digest = links.child AND config.kind = 'config'
    WHERE manifest.kind = 'manifest'
        AND EXISTS (SELECT 1 FROM chains WHERE chains.config = config.digest)
        AND NOT EXISTS (
            SELECT 1 FROM chains LEFT JOIN snapshots USING (name)
            WHERE chains.config = config.digest AND snapshots.id IS NULL
        )
)
SELECT digest FROM blobs
WHERE EXISTS (SELECT 1 FROM links JOIN unpacked ON parent = manifest WHERE child = blobs.digest)
    AND NOT EXISTS (
        SELECT 1 FROM links WHERE child = blobs.digest
            AND parent NOT IN (SELECT manifest FROM unpacked)
    )
    AND EXISTS (SELECT 1 FROM sources WHERE sources.digest = blobs.digest)
    AND digest NOT IN (SELECT digest FROM documents)
    AND digest NOT IN (SELECT digest FROM repository_blobs)
    AND digest NOT IN (SELECT blob FROM build_cache WHERE blob IS NOT NULL)
    AND digest NOT IN (
        SELECT digest FROM lease_blobs JOIN leases ON lease = id
        WHERE expires_ms IS NULL OR expires_ms > ?1
    )
ORDER BY digest";

impl Db {
    /// Forgets those layers. Survives a power cut, for files are removed next.
    pub(crate) fn forget_unpacked(&self, names: &Arc<Names>) -> Result<Departure, DbError> {
        let (db, names) = (self.clone(), names.clone());
        self.write(Durability::Power, move |connection| {
            forget(connection, &names, db.clock().now_ms()).map_err(|error| db.error(error))
        })
    }
}

fn forget(connection: &Connection, names: &Arc<Names>, now: i64) -> rusqlite::Result<Departure> {
    let read = |row: &Row<'_>| super::read_digest(row, 0);
    let mut candidates = connection.prepare_cached(CANDIDATES)?;
    let found = candidates.query_map([now], read)?.collect::<rusqlite::Result<_>>()?;
    let departure = names.leave(found);
    let mut delete = connection.prepare_cached("DELETE FROM blobs WHERE digest = ?1")?;
    for digest in departure.digests() {
        delete.execute([digest.to_string()])?;
    }
    Ok(departure)
}
