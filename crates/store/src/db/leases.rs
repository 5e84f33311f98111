//! Records of leases: what keeps content and snapshots until something names them.
//!
//! Invariant: a lease that has ended keeps nothing from that moment on, whether or not its record
//! was removed yet.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Db, DbError, Durability};

/// Name of a lease: a word that its maker chose.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(String);

/// A lease as it is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it ends; never by itself if absent.
    pub expires_ms: Option<i64>,
}

impl LeaseId {
    /// Takes one to 255 bytes without control characters.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Db {
    /// Makes a lease, or gives one that exists a new end; what it keeps stays kept. One that has
    /// ended begins anew and keeps nothing.
    pub fn lease(&self, id: &LeaseId, expires_ms: Option<i64>) -> Result<Lease, DbError> {
        let (db, id) = (self.clone(), id.clone());
        self.write(Durability::Process, move |connection| {
            let now = db.clock().now_ms();
            renew(connection, &id, expires_ms, now).map_err(|error| db.error(error))
        })
    }

    /// Ends a lease; one that is not there has ended.
    pub fn end_lease(&self, id: &LeaseId) -> Result<(), DbError> {
        self.make_room(|| {
            let (db, id) = (self.clone(), id.clone());
            self.write(Durability::Process, move |connection| {
                connection
                    .execute("DELETE FROM leases WHERE id = ?1", [&id.0])
                    .map(|_| ())
                    .map_err(|error| db.error(error))
            })
        })
    }

    /// Leases that have not ended, in the order of their names.
    pub fn leases(&self) -> Result<Vec<Lease>, DbError> {
        let now = self.clock().now_ms();
        self.read(|connection| list(connection, now).map_err(|error| self.error(error)))
    }
}

fn renew(
    connection: &Connection,
    id: &LeaseId,
    expires_ms: Option<i64>,
    now: i64,
) -> rusqlite::Result<Lease> {
    connection
        .execute("DELETE FROM leases WHERE id = ?1 AND expires_ms <= ?2", params![id.0, now])?;
    connection.execute(
        "INSERT INTO leases (id, created_ms, expires_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET expires_ms = excluded.expires_ms",
        params![id.0, now, expires_ms],
    )?;
    connection.query_row(
        "SELECT created_ms, expires_ms FROM leases WHERE id = ?1",
        [&id.0],
        |row| Ok(Lease { id: id.clone(), created_ms: row.get(0)?, expires_ms: row.get(1)? }),
    )
}

fn list(connection: &Connection, now: i64) -> rusqlite::Result<Vec<Lease>> {
    connection
        .prepare_cached(
            "SELECT id, created_ms, expires_ms FROM leases
             WHERE expires_ms IS NULL OR expires_ms > ?1 ORDER BY id",
        )?
        .query_map([now], |row| {
            let (created_ms, expires_ms) = (row.get(1)?, row.get(2)?);
            Ok(Lease { id: LeaseId(row.get(0)?), created_ms, expires_ms })
        })?
        .collect()
}

/// Whether the lease is there and has not ended.
pub(super) fn is_alive(connection: &Connection, id: &str, now: i64) -> rusqlite::Result<bool> {
    let found: Option<i64> = connection
        .prepare_cached(
            "SELECT 1 FROM leases WHERE id = ?1 AND (expires_ms IS NULL OR expires_ms > ?2)",
        )?
        .query_row(params![id, now], |row| row.get(0))
        .optional()?;
    Ok(found.is_some())
}
