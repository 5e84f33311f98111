//! What the monitor's records make of a container.
//!
//! Invariant: a record that was applied is never applied again: the database has its number together with what
//! it led to.

use dhow_monitor::{Event as Told, Record};

use super::Task;
use crate::containers::state::{Exit, Failure, Health, Probe, Run, State};
use crate::events::Event;

/// What containerd's users see where nobody saw a process end.
pub(super) const CODE_UNKNOWN: i32 = 255;

impl Task {
    /// Applies one record, unless that was done before.
    pub(super) async fn apply(&mut self, record: Record) {
        if record.number <= self.journal {
            return;
        }
        self.journal = record.number;
        let time_ns = record.time_ns;
        match record.event {
            Told::Started { pid, restart_count } => {
                self.started(time_ns, pid, restart_count).await;
            }
            Told::StartFailed { message, kind } => {
                let code = kind.exit_code();
                self.failed_to_start(time_ns, code, message).await;
            }
            Told::Exited { code, oom_killed, last, .. } => {
                let code = code.unwrap_or(CODE_UNKNOWN);
                self.exited(time_ns, code, oom_killed, last).await;
            }
            Told::Restarting { count, .. } => {
                self.standing.restart_count = count;
                self.note(Vec::new()).await;
            }
            Told::RestartCancelled => self.stays_ended(time_ns).await,
            Told::Stopping { signal, .. } => {
                self.stopping = true;
                self.signalled(time_ns, signal).await;
            }
            Told::Killed { signal } => self.signalled(time_ns, signal).await,
            Told::Paused => self.paused(time_ns, true).await,
            Told::Resumed => self.paused(time_ns, false).await,
            Told::Oom => {
                let event = self.event(time_ns, "oom", &[]);
                self.note(vec![event]).await;
            }
            Told::Health(health) => self.health(time_ns, health).await,
            Told::ExecStarted { exec_id, pid } => self.exec_started(time_ns, &exec_id, pid).await,
            Told::ExecFailed { exec_id, kind, .. } => {
                let code = kind.exit_code();
                self.exec_ended(time_ns, &exec_id, code).await;
            }
            Told::ExecExited { exec_id, code } => {
                self.exec_ended(time_ns, &exec_id, code.unwrap_or(CODE_UNKNOWN)).await;
            }
            Told::Detached { exec_id } => {
                let action = if exec_id.is_some() { "exec_detach" } else { "detach" };
                let more: Vec<_> = exec_id.into_iter().map(|id| ("execID", id)).collect();
                let event = self.event(time_ns, action, &more);
                self.note(vec![event]).await;
            }
            _ => self.note(Vec::new()).await,
        }
    }

    async fn started(&mut self, time_ns: i64, pid: i32, restart_count: u32) {
        let pid = u32::try_from(pid).unwrap_or(0);
        self.standing.state = State::Running(Run { pid, started_ns: time_ns });
        self.standing.restart_count = restart_count;
        self.standing.health = self.has_health_check().then(Health::starting);
        self.stopping = false;
        // Those of the life before; a monitor's restart makes new ones.
        self.spare = None;
        let mut happened = std::mem::take(&mut self.joined);
        happened.push(self.event(time_ns, "start", &[]));
        self.note(happened).await;
    }

    async fn failed_to_start(&mut self, time_ns: i64, code: i32, message: String) {
        self.exit_code = code;
        self.exits += 1;
        self.standing.state = match std::mem::replace(&mut self.standing.state, State::Making) {
            State::Exited(exit) | State::Restarting(exit) => {
                State::Exited(Exit { code, error: message, finished_ns: time_ns, ..exit })
            }
            _ => State::Created { failure: Some(Failure { code, message }) },
        };
        let event = self.event(time_ns, "die", &[("exitCode", code.to_string())]);
        self.note(vec![event]).await;
        self.settle().await;
    }

    pub(super) async fn exited(&mut self, time_ns: i64, code: i32, oom_killed: bool, last: bool) {
        let started_ns = self.standing.state.run().map_or(time_ns, |run| run.started_ns);
        let error = String::new();
        let exit = Exit { code, oom_killed, started_ns, finished_ns: time_ns, error };
        self.exit_code = code;
        self.exits += 1;
        self.execs_ended();
        self.standing.state = match (last, self.document.request.host.auto_remove) {
            (false, _) => State::Restarting(exit),
            (true, false) => State::Exited(exit),
            // One record says both; the removal that follows finds its beginning written down.
            (true, true) => State::Removing { before: Box::new(State::Exited(exit)) },
        };
        let seconds = time_ns.saturating_sub(started_ns) / 1_000_000_000;
        let about = [("exitCode", code.to_string()), ("execDuration", seconds.to_string())];
        let mut happened = vec![self.event(time_ns, "die", &about)];
        if std::mem::take(&mut self.stopping) && last {
            happened.push(self.event(time_ns, "stop", &[]));
        }
        if last {
            happened.extend(self.network_events("disconnect"));
            // Before anybody who waited for the end hears of it: what is asked next finds it done.
            self.give_back().await;
        }
        self.note(happened).await;
        if last {
            self.settle().await;
        }
    }

    /// It waited for its next life, and there is to be none: the one before was its last.
    async fn stays_ended(&mut self, time_ns: i64) {
        let State::Restarting(exit) = &self.standing.state else {
            return self.note(Vec::new()).await;
        };
        self.standing.state = State::Exited(exit.clone());
        let mut happened = vec![self.event(time_ns, "stop", &[])];
        happened.extend(self.network_events("disconnect"));
        self.give_back().await;
        self.note(happened).await;
        self.settle().await;
    }

    async fn signalled(&mut self, time_ns: i64, signal: i32) {
        let event = self.event(time_ns, "kill", &[("signal", signal.to_string())]);
        self.note(vec![event]).await;
    }

    async fn paused(&mut self, time_ns: i64, is_paused: bool) {
        let Some(run) = self.standing.state.run() else { return self.note(Vec::new()).await };
        let (state, action) = match is_paused {
            true => (State::Paused(run), "pause"),
            false => (State::Running(run), "unpause"),
        };
        self.standing.state = state;
        let event = self.event(time_ns, action, &[]);
        self.note(vec![event]).await;
    }

    async fn health(&mut self, time_ns: i64, told: dhow_monitor::Health) {
        let health = self.standing.health.get_or_insert_with(Health::starting);
        let turned = health.status != told.status;
        let action = format!("health_status: {}", told.status);
        match told.probe {
            Some(probe) => health.note(
                told.status,
                told.failing_streak,
                Probe {
                    start_ns: probe.start_ns,
                    end_ns: probe.end_ns,
                    exit_code: probe.exit_code,
                    output: probe.output,
                },
            ),
            None => {
                *health = Health {
                    status: told.status,
                    failing_streak: told.failing_streak,
                    log: vec![],
                };
            }
        }
        let happened: Vec<Event> =
            turned.then(|| self.event(time_ns, &action, &[])).into_iter().collect();
        self.note(happened).await;
    }

    fn has_health_check(&self) -> bool {
        let check = self.document.request.config.healthcheck.as_ref();
        check.is_some_and(|check| check.test.first().is_some_and(|kind| kind != "NONE"))
    }
}
