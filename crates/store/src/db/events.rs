//! Records of what happened: a ring, so that those who come later can look back.
//!
//! Invariant: numbers grow and are never given twice; there are never many more than [`KEPT`].

use rusqlite::{Connection, params};

use super::{Db, DbError, Durability};

/// How many are kept: hours of a busy machine, some megabytes.
const KEPT: i64 = 16_384;
/// The oldest make room only now and then: a deletion with each would double the work.
const TRIM_EVERY: i64 = 256;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// When, in nanoseconds since 1970.
    pub time_ns: i64,
    /// What; the engine's words.
    pub document: String,
}

impl Db {
    /// Records what happened; gives the numbers.
    pub fn record_events(&self, happened: Vec<EventRow>) -> Result<Vec<u64>, DbError> {
        let db = self.clone();
        self.write(Durability::Process, move |connection| {
            append(connection, &happened).map_err(|error| db.error(error))
        })
    }

    /// What happened between two moments (nanoseconds, both included), with its numbers, in order.
    pub fn events(&self, since_ns: i64, until_ns: i64) -> Result<Vec<(u64, EventRow)>, DbError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT number, time_ns, document FROM events
                     WHERE time_ns BETWEEN ?1 AND ?2 ORDER BY number",
                )
                .and_then(|mut query| {
                    let read = |row: &rusqlite::Row<'_>| {
                        let number = row.get::<_, i64>(0)?.unsigned_abs();
                        Ok((number, EventRow { time_ns: row.get(1)?, document: row.get(2)? }))
                    };
                    query.query_map([since_ns, until_ns], read)?.collect()
                })
                .map_err(|error| self.error(error))
        })
    }
}

pub(super) fn append(connection: &Connection, happened: &[EventRow]) -> rusqlite::Result<Vec<u64>> {
    let mut insert =
        connection.prepare_cached("INSERT INTO events (time_ns, document) VALUES (?1, ?2)")?;
    let mut numbers = Vec::with_capacity(happened.len());
    for event in happened {
        let number = insert.insert(params![event.time_ns, event.document])?;
        numbers.push(number.unsigned_abs());
        if number % TRIM_EVERY == 0 {
            connection
                .prepare_cached("DELETE FROM events WHERE number <= ?1")?
                .execute([number - KEPT])?;
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::testing::Scratch;

    #[test]
    fn the_oldest_make_room() {
        let scratch = Scratch::new();
        let db = Db::open(&scratch.path().join("dhow.db"), Clock::system()).expect("a database");
        let many = |from: i64, count: i64| -> Vec<EventRow> {
            (from..from + count)
                .map(|time_ns| EventRow { time_ns, document: String::new() })
                .collect()
        };
        let numbers = db.record_events(many(0, KEPT)).expect("recorded");
        assert_eq!((numbers[0], numbers.len() as i64), (1, KEPT));
        assert_eq!(db.events(0, i64::MAX).expect("a list").len() as i64, KEPT);
        db.record_events(many(KEPT, 3 * TRIM_EVERY)).expect("recorded");
        let kept = db.events(0, i64::MAX).expect("a list");
        assert_eq!(kept.len() as i64, KEPT);
        assert_eq!(kept[0].0 as i64, 3 * TRIM_EVERY + 1);
        let some = db.events(KEPT, KEPT + 1).expect("a list");
        assert_eq!(some.len(), 2);
    }
}
