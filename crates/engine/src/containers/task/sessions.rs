//! Clients at a container's streams, and more processes in it.
//!
//! The engine authenticates and words the answer; then the client's socket goes to the monitor, and what is
//! said on it is no more the engine's business: it survives the engine.
//!
//! Invariant: a client that comes before the start is there before the program says its first word.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use dhow_monitor::{AttachRequest as Attach, Request};
use dhow_spec::runtime::{Process, Spec};
use rustix::fs::{Mode, OFlags};
use tokio::task::spawn_blocking;

use super::Task;
use crate::containers::asks::{AttachRequest, ClientStream, ExecDetails, ExecRequest, ExecStart};
use crate::containers::document::Places;
use crate::containers::state::State;
use crate::containers::{execs, keys};
use crate::engine::Shared;
use crate::error::Error;
use crate::plan::{ExecAsk, exec_process, resolve_user};

/// A client that waits for the start.
#[derive(Debug)]
pub(super) struct Session {
    attach: Attach,
    fd: OwnedFd,
}

impl Task {
    /// Connects a client to the container's streams, now or once it starts.
    pub(crate) async fn attach(
        &mut self,
        request: AttachRequest,
        stream: ClientStream,
    ) -> Result<(), Error> {
        let attach = Attach {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            detach_keys: keys::parse(request.detach_keys.as_deref())?,
            multiplexed: !self.document.request.config.tty && !request.raw,
            read_ahead: stream.read_ahead,
        };
        let session = Session { attach, fd: stream.fd };
        let event = self.now("attach", &[]);
        if self.standing.state.is_active() {
            self.hand_over(session).await?;
        } else {
            self.sessions.push(session);
        }
        self.note(vec![event]).await;
        Ok(())
    }

    async fn hand_over(&mut self, session: Session) -> Result<(), Error> {
        let request = Request::Attach(session.attach);
        self.ask("", &request, &[session.fd.as_fd()]).await.map(drop)
    }

    /// Hands over those who came before the start.
    pub(super) async fn hand_over_all(&mut self, link: &super::Link) -> Result<(), Error> {
        for session in std::mem::take(&mut self.sessions) {
            link.ask(&Request::Attach(session.attach), &[session.fd.as_fd()]).await?;
        }
        Ok(())
    }

    /// Changes the terminal's size.
    pub(crate) async fn resize(&mut self, rows: u16, cols: u16) -> Result<(), Error> {
        let event =
            self.now("resize", &[("height", rows.to_string()), ("width", cols.to_string())]);
        if self.document.request.config.tty {
            self.ask("", &Request::Resize { rows, cols }, &[]).await?;
        } else {
            // What has no terminal has no size, and clients do not look.
            self.linked("")?;
        }
        self.note(vec![event]).await;
        Ok(())
    }

    /// Its processes, as the engine's pid namespace numbers them.
    pub(crate) async fn processes(&mut self) -> Result<Vec<i32>, Error> {
        if matches!(self.standing.state, State::Restarting(_)) {
            return Err(Error::Restarting { id: self.id.to_string() });
        }
        let answer = self.ask("", &Request::Processes, &[]).await?;
        match answer.reply {
            dhow_monitor::Reply::Processes { pids } => Ok(pids),
            _ => Err(Error::NoMonitor { id: self.id.to_string() }),
        }
    }

    /// Keeps one more process in mind, for its start.
    pub(crate) async fn exec_create(&mut self, exec: ExecDetails) -> Result<(), Error> {
        let command = exec.request.command.join(" ");
        let event = self.now(&format!("exec_create: {command}"), &[("execID", exec.id.clone())]);
        let all = Arc::make_mut(&mut self.execs);
        // As in Docker, what has ended can be asked for a while; what was never started goes with the container.
        while all.len() >= EXECS_MAX {
            let Some(ended) = all.values().find(|exec| !exec.running && exec.exit_code.is_some())
            else {
                break;
            };
            let ended = ended.id.clone();
            all.remove(&ended);
            self.shared.forget_exec(&ended);
            execs::forget(&self.places, &ended);
        }
        execs::keep(&self.places, &exec);
        all.insert(exec.id.clone(), exec);
        self.note(vec![event]).await;
        Ok(())
    }

