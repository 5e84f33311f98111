//! What repositories have and nobody names, given up a little at a time.
//!
//! Invariant: a blob that somebody has pushed, mounted or asked for since `used_before_ms` stays, for
//! the manifest that will name it may be on its way. No transaction takes more than a few hundred
//! records, so that no push waits long.

use dhow_spec::RepositoryPath;
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
macro_rules! manifests {
    ($and:literal) => {
        concat!(
            "DELETE FROM repository_manifests WHERE (repository, digest) IN (
    SELECT m.repository, m.digest FROM repository_manifests m
    WHERE m.added_ms < ?1
      AND NOT EXISTS (SELECT 1 FROM repository_tags t
          WHERE t.repository = m.repository AND t.digest = m.digest)
      AND NOT EXISTS (SELECT 1 FROM links l JOIN repository_manifests p
          ON p.repository = m.repository AND p.digest = l.parent WHERE l.child = m.digest)
      AND NOT EXISTS (SELECT 1 FROM repository_manifests s
          WHERE s.repository = m.repository AND s.digest = m.subject)",
            $and,
            " LIMIT ?2)"
        )
    };
}

const MANIFESTS: &str = manifests!("");
const MANIFESTS_OF: &str =
    manifests!(" AND m.repository = (SELECT id FROM repositories WHERE name = ?3)");
const TAGS_OF: &str = "DELETE FROM repository_tags WHERE (repository, name) IN (
    SELECT repository, name FROM repository_tags
    WHERE checked_ms < ?1 AND repository = (SELECT id FROM repositories WHERE name = ?3)
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
            Some(before) => self.in_batches(MANIFESTS, before, None)?,
            None => 0,
        };
        let blobs = self.in_batches(BLOBS, options.used_before_ms, None)?;
        let repositories = self.in_batches(REPOSITORIES, 0, None)?;
        Ok(Pruned { blobs, manifests, repositories })
    }

    /// Gives up a mirror's tags that nobody has found to be the upstream's since then, and manifests as old that
    /// nothing leads to; says how many manifests. Their blobs go with the next [`Repositories::prune`].
    pub fn expire(&self, path: &RepositoryPath, before_ms: i64) -> Result<u64, RepositoryError> {
        self.in_batches(TAGS_OF, before_ms, Some(path))?;
        self.in_batches(MANIFESTS_OF, before_ms, Some(path))
    }

    fn in_batches(
        &self,
        sql: &'static str,
        before: i64,
        of: Option<&RepositoryPath>,
    ) -> Result<u64, RepositoryError> {
        let mut total = 0;
        loop {
            let db = self.db.clone();
            let of = of.map(|path| path.as_str().to_owned());
            let changed = self.db.write(Durability::Process, move |connection: &Connection| {
                let mut statement =
                    connection.prepare_cached(sql).map_err(|error| db.error(error))?;
                let done = match of {
                    Some(of) => statement.execute(params![before, BATCH, of]),
                    None => statement.execute(params![before, BATCH]),
                };
                done.map_err(|error| db.error(error))
            })?;
            total += changed as u64;
            if changed == 0 {
                return Ok(total);
            }
        }
    }
}
