//! What the store knows, in SQLite: the only place with SQL.
//!
//! Invariant: one thread writes, in transactions that are whole or not there; readers have
//! connections of their own and never wait for it. A file that is damaged, locked, not ours or
//! newer than this program is refused by name, and left as it was.
//! Absent on purpose: what the records are for. One file per kind of record has its statements;
//! `image`, `content` and the others decide.

mod blobs;
mod builds;
mod containers;
mod discard;
mod error;
mod events;
mod images;
mod leases;
mod networks;
mod repositories;
mod reserve;
mod schema;
mod snapshots;
mod sweep;
mod volumes;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::clock::Clock;
use reserve::Reserve;
use writer::Writer;

pub use builds::{BuildRow, BuildRowKind};
pub use containers::{ContainerChange, ContainerRecordError, ContainerRow};
pub use error::DbError;
pub use events::EventRow;
pub(crate) use images::{DocumentKind, DocumentRecord, ImageRecord};
pub use leases::{Lease, LeaseId};
pub use networks::NetworkRow;
pub use repositories::{
    NewManifest, PruneOptions, Pruned, PushRules, Repositories, RepositoryError,
    RepositoryManifest, RepositoryTag, RepositoryUsage,
};
pub use snapshots::{
    ChainId, Labels, SnapshotKey, SnapshotKeyError, SnapshotNumber, SnapshotRecord,
    SnapshotRecordError, SnapshotRecords, SnapshotState, SnapshotUsage,
};
pub(crate) use sweep::Forgotten;
pub use volumes::VolumeRow;
pub use writer::Durability;

/// Somebody who only looks (`sqlite3`, a backup) is waited for; an owner is not there twice.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Readers beyond that many open connections of their own and close them again.
const READERS_KEPT_MAX: usize = 4;
/// A look through the whole file at the start costs about a millisecond for each.
const CHECK_BYTES_MAX: u64 = 4 << 20;

/// The database, open; cloned freely, closed with the last clone.
#[derive(Clone)]
pub struct Db {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    clock: Clock,
    reserve: Reserve,
    /// Closed before the writer: the last connection folds the log into the file.
    readers: Mutex<Vec<Connection>>,
    writer: Writer,
}

impl Db {
    /// Opens the file, or makes it; brings it to the newest schema after a backup.
    ///
    /// The caller must be the only process that does: the store's lock file sees to it.
    pub fn open(path: &Path, clock: Clock) -> Result<Self, DbError> {
        let found = examine(path)?;
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        prepare(&connection, path)?;
        schema::migrate(&mut connection, path, found)?;
        let writer = Writer::start(connection, path.to_owned())?;
        let (path, reserve) = (path.to_owned(), Reserve::beside(path));
        let shared = Shared { path, clock, reserve, readers: Mutex::default(), writer };
        let db = Self { shared: Arc::new(shared) };
        db.fill_reserve();
        Ok(db)
    }

    /// The snapshots of one driver.
    pub fn snapshots(&self, driver: &str) -> SnapshotRecords {
        SnapshotRecords::new(self.clone(), driver)
    }

    /// What SQLite finds wrong with the file; empty if nothing.
    pub(crate) fn integrity(&self) -> Result<Vec<String>, DbError> {
        let found: Vec<String> = self.read(|connection| {
            connection
                .prepare("PRAGMA integrity_check(20)")
                .and_then(|mut query| query.query_map([], |row| row.get(0))?.collect())
                .map_err(|error| self.error(error))
        })?;
        Ok(found.into_iter().filter(|line| line != "ok").collect())
    }

    /// Committed snapshots of all drivers, and their bytes.
    pub(crate) fn count_snapshots(&self) -> Result<(u64, u64), DbError> {
        let sql = "SELECT count(*), ifnull(sum(size), 0) FROM snapshots WHERE name IS NOT NULL";
        let (count, bytes): (i64, i64) = self.read(|connection| {
            connection
                .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
                .map_err(|error| self.error(error))
        })?;
        Ok((count.unsigned_abs(), bytes.unsigned_abs()))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Runs `work` in a transaction on the writing thread; what it gives is told after the commit.
    fn write<T, E>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.shared.writer.write(durability, work)
    }

