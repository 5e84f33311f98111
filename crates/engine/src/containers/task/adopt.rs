//! Monitors that were lost, and containers that an earlier engine left.
//!
//! Invariant: a container that runs has a monitor again, whichever of engine and monitor was killed; what a
//! journal holds is applied before anything is decided. What runs is never ended here.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use dhow_monitor::{Connection, Launch, Reply, Request, StreamKinds, journal};
use dhow_runtime::{Container, ContainerId, StateRoot};
use dhow_spec::runtime::Status;
use tokio::task::spawn_blocking;

use super::Task;
use super::records::CODE_UNKNOWN;
use crate::containers::asks::RemoveRequest;
use crate::containers::link::Link;
use crate::containers::request::RestartPolicy;
use crate::containers::state::State;
use crate::error::Error;

/// Duplicates of a container's pidfd and streams.
#[derive(Debug)]
pub(super) struct Spare {
    kinds: StreamKinds,
    fds: Vec<OwnedFd>,
}

impl Task {
    /// Looks for what is left of a container of an earlier engine.
    pub(super) async fn recover(&mut self) {
        self.find_again().await;
        if !self.gone {
            self.recover_network().await;
        }
        if !self.gone {
            if !self.standing.state.is_active() {
                self.execs_ended();
            }
            self.show();
        }
    }

    async fn find_again(&mut self) {
        if self.link_to_socket().await {
            return;
        }
        self.read_journal().await;
        match &self.standing.state {
            // What was removed half is removed; what `--rm` says is done.
            State::Removing { .. } => {
                let volumes = self.document.request.host.auto_remove;
                let request = RemoveRequest { force: false, volumes };
                if self.remove(request).await.is_err() {
                    self.show();
                }
            }
            State::Running(_) | State::Paused(_) => self.replace_monitor().await,
            State::Restarting(_) => self.start_again().await,
            State::Exited(_) | State::Created { failure: Some(_) } => self.recover_ended().await,
            State::Making | State::Created { failure: None } => {}
        }
    }

    async fn recover_ended(&mut self) {
        let was_there = self.shared.rebooted && self.policy_wants_it();
        self.settle().await;
        if was_there && !self.gone {
            self.start_again().await;
        }
    }

    /// Its monitor has gone: as it should, or not.
    pub(super) async fn lost_monitor(&mut self) {
        self.link = None;
        self.read_journal().await;
        if self.gone {
            return;
        }
        match &self.standing.state {
            State::Running(_) | State::Paused(_) => self.replace_monitor().await,
            State::Restarting(_) => self.start_again().await,
            _ => self.give_back().await,
        }
    }

    /// The monitor of a container that an earlier engine started, if it is there.
    async fn link_to_socket(&mut self) -> bool {
        let socket = self.places.socket();
        let connected = spawn_blocking(move || Connection::connect(&socket)).await;
        let Ok(Ok(connection)) = connected else { return false };
        self.link(connection).await.is_ok()
    }

    /// Follows a monitor from where the database has stopped.
    pub(super) async fn link(&mut self, connection: Connection) -> Result<(), Error> {
        let link = Link::new(connection, &self.id)?;
        link.ask(&Request::Follow { after: self.journal }, &[]).await?;
        self.link = Some(link);
        self.catch_up().await;
        if self.standing.state.run().is_some() {
            self.keep_spare().await;
        }
        Ok(())
    }

    /// Applies what no connection told.
    async fn read_journal(&mut self) {
        let (path, after) = (self.places.journal(), self.journal);
        let records = spawn_blocking(move || journal::read(&path, after)).await;
        if let Ok(Ok(records)) = records {
            for record in records {
                self.apply(record).await;
            }
        }
    }

    /// Keeps duplicates of its streams, so that they outlive the monitor.
    pub(super) async fn keep_spare(&mut self) {
        let Some(link) = &self.link else { return };
        // A monitor of another version may have none to give: then there are none.
        if let Ok(answer) = link.ask(&Request::Streams, &[]).await
            && let Reply::Streams { streams } = answer.reply
        {
            self.spare = Some(Spare { kinds: streams, fds: answer.fds });
        }
    }

