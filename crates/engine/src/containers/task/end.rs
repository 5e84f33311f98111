//! A container's end: signals, what is given back afterwards, and removal.
//!
//! Invariant: removal is written down before anything is removed, and the record goes last: a crash in between
//! is finished by the next engine.

use std::path::Path;

use dhow_monitor::Request;
use dhow_runtime::{Container, ContainerId, StateRoot};
use tokio::task::spawn_blocking;

use super::Task;
use crate::containers::asks::{RemoveRequest, StopRequest};
use crate::containers::document::snapshot_key;
use crate::containers::state::State;
use crate::error::{Error, PausedFor};
use crate::events::Happened;

const SIGKILL: i32 = 9;

impl Task {
    /// Has its monitor end it; whoever waits for the end watches the view. Says whether there is one to come.
    pub(crate) async fn stop(&mut self, request: StopRequest) -> Result<bool, Error> {
        if !self.standing.state.is_active() {
            return Ok(false);
        }
        self.standing.stopped_by_user = true;
        let ask = Request::Stop { signal: request.signal, timeout_s: request.timeout_s };
        self.ask("", &ask, &[]).await?;
        self.catch_up().await;
        Ok(true)
    }

    /// Sends a signal to its first process.
    pub(crate) async fn kill(&mut self, signal: i32) -> Result<(), Error> {
        if matches!(self.standing.state, State::Restarting(_)) && signal != SIGKILL {
            return Err(Error::Restarting { id: self.id.to_string() });
        }
        let stop_signal = self.document.request.config.stop_signal_number();
        if signal == SIGKILL || signal == stop_signal {
            self.standing.stopped_by_user = true;
        }
        let doing = "cannot kill container: ";
        let ask = match self.standing.state {
            // Nothing to signal: what is to be ended is the policy.
            State::Restarting(_) => Request::Stop { signal: Some(signal), timeout_s: Some(0) },
            _ => Request::Kill { signal },
        };
        self.ask(doing, &ask, &[]).await?;
        self.catch_up().await;
        Ok(())
    }

    /// Freezes it.
    pub(crate) async fn pause(&mut self) -> Result<(), Error> {
        let id = || self.id.to_string();
        match self.standing.state {
            State::Paused(_) => return Err(Error::Paused { said: PausedFor::Pause, id: id() }),
            State::Restarting(_) => return Err(Error::Restarting { id: id() }),
            _ => {}
        }
        self.ask("", &Request::Pause, &[]).await?;
        self.catch_up().await;
        Ok(())
    }

    /// Lets it go on.
    pub(crate) async fn unpause(&mut self) -> Result<(), Error> {
        if !matches!(self.standing.state, State::Paused(_)) {
            return Err(Error::NotPaused { id: self.id.to_string() });
        }
        self.ask("", &Request::Resume, &[]).await?;
        self.catch_up().await;
        Ok(())
    }

    /// What a container that has ended still holds of the host.
    pub(super) async fn give_back(&mut self) {
        if !std::mem::take(&mut self.holds) {
            return;
        }
        self.standing.endpoints.clear();
        self.standing.sandbox = None;
        self.spare = None;
        let (shared, id) = (self.shared.clone(), self.id.clone());
        super::prepare::unmount_shared_memory(&self.places);
        // What could not be given back is found by the next start, or by the next engine.
        let document = self.document.clone();
        let released = spawn_blocking(move || {
            drop(shared.unmount_volumes(&id, &document.points));
            shared.release_sandbox(&id)
        });
        self.holds = !matches!(released.await, Ok(Ok(())));
    }

    /// What follows an end for good: with `--rm` its removal.
    pub(super) async fn settle(&mut self) {
        self.sessions.clear();
        if self.document.request.host.auto_remove && !self.standing.state.is_active() {
            let request = RemoveRequest { force: false, volumes: true };
            if self.remove(request).await.is_err() {
                // The record says so; whoever removes it again, or the next engine, goes on with it.
                self.show();
            }
        }
    }

    /// Removes it, if it does not run.
    pub(crate) async fn remove(&mut self, request: RemoveRequest) -> Result<(), Error> {
        if self.standing.state.is_active() {
            let status = self.standing.state.status().as_str();
            return Err(Error::StillRunning { name: self.name.clone(), status });
        }
        self.remove_volumes |= request.volumes;
        if !matches!(self.standing.state, State::Removing { .. }) {
            let before = std::mem::replace(&mut self.standing.state, State::Making);
            self.standing.state = State::Removing { before: Box::new(before) };
            self.record(Vec::new()).await?;
        }
        self.link = None;
        self.sessions.clear();
        self.give_back().await;
        if let Some(shipping) = &mut self.shipping {
            shipping.settled(self.exits).await;
        }
        self.remove_files().await?;
        self.forget().await
    }

    async fn remove_files(&self) -> Result<(), Error> {
        let (shared, places, id) = (self.shared.clone(), self.places.clone(), self.id.clone());
        spawn_blocking(move || {
            remove_runtime_state(&shared.state_root(), &id)?;
            super::prepare::unmount_shared_memory(&places);
            remove_tree(&places.run)?;
            shared.snapshots.remove(&snapshot_key(&id))?;
            remove_tree(&places.data)
        })
        .await?
    }

    /// The record goes, and with it everything that anybody knows of it.
    async fn forget(&mut self) -> Result<(), Error> {
        let happened = Happened::one(self.now("destroy", &[]));
        let (store, id, rows) = (self.shared.store.clone(), self.id.clone(), happened.rows());
        let numbers = spawn_blocking(move || store.db().remove_container(&id, rows)).await??;
        self.shared.table.remove(&self.id, &self.name);
        if self.remove_volumes {
            let (shared, id, document) =
                (self.shared.clone(), self.id.clone(), self.document.clone());
            // What could not be removed is seen in the list of volumes, and can be removed there.
            let removed =
                spawn_blocking(move || shared.remove_anonymous(&id, &document.points)).await;
            drop(removed);
        }
        self.shared.forget_execs(&self.execs);
        self.gone = true;
        self.show();
        self.shared.hub.tell(happened, numbers);
        Ok(())
    }
}

/// What a runtime that was killed has left: processes first.
pub(super) fn remove_runtime_state(state_root: &Path, id: &str) -> Result<(), Error> {
    let root = StateRoot::open(state_root)?;
    let id = ContainerId::parse(id)?;
    match Container::load(&root, &id) {
        Ok(container) => Ok(container.delete(&root, true)?),
        Err(dhow_runtime::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A directory with all below; one that is not there is no error.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}
