//! Records of containers: a name, what was asked for, what is.
//!
//! Invariant: a name belongs to one container; what happened to a container is recorded in the transaction
//! that records what it is now.
//! Absent on purpose: what the documents say. They are the engine's.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::events::{self, EventRow};
use super::{Db, DbError, Durability};

/// A container as it is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRow {
    /// 64 hexadecimal digits.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// What it was asked to be.
    pub document: String,
    /// What it is.
    pub state: String,
    /// The last record of its monitor that `state` knows of.
    pub journal: u64,
}

/// What changes of a container's record; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerChange {
    /// See [`ContainerRow::name`].
    pub name: Option<String>,
    /// See [`ContainerRow::document`].
    pub document: Option<String>,
    /// See [`ContainerRow::state`].
    pub state: Option<String>,
    /// See [`ContainerRow::journal`].
    pub journal: Option<u64>,
}

/// Why the records of containers stay as they are.
#[derive(Debug, Clone)]
pub enum ContainerRecordError {
    /// Another container is called so.
    NameTaken {
        /// The name.
        name: String,
        /// The other's id.
        by: String,
    },
    /// There is no such container.
    NotFound {
        /// The id.
        id: String,
    },
    /// The database.
    Db(DbError),
}

type Result<T> = std::result::Result<T, ContainerRecordError>;

impl Db {
    /// Records a new container, and with it what happened; gives the events' numbers.
    pub fn insert_container(&self, row: ContainerRow, happened: Vec<EventRow>) -> Result<Vec<u64>> {
        let db = self.clone();
        self.write(Durability::Process, move |connection| {
            insert(connection, &db, &row)?;
            events::append(connection, &happened).map_err(|error| db.error(error).into())
        })
    }

    /// Records what a container is now, and with it what happened. `tell` gets the events' numbers on the
    /// thread that writes, which it must not hold up; it is dropped unheard if the database is closed.
    pub fn change_container(
        &self,
        id: &str,
        change: ContainerChange,
        happened: Vec<EventRow>,
        tell: impl FnOnce(Result<Vec<u64>>) + Send + 'static,
    ) {
        let (db, id) = (self.clone(), id.to_owned());
        let work = move |connection: &Connection| {
            update(connection, &db, &id, &change)?;
            events::append(connection, &happened).map_err(|error| db.error(error).into())
        };
        self.write_then(Durability::Process, work, tell);
    }

    /// Forgets a container; one that is not there is no error. Gives the events' numbers.
    pub fn remove_container(&self, id: &str, happened: Vec<EventRow>) -> Result<Vec<u64>> {
        self.make_room(|| {
            let (db, id, happened) = (self.clone(), id.to_owned(), happened.clone());
            self.write(Durability::Process, move |connection| {
                connection
                    .prepare_cached("DELETE FROM containers WHERE id = ?1")
                    .and_then(|mut delete| delete.execute([id]))
                    .and_then(|_| events::append(connection, &happened))
                    .map_err(|error| db.error(error).into())
            })
        })
    }

    /// All containers, the oldest first.
    pub fn containers(&self) -> std::result::Result<Vec<ContainerRow>, DbError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT containers.*, document FROM containers
                     JOIN container_documents USING (id) ORDER BY created_ms, id",
                )
                .and_then(|mut query| query.query_map([], read)?.collect())
                .map_err(|error| self.error(error))
        })
    }
}

fn insert(connection: &Connection, db: &Db, row: &ContainerRow) -> Result<()> {
    check_name(connection, db, &row.name, &row.id)?;
    let sql = |error| ContainerRecordError::from(db.error(error));
    connection
        .prepare_cached("INSERT INTO containers VALUES (?1, ?2, ?3, ?4, ?5)")
        .and_then(|mut insert| {
            let journal = journal_number(row.journal);
            insert.execute(params![row.id, row.name, row.created_ms, row.state, journal])
        })
        .map_err(sql)?;
    connection
        .prepare_cached("INSERT INTO container_documents VALUES (?1, ?2)")
        .and_then(|mut insert| insert.execute([&row.id, &row.document]))
        .map(|_| ())
        .map_err(sql)
}

