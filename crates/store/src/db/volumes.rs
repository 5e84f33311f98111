//! Records of volumes: a name and a document of the engine's.
//!
//! Invariant: a name is recorded once.
//! Absent on purpose: where a volume's files are, and who uses it.

use rusqlite::{Row, params};

use super::{Db, DbError, Durability};

/// A volume as it is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRow {
    /// What it is called.
    pub name: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// Driver, options, labels: the engine's words.
    pub document: String,
}

impl Db {
    /// Records a volume unless there is one of that name; says whether there was none.
    pub fn insert_volume(&self, row: VolumeRow) -> Result<bool, DbError> {
        let db = self.clone();
        self.write(Durability::Process, move |connection| {
            connection
                .prepare_cached("INSERT OR IGNORE INTO volumes VALUES (?1, ?2, ?3)")
                .and_then(|mut insert| {
                    insert.execute(params![row.name, row.created_ms, row.document])
                })
                .map(|inserted| inserted > 0)
                .map_err(|error| db.error(error))
        })
    }

    /// Forgets a volume; says whether it was there.
    pub fn remove_volume(&self, name: &str) -> Result<bool, DbError> {
        self.make_room(|| {
            let (db, name) = (self.clone(), name.to_owned());
            self.write(Durability::Process, move |connection| {
                connection
                    .execute("DELETE FROM volumes WHERE name = ?1", [name])
                    .map(|removed| removed > 0)
                    .map_err(|error| db.error(error))
            })
        })
    }

    /// All volumes, in the order of their names.
    pub fn volumes(&self) -> Result<Vec<VolumeRow>, DbError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT name, created_ms, document FROM volumes ORDER BY name")
                .and_then(|mut query| query.query_map([], read)?.collect())
                .map_err(|error| self.error(error))
        })
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<VolumeRow> {
    Ok(VolumeRow { name: row.get(0)?, created_ms: row.get(1)?, document: row.get(2)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::testing::Scratch;

    #[test]
    fn a_name_is_recorded_once() {
        let scratch = Scratch::new();
        let db = Db::open(&scratch.path().join("dhow.db"), Clock::system()).expect("a database");
        let row = |document: &str| VolumeRow {
            name: "data".to_owned(),
            created_ms: 1,
            document: document.to_owned(),
        };
        assert!(db.insert_volume(row("first")).expect("recorded"));
        assert!(!db.insert_volume(row("second")).expect("there"));
        assert_eq!(db.volumes().expect("a list"), [row("first")]);
        assert!(db.remove_volume("data").expect("gone"));
        assert!(!db.remove_volume("data").expect("gone already"));
    }
}
