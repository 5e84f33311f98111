//! What changes repositories' records.
//!
//! Invariant: each of these is one transaction: what is checked and what is recorded see one state.

use dhow_spec::{Digest, RepositoryPath, Tag};
use rusqlite::{Connection, OptionalExtension, params};

use super::{NewManifest, PushRules, Repositories, RepositoryError, text};
use crate::content::{ContentError, Stored};
use crate::db::images::{self, DocumentKind, DocumentRecord};
use crate::db::leases::LeaseId;
use crate::db::{Db, DbError, Durability};

type Result<T> = std::result::Result<T, RepositoryError>;

impl Db {
    /// Records a blob whose file is named and on disk, as one of a repository.
    pub(crate) fn record_repository_blob(
        &self,
        path: &RepositoryPath,
        bytes_max: Option<u64>,
        blob: Stored,
    ) -> std::result::Result<(), ContentError> {
        let (db, path) = (self.clone(), text(path));
        self.write(Durability::Process, move |connection| {
            let now = db.clock().now_ms();
            let sql = |error| ContentError::Db(db.error(error));
            crate::db::blobs::record_alone(connection, &blob, now).map_err(sql)?;
            let id = repository(connection, &path, now).map_err(sql)?;
            add_blob(connection, id, &blob, now).map_err(sql)?;
            match over_quota(connection, id, bytes_max).map_err(sql)? {
                Some(max) => Err(ContentError::OverQuota { repository: path, max }),
                None => Ok(()),
            }
        })
    }
}

impl Repositories {
    /// Gives the repository a blob that is in the store already; its size, if it is.
    pub fn adopt_blob(
        &self,
        path: &RepositoryPath,
        digest: &Digest,
        bytes_max: Option<u64>,
    ) -> Result<Option<u64>> {
        let (db, path, digest) = (self.db.clone(), text(path), *digest);
        self.db.write(Durability::Process, move |connection| {
            let now = db.clock().now_ms();
            let sql = |error| db.error(error);
            let size = crate::db::blobs::find(connection, &digest.to_string()).map_err(sql)?;
            let Some(size) = size else { return Ok(None) };
            let id = repository(connection, &path, now).map_err(sql)?;
            add_blob(connection, id, &Stored { digest, size }, now).map_err(sql)?;
            match over_quota(connection, id, bytes_max).map_err(sql)? {
                Some(max) => Err(RepositoryError::OverQuota { max }),
                None => Ok(Some(size)),
            }
        })
    }

    /// Notes that somebody has asked for a blob and may rely on it; says whether it is there.
    pub fn use_blob(&self, path: &RepositoryPath, digest: &Digest) -> Result<bool> {
        let now = self.db.clock().now_ms();
        let sql = "UPDATE repository_blobs SET used_ms = ?3
             WHERE digest = ?2 AND repository = (SELECT id FROM repositories WHERE name = ?1)";
        let (path, digest) = (text(path), digest.to_string());
        self.change(Durability::Process, move |connection| {
            connection.prepare_cached(sql)?.execute(params![path, digest, now])
        })
        .map(|changed| changed > 0)
    }

    /// Takes a blob from the repository; says whether it was there.
    pub fn remove_blob(&self, path: &RepositoryPath, digest: &Digest) -> Result<bool> {
        let sql = "DELETE FROM repository_blobs
             WHERE digest = ?2 AND repository = (SELECT id FROM repositories WHERE name = ?1)";
        let (path, digest) = (text(path), digest.to_string());
        self.change(Durability::Process, move |connection| {
            connection.prepare_cached(sql)?.execute(params![path, digest])
        })
        .map(|changed| changed > 0)
    }

