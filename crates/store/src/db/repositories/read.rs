//! What is asked of repositories' records.
//!
//! Invariant: a list goes on after the last name that its reader knows, whatever has come or gone
//! meanwhile.

use std::collections::BTreeMap;

use dhow_spec::image::MediaType;
use dhow_spec::{Digest, RepositoryPath, Tag};
use rusqlite::{OptionalExtension, Params, Row, params};

use super::{Repositories, RepositoryManifest, RepositoryTag, RepositoryUsage};
use crate::db::{DbError, read_digest};

const MANIFEST: &str = "SELECT digest, m.size, media_type, artifact_type, subject, annotations
     FROM repository_manifests m JOIN repositories r ON r.id = repository WHERE r.name = ?1";

impl Repositories {
    /// Names behind `after`, in their order.
    pub fn list(&self, after: &str, count_max: usize) -> Result<Vec<RepositoryUsage>, DbError> {
        let sql = "SELECT name, bytes,
                 (SELECT count(*) FROM repository_tags WHERE repository = id)
             FROM repositories WHERE name > ?1 ORDER BY name LIMIT ?2";
        self.query(sql, params![after, count(count_max)], |row| {
            let (bytes, tags): (i64, i64) = (row.get(1)?, row.get(2)?);
            let (bytes, tags) = (bytes.unsigned_abs(), tags.unsigned_abs());
            Ok(RepositoryUsage { name: row.get(0)?, bytes, tags })
        })
    }

    /// Whether there is such a repository.
    pub fn exists(&self, path: &RepositoryPath) -> Result<bool, DbError> {
        let sql = "SELECT 1 FROM repositories WHERE name = ?1";
        self.query_one(sql, params![path.as_str()], |_| Ok(())).map(|found| found.is_some())
    }

    /// The size of a blob that the repository has, and when it was last asked for.
    pub fn blob(
        &self,
        path: &RepositoryPath,
        digest: &Digest,
    ) -> Result<Option<(u64, i64)>, DbError> {
        let sql = "SELECT size, used_ms FROM repository_blobs
             JOIN repositories r ON r.id = repository WHERE r.name = ?1 AND digest = ?2";
        self.query_one(sql, params![path.as_str(), digest.to_string()], |row| {
            Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?))
        })
    }

    /// Repositories that have a blob, in the order of their names.
    pub fn with_blob(&self, digest: &Digest) -> Result<Vec<String>, DbError> {
        let sql = "SELECT name FROM repository_blobs JOIN repositories ON id = repository
             WHERE digest = ?1 ORDER BY name LIMIT 100";
        self.query(sql, params![digest.to_string()], |row| row.get(0))
    }

    /// Manifests of the repository that point to a blob or a manifest.
    pub fn naming(&self, path: &RepositoryPath, digest: &Digest) -> Result<Vec<Digest>, DbError> {
        let sql = "SELECT parent FROM links JOIN repository_manifests m ON m.digest = parent
             JOIN repositories r ON r.id = m.repository
             WHERE r.name = ?1 AND child = ?2 ORDER BY parent LIMIT 16";
        let params = params![path.as_str(), digest.to_string()];
        self.query(sql, params, |row| read_digest(row, 0))
    }

    /// A manifest of the repository.
    pub fn manifest(
        &self,
        path: &RepositoryPath,
        digest: &Digest,
    ) -> Result<Option<RepositoryManifest>, DbError> {
        let sql = format!("{MANIFEST} AND digest = ?2");
        self.query_one(&sql, params![path.as_str(), digest.to_string()], read_manifest)
    }

    /// Manifests about another, behind the digest `after`.
    pub fn referrers(
        &self,
        path: &RepositoryPath,
        subject: &Digest,
        after: &str,
        count_max: usize,
    ) -> Result<Vec<RepositoryManifest>, DbError> {
        let sql = format!("{MANIFEST} AND subject = ?2 AND digest > ?3 ORDER BY digest LIMIT ?4");
        let params = params![path.as_str(), subject.to_string(), after, count(count_max)];
        self.query(&sql, params, read_manifest)
    }

    /// Where a tag points.
    pub fn tag(&self, path: &RepositoryPath, tag: &Tag) -> Result<Option<RepositoryTag>, DbError> {
        let sql = "SELECT t.name, digest, changed_ms, checked_ms FROM repository_tags t
             JOIN repositories r ON r.id = repository WHERE r.name = ?1 AND t.name = ?2";
        self.query_one(sql, params![path.as_str(), tag.as_str()], read_tag)
    }

    /// Whether a tag points to a manifest.
    pub fn is_tagged(&self, path: &RepositoryPath, digest: &Digest) -> Result<bool, DbError> {
        let sql = "SELECT 1 FROM repository_tags t JOIN repositories r ON r.id = repository
             WHERE r.name = ?1 AND digest = ?2";
        let params = params![path.as_str(), digest.to_string()];
        self.query_one(sql, params, |_| Ok(())).map(|found| found.is_some())
    }

    /// Tags behind `after`, in their order.
    pub fn tags(
        &self,
        path: &RepositoryPath,
        after: &str,
        count_max: usize,
    ) -> Result<Vec<RepositoryTag>, DbError> {
        let sql = "SELECT t.name, digest, changed_ms, checked_ms FROM repository_tags t
             JOIN repositories r ON r.id = repository
             WHERE r.name = ?1 AND t.name > ?2 ORDER BY t.name LIMIT ?3";
        self.query(sql, params![path.as_str(), after, count(count_max)], read_tag)
    }

    fn query<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, DbError> {
        self.db.read(|connection| {
            connection
                .prepare_cached(sql)
                .and_then(|mut query| query.query_map(params, read)?.collect())
                .map_err(|error| self.db.error(error))
        })
    }

    fn query_one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, DbError> {
        self.db.read(|connection| {
            connection
                .prepare_cached(sql)
                .and_then(|mut query| query.query_row(params, read).optional())
                .map_err(|error| self.db.error(error))
        })
    }
}

fn count(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}

fn read_manifest(row: &Row<'_>) -> rusqlite::Result<RepositoryManifest> {
    let (media_type, annotations): (String, String) = (row.get(2)?, row.get(5)?);
    let subject: Option<String> = row.get(4)?;
    let subject = subject.map(|_| read_digest(row, 4)).transpose()?;
    Ok(RepositoryManifest {
        digest: read_digest(row, 0)?,
        size: row.get::<_, i64>(1)?.unsigned_abs(),
        media_type: MediaType::parse(&media_type).map_err(|error| failed(2, error))?,
        artifact_type: row.get(3)?,
        subject,
        annotations: serde_json::from_str::<BTreeMap<String, String>>(&annotations)
            .map_err(|error| failed(5, error))?,
    })
}

fn read_tag(row: &Row<'_>) -> rusqlite::Result<RepositoryTag> {
    let name: String = row.get(0)?;
    Ok(RepositoryTag {
        name: Tag::parse(&name).ok_or(rusqlite::Error::InvalidQuery)?,
        digest: read_digest(row, 1)?,
        changed_ms: row.get(2)?,
        checked_ms: row.get(3)?,
    })
}

fn failed(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    let kind = rusqlite::types::Type::Text;
    rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
}
