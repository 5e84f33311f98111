//! What is done with containers, call by call.
//!
//! Invariant: a container's own task does what changes it; waiting for an end happens here, so that a task is
//! free for others meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Engine;
use crate::containers::asks::{ListRequest, RemoveRequest, StopRequest, WaitCondition, Waited};
use crate::containers::names::Name;
use crate::containers::request::{CreateRequest, NetworkMode, UpdateRequest};
use crate::containers::stats::{self, Stats};
use crate::containers::table::{Entry, View};
use crate::containers::top::{self, Top};
use crate::containers::views::{ContainerDetails, ContainerSummary, Created};
use crate::containers::{create, inspect, list};
use crate::error::Error;

const SIGKILL: i32 = 9;
/// A killed process that does not go waits for something in the kernel.
const DEATH_TIMEOUT: Duration = Duration::from_secs(10);

/// A wait that has begun: nothing that happens from now on is missed.
#[derive(Debug)]
pub struct Wait {
    condition: WaitCondition,
    exits: u64,
    view: watch::Receiver<Arc<View>>,
}

impl Engine {
    /// Makes a container; without a name it gets one.
    pub async fn create(
        &self,
        name: Option<&str>,
        request: CreateRequest,
    ) -> Result<Created, Error> {
        create::create(&self.shared, name, request).await
    }

    /// The whole id of a container, given that, its beginning or a name.
    pub fn container_id(&self, query: &str) -> Result<String, Error> {
        Ok(self.find(query)?.id.to_string())
    }

    /// Starts a container.
    pub async fn start(&self, query: &str) -> Result<(), Error> {
        let size = None;
        let entry = self.find(query)?;
        entry.all_came().await;
        entry.call(move |task| Box::pin(task.start(size))).await
    }

    /// Ends a container: its stop signal, then, after its time, the end. It has ended when this returns.
    pub async fn stop(&self, query: &str, request: StopRequest) -> Result<(), Error> {
        let entry = self.find(query)?;
        match stop(&entry, request).await? {
            true => Ok(()),
            false => Err(Error::NotModified),
        }
    }

    /// Ends a container, if it runs, and starts it.
    pub async fn restart(&self, query: &str, request: StopRequest) -> Result<(), Error> {
        let entry = self.find(query)?;
        if entry.view().standing.state.is_active() {
            stop(&entry, request).await?;
        }
        entry.call(|task| Box::pin(task.restart())).await
    }

    /// Sends a signal to a container's first process; after KILL it has ended when this returns.
    pub async fn kill(&self, query: &str, signal: i32) -> Result<(), Error> {
        let entry = self.find(query)?;
        let mut view = entry.watch();
        entry.call(move |task| Box::pin(task.kill(signal))).await?;
        if signal == SIGKILL {
            ended(&mut view, DEATH_TIMEOUT).await;
        }
        Ok(())
    }

    /// Freezes a container.
    pub async fn pause(&self, query: &str) -> Result<(), Error> {
        self.find(query)?.call(|task| Box::pin(task.pause())).await
    }

    /// Lets a frozen container go on.
    pub async fn unpause(&self, query: &str) -> Result<(), Error> {
        self.find(query)?.call(|task| Box::pin(task.unpause())).await
    }

    /// Calls a container something else.
    pub async fn rename(&self, query: &str, name: &str) -> Result<(), Error> {
        let entry = self.find(query)?;
        if name.trim_start_matches('/').is_empty() {
            let message = "Neither old nor new names may be empty".to_owned();
            return Err(Error::Invalid { message });
        }
        let name = Name::parse(name)?;
        entry.call(move |task| Box::pin(async move { task.rename(&name).await })).await
    }

    /// Changes a container's limits and restart policy; gives warnings.
    pub async fn update(&self, query: &str, request: UpdateRequest) -> Result<Vec<String>, Error> {
        self.find(query)?.call(move |task| Box::pin(task.update(request))).await
    }

    /// Changes the size of a container's terminal.
    pub async fn resize(&self, query: &str, rows: u16, cols: u16) -> Result<(), Error> {
        self.find(query)?.call(move |task| Box::pin(task.resize(rows, cols))).await
    }

