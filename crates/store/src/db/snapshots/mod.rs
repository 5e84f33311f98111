//! Records of snapshots: what a driver keeps in mind about its directories.
//!
//! How a driver uses them ([`SnapshotRecords`], one per driver, from [`Db::snapshots`]):
//!
//! - **prepare**: [`create`](SnapshotRecords::create) first, then the directory
//!   `snapshots/<driver>/<number>`. A crash in between leaves an active record without a
//!   directory, which recovery removes: nobody was told of it.
//! - **commit**: sync what the directory holds, then [`commit`](SnapshotRecords::commit). The
//!   record changes in one step and the number stays. The parent may come this late; it must be
//!   committed by then. Who comes second with the same name gets
//!   [`Exists`](SnapshotRecordError::Exists) and removes what it made.
//! - **remove**: [`remove`](SnapshotRecords::remove) first, then the directory. A crash in between
//!   leaves a directory without a record, which the driver's `walk` finds. Numbers are never given
//!   twice, so the directory may be removed in the background, by nobody in particular.
//! - a chain of parents, nearest first: [`ancestors`](SnapshotRecords::ancestors), one read.
//!
//! A snapshot that was made under a lease ends with it while it is active: garbage collection
//! removes it then. One that was made without belongs to whoever made it, until removed.
//!
//! Invariant: a parent is committed, of the same driver, and outlives its children.
//! Absent on purpose: directories.

mod rows;

use std::collections::BTreeMap;
use std::fmt;

use dhow_spec::Digest;
use rusqlite::params;

use super::{Db, DbError, Durability};
use rows::{At, print_labels};

pub(super) use rows::read_record;

/// Free notes on a snapshot.
pub type Labels = BTreeMap<String, String>;

/// Name of an active snapshot: a word that its maker chose.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotKey(String);

/// A text that is no key: empty, over 255 bytes, or with control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotKeyError {
    /// The text.
    pub text: String,
}

/// Name of a committed snapshot: the digest of its chain of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(pub Digest);

/// Number of a snapshot: names its directory, and is never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotNumber(i64);

/// What a snapshot takes beyond its parent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotUsage {
    /// Bytes on disk.
    pub size_bytes: u64,
    /// Files of any kind.
    pub inodes: u64,
}

/// Whether a snapshot may still be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotState {
    /// It may.
    Active(SnapshotKey),
    /// Never again.
    Committed {
        /// Its name.
        name: ChainId,
        /// What it takes.
        usage: SnapshotUsage,
    },
}

/// A snapshot as it is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Its number.
    pub number: SnapshotNumber,
    /// The driver that has its bytes.
    pub driver: String,
    /// What it is.
    pub state: SnapshotState,
    /// What it stands on, and that one's number.
    pub parent: Option<(ChainId, SnapshotNumber)>,
    /// Free notes.
    pub labels: Labels,
    /// Whether it ends with a lease while it is active.
    pub leased: bool,
    /// When it was prepared, in milliseconds since 1970.
    pub created_ms: i64,
}

/// Why the records of snapshots stay as they are.
#[derive(Debug)]
pub enum SnapshotRecordError {
    /// The key or the name is taken.
    Exists {
        /// Key or name.
        name: String,
    },
    /// There is no such snapshot.
    NotFound {
        /// Key or name.
        name: String,
    },
    /// Others stand on it.
    HasChildren {
        /// It.
        name: ChainId,
        /// How many.
        children: u64,
    },
    /// It was prepared on another parent than it is committed on.
    ParentDiffers {
        /// The active one.
        key: SnapshotKey,
        /// What it was prepared on.
        prepared: ChainId,
    },
    /// The lease has ended, or never was.
    NoLease {
        /// Its id.
        lease: String,
    },
    /// The database.
    Db(DbError),
}

/// The records of one driver's snapshots.
#[derive(Debug, Clone)]
pub struct SnapshotRecords {
    db: Db,
    driver: String,
}

type Result<T> = std::result::Result<T, SnapshotRecordError>;

