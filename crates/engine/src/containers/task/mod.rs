//! One task per container: it alone changes the container's state, one thing after the other.
//!
//! What it is asked comes through a mailbox, what happens comes as records of the container's monitor. Nothing
//! here waits for a container to end: whoever wants that watches the view.
//!
//! Invariant: what a view shows is on record. A record of the monitor is applied once, in its order.
//! Absent on purpose: looking at other containers' state, but for their views.

mod adopt;
mod change;
mod end;
mod network;
mod prepare;
mod records;
mod sessions;
mod start;

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use dhow_monitor::{Record, Request};
use dhow_store::{ContainerChange, ContainerRow, DbError};
use tokio::sync::{mpsc, oneshot, watch};

use super::asks::ExecDetails;
use super::document::{Document, Places};
use super::link::{Answer, Link};
use super::state::{Standing, State};
use super::table::{Ask, Entry, View};
use crate::engine::Shared;
use crate::error::Error;
use crate::events::{Event, EventKind, Happened};
use crate::shipping::Shipping;

use adopt::Spare;
use sessions::{Session, restore_execs};

pub(crate) use end::remove_tree;
pub(crate) use prepare::{network_place, root_mount, with_gateway, write_network_files};
pub(crate) use start::reap;

/// More than that many asks wait their turn at the asker.
const MAILBOX: usize = 64;

/// The owner of a container's state.
pub(crate) struct Task {
    shared: Arc<Shared>,
    id: Arc<str>,
    places: Places,
    name: String,
    created_ms: i64,
    document: Arc<Document>,
    standing: Standing,
    /// The last record of the monitor that is in the database.
    journal: u64,
    execs: Arc<BTreeMap<String, ExecDetails>>,
    exits: u64,
    exit_code: i32,
    gone: bool,
    view: watch::Sender<Arc<View>>,
    link: Option<Link>,
    /// Duplicates of the container's streams, for the next monitor should this one be lost.
    spare: Option<Spare>,
    /// Clients that came before the start.
    sessions: Vec<Session>,
    /// Somebody asked for its end: what happens then is a `stop`.
    stopping: bool,
    /// It may hold something of the host: mounts, a network.
    holds: bool,
    remove_volumes: bool,
    /// It came into networks, which is told with its start.
    joined: Vec<Event>,
    /// Who sends its output elsewhere, if it goes there.
    shipping: Option<Shipping>,
}

impl Task {
    /// Puts a container's task to work; `recover` has it look for what is left of the container first.
    pub(crate) fn spawn(
        shared: &Arc<Shared>,
        row: ContainerRow,
        document: Document,
        standing: Standing,
        recover: bool,
    ) -> Entry {
        let id: Arc<str> = row.id.as_str().into();
        let document = Arc::new(document);
        let exit_code = standing.state.exit_code();
        let places = Places::of(&shared.data_root, &shared.exec_root, &id);
        // Before anybody can ask for one.
        let execs = if recover { restore_execs(shared, &id, &places) } else { Arc::default() };
        let first = View {
            id: id.clone(),
            name: row.name.clone(),
            created_ms: row.created_ms,
            document: document.clone(),
            standing: standing.clone(),
            execs: execs.clone(),
            exits: 0,
            exit_code,
            gone: false,
        };
        let (view, seen) = watch::channel(Arc::new(first));
        let (mailbox, asks) = mpsc::channel(MAILBOX);
        let shipping = crate::shipping::start(&places, seen.clone());
        let entry = Entry::new(id.clone(), seen, mailbox);
        let task = Self {
            places,
            shared: shared.clone(),
            id,
            name: row.name,
            created_ms: row.created_ms,
            document,
            standing,
            journal: row.journal,
            execs,
            exits: 0,
            exit_code,
            gone: false,
            view,
            link: None,
            spare: None,
            sessions: Vec::new(),
            stopping: false,
            holds: recover,
            remove_volumes: false,
            joined: Vec::new(),
            shipping,
        };
        tokio::spawn(task.run(asks, recover));
        entry
    }

    async fn run(mut self, mut asks: mpsc::Receiver<Ask>, recover: bool) {
        if recover {
            self.recover().await;
        }
        while !self.gone {
            tokio::select! {
                biased;
                record = next_record(&mut self.link) => self.heard(record).await,
                ask = asks.recv() => match ask {
                    Some(ask) => ask.carry_out(&mut self).await,
                    None => return,
                },
            }
        }
    }

    /// What its monitor told; nothing when that has gone.
    async fn heard(&mut self, record: Option<Record>) {
        match record {
            Some(record) => {
                self.apply(record).await;
                self.say_stored().await;
            }
            None => self.lost_monitor().await,
        }
    }

