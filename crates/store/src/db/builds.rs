//! Records of builds: what a step came to, and what steps find again.
//!
//! Invariant: a record keeps its blob and its snapshot from garbage collection until it is forgotten.
//! Absent on purpose: what a key is made of, and what the document says.

use rusqlite::{OptionalExtension, Row, params};

use super::{Db, DbError, Durability};

/// A record of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRow {
    /// What identifies it.
    pub key: String,
    /// Of which kind it is.
    pub kind: BuildRowKind,
    /// What it is, for people.
    pub about: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it was used last.
    pub used_ms: i64,
    /// How often it was used.
    pub uses: u64,
    /// Bytes that it takes, as far as they are known.
    pub size: u64,
    /// The digest of the blob that it keeps.
    pub blob: Option<String>,
    /// The name of the committed snapshot that it keeps.
    pub snapshot: Option<String>,
    /// The rest: the engine's words.
    pub document: String,
}

/// What a record of a build is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildRowKind {
    /// What a step came to.
    Step,
    /// A directory that steps find again.
    Mount,
}

impl BuildRowKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Mount => "mount",
        }
    }
}

const COLUMNS: &str = "key, kind, about, created_ms, used_ms, uses, size, blob, snapshot, document";

impl Db {
    /// Records it in place of what was recorded under its key.
    pub fn put_build(&self, row: BuildRow) -> Result<(), DbError> {
        let db = self.clone();
        self.write(Durability::Process, move |connection| {
            let sql = format!(
                "INSERT OR REPLACE INTO build_cache ({COLUMNS})
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
            );
            let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            connection
                .prepare_cached(&sql)
                .and_then(|mut insert| {
                    insert.execute(params![
                        row.key,
                        row.kind.as_str(),
                        row.about,
                        row.created_ms,
                        row.used_ms,
                        number(row.uses),
                        number(row.size),
                        row.blob,
                        row.snapshot,
                        row.document,
                    ])
                })
                .map(drop)
                .map_err(|error| db.error(error))
        })
    }

    /// What is recorded under a key.
    pub fn build(&self, key: &str) -> Result<Option<BuildRow>, DbError> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM build_cache WHERE key = ?1"))
                .and_then(|mut query| query.query_row([key], read).optional())
                .map_err(|error| self.error(error))
        })
    }

    /// Notes that it was used now.
    pub fn use_build(&self, key: &str) -> Result<(), DbError> {
        let (db, key) = (self.clone(), key.to_owned());
        self.write(Durability::Process, move |connection| {
            let now = db.clock().now_ms();
            connection
                .prepare_cached(
                    "UPDATE build_cache SET used_ms = ?2, uses = uses + 1 WHERE key = ?1",
                )
                .and_then(|mut update| update.execute(params![key, now]))
                .map(drop)
                .map_err(|error| db.error(error))
        })
    }

    /// All records, the one that was used longest ago first.
    pub fn builds(&self) -> Result<Vec<BuildRow>, DbError> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM build_cache ORDER BY used_ms, key"))
                .and_then(|mut query| query.query_map([], read)?.collect())
                .map_err(|error| self.error(error))
        })
    }

    /// Forgets records; what they kept is garbage if nothing else keeps it.
    pub fn forget_builds(&self, keys: Vec<String>) -> Result<(), DbError> {
        self.make_room(|| {
            let (db, keys) = (self.clone(), keys.clone());
            self.write(Durability::Process, move |connection| {
                for key in &keys {
                    connection
                        .prepare_cached("DELETE FROM build_cache WHERE key = ?1")
                        .and_then(|mut delete| delete.execute([key]))
                        .map_err(|error| db.error(error))?;
                }
                Ok(())
            })
        })
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<BuildRow> {
    let kind: String = row.get(1)?;
    let kind = if kind == "mount" { BuildRowKind::Mount } else { BuildRowKind::Step };
    Ok(BuildRow {
        key: row.get(0)?,
        kind,
        about: row.get(2)?,
        created_ms: row.get(3)?,
        used_ms: row.get(4)?,
        uses: row.get::<_, i64>(5)?.unsigned_abs(),
        size: row.get::<_, i64>(6)?.unsigned_abs(),
        blob: row.get(7)?,
        snapshot: row.get(8)?,
        document: row.get(9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::testing::Scratch;

    #[test]
    fn records_come_back_until_they_are_forgotten() {
        let scratch = Scratch::new();
        let db = Db::open(&scratch.path().join("dhow.db"), Clock::system()).expect("a database");
        let row = BuildRow {
            key: "a".to_owned(),
            kind: BuildRowKind::Mount,
            about: "cache".to_owned(),
            created_ms: 1,
            used_ms: 1,
            uses: 0,
            size: 7,
            blob: None,
            snapshot: Some("s".to_owned()),
            document: "{}".to_owned(),
        };
        db.put_build(row.clone()).expect("recorded");
        assert_eq!(db.build("a").expect("read"), Some(row.clone()));
        db.use_build("a").expect("used");
        let used = db.build("a").expect("read").expect("there");
        assert!(used.uses == 1 && used.used_ms > 1);
        assert_eq!(db.builds().expect("a list").len(), 1);
        db.forget_builds(vec!["a".to_owned(), "b".to_owned()]).expect("forgotten");
        assert_eq!(db.build("a").expect("read"), None);
    }
}
