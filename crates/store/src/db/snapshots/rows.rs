//! The statements behind the records of snapshots.

use rusqlite::{Connection, Row, params};

use super::{
    ChainId, Labels, Result, SnapshotKey, SnapshotNumber, SnapshotRecord, SnapshotRecordError,
    SnapshotState, SnapshotUsage,
};
use crate::db::{Db, leases, read_digest};

/// One driver's records on one connection.
pub(super) struct At<'a> {
    pub(super) connection: &'a Connection,
    pub(super) db: &'a Db,
    pub(super) driver: &'a str,
}

impl At<'_> {
    pub(super) fn create(
        &self,
        key: &SnapshotKey,
        parent: Option<ChainId>,
        labels: Labels,
        lease: Option<&str>,
    ) -> Result<SnapshotRecord> {
        let parent = parent
            .map(|name| self.committed(&name).map(|record| (name, record.number)))
            .transpose()?;
        if self.select_one("s.driver = ?1 AND s.key = ?2", params![self.driver, key.0])?.is_some() {
            return Err(SnapshotRecordError::Exists { name: key.0.clone() });
        }
        let created_ms = self.db.clock().now_ms();
        self.execute(
            "INSERT INTO snapshots (driver, key, parent, size, inodes, labels, leased, created_ms)
             VALUES (?1, ?2, ?3, 0, 0, ?4, ?5, ?6)",
            params![
                self.driver,
                key.0,
                parent.map(|(_, number)| number.0),
                print_labels(&labels),
                lease.is_some(),
                created_ms
            ],
        )?;
        let number = SnapshotNumber(self.connection.last_insert_rowid());
        if let Some(lease) = lease {
            self.attach(number, lease)?;
        }
        let (driver, state) = (self.driver.to_owned(), SnapshotState::Active(key.clone()));
        let leased = lease.is_some();
        Ok(SnapshotRecord { number, driver, state, parent, labels, leased, created_ms })
    }

    pub(super) fn attach(&self, number: SnapshotNumber, lease: &str) -> Result<()> {
        let now = self.db.clock().now_ms();
        let alive = leases::is_alive(self.connection, lease, now);
        if !alive.map_err(|error| self.sql(error))? {
            return Err(SnapshotRecordError::NoLease { lease: lease.to_owned() });
        }
        self.execute(
            "INSERT OR IGNORE INTO lease_snapshots (lease, snapshot) VALUES (?1, ?2)",
            params![lease, number.0],
        )
    }

    pub(super) fn commit(
        &self,
        key: &SnapshotKey,
        name: &ChainId,
        parent: Option<ChainId>,
        usage: SnapshotUsage,
    ) -> Result<SnapshotRecord> {
        let record = self.active(key)?;
        if let Some((prepared, _)) = record.parent
            && parent != Some(prepared)
        {
            return Err(SnapshotRecordError::ParentDiffers { key: key.clone(), prepared });
        }
        let parent = parent
            .map(|name| self.committed(&name).map(|record| (name, record.number)))
            .transpose()?;
        let text = name.0.to_string();
        if self.select_one("s.driver = ?1 AND s.name = ?2", params![self.driver, text])?.is_some() {
            return Err(SnapshotRecordError::Exists { name: text });
        }
        let stored = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.execute(
            "UPDATE snapshots SET key = NULL, name = ?2, parent = ?3, size = ?4, inodes = ?5
             WHERE id = ?1",
            params![
                record.number.0,
                text,
                parent.map(|(_, number)| number.0),
                stored(usage.size_bytes),
                stored(usage.inodes)
            ],
        )?;
        let state = SnapshotState::Committed { name: *name, usage };
        Ok(SnapshotRecord { state, parent, ..record })
    }

    pub(super) fn active(&self, key: &SnapshotKey) -> Result<SnapshotRecord> {
        self.select_one("s.driver = ?1 AND s.key = ?2", params![self.driver, key.0])?
            .ok_or_else(|| SnapshotRecordError::NotFound { name: key.0.clone() })
    }

    pub(super) fn committed(&self, name: &ChainId) -> Result<SnapshotRecord> {
        let text = name.0.to_string();
        self.select_one("s.driver = ?1 AND s.name = ?2", params![self.driver, text])?
            .ok_or(SnapshotRecordError::NotFound { name: text })
    }

    pub(super) fn ancestors(&self, number: SnapshotNumber) -> Result<Vec<SnapshotRecord>> {
        self.query(
            "WITH RECURSIVE chain (id, depth) AS (
                 SELECT parent, 1 FROM snapshots WHERE id = ?1
                 UNION ALL
                 SELECT s.parent, depth + 1 FROM snapshots s JOIN chain USING (id)
             )
             SELECT s.*, p.name AS parent_name FROM chain
             JOIN snapshots s USING (id) LEFT JOIN snapshots p ON p.id = s.parent
             ORDER BY depth",
            params![number.0],
        )
    }

    pub(super) fn count_children(&self, number: SnapshotNumber) -> Result<u64> {
        self.connection
            .prepare_cached("SELECT count(*) FROM snapshots WHERE parent = ?1")
            .and_then(|mut query| query.query_row([number.0], |row| row.get::<_, i64>(0)))
            .map(i64::unsigned_abs)
            .map_err(|error| self.sql(error))
    }

    pub(super) fn delete(&self, number: SnapshotNumber) -> Result<()> {
        self.execute("DELETE FROM snapshots WHERE id = ?1", params![number.0])
    }

    pub(super) fn select_one(
        &self,
        condition: &str,
        params: impl rusqlite::Params,
    ) -> Result<Option<SnapshotRecord>> {
        Ok(self.select(condition, params)?.pop())
    }

    pub(super) fn select(
        &self,
        condition: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<SnapshotRecord>> {
        let select = "SELECT s.*, p.name AS parent_name FROM snapshots s \
                      LEFT JOIN snapshots p ON p.id = s.parent WHERE ";
        self.query(&format!("{select}{condition}"), params)
    }

    pub(super) fn query(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<SnapshotRecord>> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut query| query.query_map(params, read_record)?.collect())
            .map_err(|error| self.sql(error))
    }

    pub(super) fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<()> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .map(|_| ())
            .map_err(|error| self.sql(error))
    }

    pub(super) fn sql(&self, error: rusqlite::Error) -> SnapshotRecordError {
        SnapshotRecordError::Db(self.db.error(error))
    }
}