    /// Lets the monitor forget, now and then, what the database knows.
    async fn say_stored(&mut self) {
        const EVERY: u64 = 64;
        if let Some(link) = &self.link
            && self.journal.is_multiple_of(EVERY)
        {
            // One that does not want to know has a longer journal.
            let _ = link.ask(&Request::Stored { number: self.journal }, &[]).await;
        }
    }

    /// Applies all records that have come by now: those that an answer's cause told before it.
    async fn catch_up(&mut self) {
        while let Some(record) = self.link.as_mut().and_then(Link::try_record) {
            self.apply(record).await;
        }
    }

    /// Records what the container is now, and with it what happened; then shows and tells it.
    async fn record(&mut self, happened: Vec<Event>) -> Result<(), Error> {
        let change = ContainerChange {
            state: Some(self.state_json()),
            journal: Some(self.journal),
            ..ContainerChange::default()
        };
        self.commit(change, happened).await
    }

    async fn commit(&mut self, change: ContainerChange, happened: Vec<Event>) -> Result<(), Error> {
        let happened = Happened(happened);
        let (tell, hear) = oneshot::channel();
        self.shared.store.db().change_container(&self.id, change, happened.rows(), |told| {
            // A task that has gone hears nothing; the record stands.
            drop(tell.send(told));
        });
        let closed = |_| DbError::Closed { path: self.shared.store.db().path().to_owned() };
        let numbers = hear.await.map_err(closed)??;
        self.show();
        self.shared.hub.tell(happened, numbers);
        Ok(())
    }

    /// The same where nobody waits for an answer: a database that fails now is asked again with the next
    /// record, and the journal still has this one.
    async fn note(&mut self, happened: Vec<Event>) {
        if self.record(happened).await.is_err() {
            self.show();
        }
    }

    fn state_json(&self) -> String {
        serde_json::to_string(&self.standing).expect("a state prints")
    }

    /// What all tasks have in common.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What was last published of it.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// Publishes what the container is now.
    fn show(&self) {
        self.view.send_replace(Arc::new(View {
            id: self.id.clone(),
            name: self.name.clone(),
            created_ms: self.created_ms,
            document: self.document.clone(),
            standing: self.standing.clone(),
            execs: self.execs.clone(),
            exits: self.exits,
            exit_code: self.exit_code,
            gone: self.gone,
        }));
    }

    /// Something that happened to this container.
    fn event(&self, time_ns: i64, action: &str, more: &[(&str, String)]) -> Event {
        event_of(&self.id, &self.name, &self.document, time_ns, action, more)
    }

    fn now(&self, action: &str, more: &[(&str, String)]) -> Event {
        self.event(crate::clock::now_ns(), action, more)
    }

    /// Asks the monitor of a container that runs. One that is found dead is replaced first: its end and the ask
    /// may have come in any order.
    async fn ask(
        &mut self,
        doing: &'static str,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Answer, Error> {
        let asked = match self.linked(doing) {
            Ok(link) => link.ask(request, fds).await,
            Err(error) => Err(error),
        };
        match asked {
            Err(Error::NoMonitor { .. }) => {
                self.lost_monitor().await;
                self.linked(doing)?.ask(request, fds).await
            }
            answered => answered,
        }
    }

    fn linked(&self, doing: &'static str) -> Result<&Link, Error> {
        match (&self.link, &self.standing.state) {
            (Some(link), state) if state.is_active() => Ok(link),
            (None, State::Running(_) | State::Paused(_)) => {
                Err(Error::NoMonitor { id: self.id.to_string() })
            }
            _ => Err(Error::NotRunning { doing, id: self.id.to_string() }),
        }
    }
}

/// Something that happened to a container; labels are among its attributes, as in Docker.
pub(crate) fn event_of(
    id: &str,
    name: &str,
    document: &Document,
    time_ns: i64,
    action: &str,
    more: &[(&str, String)],
) -> Event {
    let config = &document.request.config;
    let mut attributes = config.labels.clone();
    attributes.insert("image".to_owned(), config.image.clone());
    attributes.insert("name".to_owned(), name.to_owned());
    attributes.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Event {
        kind: EventKind::Container,
        action: action.to_owned(),
        id: id.to_owned(),
        attributes,
        time_ns,
    }
}

/// Never, where there is no monitor.
async fn next_record(link: &mut Option<Link>) -> Option<Record> {
    match link {
        Some(link) => link.record().await,
        None => std::future::pending().await,
    }
}
