//! What engines ask, and the answers.
//!
//! Invariant: one request, one answer, in order; a request that cannot be served changes nothing.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::process::Pid;

use super::Monitor;
use super::backend::Failure;
use super::task::KILL;
use crate::connection::ConnectionError;
use crate::protocol::{ErrorKind, Event, Reply, Request, VERSION};

type Answer = Result<Reply, Failure>;

fn conflict(message: &str) -> Failure {
    Failure { kind: ErrorKind::Conflict, message: message.to_owned() }
}

fn not_running() -> Failure {
    conflict("the container is not running")
}

fn invalid(message: impl ToString) -> Failure {
    Failure { kind: ErrorKind::Invalid, message: message.to_string() }
}

fn started(pid: Pid) -> Reply {
    Reply::Started { pid: pid.as_raw_nonzero().get() }
}

impl Monitor {
    /// Takes every request that a peer has sent.
    pub(super) fn serve_peer(&mut self, key: u32) {
        loop {
            let Some(peer) = self.peers.iter().find(|peer| peer.key() == key) else { return };
            match peer.connection().try_recv_request() {
                Ok(None) => return,
                Ok(Some((request, fds))) => self.take(key, request, fds),
                Err(ConnectionError::Malformed { source }) => {
                    self.answer(key, Err(invalid(source)));
                }
                Err(_) => {
                    self.peers.retain(|peer| peer.key() != key);
                    self.end_if_alone();
                    return;
                }
            }
        }
    }

    /// Ends what nobody wants without those who were connected.
    fn end_if_alone(&mut self) {
        if self.launch.tied && self.peers.is_empty() && self.task.is_some() {
            // One that has ended meanwhile needs no signal.
            let _ = self.kill(KILL);
        }
    }

    fn take(&mut self, key: u32, request: Request, fds: Vec<OwnedFd>) {
        match request {
            Request::Follow { after } => self.follow(key, after),
            Request::Streams => self.lend_streams(key),
            request => {
                let answer = self.act(request, fds);
                self.answer(key, answer);
            }
        }
    }

    fn answer(&mut self, key: u32, answer: Answer) {
        let reply = answer.unwrap_or_else(|failure| Reply::Error {
            kind: failure.kind,
            message: failure.message,
        });
        self.send(key, &reply);
    }

    fn send(&mut self, key: u32, reply: &Reply) {
        self.peers.retain(|peer| peer.key() != key || peer.connection().reply(reply, &[]).is_ok());
    }

