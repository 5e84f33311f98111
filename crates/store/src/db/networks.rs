//! Records of networks: an id, a name, and a document of the engine's.
//!
//! Invariant: an id and a name are each recorded once.
//! Absent on purpose: devices and rules, and who is in a network.

use rusqlite::{Row, params};

use super::{Db, DbError, Durability};

/// A network as it is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRow {
    /// 64 hexadecimal digits.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// Driver, addresses, options, labels: the engine's words.
    pub document: String,
}

impl Db {
    /// Records a network unless there is one of that name or id; says whether there was none.
    pub fn insert_network(&self, row: NetworkRow) -> Result<bool, DbError> {
        let db = self.clone();
        self.write(Durability::Process, move |connection| {
            connection
                .prepare_cached("INSERT OR IGNORE INTO networks VALUES (?1, ?2, ?3, ?4)")
                .and_then(|mut insert| {
                    insert.execute(params![row.id, row.name, row.created_ms, row.document])
                })
                .map(|inserted| inserted > 0)
                .map_err(|error| db.error(error))
        })
    }

    /// Forgets a network; says whether it was there.
    pub fn remove_network(&self, id: &str) -> Result<bool, DbError> {
        self.make_room(|| {
            let (db, id) = (self.clone(), id.to_owned());
            self.write(Durability::Process, move |connection| {
                connection
                    .execute("DELETE FROM networks WHERE id = ?1", [id])
                    .map(|removed| removed > 0)
                    .map_err(|error| db.error(error))
            })
        })
    }

    /// All networks, in the order of their names.
    pub fn networks(&self) -> Result<Vec<NetworkRow>, DbError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT id, name, created_ms, document FROM networks ORDER BY name")
                .and_then(|mut query| query.query_map([], read)?.collect())
                .map_err(|error| self.error(error))
        })
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<NetworkRow> {
    Ok(NetworkRow {
        id: row.get(0)?,
        name: row.get(1)?,
        created_ms: row.get(2)?,
        document: row.get(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::testing::Scratch;

    #[test]
    fn a_name_and_an_id_are_recorded_once() {
        let scratch = Scratch::new();
        let db = Db::open(&scratch.path().join("dhow.db"), Clock::system()).expect("a database");
        let row = |id: &str, name: &str| NetworkRow {
            id: id.to_owned(),
            name: name.to_owned(),
            created_ms: 1,
            document: "{}".to_owned(),
        };
        assert!(db.insert_network(row("1", "front")).expect("recorded"));
        assert!(!db.insert_network(row("2", "front")).expect("there"));
        assert!(!db.insert_network(row("1", "back")).expect("there"));
        assert_eq!(db.networks().expect("a list"), [row("1", "front")]);
        assert!(db.remove_network("1").expect("gone"));
        assert!(!db.remove_network("1").expect("gone already"));
    }
}
