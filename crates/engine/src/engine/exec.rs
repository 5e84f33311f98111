//! More processes in containers that run.
//!
//! Invariant: an exec that can be asked for belongs to a container that is there.
//! Execs outlive an engine: those that run go on, and the next engine knows all of them.

use std::sync::PoisonError;

use super::Engine;
use crate::containers::asks::{AttachTarget, ClientStream, ExecDetails, ExecRequest, ExecStart};
use crate::containers::new_id;
use crate::containers::state::State;
use crate::containers::table::Entry;
use crate::error::{Error, PausedFor};

/// How long the word of an exec's end may take to come through.
const SETTLE_TURNS: u32 = 2_000;
const SETTLE_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

impl Engine {
    /// Prepares one more process; gives its id.
    pub async fn exec_create(&self, query: &str, request: ExecRequest) -> Result<String, Error> {
        let entry = self.find(query)?;
        check_runs(&entry)?;
        if request.command.is_empty() {
            return Err(Error::Invalid { message: "No exec command specified".to_owned() });
        }
        let id = new_id()?;
        let exec = ExecDetails {
            id: id.clone(),
            container: entry.id.to_string(),
            request,
            starting: false,
            running: false,
            pid: 0,
            exit_code: None,
        };
        self.execs().insert(id.clone(), entry.id.clone());
        let created = entry.call(|task| Box::pin(task.exec_create(exec))).await;
        if created.is_err() {
            self.execs().remove(&id);
        }
        created.map(|()| id)
    }

    /// Says what starting an exec would connect to, or why it cannot be: asked before the connection is taken
    /// over.
    pub fn exec_target(&self, id: &str) -> Result<AttachTarget, Error> {
        let (entry, exec) = self.find_exec(id)?;
        check_runs(&entry)?;
        exec.check_fresh()?;
        Ok(AttachTarget { id: exec.id, terminal: exec.request.terminal })
    }

    /// Starts an exec, with a client or detached. It runs when this returns.
    pub async fn exec_start(
        &self,
        id: &str,
        start: ExecStart,
        client: Option<ClientStream>,
    ) -> Result<(), Error> {
        let (entry, exec) = self.find_exec(id)?;
        check_runs(&entry)?;
        entry
            .call(move |task| {
                Box::pin(async move { task.exec_start(&exec.id, start, client).await })
            })
            .await
    }

    /// What is known of an exec.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecDetails, Error> {
        Ok(self.find_exec(id)?.1)
    }

    /// The same; if its process is starting or has just ended, once it is known how. A client that saw its streams end asks
    /// before the monitor's word has come through.
    pub async fn exec_settled(&self, id: &str) -> Result<ExecDetails, Error> {
        for _ in 0..SETTLE_TURNS {
            let exec = self.exec_inspect(id)?;
            let has_ended = || !std::path::Path::new(&format!("/proc/{}", exec.pid)).exists();
            let is_settled = !exec.running || exec.pid == 0 || !has_ended();
            if is_settled && !exec.starting {
                return Ok(exec);
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
        self.exec_inspect(id)
    }

    /// Changes the size of an exec's terminal.
    pub async fn exec_resize(&self, id: &str, rows: u16, cols: u16) -> Result<(), Error> {
        let (entry, exec) = self.find_exec(id)?;
        entry
            .call(move |task| Box::pin(async move { task.exec_resize(&exec.id, rows, cols).await }))
            .await
    }

    fn execs(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::HashMap<String, std::sync::Arc<str>>> {
        self.shared.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By its id, or the beginning of one.
    fn find_exec(&self, id: &str) -> Result<(Entry, ExecDetails), Error> {
        let not_found = || Error::NoSuchExec { id: id.to_owned() };
        let found = {
            let execs = self.execs();
            let exact = execs.get_key_value(id);
            let mut fitting = execs.iter().filter(|(known, _)| known.starts_with(id));
            let found = match exact {
                Some(found) => Some(found),
                None if id.is_empty() => None,
                None => fitting.next().filter(|_| fitting.next().is_none()),
            };
            found.map(|(exec, container)| (exec.clone(), container.clone()))
        };
        let (exec, container) = found.ok_or_else(not_found)?;
        let entry = self.find(&container).map_err(|_| not_found())?;
        let exec = entry.view().execs.get(&exec).cloned().ok_or_else(not_found)?;
        Ok((entry, exec))
    }
}

/// It must run, and not be frozen.
fn check_runs(entry: &Entry) -> Result<(), Error> {
    let id = entry.id.to_string();
    match entry.view().standing.state {
        State::Running(_) => Ok(()),
        State::Paused(_) => Err(Error::Paused { said: PausedFor::Exec, id }),
        State::Restarting(_) => Err(Error::Restarting { id }),
        _ => Err(Error::NotRunning { doing: "", id }),
    }
}
