//! A container's log, read from the files that its monitor writes.
//!
//! Invariant: every line is given once and in order; who follows gets the last line of a container that ends,
//! and then the end.
//! Absent on purpose: what no file has: a driver that keeps nothing is refused.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use dhow_monitor::log::{Line, LogStream as Stream, ReadOptions, Reader};
use dhow_monitor::{LogConfig, LogDriver};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::Engine;
use crate::containers::asks::LogsRequest;
use crate::containers::document::Places;
use crate::containers::table::View;
use crate::error::Error;

/// So many lines are read at a time.
const BATCH: usize = 256;

/// One line of a log, or a part of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it came, in nanoseconds since 1970.
    pub time_ns: i64,
    /// It came from standard error.
    pub stderr: bool,
    /// With its line end, if it has one.
    pub bytes: Vec<u8>,
    /// The next line of the same stream goes on with it.
    pub partial: bool,
    /// Labels and variables that are kept with it, as JSON; empty for none.
    pub attributes: String,
}

/// A log, line by line.
#[derive(Debug)]
pub struct LogStream {
    /// The container has a terminal: there is only standard output, and it is not multiplexed.
    pub terminal: bool,
    request: LogsRequest,
    reader: Option<Reader>,
    batch: VecDeque<Line>,
    changes: Option<AsyncFd<OwnedFd>>,
    view: watch::Receiver<Arc<View>>,
    ends: Option<Instant>,
}

impl Engine {
    /// Reads a container's log.
    pub async fn logs(&self, query: &str, request: LogsRequest) -> Result<LogStream, Error> {
        if !request.stdout && !request.stderr {
            let message = "Bad parameters: you must choose at least one stream".to_owned();
            return Err(Error::Invalid { message });
        }
        let view = self.find(query)?.watch();
        let (config, terminal, is_kept) = {
            let seen = view.borrow();
            let places = Places::of(&self.shared.data_root, &self.shared.exec_root, &seen.id);
            let host = &seen.document.request.host;
            let config = crate::plan::log_config(&host.log, &places.data)?;
            (config, seen.document.request.config.tty, crate::plan::is_log_read(&host.log))
        };
        if config.driver == LogDriver::None || !is_kept {
            let message = "configured logging driver does not support reading".to_owned();
            return Err(Error::Unsupported { what: message });
        }
        LogStream::open(config, terminal, view, request).await
    }
}

impl LogStream {
    /// Reads the log that `config` describes; its end is the end of the container in `view`.
    pub(crate) async fn open(
        config: LogConfig,
        terminal: bool,
        view: watch::Receiver<Arc<View>>,
        request: LogsRequest,
    ) -> Result<Self, Error> {
        let options = ReadOptions {
            tail: request.tail,
            since_ns: request.since_ns,
            until_ns: request.until_ns,
        };
        let follow = request.follow;
        let (reader, watch) = spawn_blocking(move || open(&config, options, follow)).await??;
        let changes = watch
            .map(crate::readiness::watch)
            .transpose()
            .map_err(|error| Error::Logs { message: error.to_string() })?;
        let ends = request.until_ns.filter(|_| follow).map(|until_ns| {
            let left = until_ns.saturating_sub(crate::clock::now_ns());
            Instant::now() + Duration::from_nanos(u64::try_from(left).unwrap_or(0))
        });
        let batch = VecDeque::new();
        Ok(Self { terminal, request, reader: Some(reader), batch, changes, view, ends })
    }
}

/// The watch comes first: nothing that is written between the two is missed.
fn open(
    config: &LogConfig,
    options: ReadOptions,
    follow: bool,
) -> Result<(Reader, Option<OwnedFd>), Error> {
    let failed = |error: std::io::Error| Error::Logs { message: format!("read log: {error}") };
    let reader = Reader::open(config, options).map_err(failed)?;
    let watch = follow.then(|| reader.watch()).transpose().map_err(failed)?;
    Ok((reader, watch))
}

impl LogStream {
    /// The next line; `None` at the end of what is wanted.
    pub async fn next(&mut self) -> Result<Option<LogLine>, Error> {
        loop {
            while let Some(line) = self.batch.pop_front() {
                let stderr = line.stream == Stream::Stderr;
                if if stderr { self.request.stderr } else { self.request.stdout } {
                    return Ok(Some(told(line, stderr)));
                }
            }
            // Asked before reading: what a container wrote before its end is read after it.
            let ended = {
                let view = self.view.borrow_and_update();
                view.gone || !view.standing.state.is_active()
            };
            if self.read().await? {
                continue;
            }
            if ended || self.changes.is_none() || !self.wait().await {
                return Ok(None);
            }
        }
    }

    /// Reads what is there; says whether there was anything.
    async fn read(&mut self) -> Result<bool, Error> {
        let Some(mut reader) = self.reader.take() else { return Ok(false) };
        let (reader, lines) = spawn_blocking(move || {
            let mut lines = VecDeque::new();
            while lines.len() < BATCH {
                match reader.next() {
                    Ok(Some(line)) => lines.push_back(line),
                    Ok(None) => break,
                    Err(error) => return (reader, Err(error)),
                }
            }
            (reader, Ok(lines))
        })
        .await?;
        self.reader = Some(reader);
        self.batch =
            lines.map_err(|error| Error::Logs { message: format!("read log: {error}") })?;
        Ok(!self.batch.is_empty())
    }

    /// Waits until there may be more; says whether there can be.
    async fn wait(&mut self) -> bool {
        let Some(changes) = &self.changes else { return false };
        let ends = self.ends;
        let over = async {
            match ends {
                Some(ends) => sleep_until(ends).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = changes.readable() => {
                let Ok(mut ready) = ready else { return false };
                drain(changes.get_ref());
                ready.clear_ready();
                true
            }
            // Its end, too, is a change; without the task there is nothing to come.
            changed = self.view.changed() => changed.is_ok() || self.view.borrow().gone,
            () = over => false,
        }
    }
}

/// What changed does not matter, only that something did.
fn drain(changes: &OwnedFd) {
    let mut buffer = [0; 4096];
    while rustix::io::read(changes, &mut buffer).is_ok_and(|length| length > 0) {}
}

fn told(line: Line, stderr: bool) -> LogLine {
    LogLine {
        time_ns: line.time_ns,
        stderr,
        bytes: line.bytes,
        partial: line.partial,
        attributes: line.attributes,
    }
}