    /// Its monitor died and it may run: another one takes over, or its end is written down.
    async fn replace_monitor(&mut self) {
        let (root, id) = (self.shared.state_root(), self.id.clone());
        let alive = spawn_blocking(move || is_alive(&root, &id)).await;
        if matches!(alive, Ok(true)) && self.adopt().await.is_ok() {
            return;
        }
        let (root, id) = (self.shared.state_root(), self.id.clone());
        if matches!(spawn_blocking(move || is_alive(&root, &id)).await, Ok(true)) {
            // It runs and nobody attends it: the next ask, or the next engine, tries again.
            return;
        }
        self.ended_unseen().await;
    }

    /// Nobody saw it end: neither its monitor nor we.
    async fn ended_unseen(&mut self) {
        let (root, id) = (self.shared.state_root(), self.id.clone());
        let removed = spawn_blocking(move || super::end::remove_runtime_state(&root, &id)).await;
        // What could not be removed is removed with the container.
        drop(removed);
        self.exited(crate::clock::now_ns(), CODE_UNKNOWN, false, true).await;
        if !self.gone && self.policy_wants_it() {
            self.start_again().await;
        }
    }

    /// Has another monitor watch what the dead one started.
    async fn adopt(&mut self) -> Result<(), Error> {
        let file = self.places.run.join("launch.json");
        let program = self.shared.program.clone();
        let restart = super::start::restart_policy(self.document.request.host.restart);
        let count = self.standing.restart_count;
        let started = spawn_blocking(move || {
            let bytes = std::fs::read(&file).map_err(|error| Error::io("read", &file, error))?;
            let mut launch: Launch = serde_json::from_slice(&bytes)
                .map_err(|error| Error::io("read", &file, error.into()))?;
            launch.restart = restart;
            launch.restart_count = count;
            dhow_monitor::start(&program, &launch, None)
                .map_err(|error| Error::Monitor { message: error.to_string() })
        });
        let started = started.await??;
        super::start::reap(started.child);
        let link = Link::new(started.connection, &self.id)?;
        let spare = self.spare.take();
        let (kinds, fds): (_, Vec<BorrowedFd<'_>>) = match &spare {
            Some(spare) => (spare.kinds, spare.fds.iter().map(AsFd::as_fd).collect()),
            None => (StreamKinds::default(), Vec::new()),
        };
        let request = Request::Adopt { streams: kinds, pidfd: spare.is_some() };
        link.ask(&Request::Follow { after: self.journal }, &[]).await?;
        link.ask(&request, &fds).await?;
        self.link = Some(link);
        self.spare = spare;
        self.catch_up().await;
        Ok(())
    }

    /// What its policy would have done, had it had a monitor.
    async fn start_again(&mut self) {
        if let Err(error) = self.launch(self.standing.restart_count, None).await {
            let (now, message) = (crate::clock::now_ns(), error.to_string());
            if !matches!(error, Error::Start(_)) {
                self.not_started(now, message).await;
            }
        }
    }

    /// Whether the policy has a container running that nobody stopped.
    fn policy_wants_it(&self) -> bool {
        match self.document.request.host.restart {
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !self.standing.stopped_by_user,
            RestartPolicy::OnFailure { max } => {
                let again = max == 0 || self.standing.restart_count < max;
                !self.standing.stopped_by_user && again && self.exit_code != 0
            }
            RestartPolicy::No => false,
        }
    }
}

fn is_alive(state_root: &Path, id: &str) -> bool {
    let status = || -> Result<Status, dhow_runtime::Error> {
        let root = StateRoot::open(state_root)?;
        Container::load(&root, &ContainerId::parse(id)?)?.status()
    };
    matches!(status(), Ok(Status::Running | Status::Paused))
}
