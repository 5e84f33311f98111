//! Records of images: names and what they point to, and what the documents behind them point to.
//!
//! Invariant: an image is recorded together with the documents that can be read behind it, so that
//! garbage collection needs to read none.

use std::collections::BTreeSet;

use dhow_spec::Digest;
use dhow_spec::image::Descriptor;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::snapshots::ChainId;
use super::{Db, DbError, Durability};
use crate::image::{ImageName, Place, StoreImageError};

/// A name and what it points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageRecord {
    pub(crate) name: ImageName,
    pub(crate) target: Descriptor,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
}

/// A blob that was read as a document, and what it points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DocumentRecord {
    pub(crate) digest: Digest,
    pub(crate) kind: DocumentKind,
    pub(crate) links: Vec<Digest>,
    pub(crate) chain: Vec<ChainId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DocumentKind {
    Index,
    Manifest,
    Config,
}

impl DocumentKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Manifest => "manifest",
            Self::Config => "config",
        }
    }
}

impl Db {
    /// Records a name; gives what it pointed to before. If nothing else names that, it stays as
    /// an image without a name.
    pub(crate) fn put_image(
        &self,
        name: &ImageName,
        target: &Descriptor,
        documents: Vec<DocumentRecord>,
    ) -> Result<Option<Digest>, StoreImageError> {
        let (db, name, target) = (self.clone(), name.clone(), target.clone());
        self.write(Durability::Process, move |connection| {
            let sql = |error| StoreImageError::Db(db.error(error));
            for document in &documents {
                if !put_document(connection, document).map_err(sql)? {
                    let place = Place { image: target.digest, digest: document.digest };
                    return Err(StoreImageError::MissingContent(Box::new(place)));
                }
            }
            put_name(connection, &name, &target, db.clock().now_ms()).map_err(sql)
        })
    }

    /// Forgets names; the target stays as an image without a name if `keep` is set and nothing
    /// else names it. Gives how many names there were.
    pub(crate) fn remove_names(&self, names: &[ImageName], keep: bool) -> Result<usize, DbError> {
        self.make_room(|| {
            let (db, names) = (self.clone(), names.to_vec());
            self.write(Durability::Process, move |connection| {
                let now = db.clock().now_ms();
                let mut removed = 0;
                for name in &names {
                    let known = remove_name(connection, name, keep, now);
                    removed += usize::from(known.map_err(|error| db.error(error))?);
                }
                Ok(removed)
            })
        })
    }

    /// All names, in their order.
    pub(crate) fn images(&self) -> Result<Vec<ImageRecord>, DbError> {
        self.read(|connection| {
            select(connection, "1 ORDER BY name", []).map_err(|error| self.error(error))
        })
    }

    /// One name.
    pub(crate) fn image(&self, name: &ImageName) -> Result<Option<ImageRecord>, DbError> {
        self.read(|connection| {
            select(connection, "name = ?1", [name.to_string()])
                .map(|mut found| found.pop())
                .map_err(|error| self.error(error))
        })
    }

    /// All names of a target.
    pub(crate) fn images_of(&self, target: &Digest) -> Result<Vec<ImageRecord>, DbError> {
        self.read(|connection| {
            select(connection, "target = ?1 ORDER BY name", [target.to_string()])
                .map_err(|error| self.error(error))
        })
    }

    /// Targets from which a document can be reached, itself included.
    pub(crate) fn targets_above(&self, document: &Digest) -> Result<Vec<Digest>, DbError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "WITH RECURSIVE above (digest) AS (
                         VALUES (?1)
                         UNION SELECT parent FROM links JOIN above ON child = digest
                     )
                     SELECT DISTINCT target FROM images JOIN above ON target = digest ORDER BY 1",
                )
                .and_then(|mut query| {
                    let read = |row: &Row<'_>| super::read_digest(row, 0);
                    query.query_map([document.to_string()], read)?.collect()
                })
                .map_err(|error| self.error(error))
        })
    }

    /// Manifests and configurations that were read, for looking one up by its digest's beginning.
    pub(crate) fn documents(&self) -> Result<Vec<Digest>, DbError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT digest FROM documents WHERE kind <> 'index' ORDER BY 1")
                .and_then(|mut query| {
                    query.query_map([], |row| super::read_digest(row, 0))?.collect()
                })
                .map_err(|error| self.error(error))
        })
    }

    /// Which of these blobs are recorded.
    pub(crate) fn present(&self, digests: &[Digest]) -> Result<BTreeSet<Digest>, DbError> {
        self.read(|connection| {
            let mut found = BTreeSet::new();
            for digest in digests {
                if has_blob(connection, &digest.to_string()).map_err(|error| self.error(error))? {
                    found.insert(*digest);
                }
            }
            Ok(found)
        })
    }
}

