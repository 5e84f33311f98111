//! The one thread that writes: transactions arrive through a channel and are committed in groups.
//!
//! Invariant: a caller hears of success only after the commit; a transaction that fails leaves
//! nothing behind and does not harm the others of its group.
//! Absent on purpose: waiting for a group to grow. What has queued up during one commit is the
//! next group.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::error::DbError;

/// Most transactions of one commit: the first waits for all others.
const GROUP_MAX: usize = 64;
/// More than that many callers wait for their turn.
const QUEUE: usize = 256;

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The end of any process. A power cut may take the last commits, whole and in order.
    Process,
    /// A power cut too, at the cost of a sync. What deletes files wants it: a record that comes
    /// back must not point at bytes that are gone.
    Power,
}

/// One transaction on its way.
trait Task: Send {
    /// Runs it; says whether what it wrote is to be kept.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Tells its caller how it ended, given the fate of the group.
    fn answer(self: Box<Self>, fate: Result<(), DbError>);
}

struct Call<W, T, E, H> {
    work: Option<W>,
    result: Option<Result<T, E>>,
    tell: H,
}

impl<W, T, E, H> Task for Call<W, T, E, H>
where
    W: FnOnce(&Connection) -> Result<T, E> + Send,
    T: Send,
    E: From<DbError> + Send,
    H: FnOnce(Result<T, E>) + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let work = self.work.take().expect("a task runs once");
        self.result.insert(work(connection)).is_ok()
    }

    fn answer(self: Box<Self>, fate: Result<(), DbError>) {
        // A transaction's own error says more than that of its group.
        let told = match (self.result, fate) {
            (Some(Err(error)), _) => Err(error),
            (_, Err(error)) => Err(error.into()),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => unreachable!("a group is not committed past a task that did not run"),
        };
        (self.tell)(told);
    }
}

struct Job {
    task: Box<dyn Task>,
    durability: Durability,
}

/// The way to the thread; dropping it ends the thread once all has been written.
pub(super) struct Writer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

impl Writer {
    pub(super) fn start(connection: Connection, path: PathBuf) -> Result<Self, DbError> {
        let (jobs, queue) = mpsc::sync_channel(QUEUE);
        let of_thread = path.clone();
        let thread = std::thread::Builder::new()
            .name("dhow-db".to_owned())
            .spawn(move || serve(&connection, &queue, &of_thread))
            .map_err(|error| DbError::io("start the writer of", &path, error))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), path })
    }

    /// Runs `work` in a transaction and waits for its commit.
    pub(super) fn write<T, E>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (tell, hear) = mpsc::sync_channel(1);
        self.write_then(durability, work, move |told| {
            // Nobody listens if the caller's thread has ended.
            let _ = tell.send(told);
        });
        hear.recv().unwrap_or_else(|_| Err(self.closed().into()))
    }

    /// Has `work` run in a transaction; `tell`, called on the writing thread, hears of its commit and must not
    /// wait for anything. It is dropped unheard if the thread has ended.
    pub(super) fn write_then<T, E>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        tell: impl FnOnce(Result<T, E>) + Send + 'static,
    ) where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let task = Box::new(Call { work: Some(work), result: None, tell });
        if let Some(jobs) = &self.jobs {
            // A thread that has ended drops what it is sent.
            let _ = jobs.send(Job { task, durability });
        }
    }

    fn closed(&self) -> DbError {
        DbError::Closed { path: self.path.clone() }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was our bug and has been reported there.
            let _ = thread.join();
        }
    }
}

fn serve(connection: &Connection, queue: &Receiver<Job>, path: &Path) {
    let mut durability = None;
    while let Ok(first) = queue.recv() {
        let others = queue.try_iter().take(GROUP_MAX - 1);
        let group = std::iter::once(first).chain(others).collect();
        commit(connection, &mut durability, group, path);
    }
}

