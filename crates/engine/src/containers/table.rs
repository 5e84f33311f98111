//! All containers, by id and by name.
//!
//! Invariant: what is looked at here is a snapshot that the container's task published; nothing in this file
//! waits for a task, but for [`Entry::call`].

use std::collections::{BTreeMap, HashMap, hash_map};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::asks::ExecDetails;
use super::document::Document;
use super::state::Standing;
use super::task::Task;
use crate::error::Error;

/// What a container is, at one moment.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) id: Arc<str>,
    pub(crate) name: String,
    pub(crate) created_ms: i64,
    pub(crate) document: Arc<Document>,
    pub(crate) standing: Standing,
    pub(crate) execs: Arc<BTreeMap<String, ExecDetails>>,
    /// How often it has ended since this engine began, so that nobody misses an end.
    pub(crate) exits: u64,
    /// How it last ended.
    pub(crate) exit_code: i32,
    /// It has been removed.
    pub(crate) gone: bool,
}

type Work = Box<dyn for<'a> FnOnce(&'a mut Task) -> Doing<'a> + Send>;
type Doing<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Something to be done by a container's task, which alone may touch the container's state.
pub(crate) struct Ask(Work);

/// A container as everybody but its task sees it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: Arc<str>,
    view: watch::Receiver<Arc<View>>,
    mailbox: mpsc::Sender<Ask>,
    /// Clients that were told that they are attached, and are not yet.
    coming: Arc<watch::Sender<usize>>,
}

/// A client that was told, or is about to be, that it is attached. A start waits until this is gone: the client may
/// ask for the start as soon as it was told, and is to hear the program's first word.
#[derive(Debug)]
pub struct Coming(Arc<watch::Sender<usize>>);

/// A start waits no longer for somebody who was told and does not come.
const COMING_MAX: Duration = Duration::from_secs(2);

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Table {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_id: BTreeMap<Arc<str>, Entry>,
    by_name: HashMap<String, Arc<str>>,
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Ask {
    pub(crate) fn carry_out(self, task: &mut Task) -> Doing<'_> {
        (self.0)(task)
    }
}

impl Entry {
    pub(crate) fn new(
        id: Arc<str>,
        view: watch::Receiver<Arc<View>>,
        mailbox: mpsc::Sender<Ask>,
    ) -> Self {
        Self { id, view, mailbox, coming: Arc::new(watch::Sender::new(0)) }
    }

    /// Announces a client that will be attached.
    pub(crate) fn announce(&self) -> Coming {
        self.coming.send_modify(|count| *count += 1);
        Coming(self.coming.clone())
    }

    /// Waits until all clients that were announced are there.
    pub(crate) async fn all_came(&self) {
        let mut coming = self.coming.subscribe();
        // Whoever is still missing then has lost his way.
        let _ = tokio::time::timeout(COMING_MAX, coming.wait_for(|count| *count == 0)).await;
    }

    /// What it is now.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// What it is now and becomes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Has the task do something, after all that it was asked before.
    pub(crate) async fn call<T, W>(&self, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(
                &'a mut Task,
            )
                -> Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>
            + Send
            + 'static,
    {
        let (tell, hear) = oneshot::channel();
        let ask = Ask(Box::new(move |task: &mut Task| {
            Box::pin(async move {
                // Whoever asked may have gone; what was begun is brought to its end.
                let _ = tell.send(work(task).await);
            })
        }));
        let gone = || Error::NoSuchContainer { query: self.id.to_string() };
        self.mailbox.send(ask).await.map_err(|_| gone())?;
        hear.await.map_err(|_| gone())?
    }
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ask")
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a name for a container that is to come; nobody finds it before [`Table::insert`].
    pub(crate) fn reserve(&self, name: &str, id: &str) -> Result<(), Error> {
        match self.lock().by_name.entry(name.to_owned()) {
            hash_map::Entry::Vacant(free) => {
                free.insert(id.into());
                Ok(())
            }
            hash_map::Entry::Occupied(taken) => {
                Err(Error::NameTaken { name: name.to_owned(), by: taken.get().to_string() })
            }
        }
    }

    pub(crate) fn insert(&self, entry: Entry, name: &str) {
        let mut inner = self.lock();
        inner.by_name.insert(name.to_owned(), entry.id.clone());
        inner.by_id.insert(entry.id.clone(), entry);
    }

    /// Gives a name back that no container is called by.
    pub(crate) fn free(&self, name: &str) {
        self.lock().by_name.remove(name);
    }

    pub(crate) fn remove(&self, id: &str, name: &str) {
        let mut inner = self.lock();
        inner.by_id.remove(id);
        if inner.by_name.get(name).is_some_and(|found| **found == *id) {
            inner.by_name.remove(name);
        }
    }

    /// Lets all tasks end, and with them what they hold; their containers go on.
    pub(crate) fn clear(&self) {
        *self.lock() = Inner::default();
    }

    /// All, by their ids.
    pub(crate) fn all(&self) -> Vec<Entry> {
        self.lock().by_id.values().cloned().collect()
    }

    /// By id, name, or the beginning of an id, in this order, as Docker looks.
    pub(crate) fn find(&self, query: &str) -> Result<Entry, Error> {
        let not_found = || Error::NoSuchContainer { query: query.to_owned() };
        let inner = self.lock();
        if let Some(entry) = inner.by_id.get(query) {
            return Ok(entry.clone());
        }
        let name = query.strip_prefix('/').unwrap_or(query);
        if let Some(id) = inner.by_name.get(name) {
            return inner.by_id.get(id).cloned().ok_or_else(not_found);
        }
        if query.is_empty() || !query.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(not_found());
        }
        let from = std::ops::Bound::Included(query);
        let range = inner.by_id.range::<str, _>((from, std::ops::Bound::Unbounded));
        let mut fitting = range.take_while(|(id, _)| id.starts_with(query));
        match (fitting.next(), fitting.next()) {
            (Some((_, entry)), None) => Ok(entry.clone()),
            (Some(_), Some(_)) => Err(Error::AmbiguousId { query: query.to_owned() }),
            (None, _) => Err(not_found()),
        }
    }
}