fn has_blob(connection: &Connection, digest: &str) -> rusqlite::Result<bool> {
    let found: Option<i64> = connection
        .prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?
        .query_row([digest], |row| row.get(0))
        .optional()?;
    Ok(found.is_some())
}

/// Records what a document points to; says no if its blob is gone.
pub(super) fn put_document(
    connection: &Connection,
    document: &DocumentRecord,
) -> rusqlite::Result<bool> {
    let digest = document.digest.to_string();
    if !has_blob(connection, &digest)? {
        return Ok(false);
    }
    let known: Option<i64> = connection
        .prepare_cached("SELECT 1 FROM documents WHERE digest = ?1 AND kind = ?2")?
        .query_row(params![digest, document.kind.as_str()], |row| row.get(0))
        .optional()?;
    if known.is_some() {
        // The same bytes read as the same kind point to the same.
        return Ok(true);
    }
    connection
        .prepare_cached("INSERT OR REPLACE INTO documents (digest, kind) VALUES (?1, ?2)")?
        .execute(params![digest, document.kind.as_str()])?;
    let mut link = connection
        .prepare_cached("INSERT INTO links (parent, position, child) VALUES (?1, ?2, ?3)")?;
    for (position, child) in document.links.iter().enumerate() {
        link.execute(params![digest, position as i64, child.to_string()])?;
    }
    let mut chain = connection
        .prepare_cached("INSERT INTO chains (config, position, name) VALUES (?1, ?2, ?3)")?;
    for (position, name) in document.chain.iter().enumerate() {
        chain.execute(params![digest, position as i64, name.to_string()])?;
    }
    Ok(true)
}

fn put_name(
    connection: &Connection,
    name: &ImageName,
    target: &Descriptor,
    now: i64,
) -> rusqlite::Result<Option<Digest>> {
    let before = select(connection, "name = ?1", [name.to_string()])?.pop();
    insert(connection, name, target, now)?;
    if matches!(name, ImageName::Reference(_)) {
        // It has a name now.
        delete(connection, &ImageName::Unnamed(target.digest))?;
    }
    let Some(before) = before else { return Ok(None) };
    if before.target.digest != target.digest {
        keep_unnamed(connection, &before, now)?;
    }
    Ok(Some(before.target.digest))
}

fn remove_name(
    connection: &Connection,
    name: &ImageName,
    keep: bool,
    now: i64,
) -> rusqlite::Result<bool> {
    let Some(before) = select(connection, "name = ?1", [name.to_string()])?.pop() else {
        return Ok(false);
    };
    delete(connection, name)?;
    if keep {
        keep_unnamed(connection, &before, now)?;
    }
    Ok(true)
}

/// An image that has lost its last name stays under its digest.
fn keep_unnamed(connection: &Connection, image: &ImageRecord, now: i64) -> rusqlite::Result<()> {
    let target = image.target.digest;
    if select(connection, "target = ?1", [target.to_string()])?.is_empty() {
        insert(connection, &ImageName::Unnamed(target), &image.target, now)?;
    }
    Ok(())
}

fn insert(
    connection: &Connection,
    name: &ImageName,
    target: &Descriptor,
    now: i64,
) -> rusqlite::Result<()> {
    let descriptor = serde_json::to_string(target).expect("a descriptor prints");
    connection
        .prepare_cached(
            "INSERT INTO images (name, target, descriptor, created_ms, updated_ms)
             VALUES (?1, ?2, ?3, ?4, ?4)
             ON CONFLICT (name) DO UPDATE SET target = excluded.target,
                 descriptor = excluded.descriptor, updated_ms = excluded.updated_ms",
        )?
        .execute(params![name.to_string(), target.digest.to_string(), descriptor, now])
        .map(|_| ())
}

fn delete(connection: &Connection, name: &ImageName) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM images WHERE name = ?1")?
        .execute([name.to_string()])
        .map(|_| ())
}

fn select(
    connection: &Connection,
    condition: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Vec<ImageRecord>> {
    let select = "SELECT name, descriptor, created_ms, updated_ms FROM images WHERE ";
    connection.prepare_cached(&format!("{select}{condition}"))?.query_map(params, read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<ImageRecord> {
    let failed = |column, error: Box<dyn std::error::Error + Send + Sync>| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(column, kind, error)
    };
    let name: String = row.get(0)?;
    let descriptor: String = row.get(1)?;
    Ok(ImageRecord {
        name: ImageName::parse(&name).map_err(|error| failed(0, Box::new(error)))?,
        target: serde_json::from_str(&descriptor).map_err(|error| failed(1, Box::new(error)))?,
        created_ms: row.get(2)?,
        updated_ms: row.get(3)?,
    })
}