    /// Removes a container; with `force` it is killed first.
    pub async fn remove(&self, query: &str, request: RemoveRequest) -> Result<(), Error> {
        let entry = self.find(query)?;
        if request.force && entry.view().standing.state.is_active() {
            let mut view = entry.watch();
            match entry.call(|task| Box::pin(task.kill(SIGKILL))).await {
                // It may have ended, or been removed, in between.
                Ok(()) | Err(Error::NotRunning { .. } | Error::NoSuchContainer { .. }) => {}
                Err(error) => return Err(error),
            }
            ended(&mut view, DEATH_TIMEOUT).await;
        }
        match entry.call(move |task| Box::pin(task.remove(request))).await {
            // `--rm` was faster.
            Err(Error::NoSuchContainer { .. }) => Ok(()),
            removed => removed,
        }
    }

    /// Begins to wait for a container.
    pub fn wait(&self, query: &str, condition: WaitCondition) -> Result<Wait, Error> {
        let view = self.find(query)?.watch();
        let exits = view.borrow().exits;
        Ok(Wait { condition, exits, view })
    }

    /// Containers, the newest first.
    pub async fn list(&self, request: ListRequest) -> Result<Vec<ContainerSummary>, Error> {
        list::list(&self.shared, request).await
    }

    /// Everything about a container.
    pub async fn inspect(&self, query: &str, size: bool) -> Result<ContainerDetails, Error> {
        let (view, shared) = (self.find(query)?.view(), self.shared.clone());
        spawn_blocking(move || inspect::inspect(&shared, &view, size)).await?
    }

    /// A container's processes, with `ps`'s options.
    pub async fn top(&self, query: &str, options: &str) -> Result<Top, Error> {
        let pids = self.find(query)?.call(|task| Box::pin(task.processes())).await?;
        let options = options.to_owned();
        spawn_blocking(move || top::list(&pids, &options)).await?
    }

    /// What a container uses now; of one that does not run, nothing.
    pub async fn stats(&self, query: &str) -> Result<Stats, Error> {
        let view = self.find(query)?.view();
        let Some(run) = view.standing.state.run() else {
            return Ok(stats::idle(&view.id, &view.name));
        };
        let own_network = !matches!(
            view.document.request.host.network,
            NetworkMode::Host | NetworkMode::Container(_)
        );
        let (root, pid) = (self.shared.state_root(), own_network.then_some(run.pid));
        spawn_blocking(move || stats::sample(&root, &view.id, &view.name, pid)).await?
    }

    pub(super) fn find(&self, query: &str) -> Result<Entry, Error> {
        self.shared.table.find(query)
    }
}

/// Has it end and waits for that; says whether it ran.
async fn stop(entry: &Entry, request: StopRequest) -> Result<bool, Error> {
    let mut view = entry.watch();
    if !entry.call(move |task| Box::pin(task.stop(request))).await? {
        return Ok(false);
    }
    // The monitor sees to it that this ends, unless somebody gave it for ever.
    ended(&mut view, Duration::MAX).await;
    Ok(true)
}

/// Waits until it has ended, or is gone.
async fn ended(view: &mut watch::Receiver<Arc<View>>, at_most: Duration) {
    let has_ended = |view: &Arc<View>| view.gone || !view.standing.state.is_active();
    // An error means that the task has ended with the container.
    let _ = timeout(at_most, view.wait_for(has_ended)).await;
}

impl Wait {
    /// Waits until it is so.
    pub async fn done(mut self) -> Waited {
        let (condition, exits) = (self.condition, self.exits);
        let is_so = |view: &Arc<View>| match condition {
            // Also at an end that its policy answers with the next start.
            WaitCondition::NotRunning => {
                view.gone || view.exits > exits || !view.standing.state.is_active()
            }
            WaitCondition::NextExit => view.gone || view.exits > exits,
            WaitCondition::Removed => view.gone,
        };
        // An error means that the task has ended with the container: what it last showed is true.
        let _ = self.view.wait_for(is_so).await.is_ok();
        let code = self.view.borrow().exit_code;
        Waited { code, error: None }
    }
}
