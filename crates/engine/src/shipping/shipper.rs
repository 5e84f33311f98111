//! One container's lines on their way: read from the local copy, queued, sent, and how far that came written down.
//!
//! Two loops in one task: one reads, one sends. What was sent is on record with the time of its line, which no
//! other line has; after an end of the engine the next one goes on there.
//!
//! Invariant: what is on record as sent was sent. A removal waits for the last lines, but not for ever.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::connection::Connection;
use super::{About, Destination, Message, Part};
use crate::containers::asks::LogsRequest;
use crate::containers::document::Places;
use crate::containers::table::View;
use crate::engine::{LogLine, LogStream};

/// How far it came is written down so often.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// No pause between two attempts is longer.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A removal waits so long for the last lines.
const REMOVAL_MAX: Duration = Duration::from_secs(5);

/// What a container's task knows of its shipper: how many of its ends have been sent with all that was before.
#[derive(Debug, Clone)]
pub(crate) struct Shipping(watch::Receiver<u64>);

struct Shipper {
    destination: Destination,
    view: watch::Receiver<Arc<View>>,
    config: dhow_monitor::LogConfig,
    /// Where how far it came is written down.
    record: PathBuf,
    sent: watch::Sender<u64>,
}

/// The engine ends, or the container is gone: nobody wants the rest.
struct Over;

impl Shipping {
    /// Waits until all that was said before the container's end number `exits` has been sent, or has had its time.
    pub(crate) async fn settled(&mut self, exits: u64) {
        let settled = self.0.wait_for(|sent| *sent >= exits);
        // Of a destination that does not answer nobody learns more.
        let _ = tokio::time::timeout(REMOVAL_MAX, settled).await;
    }
}

/// Puts a shipper to work for a container whose log goes elsewhere; it ends with the container, or the engine.
pub(crate) fn start(places: &Places, view: watch::Receiver<Arc<View>>) -> Option<Shipping> {
    let log = view.borrow().document.request.host.log.clone();
    // A request that is on record was checked.
    let destination = Destination::parse(&log.driver, &log.options).ok()??;
    let config = crate::plan::log_config(&log, &places.data).ok()?;
    let (sent, seen) = watch::channel(0);
    let record = places.data.join("log-sent");
    let shipper = Shipper { destination, view, config, record, sent };
    tokio::spawn(shipper.run());
    Some(Shipping(seen))
}

impl Shipper {
    async fn run(self) {
        let mut view = self.view.clone();
        loop {
            let (exits, gone) = {
                let seen = view.borrow_and_update();
                (seen.exits, seen.gone)
            };
            if self.ship().await.is_err() || gone {
                return;
            }
            self.sent.send_replace(exits);
            let is_due = |view: &Arc<View>| {
                view.gone || view.standing.state.is_active() || view.exits != exits
            };
            if view.wait_for(is_due).await.is_err() {
                return;
            }
        }
    }

    /// Sends what there is, and what comes until the container ends.
    async fn ship(&self) -> Result<(), Over> {
        let position = read_position(&self.record);
        let request = LogsRequest {
            stdout: true,
            stderr: true,
            since_ns: position.checked_add(1),
            follow: true,
            ..LogsRequest::default()
        };
        let opened = LogStream::open(self.config.clone(), false, self.view.clone(), request).await;
        let Ok(mut lines) = opened else {
            // Not there yet, or not to be read just now.
            tokio::time::sleep(NOTE_EVERY).await;
            return Ok(());
        };
        let queue = Queue::new(self.destination.queue_bytes, self.destination.drops);
        let reading = async {
            let mut parts = [Parts::default(), Parts::default()];
            while let Ok(Some(line)) = lines.next().await {
                let message = parts[usize::from(line.stderr)].message(line);
                if !queue.push(message).await {
                    return;
                }
            }
            queue.close();
        };
        let sending = async {
            let sent = self.send_all(&queue, position).await;
            queue.close();
            sent
        };
        let ((), sent) = tokio::join!(reading, sending);
        sent
    }

    async fn send_all(&self, queue: &Queue, mut position: i64) -> Result<(), Over> {
        let about = About::of(&self.view.borrow().clone(), &self.destination);
        let mut line = Line { connection: None, opened: Instant::now() };
        let mut noted = (position, Instant::now());
        let result = loop {
            // Before it waits, it says how far it is.
            let next = match queue.try_pop() {
                Some(message) => Some(message),
                None => {
                    self.note(position, &mut noted.0);
                    queue.pop().await
                }
            };
            let Some(message) = next else { break Ok(()) };
            if self.deliver(&mut line, &about, &message).await.is_err() {
                break Err(Over);
            }
            // A line's parts may have the same time: they count when all of them have been sent.
            if message.part.as_ref().is_none_or(|part| part.last) {
                position = message.time_ns;
            }
            if noted.1.elapsed() >= NOTE_EVERY {
                self.note(position, &mut noted.0);
                noted.1 = Instant::now();
            }
        };
        self.note(position, &mut noted.0);
        result
    }