fn commit(
    connection: &Connection,
    durability: &mut Option<Durability>,
    mut group: Vec<Job>,
    path: &Path,
) {
    let fate = run(connection, durability, &mut group, path);
    if fate.is_err() && !connection.is_autocommit() {
        // What cannot be rolled back is rolled back by whoever opens the file next.
        let _ = connection.execute_batch("ROLLBACK");
    }
    for job in group {
        job.task.answer(fate.clone());
    }
}

fn run(
    connection: &Connection,
    durability: &mut Option<Durability>,
    group: &mut [Job],
    path: &Path,
) -> Result<(), DbError> {
    let sql = |error| DbError::sql(path, error);
    let execute = |words: &str| super::execute_cached(connection, words).map_err(sql);
    let wanted = group.iter().map(|job| job.durability).max().unwrap_or(Durability::Process);
    if *durability != Some(wanted) {
        connection.execute_batch(synchronous(wanted)).map_err(sql)?;
        *durability = Some(wanted);
    }
    execute("BEGIN IMMEDIATE")?;
    let alone = group.len() == 1;
    for job in group {
        if !alone {
            execute("SAVEPOINT job")?;
        }
        let keep = job.task.run(connection);
        if connection.is_autocommit() {
            // SQLite itself has taken the whole transaction back: disk or memory ran out.
            return Err(DbError::Lost { path: path.to_owned() });
        }
        match (alone, keep) {
            (true, true) => {}
            (true, false) => return execute("ROLLBACK"),
            (false, true) => execute("RELEASE job")?,
            (false, false) => {
                execute("ROLLBACK TO job")?;
                execute("RELEASE job")?;
            }
        }
    }
    execute("COMMIT")
}

fn synchronous(durability: Durability) -> &'static str {
    match durability {
        Durability::Process => "PRAGMA synchronous = NORMAL",
        Durability::Power => "PRAGMA synchronous = FULL",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::testing::Scratch;

    fn writer(scratch: &Scratch) -> Writer {
        let path = scratch.path().join("test.db");
        let connection = Connection::open(&path).expect("a database");
        connection
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE numbers (n INTEGER UNIQUE)")
            .expect("a table");
        Writer::start(connection, path).expect("a thread")
    }

    fn insert(writer: &Writer, number: i64, keep: bool) -> Result<(), DbError> {
        let path = writer.path.clone();
        writer.write(Durability::Process, move |connection| {
            connection
                .execute("INSERT INTO numbers VALUES (?1)", [number])
                .map_err(|error| DbError::sql(&path, error))?;
            if keep { Ok(()) } else { Err(DbError::Closed { path }) }
        })
    }

    fn count(writer: &Writer) -> i64 {
        let path = writer.path.clone();
        let count = move |connection: &Connection| {
            connection
                .query_row("SELECT count(*) FROM numbers", [], |row| row.get(0))
                .map_err(|error| DbError::sql(&path, error))
        };
        writer.write(Durability::Power, count).expect("a count")
    }

    #[test]
    fn who_fails_leaves_nothing_and_harms_nobody() {
        let scratch = Scratch::new();
        let writer = writer(&scratch);
        let together = Barrier::new(20);
        std::thread::scope(|scope| {
            for number in 0..20 {
                let (writer, together) = (&writer, &together);
                scope.spawn(move || {
                    together.wait();
                    let keep = number % 2 == 0;
                    assert_eq!(insert(writer, number, keep).is_ok(), keep);
                });
            }
        });
        assert_eq!(count(&writer), 10);
        insert(&writer, 0, true).expect_err("it is there");
        assert_eq!(count(&writer), 10);
    }

    #[test]
    fn what_was_acknowledged_is_there_for_the_next() {
        let scratch = Scratch::new();
        let writer = writer(&scratch);
        insert(&writer, 1, true).expect("a row");
        let path = writer.path.clone();
        drop(writer);
        let next = Connection::open(&path).expect("a database");
        let count = next.query_row("SELECT count(*) FROM numbers", [], |row| row.get::<_, i64>(0));
        assert_eq!(count.expect("a count"), 1);
    }
}