    /// Records a manifest whose bytes `lease` keeps, points tags to it, and ends the lease. Gives what
    /// the tags pointed to before.
    pub fn put_manifest(
        &self,
        path: &RepositoryPath,
        new: NewManifest,
        tags: &[Tag],
        rules: PushRules,
        lease: &LeaseId,
    ) -> Result<Vec<Option<Digest>>> {
        let (db, path, lease) = (self.db.clone(), text(path), lease.clone());
        let tags = tags.to_vec();
        self.db.write(Durability::Process, move |connection| {
            let now = db.clock().now_ms();
            let sql = |error| RepositoryError::Db(db.error(error));
            let id = repository(connection, &path, now).map_err(sql)?;
            if !rules.sparse {
                let missing = first_missing(connection, id, &new.blobs).map_err(sql)?;
                if let Some(digest) = missing {
                    return Err(RepositoryError::Missing { digest });
                }
            }
            record(connection, id, &new, now)
                .map_err(sql)?
                .then_some(())
                .ok_or(RepositoryError::NoBlob { digest: new.manifest.digest })?;
            let mut before = Vec::with_capacity(tags.len());
            for tag in &tags {
                let known = point(connection, id, tag, &new.manifest.digest, rules.immutable, now)
                    .map_err(sql)?;
                before.push(known.map_err(|()| RepositoryError::Immutable { tag: tag.clone() })?);
            }
            connection
                .execute("DELETE FROM leases WHERE id = ?1", [lease.as_str()])
                .map_err(sql)?;
            match over_quota(connection, id, rules.bytes_max).map_err(sql)? {
                Some(max) => Err(RepositoryError::OverQuota { max }),
                None => Ok(before),
            }
        })
    }

    /// Notes that a tag still points where its upstream says.
    pub fn touch_tag(&self, path: &RepositoryPath, tag: &Tag) -> Result<()> {
        let now = self.db.clock().now_ms();
        let sql = "UPDATE repository_tags SET checked_ms = ?3
             WHERE name = ?2 AND repository = (SELECT id FROM repositories WHERE name = ?1)";
        let (path, tag) = (text(path), tag.as_str().to_owned());
        self.change(Durability::Process, move |connection| {
            connection.prepare_cached(sql)?.execute(params![path, tag, now])
        })
        .map(|_| ())
    }

    /// Removes a manifest and the tags that point to it; gives those tags, `None` if it was not there.
    pub fn remove_manifest(
        &self,
        path: &RepositoryPath,
        digest: &Digest,
    ) -> Result<Option<Vec<String>>> {
        let (path, digest) = (text(path), digest.to_string());
        self.change(Durability::Process, move |connection| {
            let Some(id) = find(connection, &path)? else { return Ok(None) };
            let tags = connection
                .prepare_cached(
                    "SELECT name FROM repository_tags WHERE repository = ?1 AND digest = ?2",
                )?
                .query_map(params![id, digest], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()?;
            let removed = connection
                .prepare_cached(
                    "DELETE FROM repository_manifests WHERE repository = ?1 AND digest = ?2",
                )?
                .execute(params![id, digest])?;
            Ok((removed > 0).then_some(tags))
        })
    }

    /// Removes a tag; gives where it pointed.
    pub fn remove_tag(&self, path: &RepositoryPath, tag: &Tag) -> Result<Option<Digest>> {
        let (path, tag) = (text(path), tag.as_str().to_owned());
        self.change(Durability::Process, move |connection| {
            let Some(id) = find(connection, &path)? else { return Ok(None) };
            connection
                .prepare_cached(
                    "DELETE FROM repository_tags WHERE repository = ?1 AND name = ?2
                     RETURNING digest",
                )?
                .query_row(params![id, tag], |row| crate::db::read_digest(row, 0))
                .optional()
        })
    }

    fn change<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let db = self.db.clone();
        let changed: std::result::Result<T, DbError> = self
            .db
            .write(durability, move |connection| work(connection).map_err(|error| db.error(error)));
        Ok(changed?)
    }
}

fn find(connection: &Connection, path: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM repositories WHERE name = ?1")?
        .query_row([path], |row| row.get(0))
        .optional()
}

/// The repository's number; made if it is not there.
fn repository(connection: &Connection, path: &str, now: i64) -> rusqlite::Result<i64> {
    if let Some(id) = find(connection, path)? {
        return Ok(id);
    }
    connection
        .prepare_cached("INSERT INTO repositories (name, created_ms) VALUES (?1, ?2)")?
        .execute(params![path, now])?;
    Ok(connection.last_insert_rowid())
}

