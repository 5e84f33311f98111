//! A container's start: everything made ready, then one message to its monitor.
//!
//! Invariant: a start that fails leaves nothing of itself: what was made is given back, and the record says why.

use dhow_monitor::{Launch, Request};
use dhow_sys::Child;
use tokio::task::spawn_blocking;

use super::Task;
use crate::containers::asks::RemoveRequest;
use crate::containers::link::Link;
use crate::containers::request::RestartPolicy;
use crate::containers::state::{Exit, Failure, State};
use crate::error::{Error, PausedFor, StartFailure};

impl Task {
    /// Starts it, as somebody asked.
    pub(crate) async fn start(&mut self, size: Option<(u16, u16)>) -> Result<(), Error> {
        match &self.standing.state {
            State::Running(_) | State::Restarting(_) => return Err(Error::NotModified),
            State::Paused(_) => {
                return Err(Error::Paused { said: PausedFor::Start, id: self.id.to_string() });
            }
            State::Removing { .. } => {
                let message = "container is marked for removal and cannot be started".to_owned();
                return Err(Error::Conflict { message });
            }
            State::Making | State::Created { .. } | State::Exited(_) => {}
        }
        self.standing.stopped_by_user = false;
        self.standing.restart_count = 0;
        self.launch(0, size).await
    }

    /// Starts it again, after it was stopped for that.
    pub(crate) async fn restart(&mut self) -> Result<(), Error> {
        self.start(None).await?;
        let event = self.now("restart", &[]);
        self.note(vec![event]).await;
        Ok(())
    }

    /// Starts it, whoever wants that; `restarts` is how often its policy has done so.
    pub(super) async fn launch(
        &mut self,
        restarts: u32,
        size: Option<(u16, u16)>,
    ) -> Result<(), Error> {
        self.link = None;
        let begun = match self.prepare(restarts, size).await {
            Ok(launch) => self.begin(launch).await,
            Err(error) => Err(error),
        };
        let Err(error) = begun else {
            self.keep_spare().await;
            self.shared.tell_linked(&self.id);
            return Ok(());
        };
        // A monitor that could not start its container has recorded that.
        self.catch_up().await;
        if !self.gone && !matches!(error, Error::Start(_)) {
            self.not_started(crate::clock::now_ns(), error.to_string()).await;
        }
        self.give_back().await;
        Err(error)
    }

    async fn begin(&mut self, launch: Launch) -> Result<(), Error> {
        let program = self.shared.program.clone();
        let started = spawn_blocking(move || dhow_monitor::start(&program, &launch, None)).await?;
        let started = started.map_err(|error| Error::Monitor { message: error.to_string() })?;
        reap(started.child);
        let link = Link::new(started.connection, &self.id)?;
        link.ask(&Request::Follow { after: self.journal }, &[]).await?;
        self.hand_over_all(&link).await?;
        let begun = link.ask(&Request::Start, &[]).await;
        self.link = Some(link);
        begun?;
        self.catch_up().await;
        Ok(())
    }

    /// Writes down why it does not run.
    pub(super) async fn not_started(&mut self, time_ns: i64, message: String) {
        let code = StartFailure::Other.exit_code();
        self.exit_code = code;
        self.exits += 1;
        self.sessions.clear();
        self.standing.state = match std::mem::replace(&mut self.standing.state, State::Making) {
            State::Exited(exit) | State::Restarting(exit) => {
                State::Exited(Exit { code, error: message, finished_ns: time_ns, ..exit })
            }
            State::Running(run) | State::Paused(run) => State::Exited(Exit {
                code,
                error: message,
                oom_killed: false,
                started_ns: run.started_ns,
                finished_ns: time_ns,
            }),
            _ => State::Created { failure: Some(Failure { code, message }) },
        };
        self.note(Vec::new()).await;
        if self.document.request.host.auto_remove {
            let request = RemoveRequest { force: false, volumes: true };
            if self.remove(request).await.is_err() {
                self.show();
            }
        }
    }
}

/// Takes a monitor's end in, whenever that is: nobody else may.
pub(crate) fn reap(child: Child) {
    tokio::spawn(async move {
        let Child { pid, pidfd } = child;
        let Ok(pidfd) = crate::readiness::watch(pidfd) else { return };
        if pidfd.readable().await.is_ok() {
            // It has ended: this does not wait.
            let _ = Child { pid, pidfd: pidfd.into_inner() }.wait();
        }
    });
}

/// The policy in the monitor's words.
pub(super) fn restart_policy(policy: RestartPolicy) -> dhow_monitor::RestartPolicy {
    match policy {
        RestartPolicy::No => dhow_monitor::RestartPolicy::No,
        RestartPolicy::OnFailure { max } => dhow_monitor::RestartPolicy::OnFailure { max },
        RestartPolicy::Always => dhow_monitor::RestartPolicy::Always,
        RestartPolicy::UnlessStopped => dhow_monitor::RestartPolicy::UnlessStopped,
    }
}
