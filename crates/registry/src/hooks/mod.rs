//! Webhooks: others hear of changes, in the background and in their order.
//!
//! Each hook has a line of its own in which events wait, and one delivery at a time. One that does not take an
//! event is asked again, less and less often; then that event is given up for the next.
//!
//! Invariant: a change waits for no hook. A line has an end: what comes when it is full is counted and said, not
//! kept. What waits when the process ends abruptly is not sent: whoever must not miss a change reads the audit log.

mod event;
mod post;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dhow_spec::RepositoryPath;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::audit::Change;
use crate::config::{HookConfig, HookEvent};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::pattern::Pattern;

pub(crate) use event::Event;
use post::Destination;

/// Between the first attempt and the second; then twice as long each time.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// What waits when we are to end has that long.
const FAREWELL: Duration = Duration::from_secs(5);

/// Everybody who wants to hear of changes.
#[derive(Default)]
pub(crate) struct Hooks(Vec<Arc<Hook>>);

struct Hook {
    repositories: Vec<Pattern>,
    events: Vec<HookEvent>,
    destination: Destination,
    attempts: u32,
    line: Line,
}

/// What waits to be delivered.
struct Line {
    waiting: Mutex<Waiting>,
    capacity: usize,
    bell: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Bytes>,
    /// Nothing more comes.
    closed: bool,
    /// Whether it was said that the line is full.
    said: bool,
}

impl Hooks {
    /// Reads the files that the configuration names.
    pub(crate) fn open(configs: &[HookConfig]) -> io::Result<Self> {
        let hooks: io::Result<Vec<_>> = configs.iter().map(Hook::open).collect();
        Ok(Self(hooks?.into_iter().map(Arc::new).collect()))
    }

    /// Whether somebody wants to hear of it.
    pub(crate) fn want(&self, name: &RepositoryPath, change: Change) -> bool {
        self.0.iter().any(|hook| hook.wants(name, change))
    }

    /// Has those told who want to hear of it.
    pub(crate) fn tell(
        &self,
        name: &RepositoryPath,
        change: Change,
        event: &Event<'_>,
        log: &Log,
        metrics: &Metrics,
    ) {
        let envelope = event.envelope();
        for hook in self.0.iter().filter(|hook| hook.wants(name, change)) {
            if hook.line.push(envelope.clone()) {
                continue;
            }
            metrics.hook_dropped();
            if hook.line.say_once() {
                log.say(&format!(
                    "webhook {}: too many events wait, new ones are lost",
                    hook.destination
                ));
            }
        }
    }

    /// Delivers until the lines are closed and empty.
    pub(crate) fn deliver(&self, log: &Log, metrics: &Arc<Metrics>) -> JoinSet<()> {
        let mut deliveries = JoinSet::new();
        for hook in &self.0 {
            deliveries.spawn(hook.clone().deliver(log.clone(), metrics.clone()));
        }
        deliveries
    }

    /// Ends deliveries; what waits is sent if that takes no long time.
    pub(crate) async fn end(&self, mut deliveries: JoinSet<()>, log: &Log) {
        self.0.iter().for_each(|hook| hook.line.close());
        let all = async { while deliveries.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, all).await.is_err() {
            let left: usize = self.0.iter().map(|hook| hook.line.lock().events.len() + 1).sum();
            log.say(&format!("webhooks: at most {left} events were not delivered"));
        }
    }
}

impl Hook {
    fn open(config: &HookConfig) -> io::Result<Self> {
        Ok(Self {
            repositories: config.repositories.clone(),
            events: config.events.clone(),
            destination: Destination::open(config)?,
            attempts: config.attempts,
            line: Line { waiting: Mutex::default(), capacity: config.queue, bell: Notify::new() },
        })
    }

    fn wants(&self, name: &RepositoryPath, change: Change) -> bool {
        self.events.contains(&change.kind()) && Pattern::any(&self.repositories, name)
    }

    async fn deliver(self: Arc<Self>, log: Log, metrics: Arc<Metrics>) {
        while let Some(event) = self.line.pop().await {
            if let Err(why) = self.attempt(event).await {
                metrics.hook_failed();
                log.say(&format!(
                    "webhook {}: an event is given up after {} attempts: {why}",
                    self.destination, self.attempts
                ));
            } else {
                metrics.hook_delivered();
            }
        }
    }

    /// Sends it, as often as it may be sent; what went wrong the last time.
    async fn attempt(&self, event: Bytes) -> io::Result<()> {
        let mut pause = PAUSE;
        let mut attempt = 1;
        loop {
            match self.destination.post(event.clone()).await {
                Err(_) if attempt < self.attempts => {}
                ended => return ended,
            }
            attempt += 1;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl Line {
    /// Whether there is room.
    fn push(&self, event: Bytes) -> bool {
        let mut waiting = self.lock();
        if waiting.events.len() >= self.capacity || waiting.closed {
            return false;
        }
        waiting.events.push_back(event);
        waiting.said = false;
        drop(waiting);
        self.bell.notify_one();
        true
    }

    fn say_once(&self) -> bool {
        !std::mem::replace(&mut self.lock().said, true)
    }

    /// The next one; `None` if nothing more comes.
    async fn pop(&self) -> Option<Bytes> {
        loop {
            {
                let mut waiting = self.lock();
                match waiting.events.pop_front() {
                    Some(event) => return Some(event),
                    None if waiting.closed => return None,
                    None => {}
                }
            }
            // A bell that rang meanwhile is remembered.
            self.bell.notified().await;
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.bell.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