fn add_blob(connection: &Connection, id: i64, blob: &Stored, now: i64) -> rusqlite::Result<()> {
    let size = i64::try_from(blob.size).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "INSERT INTO repository_blobs (repository, digest, size, used_ms)
             VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (repository, digest) DO UPDATE SET used_ms = excluded.used_ms",
        )?
        .execute(params![id, blob.digest.to_string(), size, now])
        .map(|_| ())
}

fn over_quota(
    connection: &Connection,
    id: i64,
    bytes_max: Option<u64>,
) -> rusqlite::Result<Option<u64>> {
    let Some(max) = bytes_max else { return Ok(None) };
    let bytes: i64 = connection
        .prepare_cached("SELECT bytes FROM repositories WHERE id = ?1")?
        .query_row([id], |row| row.get(0))?;
    Ok((bytes.unsigned_abs() > max).then_some(max))
}

fn first_missing(
    connection: &Connection,
    id: i64,
    digests: &[Digest],
) -> rusqlite::Result<Option<Digest>> {
    let mut query = connection
        .prepare_cached("SELECT 1 FROM repository_blobs WHERE repository = ?1 AND digest = ?2")?;
    for digest in digests {
        if !query.exists(params![id, digest.to_string()])? {
            return Ok(Some(*digest));
        }
    }
    Ok(None)
}

/// Says no if the bytes are gone.
fn record(connection: &Connection, id: i64, new: &NewManifest, now: i64) -> rusqlite::Result<bool> {
    let manifest = &new.manifest;
    let document = DocumentRecord {
        digest: manifest.digest,
        kind: if new.is_index { DocumentKind::Index } else { DocumentKind::Manifest },
        links: new.blobs.iter().chain(&new.manifests).copied().collect(),
        chain: Vec::new(),
    };
    if !images::put_document(connection, &document)? {
        return Ok(false);
    }
    let annotations = serde_json::to_string(&manifest.annotations).expect("a map of texts prints");
    connection
        .prepare_cached(
            "INSERT INTO repository_manifests (repository, digest, media_type, artifact_type,
                 subject, annotations, size, added_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (repository, digest) DO UPDATE SET media_type = excluded.media_type,
                 artifact_type = excluded.artifact_type, added_ms = excluded.added_ms",
        )?
        .execute(params![
            id,
            manifest.digest.to_string(),
            manifest.media_type.as_str(),
            manifest.artifact_type,
            manifest.subject.map(|digest| digest.to_string()),
            annotations,
            i64::try_from(manifest.size).unwrap_or(i64::MAX),
            now,
        ])?;
    Ok(true)
}

/// Gives where the tag pointed before; an inner error if it is to stay there.
fn point(
    connection: &Connection,
    id: i64,
    tag: &Tag,
    digest: &Digest,
    immutable: bool,
    now: i64,
) -> rusqlite::Result<std::result::Result<Option<Digest>, ()>> {
    let before = connection
        .prepare_cached("SELECT digest FROM repository_tags WHERE repository = ?1 AND name = ?2")?
        .query_row(params![id, tag.as_str()], |row| crate::db::read_digest(row, 0))
        .optional()?;
    if immutable && before.is_some_and(|before| before != *digest) {
        return Ok(Err(()));
    }
    let changed = before != Some(*digest);
    connection
        .prepare_cached(
            "INSERT INTO repository_tags (repository, name, digest, changed_ms, checked_ms)
             VALUES (?1, ?2, ?3, ?4, ?4)
             ON CONFLICT (repository, name) DO UPDATE SET digest = excluded.digest,
                 changed_ms = CASE WHEN ?5 THEN excluded.changed_ms ELSE changed_ms END,
                 checked_ms = excluded.checked_ms",
        )?
        .execute(params![id, tag.as_str(), digest.to_string(), now, changed])?;
    Ok(Ok(before))
}
