//! The way to a container's monitor: requests that are answered, and records as they come.
//!
//! Invariant: answers go to requests in their order; records come in theirs. When the connection ends, every
//! open request is told, and the records end.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dhow_monitor::{Connection, ConnectionError, ErrorKind, Record, Reply, Request};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::error::{Error, StartError};

/// What a monitor answered, with what came beside it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) fds: Vec<OwnedFd>,
}

type Waiting = Arc<Mutex<VecDeque<oneshot::Sender<Answer>>>>;

/// A connection as the async runtime wants one.
#[derive(Debug)]
struct Socket(Connection);

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A connection to a monitor; it ends with the value.
#[derive(Debug)]
pub(crate) struct Link {
    connection: Arc<AsyncFd<Socket>>,
    waiting: Waiting,
    records: mpsc::UnboundedReceiver<Record>,
    reader: AbortHandle,
    id: String,
}

impl Link {
    /// Takes a connection over; must be called within the async runtime.
    pub(crate) fn new(connection: Connection, id: &str) -> Result<Self, Error> {
        let failed = |error: ConnectionError| failed(id, &error);
        connection.set_nonblocking().map_err(failed)?;
        let connection = crate::readiness::watch(Socket(connection))
            .map_err(|error| Error::io("watch the monitor of", id, error))?;
        let connection = Arc::new(connection);
        let waiting = Waiting::default();
        let (tell, records) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read(connection.clone(), waiting.clone(), tell)).abort_handle();
        Ok(Self { connection, waiting, records, reader, id: id.to_owned() })
    }

    /// The next record; `None` once the monitor has gone.
    pub(crate) async fn record(&mut self) -> Option<Record> {
        self.records.recv().await
    }

    /// A record that has come already.
    pub(super) fn try_record(&mut self) -> Option<Record> {
        self.records.try_recv().ok()
    }

    /// Asks; what is said no to is an error.
    pub(crate) async fn ask(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Answer, Error> {
        let hear = self.send(request, fds).await?;
        let answer = hear.await.map_err(|_| Error::NoMonitor { id: self.id.clone() })?;
        match answer.reply {
            Reply::Error { kind, message } => Err(refused(kind, message)),
            _ => Ok(answer),
        }
    }

    async fn send(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<oneshot::Receiver<Answer>, Error> {
        loop {
            let (tell, hear) = oneshot::channel();
            let sent = {
                // Sent under the lock, so that the queue is in the order of the socket.
                let mut waiting = lock(&self.waiting);
                let sent = self.connection.get_ref().0.send(request, fds);
                if sent.is_ok() {
                    waiting.push_back(tell);
                }
                sent
            };
            match sent {
                Ok(()) => return Ok(hear),
                Err(ConnectionError::Full) => {
                    let ready = self.connection.writable().await;
                    let mut ready = ready.map_err(|_| Error::NoMonitor { id: self.id.clone() })?;
                    ready.clear_ready();
                }
                Err(error) => return Err(failed(&self.id, &error)),
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Sorts what comes until the other side goes.
async fn read(
    connection: Arc<AsyncFd<Socket>>,
    waiting: Waiting,
    records: mpsc::UnboundedSender<Record>,
) {
    loop {
        let Ok(mut ready) = connection.readable().await else { break };
        match connection.get_ref().0.try_recv() {
            Ok(Some((Reply::Record(record), _))) => {
                if records.send(record).is_err() {
                    break;
                }
            }
            Ok(Some((reply, fds))) => {
                // Whoever asked may have given up since.
                if let Some(tell) = lock(&waiting).pop_front() {
                    let _ = tell.send(Answer { reply, fds });
                }
            }
            Ok(None) => ready.clear_ready(),
            Err(_) => break,
        }
    }
    lock(&waiting).clear();
}

fn lock(
    waiting: &Mutex<VecDeque<oneshot::Sender<Answer>>>,
) -> MutexGuard<'_, VecDeque<oneshot::Sender<Answer>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(id: &str, error: &ConnectionError) -> Error {
    match error {
        ConnectionError::Closed | ConnectionError::Full => Error::NoMonitor { id: id.to_owned() },
        other => Error::Monitor { message: other.to_string() },
    }
}

/// A monitor's no, in our words.
fn refused(kind: ErrorKind, message: String) -> Error {
    match kind {
        ErrorKind::Start(failure) => Error::Start(StartError { kind: failure, message }),
        ErrorKind::Conflict => Error::Conflict { message },
        ErrorKind::Invalid => Error::Invalid { message },
        ErrorKind::Unsupported => Error::Unsupported { what: message },
        ErrorKind::NotFound | ErrorKind::Internal => Error::Monitor { message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64) -> Reply {
        Reply::Record(Record { number, time_ns: 0, event: dhow_monitor::Event::Paused })
    }

    #[tokio::test]
    async fn answers_and_records_find_their_way() {
        let (ours, theirs) = Connection::pair().expect("a pair");
        let mut link = Link::new(ours, "x").expect("a link");
        theirs.reply(&record(1), &[]).expect("sent");
        theirs.reply(&Reply::Ok, &[]).expect("sent");
        let refusal = Reply::Error { kind: ErrorKind::Conflict, message: "no".to_owned() };
        theirs.reply(&record(2), &[]).expect("sent");
        let first = link.send(&Request::Pause, &[]).await.expect("sent");
        let second = link.send(&Request::Resume, &[]).await.expect("sent");
        theirs.reply(&refusal, &[]).expect("sent");
        assert_eq!(first.await.expect("an answer").reply, Reply::Ok);
        assert_eq!(second.await.expect("an answer").reply, refusal);
        assert_eq!(link.record().await.expect("a record").number, 1);
        assert_eq!(link.try_record().expect("a record").number, 2);
        let third = link.send(&Request::Pause, &[]).await.expect("sent");
        drop(theirs);
        third.await.expect_err("nobody answers");
        assert!(link.record().await.is_none());
    }
}