pub(in crate::db) fn read_record(row: &Row<'_>) -> rusqlite::Result<SnapshotRecord> {
    let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
    let state = match row.get::<_, Option<String>>("key")? {
        Some(key) => SnapshotState::Active(SnapshotKey(key)),
        None => SnapshotState::Committed {
            name: read_name(row, "name")?,
            usage: SnapshotUsage { size_bytes: count("size")?, inodes: count("inodes")? },
        },
    };
    let parent = match row.get("parent")? {
        Some(number) => Some((read_name(row, "parent_name")?, SnapshotNumber(number))),
        None => None,
    };
    Ok(SnapshotRecord {
        number: SnapshotNumber(row.get("id")?),
        driver: row.get("driver")?,
        state,
        parent,
        labels: read_labels(row)?,
        leased: row.get("leased")?,
        created_ms: row.get("created_ms")?,
    })
}

fn read_name(row: &Row<'_>, column: &'static str) -> rusqlite::Result<ChainId> {
    read_digest(row, row.as_ref().column_index(column)?).map(ChainId)
}

fn read_labels(row: &Row<'_>) -> rusqlite::Result<Labels> {
    let text: String = row.get("labels")?;
    serde_json::from_str(&text).map_err(|error| {
        let at = row.as_ref().column_index("labels").unwrap_or_default();
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, Box::new(error))
    })
}

pub(super) fn print_labels(labels: &Labels) -> String {
    serde_json::to_string(labels).expect("a map of texts prints")
}