    fn act(&mut self, request: Request, fds: Vec<OwnedFd>) -> Answer {
        match request {
            Request::Hello { .. } => Ok(Reply::Hello {
                version: VERSION,
                last: self.journal.last(),
                running: self.task.is_some(),
                paused: self.task.as_ref().is_some_and(|task| task.paused),
            }),
            Request::Start if self.has_begun() => Err(conflict("the container has been started")),
            Request::Start => self.start_task().map(started),
            Request::Adopt { .. } if self.has_begun() => {
                Err(conflict("the container has been started"))
            }
            Request::Adopt { streams, pidfd } => {
                let pid = self.adopt(streams, pidfd, fds)?;
                pid.map(started).ok_or_else(not_running)
            }
            Request::Stored { number } => {
                self.journal.stored(number);
                Ok(Reply::Ok)
            }
            Request::Stop { signal, timeout_s } => {
                if self.stop(signal, timeout_s) {
                    Ok(Reply::Ok)
                } else {
                    Err(not_running())
                }
            }
            // Whoever sends KILL between two lives need not know that there is no process just now.
            Request::Kill { signal: KILL } if self.cancel_restart() => Ok(Reply::Ok),
            Request::Kill { .. } if self.task.is_none() => Err(not_running()),
            Request::Kill { signal } => self.kill(signal).map(|()| Reply::Ok),
            Request::Pause => self.pause(),
            Request::Resume => self.resume(),
            Request::Resize { rows, cols } => match self.station.resize(rows, cols) {
                Ok(()) => Ok(Reply::Ok),
                Err(_) if self.task.is_none() => Err(not_running()),
                Err(_) => Err(invalid("the container has no terminal")),
            },
            Request::Attach(request) => {
                let Some(client) = fds.into_iter().next() else {
                    return Err(invalid("there is no client to attach"));
                };
                if self.leaving {
                    return Err(not_running());
                }
                if self.station.attach(client, request) {
                    self.record(Event::Detached { exec_id: None });
                }
                Ok(Reply::Ok)
            }
            Request::Exec(request) => self.exec(*request, fds.into_iter().next()).map(started),
            Request::ExecResize { exec_id, rows, cols } => {
                match self.resize_exec(&exec_id, rows, cols) {
                    Some(true) => Ok(Reply::Ok),
                    Some(false) => Err(invalid("the exec has no terminal")),
                    None => Err(Failure {
                        kind: ErrorKind::NotFound,
                        message: format!("no such exec: {exec_id}"),
                    }),
                }
            }
            Request::Network => {
                self.look_at_network();
                Ok(Reply::Ok)
            }
            Request::Update { resources, restart } => {
                if let Some(resources) = resources {
                    self.backend.update(&resources)?;
                }
                self.launch.restart = restart.unwrap_or(self.launch.restart);
                Ok(Reply::Ok)
            }
            Request::Processes if self.task.is_none() => Err(not_running()),
            Request::Processes => Ok(Reply::Processes { pids: self.backend.pids()? }),
            Request::Quit if self.task.is_some() || self.restart_at.is_some() => {
                Err(conflict("the container is running"))
            }
            Request::Quit => {
                self.station.close();
                self.leave();
                Ok(Reply::Ok)
            }
            Request::Follow { .. } | Request::Streams | Request::Unknown => Err(Failure {
                kind: ErrorKind::Unsupported,
                message: "a request that this monitor does not know".to_owned(),
            }),
        }
    }

    fn has_begun(&self) -> bool {
        self.task.is_some() || self.restart_at.is_some() || self.leaving
    }

    fn pause(&mut self) -> Answer {
        let Some(task) = &mut self.task else { return Err(not_running()) };
        if task.paused {
            return Err(conflict("the container is already paused"));
        }
        self.backend.pause()?;
        task.paused = true;
        self.record(Event::Paused);
        Ok(Reply::Ok)
    }

    fn resume(&mut self) -> Answer {
        let Some(task) = &mut self.task else { return Err(not_running()) };
        if !task.paused {
            return Err(conflict("the container is not paused"));
        }
        self.backend.resume()?;
        task.paused = false;
        self.record(Event::Resumed);
        Ok(Reply::Ok)
    }

    /// Answers, then tells what the peer has missed, then what comes.
    fn follow(&mut self, key: u32, after: u64) {
        let missed = match crate::journal::read(&self.launch.journal, after) {
            Ok(missed) => missed,
            Err(error) => {
                let message = format!("read the journal: {error}");
                return self.answer(key, Err(Failure { kind: ErrorKind::Internal, message }));
            }
        };
        self.send(key, &Reply::Ok);
        for record in missed {
            self.send(key, &Reply::Record(record));
        }
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.key() == key) {
            peer.follow();
        }
    }

    fn lend_streams(&mut self, key: u32) {
        let Some(task) = &self.task else { return self.answer(key, Err(not_running())) };
        let (streams, kept) = self.station.kept();
        let mut fds: Vec<BorrowedFd<'_>> = vec![task.pidfd()];
        fds.extend(kept);
        let reply = Reply::Streams { streams };
        let lent = |connection: &crate::Connection| connection.reply(&reply, &fds).is_ok();
        let failed: Vec<u32> = self
            .peers
            .iter()
            .filter(|peer| peer.key() == key && !lent(peer.connection()))
            .map(super::peer::Peer::key)
            .collect();
        self.peers.retain(|peer| !failed.contains(&peer.key()));
    }
}
