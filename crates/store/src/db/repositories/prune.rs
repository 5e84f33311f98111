//! What repositories have and nobody names, given up a little at a time.
//!
//! Invariant: a blob that somebody has pushed, mounted or asked for since `used_before_ms` stays, for
//! the manifest that will name it may be on its way. No transaction takes more than a few hundred
//! records, so that no push waits long.

use rusqlite::{Connection, params};

use super::{Repositories, RepositoryError};
use crate::db::Durability;

/// Records of one transaction.
const BATCH: i64 = 256;

/// What may go.
#[derive(Debug, Clone, Copy)]
pub struct PruneOptions {
    /// Blobs that no manifest of their repository names and that nobody has used since.
    pub used_before_ms: i64,
    /// Manifests that no tag, index or subject leads to, and that were pushed before; none if absent.
    pub untagged_before_ms: Option<i64>,
}

/// What went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Blobs, each counted once a repository.
    pub blobs: u64,
    /// Manifests.
    pub manifests: u64,
    /// Repositories that were empty.
    pub repositories: u64,
}

/// Untagged, in no index of the repository, and about nothing that is there: who refers to a manifest
/// goes with it and not before.
const MANIFESTS: &str = "DELETE FROM repository_manifests WHERE (repository, digest) IN (
    SELECT m.repository, m.digest FROM repository_manifests m
    WHERE m.added_ms < ?1
      AND NOT EXISTS (SELECT 1 FROM repository_tags t
          WHERE t.repository = m.repository AND t.digest = m.digest)
      AND NOT EXISTS (SELECT 1 FROM links l JOIN repository_manifests p
          ON p.repository = m.repository AND p.digest = l.parent WHERE l.child = m.digest)
      AND NOT EXISTS (SELECT 1 FROM repository_manifests s
          WHERE s.repository = m.repository AND s.digest = m.subject)
    LIMIT ?2)";

const BLOBS: &str = "DELETE FROM repository_blobs WHERE (repository, digest) IN (
    SELECT b.repository, b.digest FROM repository_blobs b
    WHERE b.used_ms < ?1
      AND NOT EXISTS (SELECT 1 FROM links l JOIN repository_manifests m
          ON m.repository = b.repository AND m.digest = l.parent WHERE l.child = b.digest)
    LIMIT ?2)";

/// A name that a push has just made has a blob or a manifest in the same transaction.
const REPOSITORIES: &str = "DELETE FROM repositories WHERE id IN (
    SELECT id FROM repositories r
    WHERE ?1 IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM repository_blobs WHERE repository = r.id)
      AND NOT EXISTS (SELECT 1 FROM repository_manifests WHERE repository = r.id)
    LIMIT ?2)";

impl Repositories {
    /// Gives up what nobody names. Bytes go with the store's next collection.
    pub fn prune(&self, options: PruneOptions) -> Result<Pruned, RepositoryError> {
        let manifests = match options.untagged_before_ms {
            Some(before) => self.in_batches(MANIFESTS, before)?,
            None => 0,
        };
        let blobs = self.in_batches(BLOBS, options.used_before_ms)?;
        let repositories = self.in_batches(REPOSITORIES, 0)?;
        Ok(Pruned { blobs, manifests, repositories })
    }

    fn in_batches(&self, sql: &'static str, before: i64) -> Result<u64, RepositoryError> {
        let mut total = 0;
        loop {
            let db = self.db.clone();
            let changed = self.db.write(Durability::Process, move |connection: &Connection| {
                let mut statement =
                    connection.prepare_cached(sql).map_err(|error| db.error(error))?;
                statement.execute(params![before, BATCH]).map_err(|error| db.error(error))
            })?;
            total += changed as u64;
            if changed == 0 {
                return Ok(total);
            }
        }
    }
}
