//! From the one who says what happened to all who listen.
//!
//! Invariant: a listener gets every event from its beginning on, once and in order, or is told that it was too
//! slow and its stream ends; it slows nobody down.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use dhow_store::{Db, EventRow};
use tokio::sync::broadcast;
use tokio::task::spawn_blocking;
use tokio::time::{Duration, Instant, sleep_until};

use super::{Event, EventsRequest};
use crate::error::Error;

/// How far behind a listener may fall.
const QUEUE: usize = 4096;

/// An event with its number.
pub(crate) type Numbered = (u64, Arc<Event>);

/// What happened, on its way to the record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Happened(pub(crate) Vec<Event>);

/// Tells events.
#[derive(Debug)]
pub(crate) struct Hub {
    db: Db,
    tell: broadcast::Sender<Numbered>,
    /// Events whose numbers come before them are still on their way here from the database.
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: Option<u64>,
    early: VecDeque<Numbered>,
}

/// Events, as they come.
#[derive(Debug)]
pub struct EventStream {
    request: EventsRequest,
    past: VecDeque<Numbered>,
    /// Numbers up to here were in `past`.
    told: u64,
    live: broadcast::Receiver<Numbered>,
    ends: Option<Instant>,
}

impl Happened {
    pub(crate) fn one(event: Event) -> Self {
        Self(vec![event])
    }

    /// As the database wants them.
    pub(crate) fn rows(&self) -> Vec<EventRow> {
        self.0
            .iter()
            .map(|event| EventRow {
                time_ns: event.time_ns,
                document: serde_json::to_string(event).expect("an event prints"),
            })
            .collect()
    }
}

impl Hub {
    pub(crate) fn new(db: Db) -> Self {
        let (tell, _) = broadcast::channel(QUEUE);
        Self { db, tell, waiting: Mutex::default() }
    }

    /// Records events that belong to no other record, and tells them.
    pub(crate) async fn publish(&self, happened: Happened) -> Result<(), Error> {
        let (db, rows) = (self.db.clone(), happened.rows());
        let numbers = spawn_blocking(move || db.record_events(rows)).await;
        self.tell(happened, numbers.map_err(|_| Error::Closing)??);
        Ok(())
    }

    /// Tells events that are on record under these numbers.
    pub(crate) fn tell(&self, happened: Happened, numbers: Vec<u64>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, event) in numbers.into_iter().zip(happened.0) {
            let at = waiting.early.partition_point(|(early, _)| *early < number);
            waiting.early.insert(at, (number, Arc::new(event)));
        }
        // Transactions of one group are answered in any order; a gap is filled in a moment. One
        // that is never filled (a thread of ours died in between) must not keep the others.
        while let Some((number, event)) = waiting.early.front().cloned() {
            let in_order = waiting.next.is_none_or(|next| number <= next);
            if !in_order && waiting.early.len() < GROUP {
                break;
            }
            waiting.early.pop_front();
            waiting.next = Some(number + 1);
            // Nobody may be listening.
            let _ = self.tell.send((number, event));
        }
    }

    /// Begins to listen: what is on record first, then what comes.
    pub(crate) async fn listen(&self, request: EventsRequest) -> Result<EventStream, Error> {
        request.check()?;
        let live = self.tell.subscribe();
        let mut stream = EventStream { past: VecDeque::new(), told: 0, live, ends: None, request };
        if let Some(until_ns) = stream.request.until_ns {
            let left = until_ns.saturating_sub(crate::clock::now_ns());
            let left = Duration::from_nanos(u64::try_from(left).unwrap_or(0));
            stream.ends = Some(Instant::now() + left);
        }
        if let Some(since_ns) = stream.request.since_ns {
            let db = self.db.clone();
            let until_ns = stream.request.until_ns.unwrap_or(i64::MAX);
            let rows = spawn_blocking(move || db.events(since_ns, until_ns)).await;
            let rows = rows.map_err(|_| Error::Closing)??;
            stream.told = rows.last().map_or(0, |(number, _)| *number);
            stream.past = rows.into_iter().filter_map(read).collect();
        }
        Ok(stream)
    }
}

/// More than that are never on their way at a time: what the database commits at once.
const GROUP: usize = 64;

/// What an older or newer program wrote and we cannot read is left out.
fn read((number, row): (u64, EventRow)) -> Option<Numbered> {
    let event: Event = serde_json::from_str(&row.document).ok()?;
    Some((number, Arc::new(Event { time_ns: row.time_ns, ..event })))
}

impl EventStream {
    /// The next event; `None` when the time is over, the engine goes down, or the listener was too slow.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        while let Some((_, event)) = self.past.pop_front() {
            if self.request.wants(&event) {
                return Some(event);
            }
        }
        loop {
            let next = match self.ends {
                Some(ends) => tokio::select! {
                    biased;
                    next = self.live.recv() => next,
                    () = sleep_until(ends) => return None,
                },
                None => self.live.recv().await,
            };
            let (number, event) = next.ok()?;
            if number > self.told && self.request.wants(&event) {
                return Some(event);
            }
        }
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(_: tokio::task::JoinError) -> Self {
        Self::Closing
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dhow_store::Clock;

    use super::*;
    use crate::events::EventKind;
    use crate::testing::Scratch;

    fn event(action: &str, time_ns: i64) -> Event {
        Event {
            kind: EventKind::Container,
            action: action.to_owned(),
            id: "a".to_owned(),
            attributes: BTreeMap::new(),
            time_ns,
        }
    }

    #[tokio::test]
    async fn past_then_present_each_once() {
        let scratch = Scratch::new();
        let db = Db::open(&scratch.path().join("dhow.db"), Clock::system()).expect("a database");
        let hub = Hub::new(db.clone());
        let now = crate::clock::now_ns();
        for (number, action) in ["one", "two"].into_iter().enumerate() {
            let happened = Happened::one(event(action, now + number as i64));
            hub.publish(happened).await.expect("recorded");
        }
        let since = EventsRequest { since_ns: Some(now + 1), ..EventsRequest::default() };
        let mut stream = hub.listen(since).await.expect("a stream");
        let mut only_new = hub.listen(EventsRequest::default()).await.expect("a stream");
        hub.publish(Happened::one(event("three", now + 2))).await.expect("recorded");
        assert_eq!(stream.next().await.expect("past").action, "two");
        assert_eq!(stream.next().await.expect("present").action, "three");
        assert_eq!(only_new.next().await.expect("present").action, "three");
        let past =
            EventsRequest { since_ns: Some(0), until_ns: Some(now), ..EventsRequest::default() };
        let mut past = hub.listen(past).await.expect("a stream");
        assert_eq!(past.next().await.expect("the first").action, "one");
        assert!(past.next().await.is_none());
        // A new engine on the same root knows what the last one told.
        let mut later = Hub::new(db)
            .listen(EventsRequest { since_ns: Some(0), ..EventsRequest::default() })
            .await
            .expect("a stream");
        assert_eq!(later.next().await.expect("past").action, "one");
    }

    #[tokio::test]
    async fn numbers_bring_order() {
        let scratch = Scratch::new();
        let db = Db::open(&scratch.path().join("dhow.db"), Clock::system()).expect("a database");
        let hub = Hub::new(db);
        let mut stream = hub.listen(EventsRequest::default()).await.expect("a stream");
        hub.tell(Happened::one(event("one", 1)), vec![1]);
        hub.tell(Happened::one(event("three", 3)), vec![3]);
        hub.tell(Happened::one(event("two", 2)), vec![2]);
        for expected in ["one", "two", "three"] {
            assert_eq!(stream.next().await.expect("present").action, expected);
        }
    }
}