    /// The same without waiting: `tell` hears of the commit, see [`Writer::write_then`].
    fn write_then<T, E>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        tell: impl FnOnce(Result<T, E>) + Send + 'static,
    ) where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.shared.writer.write_then(durability, work, tell);
    }

    /// Runs what makes room; on a full disk, a second time with the reserve.
    fn make_room<T, E: NoSpace>(&self, attempt: impl Fn() -> Result<T, E>) -> Result<T, E> {
        match attempt() {
            Err(error) if error.is_no_space() && self.shared.reserve.spend() => attempt(),
            result => result,
        }
    }

    /// Sets room aside again, after some was made.
    pub(crate) fn fill_reserve(&self) {
        self.shared.reserve.fill();
    }

    /// Runs `work` on a connection that sees one state of everything.
    fn read<T, E: From<DbError>>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let kept = self.readers().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => connect(&self.shared.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        };
        self.run_sql(&connection, "BEGIN")?;
        let result = work(&connection);
        self.run_sql(&connection, "COMMIT")?;
        let mut readers = self.readers();
        if readers.len() < READERS_KEPT_MAX {
            readers.push(connection);
        }
        result
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.shared.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_sql(&self, connection: &Connection, sql: &str) -> Result<(), DbError> {
        execute_cached(connection, sql).map_err(|error| self.error(error))
    }

    fn error(&self, error: rusqlite::Error) -> DbError {
        DbError::sql(&self.shared.path, error)
    }
}

/// Runs one statement that gives nothing, parsed only the first time.
fn execute_cached(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}

/// An error that may be for want of disk.
trait NoSpace {
    fn is_no_space(&self) -> bool;
}

impl NoSpace for DbError {
    fn is_no_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::Lost { .. })
    }
}

impl NoSpace for SnapshotRecordError {
    fn is_no_space(&self) -> bool {
        matches!(self, Self::Db(error) if error.is_no_space())
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

/// Looks at the file without writing anything; gives its schema, 0 if there is none.
fn examine(path: &Path) -> Result<u32, DbError> {
    let size = match std::fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return create(path),
        Err(error) => return Err(DbError::io("look at database", path, error)),
    };
    // Not read-only: a log that a killed process left is then read by making files beside it.
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let found = schema::inspect(&connection, path)?;
    if size <= CHECK_BYTES_MAX {
        check(&connection, path)?;
    }
    Ok(found)
}

/// An empty file, whose directory remembers it.
fn create(path: &Path) -> Result<u32, DbError> {
    let io = |error| DbError::io("create database", path, error);
    std::fs::File::create_new(path).map_err(io)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)?;
    Ok(0)
}

fn check(connection: &Connection, path: &Path) -> Result<(), DbError> {
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| DbError::sql(path, error))?;
    if found == "ok" {
        return Ok(());
    }
    let backup = schema::newest_backup(path);
    Err(DbError::Corrupt { path: path.to_owned(), detail: found, backup })
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, DbError> {
    let sql = |error| DbError::sql(path, error);
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sql)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sql)?;
    // What the schema says is checked, whoever wrote it. The default cache of 2 MiB a connection
    // would be most of a resting engine's memory; the kernel has the pages anyway.
    connection
        .execute_batch(
            "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cache_size = -512",
        )
        .map_err(sql)?;
    Ok(connection)
}

/// Settings of the writing connection; the first that write.
fn prepare(connection: &Connection, path: &Path) -> Result<(), DbError> {
    let sql = |error| DbError::sql(path, error);
    if connection.is_readonly("main").map_err(sql)? {
        return Err(DbError::ReadOnly { path: path.to_owned() });
    }
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(sql)?;
    if mode != "wal" {
        return Err(DbError::ReadOnly { path: path.to_owned() });
    }
    // A log that has grown is given back at the next checkpoint.
    connection.execute_batch("PRAGMA journal_size_limit = 4194304").map_err(sql)
}

fn read_digest(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<dhow_spec::Digest> {
    let text: String = row.get(column)?;
    dhow_spec::Digest::parse(&text).map_err(|error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
    })
}