fn update(connection: &Connection, db: &Db, id: &str, change: &ContainerChange) -> Result<()> {
    if let Some(name) = &change.name {
        check_name(connection, db, name, id)?;
    }
    let sql = |error| ContainerRecordError::from(db.error(error));
    let changed = connection
        .prepare_cached(
            "UPDATE containers SET name = ifnull(?2, name), state = ifnull(?3, state),
                 journal = ifnull(?4, journal) WHERE id = ?1",
        )
        .and_then(|mut update| {
            let journal = change.journal.map(journal_number);
            update.execute(params![id, change.name, change.state, journal])
        })
        .map_err(sql)?;
    if changed == 0 {
        return Err(ContainerRecordError::NotFound { id: id.to_owned() });
    }
    let Some(document) = &change.document else { return Ok(()) };
    connection
        .prepare_cached("UPDATE container_documents SET document = ?2 WHERE id = ?1")
        .and_then(|mut update| update.execute([id, document]))
        .map(|_| ())
        .map_err(sql)
}

/// Says who has the name, which a violated constraint does not.
fn check_name(connection: &Connection, db: &Db, name: &str, id: &str) -> Result<()> {
    let by: Option<String> = connection
        .prepare_cached("SELECT id FROM containers WHERE name = ?1 AND id <> ?2")
        .and_then(|mut query| query.query_row([name, id], |row| row.get(0)).optional())
        .map_err(|error| db.error(error))?;
    match by {
        Some(by) => Err(ContainerRecordError::NameTaken { name: name.to_owned(), by }),
        None => Ok(()),
    }
}

fn journal_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn read(row: &Row<'_>) -> rusqlite::Result<ContainerRow> {
    Ok(ContainerRow {
        id: row.get("id")?,
        name: row.get("name")?,
        created_ms: row.get("created_ms")?,
        document: row.get("document")?,
        state: row.get("state")?,
        journal: row.get::<_, i64>("journal")?.unsigned_abs(),
    })
}

impl super::NoSpace for ContainerRecordError {
    fn is_no_space(&self) -> bool {
        matches!(self, Self::Db(error) if error.is_no_space())
    }
}

impl From<DbError> for ContainerRecordError {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl fmt::Display for ContainerRecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameTaken { name, by } => {
                write!(f, "the container name {name:?} is in use by container {by}")
            }
            Self::NotFound { id } => write!(f, "container {id} is not on record"),
            Self::Db(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ContainerRecordError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::testing::Scratch;

    fn row(id: &str, name: &str) -> ContainerRow {
        ContainerRow {
            id: id.to_owned(),
            name: name.to_owned(),
            created_ms: 1,
            document: "{}".to_owned(),
            state: "created".to_owned(),
            journal: 0,
        }
    }

    /// Waits for the change.
    fn change(
        db: &Db,
        id: &str,
        change: ContainerChange,
        happened: Vec<EventRow>,
    ) -> Result<Vec<u64>> {
        let (tell, hear) = std::sync::mpsc::channel();
        db.change_container(id, change, happened, move |told| tell.send(told).expect("heard"));
        hear.recv().expect("an answer")
    }

    #[test]
    fn a_name_is_anothers_until_that_is_gone() {
        let scratch = Scratch::new();
        let db = Db::open(&scratch.path().join("dhow.db"), Clock::system()).expect("a database");
        db.insert_container(row("a", "one"), Vec::new()).expect("the first");
        let taken =
            db.insert_container(row("b", "one"), Vec::new()).expect_err("taken").to_string();
        assert_eq!(taken, "the container name \"one\" is in use by container a");
        db.insert_container(row("b", "two"), Vec::new()).expect("the second");
        let rename =
            || ContainerChange { name: Some("one".to_owned()), ..ContainerChange::default() };
        change(&db, "b", rename(), Vec::new()).expect_err("taken");
        change(&db, "a", rename(), Vec::new()).expect("its own");
        db.remove_container("a", Vec::new()).expect("gone");
        change(&db, "b", rename(), Vec::new()).expect("free");
        assert_eq!(db.containers().expect("a list"), [row("b", "one")]);
    }

    #[test]
    fn what_is_and_what_happened_are_one_record() {
        let scratch = Scratch::new();
        let db = Db::open(&scratch.path().join("dhow.db"), Clock::system()).expect("a database");
        let happened = || vec![EventRow { time_ns: 5, document: "start".to_owned() }];
        let begun = ContainerChange {
            state: Some("running".to_owned()),
            journal: Some(3),
            ..ContainerChange::default()
        };
        change(&db, "a", begun.clone(), happened()).expect_err("nobody");
        assert_eq!(db.events(0, i64::MAX).expect("a list"), []);
        db.insert_container(row("a", "one"), Vec::new()).expect("a container");
        change(&db, "a", begun, happened()).expect("changed");
        let found = db.containers().expect("a list").remove(0);
        assert_eq!(
            (found.state.as_str(), found.journal, found.name.as_str()),
            ("running", 3, "one")
        );
        assert_eq!(db.events(0, i64::MAX).expect("a list").len(), 1);
    }
}