impl SnapshotKey {
    /// Takes one to 255 bytes without control characters.
    pub fn parse(text: &str) -> std::result::Result<Self, SnapshotKeyError> {
        let fits = (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(SnapshotKeyError { text: text.chars().take(255).collect() })
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SnapshotNumber {
    /// Reads a directory's name; `None` if it is none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.parse().ok().map(Self);
        number.filter(|number: &Self| number.0 > 0 && number.to_string() == text)
    }

    /// The number, for a directory's name.
    pub fn as_i64(self) -> i64 {
        self.0
    }
}

impl SnapshotRecords {
    pub(super) fn new(db: Db, driver: &str) -> Self {
        Self { db, driver: driver.to_owned() }
    }

    /// Whose they are.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Records an active snapshot; `lease` is the id of the lease that it shall end with.
    pub fn create(
        &self,
        key: &SnapshotKey,
        parent: Option<&ChainId>,
        labels: &Labels,
        lease: Option<&str>,
    ) -> Result<SnapshotRecord> {
        let (db, driver) = (self.db.clone(), self.driver.clone());
        let (key, parent, labels) = (key.clone(), parent.copied(), labels.clone());
        let lease = lease.map(str::to_owned);
        self.db.write(Durability::Process, move |connection| {
            let at = At { connection, db: &db, driver: &driver };
            at.create(&key, parent, labels, lease.as_deref())
        })
    }

    /// Makes an active snapshot a committed one, whose bytes are on disk by now.
    pub fn commit(
        &self,
        key: &SnapshotKey,
        name: &ChainId,
        parent: Option<&ChainId>,
        usage: SnapshotUsage,
    ) -> Result<SnapshotRecord> {
        let (db, driver) = (self.db.clone(), self.driver.clone());
        let (key, name, parent) = (key.clone(), *name, parent.copied());
        self.db.write(Durability::Process, move |connection| {
            At { connection, db: &db, driver: &driver }.commit(&key, &name, parent, usage)
        })
    }

    /// Lets a lease keep a committed snapshot, and with it what that stands on; says whether it is
    /// there. Who finds one that is not theirs and relies on it must ask so, and not just look.
    pub fn keep(&self, name: &ChainId, lease: &str) -> Result<bool> {
        let (db, driver) = (self.db.clone(), self.driver.clone());
        let (name, lease) = (*name, lease.to_owned());
        self.db.write(Durability::Process, move |connection| {
            let at = At { connection, db: &db, driver: &driver };
            match at.committed(&name) {
                Ok(record) => at.attach(record.number, &lease).map(|()| true),
                Err(SnapshotRecordError::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// Replaces an active snapshot's notes.
    pub fn set_labels(&self, key: &SnapshotKey, labels: &Labels) -> Result<()> {
        let (db, driver) = (self.db.clone(), self.driver.clone());
        let (key, labels) = (key.clone(), labels.clone());
        self.db.write(Durability::Process, move |connection| {
            let at = At { connection, db: &db, driver: &driver };
            let number = at.active(&key)?.number;
            at.execute(
                "UPDATE snapshots SET labels = ?2 WHERE id = ?1",
                params![number.0, print_labels(&labels)],
            )
        })
    }

    /// Forgets an active snapshot; its directory is the caller's to remove.
    pub fn remove_active(&self, key: &SnapshotKey) -> Result<SnapshotRecord> {
        self.db.make_room(|| {
            let (db, driver, key) = (self.db.clone(), self.driver.clone(), key.clone());
            self.db.write(Durability::Process, move |connection| {
                let at = At { connection, db: &db, driver: &driver };
                let record = at.active(&key)?;
                at.delete(record.number)?;
                Ok(record)
            })
        })
    }

    /// Forgets a committed snapshot that nothing stands on; its directory is the caller's to
    /// remove. Survives a power cut: a record must not outlive its bytes.
    pub fn remove_committed(&self, name: &ChainId) -> Result<SnapshotRecord> {
        self.db.make_room(|| {
            let (db, driver, name) = (self.db.clone(), self.driver.clone(), *name);
            self.db.write(Durability::Power, move |connection| {
                let at = At { connection, db: &db, driver: &driver };
                let record = at.committed(&name)?;
                let children = at.count_children(record.number)?;
                if children > 0 {
                    return Err(SnapshotRecordError::HasChildren { name, children });
                }
                at.delete(record.number)?;
                Ok(record)
            })
        })
    }

    /// The active snapshot of that key.
    pub fn active(&self, key: &SnapshotKey) -> Result<SnapshotRecord> {
        self.read(|at| at.active(key))
    }

    /// The committed snapshot of that name.
    pub fn committed(&self, name: &ChainId) -> Result<SnapshotRecord> {
        self.read(|at| at.committed(name))
    }

    /// What a snapshot stands on, nearest first.
    pub fn ancestors(&self, number: SnapshotNumber) -> Result<Vec<SnapshotRecord>> {
        self.read(|at| at.ancestors(number))
    }

    /// What stands on a committed snapshot, active ones too.
    pub fn children(&self, name: &ChainId) -> Result<Vec<SnapshotRecord>> {
        self.read(|at| {
            let number = at.committed(name)?.number;
            at.select("s.driver = ?1 AND s.parent = ?2 ORDER BY s.id", params![at.driver, number.0])
        })
    }

    /// All of them, in the order of their numbers.
    pub fn list(&self) -> Result<Vec<SnapshotRecord>> {
        self.read(|at| at.select("s.driver = ?1 ORDER BY s.id", params![at.driver]))
    }

    fn read<T>(&self, work: impl FnOnce(&At<'_>) -> Result<T>) -> Result<T> {
        self.db.read(|connection| work(&At { connection, db: &self.db, driver: &self.driver }))
    }
}

impl From<DbError> for SnapshotRecordError {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl fmt::Display for SnapshotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SnapshotNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SnapshotKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} cannot name a snapshot", self.text)
    }
}

impl std::error::Error for SnapshotKeyError {}

impl fmt::Display for SnapshotRecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists { name } => write!(f, "snapshot {name} exists"),
            Self::NotFound { name } => write!(f, "no snapshot {name}"),
            Self::HasChildren { name, children } => {
                write!(f, "snapshot {name} is the parent of {children} others")
            }
            Self::ParentDiffers { key, prepared } => {
                write!(f, "snapshot {key} was prepared on {prepared}")
            }
            Self::NoLease { lease } => write!(f, "no lease {lease}"),
            Self::Db(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SnapshotRecordError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::testing::Scratch;

    fn key(text: &str) -> SnapshotKey {
        SnapshotKey::parse(text).expect("a key")
    }

    fn name(byte: u8) -> ChainId {
        ChainId(Digest::Sha256([byte; 32]))
    }

    fn records() -> (Scratch, SnapshotRecords) {
        let scratch = Scratch::new();
        let db = Db::open(&scratch.path().join("dhow.db"), Clock::new(|| 7)).expect("a database");
        (scratch, db.snapshots("vfs"))
    }

    fn committed(records: &SnapshotRecords, byte: u8, parent: Option<u8>) -> SnapshotRecord {
        let key = key(&format!("unpack {byte}"));
        records.create(&key, None, &Labels::new(), None).expect("an active one");
        let parent = parent.map(name);
        records
            .commit(&key, &name(byte), parent.as_ref(), SnapshotUsage::default())
            .expect("a committed one")
    }

    #[test]
    fn a_life() {
        let (_scratch, records) = records();
        let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
        let made = records.create(&key("k"), None, &labels, None).expect("an active one");
        assert_eq!(records.active(&key("k")).expect("it"), made);
        let usage = SnapshotUsage { size_bytes: 3, inodes: 2 };
        let kept = records.commit(&key("k"), &name(1), None, usage).expect("a committed one");
        assert_eq!(kept.number, made.number);
        assert_eq!(records.committed(&name(1)).expect("it"), kept);
        assert_eq!(records.active(&key("k")).expect_err("gone").to_string(), "no snapshot k");
        assert_eq!(records.remove_committed(&name(1)).expect("it"), kept);
        assert_eq!(records.list().expect("none"), []);
        let next = records.create(&key("k"), None, &labels, None).expect("an active one");
        assert_ne!(next.number, made.number, "numbers are never given twice");
    }

    #[test]
    fn parents_come_late_and_stay() {
        let (_scratch, records) = records();
        let low = committed(&records, 1, None);
        let middle = committed(&records, 2, Some(1));
        let top = committed(&records, 3, Some(2));
        let chain = records.ancestors(top.number).expect("a chain");
        assert_eq!(chain, [middle.clone(), low.clone()]);
        assert_eq!(records.children(&name(1)).expect("one"), [middle]);
        let error = records.remove_committed(&name(1)).expect_err("a parent");
        assert!(matches!(error, SnapshotRecordError::HasChildren { children: 1, .. }), "{error}");
        let active = records.create(&key("c"), Some(&name(3)), &Labels::new(), None).expect("it");
        assert_eq!(active.parent, Some((name(3), top.number)));
        records.remove_committed(&name(3)).expect_err("a parent");
        let error = records
            .commit(&key("c"), &name(4), Some(&name(1)), SnapshotUsage::default())
            .expect_err("on another parent");
        assert!(matches!(error, SnapshotRecordError::ParentDiffers { .. }), "{error}");
    }

    #[test]
    fn refusals() {
        let (_scratch, records) = records();
        committed(&records, 1, None);
        let none = Labels::new();
        records.create(&key("k"), None, &none, None).expect("it");
        let create = |text: &str, parent: Option<ChainId>, lease| {
            let error = records.create(&key(text), parent.as_ref(), &none, lease);
            error.expect_err(text).to_string()
        };
        assert_eq!(create("k", None, None), "snapshot k exists");
        assert_eq!(create("l", Some(name(9)), None), format!("no snapshot {}", name(9)));
        assert_eq!(create("m", None, Some("gone")), "no lease gone");
        records.active(&key("m")).expect_err("taken back with its lease");
        let error = records.commit(&key("k"), &name(1), None, SnapshotUsage::default());
        assert_eq!(error.expect_err("taken").to_string(), format!("snapshot {} exists", name(1)));
        records.active(&key("k")).expect("as it was");
        for text in ["", "a\0b", "a\nb", &"x".repeat(256)] {
            SnapshotKey::parse(text).expect_err(text);
        }
    }
}
