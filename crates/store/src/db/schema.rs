//! The schema, as the steps that led to it.
//!
//! Invariant: a step that was released is never edited; a new one is added. Each file says by
//! `user_version` which steps it has behind it, and by `application_id` that it is ours. Steps run
//! in one transaction, after a copy of the file was made beside it.
//! Absent on purpose: steps back.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::error::DbError;

/// `dhow` in ASCII.
const APPLICATION_ID: i32 = 0x6468_6f77;

/// What leads from schema `n` to `n + 1`, at place `n`.
const STEPS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
];

/// The newest schema that we know.
pub(super) const KNOWN: u32 = STEPS.len() as u32;

/// Refuses what is not ours or newer than we are; nothing is written. Gives the file's schema.
pub(super) fn inspect(connection: &Connection, path: &Path) -> Result<u32, DbError> {
    let sql = |error| DbError::sql(path, error);
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let found = pragma("user_version").map_err(sql)?;
    let application = pragma("application_id").map_err(sql)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(sql)?;
    if found == 0 && application == 0 && tables == 0 {
        return Ok(0);
    }
    if application != i64::from(APPLICATION_ID) {
        return Err(DbError::Foreign { path: path.to_owned() });
    }
    match u32::try_from(found) {
        Ok(found) if found <= KNOWN => Ok(found),
        Ok(found) => Err(DbError::Newer { path: path.to_owned(), found, known: KNOWN }),
        Err(_) => Err(DbError::Foreign { path: path.to_owned() }),
    }
}

/// Brings the file to the newest schema; `found` is what [`inspect`] gave.
pub(super) fn migrate(connection: &mut Connection, path: &Path, found: u32) -> Result<(), DbError> {
    migrate_by(STEPS, connection, path, found)
}

fn migrate_by(
    steps: &[&str],
    connection: &mut Connection,
    path: &Path,
    found: u32,
) -> Result<(), DbError> {
    let missing = &steps[found as usize..];
    if missing.is_empty() {
        return Ok(());
    }
    if found > 0 {
        back_up(connection, path, found)?;
    }
    let sql = |error| DbError::sql(path, error);
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    for step in missing {
        transaction.execute_batch(step).map_err(sql)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(sql)?;
    transaction.pragma_update(None, "user_version", steps.len() as i64).map_err(sql)?;
    transaction.commit().map_err(sql)
}

/// A whole, synced copy: made under another name, so that a cut-off one is never taken for it.
fn back_up(connection: &Connection, path: &Path, found: u32) -> Result<(), DbError> {
    let target = backup_path(path, found);
    let part = path.with_extension("backup-part");
    let io = |doing, error| DbError::io(doing, &part, error);
    if part.exists() {
        std::fs::remove_file(&part).map_err(|error| io("remove", error))?;
    }
    // A path that is not UTF-8 still is one: bind the bytes as text.
    let name = part.to_string_lossy();
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| DbError::sql(path, error))?;
    let file = std::fs::File::open(&part).map_err(|error| io("open", error))?;
    file.sync_all().map_err(|error| io("sync", error))?;
    std::fs::rename(&part, &target).map_err(|error| io("rename", error))
}

fn backup_path(path: &Path, schema: u32) -> PathBuf {
    path.with_extension(format!("backup-{schema}"))
}

/// The newest of the copies that were made before migrations.
pub(super) fn newest_backup(path: &Path) -> Option<PathBuf> {
    (1..KNOWN).rev().map(|schema| backup_path(path, schema)).find(|backup| backup.exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    const NEXT: &str = "ALTER TABLE blobs ADD COLUMN note TEXT;";

    fn open(path: &Path) -> Connection {
        Connection::open(path).expect("a database")
    }

    #[test]
    fn steps_run_after_a_backup() {
        let scratch = Scratch::new();
        let path = scratch.path().join("dhow.db");
        let mut connection = open(&path);
        migrate(&mut connection, &path, 0).expect("a schema");
        assert_eq!(inspect(&connection, &path).expect("ours"), KNOWN);
        connection
            .execute("INSERT INTO blobs (digest, size, created_ms) VALUES ('x', 1, 0)", [])
            .expect("a row");
        let steps: Vec<_> = STEPS.iter().copied().chain([NEXT]).collect();
        migrate_by(&steps, &mut connection, &path, KNOWN).expect("one more");
        let notes: Option<String> = connection
            .query_row("SELECT note FROM blobs", [], |row| row.get(0))
            .expect("the new column");
        assert_eq!(notes, None);
        let error = inspect(&connection, &path).expect_err("newer than we are");
        assert!(matches!(error, DbError::Newer { .. }), "{error}");
        let backup = open(&backup_path(&path, KNOWN));
        assert_eq!(inspect(&backup, &path).expect("ours"), KNOWN);
        let rows: i64 =
            backup.query_row("SELECT count(*) FROM blobs", [], |row| row.get(0)).expect("rows");
        assert_eq!(rows, 1);
    }

    #[test]
    fn documents_move_with_their_containers() {
        let scratch = Scratch::new();
        let path = scratch.path().join("dhow.db");
        let mut connection = open(&path);
        migrate_by(&STEPS[..5], &mut connection, &path, 0).expect("the fifth schema");
        connection
            .execute("INSERT INTO containers VALUES ('a', 'one', 1, 'asked', 'created', 7)", [])
            .expect("a container");
        migrate(&mut connection, &path, 5).expect("the newest");
        let found: (String, i64, String) = connection
            .query_row(
                "SELECT state, journal, document FROM containers JOIN container_documents USING (id)",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .expect("one row");
        assert_eq!(found, ("created".to_owned(), 7, "asked".to_owned()));
    }

    #[test]
    fn sources_outlive_their_blobs() {
        let scratch = Scratch::new();
        let path = scratch.path().join("dhow.db");
        let mut connection = open(&path);
        migrate_by(&STEPS[..6], &mut connection, &path, 0).expect("the sixth schema");
        let known = "INSERT INTO blobs VALUES ('sha256:a', 1, 2);
            INSERT INTO sources VALUES ('sha256:a', 'example.com/a')";
        connection.execute_batch(known).expect("a blob");
        migrate(&mut connection, &path, 6).expect("the newest");
        connection.execute_batch("DELETE FROM blobs").expect("no blob");
        let found: String = connection
            .query_row("SELECT repository FROM sources", [], |row| row.get(0))
            .expect("one row");
        assert_eq!(found, "example.com/a");
    }

    #[test]
    fn a_step_that_fails_changes_nothing() {
        let scratch = Scratch::new();
        let path = scratch.path().join("dhow.db");
        let mut connection = open(&path);
        migrate(&mut connection, &path, 0).expect("a schema");
        let steps: Vec<_> = STEPS.iter().copied().chain([NEXT, "nonsense"]).collect();
        migrate_by(&steps, &mut connection, &path, KNOWN).expect_err("nonsense");
        assert_eq!(inspect(&connection, &path).expect("as before"), KNOWN);
        connection.prepare("SELECT note FROM blobs").expect_err("as before");
    }

    #[test]
    fn another_programs_database_is_left_alone() {
        let scratch = Scratch::new();
        let path = scratch.path().join("dhow.db");
        open(&path).execute_batch("CREATE TABLE things (x)").expect("a table");
        let error = inspect(&open(&path), &path).expect_err("not ours");
        assert!(matches!(error, DbError::Foreign { .. }), "{error}");
    }
}