    /// Sends one message, as often as the driver's options have it.
    async fn deliver(&self, line: &mut Line, about: &About, message: &Message) -> Result<(), Over> {
        let patience = self.destination.patience();
        let packets = self.destination.packets(about, message);
        let mut pause = patience.first_pause;
        let mut attempts = 0;
        loop {
            if line.send(&self.destination, &packets, message).await.is_ok() {
                return Ok(());
            }
            line.connection = None;
            attempts += 1;
            if patience.attempts_max.is_some_and(|max| attempts >= max) {
                return Ok(());
            }
            let mut view = self.view.clone();
            let gone = view.wait_for(|view| view.gone);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Its files are gone, or the engine ends.
                _ = gone => return Err(Over),
            }
            if patience.grows {
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }

    /// Writes down how far it came. Where that fails, lines are sent twice.
    fn note(&self, position: i64, noted: &mut i64) {
        if position != *noted {
            let aside = self.record.with_extension("new");
            let written = std::fs::write(&aside, format!("{position}\n"));
            if written.and_then(|()| std::fs::rename(&aside, &self.record)).is_ok() {
                *noted = position;
            }
        }
    }
}

fn read_position(path: &Path) -> i64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim().parse().unwrap_or(i64::MIN)
}

/// The way to the destination, when there is one.
struct Line {
    connection: Option<Connection>,
    opened: Instant,
}

impl Line {
    async fn send(
        &mut self,
        destination: &Destination,
        packets: &[Vec<u8>],
        message: &Message,
    ) -> std::io::Result<()> {
        let (write_time, read_time) = destination.timeouts();
        if destination.connection_age_max().is_some_and(|max| self.opened.elapsed() >= max) {
            self.connection = None;
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                self.opened = Instant::now();
                none.insert(Connection::open(destination.address(), destination.tls()).await?)
            }
        };
        for packet in packets {
            connection.send(packet, write_time).await?;
        }
        match destination.receipt(message) {
            Some(receipt) => connection.await_receipt(&receipt, read_time).await,
            None => Ok(()),
        }
    }
}

/// Which part of a long line comes next.
#[derive(Default)]
struct Parts(Option<(String, u32)>);

impl Parts {
    fn message(&mut self, line: LogLine) -> Message {
        let LogLine { time_ns, stderr, mut bytes, partial, .. } = line;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        let part = match (self.0.take(), partial) {
            (None, false) => None,
            (before, _) => {
                let (id, ordinal) = before.unwrap_or_else(|| (format!("{time_ns:064x}"), 0));
                let ordinal = ordinal + 1;
                if partial {
                    self.0 = Some((id.clone(), ordinal));
                }
                Some(Part { id, ordinal, last: !partial })
            }
        };
        Message { time_ns, stderr, text: bytes, part }
    }
}

/// Lines that were read and not sent.
struct Queue {
    state: Mutex<QueueState>,
    changed: Notify,
    bytes_max: usize,
    drops: bool,
}

#[derive(Default)]
struct QueueState {
    messages: VecDeque<Message>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    fn new(bytes_max: usize, drops: bool) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), bytes_max, drops }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line once there is room; a queue that drops has none to wait for. `false` when nobody sends any more.
    async fn push(&self, message: Message) -> bool {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                if state.closed {
                    return false;
                }
                let length = message.text.len();
                if state.messages.is_empty() || state.bytes + length <= self.bytes_max {
                    state.bytes += length;
                    state.messages.push_back(message);
                    self.changed.notify_waiters();
                    return true;
                }
                if self.drops {
                    return true;
                }
            }
            changed.await;
        }
    }

    fn try_pop(&self) -> Option<Message> {
        let mut state = self.state();
        let message = state.messages.pop_front()?;
        state.bytes -= message.text.len();
        self.changed.notify_waiters();
        Some(message)
    }

    /// The next line; nothing when the last one was taken and none can come.
    async fn pop(&self) -> Option<Message> {
        loop {
            let changed = self.changed.notified();
            if let Some(message) = self.try_pop() {
                return Some(message);
            }
            if self.state().closed {
                return None;
            }
            changed.await;
        }
    }

    fn close(&self) {
        self.state().closed = true;
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(time_ns: i64, text: &str, partial: bool) -> LogLine {
        let bytes = text.as_bytes().to_vec();
        LogLine { time_ns, stderr: false, bytes, partial, attributes: String::new() }
    }

    #[test]
    fn parts_of_a_line_are_numbered() {
        let mut parts = Parts::default();
        let mut part = |line| parts.message(line).part.map(|part| (part.ordinal, part.last));
        assert_eq!(part(line(1, "whole\n", false)), None);
        assert_eq!(part(line(2, "a", true)), Some((1, false)));
        assert_eq!(part(line(2, "b", true)), Some((2, false)));
        assert_eq!(part(line(2, "c\n", false)), Some((3, true)));
        assert_eq!(part(line(3, "whole\n", false)), None);
    }

    #[tokio::test]
    async fn a_full_queue_drops_only_where_it_may() {
        let message = |text: &str| Parts::default().message(line(1, text, false));
        let drops = Queue::new(4, true);
        for text in ["aaaa", "b", "c"] {
            assert!(drops.push(message(text)).await);
        }
        assert_eq!(drops.try_pop().map(|message| message.text), Some(b"aaaa".to_vec()));
        assert_eq!(drops.try_pop(), None);
        let waits = Queue::new(4, false);
        assert!(waits.push(message("aaaa")).await);
        let (pushed, popped) = tokio::join!(waits.push(message("b")), waits.pop());
        assert!(pushed && popped.is_some());
        waits.close();
        assert!(!waits.push(message("c")).await);
        assert_eq!(waits.pop().await.map(|message| message.text), Some(b"b".to_vec()));
        assert_eq!(waits.pop().await, None);
    }
}