    /// Starts it; the client's socket goes with it.
    pub(crate) async fn exec_start(
        &mut self,
        id: &str,
        start: ExecStart,
        client: Option<ClientStream>,
    ) -> Result<(), Error> {
        let exec = self.execs.get(id).ok_or_else(|| Error::NoSuchExec { id: id.to_owned() })?;
        let process = self.exec_process(&exec.request, start.clone()).await?;
        exec.check_fresh()?;
        let request = &exec.request;
        let (fd, attach) = match client {
            None => (None, None),
            Some(client) => {
                let attach = Attach {
                    stdin: request.stdin,
                    stdout: request.stdout,
                    stderr: request.stderr,
                    detach_keys: keys::parse(request.detach_keys.as_deref())?,
                    multiplexed: !start.raw,
                    read_ahead: client.read_ahead,
                };
                (Some(client.fd), Some(attach))
            }
        };
        let ask = Request::Exec(Box::new(dhow_monitor::ExecRequest {
            exec_id: id.to_owned(),
            process,
            privileged: request.privileged,
            attach,
        }));
        let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
        // Its client may see the end of its streams, and ask how it ended, before the monitor's word is here.
        self.exec_is_starting(id, true);
        let asked = self.ask("", &ask, &fds).await;
        self.catch_up().await;
        self.exec_is_starting(id, false);
        asked.map(drop)
    }

    fn exec_is_starting(&mut self, id: &str, starting: bool) {
        if let Some(exec) = Arc::make_mut(&mut self.execs).get_mut(id) {
            exec.starting = starting;
            self.show();
        }
    }

    /// What an exec runs: as the container's first process does, but for what it was asked for.
    async fn exec_process(
        &self,
        request: &ExecRequest,
        start: ExecStart,
    ) -> Result<Process, Error> {
        let Some(run) = self.standing.state.run() else {
            return Err(Error::NotRunning { doing: "", id: self.id.to_string() });
        };
        let (path, request) = (self.places.run.join("config.json"), request.clone());
        spawn_blocking(move || {
            let bytes = std::fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
            let spec = Spec::parse(&bytes)
                .map_err(|error| Error::io("read", &path, std::io::Error::other(error)))?;
            let user = match request.user.as_str() {
                "" => None,
                user => Some(resolve_user(root_of(run.pid)?.as_fd(), user, &[])?),
            };
            let ask = ExecAsk {
                args: request.command,
                env: request.env,
                working_dir: request.working_dir,
                tty: request.terminal,
                console_size: start.terminal_size.or(request.terminal_size),
                privileged: request.privileged,
                user,
            };
            Ok(exec_process(&spec.process.unwrap_or_default(), &ask))
        })
        .await?
    }

    /// Changes the size of an exec's terminal.
    pub(crate) async fn exec_resize(
        &mut self,
        id: &str,
        rows: u16,
        cols: u16,
    ) -> Result<(), Error> {
        if self.execs.get(id).is_some_and(|exec| !exec.request.terminal) {
            // As with containers that have none.
            return self.linked("").map(drop);
        }
        let request = Request::ExecResize { exec_id: id.to_owned(), rows, cols };
        self.ask("", &request, &[]).await.map(drop)
    }

    pub(super) async fn exec_started(&mut self, time_ns: i64, id: &str, pid: i32) {
        let Some(exec) = Arc::make_mut(&mut self.execs).get_mut(id) else {
            // A probe's.
            return self.note(Vec::new()).await;
        };
        exec.running = true;
        exec.pid = pid;
        execs::keep(&self.places, exec);
        let action = format!("exec_start: {}", exec.request.command.join(" "));
        let event = self.event(time_ns, &action, &[("execID", id.to_owned())]);
        self.note(vec![event]).await;
    }

    pub(super) async fn exec_ended(&mut self, time_ns: i64, id: &str, code: i32) {
        let Some(exec) = Arc::make_mut(&mut self.execs).get_mut(id) else {
            return self.note(Vec::new()).await;
        };
        exec.running = false;
        exec.exit_code = Some(code);
        execs::keep(&self.places, exec);
        let about = [("execID", id.to_owned()), ("exitCode", code.to_string())];
        let event = self.event(time_ns, "exec_die", &about);
        self.note(vec![event]).await;
    }

    /// None of them outlives the container's first process.
    pub(super) fn execs_ended(&mut self) {
        const SIGKILLED: i32 = 137;
        if self.execs.values().any(|exec| exec.running) {
            for exec in Arc::make_mut(&mut self.execs).values_mut().filter(|exec| exec.running) {
                exec.running = false;
                exec.exit_code.get_or_insert(SIGKILLED);
                execs::keep(&self.places, exec);
            }
        }
    }
}

/// Brings back what an earlier engine knew of a container's execs.
pub(super) fn restore_execs(
    shared: &Shared,
    id: &Arc<str>,
    places: &Places,
) -> Arc<BTreeMap<String, ExecDetails>> {
    let found = execs::read(places);
    shared.remember_execs(id, &found);
    Arc::new(found)
}

/// The root of a container that runs, as its first process sees it.
fn root_of(pid: u32) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty())
        .map_err(|errno| Error::io("open", &path, errno.into()))
}

/// So many are remembered of one container.
const EXECS_MAX: usize = 256;
